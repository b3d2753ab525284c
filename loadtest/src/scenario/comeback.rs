//! A server dies under all its sessions and comes back: everybody wants in at once.

use std::time::Instant;

use clap::Args;

use super::{Beside, Scenario, Stage, cpu, process, talk::Talk};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault, Ledger, Room, Who},
    target::{Friends, Server, World},
};

/// Messages in each room before and after, which everybody hears.
const MESSAGES: u64 = 1;

/// The server, or the first of several nodes, is killed with kill -9 and started again at once; everybody
/// who was on it connects anew, tries to resume, hears that the session is lost, and starts another.
/// Afterwards everybody must hear a message in their room.
///
/// The clock runs from the start of the process. "until ready" is when it says so itself, "until the
/// last is back" when the last session has started. The CPU is that of the nodes in that time.
/// The people have rooms, but no friends.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Comeback {
    /// How many sessions come back
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// How many people share a room
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// How many connect and start at once
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

impl Comeback {
    /// So many people that the first of `nodes` has the sessions.
    fn people(&self, nodes: usize) -> usize {
        self.sessions * nodes
    }

    fn talk(&self, crowd: &mut Crowd, ledger: &mut Ledger) -> Result<(), Fault> {
        let members = self.members;
        let mut talk = Talk {
            crowd,
            ledger,
            speaker: &|room: Room| room * members,
            text: self.text,
            in_flight: 1,
        };
        talk.run(MESSAGES)
    }
}

impl Scenario for Comeback {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let nodes = server.addresses().len();
        let people = self.people(nodes);
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        super::open_rooms(&world, &mut ledger, self.members)?;
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |who, _| {
            stage.progress.count("sessions", who + 1, people);
        })?;
        self.talk(&mut crowd, &mut ledger)?;

        let theirs: Vec<Who> = (0..people).step_by(nodes).collect();
        server.kill()?;
        crowd.cut(theirs.iter().copied());
        let since = Instant::now();
        server.start_again()?;
        let ready = since.elapsed();
        let process = process(server)?;
        let (before, beside) = (cpu(&process)?, Beside::begin(server)?);
        let mut fault = None;
        let (mut back, count) = (0, theirs.len());
        crowd.resume(theirs, self.at_once, |who, told| {
            if told.ok.as_ref().is_some_and(|ok| ok.sid.is_some()) {
                back += 1;
                stage.progress.count("back", back, count);
            }
            if let Err(error) = ledger.hear(who, told) {
                fault.get_or_insert(error);
            }
        })?;
        let (took, cost) = (since.elapsed(), cpu(&process)?.since(before));
        let beside = beside.per_million("a start", count as f64)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.talk(&mut crowd, &mut ledger)?;
        ledger.settle()?;
        let mut figures = vec![
            Figure::new("until ready", Unit::Seconds, ready.as_secs_f64()),
            Figure::new("until the last is back", Unit::Seconds, took.as_secs_f64()),
            Figure::new(
                "a start",
                Unit::CpuMicros,
                cost.total().as_secs_f64() * 1e6 / count as f64,
            ),
        ];
        figures.extend(beside);
        Ok(figures)
    }
}
