//! The black-box suite against three nodes and a store-api that share one Redis and one MongoDB:
//! the same tests, unchanged, in a world where every user is on another process.
//!
//! Not here: `alone`, `disk` and `overload` (what one process does about its disk and its load),
//! `channel` (the memory of one process, and a hundred thousand writes that take the MongoDB
//! stand-in minutes), `eddsa` (the key file of `fireside`), `page` (the browser client it serves),
//! `services` (which kills each service alone) and `recorded` (a program given one address).

#![allow(clippy::unwrap_used)]

#[path = "../blackbox/abuse.rs"]
mod abuse;
#[path = "../blackbox/accounts.rs"]
mod accounts;
#[path = "../blackbox/app.rs"]
mod app;
#[path = "../blackbox/codes.rs"]
mod codes;
#[path = "../blackbox/crash.rs"]
mod crash;
#[path = "../blackbox/deflate.rs"]
mod deflate;
#[path = "../blackbox/expiry.rs"]
mod expiry;
#[path = "../blackbox/flow.rs"]
mod flow;
#[path = "../blackbox/friends.rs"]
mod friends;
#[path = "../blackbox/messages.rs"]
mod messages;
#[path = "../blackbox/presence.rs"]
mod presence;
#[path = "../blackbox/rest.rs"]
mod rest;
#[path = "../blackbox/resume.rs"]
mod resume;
#[path = "../blackbox/ring.rs"]
mod ring;
#[path = "../blackbox/rooms.rs"]
mod rooms;
mod server;
#[path = "../blackbox/server_api.rs"]
mod server_api;
#[path = "../blackbox/session.rs"]
mod session;
#[path = "../blackbox/stalled.rs"]
mod stalled;
#[path = "../blackbox/tokens.rs"]
mod tokens;
