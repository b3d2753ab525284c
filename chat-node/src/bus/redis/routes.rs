//! Which master has which slots, looked at again and again.

use std::{collections::HashSet, ops::RangeInclusive, sync::Arc, time::Duration};

use shared::telemetry::Sparing;

use super::{Hub, channel::SLOTS, shard::Shard};
use crate::redis::{RedisHost, Shards};

/// How often the masters are asked for.
const LOOK: Duration = Duration::from_secs(5);
/// How soon at the earliest after the last time.
const PAUSE: Duration = Duration::from_millis(250);

/// A shard for every slot. Without a Cluster one has them all.
#[derive(Default)]
pub(super) struct Routes {
    shards: Vec<(Vec<RangeInclusive<u16>>, Arc<Shard>)>,
    /// By slot, which of the shards; none where nobody has it.
    by_slot: Vec<Option<u16>>,
}

impl Routes {
    pub(super) fn shard(&self, slot: u16) -> Option<&Arc<Shard>> {
        let index = (*self.by_slot.get(usize::from(slot))?)?;
        self.shards.get(usize::from(index)).map(|(_, shard)| shard)
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.shards.iter().map(|(_, shard)| shard)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    fn ids(&self) -> HashSet<u64> {
        self.shards().map(|shard| shard.id).collect()
    }

    fn hosts(&self) -> Vec<RedisHost> {
        self.shards().map(|shard| shard.host.clone()).collect()
    }

    /// Routes as `now`; who has the same slots as before stays. None: all do.
    fn follow(&self, now: &Shards, make: impl Fn(&RedisHost) -> Arc<Shard>) -> Option<Self> {
        let stays = |host: &RedisHost, slots: &[RangeInclusive<u16>]| {
            let same = |(had, shard): &&(Vec<_>, Arc<Shard>)| shard.host == *host && had == slots;
            self.shards.iter().find(same).map(|(_, shard)| shard)
        };
        if now.len() == self.shards.len()
            && now.iter().all(|(host, slots)| stays(host, slots).is_some())
        {
            return None;
        }
        let mut by_slot = vec![None; SLOTS];
        let mut shards = Vec::with_capacity(now.len());
        for (index, (host, slots)) in now.iter().enumerate() {
            for slot in slots.iter().cloned().flatten() {
                if let Some(place) = by_slot.get_mut(usize::from(slot)) {
                    *place = Some(index as u16);
                }
            }
            let shard = stays(host, slots).cloned();
            shards.push((slots.clone(), shard.unwrap_or_else(|| make(host))));
        }
        Some(Self { shards, by_slot })
    }
}

/// Follows the masters for ever.
pub(super) async fn keep(hub: Arc<Hub>) {
    let lines = Sparing::new(Duration::from_secs(10));
    loop {
        let known = hub.routes().hosts();
        match hub.dialer.shards(&known).await {
            Ok(now) => install(&hub, &now),
            Err(error) => {
                if let Some(more) = lines.due() {
                    let redis = hub.dialer.address();
                    tracing::warn!(%redis, %error, more, "the masters of Redis cannot be told");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        // A single server does not move.
        let wait = if hub.routes().is_empty() { PAUSE } else { LOOK };
        let _ = tokio::time::timeout(wait, hub.astray.notified()).await;
    }
}

fn install(hub: &Arc<Hub>, now: &Shards) {
    let old = hub.routes();
    let Some(new) = old.follow(now, |host| Shard::new(hub, host.clone())) else {
        return;
    };
    let new = Arc::new(new);
    let ids = new.ids();
    // Before anything of the new ones can be heard, and before the old ones fall silent.
    hub.health.replace(ids.clone());
    *hub.routes.write() = Arc::clone(&new);
    for shard in old.shards().filter(|shard| !ids.contains(&shard.id)) {
        shard.stop();
    }
    for shard in new.shards() {
        shard.start(hub);
    }
    if !old.is_empty() {
        tracing::warn!(masters = ?new.hosts(), "the masters of Redis are others now");
        // What waited for those that are gone is lost.
        hub.losses.happened();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(port: u16) -> RedisHost {
        let host = "h".to_owned();
        RedisHost { host, port }
    }

    #[test]
    fn only_who_has_other_slots_is_made_anew() {
        let made = std::cell::Cell::new(0);
        let make = |host: &RedisHost| {
            made.set(made.get() + 1);
            Shard::unconnected(made.get(), host.clone())
        };
        let first = Shards::from([
            (host(1), vec![0..=99, 300..=16_383]),
            (host(2), vec![100..=299]),
        ]);
        let routes = Routes::default().follow(&first, make).unwrap();
        assert_eq!(routes.shard(99).unwrap().id, 1);
        assert_eq!(routes.shard(100).unwrap().id, 2);
        assert_eq!(routes.shard(16_383).unwrap().id, 1);
        assert!(routes.follow(&first, make).is_none());
        // One slot moves away from 2 to 3; 1 is as before.
        let second = Shards::from([
            (host(1), vec![0..=99, 300..=16_383]),
            (host(2), vec![100..=200]),
            (host(3), vec![201..=250]),
        ]);
        let moved = routes.follow(&second, make).unwrap();
        assert_eq!(moved.shard(0).unwrap().id, 1);
        assert_eq!(moved.shard(100).unwrap().id, 3);
        assert_eq!(moved.shard(201).unwrap().id, 4);
        assert!(moved.shard(251).is_none(), "nobody has it");
        // A fail-over: the same slots at another host.
        let third = Shards::from([(host(9), vec![0..=16_383])]);
        assert_eq!(moved.follow(&third, make).unwrap().shard(7).unwrap().id, 5);
    }
}
