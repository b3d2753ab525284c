//! Which links stand, and what the receiver is told of it.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::bus::inbox::Inbox;

/// The number of a [`super::shard::Shard`]; never given twice.
pub(super) type ShardId = u64;

/// Tells the receiver `Interrupted` with the first subscription link that breaks, and `Restored`
/// when the last one stands again with everything that it had.
pub(super) struct Health {
    inbox: Inbox,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    current: HashSet<ShardId>,
    /// Known to be broken, after the receiver could believe that they stood.
    broken: HashSet<ShardId>,
    /// Not up yet, for the first time.
    starting: HashSet<ShardId>,
}

impl Health {
    pub(super) fn new(inbox: Inbox) -> Self {
        let links = Mutex::default();
        Self { inbox, links }
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// These are the links from now on. New ones among them stand when they say so; unless they
    /// are the very first, that is an interruption.
    pub(super) fn replace(&self, ids: HashSet<ShardId>) {
        let mut links = self.links.lock();
        let first = links.current.is_empty();
        let was_broken = !links.broken.is_empty();
        let new: Vec<ShardId> = ids.difference(&links.current).copied().collect();
        links.broken.retain(|id| ids.contains(id));
        links.starting.retain(|id| ids.contains(id));
        if first {
            links.starting.extend(new);
        } else {
            links.broken.extend(new);
        }
        links.current = ids;
        self.tell(was_broken, &links);
    }

    /// A link is broken.
    pub(super) fn broken(&self, id: ShardId) {
        let mut links = self.links.lock();
        // Of a link that was replaced nobody wants to know any more.
        if links.current.contains(&id) && !links.starting.contains(&id) {
            let was_broken = !links.broken.is_empty();
            links.broken.insert(id);
            self.tell(was_broken, &links);
        }
    }

    /// A link stands, with all subscriptions confirmed.
    pub(super) fn stands(&self, id: ShardId) {
        let mut links = self.links.lock();
        let was_broken = !links.broken.is_empty();
        links.broken.remove(&id);
        links.starting.remove(&id);
        self.tell(was_broken, &links);
    }

    /// Whether all stand.
    pub(super) fn all_stand(&self) -> bool {
        let links = self.links.lock();
        !links.current.is_empty() && links.broken.is_empty() && links.starting.is_empty()
    }

    /// Whether the links are still on their way up for the first time.
    pub(super) fn starting(&self) -> bool {
        let links = self.links.lock();
        links.current.is_empty() || !links.starting.is_empty()
    }

    /// Called with the lock held: what is told comes in the order in which it came about.
    fn tell(&self, was_broken: bool, links: &Links) {
        let broken = !links.broken.is_empty();
        metrics::gauge!("fireside_bus_redis_broken").set(links.broken.len() as f64);
        match (was_broken, broken) {
            (false, true) => self.inbox.interrupted(),
            (true, false) => self.inbox.restored(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{BusEvent, BusReceiver};

    fn told(heard: &mut BusReceiver) -> Vec<BusEvent> {
        std::iter::from_fn(|| heard.try_recv().ok()).collect()
    }

    #[test]
    fn the_first_break_interrupts_and_the_last_mending_restores() {
        let (inbox, mut heard) = Inbox::new(8);
        let health = Health::new(inbox);
        assert!(health.starting() && !health.all_stand());
        health.replace(HashSet::from([1, 2]));
        health.broken(1);
        health.stands(1);
        assert!(health.starting());
        health.stands(2);
        assert!(health.all_stand());
        assert_eq!(told(&mut heard), [], "a start is no interruption");
        health.broken(1);
        health.broken(2);
        health.stands(1);
        assert_eq!(told(&mut heard), [BusEvent::Interrupted]);
        health.stands(2);
        assert_eq!(told(&mut heard), [BusEvent::Restored]);
        // Another link in the place of one that stood is an interruption, and so is one in the
        // place of a broken one, whose own word counts no longer.
        health.replace(HashSet::from([1, 3]));
        assert_eq!(told(&mut heard), [BusEvent::Interrupted]);
        health.replace(HashSet::from([1, 4]));
        health.stands(3);
        health.broken(2);
        assert!(!health.all_stand());
        health.stands(4);
        assert_eq!(told(&mut heard), [BusEvent::Restored]);
        assert!(health.all_stand());
    }
}
