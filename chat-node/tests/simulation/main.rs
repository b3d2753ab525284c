//! Deterministic simulation: the rooms of several nodes, as they are in production, over a store and
//! a bus that fail as a seed says, on a clock that a schedule owns.
//!
//! Everything between the ports is the real thing: actors, directory, batches, repair, bridge,
//! subscriptions, relays, sinks. One thread runs all nodes of a schedule; its clock goes on only when
//! nobody has anything to do, so a schedule of many seconds takes a few thousandths of one, and the
//! same seed gives the same schedule.
//!
//! Two kinds of schedules: in one rooms are what it is about, in the other who is there. Of the latter
//! a seed replays but for the order in which a node takes up people who are due at one moment.
//!
//! - `FIRESIDE_SIM_SEEDS=n` plays so many schedules.
//! - `FIRESIDE_SIM_SEED=x` plays one, and shows what happened.

mod dice;
mod lease;
mod link;
mod node;
mod plan;
mod plant;
mod screen;
mod seat;
mod store;
mod trace;
mod wire;
mod world;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use parking_lot::Mutex;
use plan::Plan;
use plant::Plant;
use world::play;

/// How many schedules are played when nobody says otherwise.
const SEEDS: u64 = 1_500;
/// As many about presence.
const PRESENCE_SEEDS: u64 = 200;

/// Schedules about presence that failed once: a node put somebody's state, or their going, and died before
/// it told anybody (520, 970, 1006, 1430, 1776, 2006, 2469); a topic was heard late, in somebody
/// else's batch, and nobody looked for what was missed (1316); a session began while the going of the
/// one before was on its way to the store, and other nodes told it nothing (6213, 6469, 8249).
const ONCE_FAILED: [u64; 11] = [
    520, 970, 1006, 1316, 1430, 1776, 2006, 2469, 6213, 6469, 8249,
];

#[allow(clippy::disallowed_methods, reason = "a test has no other options")]
fn option(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// The shortest schedule found that still fails, with the first thing that goes wrong in it.
fn shrink(plan: Plan, plant: Plant) -> Plan {
    let mut shortest = plan;
    loop {
        let smaller = shortest.smaller().into_iter();
        let fails = |plan: &Plan| !play(plan, plant, false).wrong.is_empty();
        match smaller.take(200).find(fails) {
            Some(plan) => shortest = plan,
            None => return shortest,
        }
    }
}

/// A schedule that fails, as a person reads it.
fn report(plan: Plan, plant: Plant) -> String {
    let seed = plan.seed;
    let shortest = shrink(plan, plant);
    let outcome = play(&shortest, plant, true);
    format!(
        "{}\n{shortest}\nFIRESIDE_SIM_SEED={seed}: {}",
        outcome.trace.join("\n"),
        outcome.wrong.join("\n")
    )
}

/// How the schedules of a seed are made.
type Make = fn(u64) -> Plan;

/// Which of these seeds fail, and how, until it is `enough`.
fn failing(
    make: Make,
    seeds: std::ops::Range<u64>,
    plant: Plant,
    enough: usize,
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
                    let wrong = play(&make(seed), plant, false).wrong;
                    if let Some(first) = wrong.into_iter().next() {
                        failing.lock().insert(seed, first);
                    }
                }
            });
        }
    });
    failing.into_inner()
}

/// Plays as many schedules as were asked for, or the one.
fn play_all(make: Make, seeds: u64) {
    if let Some(seed) = option("FIRESIDE_SIM_SEED") {
        let plan = make(seed);
        let outcome = play(&plan, Plant::Nothing, true);
        println!("{}\n{plan}", outcome.trace.join("\n"));
        assert!(outcome.wrong.is_empty(), "{}", report(plan, Plant::Nothing));
        return;
    }
    let seeds = option("FIRESIDE_SIM_SEEDS").unwrap_or(seeds);
    let began = Instant::now();
    let failing = failing(make, 0..seeds, Plant::Nothing, 20);
    for (seed, wrong) in &failing {
        println!("seed {seed}: {wrong}");
    }
    if let Some(seed) = failing.keys().next() {
        panic!("{}", report(make(*seed), Plant::Nothing));
    }
    let rate = seeds as f64 / began.elapsed().as_secs_f64();
    println!("{seeds} schedules, {rate:.0} a second");
}

#[test]
fn rooms_lose_nothing_in_any_schedule() {
    play_all(Plan::of, SEEDS);
}

#[test]
fn everybody_sees_in_the_end_who_is_there() {
    play_all(Plan::of_presence, PRESENCE_SEEDS);
}

/// In what order a node takes up people who are due at one moment is chance: each several times.
#[test]
fn what_failed_once_holds() {
    for seed in ONCE_FAILED {
        let plan = Plan::of_presence(seed);
        for _ in 0..5 {
            let wrong = play(&plan, Plant::Nothing, false).wrong;
            assert!(wrong.is_empty(), "{}", report(plan, Plant::Nothing));
        }
    }
    // They still come to what they failed of.
    let untold = |seed: &&u64| {
        let play = || play(&Plan::of_presence(**seed), Plant::Unlearnt, false);
        (0..5).any(|_| !play().wrong.is_empty())
    };
    let untold: Vec<&u64> = ONCE_FAILED.iter().filter(untold).collect();
    println!("fail when a reaper does not learn: {untold:?}");
    assert!(!untold.is_empty());
}

/// What a seed says is all there is to a schedule: played again, it reads the same.
#[test]
fn a_seed_replays_to_the_letter() {
    for seed in 0..100 {
        let plan = Plan::of(seed);
        let (first, second) = (
            play(&plan, Plant::Nothing, true),
            play(&plan, Plant::Nothing, true),
        );
        // What happens at one moment in two rooms may change places.
        let [mut first, mut second] = [first, second];
        first.trace.sort_unstable();
        second.trace.sort_unstable();
        let apart = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert_eq!(apart, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
    assert!((0..100).any(|seed| play(&Plan::of(seed), Plant::Nothing, false).acked > 3));
}

#[test]
fn what_is_broken_on_purpose_is_seen() {
    let of_rooms = [
        Plant::Fork,
        Plant::Forget,
        Plant::Twice,
        Plant::ShortPage,
        Plant::Unheld,
        Plant::NeverTold,
        Plant::Misplaced,
    ];
    let of_presence = [Plant::Unput, Plant::Unreaped];
    let of_rooms = of_rooms.map(|plant| (Plan::of as Make, plant));
    let of_presence = of_presence.map(|plant| (Plan::of_presence as Make, plant));
    for (make, plant) in of_rooms.into_iter().chain(of_presence) {
        let failing = failing(make, 0..500, plant, 1);
        println!("{plant:?}: {failing:?}");
        assert!(!failing.is_empty(), "{plant:?} goes unseen");
    }
}
