//! Rate limits: a token bucket for every user, address or room.
//!
//! A [`Quota`] is what an operator writes (`20/s burst 40`); a [`Limiter`] holds one bucket a key
//! and answers a [`Decision`] that both the WebSocket's `rate_limited` and REST's headers are made
//! from. A bucket that is full again says nothing and is let go of, so what is kept is bounded by
//! the keys active within one refill.
//!
//! Bound: `max_keys` buckets of their own (a few dozen bytes each). Past that, under a flood of
//! invented keys, all keys share a fixed number of buckets by their hash until enough have gone
//! idle: some callers are slowed down together, the memory stays, and nobody escapes a limit.

use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{NotUntil, RateLimiter};

/// How many buckets are shared when there is no room for more of their own.
const SHARED_BUCKETS: u64 = 1024;

/// How many decisions pass between two looks at the number of keys.
const DECISIONS_PER_LOOK: usize = 1024;

/// So many in such a time, and so many at once: `20/s burst 40`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    count: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
}

/// Why a text is not a quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a quota: write `COUNT/TIME` or `COUNT/TIME burst COUNT`, such as `20/s burst 40` or `5/10m`"
)]
pub struct QuotaError(String);

impl Quota {
    /// `count` in every `per`, with at most `burst` at once.
    pub const fn new(count: NonZeroU32, per: Duration, burst: NonZeroU32) -> Self {
        Self { count, per, burst }
    }

    /// The most at once.
    pub fn burst(&self) -> u32 {
        self.burst.get()
    }

    /// How long one takes to come back.
    fn refill(&self) -> Duration {
        (self.per / self.count.get()).max(Duration::from_nanos(1))
    }

    fn governed(&self) -> governor::Quota {
        let one = governor::Quota::with_period(self.refill());
        // `refill` is never zero, the one thing `with_period` refuses.
        one.unwrap_or_else(|| governor::Quota::per_second(self.count))
            .allow_burst(self.burst)
    }
}

impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (rate, burst) = match text.split_once("burst") {
                Some((rate, burst)) => (rate, Some(burst.trim().parse::<NonZeroU32>().ok()?)),
                None => (text, None),
            };
            let (count, time) = rate.split_once('/')?;
            let count: NonZeroU32 = count.trim().parse().ok()?;
            let time = time.trim();
            let one = if time.starts_with(|c: char| c.is_ascii_digit()) {
                ""
            } else {
                "1"
            };
            let per = crate::settings::duration(&format!("{one}{time}")).ok()?;
            (!per.is_zero()).then_some(Self {
                count,
                per,
                burst: burst.unwrap_or(count),
            })
        };
        parse().ok_or_else(|| QuotaError(text.to_owned()))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = humantime_serde::re::humantime::format_duration(self.per).to_string();
        let per = match per.strip_prefix('1') {
            Some(unit) if !unit.starts_with(|c: char| c.is_ascii_digit()) => unit,
            _ => per.as_str(),
        };
        write!(f, "{}/{per} burst {}", self.count, self.burst)
    }
}

/// Whether one more is within the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    quota: Quota,
    remaining: u32,
    retry_after: Option<Duration>,
}

impl Decision {
    /// Whether it is.
    pub fn is_allowed(&self) -> bool {
        self.retry_after.is_none()
    }

    /// How long to wait, if it is not.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// `Err(retry_after)` if it is not: for `?`.
    pub fn allowed(&self) -> Result<(), Duration> {
        self.retry_after.map_or(Ok(()), Err)
    }

    /// The most at once.
    pub fn limit(&self) -> u32 {
        self.quota.burst()
    }

    /// How many more would be allowed right now.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// How long until the bucket is full again, if nothing more comes.
    pub fn reset(&self) -> Duration {
        let missing = self.quota.burst().saturating_sub(self.remaining);
        self.quota.refill().saturating_mul(missing)
    }
}

type Buckets<K, C> = RateLimiter<K, DashMapStateStore<K>, C, StateInformationMiddleware>;

/// One bucket for every key. Share it behind an `Arc`; a decision locks one shard of a map for the
/// time of one addition.
pub struct Limiter<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    quota: Quota,
    own: Buckets<K, C>,
    shared: Buckets<u64, C>,
    hasher: RandomState,
    clock: C,
    max_keys: usize,
    decisions: AtomicUsize,
    crowded: std::sync::atomic::AtomicBool,
}

