//! A friends port in memory, for tests of what stands behind the port: store-api is another service.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use shared::id::UserId;

use super::{Friends, FriendsError, Graph, Revocation};

/// store-api as tests need it: graphs in memory, which can be out of reach, or slow.
#[derive(Default)]
pub(crate) struct MemoryFriends {
    pub(crate) graphs: Mutex<HashMap<UserId, Graph>>,
    pub(crate) away: AtomicBool,
    pub(crate) reads: AtomicUsize,
    pub(crate) revoked: Mutex<Vec<Revocation>>,
    pub(crate) slow: Mutex<Option<Duration>>,
}

#[async_trait]
impl Friends for MemoryFriends {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        self.reads.fetch_add(1, Relaxed);
        let graphs = {
            let graphs = self.graphs.lock();
            let graph = |user| graphs.get(user).cloned().unwrap_or_default();
            users.iter().map(graph).collect()
        };
        let slow = *self.slow.lock();
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        if self.away.load(Relaxed) {
            return Err(FriendsError::Unavailable("away".into()));
        }
        Ok(graphs)
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        self.reads.fetch_add(1, Relaxed);
        if self.away.load(Relaxed) {
            return Err(FriendsError::Unavailable("away".into()));
        }
        let known = users.iter().filter(|user| user.as_str() != "nobody");
        Ok(known
            .map(|user| (user.clone(), user.as_str().to_uppercase()))
            .collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        Ok(self.revoked.lock().clone())
    }
}
