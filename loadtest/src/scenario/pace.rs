//! Messages at fixed times, whatever the server does, and a clock that starts when one is due, not
//! when it is sent: so a stall is charged to every message it delays.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::json;

use super::words::words;
use crate::swarm::{Crowd, Fault, Ledger, Room, Who, message::Told};

/// How long a poll may last while something else goes on.
const BESIDE_EVERY: Duration = Duration::from_millis(1);
/// How many messages that are due go out before the sockets are looked at, and how many bytes of text: however late
/// we are, pings are answered and what arrives is read, or members who listen would be taken for ones who do not.
const AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 64 << 10;

/// Messages under way and how long those took that are done.
pub(super) struct Clock {
    due: HashMap<(Room, u64), Instant>,
    acknowledged: HashMap<(Room, u64), Instant>,
    commands: HashMap<u64, (Room, Instant, String)>,
    /// Until the sender had the acknowledgement, in µs.
    pub(super) acks: Histogram<u64>,
    /// Until the last member had the message, in µs.
    pub(super) last: Histogram<u64>,
    /// From the acknowledgement until then, in µs: what delivery adds to the commit.
    pub(super) beyond: Histogram<u64>,
    heard_first: HashMap<(Room, u64), Instant>,
    /// Sends that were refused as `busy`, where that may be.
    pub(super) refused: Option<u64>,
}

impl Clock {
    pub(super) fn new() -> Result<Self, Fault> {
        Ok(Self {
            due: HashMap::new(),
            acknowledged: HashMap::new(),
            commands: HashMap::new(),
            acks: super::histogram()?,
            last: super::histogram()?,
            beyond: super::histogram()?,
            heard_first: HashMap::new(),
            refused: None,
        })
    }

    /// A clock for a server that is given more than it can do: it may refuse.
    pub(super) fn of_overload() -> Result<Self, Fault> {
        Ok(Self {
            refused: Some(0),
            ..Self::new()?
        })
    }

    /// A message of this room was due at that time and went out as command `id`.
    fn sent(&mut self, id: u64, room: Room, due: Instant, text: String) {
        self.commands.insert(id, (room, due, text));
    }

    /// Nothing is under way.
    fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.due.is_empty()
    }

    /// Takes in what a session was told.
    fn hear(&mut self, ledger: &mut Ledger, who: Who, told: &Told<'_>) -> Result<(), Fault> {
        let now = Instant::now();
        if let Some(error) = &told.err {
            if let (Some(refused), Some("busy")) = (&mut self.refused, error.code.as_deref()) {
                *refused += 1;
                told.id.and_then(|id| self.commands.remove(&id));
                return Ok(());
            }
            return Err(Fault::Refused(error.explain()));
        }
        if let Some(heard) = ledger.hear(who, told)?
            && heard.last
        {
            let key = (heard.room, heard.seq);
            if let Some(due) = self.due.remove(&key) {
                self.done(key, due, now);
            } else {
                self.heard_first.insert(key, now);
            }
        }
        if let (Some(id), Some(ok)) = (told.id, &told.ok)
            && let Some((room, due, text)) = self.commands.remove(&id)
        {
            let key = (room, ok.seq.unwrap_or(0));
            ledger.acknowledged(room, key.1, &text)?;
            self.acks.saturating_record((now - due).as_micros() as u64);
            self.acknowledged.insert(key, now);
            match self.heard_first.remove(&key) {
                Some(at) => self.done(key, due, at),
                None => drop(self.due.insert(key, due)),
            }
        }
        Ok(())
    }

    fn done(&mut self, key: (Room, u64), due: Instant, at: Instant) {
        self.last.saturating_record((at - due).as_micros() as u64);
        if let Some(acknowledged) = self.acknowledged.remove(&key) {
            let beyond = at.saturating_duration_since(acknowledged);
            self.beyond.saturating_record(beyond.as_micros() as u64);
        }
    }
}

/// What [`pace`] sends.
pub(super) struct Pace<'a> {
    /// One message in each of these in turn.
    pub(super) rooms: &'a [Room],
    /// Who sends in a room.
    pub(super) sender: &'a dyn Fn(Room) -> Who,
    /// Messages a second in all.
    pub(super) rate: f64,
    /// How many are due in one moment; the pauses are so much longer.
    pub(super) burst: u64,
    pub(super) time: Duration,
    /// How long a message is, in bytes.
    pub(super) text: usize,
    /// The id of the first command; each run on the same sockets needs its own.
    pub(super) first_id: u64,
}

