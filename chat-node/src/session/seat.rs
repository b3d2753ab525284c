//! The place of a WebSocket among the others.

use metrics::gauge;
use shared::trace::TraceContext;

use crate::server::Permit;

/// Held while there is a socket; counts it.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: Permit,
    /// The step that opened the socket, where whoever did says so and messages are followed.
    opened: Option<Box<TraceContext>>,
}

impl Seat {
    pub(super) fn new(permit: Permit, opened: Option<TraceContext>) -> Self {
        gauge!("fireside_sockets").increment(1.0);
        Self {
            _permit: permit,
            opened: opened.map(Box::new),
        }
    }

    /// The step that what comes over the socket came over.
    pub(super) fn opened(&self) -> Option<TraceContext> {
        self.opened.as_deref().copied()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        gauge!("fireside_sockets").decrement(1.0);
    }
}
