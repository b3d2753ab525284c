//! The door from outside: the program `chat-lb`, spoken to over sockets.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod chat;
mod discovery;
mod flapping;
mod http2;
mod keys;
mod limits;
mod recorded;
mod refused;
mod rig;
mod tls;
mod trace;
mod upgrade;