impl<K: Hash + Eq + Clone, C: Clock> fmt::Debug for Limiter<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter that keeps about `max_keys` buckets.
    pub fn new(quota: Quota, max_keys: usize) -> Self {
        Self::with_clock(quota, max_keys, DefaultClock::default())
    }
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Limiter<K, C> {
    /// The same, with a clock that a test sets.
    pub fn with_clock(quota: Quota, max_keys: usize, clock: C) -> Self {
        let governed = quota.governed();
        Self {
            quota,
            own: RateLimiter::new(governed, DashMapStateStore::default(), clock.clone()),
            shared: RateLimiter::new(governed, DashMapStateStore::default(), clock.clone()),
            hasher: RandomState::new(),
            clock,
            max_keys,
            decisions: AtomicUsize::new(0),
            crowded: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Takes one from the bucket of `key`, if there is one to take.
    pub fn check(&self, key: &K) -> Decision {
        self.look_around();
        let taken = if self.crowded.load(Ordering::Relaxed) {
            self.shared
                .check_key(&(self.hasher.hash_one(key) % SHARED_BUCKETS))
        } else {
            self.own.check_key(key)
        };
        self.decide(taken)
    }

    /// How many keys have a bucket of their own, for a gauge.
    pub fn keys(&self) -> usize {
        self.own.len()
    }

    /// Lets go of full buckets. Happens by itself when keys grow many; a caller with a timer may do
    /// it on an idle limiter.
    pub fn purge(&self) {
        self.own.retain_recent();
        self.own.shrink_to_fit();
        self.crowded
            .store(self.own.len() >= self.max_keys, Ordering::Relaxed);
    }

    fn decide(
        &self,
        taken: Result<governor::middleware::StateSnapshot, NotUntil<C::Instant>>,
    ) -> Decision {
        match taken {
            Ok(state) => Decision {
                quota: self.quota,
                remaining: state.remaining_burst_capacity(),
                retry_after: None,
            },
            Err(not_until) => Decision {
                quota: self.quota,
                remaining: 0,
                retry_after: Some(not_until.wait_time_from(self.clock.now())),
            },
        }
    }

    fn look_around(&self) {
        let decision = self.decisions.fetch_add(1, Ordering::Relaxed);
        if decision.is_multiple_of(DECISIONS_PER_LOOK.min(self.max_keys.max(1)))
            && self.own.len() >= self.max_keys
        {
            self.purge();
        }
    }
}

/// The key of an address: an IPv6 client owns a whole /64 and could use a new address for every
/// request, so those share a bucket.
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::{prop, proptest};

    use super::*;

    fn quota(text: &str) -> Quota {
        text.parse().unwrap()
    }

    #[test]
    fn quotas_read_and_print() {
        let twenty = NonZeroU32::new(20).unwrap();
        let forty = NonZeroU32::new(40).unwrap();
        assert_eq!(
            quota("20/s burst 40"),
            Quota::new(twenty, Duration::from_secs(1), forty)
        );
        assert_eq!(
            quota("20 / 10m"),
            Quota::new(twenty, Duration::from_mins(10), twenty)
        );
        for text in [
            "20/s burst 40",
            "5/10m burst 5",
            "1/h burst 3",
            "7/1m 30s burst 7",
        ] {
            assert_eq!(
                quota(text).to_string().parse(),
                Ok(quota(text)),
                "{}",
                quota(text)
            );
        }
        for text in [
            "",
            "20",
            "0/s",
            "20/",
            "20/s burst",
            "20/s burst 0",
            "20/0s",
            "-1/s",
            "x/s",
        ] {
            assert!(text.parse::<Quota>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bucket_empties_and_refills() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::with_clock(quota("2/s burst 3"), 100, clock.clone());
        let remaining: Vec<u32> = (0..3).map(|_| limiter.check(&"a").remaining()).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = limiter.check(&"a");
        assert_eq!(refused.allowed(), Err(Duration::from_millis(500)));
        assert_eq!(refused.reset(), Duration::from_millis(1500));
        assert!(
            limiter.check(&"b").is_allowed(),
            "another key has its own bucket"
        );
        clock.advance(Duration::from_millis(500));
        assert!(limiter.check(&"a").is_allowed());
        assert!(!limiter.check(&"a").is_allowed());
    }

    #[test]
    fn a_flood_of_keys_stays_bounded_and_limited() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::with_clock(quota("1/s burst 1"), 64, clock.clone());
        let allowed = (0..100_000_u32)
            .filter(|key| limiter.check(key).is_allowed())
            .count();
        assert!(limiter.keys() <= 64 + 64, "{} keys", limiter.keys());
        assert!(
            allowed <= 128 + SHARED_BUCKETS as usize,
            "{allowed} got through"
        );
        // When the flood is over, everybody has a bucket again.
        clock.advance(Duration::from_secs(2));
        for _ in 0..64 {
            limiter.check(&7);
        }
        assert_eq!(limiter.keys(), 1);
    }

    #[test]
    fn a_client_does_not_escape_within_its_network() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            count in 1_u32..50,
            burst in 1_u32..50,
            steps in prop::collection::vec(0_u64..400, 1..200),
        ) {
            let clock = FakeRelativeClock::default();
            let quota = quota(&format!("{count}/s burst {burst}"));
            let limiter = Limiter::with_clock(quota, 10, clock.clone());
            let (mut allowed, mut elapsed) = (0_u64, 0_u64);
            for step in steps {
                clock.advance(Duration::from_millis(step));
                elapsed += step;
                let decision = limiter.check(&0);
                allowed += u64::from(decision.is_allowed());
                let bound = u64::from(burst) + elapsed * u64::from(count) / 1000 + 1;
                assert!(allowed <= bound, "{allowed} of {bound} after {elapsed} ms");
                if let Err(wait) = decision.allowed() {
                    // Whoever waits as long as told is let in.
                    clock.advance(wait);
                    elapsed += wait.as_millis() as u64 + 1;
                    assert!(limiter.check(&0).is_allowed());
                    allowed += 1;
                }
            }
        }
    }
}
