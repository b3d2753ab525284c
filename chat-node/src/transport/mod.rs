//! Sockets: frames in, an outbox of shared bytes out, and one relay per worker thread.

pub mod debt;
pub mod deflate;
pub mod framing;
pub mod outbox;
pub mod relay;
pub mod ring;
pub mod sink;
pub mod wheel;

use shared::{protocol::codec::Encoding, telemetry::Metric};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_relay_posts",
        "Posts that wait for the relay of a worker; from 16384 on rooms refuse sends",
    )
    .by(&["worker"]),
    Metric::counter(
        "fireside_outbox_overflows_total",
        "Sockets whose reliable lane ran over; they close with 4008",
    ),
];

/// What client and server agreed on for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The encoding.
    pub encoding: Encoding,
    /// Whether messages may be compressed (RFC 7692), without context takeover either way.
    pub deflate: bool,
}

impl From<Encoding> for Agreed {
    /// Without compression.
    fn from(encoding: Encoding) -> Self {
        Self {
            encoding,
            deflate: false,
        }
    }
}

/// Names a session on this node: the worker thread it lives on, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey {
    worker: u16,
    number: u64,
}

impl SessionKey {
    /// The session `number` of `worker`.
    pub const fn new(worker: u16, number: u64) -> Self {
        Self { worker, number }
    }

    /// The worker thread the session lives on.
    pub const fn worker(self) -> usize {
        self.worker as usize
    }
}

/// Where a command came from and its answer goes: one socket of a session.
///
/// Clients number their commands anew on each socket. An answer that comes after its socket has
/// gone is dropped: on the next one its id would name another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The session.
    pub session: SessionKey,
    /// Which of its sockets, counted from the first.
    pub socket: u32,
}
