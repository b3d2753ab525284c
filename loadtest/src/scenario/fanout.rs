//! Rooms in which one member speaks and all hear it: the cost of a delivery.

use std::time::{Duration, Instant};

use clap::Args;

use super::{Scenario, Stage, cpu, floor::Floor, open_rooms, process, talk::Talk};
use crate::{
    measure::{Figure, Unit},
    swarm::{Fault, Ledger},
    target::{Friends, Server, World},
};

/// Messages in each room before anything is counted.
const WARM_UP: u64 = 30;

/// One member of each room speaks, every member hears it.
#[derive(Debug, Clone, Args)]
#[group(skip)]
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
    /// One room of so many members, `in_flight` messages under way, about so many deliveries.
    pub(super) fn of(members: usize, in_flight: u64, deliveries: u64) -> Self {
        Self {
            rooms: 1,
            members,
            in_flight: vec![in_flight],
            deliveries,
            text: 64,
            wire: 0,
        }
    }

    /// A room of which only the floor is measured: frames of `length` bytes.
    pub(super) fn bare(
        members: usize,
        in_flight: Vec<u64>,
        deliveries: u64,
        length: usize,
    ) -> Self {
        Self {
            in_flight,
            wire: length,
            ..Self::of(members, 1, deliveries)
        }
    }

    fn messages(&self) -> u64 {
        (self.deliveries / (self.members * self.rooms) as u64).max(1)
    }

    fn counted(&self) -> f64 {
        (self.messages() * (self.rooms * self.members) as u64) as f64
    }

    fn figures(&self, in_flight: u64, cost: Duration, took: Duration) -> Vec<Figure> {
        let deliveries = self.counted();
        let name = |what: &str| format!("{in_flight} in flight: {what}");
        vec![
            self.cost(in_flight, "deliveries", cost),
            Figure::new(
                name("rate"),
                Unit::PerSecond,
                deliveries / took.as_secs_f64(),
            ),
        ]
    }

    fn cost(&self, in_flight: u64, what: &str, cost: Duration) -> Figure {
        let deliveries = self.counted();
        Figure::new(
            format!("{in_flight} in flight: {what}"),
            Unit::CpuSecondsPerMillion,
            cost.as_secs_f64() * 1e6 / deliveries,
        )
    }
}

impl Scenario for Fanout {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let people = self.rooms * self.members;
        let world = World::settle(server, people, Friends::Strangers, |_, _, _| ())?;
        let mut ledger = Ledger::default();
        open_rooms(&world, &mut ledger, self.members)?;
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
            let (before, since) = (cpu(&process)?, Instant::now());
            let (bytes, delivered) = (talk.crowd.swarm().bytes_in(), talk.ledger.delivered());
            talk.run(self.messages())?;
            let (cost, took) = (cpu(&process)?.since(before), since.elapsed());
            let bytes = crowd.swarm().bytes_in() - bytes;
            let wire = bytes as f64 / (ledger.delivered() - delivered) as f64;
            self.wire = wire as usize;
            figures.extend(self.figures(in_flight, cost.total(), took));
            figures.push(self.cost(in_flight, "deliveries, user", cost.user));
            figures.push(self.cost(in_flight, "deliveries, system", cost.system));
            let name = format!("{in_flight} in flight: bytes of a delivery");
            figures.push(Figure::new(name, Unit::Bytes, wire));
        }
        ledger.settle()?;
        Ok(figures)
    }

    fn floor(&mut self, stage: &Stage) -> Result<Vec<Figure>, Fault> {
        stage.progress.step("the floor".to_owned());
        // One sender wakes all sockets, so rooms make no difference to the kernel.
        let sockets = self.rooms * self.members;
        let mut floor = Floor::start(stage, sockets, self.wire)?;
        let mut figures = Vec::new();
        for in_flight in self.in_flight.clone() {
            floor.run(WARM_UP, in_flight)?;
            let (before, since) = (cpu(&floor.process())?, Instant::now());
            floor.run(self.messages(), in_flight)?;
            let (cost, took) = (cpu(&floor.process())?.since(before), since.elapsed());
            figures.extend(self.figures(in_flight, cost.total(), took));
        }
        Ok(figures)
    }
}
