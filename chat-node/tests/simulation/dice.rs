//! Where every choice of a schedule comes from: its seed.
//!
//! A roll is named by what it decides (which kind of thing, on which node, about which room, the
//! how-manieth), not by when it is made. So two things that happen at one moment may change places
//! without changing what becomes of either, and a step taken out of a schedule leaves most of the
//! rest as it was: that is what makes seeds replay and schedules shrink.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    Plan,
    Append,
    Read,
    Publish,
    Subscribe,
    Client,
    Presence,
}

/// The dice of one schedule.
pub(crate) struct Dice {
    seed: u64,
    thrown: Mutex<HashMap<(Of, u64, u64), u64>>,
}

/// One throw, from which any number of choices may be taken.
#[derive(Debug, Clone)]
pub(crate) struct Roll(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            thrown: Mutex::default(),
        }
    }

    /// The next throw about this.
    pub(crate) fn roll(&self, of: Of, who: u64, what: u64) -> Roll {
        let mut thrown = self.thrown.lock();
        let times = thrown.entry((of, who, what)).or_default();
        *times += 1;
        let mut roll = Roll(self.seed);
        for part in [of as u64, who, what, *times] {
            roll.0 = roll.next() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        roll
    }
}

impl Roll {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A number from `low` to `high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Happens this often in a thousand.
    pub(crate) fn happens(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// One of these.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
