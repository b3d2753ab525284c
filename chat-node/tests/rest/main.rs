//! REST over the wire: who may do what, and in which shape it is told.

#![allow(clippy::unwrap_used, reason = "a test")]

mod messages;
mod refusals;
mod rig;
mod rooms;
mod server_api;
