//! How long a message takes to the last of its recipients, open loop, at a rate at which the
//! server works half of the time.

use std::time::{Duration, Instant};

use clap::Args;

use super::{
    Beside, Scenario, Stage, commit, cpu, histogram, millis,
    pace::{Clock, Pace, pace},
    percentiles, process,
    talk::Talk,
};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room},
    target::{Friends, Processes, Server, World},
};

/// Messages one at a time that say what one costs, as a first guess.
const SINGLE: u64 = 40;
/// Tries that look for the rate, at most.
const TRIES: u64 = 6;
/// How far from the share that is looked for a try may be.
const NEAR: f64 = 0.04;
/// How long the last message of a try may take beyond it, or the server, or the machine, cannot follow: then work is
/// done in larger portions and costs less, and its share would lead further astray.
const LATE: Duration = Duration::from_millis(250);
/// Ids of commands of one run of messages on the same sockets.
const IDS: u64 = 1 << 32;

/// Messages at fixed times, timed until the last member has them.
///
/// Without a rate the server decides: the messages come so often that it uses a share of one CPU, half
/// of it by default. The rate is looked for by short tries and reported with the share it came to.
/// "Commit alone" is a page written and synced on the server's disk while it has nothing to do, in the same run;
/// "beyond the commit" is a percentile less the same percentile of that.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Latency {
    /// How many rooms; a hundred when they have two members, else one
    #[arg(long)]
    rooms: Option<usize>,
    /// How many members each has
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// Messages a second in all; when absent, as many as make the server use --share
    #[arg(long)]
    rate: Option<f64>,
    /// Of one CPU
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// How many messages are due in one moment; the pauses are so much longer
    #[arg(long, default_value_t = 1)]
    burst: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// For how many seconds each try
    #[arg(long, default_value_t = 1.5)]
    probe: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

impl Latency {
    fn rooms(&self) -> usize {
        let pairs = if self.members <= 2 { 100 } else { 1 };
        self.rooms.unwrap_or(pairs)
    }

    fn plan<'a>(&self, rooms: &'a [Room], sender: &'a dyn Fn(Room) -> usize) -> Pace<'a> {
        Pace {
            rooms,
            sender,
            rate: 1.0,
            burst: self.burst,
            time: Duration::from_secs_f64(self.seconds),
            text: self.text,
            first_id: IDS,
        }
    }

    /// A few messages in each room, one at a time: afterwards every node that has somebody in a room knows it.
    fn wake(
        &self,
        crowd: &mut Crowd,
        ledger: &mut Ledger,
        plan: &Pace<'_>,
        each: u64,
    ) -> Result<(), Fault> {
        let mut talk = Talk {
            crowd,
            ledger,
            speaker: plan.sender,
            text: self.text,
            in_flight: 1,
        };
        talk.run(each)
    }

    /// Looks for the rate at which the server uses the share.
    fn find_rate(
        &self,
        crowd: &mut Crowd,
        ledger: &mut Ledger,
        process: &Processes,
        mut plan: Pace<'_>,
    ) -> Result<f64, Fault> {
        let before = cpu(process)?;
        // In a hundred rooms a message each says as much as a hundred in one.
        let each = SINGLE.div_ceil(plan.rooms.len() as u64).max(4);
        self.wake(crowd, ledger, &plan, each)?;
        let messages = (each * plan.rooms.len() as u64) as f64;
        let cost = cpu(process)?.since(before).total().as_secs_f64() / messages;
        // From below: a server that cannot follow closes sockets.
        plan.rate = 0.5 * self.share / cost.max(1e-6);
        plan.time = Duration::from_secs_f64(self.probe);
        let mut ceiling = f64::INFINITY;
        for _ in 0..TRIES {
            let (before, since) = (cpu(process)?, Instant::now());
            pace(crowd, ledger, &mut Clock::new()?, &plan)?;
            let busy = share(cpu(process)?.since(before).total(), &plan);
            let behind = since.elapsed() > plan.time.mul_f64(1.2) + LATE;
            if !behind && (busy - self.share).abs() <= NEAR {
                break;
            }
            if behind {
                ceiling = plan.rate * 0.8;
            }
            plan.rate = next_rate(plan.rate, busy, self.share).min(ceiling);
            plan.first_id += IDS;
        }
        Ok(plan.rate)
    }
}

