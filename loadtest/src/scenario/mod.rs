//! What can be measured: each scenario prepares a server, drives it, verifies everything that it
//! delivers, and returns figures.

mod channel;
mod comeback;
mod commit;
mod deploy;
mod door;
mod fanout;
mod flood;
mod floor;
mod handshakes;
mod idle;
mod instructions;
mod kernel;
mod latency;
mod mixed;
mod pace;
mod presence;
mod pressure;
mod routine;
mod schedule;
mod send;
mod states;
mod storm;
mod talk;
mod town;
mod words;

use std::path::PathBuf;

use hdrhistogram::Histogram;
use shared::protocol::codec::Encoding;

pub use channel::Channel;
pub use comeback::Comeback;
pub use deploy::Deploy;
pub use door::{Door, serve_echo};
pub use fanout::Fanout;
pub use flood::Flood;
pub use floor::serve as serve_floor;
pub use handshakes::Handshakes;
pub use idle::Idle;
pub use instructions::Instructions;
pub use kernel::Kernel;
pub use latency::Latency;
pub use mixed::Mixed;
pub use presence::Presence;
pub use pressure::{Hot, Stalled};
pub use send::Send;
pub use storm::Storm;

use crate::{
    measure::{Figure, Progress, Unit},
    swarm::{Crowd, Fault, Ledger, Room},
    target::{Cpu, Processes, Server, World},
};

/// What every scenario is given.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The encoding that clients speak.
    pub encoding: Encoding,
    /// Offer permessage-deflate.
    pub deflate: bool,
    /// The CPU that serves.
    pub server_cpu: Option<usize>,
    /// `loadtest` itself, for a floor in a process of its own.
    pub program: PathBuf,
    /// Tells what is going on.
    pub progress: Progress,
}

impl Stage {
    /// An empty crowd at the server.
    fn crowd(&self, server: &Server) -> Result<Crowd, Fault> {
        let mut crowd = Crowd::new(server.addresses(), self.encoding)?;
        if self.deflate {
            crowd.swarm().offer_deflate();
        }
        Ok(crowd)
    }
}

/// Something that can be measured.
pub trait Scenario {
    /// Settings that a server started for it needs.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Prepares data that every run begins with, with a server that was started for it; the data
    /// directory is copied for each run.
    fn prepare(&mut self, _stage: &Stage, _server: &Server) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether [`Self::prepare`] does anything.
    fn prepares(&self) -> bool {
        false
    }

    /// One run on a fresh server, which it may kill and start again.
    ///
    /// # Errors
    /// Anything that breaks the delivery promise: the figures would be worth nothing.
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault>;

    /// What the kernel alone costs for the same writes; figures that have the name of one of
    /// [`Self::run`] are compared with it.
    fn floor(&mut self, _stage: &Stage) -> Result<Vec<Figure>, Fault> {
        Ok(Vec::new())
    }
}

/// What serves, which most figures need.
fn process(server: &Server) -> Result<Processes, Fault> {
    let process = server.processes();
    process.ok_or_else(|| Fault::Target("give the server's process: --pid".into()))
}

fn cpu(process: &Processes) -> Result<Cpu, Fault> {
    process
        .cpu()
        .map_err(|error| Fault::Target(error.to_string()))
}

/// What works beside the nodes, and what each had used of a CPU when it was looked at.
struct Beside<'a> {
    server: &'a Server,
    before: Vec<Cpu>,
}

impl<'a> Beside<'a> {
    fn begin(server: &'a Server) -> Result<Self, Fault> {
        let mut beside = Self {
            server,
            before: Vec::new(),
        };
        beside.before = beside.used()?;
        Ok(beside)
    }

    fn used(&self) -> Result<Vec<Cpu>, Fault> {
        let processes = self.server.beside().iter();
        processes
            .map(|(_, process)| process.cpu().map_err(|e| Fault::Target(e.to_string())))
            .collect()
    }

    /// What each cost since then, a million of `count`; named as the nodes' own figure is.
    fn per_million(&self, what: &str, count: f64) -> Result<Vec<Figure>, Fault> {
        let used = self.used()?;
        let each = self.server.beside().iter().zip(used).zip(&self.before);
        Ok(each
            .map(|(((name, _), now), before)| {
                let cost = now.since(*before).total().as_secs_f64() * 1e6 / count;
                let name = format!("{what}, {name}");
                Figure::new(name, Unit::CpuSecondsPerMillion, cost)
            })
            .collect())
    }
}

/// A room for each `members` of the world's people, in whose book everybody listens.
fn open_rooms(world: &World, ledger: &mut Ledger, members: usize) -> Result<Vec<Room>, Fault> {
    let mut rooms = Vec::new();
    for (n, people) in world.users().chunks(members).enumerate() {
        let kind = match people.len() {
            ..=500 => "group",
            _ => "channel",
        };
        let (id, head) = world.room(kind, &format!("room {n}"), people)?;
        let room = ledger.open(&id, head, people.len());
        for who in n * members..n * members + people.len() {
            ledger.listen(who, [room]);
        }
        rooms.push(room);
    }
    Ok(rooms)
}

/// Microseconds up to a minute, to three digits.
fn histogram() -> Result<Histogram<u64>, Fault> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|error| Fault::Target(error.to_string()))
}

/// Where a distribution is read for a graph, from the middle to the tail.
const SHARES: [f64; 9] = [0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999];

/// The figures of a histogram of microseconds: three for the table, and the curve they are of.
fn percentiles(what: &str, waits: &Histogram<u64>) -> Vec<Figure> {
    let table = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)].into_iter();
    let table = table.map(|(name, share)| {
        Figure::new(
            format!("{what}, {name}"),
            Unit::Millis,
            millis(waits, share),
        )
    });
    let curve = SHARES
        .into_iter()
        .map(|share| Figure::on_curve(what, share, Unit::Millis, millis(waits, share)));
    table.chain(curve).collect()
}

/// What so large a share of a histogram of microseconds is within, in milliseconds.
fn millis(waits: &Histogram<u64>, share: f64) -> f64 {
    waits.value_at_quantile(share) as f64 / 1000.0
}
