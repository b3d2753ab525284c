//! The whole product from outside: the real binary, REST and WebSocket, nothing else.

#![allow(clippy::unwrap_used)]

mod abuse;
mod accounts;
mod app;
mod crash;
mod friends;
mod messages;
mod presence;
mod rest;
mod resume;
mod rooms;
mod server_api;
mod session;
mod stalled;
mod tokens;
