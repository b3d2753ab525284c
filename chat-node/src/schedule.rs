//! Schedules of pure parts: a world of a few nodes, played straight through on a clock of its own, without
//! a runtime and so thousands of times a second. All chance in a schedule follows from its seed.
//!
//! - `FIRESIDE_SIM_SEEDS=n` plays so many schedules of each kind.
//! - `FIRESIDE_SIM_SEED=x` plays one of each, and shows what happened.
//!
//! Whole nodes, with all that is not pure, are played by `tests/simulation`, less often.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use parking_lot::Mutex;

thread_local! {
    static TRACE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Notes what happens, if somebody wants to read it.
pub(crate) fn note(what: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(trace) = trace {
            trace.push(what());
        }
    });
}

/// Where the chance of a schedule comes from.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A number from `low` to `high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Happens this often in a thousand.
    pub(crate) fn happens(&mut self, permille: u64) -> bool {
        self.next() % 1_000 < permille
    }
}

/// What is to happen, by when (ms from the beginning) and, at one moment, by when it was said.
pub(crate) struct Agenda<E> {
    pub(crate) now: u64,
    said: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    waiting: Vec<Option<E>>,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            said: 0,
            events: BinaryHeap::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn after(&mut self, ms: u64, event: E) {
        self.at(self.now + ms, event);
    }

    pub(crate) fn at(&mut self, at: u64, event: E) {
        self.said += 1;
        self.events
            .push(Reverse((at, self.said, self.waiting.len())));
        self.waiting.push(Some(event));
    }

    /// The next event, if it is before `until`; its time is now.
    pub(crate) fn next(&mut self, until: u64) -> Option<E> {
        let Reverse((at, ..)) = self.events.peek()?;
        if *at > until {
            return None;
        }
        let Reverse((at, _, place)) = self.events.pop()?;
        self.now = at;
        self.waiting[place].take()
    }
}

/// What went wrong in a schedule.
pub(crate) type Wrong = Vec<String>;

/// Plays the schedules of `seeds` until `enough` have failed; answers those, with the first thing that
/// went wrong.
pub(crate) fn failing(
    seeds: std::ops::Range<u64>,
    enough: usize,
    play: impl Fn(u64) -> Wrong + Sync,
) -> BTreeMap<u64, String> {
    let (next, failing) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failing.lock().len() < enough {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Some(wrong) = play(seed).into_iter().next() {
                        failing.lock().insert(seed, wrong);
                    }
                }
            });
        }
    });
    failing.into_inner()
}

/// Plays one and tells what happened.
fn traced(seed: u64, play: impl Fn(u64) -> Wrong) -> (String, Wrong) {
    TRACE.set(Some(Vec::new()));
    let wrong = play(seed);
    let trace = TRACE.take().unwrap_or_default();
    (trace.join("\n"), wrong)
}

#[allow(clippy::disallowed_methods, reason = "a test has no other options")]
fn option(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Plays as many schedules as were asked for, or the one; none may fail.
pub(crate) fn none_fails(seeds: u64, play: impl Fn(u64) -> Wrong + Sync) {
    if let Some(seed) = option("FIRESIDE_SIM_SEED") {
        let (trace, wrong) = traced(seed, play);
        println!("{trace}");
        assert!(wrong.is_empty(), "{wrong:#?}");
        return;
    }
    let seeds = option("FIRESIDE_SIM_SEEDS").unwrap_or(seeds);
    let began = Instant::now();
    let failing = failing(0..seeds, 20, &play);
    for (seed, wrong) in &failing {
        println!("seed {seed}: {wrong}");
    }
    if let Some(seed) = failing.keys().next() {
        let (trace, wrong) = traced(*seed, &play);
        panic!("{trace}\nFIRESIDE_SIM_SEED={seed}: {wrong:#?}");
    }
    let rate = seeds as f64 / began.elapsed().as_secs_f64();
    println!("{seeds} schedules, {rate:.0} a second");
}

/// What is broken on purpose is seen in one of so many schedules.
pub(crate) fn is_seen(plant: &str, seeds: u64, play: impl Fn(u64) -> Wrong + Sync) {
    let failing = failing(0..seeds, 1, play);
    println!("{plant}: {failing:?}");
    assert!(!failing.is_empty(), "{plant} goes unseen");
}
