//! The place of a WebSocket among the others.

use metrics::gauge;

use crate::server::Permit;

/// Held while there is a socket; counts it.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: Permit,
}

impl Seat {
    pub(super) fn new(permit: Permit) -> Self {
        gauge!("fireside_sockets").increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        gauge!("fireside_sockets").decrement(1.0);
    }
}
