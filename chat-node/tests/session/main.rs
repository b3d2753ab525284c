//! Sessions over the wire: start, resume, replacement, deadlines, revocation, bad input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad;
mod deadlines;
mod faults;
mod resume;
mod rig;
mod start;
