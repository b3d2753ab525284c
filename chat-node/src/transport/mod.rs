//! Sockets: frames in, an outbox of shared bytes out, and one relay per worker thread.

pub mod framing;
pub mod outbox;
pub mod relay;
pub mod ring;
pub mod sink;
pub mod wheel;

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
