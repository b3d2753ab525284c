//! Whether a back end is fit to be given anybody: pure, on a clock that is handed in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Going down so often within [`FLAP_WINDOW`] is flapping.
const FLAPS: usize = 3;
/// What is looked at for flapping.
const FLAP_WINDOW: Duration = Duration::from_mins(1);
/// The longest that one ejection lasts.
const LONGEST_EJECTION: Duration = Duration::from_mins(5);
/// A back end that was fit for so long has its ejections forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_mins(10);
/// In how many steps a slow start rises; each moves some users, so they are few.
const STEPS: u32 = 10;

/// When a back end counts as up, as down, as gone.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// After how many answers in a row that it is ready it is up again.
    pub up_after: u32,
    /// After how many probes in a row without an answer it is down.
    pub down_after: u32,
    /// After how much silence it is gone, and its tunnels with it.
    pub gone_after: Duration,
    /// After how many failures in a row of what clients asked it is ejected.
    pub eject_after: u32,
    /// For how long at first; doubled each time.
    pub eject_for: Duration,
    /// In what time it rises to its full share after it came up.
    pub slow_start: Duration,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It says that it is ready.
    Ready,
    /// It says that it is not: it starts, drains, or misses something.
    Unready,
    /// Its machine says that nobody listens there: it ended, or takes nothing more. The sockets of a
    /// process that ended end with it, so those that are still open are alive.
    Refused,
    /// It says nothing.
    Silent,
}

/// Whether anybody new may be sent there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fitness {
    /// With this part of its weight, above 0 and up to 1.
    Fit(f64),
    /// Only if nobody else is fit: it answers, and has failed others.
    Ejected,
    /// No.
    Down,
}

/// The health of one back end.
#[derive(Debug)]
pub struct Health {
    thresholds: Thresholds,
    up: bool,
    probed: bool,
    ready_streak: u32,
    silent_streak: u32,
    silent_since: Option<Instant>,
    failures: u32,
    downs: VecDeque<Instant>,
    ejections: u32,
    ejected_until: Option<Instant>,
    /// Since when it rises; none: it need not.
    rises: Option<Instant>,
    up_since: Instant,
}

impl Health {
    /// Of one that was not probed yet. One that `joins` others who are at work rises slowly.
    pub fn new(thresholds: Thresholds, joins: bool, now: Instant) -> Self {
        Self {
            thresholds,
            up: false,
            probed: false,
            ready_streak: 0,
            silent_streak: 0,
            silent_since: None,
            failures: 0,
            downs: VecDeque::new(),
            ejections: 0,
            ejected_until: None,
            rises: joins.then_some(now),
            up_since: now,
        }
    }

    /// Takes in what a probe found.
    pub fn probed(&mut self, probe: Probe, now: Instant) {
        let first = !std::mem::replace(&mut self.probed, true);
        match probe {
            Probe::Ready => {
                self.heard();
                self.ready_streak = self.ready_streak.saturating_add(1);
                if !self.up && (first || self.ready_streak >= self.thresholds.up_after) {
                    self.rise(!first || self.rises.is_some(), now);
                }
                if self.up && now.duration_since(self.up_since) >= FORGIVEN_AFTER {
                    self.ejections = 0;
                }
            }
            // Its own word needs no second one: it drains, and will not be back so soon.
            Probe::Unready => {
                self.heard();
                self.ready_streak = 0;
                self.up = false;
            }
            Probe::Refused | Probe::Silent => {
                self.ready_streak = 0;
                self.silent_streak = self.silent_streak.saturating_add(1);
                if probe == Probe::Silent {
                    self.silent_since.get_or_insert(now);
                } else {
                    self.silent_since = None;
                }
                if self.up && self.silent_streak >= self.thresholds.down_after {
                    self.fall(now);
                }
            }
        }
    }