/// What share of a CPU it is to do so much work for messages that came in the time of the plan; not
/// in the time it took, or a server that falls behind would seem to have time left.
fn share(used: Duration, plan: &Pace<'_>) -> f64 {
    used.as_secs_f64() / plan.time.as_secs_f64()
}

/// The rate to try when at this one the server used `busy` of a CPU and not `share`.
fn next_rate(rate: f64, busy: f64, share: f64) -> f64 {
    // What a message costs falls with their number: no step up is large.
    rate * (share / busy.max(0.01)).clamp(0.2, 1.6)
}

impl Scenario for Latency {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let people = self.rooms() * self.members;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        let rooms = super::open_rooms(&world, &mut ledger, self.members)?;
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |who, _| {
            stage.progress.count("sessions", who + 1, people);
        })?;
        let members = self.members;
        let sender = move |room: Room| room * members;
        let plan = self.plan(&rooms, &sender);
        let rate = if let Some(rate) = self.rate {
            self.wake(&mut crowd, &mut ledger, &plan, 1)?;
            rate
        } else {
            self.find_rate(&mut crowd, &mut ledger, &process, plan)?
        };
        let mut commits = histogram()?;
        commit::time_alone(server, &mut commits)?;
        let mut clock = Clock::new()?;
        let plan = Pace {
            rate,
            // After those of the tries.
            first_id: IDS * (TRIES + 2),
            ..self.plan(&rooms, &sender)
        };
        let beside = Beside::begin(server)?;
        let before = cpu(&process)?;
        pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
        let cost = cpu(&process)?.since(before).total();
        let busy = share(cost, &plan);
        let messages = (rate * self.seconds).max(1.0);
        let beside = beside.per_million("message", messages)?;
        commit::time_alone(server, &mut commits)?;
        ledger.settle()?;
        let mut figures = vec![
            Figure::new("messages", Unit::PerSecond, rate),
            Figure::new("CPUs in use", Unit::Count, busy),
            Figure::new(
                "message",
                Unit::CpuSecondsPerMillion,
                cost.as_secs_f64() * 1e6 / messages,
            ),
        ];
        figures.extend(beside);
        figures.extend(percentiles("ack", &clock.acks));
        figures.extend(percentiles("last recipient", &clock.last));
        figures.extend(percentiles("last recipient beyond the ack", &clock.beyond));
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let alone = millis(&commits, share);
            let beyond = (millis(&clock.last, share) - alone).max(0.0);
            let name = |what: &str| format!("{what}, {name}");
            figures.push(Figure::new(name("commit alone"), Unit::Millis, alone));
            let what = name("last recipient beyond the commit");
            figures.push(Figure::new(what, Unit::Millis, beyond));
        }
        let each = self.members;
        figures.extend(percentiles_of(&format!("last of {each}"), &clock));
        Ok(figures)
    }
}

/// The curve that graphs of several numbers of members have in common.
fn percentiles_of(name: &str, clock: &Clock) -> Vec<Figure> {
    let points = percentiles(name, &clock.last);
    points.into_iter().filter(|f| f.point.is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server on which a message costs 1 ms alone and less among many.
    fn busy(rate: f64) -> f64 {
        rate * 0.001 / (1.0 + rate / 4000.0)
    }

    #[test]
    fn half_load_is_found_from_either_side() {
        for start in [150.0, 500.0, 5_000.0] {
            let mut rate = start;
            for _ in 0..TRIES {
                if (busy(rate) - 0.5).abs() <= NEAR {
                    break;
                }
                rate = next_rate(rate, busy(rate), 0.5);
            }
            let near = (busy(rate) - 0.5).abs();
            assert!(near <= 2.0 * NEAR, "{start} led to {rate}: {}", busy(rate));
        }
    }

    #[test]
    fn pairs_are_many_and_large_rooms_are_alone() {
        let rooms = |members, rooms| {
            let latency = Latency {
                rooms,
                members,
                rate: None,
                share: 0.5,
                burst: 1,
                seconds: 1.0,
                probe: 1.0,
                text: 64,
            };
            latency.rooms()
        };
        assert_eq!((rooms(2, None), rooms(1000, None)), (100, 1));
        assert_eq!(rooms(2, Some(3)), 3);
    }
}
