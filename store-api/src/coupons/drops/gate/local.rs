//! A gate in the memory of this process, for a store that is alone, or out of reach of Redis.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use shared::id::Timestamp;

use super::{Entry, Gate, GateDrop, GateError, KEPT_FOR, REMEMBERED};

/// Bound: the people of drops that are open or ended within the last hour.
pub(crate) struct LocalGate {
    drops: Mutex<HashMap<String, Places>>,
    kept_for: Duration,
}

#[derive(Default)]
struct Places {
    /// Whether everybody who has a coupon is here.
    known: bool,
    closes_at: i64,
    /// Until when the place is kept; none if it is settled.
    people: HashMap<String, Option<Instant>>,
    /// Before then no place is free again.
    next_free: Option<Instant>,
}

impl Default for LocalGate {
    fn default() -> Self {
        Self::keeping(KEPT_FOR)
    }
}

impl LocalGate {
    /// One that keeps places for so long.
    pub(super) fn keeping(kept_for: Duration) -> Self {
        Self {
            drops: Mutex::default(),
            kept_for,
        }
    }
}

impl Places {
    fn enter(&mut self, person: &str, places: u64, until: Instant) -> Entry {
        if let Some(kept) = self.people.get_mut(person) {
            if kept.is_some() {
                *kept = Some(until);
            }
            return Entry::In;
        }
        if self.people.len() as u64 >= places {
            self.free();
        }
        if self.people.len() as u64 >= places {
            return Entry::Full;
        }
        self.people.insert(person.to_owned(), Some(until));
        self.next_free.get_or_insert(until);
        Entry::In
    }

    /// Lets go of places that nobody settled in time. It costs a look at all, so not more often than
    /// there may be one.
    fn free(&mut self) {
        let now = Instant::now();
        if self.next_free.is_some_and(|next| next <= now) {
            self.people
                .retain(|_, kept| kept.is_none_or(|until| until > now));
            self.next_free = self.people.values().flatten().min().copied();
        }
    }
}

#[async_trait]
impl Gate for LocalGate {
    async fn enter(
        &self,
        drop: &GateDrop,
        people: &[&str],
    ) -> Result<Option<Vec<Entry>>, GateError> {
        let until = Instant::now() + self.kept_for;
        let mut drops = self.drops.lock();
        let Some(places) = drops.get_mut(&drop.id).filter(|places| places.known) else {
            return Ok(None);
        };
        let enter = |person: &&str| places.enter(person, drop.places, until);
        Ok(Some(people.iter().map(enter).collect()))
    }

    async fn settle(&self, drop: &GateDrop, people: &[&str]) -> Result<(), GateError> {
        let mut drops = self.drops.lock();
        let places = drops.entry(drop.id.clone()).or_default();
        places.closes_at = drop.closes_at;
        for person in people {
            places.people.insert((*person).to_owned(), None);
        }
        Ok(())
    }

    async fn leave(&self, drop: &GateDrop, people: &[&str]) -> Result<(), GateError> {
        if let Some(places) = self.drops.lock().get_mut(&drop.id) {
            for person in people {
                if places.people.get(*person).is_some_and(Option::is_some) {
                    places.people.remove(*person);
                }
            }
        }
        Ok(())
    }

    async fn open(&self, drop: &GateDrop) -> Result<(), GateError> {
        let old = Timestamp::now().as_millis() - REMEMBERED;
        let mut drops = self.drops.lock();
        drops.retain(|_, places| places.closes_at > old);
        let places = drops.entry(drop.id.clone()).or_default();
        places.known = true;
        places.closes_at = drop.closes_at;
        Ok(())
    }
}
