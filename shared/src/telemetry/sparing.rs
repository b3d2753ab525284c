//! Lines of the log that may come by the thousand.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets a line of the log through at most once in a while, and counts what it held back.
///
/// For what fails with every request as long as its cause stands: a full disk must not be made
/// fuller by a line for each message that it refuses.
#[derive(Debug)]
pub struct Sparing {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Sparing {
    /// At most one line in that time.
    pub const fn new(every: Duration) -> Self {
        let state = State {
            last: None,
            held_back: 0,
        };
        Self {
            every,
            state: Mutex::new(state),
        }
    }

    /// At most one line a second.
    pub const fn each_second() -> Self {
        Self::new(Duration::from_secs(1))
    }

    /// Whether the line is to be written, and how many were not since the last one.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let early = state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.every);
        if early {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_its_time_says_how_many_there_were() {
        let lines = Sparing::each_second();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(lines.due_at(after(0)), Some(0));
        assert_eq!(lines.due_at(after(1)), None);
        assert_eq!(lines.due_at(after(999)), None);
        assert_eq!(lines.due_at(after(1_000)), Some(2));
        assert_eq!(lines.due_at(after(1_500)), None);
        assert_eq!(lines.due_at(after(2_000)), Some(1));
    }
}
