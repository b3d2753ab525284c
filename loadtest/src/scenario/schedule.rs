//! When what is due: events at random and independent of each other, the same for the same seed.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::swarm::Who;

/// Events of several kinds of some people, each kind a Poisson process of its own; endless.
#[derive(Debug)]
pub(super) struct Schedule<K> {
    random: StdRng,
    at: f64,
    /// What happens, to how many of the people, how often a second in all.
    kinds: Vec<(K, usize, f64)>,
    per_second: f64,
}

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event<K> {
    /// When, from the beginning on.
    pub(super) at: Duration,
    /// To whom.
    pub(super) who: Who,
    /// What.
    pub(super) kind: K,
    /// Any number, for what else is to be chosen.
    pub(super) dice: usize,
}

impl<K: Copy> Schedule<K> {
    /// Of each kind: what it is, to how many people (the first ones) it happens, and how often a
    /// minute to each of them.
    pub(super) fn new(seed: u64, kinds: impl IntoIterator<Item = (K, usize, f64)>) -> Self {
        let kinds: Vec<_> = (kinds.into_iter())
            .map(|(kind, people, a_minute)| (kind, people, a_minute / 60.0 * people as f64))
            .filter(|(_, _, per_second)| *per_second > 0.0)
            .collect();
        Self {
            random: StdRng::seed_from_u64(seed),
            at: 0.0,
            per_second: kinds.iter().map(|(_, _, per_second)| per_second).sum(),
            kinds,
        }
    }
}

impl<K: Copy> Iterator for Schedule<K> {
    type Item = Event<K>;

    fn next(&mut self) -> Option<Event<K>> {
        // Kinds together are one process, of which each event is of a kind by that kind's share.
        let (mut kind, mut people, _) = *self.kinds.first()?;
        self.at -= (1.0 - self.random.random::<f64>()).ln() / self.per_second;
        let mut share = self.random.random::<f64>() * self.per_second;
        for (of, among, per_second) in &self.kinds {
            (kind, people) = (*of, *among);
            if share < *per_second {
                break;
            }
            share -= per_second;
        }
        Some(Event {
            at: Duration::try_from_secs_f64(self.at).ok()?,
            who: self.random.random_range(0..people),
            kind,
            dice: self.random.random_range(0..usize::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(seed: u64) -> Vec<Event<char>> {
        let kinds = [('a', 100, 60.0), ('b', 10, 30.0), ('c', 5, 0.0)];
        let schedule = Schedule::new(seed, kinds);
        let minute = Duration::from_mins(1);
        schedule.take_while(|event| event.at < minute).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_minute() {
        assert_eq!(minute(7), minute(7));
        assert_ne!(minute(7), minute(8));
    }

    #[test]
    fn each_kind_happens_at_its_rate_and_to_its_people() {
        let events = minute(1);
        let of = |kind| events.iter().filter(move |event| event.kind == kind);
        // Six standard deviations on either side.
        let (a, b) = (of('a').count() as f64, of('b').count() as f64);
        assert!((a - 6000.0).abs() < 6.0 * 6000_f64.sqrt(), "{a}");
        assert!((b - 300.0).abs() < 6.0 * 300_f64.sqrt(), "{b}");
        assert_eq!(of('c').count(), 0);
        assert!(of('b').all(|event| event.who < 10));
        let everybody: std::collections::HashSet<_> = of('a').map(|event| event.who).collect();
        assert_eq!(everybody.len(), 100);
        assert!(events.is_sorted_by_key(|event| event.at));
    }

    #[test]
    fn what_never_happens_has_an_empty_schedule() {
        assert_eq!(
            Schedule::new(1, [('a', 0, 5.0), ('b', 3, 0.0)]).next(),
            None
        );
    }

    #[test]
    fn pauses_are_those_of_a_poisson_process() {
        let events = minute(3);
        let pauses: Vec<f64> = (events.windows(2))
            .map(|pair| (pair[1].at.as_secs_f64() - pair[0].at.as_secs_f64()) * 105.0)
            .collect();
        // Of an exponential distribution of mean 1, a share of 1/e is longer than the mean.
        let long = pauses.iter().filter(|pause| **pause > 1.0).count() as f64;
        let share = long / pauses.len() as f64;
        assert!((share - (-1_f64).exp()).abs() < 0.05, "{share}");
    }
}
