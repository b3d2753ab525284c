//! Presence within one process. Several nodes may share it, as a cluster in one process does.
//!
//! Bound: users with a state by their sessions; of users who are gone, the time last seen of the
//! [`MAX_REMEMBERED`] who left last. Of the others, and over a restart, [`SeenTimes`] keeps it: written
//! when somebody goes, taken out when they come back. So after a crash nothing is known of those who
//! were there, rather than something old.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use shared::id::{NodeId, Timestamp, UserId};
use tokio::time::Instant;

use super::{
    Availability, DeviceState, Holding, Incarnation, LEASE_FOR, Lease, PresenceError,
    PresenceStore, Reaped, Standing,
};

/// Of how many users who are gone the time last seen is kept.
const MAX_REMEMBERED: usize = 200_000;

/// When a user was last seen; `None`: they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub user: UserId,
    /// When.
    pub at: Option<Timestamp>,
}

/// What keeps the times last seen over a restart.
#[async_trait]
pub trait SeenTimes: Send + Sync + 'static {
    /// Takes these in, in order, over what stood before. Never waits; what cannot be taken is lost.
    fn note(&self, seen: Vec<Seen>);

    /// When users were last seen; who is there, or was never noted, is left out. All are, when
    /// it cannot be read.
    async fn recall(&self, users: Vec<UserId>) -> HashMap<UserId, Timestamp>;
}

/// The store that the nodes of one process share. Clones are the same store.
#[derive(Clone, Default)]
pub struct LocalPresence {
    book: Arc<Mutex<Book>>,
    seen: Option<Arc<dyn SeenTimes>>,
}

/// One node's handle.
pub struct LocalPresenceNode {
    node: NodeId,
    book: Arc<Mutex<Book>>,
    seen: Option<Arc<dyn SeenTimes>>,
}

type Life = (NodeId, Incarnation);

#[derive(Default)]
struct Book {
    leases: HashMap<Life, Held>,
    standings: HashMap<UserId, Standing>,
    incarnations: u64,
    versions: u64,
    /// Who came and went, to be noted when the book is closed.
    noted: Vec<Seen>,
}

struct Held {
    expires: Instant,
    users: HashSet<UserId>,
}

impl LocalPresence {
    /// A store that holds nothing, and forgets everything with the process.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that holds nothing but when users were last seen.
    pub fn remembering(seen: Arc<dyn SeenTimes>) -> Self {
        Self {
            seen: Some(seen),
            ..Self::default()
        }
    }

    /// A handle for `node`.
    pub fn node(&self, node: NodeId) -> LocalPresenceNode {
        LocalPresenceNode {
            node,
            book: Arc::clone(&self.book),
            seen: self.seen.clone(),
        }
    }
}

impl LocalPresenceNode {
    fn life(&self, incarnation: Incarnation) -> Life {
        (self.node.clone(), incarnation)
    }

    /// Brings when users were last seen into the book, of those it does not know.
    async fn recall<'a>(&self, users: impl Iterator<Item = &'a UserId>) {
        let Some(seen) = &self.seen else {
            return;
        };
        let unknown: Vec<UserId> = {
            let book = self.book.lock();
            let unknown = users.filter(|user| !book.standings.contains_key(*user));
            unknown.cloned().collect()
        };
        if unknown.is_empty() {
            return;
        }
        let recalled = seen.recall(unknown).await;
        let mut book = self.book.lock();
        for (user, at) in recalled {
            // Whoever came meanwhile stands there already.
            let standing = book.standings.entry(user).or_default();
            standing.last_seen = standing.last_seen.max(Some(at));
        }
    }

    /// Has it noted who came and went.
    fn note(&self, mut book: MutexGuard<'_, Book>) {
        let noted = std::mem::take(&mut book.noted);
        if let Some(seen) = &self.seen
            && !noted.is_empty()
        {
            // Under the lock: what is noted of one user keeps its order.
            seen.note(noted);
        }
    }
}

impl Book {
    fn live(&mut self, life: &Life) -> Result<&mut Held, PresenceError> {
        let lease = self.leases.get_mut(life).ok_or(PresenceError::Expired)?;
        if lease.expires <= Instant::now() {
            return Err(PresenceError::Expired);
        }
        Ok(lease)
    }

