//! A node's way to the presence store: the port over the one store of a schedule, slow and unreliable.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chat_node::presence::{
    DeviceState, Incarnation, Lease, LocalPresenceNode, PresenceError, PresenceStore, Reaped,
    Standing,
};
use shared::id::{Timestamp, UserId};
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::sleep;

use crate::{
    dice::{Of, Roll},
    link::Link,
    plant::Plant,
    trace::note,
};

/// The link of one life of a node.
pub(crate) struct Leased {
    pub(crate) store: LocalPresenceNode,
    /// Shares its fate with the link to history.
    pub(crate) link: Arc<Link>,
}

fn away() -> PresenceError {
    PresenceError::Unavailable("the link is cut".into())
}

impl Leased {
    /// Waits as long as it takes to get there; `Err` when it does not.
    async fn there(&self) -> Result<Roll, PresenceError> {
        let link = &self.link;
        let mut roll = link.dice.roll(Of::Presence, link.node as u64, 0);
        sleep(Duration::from_millis(roll.within(0, 6))).await;
        let fails = roll.happens(link.faults.read) && !link.calm.load(Relaxed);
        if link.dead.load(Relaxed) || link.away.load(Relaxed) > 0 || fails {
            return Err(away());
        }
        Ok(roll)
    }

    /// Waits for the way back; `Err` when the answer is lost on it.
    async fn back(&self, mut roll: Roll) -> Result<(), PresenceError> {
        sleep(Duration::from_millis(roll.within(0, 6))).await;
        let lost = roll.happens(self.link.faults.append) && !self.link.calm.load(Relaxed);
        if lost { Err(away()) } else { Ok(()) }
    }
}

#[async_trait]
impl PresenceStore for Leased {
    async fn lease(&self) -> Result<Lease, PresenceError> {
        let roll = self.there().await?;
        let lease = self.store.lease().await?;
        note(|| format!("n{} takes a lease: {lease:?}", self.link.node));
        self.back(roll).await?;
        Ok(lease)
    }

    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError> {
        let roll = self.there().await?;
        self.store.renew(lease).await?;
        self.back(roll).await
    }

    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        let mut roll = self.there().await?;
        if self.link.plant == Plant::Unput && roll.happens(100) {
            let users: Vec<UserId> = changes.iter().map(|(user, _)| user.clone()).collect();
            return self.store.read(&users).await;
        }
        let standings = self.store.put(lease, at, changes).await;
        note(|| {
            let changes: Vec<_> = changes
                .iter()
                .map(|(user, held)| (user, held.as_ref().map(|held| held.availability)))
                .collect();
            let outcome = standings.as_ref().map(|_| ());
            format!("n{} puts {changes:?}: {outcome:?}", self.link.node)
        });
        self.back(roll).await?;
        standings
    }

    fn told(&self, lease: Incarnation, users: &[UserId]) {
        let link = &self.link;
        if !link.dead.load(Relaxed) && link.away.load(Relaxed) == 0 {
            self.store.told(lease, users);
        }
    }

    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        let mut roll = self.there().await?;
        let standings = self.store.read(users).await;
        if self.link.faults.slow {
            sleep(Duration::from_millis(roll.within(0, 6))).await;
        }
        standings
    }

    // What was reaped or released is answered once, so no answer is lost here: a store that can lose
    // it answers again (`tests/conformance/presence`).
    async fn reap(&self, lease: Incarnation, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        self.there().await?;
        if self.link.plant == Plant::Unreaped {
            return Ok(Vec::new());
        }
        let mut reaped = self.store.reap(lease, at).await;
        if let Ok(reaped) = &mut reaped
            && self.link.plant == Plant::Unlearnt
        {
            reaped.retain_mut(|one| {
                one.untold = false;
                one.lost.is_some()
            });
        }
        if reaped.as_ref().is_ok_and(|reaped| !reaped.is_empty()) {
            note(|| format!("n{} reaps", self.link.node));
        }
        reaped
    }

    async fn release(
        &self,
        lease: Incarnation,
        at: Timestamp,
    ) -> Result<Vec<Reaped>, PresenceError> {
        self.there().await?;
        self.store.release(lease, at).await
    }
}