impl Pace<'_> {
    fn count(&self) -> u64 {
        (self.time.as_secs_f64() * self.rate) as u64
    }

    /// When the `n`th message is due, from the beginning on.
    fn due(&self, n: u64) -> Duration {
        let burst = self.burst.max(1);
        Duration::from_secs_f64((n / burst * burst) as f64 / self.rate)
    }
}

/// What goes on beside the messages that are timed.
pub(super) trait Beside {
    /// Does what is due; called every millisecond. `on` until the last timed message was due.
    fn drive(&mut self, crowd: &mut Crowd, ledger: &Ledger, on: bool) -> Result<(), Fault>;

    /// A session was told something. False: it is nothing to the clock and the ledger.
    fn hear(&mut self, ledger: &mut Ledger, who: Who, told: &Told<'_>) -> Result<bool, Fault>;

    /// Nothing of it is under way any more.
    fn is_over(&self, ledger: &Ledger) -> bool;

    /// What still is, when that lasts too long.
    fn rest(&self) -> String;
}

/// Sends one message in each of the rooms in turn, and waits for all to arrive.
pub(super) fn pace(
    crowd: &mut Crowd,
    ledger: &mut Ledger,
    clock: &mut Clock,
    plan: &Pace<'_>,
) -> Result<(), Fault> {
    run(crowd, ledger, clock, plan, None)
}

/// The same while something else goes on.
pub(super) fn pace_beside(
    crowd: &mut Crowd,
    ledger: &mut Ledger,
    clock: &mut Clock,
    plan: &Pace<'_>,
    beside: &mut dyn Beside,
) -> Result<(), Fault> {
    run(crowd, ledger, clock, plan, Some(beside))
}

fn run(
    crowd: &mut Crowd,
    ledger: &mut Ledger,
    clock: &mut Clock,
    plan: &Pace<'_>,
    mut beside: Option<&mut dyn Beside>,
) -> Result<(), Fault> {
    let count = plan.count();
    let at_once = (BYTES_AT_ONCE / plan.text.max(1)).clamp(1, AT_ONCE);
    let began = Instant::now() + Duration::from_millis(5);
    let mut sent = 0;
    loop {
        for _ in 0..at_once {
            let due = began + plan.due(sent);
            if sent == count || due > Instant::now() {
                break;
            }
            let room = plan.rooms[sent as usize % plan.rooms.len()];
            let id = plan.first_id + sent;
            let text = words(id, plan.text);
            let d = json!({
                "room": ledger.id(room), "nonce": format!("p{id}"), "text": text,
            });
            crowd.send((plan.sender)(room), id, "message.send", &d)?;
            clock.sent(id, room, due, text);
            sent += 1;
        }
        let mut over = sent == count && clock.is_idle();
        if let Some(beside) = &mut beside {
            beside.drive(crowd, ledger, sent < count)?;
            over &= beside.is_over(ledger);
        }
        if over {
            return Ok(());
        }
        let mut wait = if sent < count {
            (began + plan.due(sent)).saturating_duration_since(Instant::now())
        } else {
            Duration::from_secs(1)
        };
        if beside.is_some() {
            wait = wait.min(BESIDE_EVERY);
        }
        let mut outcome = Ok(());
        crowd.poll(wait, |who, told| {
            if outcome.is_ok() {
                let beside = (beside.as_mut()).map_or(Ok(true), |b| b.hear(ledger, who, told));
                outcome = match beside {
                    Ok(true) => clock.hear(ledger, who, told),
                    Ok(false) => Ok(()),
                    Err(fault) => Err(fault),
                };
            }
        })?;
        outcome?;
        if began.elapsed() > plan.time * 2 + Duration::from_mins(1) {
            let (unanswered, unheard) = (clock.commands.len(), clock.due.len());
            let rest = beside.as_ref().map_or_else(String::new, |b| b.rest());
            return Err(Fault::Silence(format!(
                "{unanswered} messages to be acknowledged, {unheard} to be heard{rest}"
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_due_in_one_moment_and_the_rate_is_kept() {
        let mut plan = Pace {
            rooms: &[0],
            sender: &|_| 0,
            rate: 100.0,
            burst: 1,
            time: Duration::from_secs(2),
            text: 0,
            first_id: 0,
        };
        let millis = |plan: &Pace<'_>, n| plan.due(n).as_millis();
        assert_eq!(plan.count(), 200);
        assert_eq!([0, 1, 50].map(|n| millis(&plan, n)), [0, 10, 500]);
        plan.burst = 25;
        assert_eq!([0, 24, 25, 50].map(|n| millis(&plan, n)), [0, 0, 250, 500]);
    }
}