    fn hold(
        &mut self,
        life: &Life,
        at: Timestamp,
        user: &UserId,
        state: Option<DeviceState>,
    ) -> Standing {
        if state.is_none() && !self.standings.contains_key(user) {
            return Standing::default();
        }
        let standing = self.standings.entry(user.clone()).or_default();
        let here = |holding: &Holding| holding.node == life.0 && holding.incarnation == life.1;
        let before = standing.held.iter().position(here);
        let was_visible = visible(standing);
        let changed = match (before, state) {
            (Some(at), Some(state)) => {
                std::mem::replace(&mut standing.held[at].state, state.clone()) != state
            }
            (Some(at), None) => {
                standing.held.remove(at);
                true
            }
            (None, Some(state)) => {
                let (node, incarnation) = life.clone();
                standing.held.push(Holding {
                    node,
                    incarnation,
                    state,
                });
                true
            }
            (None, None) => false,
        };
        if changed {
            self.versions += 1;
            standing.version = self.versions;
            standing.changed = Some(at);
            let is_visible = visible(standing);
            if was_visible && !is_visible {
                standing.last_seen = standing.last_seen.max(Some(at));
            }
            if was_visible != is_visible {
                self.noted.push(Seen {
                    user: user.clone(),
                    at: standing.last_seen.filter(|_| !is_visible),
                });
            }
        }
        standing.clone()
    }

    fn end(&mut self, life: &Life, at: Timestamp) -> Vec<Reaped> {
        let Some(lease) = self.leases.remove(life) else {
            return Vec::new();
        };
        let reaped = lease.users.into_iter().filter_map(|user| {
            let here =
                |holding: &&Holding| (&holding.node, holding.incarnation) == (&life.0, life.1);
            let standing = self.standings.get(&user)?;
            let lost = standing.held.iter().find(here)?.state.clone();
            let standing = self.hold(life, at, &user, None);
            Some(Reaped {
                user,
                lost,
                standing,
            })
        });
        reaped.collect()
    }

    /// Forgets when the users who left longest ago were last seen.
    fn forget_some(&mut self) {
        let mut gone: Vec<Option<Timestamp>> = Vec::new();
        gone.extend(
            self.standings
                .values()
                .filter(|s| s.held.is_empty())
                .map(|s| s.changed),
        );
        if gone.len() > MAX_REMEMBERED {
            gone.sort_unstable();
            let median = gone[gone.len() / 2];
            self.standings
                .retain(|_, s| !s.held.is_empty() || s.changed > median);
        }
    }
}

fn visible(standing: &Standing) -> bool {
    let invisible = |holding: &Holding| holding.state.availability == Availability::Invisible;
    !standing.held.is_empty() && !standing.held.iter().any(invisible)
}

#[async_trait]
impl PresenceStore for LocalPresenceNode {
    async fn lease(&self) -> Result<Lease, PresenceError> {
        let mut book = self.book.lock();
        book.incarnations += 1;
        let incarnation = Incarnation::new(book.incarnations);
        let held = Held {
            expires: Instant::now() + LEASE_FOR,
            users: HashSet::new(),
        };
        book.leases.insert(self.life(incarnation), held);
        Ok(Lease {
            incarnation,
            forgot: false,
        })
    }

    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError> {
        let mut book = self.book.lock();
        book.live(&self.life(lease))?.expires = Instant::now() + LEASE_FOR;
        Ok(())
    }

    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        self.recall(changes.iter().map(|(user, _)| user)).await;
        let mut book = self.book.lock();
        let life = self.life(lease);
        let mut standings = Vec::with_capacity(changes.len());
        for (user, state) in changes {
            let users = &mut book.live(&life)?.users;
            if state.is_some() {
                users.insert(user.clone());
            } else {
                users.remove(user);
            }
            standings.push(book.hold(&life, at, user, state.clone()));
        }
        self.note(book);
        Ok(standings)
    }

    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        self.recall(users.iter()).await;
        let book = self.book.lock();
        let read = |user| book.standings.get(user).cloned().unwrap_or_default();
        Ok(users.iter().map(read).collect())
    }

    async fn reap(&self, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        let mut book = self.book.lock();
        let now = Instant::now();
        let expired = book.leases.iter().filter(|(_, lease)| lease.expires <= now);
        let expired: Vec<Life> = expired.map(|(life, _)| life.clone()).collect();
        let reaped = expired.iter().flat_map(|life| book.end(life, at)).collect();
        if book.standings.len() > MAX_REMEMBERED {
            book.forget_some();
        }
        self.note(book);
        Ok(reaped)
    }

    async fn release(
        &self,
        lease: Incarnation,
        at: Timestamp,
    ) -> Result<Vec<Reaped>, PresenceError> {
        let mut book = self.book.lock();
        let reaped = book.end(&self.life(lease), at);
        self.note(book);
        Ok(reaped)
    }
}
