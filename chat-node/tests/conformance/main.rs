//! One suite a port; every backend runs all of it.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod bus;
mod history;
mod presence;
mod revoked;
