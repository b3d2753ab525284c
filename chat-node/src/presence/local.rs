//! Presence within one process. Several nodes may share it, as a cluster in one process does.
//!
//! Bound: users with a state by their sessions; of users who are gone, the time last seen of the
//! [`MAX_REMEMBERED`](super::book) who left last. Of the others, and over a restart, [`SeenTimes`] keeps it: written
//! when somebody goes, taken out when they come back. So after a crash nothing is known of those who
//! were there, rather than something old.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use shared::id::{NodeId, Timestamp, UserId};
use tokio::time::Instant;

use super::{
    DeviceState, Incarnation, Lease, PresenceError, PresenceStore, Reaped, Standing,
    book::{Book, Life},
};

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
            let unknown = users.filter(|user| !book.knows(user));
            unknown.cloned().collect()
        };
        if unknown.is_empty() {
            return;
        }
        let recalled = seen.recall(unknown).await;
        let mut book = self.book.lock();
        for (user, at) in recalled {
            book.recall(user, at);
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

#[async_trait]
impl PresenceStore for LocalPresenceNode {
    async fn lease(&self) -> Result<Lease, PresenceError> {
        let mut book = self.book.lock();
        let incarnation = book.lease(&self.node, Instant::now());
        Ok(Lease {
            incarnation,
            forgot: false,
        })
    }

    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError> {
        let mut book = self.book.lock();
        book.renew(&self.life(lease), Instant::now())
    }

    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        self.recall(changes.iter().map(|(user, _)| user)).await;
        let mut book = self.book.lock();
        let standings = book.put(&self.life(lease), Instant::now(), at, changes);
        self.note(book);
        standings
    }

    fn told(&self, lease: Incarnation, users: &[UserId]) {
        self.book.lock().told(&self.life(lease), users);
    }

    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        self.recall(users.iter()).await;
        let book = self.book.lock();
        Ok(users.iter().map(|user| book.standing(user)).collect())
    }

    async fn reap(&self, lease: Incarnation, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        let mut book = self.book.lock();
        let reaped = book.reap(&self.life(lease), Instant::now(), at);
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
