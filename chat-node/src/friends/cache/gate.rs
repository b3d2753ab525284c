//! A gate before the reading of a graph, there for as long as somebody is at it.

use std::sync::Arc;

use shared::id::UserId;

use super::FriendCache;

/// Held while a graph is read.
pub(super) type Gate = Arc<tokio::sync::Mutex<()>>;

/// The way through a gate. Who leaves last takes the gate away, even half-way.
pub(super) struct Passage<'a> {
    cache: &'a FriendCache,
    user: &'a UserId,
    /// Until it is dropped.
    gate: Option<Gate>,
}

impl<'a> Passage<'a> {
    pub(super) fn of(cache: &'a FriendCache, user: &'a UserId, gate: &Gate) -> Self {
        let gate = Some(Arc::clone(gate));
        Self { cache, user, gate }
    }

    pub(super) async fn lock(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match &self.gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if let Some(mut held) = self.cache.graphs.get_mut(self.user) {
            // Under the entry's lock, or of two who leave at once neither would be the last.
            self.gate = None;
            if held
                .gate
                .as_ref()
                .is_some_and(|gate| Arc::strong_count(gate) == 1)
            {
                held.gate = None;
            }
        }
    }
}
