//! The deadlines of one session, without a timer: the wheel wakes the session at the nearest one,
//! and this says what it was woken for.

use std::time::Duration;

use super::SessionSettings;
use crate::transport::wheel::Tick;

/// How long the other end has to answer a close frame.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How long one that has stopped reading has to read it: it would rather know than be cut off.
pub(super) const LONG_LINGER: Duration = Duration::from_secs(30);
/// How long a session that was given to another node waits until it is fetched.
const LENT: Duration = Duration::from_secs(10);
/// The furthest the wheel is asked to look: it turns once in a little more.
const HORIZON: Duration = Duration::from_mins(1);

/// What a session was woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Neither start nor resume came.
    Greeting,
    /// No socket came back.
    Detached,
    /// The close frame was not answered.
    Linger,
    /// Time for a ping.
    Ping,
    /// Nothing was heard for too long.
    Silence,
    /// The token ends.
    Expiry,
}

/// Where the session's socket stands, and until when it may stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Greeting(Tick),
    Open,
    Closing(Tick),
    Detached(Tick),
}

/// The deadlines.
#[derive(Debug)]
pub(super) struct Clock {
    mode: Mode,
    heard: Tick,
    ping: Tick,
    expiry: Tick,
    /// The wheel's entry for this session that counts; others wake it in vain.
    armed: Option<Tick>,
}

impl Clock {
    /// A fresh socket; the token ends in `expires_in`.
    pub(super) fn greeting(now: Tick, settings: &SessionSettings, expires_in: Duration) -> Self {
        Self {
            mode: Mode::Greeting(now.after(settings.greeting_timeout)),
            heard: now,
            ping: now,
            expiry: now.after(expires_in),
            armed: None,
        }
    }

    /// The socket has `greeting_timeout` again.
    pub(super) fn greet_again(&mut self, now: Tick, settings: &SessionSettings) {
        self.mode = Mode::Greeting(now.after(settings.greeting_timeout));
    }

    /// A session runs on a socket from now on. `jitter` (0 to 1) spreads the pings of many.
    pub(super) fn open(&mut self, now: Tick, settings: &SessionSettings, jitter: f64) {
        self.mode = Mode::Open;
        self.heard = now;
        self.ping = now.after(jittered(settings.heartbeat, jitter));
    }

    /// A close frame goes out; the socket stays for its answer until `linger` is over.
    pub(super) fn close(&mut self, now: Tick, linger: Duration) {
        self.mode = Mode::Closing(now.after(linger));
    }

    /// The socket is gone.
    pub(super) fn detach(&mut self, now: Tick, settings: &SessionSettings) {
        self.mode = Mode::Detached(now.after(settings.session_ttl));
    }

    /// The session was given to another node.
    pub(super) fn lend(&mut self, now: Tick) {
        self.mode = Mode::Detached(now.after(LENT));
    }

    /// The token ends in `expires_in`.
    pub(super) fn expire_in(&mut self, now: Tick, expires_in: Duration) {
        self.expiry = now.after(expires_in);
    }

    /// Something came in.
    pub(super) fn heard(&mut self, now: Tick) {
        self.heard = now;
    }

    /// What is due at `now`, one at a time. After anything but a ping the caller
    /// changes the mode.
    pub(super) fn due(
        &mut self,
        now: Tick,
        settings: &SessionSettings,
        jitter: impl FnOnce() -> f64,
    ) -> Option<Due> {
        if self.armed.is_some_and(|armed| armed <= now) {
            self.armed = None;
        }
        match self.mode {
            Mode::Greeting(until) if until <= now => return Some(Due::Greeting),
            Mode::Closing(until) if until <= now => return Some(Due::Linger),
            Mode::Detached(until) if until <= now => return Some(Due::Detached),
            Mode::Open if self.expiry <= now => return Some(Due::Expiry),
            Mode::Open if self.heard.after(settings.heartbeat_timeout) <= now => {
                return Some(Due::Silence);
            }
            Mode::Open if self.ping <= now => {
                self.ping = now.after(jittered(settings.heartbeat, jitter()));
                return Some(Due::Ping);
            }
            _ => {}
        }
        None
    }

    /// When the wheel has to wake the session, unless it will anyway.
    pub(super) fn arm(&mut self, now: Tick, settings: &SessionSettings) -> Option<Tick> {
        let of_mode = match self.mode {
            Mode::Greeting(until) | Mode::Closing(until) | Mode::Detached(until) => until,
            Mode::Open => {
                let silence = self.heard.after(settings.heartbeat_timeout);
                self.ping.min(silence).min(self.expiry)
            }
        };
        let next = of_mode.min(now.after(HORIZON));
        if self.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        self.armed = Some(next);
        Some(next)
    }
}

