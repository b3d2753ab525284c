//! Everybody drops at once and comes back: a switch that restarts, a balancer that fails over.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{Scenario, Stage, cpu, process, talk::Talk};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room, Who},
    target::{Cpu, Friends, Processes, Server, World},
};

/// Rooms in which one who stays speaks.
const ROOMS_OF_A_SPEAKER: usize = 100;
/// Messages in each room that everybody hears before anything is counted.
const WARM_UP: u64 = 3;
/// Messages in each room after all are back: every resumed session must hear them too.
const AFTERWARDS: u64 = 1;
/// A server counts as quiet when it works no more than one tick of its CPU account in this time.
const QUIET: Duration = Duration::from_millis(250);
/// How long a server may take to notice that everybody is gone.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Every socket is cut in the same moment, without a close frame. While all are away a message is
/// said in each room, by one who stays. Then everybody connects anew and resumes, and must be
/// replayed exactly what was said meanwhile; afterwards everybody must hear a message live.
///
/// Counted as "resumes" is what the server works from the first connection to the last replay:
/// accept, upgrade, token, resume, replay. What it works to notice the cuts is counted apart, and
/// so is what the first start of a session costs. The people have rooms, but no friends.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Storm {
    /// How many sessions drop and resume
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// How many of them share a room
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// How many messages are said in each room while they are away
    #[arg(long, default_value_t = 1)]
    missed: u64,
    /// How many connect and resume at once
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

/// What a storm cost the server.
#[derive(Debug, Clone, Copy)]
struct Costs {
    starts: Cpu,
    cuts: Cpu,
    resumes: Cpu,
    back_after: Duration,
    replayed: u64,
}

impl Scenario for Storm {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let people = self.sessions + self.speakers();
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        self.open_rooms(&world, &mut ledger, stage)?;
        let mut crowd = stage.crowd(server)?;
        let tokens = server.access().tokens(world.users())?;
        let before = cpu(&process)?;
        crowd.join(tokens, |who, _| {
            stage.progress.count("sessions", who + 1, people);
        })?;
        let starts = cpu(&process)?.since(before);
        self.talk(&mut crowd, &mut ledger, WARM_UP)?;

        let before = cpu(&process)?;
        crowd.cut(0..self.sessions);
        settled(&mut crowd, &process)?;
        let cuts = cpu(&process)?.since(before);
        for message in 0..self.missed {
            self.speak_alone(&mut crowd, &mut ledger, WARM_UP + message)?;
        }
        settled(&mut crowd, &process)?;

        let (before, since) = (cpu(&process)?, Instant::now());
        let mut back = 0;
        let fault = &mut None;
        crowd.resume(0..self.sessions, self.at_once, |who, told| {
            if told.ok.as_ref().is_some_and(|ok| ok.replayed.is_some()) {
                back += 1;
                stage.progress.count("resumed", back, self.sessions);
            }
            if let Err(error) = ledger.hear(who, told) {
                fault.get_or_insert(error);
            }
        })?;
        if let Some(fault) = fault.take() {
            return Err(fault);
        }
        let costs = Costs {
            starts,
            cuts,
            resumes: cpu(&process)?.since(before),
            back_after: since.elapsed(),
            replayed: crowd.replayed(),
        };
        whole(costs.replayed, self.sessions as u64 * self.missed)?;
        self.talk(&mut crowd, &mut ledger, AFTERWARDS)?;
        ledger.settle()?;
        Ok(self.figures(costs))
    }
}

impl Storm {
    fn rooms(&self) -> usize {
        self.sessions.div_ceil(self.members)
    }

    fn speakers(&self) -> usize {
        self.rooms().div_ceil(ROOMS_OF_A_SPEAKER)
    }

    /// Who stays and speaks in a room; speakers come after all the others.
    fn speaker(&self, room: Room) -> Who {
        self.sessions + room / ROOMS_OF_A_SPEAKER
    }

    fn open_rooms(&self, world: &World, ledger: &mut Ledger, stage: &Stage) -> Result<(), Fault> {
        let (dropping, _) = world.users().split_at(self.sessions);
        for (n, members) in dropping.chunks(self.members).enumerate() {
            stage.progress.count("rooms", n + 1, self.rooms());
            let first = n * self.members;
            let speaker = self.speaker(n);
            let mut members = members.to_vec();
            let listeners = (first..first + members.len()).chain([speaker]);
            members.push(world.users()[speaker].clone());
            let kind = if members.len() <= 500 {
                "group"
            } else {
                "channel"
            };
            let (id, head) = world.room(kind, &format!("room {n}"), &members)?;
            let room = ledger.open(&id, head, members.len());
            for who in listeners {
                ledger.listen(who, [room]);
            }
        }
        Ok(())
    }

    /// Messages that everybody hears.
    fn talk(&self, crowd: &mut Crowd, ledger: &mut Ledger, messages: u64) -> Result<(), Fault> {
        let mut talk = Talk {
            crowd,
            ledger,
            speaker: &|room| self.speaker(room),
            text: self.text,
            in_flight: 1,
        };
        talk.run(messages)
    }

