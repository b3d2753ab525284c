//! What was published and may have reached nobody: told to the others, who cannot know.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{Hub, channel::slot, shard::publication};
use crate::bus::BusError;

/// How long losses are gathered before they are told.
const GATHER: Duration = Duration::from_millis(100);
/// How long after one note the next may follow at the earliest: everybody reads again on it.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon a note that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long after one repair the next may follow at the earliest.
const REPAIR_PAUSE: Duration = Duration::from_millis(500);

/// Losses to tell, and losses heard of.
#[derive(Default)]
pub(super) struct Losses {
    ours: Notify,
    theirs: Notify,
}

impl Losses {
    /// Something of ours was not published, or may not have been.
    pub(super) fn happened(&self) {
        self.ours.notify_one();
    }

    /// A note came, of this process or another one.
    pub(super) fn heard(&self, hub: &Hub, note: &[u8]) {
        if note != hub.process.to_be_bytes() {
            self.theirs.notify_one();
        }
    }
}

/// Counts messages that were lost.
pub(super) fn count_lost(reason: &'static str, messages: u64) {
    metrics::counter!("fireside_bus_redis_lost_total", "reason" => reason).increment(messages);
}

/// Tells the others of our losses, for ever.
pub(super) async fn tell(hub: Arc<Hub>) {
    loop {
        hub.losses.ours.notified().await;
        tokio::time::sleep(GATHER).await;
        while note(&hub).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        count_note("told");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn note(hub: &Hub) -> Result<(), BusError> {
    let routes = hub.routes();
    // As long as a master cannot be published to there will be further losses; who would hear
    // from it is without it as well, and repairs when it is back.
    if !routes.shards().all(|shard| shard.publishes()) {
        return Err(super::out_of_reach());
    }
    let channel = hub.names.losses();
    let shard = routes
        .shard(slot(&channel))
        .ok_or_else(super::out_of_reach)?;
    let command = publication(hub, &channel, &hub.process.to_be_bytes());
    shard.confirm(command).await
}

/// Has the receiver read again what others have lost, for ever.
pub(super) async fn repair(hub: Arc<Hub>) {
    loop {
        hub.losses.theirs.notified().await;
        count_note("heard");
        hub.health.inbox().blink();
        tokio::time::sleep(REPAIR_PAUSE).await;
    }
}

fn count_note(way: &'static str) {
    metrics::counter!("fireside_bus_redis_losses_told_total", "way" => way).increment(1);
}
