//! The listener of a program that serves many: a socket a worker on one port, and a place for every
//! connection.
//!
//! A connection takes a place ([`Admission`]) when it is accepted and gives it back when it goes,
//! whatever it became in between. Until its first request head has arrived whole it also holds one of
//! a smaller number of handshake places, and has a few seconds for it. [`accept()`] is the loop of
//! one worker; what is done with a connection is the caller's matter.

mod accept;
mod admission;
mod bind;
mod settings;

pub use accept::accept;
pub use admission::{Admission, Permit, TurnedAway};
pub use bind::{BindError, Bound};
pub use settings::ConnectionSettings;

use crate::telemetry::Metric;

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_connections",
        "Connections right now, HTTP and WebSocket together",
    ),
    Metric::counter(
        "fireside_connections_refused_total",
        "Connections turned away at the door: full (max_connections), crowd (max_connections_per_address)",
    )
    .by(&["reason"]),
    Metric::counter(
        "fireside_accept_errors_total",
        "Failures to accept a connection, such as too many open files",
    ),
];
