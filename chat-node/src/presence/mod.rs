//! Presence: what each device says, one state per user, and what each viewer may see of it.
//!
//! A device's state goes into the [roster](self) of its node, which merges the node's devices
//! and hands the result to the [`PresenceStore`] once the user's grace and damping allow; the
//! store answers what all nodes hold, and the change is told to the friends who are online, to
//! those who watch a room with the user in it, and to the user's other devices. [`merge`] and
//! [`project`] are pure.
//!
//! **Leases.** A node holds one lease, renewed every [`RENEW_EVERY`], gone after [`LEASE_FOR`]. What it
//! holds hangs on the lease, so nothing is refreshed user by user. Any node reaps an expired
//! lease and tells the friends of those who went offline with it, once.
//!
//! **Telling.** A change is in the store before anybody is told, and its node may die in between. So a
//! lease also answers for telling: a user whom it changed, as others may see, is noted with it until
//! the node says that they were [told](PresenceStore::told), and whoever reaps it learns of those too and
//! tells them as they stand by then. The reaper answers for them in the same way, so it may
//! die as well. To be told twice is harmless, and what is told late is known by its version.
//!
//! Every backend of the port passes `tests/conformance/presence.rs`.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shared::id::{NodeId, Timestamp, UserId};

mod book;
mod device;
mod drive;
mod gauges;
mod local;
mod merge;
mod opened;
#[cfg(test)]
mod operations;
mod project;
#[cfg(feature = "redis")]
mod redis;
mod roster;
#[cfg(test)]
mod schedules;
mod service;
mod settings;
mod tell;
mod views;
mod watch;

pub use device::{Availability, DeviceState};
pub use gauges::METRICS;
pub use local::{LocalPresence, LocalPresenceNode, Seen, SeenTimes};
pub use merge::{merge, merged};
pub use opened::Opened;
pub use project::{Known, Relation, project};
#[cfg(feature = "redis")]
pub use redis::RedisPresence;
pub use service::Presence;
pub use settings::PresenceSettings;
pub use watch::{MAX_WATCHED_MEMBERS, MAX_WATCHES};

/// How often a node renews its lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a lease holds without being renewed.
pub const LEASE_FOR: Duration = Duration::from_secs(15);
/// How long after the store has lost everything all nodes have noticed and handed over again what
/// they hold: each notices when it renews its lease.
pub const HANDED_OVER_IN: Duration = Duration::from_secs(6);

/// What the nodes hold of their users' presence. One handle belongs to one node.
///
/// A user is **visible** while some node holds a state of the user and none holds an invisible one.
/// Whenever a change takes a user from visible to not visible, the store notes the time of
/// that change as last seen; nothing else moves it, so it tells nothing about an invisible user.
#[async_trait]
pub trait PresenceStore: Send + Sync + 'static {
    /// Takes a lease for this node under a new incarnation, from now for [`LEASE_FOR`]. What
    /// an earlier incarnation held stays until that one's lease has expired and is reaped.
    async fn lease(&self) -> Result<Lease, PresenceError>;

    /// Extends the lease to [`LEASE_FOR`] from now.
    ///
    /// # Errors
    /// [`PresenceError::Expired`] when it has run out or was reaped: take another, hand all over again.
    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError>;

    /// Replaces what this node holds of each user (`None`: nothing any more), in order, and
    /// answers how each stands then, in the same order. Atomic for each user; each that changes
    /// something gets a version above all that user's before. Idempotent. For whom it changed so
    /// that others may see it, the lease answers until [`PresenceStore::told`].
    ///
    /// # Errors
    /// [`PresenceError::Expired`] as for [`PresenceStore::renew`]; nothing was changed.
    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError>;

    /// What was put of these users under the lease, or answered to it by [`PresenceStore::reap`], has
    /// been told, or nobody had to be. Not to be called while a put of one of them waits for its
    /// answer. Never waits; it may get lost, and then they are told once more when the lease ends.
    fn told(&self, lease: Incarnation, users: &[UserId]);

    /// How users stand, in the order asked, in one round trip. What an expired lease holds
    /// counts until it is reaped.
    ///
    /// # Errors
    /// [`PresenceError::Expired`] when the store no longer knows the lease this node took last,
    /// and so not all there is to know: renew it, or take another. [`PresenceError::Unavailable`] also for
    /// [`HANDED_OVER_IN`] after the store has lost everything.
    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError>;

    /// Takes away what expired leases held, of a bounded number of users: call again until none is
    /// answered. Answers with whom such a lease held, and for whom it has to answer. Each is
    /// answered to exactly one caller, and again to another only if the first may not have got the
    /// answer; if others may have to be told, `lease`, this node's own, answers for that from then on.
    async fn reap(&self, lease: Incarnation, at: Timestamp) -> Result<Vec<Reaped>, PresenceError>;

    /// Gives the lease back with all it holds, as if it had expired and were reaped here; of those
    /// it answers, nobody else learns. Idempotent.
    async fn release(
        &self,
        lease: Incarnation,
        at: Timestamp,
    ) -> Result<Vec<Reaped>, PresenceError>;
}

