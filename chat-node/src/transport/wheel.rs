//! One timer wheel per worker thread, shared by all its sessions.
//!
//! An entry is a weak reference in the slot of its tick: 16 bytes, and no timer of the runtime's
//! own. Whoever is woken looks at its own deadlines and asks for its next tick (the scheme is
//! Varghese and Lauck's hashed wheel with lazy deadlines, SOSP 1987).

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

/// How long a tick lasts: the granularity of heartbeats, deadlines and expiries.
pub const TICK: Duration = Duration::from_millis(250);
/// Slots of the wheel: 64 s. A later deadline is looked at once a turn.
const SLOTS: usize = 256;

/// A point in time, in ticks since the wheel began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Tick(u32);

impl Tick {
    /// The tick at or after `delay` from this one; never this one itself.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let ticks = delay.as_millis().div_ceil(TICK.as_millis()).max(1);
        Self(
            self.0
                .saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)),
        )
    }

    /// How long ago `earlier` was.
    pub fn since(self, earlier: Self) -> Duration {
        TICK * self.0.saturating_sub(earlier.0)
    }
}

/// What a wheel wakes.
pub trait Due {
    /// Its tick has come, or the wheel has turned once; it asks for the next one itself.
    fn due(&self);
}

/// The wheel.
#[derive(Default)]
pub struct Wheel {
    now: Cell<u32>,
    slots: RefCell<Vec<Vec<Weak<dyn Due>>>>,
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("now", &self.now.get())
            .finish_non_exhaustive()
    }
}

impl Wheel {
    /// A wheel at tick 0.
    pub fn new() -> Rc<Self> {
        let slots = std::iter::repeat_with(Vec::new).take(SLOTS).collect();
        Rc::new(Self {
            now: Cell::new(0),
            slots: RefCell::new(slots),
        })
    }

    /// The current tick.
    pub fn now(&self) -> Tick {
        Tick(self.now.get())
    }

    /// Wakes `due` at `at`, or after one turn when that is further away. An entry cannot be
    /// taken back: being woken early or in vain is harmless, so keep one entry at a time.
    pub fn wake_at(&self, at: Tick, due: Weak<dyn Due>) {
        let ahead =
            at.0.saturating_sub(self.now.get())
                .clamp(1, SLOTS as u32 - 1);
        let slot = (self.now.get() + ahead) as usize % SLOTS;
        self.slots.borrow_mut()[slot].push(due);
    }

    /// One tick passes.
    pub fn advance(&self) {
        let now = self.now.get().wrapping_add(1);
        self.now.set(now);
        let slot = now as usize % SLOTS;
        // Taken out first: those woken may ask for their next tick at once.
        let woken = std::mem::take(&mut self.slots.borrow_mut()[slot]);
        for due in woken.iter().filter_map(Weak::upgrade) {
            due.due();
        }
    }

    /// Turns the wheel for ever, making up for ticks that a busy worker missed.
    pub async fn run(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(Cell<u32>);
    impl Due for Count {
        fn due(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn wakes_at_the_tick_and_once_a_turn_for_later_ones() {
        let wheel = Wheel::new();
        let count = Rc::new(Count(Cell::new(0)));
        let weak = Rc::downgrade(&count) as Weak<dyn Due>;
        wheel.wake_at(wheel.now().after(TICK * 3), weak.clone());
        wheel.advance();
        wheel.advance();
        assert_eq!(count.0.get(), 0);
        wheel.advance();
        assert_eq!(count.0.get(), 1);
        wheel.wake_at(wheel.now().after(TICK * 10_000), weak.clone());
        for _ in 0..SLOTS {
            wheel.advance();
        }
        assert_eq!(count.0.get(), 2);
        wheel.wake_at(wheel.now(), weak);
        drop(count);
        wheel.advance();
    }

    #[test]
    fn a_delay_rounds_up() {
        assert_eq!(Tick(5).after(Duration::ZERO), Tick(6));
        assert_eq!(Tick(5).after(Duration::from_millis(251)), Tick(7));
        assert_eq!(Tick(7).since(Tick(5)), Duration::from_millis(500));
    }
}
