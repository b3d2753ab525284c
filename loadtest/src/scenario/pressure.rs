//! One misbehaves, the others must not feel it: stalled readers among many members, and a quiet
//! room beside a hot one.

use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use super::{
    Scenario, Stage,
    latency::{Clock, Pace, pace},
    percentiles, process,
};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room},
    target::{Friends, Server, World},
};

/// The close code of a reader that is too slow.
const TOO_SLOW: u16 = 4008;

/// Some members of a large room stop reading.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Stalled {
    /// How many members
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// How many of them stall
    #[arg(long = "stalled", default_value_t = 10)]
    silent: usize,
    /// Messages a second
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// For how many seconds before, and for how many with them stalled
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long a message is, in bytes; large ones fill the buffers on the way sooner
    #[arg(long, default_value_t = 3900)]
    text: usize,
}

impl Scenario for Stalled {
    fn run(&mut self, stage: &Stage, server: &Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let world = World::settle(server, self.members, Friends::Strangers, |_, _, _| ())?;
        let (id, head) = world.room("channel", "a large room", world.users())?;
        // The book has two volumes: before, everybody listens; then, all but those who stall.
        let mut ledger = Ledger::default();
        let room = ledger.open(&id, head, self.members);
        (0..self.members).for_each(|who| ledger.listen(who, [room]));
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |_, _| ())?;
        let mut figures = Vec::new();
        let mut plan = Pace {
            rooms: &[room],
            sender: &|_| 0,
            rate: self.rate,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: 1 << 32,
        };
        let mut clock = Clock::new()?;
        pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
        ledger.settle()?;
        figures.extend(percentiles("last recipient before", &clock.last));

        let memory = process.rss().map_err(|e| Fault::Target(e.to_string()))?;
        let stalled = self.members - self.silent..self.members;
        crowd.may_end(stalled.clone());
        stalled.clone().for_each(|who| crowd.swarm().stall(who));
        let head = head + (self.rate * self.seconds) as u64;
        let mut ledger = Ledger::default();
        let room = ledger.open(&id, head, self.members - self.silent);
        (0..stalled.start).for_each(|who| ledger.listen(who, [room]));
        let mut clock = Clock::new()?;
        plan.first_id = 1 << 33;
        pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
        ledger.settle()?;
        let grown = process.rss().map_err(|e| Fault::Target(e.to_string()))?;
        figures.extend(percentiles("last recipient with some stalled", &clock.last));
        let growth = grown.saturating_sub(memory) as f64 / f64::from(1 << 20);
        figures.push(Figure::new("memory grown", Unit::Mebibytes, growth));
        figures.push(Figure::new("closed as too slow", Unit::Count, {
            // They read what is left, and the close.
            stalled.clone().for_each(|who| crowd.swarm().unstall(who));
            let since = Instant::now();
            let closed = |crowd: &Crowd| {
                let of = |who| crowd.ended(who).and_then(|ending| ending.code);
                stalled
                    .clone()
                    .filter(|who| of(*who) == Some(TOO_SLOW))
                    .count()
            };
            while closed(&crowd) < self.silent && since.elapsed() < Duration::from_secs(5) {
                crowd.poll(Duration::from_millis(50), |_, _| ())?;
            }
            closed(&crowd) as f64
        }));
        Ok(figures)
    }
}

/// A hot room at full speed beside a quiet one.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Hot {
    /// How many members the hot room has
    #[arg(long, default_value_t = 500)]
    members: usize,
    /// How many messages of the hot room are under way at any time
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// How many quiet rooms of two there are
    #[arg(long, default_value_t = 1000)]
    quiet: usize,
    /// Messages a second in the quiet rooms, all together
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// For how many seconds alone, and for how many beside the hot room
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

/// The hot room's messages under way, by slot; ids of commands are above this.
const HOT_ID: u64 = 1 << 36;

impl Hot {
    fn heat(&self, crowd: &mut Crowd, ledger: &Ledger, room: Room, n: u64) -> Result<(), Fault> {
        let text = format!("{n:0width$}", width = self.text);
        let d = json!({"room": ledger.id(room), "nonce": format!("h{n}"), "text": text});
        crowd.send(0, HOT_ID + n, "message.send", &d)
    }
}

