//! Taking turns with other nodes that append to the same room.
//!
//! History lets one of several appends at a head stand, and the others have to read what was faster before they try
//! again. So whoever was faster would be faster again, and people on the other nodes would wait for as long as
//! people here have something to say. Therefore the node whose entry was the last pauses while a room is
//! contested: until it hears another's, or for as long as that needs, at most [`LONGEST`]. What is said
//! meanwhile is appended together.

use std::time::Duration;

use tokio::time::Instant;

/// The longest a node waits for another's turn: who did not come by then may have died.
const LONGEST: Duration = Duration::from_millis(100);
/// How many times as long as an append somebody needs to find out that another was faster, to read what that was
/// and to append.
const APPENDS: u32 = 4;
/// How long after an append here another's entry is taken to have been in its way.
const NEAR: Duration = Duration::from_millis(50);
/// How long a room stays contested after the last sign of it.
const CONTESTED_FOR: Duration = Duration::from_millis(500);

/// Whose turn it is in a room.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Others append too, as far as is known until then.
    contested: Option<Instant>,
    /// The append here that stands, if no other node's entry was heard since: when, and how long it took.
    own: Option<(Instant, Duration)>,
}

impl Turns {
    /// An append here stands, that took so long.
    pub(super) fn appended(&mut self, now: Instant, took: Duration) {
        self.own = Some((now, took));
    }

    /// Another node was faster.
    pub(super) fn outrun(&mut self, now: Instant) {
        self.own = None;
        self.contested = Some(now + CONTESTED_FOR);
    }

    /// Another node's entries were heard.
    pub(super) fn heard(&mut self, now: Instant) {
        let near = self.own.take().is_some_and(|(at, _)| now < at + NEAR);
        if near || self.contested.is_some_and(|until| now < until) {
            self.contested = Some(now + CONTESTED_FOR);
        }
    }

    /// How long nothing is appended here for others to have their turn, if they have not had it since.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let (at, took) = self.own?;
        self.contested.filter(|until| now < *until)?;
        let until = at + (took * APPENDS).min(LONGEST);
        Some(until.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_is_alone_in_a_room_never_waits() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        for _ in 0..100 {
            turns.appended(now, 2 * MS);
            assert_eq!(turns.pause(now), None);
            now += MS;
        }
        // Somebody answers, as people do.
        turns.heard(now + 10 * NEAR);
        turns.appended(now + 11 * NEAR, 2 * MS);
        assert_eq!(turns.pause(now + 11 * NEAR), None);
    }

    #[test]
    fn who_was_faster_waits_for_the_other() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.outrun(now);
        assert_eq!(turns.pause(now), None, "whoever lost does not wait");
        turns.appended(now + MS, 2 * MS);
        assert_eq!(turns.pause(now + MS), Some(8 * MS));
        assert_eq!(turns.pause(now + 6 * MS), Some(3 * MS));
        assert_eq!(turns.pause(now + 9 * MS), None, "nobody took the turn");
        turns.heard(now + 5 * MS);
        assert_eq!(turns.pause(now + 5 * MS), None, "the turn was taken");
        turns.appended(now + 6 * MS, 100 * MS);
        assert_eq!(turns.pause(now + 6 * MS), Some(LONGEST));
    }

    #[test]
    fn a_room_is_contested_for_a_while_only() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.appended(now, 2 * MS);
        turns.heard(now + NEAR / 2);
        let later = now + NEAR / 2 + CONTESTED_FOR;
        turns.appended(later - MS, 2 * MS);
        assert!(turns.pause(later - MS).is_some());
        assert_eq!(turns.pause(later), None);
        turns.appended(later, 2 * MS);
        assert_eq!(turns.pause(later), None);
    }
}
