//! What operators are shown of what goes on right now: the figures of a node, and how much comes a second.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Over how long rates are taken, where somebody looks often enough.
const WINDOW: Duration = Duration::from_secs(10);
/// What was counted longer ago says nothing of now.
const STALE: Duration = Duration::from_mins(1);
/// Of looks that follow each other sooner the first is kept.
const APART: Duration = Duration::from_millis(900);

/// What a chat node has to do right now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeFigures {
    /// Sessions, those without a socket too.
    pub sessions: u64,
    /// Rooms whose state is in memory.
    pub rooms: u64,
    /// The rung of the overload ladder: 0 nothing is shed, 4 sends are refused.
    pub overload: u8,
    /// Over the last ten seconds, or since somebody looked before; absent when nobody did for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<NodeRates>,
}

/// How much comes to a node, each a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeRates {
    /// Sessions that start or are resumed, tries that are refused too.
    pub starts: f64,
    /// Commands over WebSockets.
    pub commands: f64,
    /// Entries appended to history: messages, and what becomes of them.
    pub entries: f64,
}

/// How much of each of `N` kinds comes a second, of what was counted in all. Bound: one look in 0.9 s, for ten
/// seconds.
#[derive(Debug)]
pub struct Rates<const N: usize>(Mutex<VecDeque<Look<N>>>);

#[derive(Debug, Clone, Copy)]
struct Look<const N: usize> {
    at: Instant,
    counted: [u64; N],
}

impl<const N: usize> Default for Rates<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const N: usize> Rates<N> {
    /// Looks: this much was counted until now. Answers in tenths how much came a second since the oldest look of
    /// the last ten seconds, or the last one before; nothing where there was none for a minute.
    pub fn look(&self, now: Instant, counted: [u64; N]) -> Option<[f64; N]> {
        let age = |look: &Look<N>| now.saturating_duration_since(look.at);
        let mut looks = self.0.lock();
        if looks.back().is_some_and(|last| age(last) > STALE) {
            looks.clear();
        }
        while looks.get(1).is_some_and(|second| age(second) >= WINDOW) {
            looks.pop_front();
        }
        if looks.back().is_none_or(|last| age(last) >= APART) {
            looks.push_back(Look { at: now, counted });
        }
        let oldest = *looks.front()?;
        let seconds = age(&oldest).as_secs_f64();
        (seconds > 0.0).then(|| {
            std::array::from_fn(|n| {
                let came = counted[n].saturating_sub(oldest.counted[n]) as f64;
                (came / seconds * 10.0).round() / 10.0
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_window() {
        let rates = Rates::<2>::default();
        let start = Instant::now();
        let look = |millis, counted| rates.look(start + Duration::from_millis(millis), counted);
        assert_eq!(look(0, [5, 0]), None, "there is nothing to compare with");
        assert_eq!(look(4_000, [25, 1]), Some([5.0, 0.3]));
        // Too soon to be kept, and yet it is answered.
        assert_eq!(look(4_500, [50, 1]), Some([10.0, 0.2]));
        // Against the look at 4 s: the one before is older than is needed.
        assert_eq!(look(14_000, [125, 1]), Some([10.0, 0.0]));
        assert_eq!(look(16_000, [125, 1]), Some([8.3, 0.0]));
        // Nobody looked for long: over which time would that be?
        assert_eq!(look(90_000, [125, 1]), None);
        assert_eq!(look(91_000, [126, 1]), Some([1.0, 0.0]));
        // A count that began anew.
        assert_eq!(look(92_000, [0, 1]), Some([0.0, 0.0]));
    }
}
