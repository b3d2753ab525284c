//! The line before a drop: how many are ahead of somebody, and who has not been seen for a while, without asking
//! the database for each.
//!
//! A line may lose everything at any time, and be wrong by a few: who waits under which number stands in the
//! database, from which it is filled again, and which alone says who is admitted.

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use local::LocalLine;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisLine;

mod local;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;

/// How long after its end a line is remembered, in milliseconds.
const REMEMBERED: i64 = 60 * 60 * 1000;

/// The line of a drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineOf {
    /// The campaign.
    pub(crate) drop: String,
    /// Until when people wait, in milliseconds since the epoch.
    pub(crate) closes_at: i64,
}

/// Where somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The line is not known here, which [`Line::open`] changes.
    Unknown,
    /// They are not in it.
    Absent,
    /// They are.
    At {
        /// The number of their ticket.
        number: i64,
        /// How many have a lower one.
        ahead: u64,
    },
}

/// A line that does not answer; what it was asked may be done all the same.
#[derive(Debug, thiserror::Error)]
#[error("the line before a drop: {0}")]
pub(crate) struct LineError(pub(crate) String);

/// Who waits in which line.
///
/// Each method is one act for all lines. Doing something twice is doing it once.
#[async_trait]
pub(crate) trait Line: Send + Sync {
    /// Puts people at the numbers of their tickets. Who is new counts as seen now.
    async fn put(&self, line: &LineOf, people: &[(&str, i64)]) -> Result<(), LineError>;

    /// Everybody who waits was put: the line is known from now on, until it is lost or long over.
    async fn open(&self, line: &LineOf) -> Result<(), LineError>;

    /// Somebody asks where they stand, and counts as seen now.
    async fn ask(&self, line: &LineOf, person: &str) -> Result<Standing, LineError>;

    /// These do not wait any more.
    async fn leave(&self, line: &LineOf, people: &[&str]) -> Result<(), LineError>;

    /// Up to so many who were not seen for so long, those not seen for longest first; nobody of a line that is not
    /// known.
    async fn unseen(
        &self,
        line: &LineOf,
        since: Duration,
        limit: usize,
    ) -> Result<Vec<String>, LineError>;
}
