//! The chat node as a process of its own.

fn main() {}
