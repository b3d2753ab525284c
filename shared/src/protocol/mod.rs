//! The wire contract, version 1: one schema in two encodings, from these serde types.
//!
//! - [`command`]: what a client asks, and the table of ops.
//! - [`reply`]: what answers a command.
//! - [`event`]: what the server sends on its own.
//! - [`room`]: rooms, their entries and how messages now read.
//! - [`presence`]: statuses and activities.
//! - [`codec`]: frames to commands and events to frames; events are encoded once per encoding.
//!
//! Wire types live here only. Unknown fields are ignored everywhere.

pub mod codec;
pub mod command;
pub mod event;
pub mod presence;
pub mod reply;
pub mod room;

/// The version that `hello` announces.
pub const VERSION: u32 = 1;
/// WebSocket subprotocol of the JSON encoding (text frames).
pub const SUBPROTOCOL_JSON: &str = "fireside.v1.json";
/// WebSocket subprotocol of the MessagePack encoding (binary frames).
pub const SUBPROTOCOL_MSGPACK: &str = "fireside.v1.msgpack";
/// What an offered subprotocol that carries the access token starts with.
pub const BEARER_PREFIX: &str = "bearer.";
