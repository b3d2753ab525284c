//! Sessions that do nothing: what one takes to open, holds, and costs while nothing happens.

use std::time::{Duration, Instant};

use clap::Args;

use super::{Scenario, Stage, cpu, process};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault},
    target::{Cpu, Friends, Processes, Server, World},
};

/// Members of the three rooms that everybody is in.
const ROOMS: [usize; 3] = [10, 50, 500];
/// How long the server may take to give back what starting took.
const SETTLE: Duration = Duration::from_secs(2);

/// Joined sessions, each with friends and three rooms, and nothing to do.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Idle {
    /// The first reading of memory is taken at so many sessions
    #[arg(long, default_value_t = 2_000)]
    from: usize,
    /// The second at so many; the slope between them is the cost of one
    #[arg(long, default_value_t = 16_000)]
    to: usize,
    /// How many friends each has, an even number; 0 for people without accounts
    #[arg(long, default_value_t = 10)]
    friends: usize,
    /// In how many steps it goes from one to the other; memory is read after each
    #[arg(long, default_value_t = 7)]
    steps: usize,
    /// For how many seconds the idle sessions are watched; two heartbeats take 50
    #[arg(long, default_value_t = 50.0)]
    seconds: f64,
    /// Who was settled by the preparation.
    #[arg(skip)]
    users: Vec<String>,
}

impl Idle {
    /// So many sessions of people with ten friends, all opened in one step and not watched.
    pub(super) fn of(sessions: usize) -> Self {
        Self {
            from: 0,
            to: sessions,
            friends: 10,
            steps: 1,
            seconds: 0.0,
            users: Vec::new(),
        }
    }

    /// The same with the sessions of the first people alone.
    pub(super) fn first(&self, people: usize) -> Self {
        Self {
            users: self.users.iter().take(people).cloned().collect(),
            ..self.clone()
        }
    }

    fn settle(&mut self, stage: &Stage, server: &Server) -> Result<World, Fault> {
        let friends = match self.friends {
            0 => Friends::Strangers,
            each => Friends::Each(each),
        };
        let world = World::settle(server, self.to, friends, |what, done, of| {
            stage.progress.count(what, done, of);
        })?;
        for size in ROOMS {
            for (n, people) in world.users().chunks(size).enumerate() {
                stage.progress.count("rooms", n * size, self.to);
                world.room("group", &format!("{size} people, {n}"), people)?;
            }
        }
        self.users = world.users().to_vec();
        Ok(world)
    }
}

impl Scenario for Idle {
    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&mut self, stage: &Stage, server: &Server) -> Result<(), Fault> {
        self.settle(stage, server).map(drop)
    }

    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let tokens = server.access().tokens(&self.users)?;
        let mut crowd = stage.crowd(server)?;
        let (few, others) = tokens.split_at(self.from.min(tokens.len()));
        let join = |crowd: &mut Crowd, tokens: &[String]| {
            crowd.join(tokens.iter().cloned(), |who, _| {
                stage.progress.count("sessions", who + 1, self.to);
            })
        };
        let empty = rss(&process)?;
        join(&mut crowd, few)?;
        rest(&mut crowd, SETTLE)?;
        let at_few = rss(&process)?;
        let mut curve = vec![memory(few.len(), at_few)];
        let (mut opening, mut took, mut at_all) = (Cpu::default(), Duration::ZERO, at_few);
        for step in others.chunks(others.len().div_ceil(self.steps.max(1)).max(1)) {
            let (before, since) = (cpu(&process)?, Instant::now());
            join(&mut crowd, step)?;
            let used = cpu(&process)?.since(before);
            opening.user += used.user;
            opening.system += used.system;
            took += since.elapsed();
            rest(&mut crowd, SETTLE)?;
            at_all = rss(&process)?;
            curve.push(memory(crowd.len(), at_all));
        }
        let before = cpu(&process)?;
        rest(&mut crowd, Duration::from_secs_f64(self.seconds))?;
        let idle = cpu(&process)?.since(before);
        let (opened, sessions) = (others.len() as f64, crowd.len() as f64);
        let start = |name: &str, time: Duration| {
            Figure::new(name, Unit::CpuMicros, time.as_secs_f64() * 1e6 / opened)
        };
        let mut figures = vec![
            Figure::new(
                "memory of a session",
                Unit::Bytes,
                (at_all as f64 - at_few as f64) / opened,
            ),
            Figure::new("memory without sessions", Unit::Mebibytes, mebibytes(empty)),
            Figure::new(
                "memory with all of them",
                Unit::Mebibytes,
                mebibytes(at_all),
            ),
            start("upgrade, token and start", opening.total()),
            start("upgrade, token and start, user", opening.user),
            start("upgrade, token and start, system", opening.system),
            Figure::new("starts", Unit::PerSecond, opened / took.as_secs_f64()),
            Figure::new(
                "a second of an idle session",
                Unit::CpuMicros,
                idle.total().as_secs_f64() * 1e6 / (sessions * self.seconds),
            ),
        ];
        figures.extend(curve);
        Ok(figures)
    }
}

/// A point of the curve of memory over sessions.
fn memory(sessions: usize, bytes: u64) -> Figure {
    Figure::on_curve("memory", sessions as f64, Unit::Mebibytes, mebibytes(bytes))
}

fn rss(process: &Processes) -> Result<u64, Fault> {
    process
        .rss()
        .map_err(|error| Fault::Target(error.to_string()))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Answers pings for so long; everybody must stay.
fn rest(crowd: &mut Crowd, time: Duration) -> Result<(), Fault> {
    let since = Instant::now();
    while let Some(left) = time.checked_sub(since.elapsed()) {
        crowd.poll(left.min(Duration::from_millis(200)), |_, _| ())?;
    }
    Ok(())
}
