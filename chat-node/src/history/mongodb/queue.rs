//! What may wait: bounds on appends, told to the overload ladder.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use metrics::Gauge;

use crate::overload::{Overload, Source};

/// Counts what waits or is under way, in items and bytes. When it is full, [`Waiting::enter`]
/// refuses at once: nobody waits for room. Its depth is a gauge.
pub(super) struct Waiting {
    items: AtomicUsize,
    bytes: AtomicUsize,
    max_items: usize,
    max_bytes: usize,
    depth: Gauge,
    pressed: OnceLock<Overload>,
}

impl Waiting {
    pub(super) fn new(max_items: usize, max_bytes: usize, depth: Gauge) -> Self {
        Self {
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_items,
            max_bytes,
            depth,
            pressed: OnceLock::new(),
        }
    }

    /// From now on tells the overload ladder how full it is. Once.
    pub(super) fn report_to(&self, overload: Overload) {
        let _ = self.pressed.set(overload);
    }

    /// Room for one more, until the ticket is dropped; one that is too heavy goes in alone.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Option<Ticket> {
        let ticket = Ticket {
            waiting: Arc::clone(self),
            bytes,
        };
        let items = self.items.fetch_add(1, Relaxed) + 1;
        let held = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        // Dropping the ticket takes it back.
        if items > self.max_items || (held > self.max_bytes && items > 1) {
            return None;
        }
        self.tell();
        Some(ticket)
    }

    fn tell(&self) {
        self.depth.set(self.items.load(Relaxed) as f64);
        if let Some(overload) = self.pressed.get() {
            let fullest = || {
                let part = |used: usize, bound: usize| used.saturating_mul(1000) / bound.max(1);
                part(self.items.load(Relaxed), self.max_items)
                    .max(part(self.bytes.load(Relaxed), self.max_bytes))
            };
            overload.report(Source::History, fullest, 1000);
        }
    }
}

/// Holds a place.
pub(super) struct Ticket {
    waiting: Arc<Waiting>,
    bytes: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.items.fetch_sub(1, Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Relaxed);
        self.waiting.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(items: usize, bytes: usize) -> Arc<Waiting> {
        Arc::new(Waiting::new(items, bytes, Gauge::noop()))
    }

    #[test]
    fn it_refuses_beyond_either_bound_and_takes_again_what_was_given_back() {
        let by_items = waiting(2, 100);
        let held = (by_items.enter(1), by_items.enter(1));
        assert!(held.0.is_some() && held.1.is_some());
        assert!(by_items.enter(1).is_none());
        drop(held);
        assert!(by_items.enter(1).is_some());

        let by_bytes = waiting(10, 100);
        let held = by_bytes.enter(60);
        assert!(by_bytes.enter(60).is_none());
        drop(held);
        let alone = by_bytes.enter(500);
        assert!(alone.is_some() && by_bytes.enter(1).is_none());
    }

    #[test]
    fn the_ladder_is_told_how_full_it_is() {
        let waiting = waiting(10, 100);
        let overload = Overload::default();
        waiting.report_to(overload.clone());
        let held = waiting.enter(96);
        assert_eq!(overload.rung(), 4);
        drop(held);
        assert_eq!(overload.rung(), 0);
    }
}
