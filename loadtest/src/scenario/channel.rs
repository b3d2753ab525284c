//! A channel of ten thousand: what one message costs, how long until the last has it, and what a
//! burst does.

use std::time::{Duration, Instant};

use clap::Args;

use super::{
    Scenario, Stage, cpu,
    pace::{Clock, Pace, pace},
    percentiles, process,
};
use crate::{
    measure::{Figure, Unit},
    swarm::{Fault, Ledger},
    target::{Friends, Server, World},
};

/// One large channel in which one speaks: at a steady pace, then in bursts.
///
/// Needs a descriptor a member, here and in the server: 10,000 of them fit into 20,000.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Channel {
    /// How many members
    #[arg(long, default_value_t = 10_000)]
    members: usize,
    /// Messages a second
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// For how many seconds at a steady pace, and for how many in bursts
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How many messages come in one moment, in bursts
    #[arg(long, default_value_t = 16)]
    burst: u64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
}

impl Scenario for Channel {
    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let rss = || process.rss().map_err(|e| Fault::Target(e.to_string()));
        let world = World::settle(server, self.members, Friends::Strangers, |_, _, _| ())?;
        let since = Instant::now();
        let (id, head) = world.room("channel", "a large channel", world.users())?;
        let settled = since.elapsed();
        let mut ledger = Ledger::default();
        let room = ledger.open(&id, head, self.members);
        (0..self.members).for_each(|who| ledger.listen(who, [room]));
        let mut crowd = stage.crowd(server)?;
        crowd.join(server.access().tokens(world.users())?, |who, _| {
            stage.progress.count("sessions", who + 1, self.members);
        })?;
        let memory = rss()?;
        let mut figures = vec![Figure::new(
            "until all are members",
            Unit::Seconds,
            settled.as_secs_f64(),
        )];
        for (what, burst, first_id) in [("steady", 1, 1 << 32), ("in bursts", self.burst, 1 << 33)]
        {
            let plan = Pace {
                rooms: &[room],
                sender: &|_| 0,
                rate: self.rate,
                burst,
                time: Duration::from_secs_f64(self.seconds),
                text: self.text,
                first_id,
            };
            let mut clock = Clock::new()?;
            let (before, delivered) = (cpu(&process)?, ledger.delivered());
            pace(&mut crowd, &mut ledger, &mut clock, &plan)?;
            let cost = cpu(&process)?.since(before).total().as_secs_f64();
            let delivered = (ledger.delivered() - delivered).max(1) as f64;
            figures.push(Figure::new(
                format!("{what}: deliveries"),
                Unit::CpuSecondsPerMillion,
                cost * 1e6 / delivered,
            ));
            figures.extend(percentiles(&format!("{what}: last recipient"), &clock.last));
        }
        let grown = rss()?.saturating_sub(memory) as f64 / f64::from(1 << 20);
        figures.push(Figure::new("memory grown", Unit::Mebibytes, grown));
        ledger.settle()?;
        Ok(figures)
    }
}
