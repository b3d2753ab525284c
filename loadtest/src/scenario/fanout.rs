//! Rooms in which one member speaks and all hear it: the cost of a delivery.

use std::time::{Duration, Instant};

use clap::Args;

use super::{Scenario, Stage, cpu, floor::Floor, process, talk::Talk};
use crate::{
    measure::{Figure, Unit},
    swarm::{Fault, Ledger},
    target::{Cpu, Friends, Server, World},
};

/// Messages in each room before anything is counted.
const WARM_UP: u64 = 30;

/// One member of each room speaks, every member hears it.
#[derive(Debug, Clone, Args)]
pub struct Fanout {
    /// How many rooms
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// How many members each has
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// How many messages of a room may be under way; several are measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    in_flight: Vec<u64>,
    /// How many deliveries to count for each
    #[arg(long, default_value_t = 500_000)]
    deliveries: u64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
    /// Bytes of a delivery on the wire, as the last run had them.
    #[arg(skip)]
    wire: usize,
}

impl Fanout {
    fn messages(&self) -> u64 {
        (self.deliveries / (self.members * self.rooms) as u64).max(1)
    }

    fn figures(&self, in_flight: u64, cost: Cpu, took: Duration) -> Vec<Figure> {
        let deliveries = (self.messages() * (self.rooms * self.members) as u64) as f64;
        let per_million = |time: Duration| time.as_secs_f64() * 1e6 / deliveries;
        let name = |what: &str| format!("{in_flight} in flight: {what}");
        let cpu =
            |what, time| Figure::new(name(what), Unit::CpuSecondsPerMillion, per_million(time));
        vec![
            cpu("deliveries", cost.total()),
            cpu("deliveries, user", cost.user),
            cpu("deliveries, system", cost.system),
            Figure::new(
                name("rate"),
                Unit::PerSecond,
                deliveries / took.as_secs_f64(),
            ),
        ]
    }
}

impl Scenario for Fanout {
    fn run(&mut self, stage: &Stage, server: &Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let people = self.rooms * self.members;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        for (n, members) in world.users().chunks(self.members).enumerate() {
            let (id, head) = world.room("channel", &format!("room {n}"), members)?;
            let room = ledger.open(&id, head, members.len());
            for who in n * self.members..(n + 1) * self.members {
                ledger.listen(who, [room]);
            }
        }
        let mut crowd = stage.crowd(server)?;
        let tokens = server.access().tokens(world.users())?;
        crowd.join(tokens, |who, _| {
            stage.progress.count("sessions", who + 1, people);
        })?;
        let mut figures = Vec::new();
        for in_flight in self.in_flight.clone() {
            let mut talk = Talk {
                crowd: &mut crowd,
                ledger: &mut ledger,
                speaker: &|room| room * self.members,
                text: self.text,
                in_flight,
            };
            talk.run(WARM_UP)?;
            let (before, since) = (cpu(process)?, Instant::now());
            let (bytes, delivered) = (talk.crowd.swarm().bytes_in(), talk.ledger.delivered());
            talk.run(self.messages())?;
            let (cost, took) = (cpu(process)?.since(before), since.elapsed());
            let bytes = crowd.swarm().bytes_in() - bytes;
            self.wire = (bytes / (ledger.delivered() - delivered)) as usize;
            figures.extend(self.figures(in_flight, cost, took));
        }
        ledger.settle()?;
        Ok(figures)
    }

    fn floor(&mut self, stage: &Stage) -> Result<Vec<Figure>, Fault> {
        // One sender wakes all sockets, so rooms make no difference to the kernel.
        let sockets = self.rooms * self.members;
        let mut floor = Floor::start(stage, sockets, self.wire)?;
        let mut figures = Vec::new();
        for in_flight in self.in_flight.clone() {
            floor.run(WARM_UP, in_flight)?;
            let (before, since) = (cpu(floor.process())?, Instant::now());
            floor.run(self.messages(), in_flight)?;
            let (cost, took) = (cpu(floor.process())?.since(before), since.elapsed());
            figures.extend(self.figures(in_flight, cost, took));
        }
        Ok(figures)
    }
}