/// `interval` give or take a tenth.
fn jittered(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(secs: u64) -> Tick {
        if secs == 0 {
            Tick::default()
        } else {
            Tick::default().after(seconds(secs))
        }
    }

    fn dues(clock: &mut Clock, now: Tick) -> Option<Due> {
        clock.due(now, &SessionSettings::default(), || 0.5)
    }

    fn open() -> Clock {
        let settings = SessionSettings::default();
        let mut clock = Clock::greeting(at(0), &settings, seconds(600));
        clock.open(at(0), &settings, 0.5);
        clock
    }

    #[test]
    fn a_fresh_socket_has_ten_seconds() {
        let settings = SessionSettings::default();
        let mut clock = Clock::greeting(at(0), &settings, seconds(600));
        assert_eq!(clock.arm(at(0), &settings), Some(at(10)));
        assert_eq!(clock.arm(at(0), &settings), None, "one entry is enough");
        assert_eq!(dues(&mut clock, at(9)), None);
        assert_eq!(dues(&mut clock, at(10)), Some(Due::Greeting));
        clock.greet_again(at(10), &settings);
        assert_eq!(dues(&mut clock, at(10)), None);
        assert_eq!(clock.arm(at(10), &settings), Some(at(20)));
    }

    #[test]
    fn pings_go_out_and_silence_is_noticed() {
        let mut clock = open();
        assert_eq!(dues(&mut clock, at(24)), None);
        assert_eq!(dues(&mut clock, at(25)), Some(Due::Ping));
        assert_eq!(dues(&mut clock, at(25)), None);
        clock.heard(at(30));
        assert_eq!(dues(&mut clock, at(50)), Some(Due::Ping));
        assert_eq!(dues(&mut clock, at(69)), None);
        assert_eq!(dues(&mut clock, at(70)), Some(Due::Silence));
    }

    #[test]
    fn pings_of_many_spread_by_a_tenth() {
        assert_eq!(jittered(seconds(100), 0.0), seconds(90));
        assert_eq!(jittered(seconds(100), 1.0), seconds(110));
    }

    #[test]
    fn the_token_ends_when_it_ends() {
        let settings = SessionSettings::default();
        let mut clock = Clock::greeting(at(0), &settings, seconds(12));
        clock.open(at(5), &settings, 0.5);
        assert_eq!(clock.arm(at(5), &settings), Some(at(12)));
        assert_eq!(dues(&mut clock, at(11)), None);
        clock.expire_in(at(11), seconds(3));
        assert_eq!(dues(&mut clock, at(12)), None);
        assert_eq!(dues(&mut clock, at(14)), Some(Due::Expiry));
        // Without a socket there is nothing to close; the token of the next one counts.
        clock.detach(at(14), &settings);
        assert_eq!(dues(&mut clock, at(100)), None);
        assert_eq!(dues(&mut clock, at(134)), Some(Due::Detached));
    }

    #[test]
    fn a_far_deadline_is_looked_at_once_a_turn_by_one_entry() {
        let settings = SessionSettings::default();
        let mut clock = open();
        clock.detach(at(0), &settings);
        assert_eq!(clock.arm(at(0), &settings), Some(at(60)));
        assert_eq!(clock.arm(at(30), &settings), None);
        assert_eq!(dues(&mut clock, at(60)), None);
        assert_eq!(clock.arm(at(60), &settings), Some(at(120)));
        assert_eq!(dues(&mut clock, at(120)), Some(Due::Detached));
    }

    #[test]
    fn a_nearer_deadline_is_armed_and_the_older_entry_adds_none() {
        let settings = SessionSettings::default();
        let mut clock = open();
        assert_eq!(clock.arm(at(0), &settings), Some(at(25)));
        clock.close(at(1), LINGER);
        assert_eq!(clock.arm(at(1), &settings), Some(at(3)));
        assert_eq!(dues(&mut clock, at(3)), Some(Due::Linger));
        clock.detach(at(3), &settings);
        assert_eq!(clock.arm(at(3), &settings), Some(at(63)));
        // The entry of tick 25 fires in vain.
        assert_eq!(dues(&mut clock, at(25)), None);
        assert_eq!(clock.arm(at(25), &settings), None);
    }
}