    /// Something a client asked for failed there: no connection, or no answer.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.thresholds.eject_after {
            self.failures = 0;
            self.eject(now);
        }
    }

    /// Something a client asked for was answered there.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// Whether anybody new may be sent there.
    pub fn fitness(&self, now: Instant) -> Fitness {
        if !self.up {
            return Fitness::Down;
        }
        if self.ejected_until.is_some_and(|until| now < until) {
            return Fitness::Ejected;
        }
        Fitness::Fit(self.risen(now))
    }

    /// Whether it has been silent for so long that nobody there will finish anything.
    pub fn is_gone(&self, now: Instant) -> bool {
        let silent = self.silent_since.map(|since| now.duration_since(since));
        !self.up && silent.is_some_and(|silent| silent >= self.thresholds.gone_after)
    }

    /// How often it was ejected, until that is forgiven.
    pub fn ejections(&self) -> u32 {
        self.ejections
    }

    fn heard(&mut self) {
        self.silent_streak = 0;
        self.silent_since = None;
    }

    fn rise(&mut self, slowly: bool, now: Instant) {
        self.up = true;
        self.up_since = now;
        self.failures = 0;
        self.rises = slowly.then_some(now);
    }

    fn fall(&mut self, now: Instant) {
        self.up = false;
        self.downs.push_back(now);
        while self.downs.len() > FLAPS
            || self
                .downs
                .front()
                .is_some_and(|down| now.duration_since(*down) > FLAP_WINDOW)
        {
            self.downs.pop_front();
        }
        if self.downs.len() >= FLAPS {
            self.eject(now);
        }
    }

    fn eject(&mut self, now: Instant) {
        let times = 1_u32 << self.ejections.min(8);
        let length = (self.thresholds.eject_for * times).min(LONGEST_EJECTION);
        self.ejections = self.ejections.saturating_add(1);
        self.ejected_until = Some(now + length);
        // Whoever comes back is given little at first.
        self.rises = Some(now + length);
    }

    fn risen(&self, now: Instant) -> f64 {
        let slow = self.thresholds.slow_start;
        let (Some(since), false) = (self.rises, slow.is_zero()) else {
            return 1.0;
        };
        let part = now.saturating_duration_since(since).as_secs_f64() / slow.as_secs_f64();
        let step = (part * f64::from(STEPS)).floor() + 1.0;
        (step / f64::from(STEPS)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, proptest};

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        up_after: 2,
        down_after: 2,
        gone_after: Duration::from_secs(5),
        eject_after: 3,
        eject_for: Duration::from_secs(10),
        slow_start: Duration::from_secs(30),
    };

    fn up(now: Instant) -> Health {
        let mut health = Health::new(THRESHOLDS, false, now);
        assert_eq!(health.fitness(now), Fitness::Down, "nobody knows yet");
        health.probed(Probe::Ready, now);
        assert_eq!(health.fitness(now), Fitness::Fit(1.0));
        health
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn silence_counts_and_a_word_of_its_own_takes_effect_at_once() {
        let start = Instant::now();
        let mut health = up(start);
        health.probed(Probe::Silent, after(start, 500));
        assert_eq!(health.fitness(after(start, 500)), Fitness::Fit(1.0));
        health.probed(Probe::Silent, after(start, 1500));
        assert_eq!(health.fitness(after(start, 1500)), Fitness::Down);
        assert!(!health.is_gone(after(start, 5_400)));
        assert!(health.is_gone(after(start, 5_500)));
        health.probed(Probe::Ready, after(start, 6_000));
        assert!(!health.is_gone(after(start, 60_000)));
        assert_eq!(health.fitness(after(start, 6_000)), Fitness::Down);

        let mut health = up(start);
        health.probed(Probe::Unready, after(start, 500));
        assert_eq!(health.fitness(after(start, 500)), Fitness::Down);
        // It drains: its tunnels stay, also when it has closed its listener.
        assert!(!health.is_gone(after(start, 60_000)));
        health.probed(Probe::Refused, after(start, 1_000));
        assert!(!health.is_gone(after(start, 60_000)));
    }

    #[test]
    fn who_comes_back_rises_in_steps() {
        let start = Instant::now();
        let mut health = up(start);
        health.probed(Probe::Unready, start);
        health.probed(Probe::Ready, start);
        health.probed(Probe::Ready, start);
        assert_eq!(health.fitness(start), Fitness::Fit(0.1));
        assert_eq!(health.fitness(after(start, 15_000)), Fitness::Fit(0.6));
        assert_eq!(health.fitness(after(start, 30_000)), Fitness::Fit(1.0));
        let mut joined = Health::new(THRESHOLDS, true, start);
        joined.probed(Probe::Ready, start);
        assert_eq!(joined.fitness(start), Fitness::Fit(0.1));
    }

    #[test]
    fn failures_in_a_row_eject_and_each_time_for_longer() {
        let start = Instant::now();
        let mut health = up(start);
        health.failed(start);
        health.failed(start);
        health.worked();
        health.failed(start);
        health.failed(start);
        assert_eq!(health.fitness(start), Fitness::Fit(1.0));
        health.failed(start);
        assert_eq!(health.fitness(after(start, 9_999)), Fitness::Ejected);
        assert_eq!(health.fitness(after(start, 10_000)), Fitness::Fit(0.1));
        let again = after(start, 10_000);
        for _ in 0..3 {
            health.failed(again);
        }
        assert_eq!(health.fitness(after(again, 19_999)), Fitness::Ejected);
        assert_ne!(health.fitness(after(again, 20_000)), Fitness::Ejected);
        assert_eq!(health.ejections(), 2);
        // Long well, all forgiven.
        health.probed(Probe::Ready, again + FORGIVEN_AFTER);
        assert_eq!(health.ejections(), 0);
    }

    #[test]
    fn a_flapping_one_is_ejected() {
        let start = Instant::now();
        let mut health = up(start);
        let mut now = start;
        for flap in 0..3 {
            assert_ne!(health.fitness(now), Fitness::Ejected, "flap {flap}");
            for probe in [Probe::Silent, Probe::Silent, Probe::Ready, Probe::Ready] {
                now = after(now, 500);
                health.probed(probe, now);
            }
        }
        assert_eq!(health.fitness(now), Fitness::Ejected);
        // Three times in an hour is none.
        let mut health = up(start);
        for n in 0..3 {
            let now = start + Duration::from_mins(20) * n;
            for probe in [Probe::Silent, Probe::Silent, Probe::Ready, Probe::Ready] {
                health.probed(probe, now);
            }
            assert_ne!(health.fitness(now), Fitness::Ejected);
        }
    }

    proptest! {
        /// With the defaults a node that falls silent is given nobody new after three seconds, whatever
        /// it did before, and whenever in the interval it dies.
        #[test]
        fn a_dead_node_is_down_within_three_seconds(
            past in prop::collection::vec(0_usize..4, 0..40),
            died in 0_u64..500,
        ) {
            let (interval, timeout) = (500, 1_000);
            let start = Instant::now();
            let mut health = Health::new(THRESHOLDS, false, start);
            let mut now = start;
            for probe in past {
                now = after(now, interval);
                let all = [Probe::Ready, Probe::Unready, Probe::Refused, Probe::Silent];
                health.probed(all[probe], now);
            }
            let death = after(now, died);
            let mut asked = after(now, interval);
            while now < after(death, 3_000) {
                now = after(asked, timeout);
                health.probed(Probe::Silent, now);
                asked = now;
            }
            prop_assert!(health.fitness(after(death, 3_000)) == Fitness::Down);
        }
    }
}