/// A lease just taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The life it begins.
    pub incarnation: Incarnation,
    /// The store has lost what was in it since this node took a lease from it before: every node
    /// is about to hand over again what it holds, and what died meanwhile nobody will reap.
    pub forgot: bool,
}

/// Numbers the lives of a node: a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The life of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How a user stands over all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// What each node holds, merged over its devices.
    pub held: Vec<Holding>,
    /// When the user last ceased to be visible.
    pub last_seen: Option<Timestamp>,
    /// Grows with every change; 0 when the store has never heard of the user.
    pub version: u64,
    /// When it last changed.
    pub changed: Option<Timestamp>,
}

/// What one life of one node holds of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The state of the devices there.
    pub state: DeviceState,
}

impl Standing {
    /// The state over all nodes; `None` is offline.
    pub fn merged(&self) -> Option<DeviceState> {
        merged(self.held.iter().map(|holding| &holding.state))
    }

    /// The state over all but one life of one node.
    pub fn elsewhere(&self, node: &NodeId, incarnation: Incarnation) -> Option<DeviceState> {
        let here = |holding: &&Holding| holding.node == *node && holding.incarnation == incarnation;
        let others = self.held.iter().filter(|holding| !here(holding));
        merged(others.map(|holding| &holding.state))
    }

    /// As [`project`] takes it.
    pub fn known(&self) -> Known {
        Known::Is {
            state: self.merged(),
            last_seen: self.last_seen,
        }
    }
}

/// What was taken from a lease that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    /// Whose.
    pub user: UserId,
    /// What the lease held; `None`: nothing any more.
    pub lost: Option<DeviceState>,
    /// The lease has to answer for telling of the user: something that others may see was told
    /// to nobody, or not to all.
    pub untold: bool,
    /// How the user stands without it.
    pub standing: Standing,
}

impl Reaped {
    /// How the user stood with what the lease held.
    fn before(&self) -> Option<DeviceState> {
        merged(self.standing.merged().iter().chain(&self.lost))
    }

    /// Whether others have to be told: of who hid they know nothing.
    fn is_to_be_told(&self) -> bool {
        self.untold || seen(self.before().as_ref()) != seen(self.standing.merged().as_ref())
    }
}

/// What friends see of a state.
fn seen(state: Option<&DeviceState>) -> Option<&DeviceState> {
    state.filter(|state| state.availability != Availability::Invisible)
}

/// Something that nobody takes for this state, whatever they may see of it.
fn other_than(state: Option<&DeviceState>) -> Option<DeviceState> {
    seen(state).is_none().then(DeviceState::default)
}

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The lease is no longer this node's.
    #[error("the presence lease has expired")]
    Expired,
    /// Out of reach; what was asked may have been done.
    #[error("the presence store is out of reach: {0}")]
    Unavailable(String),
}
