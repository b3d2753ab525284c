//! Everybody changes presence, and all friends hear of it.

use std::time::{Duration, Instant};

use clap::Args;

use super::{
    Scenario, Stage, cpu, percentiles, process,
    schedule::Schedule,
    states::{DAMPING, States, enough, friends, gather, listen},
};
use crate::{
    measure::{Figure, Unit},
    swarm::{Crowd, Fault},
    target::{Cpu, Friends, Server, World},
};

/// How long nothing may change before those who have not heard are given up on.
const PATIENCE: Duration = Duration::from_secs(15);

/// Accounts with friends, all online, each of whom changes status and activity at random times.
/// One state in eight is invisible, which friends see as offline. Checked: nobody hears of a
/// stranger, states come in order and unaltered, and when all is quiet everybody has heard the
/// newest state of each friend.
///
/// A delivery is one event that arrived at one session; one's own echo counts too. A server tells
/// of a person at most once in 2 s, the newest state winning, so fewer states are told than set;
/// "until told" includes that wait, "until told, rested" counts only changes after 4 s of
/// none, which nothing holds back.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Presence {
    /// How many people
    #[arg(long, default_value_t = 1000)]
    users: usize,
    /// How many friends each has, an even number
    #[arg(long, default_value_t = 50)]
    friends: usize,
    /// How often a minute each changes something
    #[arg(long, default_value_t = 12.0)]
    changes: f64,
    /// For how many seconds
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Another number, other times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The accounts that were prepared.
    #[arg(skip)]
    accounts: Vec<String>,
}

impl Scenario for Presence {
    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&mut self, stage: &Stage, server: &Server) -> Result<(), Fault> {
        enough(self.users, self.friends)?;
        let each = Friends::Each(self.friends);
        let world = World::settle(server, self.users, each, |what, done, of| {
            stage.progress.count(what, done, of);
        })?;
        self.accounts = world.users().to_vec();
        Ok(())
    }

    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let users = self.accounts.len();
        let mut states = States::new(&self.accounts, |who| friends(who, users, self.friends))?;
        let mut crowd = gather(stage, server, &self.accounts, &mut states)?;

        let joined = states.deliveries();
        let (before, since) = (cpu(&process)?, Instant::now());
        self.change(&mut crowd, &mut states, since)?;
        await_newest(&mut crowd, &mut states)?;
        let cost = cpu(&process)?.since(before);
        // Whatever would follow now is old, and found to be.
        listen(
            &mut crowd,
            &mut states,
            DAMPING + Duration::from_millis(500),
        )?;
        states.settle()?;
        Ok(figures(&states, states.deliveries() - joined, cost))
    }
}

impl Presence {
    fn change(&self, crowd: &mut Crowd, states: &mut States, began: Instant) -> Result<(), Fault> {
        let time = Duration::from_secs_f64(self.seconds);
        let changes = Schedule::new(self.seed, [((), self.accounts.len(), self.changes)]);
        for (n, change) in (changes.take_while(|change| change.at < time)).enumerate() {
            let due = began + change.at;
            listen(crowd, states, due.saturating_duration_since(Instant::now()))?;
            let d = states.set(change.who, due);
            crowd.send(change.who, n as u64, "presence.set", &d)?;
        }
        Ok(())
    }
}

/// Waits until everybody has heard the newest of everybody.
fn await_newest(crowd: &mut Crowd, states: &mut States) -> Result<(), Fault> {
    let mut quiet_since = Instant::now();
    while states.behind() > 0 {
        let deliveries = states.deliveries();
        listen(crowd, states, Duration::from_millis(5))?;
        if states.deliveries() > deliveries {
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() > PATIENCE {
            return states.settle();
        }
    }
    Ok(())
}

fn figures(states: &States, deliveries: u64, cost: Cpu) -> Vec<Figure> {
    let cpu = |name: &str, time: Duration| {
        let value = time.as_secs_f64() * 1e6 / deliveries.max(1) as f64;
        Figure::new(name, Unit::CpuSecondsPerMillion, value)
    };
    let count = |name: &str, value: u64| Figure::new(name, Unit::Count, value as f64);
    let mut figures = vec![
        cpu("deliveries", cost.total()),
        cpu("deliveries, user", cost.user),
        cpu("deliveries, system", cost.system),
        count("delivered", deliveries),
        count("states set", states.sets()),
        count("states told", states.told()),
    ];
    figures.extend(percentiles("until told", &states.waits));
    figures.extend(percentiles("until told, rested", &states.rested));
    figures
}
