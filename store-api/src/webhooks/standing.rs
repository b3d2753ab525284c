//! How a webhook stands after attempts: when to try again, and when not to any more. Pure.

use std::time::Duration;

use rand::Rng as _;
use shared::id::Timestamp;

use super::{Disabled, client::Verdict};

/// The longest pauses after a first failed attempt and after any: doubled in between, and shortened
/// at random to anything down to nothing. Of one event, and of a webhook where nobody is.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_hours(1);
const LAST_ABSENCE: Duration = Duration::from_mins(5);

/// How a webhook stands after some attempts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Since when nothing was taken, in milliseconds since the epoch.
    pub(super) failing_since: Option<i64>,
    /// How often in a row nobody was there.
    pub(super) failures: i64,
    /// Before when nothing is sent, in milliseconds since the epoch.
    pub(super) next_at: i64,
    /// Why nothing is sent any more.
    pub(super) disabled: Option<Disabled>,
}

impl Standing {
    /// How one stands that was failing since then, and so often, after attempts that came to these verdicts.
    pub(super) fn after(
        (failing_since, failures): (Option<i64>, i64),
        verdicts: &[&Verdict],
        now: Timestamp,
        disable_after: Duration,
    ) -> Self {
        let mut standing = Self {
            failing_since,
            failures,
            next_at: 0,
            disabled: None,
        };
        if verdicts.is_empty() {
            return standing;
        }
        let verdicts = verdicts.iter().copied();
        if verdicts.clone().any(|v| matches!(v, Verdict::Gone(_))) {
            standing.disabled = Some(Disabled::Gone);
            return standing;
        }
        if verdicts.clone().any(|v| matches!(v, Verdict::Delivered(_))) {
            standing.failing_since = None;
            standing.failures = 0;
            return standing;
        }
        let since = *standing.failing_since.get_or_insert(now.as_millis());
        if now.as_millis() - since >= disable_after.as_millis() as i64 {
            standing.disabled = Some(Disabled::Failing);
        }
        if verdicts.clone().any(|v| matches!(v, Verdict::Refused(_))) {
            // Somebody is there: each event is put off by itself.
            standing.failures = 0;
            return standing;
        }
        standing.failures += 1;
        let asked = verdicts.filter_map(|verdict| match verdict {
            Verdict::Away { pause, .. } => *pause,
            _ => None,
        });
        let own = pause_after(standing.failures, LAST_ABSENCE);
        let pause = asked.fold(own, Duration::max);
        standing.next_at = now.plus_millis(pause.as_millis() as i64).as_millis();
        standing
    }
}

/// The pause of an event after so many attempts that failed.
pub(super) fn event_pause(attempts: i64) -> Duration {
    pause_after(attempts, LAST_PAUSE)
}

/// The pause after so many failures in a row: exponential with full jitter.
fn pause_after(failures: i64, last: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).clamp(0, 20) as u32;
    let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(last);
    longest.mul_f64(rand::rng().random_range(0.0..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn after(before: (Option<i64>, i64), verdicts: &[Verdict], now: i64) -> Standing {
        let verdicts: Vec<&Verdict> = verdicts.iter().collect();
        Standing::after(before, &verdicts, Timestamp::from_millis(now), DAY)
    }

    fn away(pause: Option<Duration>) -> Verdict {
        Verdict::Away {
            outcome: "503".into(),
            pause,
        }
    }

    #[test]
    fn one_event_that_is_taken_makes_all_well() {
        let verdicts = [away(None), Verdict::Delivered("200".into())];
        let standing = after((Some(5), 9), &verdicts, 10);
        let well = Standing {
            failing_since: None,
            failures: 0,
            next_at: 0,
            disabled: None,
        };
        assert_eq!(standing, well);
        assert_eq!(after((None, 0), &[], 10), well);
    }

    #[test]
    fn who_is_away_is_left_alone_and_who_refuses_is_not() {
        let standing = after((None, 3), &[away(None), away(None)], 1000);
        assert_eq!((standing.failures, standing.failing_since), (4, Some(1000)));
        assert!((1000..=17_000).contains(&standing.next_at));
        let pause = Some(Duration::from_mins(30));
        let standing = after((None, 0), &[away(pause), away(None)], 1000);
        assert_eq!(standing.next_at, 1000 + 30 * 60 * 1000);
        let refused = [Verdict::Refused("500".into()), away(None)];
        let standing = after((Some(7), 3), &refused, 1000);
        assert_eq!((standing.failures, standing.next_at), (0, 0));
        assert_eq!(standing.failing_since, Some(7));
    }

    #[test]
    fn who_fails_for_too_long_is_disabled_and_who_is_gone_at_once() {
        let day = DAY.as_millis() as i64;
        let refused = [Verdict::Refused("500".into())];
        assert_eq!(after((Some(0), 0), &refused, day - 1).disabled, None);
        let disabled = after((Some(0), 0), &refused, day).disabled;
        assert_eq!(disabled, Some(Disabled::Failing));
        let gone = [
            Verdict::Delivered("200".into()),
            Verdict::Gone("410".into()),
        ];
        let disabled = after((None, 0), &gone, 0).disabled;
        assert_eq!(disabled, Some(Disabled::Gone));
    }

    #[test]
    fn pauses_double_to_a_bound_and_may_be_nothing() {
        for (failures, longest) in [(1, 2), (2, 4), (5, 32), (12, 3600), (i64::MAX, 3600)] {
            let pauses: Vec<_> = (0..200)
                .map(|_| pause_after(failures, LAST_PAUSE))
                .collect();
            let longest = Duration::from_secs(longest);
            assert!(pauses.iter().all(|pause| *pause <= longest));
            assert!(pauses.iter().any(|pause| *pause > longest / 2));
            assert!(pauses.iter().any(|pause| *pause < longest / 2));
        }
    }
}
