//! Proof from outside: a client that speaks only the wire, a record of what clients did and saw,
//! and a judge of that record.
//!
//! The way the data takes: [`WsClient`] (one socket, both encodings) is driven by a [`Device`] (one
//! client across sockets and sessions: it retries, resumes and fills holes), which writes
//! [`Line`]s through a [`Recorder`]; [`check`] reads the lines and finds what breaks the delivery
//! promise. Nothing here knows how the server works; a server in another language would be
//! judged the same.
//!
//! Beside the proof stands the measure: [`scenario`]s drive a [`swarm`] of cheap sockets against a
//! [`target`] and return figures ([`measure`]), which [`bench`] takes several times, in turns.
//!
//! - [`client`]: the WebSocket client and what it sees.
//! - [`deflate`]: messages as permessage-deflate has them.
//! - [`raw`]: a bare socket for frames that no honest client sends.
//! - [`accounts`]: registering accounts and making friends over REST.
//! - [`record`]: the record's format.
//! - [`check`]: the judge.
//! - [`device`], [`drive`]: clients under load that write a record.
//! - [`cluster`]: the servers a test or a measurement needs, as processes that it may kill.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod accounts;
pub mod bench;
pub mod check;
pub mod client;
pub mod cluster;
pub mod deflate;
pub mod device;
pub mod drive;
pub mod graph;
pub mod measure;
pub mod raw;
pub mod record;
pub mod scenario;
pub mod swarm;
pub mod target;

pub use check::{Verdict, Violation, check};
pub use client::{ConnectError, Connector, Seen, WireError, WsClient};
pub use device::{Device, DeviceError};
pub use record::{Line, Recorder};
