//! When to try again.

use std::time::Duration;

use rand::Rng as _;

/// How calls to providers are paced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long one call may take.
    pub(crate) timeout: Duration,
    /// The longest pause before the second attempt.
    pub(crate) first: Duration,
    /// The longest pause before any.
    pub(crate) last: Duration,
}

impl Pace {
    /// How long to wait after so many attempts: at random up to a bound that doubles ("full jitter"),
    /// so that what failed together does not come back together.
    pub(crate) fn pause(&self, attempts: i64) -> Duration {
        self.bound(attempts)
            .mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    fn bound(&self, attempts: i64) -> Duration {
        let doublings = attempts.saturating_sub(1).clamp(0, 20) as u32;
        self.first.saturating_mul(1 << doublings).min(self.last)
    }

    /// For how long nobody else takes up what somebody is at: more than the calls of one turn take.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout * 4
    }

    /// After so long a call that got no answer is no longer on its way to the provider.
    pub(crate) fn settled(&self) -> Duration {
        self.timeout * 6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_anything_up_to_a_bound_that_doubles() {
        let pace = Pace {
            timeout: Duration::from_secs(1),
            first: Duration::from_millis(100),
            last: Duration::from_secs(5),
        };
        let bounds = [0, 1, 2, 3, 7, i64::MAX].map(|attempts| pace.bound(attempts).as_millis());
        assert_eq!(bounds, [100, 100, 200, 400, 5000, 5000]);
        let pauses: Vec<_> = (0..200).map(|_| pace.pause(3).as_millis()).collect();
        assert!(pauses.iter().all(|pause| *pause <= 400));
        assert!(pauses.iter().any(|pause| *pause < 100));
        assert!(pauses.iter().any(|pause| *pause > 300));
    }
}
