//! What every Fireside service speaks and needs.
//!
//! A module is admitted here only when two crates use it. [`id`] holds the newtypes every layer
//! passes around; [`protocol`] is the wire contract (one schema, two encodings); [`codes`] is the
//! one table of error and close codes.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod codes;
pub mod id;
pub mod protocol;
