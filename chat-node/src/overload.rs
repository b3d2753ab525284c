//! The overload ladder: what is shed first. Typing, then presence, then receipts, then sends,
//! which are refused with `busy`; what was acknowledged is never dropped.
//!
//! Pressure is the fullest of the queues that report here, as a fraction of its bound. A rung is
//! stepped on at once and left only when pressure has fallen well below it, so that it does not
//! flutter.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use parking_lot::Mutex;
use shared::telemetry::Metric;

/// What may be shed, in the order it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shed {
    /// Typing notices.
    Typing = 1,
    /// Presence changes; the newest is told when pressure has gone.
    Presence = 2,
    /// Read markers of others.
    Receipts = 3,
    /// New messages: refused with `busy` before they are stored.
    Sends = 4,
}

/// Pressure, in thousandths of a bound, at which each rung is stepped on, and left again.
const RUNGS: [(u32, u32); 4] = [(500, 300), (650, 450), (800, 600), (950, 750)];

/// The metrics of this module.
pub const METRICS: &[Metric] = &[Metric::gauge(
    "fireside_overload_rung",
    "The rung of the overload ladder: 0 nothing is shed, 1 typing, 2 presence, 3 receipts, 4 sends refused",
)];

/// A queue that reports its pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The fullest relay inbox.
    Relay = 0,
    /// What waits to be written to history.
    History = 1,
}

/// The ladder of one node; a clone is the same ladder.
#[derive(Debug, Clone, Default)]
pub struct Overload(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By source, in thousandths. Held until the rung has followed: of two threads that step at
    /// once, one would leave a rung that no pressure holds up, and at rest nobody reports again.
    pressure: Mutex<[u32; 2]>,
    rung: AtomicU8,
}

impl Overload {
    /// Whether this is still done at the present pressure.
    pub fn allows(&self, what: Shed) -> bool {
        self.0.rung.load(Relaxed) < what as u8
    }

    /// The rung: 0 nothing is shed, 4 sends are refused.
    pub fn rung(&self) -> u8 {
        self.0.rung.load(Relaxed)
    }

    /// A queue holds `used` of at most `bound`. `used` is asked for when it is this report's turn,
    /// so that what is older never comes after what is newer.
    pub fn report(&self, source: Source, used: impl FnOnce() -> usize, bound: usize) {
        let mut pressure = self.0.pressure.lock();
        let thousandths = used().saturating_mul(1000) / bound.max(1);
        let thousandths = u32::try_from(thousandths).unwrap_or(u32::MAX);
        if std::mem::replace(&mut pressure[source as usize], thousandths) == thousandths {
            return;
        }
        let pressure = pressure.into_iter().max().unwrap_or(0);
        let before = self.rung();
        let after = step(before, pressure);
        if before != after {
            self.0.rung.store(after, Relaxed);
            metrics::gauge!("fireside_overload_rung").set(f64::from(after));
            tracing::warn!(rung = after, pressure, "the overload ladder moved");
        }
    }
}

/// The rung that follows from one rung at a pressure.
fn step(mut rung: u8, pressure: u32) -> u8 {
    while usize::from(rung) < RUNGS.len() && pressure >= RUNGS[usize::from(rung)].0 {
        rung += 1;
    }
    while rung > 0 && pressure < RUNGS[usize::from(rung) - 1].1 {
        rung -= 1;
    }
    rung
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn sheds_in_order_and_comes_back_late() {
        let ladder = Overload::default();
        assert!(ladder.allows(Shed::Typing));
        ladder.report(Source::Relay, || 70, 100);
        assert!(!ladder.allows(Shed::Typing) && !ladder.allows(Shed::Presence));
        assert!(ladder.allows(Shed::Receipts) && ladder.allows(Shed::Sends));
        ladder.report(Source::Relay, || 50, 100);
        assert_eq!(
            ladder.rung(),
            2,
            "a rung is left only well below where it began"
        );
        ladder.report(Source::History, || 99, 100);
        assert!(!ladder.allows(Shed::Sends));
        ladder.report(Source::History, || 0, 100);
        assert_eq!(ladder.rung(), 2);
        ladder.report(Source::Relay, || 0, 100);
        assert_eq!(ladder.rung(), 0);
    }

    /// One thread has looked at a full queue when another reports that it is empty: the older
    /// look must not be what stands, or the rung would refuse every send for ever.
    #[test]
    fn an_older_look_does_not_overtake_a_newer_one() {
        let ladder = Overload::default();
        let (looked, about_to_report) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let used = || {
                    looked.wait();
                    about_to_report.wait();
                    // Let the other go ahead, if it can.
                    (0..1_000).for_each(|_| std::thread::yield_now());
                    100
                };
                ladder.report(Source::Relay, used, 100);
            });
            threads.spawn(|| {
                looked.wait();
                about_to_report.wait();
                ladder.report(Source::Relay, || 0, 100);
            });
        });
        assert_eq!(ladder.rung(), 0);
    }
}
