//! chat-node: rooms, sessions, presence and history over WebSocket.
//!
//! # A message's way
//!
//! socket → [`session`] actor (decode, authorise, rate-limit) → [`room`] actor →
//! [`history`] append → (ack to the sender) → [`bus`] publish → room actor on every node with a
//! member → one relay per worker thread → outboxes → one vectored write per dirty socket
//! ([`transport`]).
//!
//! Rooms never see sockets; sessions never touch history or bus; the bus knows bytes and topics,
//! not rooms.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod bridge;
pub mod bus;
pub mod friends;
pub mod history;
mod ids;
pub mod limits;
mod live;
pub mod overload;
pub mod presence;
pub mod rest;
pub mod room;
mod rounds;
#[cfg(test)]
mod schedule;
pub mod server;
pub mod session;
pub mod settings;
pub mod transport;
pub mod upgrade;
pub mod worker;

#[cfg(feature = "redis")]
pub use shared::redis;
pub use shared::revoked;
use shared::telemetry::Metric;

#[cfg(feature = "cluster")]
pub use app::{Cluster, Stopped};
pub use app::{Node, NodeParts, Storage, auth};
pub use live::Live;
pub use settings::NodeSettings;

/// The metrics of a node, for [`shared::telemetry::Metrics::install`].
pub const METRICS: &[&[Metric]] = &[
    bridge::METRICS,
    #[cfg(feature = "redis")]
    bus::redis::METRICS,
    friends::METRICS,
    #[cfg(feature = "mongodb")]
    history::mongodb::METRICS,
    history::retention::METRICS,
    history::sqlite::METRICS,
    limits::METRICS,
    overload::METRICS,
    presence::METRICS,
    #[cfg(feature = "redis")]
    redis::METRICS,
    room::METRICS,
    server::METRICS,
    session::METRICS,
    transport::METRICS,
    upgrade::METRICS,
    shared::auth::METRICS,
];