impl Scenario for Hot {
    fn run(&mut self, stage: &Stage, server: &Server) -> Result<Vec<Figure>, Fault> {
        let people = self.members + 2 * self.quiet;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let (members, others) = world.users().split_at(self.members);
        let mut ledger = Ledger::default();
        let (id, head) = world.room("group", "hot", members)?;
        let hot = ledger.open(&id, head, members.len());
        (0..members.len()).for_each(|who| ledger.listen(who, [hot]));
        let mut quiet = Vec::new();
        for (n, pair) in others.chunks(2).enumerate() {
            let (id, head) = world.room("group", &format!("quiet {n}"), pair)?;
            let room = ledger.open(&id, head, pair.len());
            let first = self.members + 2 * n;
            (first..first + 2).for_each(|who| ledger.listen(who, [room]));
            quiet.push(room);
        }
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |_, _| ())?;
        let first = self.members;
        let sender = move |room: Room| first + 2 * (room - hot - 1);
        let plan = Pace {
            rooms: &quiet,
            sender: &sender,
            rate: self.rate,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: 1,
        };
        let mut clock = Clock::new()?;
        pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
        let alone = clock.last;

        let (heard, beside) = self.beside(&mut crowd, &mut ledger, hot, &plan)?;
        ledger.settle()?;
        let mut figures = percentiles("quiet room alone", &alone);
        figures.extend(percentiles("quiet room beside the hot one", &beside));
        let p99 = |of: &Histogram<u64>| of.value_at_quantile(0.99) as f64;
        figures.push(Figure::new(
            "p99 beside, by p99 alone",
            Unit::Times,
            p99(&beside) / p99(&alone).max(1.0),
        ));
        figures.push(Figure::new(
            "deliveries of the hot room",
            Unit::PerSecond,
            heard,
        ));
        Ok(figures)
    }
}

impl Hot {
    /// Both at once; returns the hot room's deliveries a second and the quiet rooms' times.
    fn beside(
        &self,
        crowd: &mut Crowd,
        ledger: &mut Ledger,
        hot: Room,
        plan: &Pace<'_>,
    ) -> Result<(f64, Histogram<u64>), Fault> {
        let mut clock = Clock::new()?;
        let every = Duration::from_secs_f64(1.0 / plan.rate);
        let count = (plan.time.as_secs_f64() * plan.rate) as u64;
        let (base, delivered, began) = (ledger.whole(hot), ledger.delivered(), Instant::now());
        let (mut sent, mut said) = (0, 0);
        let mut stopped = None;
        while stopped.is_none() || !clock.is_idle() || ledger.whole(hot) - base < said {
            if began.elapsed() > plan.time && stopped.is_none() {
                stopped = Some((ledger.delivered() - delivered) as f64);
            }
            while stopped.is_none() && said < ledger.whole(hot) - base + self.in_flight as u64 {
                self.heat(crowd, ledger, hot, said)?;
                said += 1;
            }
            let due = began + every.mul_f64(sent as f64);
            if sent < count && due <= Instant::now() {
                let room = plan.rooms[sent as usize % plan.rooms.len()];
                let id = (1 << 32) + sent;
                let text = format!("{id:0width$}", width = plan.text);
                let d = json!({"room": ledger.id(room), "nonce": format!("p{id}"), "text": text});
                crowd.send((plan.sender)(room), id, "message.send", &d)?;
                clock.sent(id, room, due, text);
                sent += 1;
            }
            let mut outcome = Ok(());
            crowd.poll(Duration::from_millis(1), |who, told| {
                if outcome.is_ok() {
                    outcome = clock.hear(ledger, who, told);
                }
            })?;
            outcome?;
            if began.elapsed() > plan.time * 2 + Duration::from_mins(1) {
                return Err(Fault::Silence("the last messages".into()));
            }
        }
        let rate = stopped.unwrap_or_default() / plan.time.as_secs_f64();
        Ok((rate, clock.last))
    }
}
