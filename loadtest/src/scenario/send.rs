//! Durable sends, closed loop: how many a second are acknowledged, and after how long.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use super::{Beside, Scenario, Stage, cpu, histogram, open_rooms, percentiles, process};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room, Who},
    target::{Friends, Processes, Server, World},
};

/// Every member of every room keeps some sends under way.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Send {
    /// How many rooms
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// How many members each has, all of whom hear; they sit on the nodes in turns
    #[arg(long, default_value_t = 2)]
    members: usize,
    /// How many of them send, the first ones; all if it is not given. With one, and a member on each node, all is
    /// said on the first node and the others only deliver
    #[arg(long)]
    speakers: Option<NonZeroUsize>,
    /// How many sends each member has under way
    #[arg(long, default_value_t = 2)]
    window: usize,
    /// For how many seconds sends are counted
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// How many seconds come before
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

/// A send under way.
struct Sent {
    at: Instant,
    text: String,
}

/// One member and what it has under way; the slot of a send is its command's id.
struct Sender {
    room: Room,
    slots: Vec<Option<Sent>>,
}

struct Run {
    crowd: Crowd,
    ledger: Ledger,
    senders: Vec<Sender>,
    said: u64,
    waits: Histogram<u64>,
    /// How many sends each node acknowledged.
    by_node: Vec<u64>,
}

impl Run {
    fn say(&mut self, who: Who, slot: usize, text: usize) -> Result<(), Fault> {
        let n = self.said;
        self.said += 1;
        let text = format!("{n:0text$}");
        let sender = &mut self.senders[who];
        let d = json!({
            "room": self.ledger.id(sender.room), "nonce": format!("n{n}"), "text": text,
        });
        self.crowd.send(who, slot as u64, "message.send", &d)?;
        let at = Instant::now();
        sender.slots[slot] = Some(Sent { at, text });
        Ok(())
    }

    /// Takes in what arrives next; returns the slots that became free.
    fn hear(&mut self) -> Result<Vec<(Who, usize)>, Fault> {
        let Self {
            crowd,
            ledger,
            senders,
            waits,
            ..
        } = self;
        let mut free = Vec::new();
        let mut outcome = Ok(());
        crowd.step("acknowledgements", |who, told| {
            let mut one = || {
                ledger.hear(who, told)?;
                if let Some(error) = &told.err {
                    return Err(Fault::Refused(error.explain()));
                }
                let (Some(id), Some(ok)) = (told.id, &told.ok) else {
                    return Ok(());
                };
                let sender = &mut senders[who];
                let slot = sender.slots.get_mut(id as usize).and_then(Option::take);
                let sent = slot.ok_or_else(|| {
                    Fault::Delivery(format!("socket {who} heard an answer to {id} twice"))
                })?;
                // Saturates at the greatest value it can hold, a minute.
                waits.saturating_record(sent.at.elapsed().as_micros() as u64);
                free.push((who, id as usize));
                ledger.acknowledged(sender.room, ok.seq.unwrap_or(0), &sent.text)
            };
            if outcome.is_ok() {
                outcome = one();
            }
        })?;
        outcome.map(|()| free)
    }

    /// Sends on whatever is free for so long, and counts what is acknowledged.
    fn go_on(&mut self, time: Duration, text: usize) -> Result<(), Fault> {
        let since = Instant::now();
        while since.elapsed() < time {
            for (who, slot) in self.hear()? {
                let node = self.crowd.swarm().node(who);
                self.by_node[node] += 1;
                self.say(who, slot, text)?;
            }
        }
        Ok(())
    }
}

/// What each node has used of a CPU so far.
fn each(processes: &Processes) -> Result<Vec<Duration>, Fault> {
    let times = processes.times();
    times.map_err(|error| Fault::Target(error.to_string()))
}

impl Scenario for Send {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let people = self.rooms * self.members;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut run = Run {
            crowd: stage.crowd(server)?,
            ledger: Ledger::default(),
            senders: Vec::with_capacity(people),
            said: 0,
            waits: histogram()?,
            by_node: vec![0; server.addresses().len()],
        };
        for room in open_rooms(&world, &mut run.ledger, self.members)? {
            run.senders.extend((0..self.members).map(|_| Sender {
                room,
                slots: (0..self.window).map(|_| None).collect(),
            }));
        }
        run.crowd
            .join(server.access().tokens(world.users())?, |who, _| {
                stage.progress.count("sessions", who + 1, people);
            })?;
        let speakers = self.speakers.map_or(self.members, NonZeroUsize::get);
        for who in (0..people).filter(|who| who % self.members < speakers) {
            for slot in 0..self.window {
                run.say(who, slot, self.text)?;
            }
        }
        run.go_on(Duration::from_secs_f64(self.warm_up), self.text)?;
        run.waits.reset();
        run.by_node.fill(0);
        let beside = Beside::begin(server)?;
        let (before, since) = (cpu(&process)?, Instant::now());
        let each_before = each(&process)?;
        run.go_on(Duration::from_secs_f64(self.seconds), self.text)?;
        let acknowledged = run.by_node.iter().sum::<u64>() as f64;
        let (cost, took) = (cpu(&process)?.since(before), since.elapsed());
        let each_now = each(&process)?;
        let beside = beside.per_million("send", acknowledged)?;
        let waits = run.waits.clone();
        while run
            .senders
            .iter()
            .any(|s| s.slots.iter().any(Option::is_some))
        {
            run.hear()?;
        }
        // The last to be acknowledged may not have reached everybody yet.
        while !(0..run.ledger.rooms()).all(|room| run.ledger.is_whole(room)) {
            run.hear()?;
        }
        run.ledger.settle()?;
        let million = |time: Duration| time.as_secs_f64() * 1e6 / acknowledged;
        let mut figures = vec![
            Figure::new("acks", Unit::PerSecond, acknowledged / took.as_secs_f64()),
            Figure::new("send", Unit::CpuSecondsPerMillion, million(cost.total())),
            Figure::new("send, user", Unit::CpuSecondsPerMillion, million(cost.user)),
            Figure::new(
                "send, system",
                Unit::CpuSecondsPerMillion,
                million(cost.system),
            ),
        ];
        if each_now.len() > 1 {
            let each = each_now.iter().zip(&each_before).enumerate();
            figures.extend(each.map(|(n, (now, before))| {
                let name = format!("send, node {}", n + 1);
                Figure::new(
                    name,
                    Unit::CpuSecondsPerMillion,
                    million(now.saturating_sub(*before)),
                )
            }));
        }
        if run.by_node.len() > 1 && speakers == self.members {
            // 1 if all are served alike; what speaks in the same rooms takes turns.
            let least = run.by_node.iter().min().map_or(0, |least| *least) as f64;
            let fair = acknowledged / run.by_node.len() as f64;
            figures.push(Figure::new(
                "share of the slowest node",
                Unit::Times,
                least / fair,
            ));
        }
        figures.extend(beside);
        figures.extend(percentiles("ack", &waits));
        Ok(figures)
    }
}
