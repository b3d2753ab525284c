//! One misbehaves, the others must not feel it: stalled readers among many members, and a quiet
//! room beside a hot one.

use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use super::{
    Scenario, Stage,
    pace::{Beside, Clock, Pace, pace, pace_beside},
    percentiles, process,
};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room, SwarmError, Who, message::Told},
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
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
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
            burst: 1,
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
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// For how many seconds alone, and for how many beside the hot room
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

/// Commands of the hot room have ids above this.
const HOT_ID: u64 = 1 << 36;

/// The hot room at work: the next message goes out when the oldest under way has reached everybody.
struct Heat {
    room: Room,
    in_flight: u64,
    text: usize,
    /// Messages that everybody had before.
    base: u64,
    said: u64,
    /// Deliveries before, and when it began.
    delivered: (u64, Instant),
    /// Deliveries a second, once it is over.
    rate: Option<f64>,
}

impl Beside for Heat {
    fn drive(&mut self, crowd: &mut Crowd, ledger: &Ledger, on: bool) -> Result<(), Fault> {
        if !on {
            self.rate.get_or_insert_with(|| {
                let (before, since) = self.delivered;
                (ledger.delivered() - before) as f64 / since.elapsed().as_secs_f64()
            });
            return Ok(());
        }
        while self.said < ledger.whole(self.room) - self.base + self.in_flight {
            let (n, text) = (self.said, self.text);
            let d = json!({
                "room": ledger.id(self.room), "nonce": format!("h{n}"), "text": format!("{n:0text$}"),
            });
            crowd.send(0, HOT_ID + n, "message.send", &d)?;
            self.said += 1;
        }
        Ok(())
    }

    fn hear(&mut self, _: &mut Ledger, _: Who, _: &Told<'_>) -> Result<bool, Fault> {
        Ok(true)
    }

    fn is_over(&self, ledger: &Ledger) -> bool {
        self.rate.is_some() && ledger.whole(self.room) - self.base == self.said
    }

    fn rest(&self) -> String {
        format!(", and the hot room's {}", self.said)
    }
}

impl Scenario for Hot {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let people = self.members + 2 * self.quiet;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let (members, others) = world.users().split_at(self.members);
        let mut ledger = Ledger::default();
        let kind = match members.len() {
            ..=500 => "group",
            _ => "channel",
        };
        let (id, head) = world.room(kind, "hot", members)?;
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
        crowd.swarm().prefer(first).map_err(SwarmError::from)?;
        let sender = move |room: Room| first + 2 * (room - hot - 1);
        let plan = Pace {
            rooms: &quiet,
            sender: &sender,
            rate: self.rate,
            burst: 1,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: 1,
        };
        let mut clock = Clock::new()?;
        pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
        let alone = clock.last;

        let plan = Pace {
            first_id: 1 << 32,
            ..plan
        };
        let mut heat = Heat {
            room: hot,
            in_flight: self.in_flight as u64,
            text: self.text,
            base: ledger.whole(hot),
            said: 0,
            delivered: (ledger.delivered(), Instant::now()),
            rate: None,
        };
        let mut clock = Clock::new()?;
        pace_beside(&mut crowd, &mut ledger, &mut clock, &plan, &mut heat)?;
        ledger.settle()?;
        let beside = clock.last;
        let mut figures = percentiles("quiet room alone", &alone);
        figures.extend(percentiles("quiet room beside the hot one", &beside));
        figures.push(Figure::new(
            "p99 beside, by p99 alone",
            Unit::Times,
            slower(&alone, &beside),
        ));
        figures.push(Figure::new(
            "deliveries of the hot room",
            Unit::PerSecond,
            heat.rate.unwrap_or_default(),
        ));
        Ok(figures)
    }
}

/// How many times as long the 99th percentile of one is as that of the other.
pub(super) fn slower(alone: &Histogram<u64>, beside: &Histogram<u64>) -> f64 {
    let p99 = |of: &Histogram<u64>| of.value_at_quantile(0.99) as f64;
    p99(beside) / p99(alone).max(1.0)
}
