//! How long a message takes to the last of its recipients, open loop: messages are due at fixed
//! times whatever the server does, and the clock starts when one is due, not when it is sent, so
//! that a stall is charged to every message it delays.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use super::{Scenario, Stage, cpu, percentiles, process, talk::Talk};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room, message::Told},
    target::{Friends, Server, World},
};

/// Messages that find out how many the server can deliver at most.
const PROBES: u64 = 60;
/// How many of a room may be under way meanwhile.
const PROBE_IN_FLIGHT: u64 = 16;

/// Messages at fixed times, timed until the last member has them.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Latency {
    /// How many rooms
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// How many members each has
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// Messages a second in all; when absent, a share of what the server can deliver at most
    #[arg(long)]
    rate: Option<f64>,
    /// That share
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// For how many seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

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
        })
    }

    /// A message of this room was due at that time and went out as command `id`.
    pub(super) fn sent(&mut self, id: u64, room: Room, due: Instant, text: String) {
        self.commands.insert(id, (room, due, text));
    }

    /// Nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.due.is_empty()
    }

    /// Takes in what a session was told.
    pub(super) fn hear(
        &mut self,
        ledger: &mut Ledger,
        who: usize,
        told: &Told<'_>,
    ) -> Result<(), Fault> {
        let now = Instant::now();
        if let Some(error) = &told.err {
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

/// Sends one message in each of `rooms` in turn, `rate` a second in all, for `time`, and waits for
/// all to arrive. The first member of a room is its sender, and `first` says which session that is.
pub(super) fn pace(
    crowd: &mut Crowd,
    ledger: &mut Ledger,
    clock: &mut Clock,
    plan: &Pace<'_>,
) -> Result<(), Fault> {
    let every = Duration::from_secs_f64(1.0 / plan.rate);
    let count = (plan.time.as_secs_f64() * plan.rate) as u64;
    let began = Instant::now() + Duration::from_millis(5);
    let mut sent = 0;
    while sent < count || !clock.is_idle() {
        while sent < count {
            let due = began + every.mul_f64(sent as f64);
            if due > Instant::now() {
                break;
            }
            let room = plan.rooms[sent as usize % plan.rooms.len()];
            let id = plan.first_id + sent;
            let text = format!("{id:0width$}", width = plan.text);
            let d = json!({
                "room": ledger.id(room), "nonce": format!("p{id}"), "text": text,
            });
            crowd.send((plan.sender)(room), id, "message.send", &d)?;
            clock.sent(id, room, due, text);
            sent += 1;
        }
        let next = began + every.mul_f64(sent as f64);
        let wait = next.saturating_duration_since(Instant::now());
        let mut outcome = Ok(());
        let wait = if sent < count {
            wait
        } else {
            Duration::from_secs(1)
        };
        crowd.poll(wait, |who, told| {
            if outcome.is_ok() {
                outcome = clock.hear(ledger, who, told);
            }
        })?;
        outcome?;
        if began.elapsed() > plan.time * 2 + Duration::from_mins(1) {
            return Err(Fault::Silence("the last messages".into()));
        }
    }
    Ok(())
}

/// What [`pace`] sends.
pub(super) struct Pace<'a> {
    pub(super) rooms: &'a [Room],
    pub(super) sender: &'a dyn Fn(Room) -> usize,
    pub(super) rate: f64,
    pub(super) time: Duration,
    pub(super) text: usize,
    pub(super) first_id: u64,
}

impl Scenario for Latency {
    fn run(&mut self, stage: &Stage, server: &Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let people = self.rooms * self.members;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        let rooms = super::open_rooms(&world, &mut ledger, self.members)?;
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |who, _| {
            stage.progress.count("sessions", who + 1, people);
        })?;
        let members = self.members;
        let sender = move |room: Room| room * members;
        let rate = if let Some(rate) = self.rate {
            rate
        } else {
            let since = Instant::now();
            let mut talk = Talk {
                crowd: &mut crowd,
                ledger: &mut ledger,
                speaker: &sender,
                text: self.text,
                in_flight: PROBE_IN_FLIGHT,
            };
            talk.run(PROBES)?;
            self.share * (PROBES * self.rooms as u64) as f64 / since.elapsed().as_secs_f64()
        };
        let mut clock = Clock::new()?;
        let plan = Pace {
            rooms: &rooms,
            sender: &sender,
            rate,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: 1 << 32,
        };
        let (before, since) = (cpu(process)?, Instant::now());
        pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
        let cost = cpu(process)?.since(before).total().as_secs_f64();
        let busy = cost / since.elapsed().as_secs_f64();
        ledger.settle()?;
        let mut figures = vec![
            Figure::new("messages", Unit::PerSecond, rate),
            Figure::new("CPUs in use", Unit::Count, busy),
        ];
        figures.extend(percentiles("ack", &clock.acks));
        figures.extend(percentiles("last recipient", &clock.last));
        figures.extend(percentiles("last recipient beyond the ack", &clock.beyond));
        Ok(figures)
    }
}
