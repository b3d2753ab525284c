//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng as _;

/// Waits that double from one attempt to the next, each drawn from its upper half, so that many
/// who lost the same server do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits from `first` up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempts: 0,
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        doubled
            .min(self.longest)
            .mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// It worked: begin anew.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_begin_anew() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(1_000));
        for upper in [50, 100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next_wait();
            assert!((ms(upper / 2)..=ms(upper)).contains(&wait), "{wait:?}");
        }
        for _ in 0..1_000 {
            assert!(backoff.next_wait() <= ms(1_000));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= ms(50));
    }
}
