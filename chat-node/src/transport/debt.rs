//! Answers that are owed: how a client that asks faster than it reads is held back.
//!
//! A command is taken on only while the answers to those before it are within [`MAX_ANSWERS`] and
//! [`MAX_ANSWER_BYTES`]: those still in the making, each with the most it may come to, and those
//! that wait for the socket. Past that the session executes nothing more and stops reading, until
//! the client has read. So answers need no bound of the outbox's, and a client that reads is never
//! closed for having asked much. All of them together stay below [`MAX_ANSWER_BYTES`] and one
//! answer more.

use super::Line;

/// Bytes of answers at which a session takes no more commands on.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Answers at which a session takes no more commands on.
pub const MAX_ANSWERS: usize = 256;

/// An answer that somebody owes to the socket a command came on. Whoever took it on pays it with
/// [`Relays::reply`](super::relay::Relays::reply), once and in any case: until then the session
/// counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debt {
    /// The socket.
    pub to: Line,
    /// The command's id; without one only an error is told.
    pub id: Option<u64>,
    /// About how many bytes the answer has at most.
    pub bytes: u32,
}

/// A number of answers, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// How many.
    pub count: usize,
    /// How many bytes they have.
    pub bytes: usize,
}

impl Answers {
    /// One more.
    pub fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    /// One less.
    pub fn remove(&mut self, bytes: usize) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether these and those are as many as a session may be owed.
    pub fn enough_with(self, others: Self) -> bool {
        self.count + others.count >= MAX_ANSWERS || self.bytes + others.bytes >= MAX_ANSWER_BYTES
    }
}