    /// The `n`th message of every room, acknowledged and heard by its speaker alone.
    fn speak_alone(&self, crowd: &mut Crowd, ledger: &mut Ledger, n: u64) -> Result<(), Fault> {
        let text = format!("{n:0width$}", width = self.text);
        for room in 0..self.rooms() {
            let d = json!({"room": ledger.id(room), "nonce": format!("n{n}"), "text": text});
            crowd.send(self.speaker(room), room as u64, "message.send", &d)?;
        }
        let (mut acknowledged, mut heard) = (0, 0);
        while acknowledged < self.rooms() || heard < self.rooms() {
            let mut fault = None;
            crowd.step("messages to those who are away", |who, told| {
                let result = ledger.hear(who, told).and_then(|message| {
                    heard += usize::from(message.is_some());
                    match (told.id, &told.ok, &told.err) {
                        (Some(room), Some(ok), _) => {
                            acknowledged += 1;
                            ledger.acknowledged(room as usize, ok.seq.unwrap_or(0), &text)
                        }
                        (_, _, Some(error)) => Err(Fault::Refused(error.explain())),
                        _ => Ok(()),
                    }
                });
                if let Err(error) = result {
                    fault.get_or_insert(error);
                }
            })?;
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        Ok(())
    }

    fn figures(&self, costs: Costs) -> Vec<Figure> {
        let seconds =
            |name: &str, time: Duration| Figure::new(name, Unit::CpuSeconds, time.as_secs_f64());
        let each = |name: &str, time: Duration, of: usize| {
            Figure::new(name, Unit::CpuMicros, time.as_secs_f64() * 1e6 / of as f64)
        };
        let Costs {
            starts,
            cuts,
            resumes,
            back_after,
            replayed,
        } = costs;
        vec![
            seconds("resumes", resumes.total()),
            seconds("resumes, user", resumes.user),
            seconds("resumes, system", resumes.system),
            each("a resume", resumes.total(), self.sessions),
            Figure::new(
                "until the last is back",
                Unit::Seconds,
                back_after.as_secs_f64(),
            ),
            Figure::new("events replayed", Unit::Count, replayed as f64),
            each("a cut", cuts.total(), self.sessions),
            each("a start", starts.total(), self.sessions + self.speakers()),
        ]
    }
}

/// The server said how many events it replayed: these, no fewer and no more.
fn whole(replayed: u64, missed: u64) -> Result<(), Fault> {
    if replayed == missed {
        return Ok(());
    }
    let what = format!("{replayed} events were replayed, {missed} missed");
    Err(Fault::Delivery(what))
}

/// Waits until the server does nothing: what it still has to do for earlier events is not to be
/// counted with later ones.
fn settled(crowd: &mut Crowd, process: &Processes) -> Result<(), Fault> {
    let since = Instant::now();
    while since.elapsed() < SETTLED_WITHIN {
        let (before, began) = (cpu(process)?, Instant::now());
        while began.elapsed() < QUIET {
            crowd.poll(QUIET.saturating_sub(began.elapsed()), |_, _| ())?;
        }
        if cpu(process)?.since(before).total() <= Duration::from_millis(10) {
            return Ok(());
        }
    }
    Err(Fault::Target(format!(
        "the server is not quiet {SETTLED_WITHIN:?} after the last event"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(sessions: usize) -> Storm {
        Storm {
            sessions,
            members: 10,
            missed: 1,
            at_once: 256,
            text: 64,
        }
    }

    #[test]
    fn every_room_has_a_speaker_who_stays() {
        for (sessions, rooms, speakers) in [(1, 1, 1), (10_000, 1000, 10), (1001, 101, 2)] {
            let storm = storm(sessions);
            assert_eq!((storm.rooms(), storm.speakers()), (rooms, speakers));
            for room in 0..rooms {
                assert!((sessions..sessions + speakers).contains(&storm.speaker(room)));
            }
        }
    }

    #[test]
    fn an_event_too_few_or_too_many_is_found() {
        whole(30, 30).unwrap();
        assert!(whole(29, 30).is_err());
        assert!(whole(31, 30).is_err());
    }

    #[test]
    fn a_resume_costs_its_share_of_all() {
        let seconds = |user, system| Cpu {
            user: Duration::from_secs(user),
            system: Duration::from_secs(system),
        };
        let costs = Costs {
            starts: seconds(0, 0),
            cuts: seconds(0, 0),
            resumes: seconds(2, 1),
            back_after: Duration::from_secs(4),
            replayed: 10_000,
        };
        let figures = storm(10_000).figures(costs);
        let of = |name: &str| figures.iter().find(|f| f.name == name).unwrap().value;
        assert!((of("resumes") - 3.0).abs() < 1e-9);
        assert!((of("a resume") - 300.0).abs() < 1e-6);
    }
}
