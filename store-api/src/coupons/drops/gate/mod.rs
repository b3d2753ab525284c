//! The gate before a drop: decides in moments who may go on to the database for a coupon, so that it is
//! asked by as many as there are coupons, and not by everybody.
//!
//! A gate may be wrong, and lose everything at any time: who gets a coupon the database says, and who was
//! told that they have one stands there. A gate that lets in too many costs the database some
//! questions; a place it keeps for somebody who does not come on is free again after a while.

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use local::LocalGate;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisGate;

mod local;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;

/// For how long a place is kept for somebody who was let in: longer than a transaction may take, so that
/// it is given to another only if the store that let them in is gone.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(15);
/// How long after its end a drop is remembered, in milliseconds.
const REMEMBERED: i64 = 60 * 60 * 1000;

/// A drop, as a gate knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GateDrop {
    /// The campaign.
    pub(crate) id: String,
    /// How many places there are.
    pub(crate) places: u64,
    /// Until when people come, in milliseconds since the epoch.
    pub(crate) closes_at: i64,
}

/// Whether somebody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// They have a place: a new one, or the one they had.
    In,
    /// All places are taken.
    Full,
}

/// A gate that does not answer; what it was asked may be done all the same.
#[derive(Debug, thiserror::Error)]
#[error("the gate of drops: {0}")]
pub(crate) struct GateError(pub(crate) String);

/// Who has a place in which drop.
///
/// Each method is one act for all drops: what two stores ask at the same time happens one after the other.
/// Doing something twice is doing it once.
#[async_trait]
pub(crate) trait Gate: Send + Sync {
    /// Lets people in, in their order, while there are places, and answers for each in that order; nothing
    /// if the drop is not known here, which [`Gate::open`] changes. Who has a place is let in again. The place of
    /// who is new is kept for a while, in which they have to be settled.
    async fn enter(
        &self,
        drop: &GateDrop,
        people: &[&str],
    ) -> Result<Option<Vec<Entry>>, GateError>;

    /// These have a coupon: their places are theirs for good, also if they had none, and even if there are
    /// more of them than places.
    async fn settle(&self, drop: &GateDrop, people: &[&str]) -> Result<(), GateError>;

    /// These get none: their places are free. Settled ones stay.
    async fn leave(&self, drop: &GateDrop, people: &[&str]) -> Result<(), GateError>;

    /// Everybody who has a coupon was settled: the drop is known from now on, until it is lost or long over.
    async fn open(&self, drop: &GateDrop) -> Result<(), GateError>;
}
