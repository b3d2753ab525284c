//! The whole product from outside: the real binaries, REST and WebSocket, nothing else.

#![allow(clippy::unwrap_used)]

mod abuse;
mod accounts;
mod alone;
mod app;
mod channel;
mod codes;
mod crash;
mod deflate;
mod disk;
mod eddsa;
mod expiry;
mod flow;
mod friends;
mod messages;
mod overload;
mod page;
mod presence;
mod recorded;
mod rest;
mod resume;
mod ring;
mod rooms;
mod server;
mod server_api;
mod services;
mod session;
mod stalled;
mod tokens;
