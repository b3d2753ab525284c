//! A friend-chat day: most are there and do nothing, some talk, type, read, come and go.

use std::time::{Duration, Instant};

use clap::Args;

use super::{
    Scenario, Stage, cpu, percentiles, process,
    schedule::Schedule,
    states::{DAMPING, enough},
    town::{Place, Town, settle},
};
use crate::{
    measure::{Figure, Unit},
    swarm::Fault,
    target::{Cpu, Friends, Processes, Server, World},
};

/// The grace after which those who dropped would be told offline.
const GRACE: f64 = 10.0;

/// Accounts with friends, each in a direct room with two of them and in a group. Most do nothing
/// but hear; the active ones send, type, read and change presence, each at random times of its
/// own rate; and now and then anybody's connection is cut and comes back. Times are
/// drawn beforehand and the clock of a message starts when it is due, whatever the server does.
///
/// Checked: every member hears every message of its rooms once, in order and unaltered, also
/// those missed while away; sends cut off by a drop are sent again under the same nonce and must
/// not appear twice; typing and read markers are heard in one's own rooms only; presence as in
/// `loadtest presence`.
///
/// Messages that somebody was away for count as delivered, but not in the times: they
/// would tell of the absence. A delivery is any event that arrived at a session.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Mixed {
    /// How many people
    #[arg(long, default_value_t = 2000)]
    users: usize,
    /// How many friends each has, an even number
    #[arg(long, default_value_t = 10)]
    friends: usize,
    /// How many share a group
    #[arg(long, default_value_t = 10)]
    group: usize,
    /// What share of the people is active
    #[arg(long, default_value_t = 0.1)]
    active: f64,
    /// Messages to a friend, a minute and active person
    #[arg(long, default_value_t = 4.0)]
    direct: f64,
    /// Messages to the group, a minute and active person
    #[arg(long, default_value_t = 2.0)]
    to_group: f64,
    /// How often a minute an active person is seen typing
    #[arg(long, default_value_t = 6.0)]
    typing: f64,
    /// How often a minute an active person reads
    #[arg(long, default_value_t = 6.0)]
    reads: f64,
    /// How often a minute an active person changes presence
    #[arg(long, default_value_t = 1.0)]
    presence: f64,
    /// How often an hour anybody's connection is cut
    #[arg(long, default_value_t = 2.0)]
    drops: f64,
    /// For how many seconds; less than the 10 s after which friends are told
    #[arg(long, default_value_t = 2.0)]
    away: f64,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 64)]
    text: usize,
    /// For how many seconds it goes on
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Another number, another day
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The accounts that were prepared.
    #[arg(skip)]
    accounts: Vec<String>,
    /// Their rooms.
    #[arg(skip)]
    places: Vec<Place>,
}

/// What somebody does, or what happens to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Direct,
    Group,
    Typing,
    Read,
    Presence,
    Drop,
}

impl Scenario for Mixed {
    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&mut self, stage: &Stage, server: &Server) -> Result<(), Fault> {
        enough(self.users, self.friends)?;
        if !(0.0..GRACE).contains(&self.away) {
            let what = format!("--away is less than the {GRACE} s after which friends are told");
            return Err(Fault::Target(what));
        }
        let each = Friends::Each(self.friends);
        let world = World::settle(server, self.users, each, |what, done, of| {
            stage.progress.count(what, done, of);
        })?;
        self.accounts = world.users().to_vec();
        self.places = settle(stage, server, &world, self.group)?;
        Ok(())
    }

    fn run(&mut self, stage: &Stage, server: &mut Server) -> Result<Vec<Figure>, Fault> {
        let process = process(server)?;
        let mut crowd = stage.crowd(server)?;
        let mut town = Town::new(&self.accounts, &self.places, self.friends, self.text)?;
        let mut outcome = Ok(());
        crowd.join(server.access().tokens(&self.accounts)?, |who, told| {
            stage
                .progress
                .count("sessions", who + 1, self.accounts.len());
            if outcome.is_ok() {
                outcome = town.hear(who, told);
            }
        })?;
        outcome?;
        town.listen(&mut crowd, DAMPING * 2)?;

        let time = Duration::from_secs_f64(self.seconds);
        let (before, heard, since) = (cpu(&process)?, town.events(), Instant::now());
        for event in self.schedule().take_while(|event| event.at < time) {
            let due = since + event.at;
            town.until(&mut crowd, due, Duration::from_secs_f64(self.away))?;
            town.act(&mut crowd, event.kind, event.who, event.dice, due)?;
        }
        town.until(&mut crowd, since + time, Duration::from_secs_f64(self.away))?;
        let cost = cpu(&process)?.since(before);
        let deliveries = town.events() - heard;
        let took = since.elapsed();

        town.finish(&mut crowd)?;
        // Whatever would follow now is old or double, and found to be.
        town.listen(&mut crowd, DAMPING)?;
        town.close()?;
        self.figures(&town, &process, cost, deliveries, took)
    }
}

impl Mixed {
    fn schedule(&self) -> Schedule<Act> {
        let everybody = self.accounts.len();
        let active = ((everybody as f64 * self.active).round() as usize).min(everybody);
        Schedule::new(
            self.seed,
            [
                (Act::Direct, active, self.direct),
                (Act::Group, active, self.to_group),
                (Act::Typing, active, self.typing),
                (Act::Read, active, self.reads),
                (Act::Presence, active, self.presence),
                (Act::Drop, everybody, self.drops / 60.0),
            ],
        )
    }

    fn figures(
        &self,
        town: &Town,
        process: &Processes,
        cost: Cpu,
        deliveries: u64,
        took: Duration,
    ) -> Result<Vec<Figure>, Fault> {
        let user_seconds = self.accounts.len() as f64 * took.as_secs_f64();
        let cpu = |name: &str, time: Duration| {
            let micros = time.as_secs_f64() * 1e6 / user_seconds;
            Figure::new(name, Unit::CpuMicros, micros)
        };
        let rss = (process.rss()).map_err(|error| Fault::Target(error.to_string()))?;
        let rate = deliveries as f64 / took.as_secs_f64();
        let mut figures = vec![
            cpu("a user-second", cost.total()),
            cpu("a user-second, user", cost.user),
            cpu("a user-second, system", cost.system),
            Figure::new("memory", Unit::Mebibytes, rss as f64 / f64::from(1 << 20)),
            Figure::new("deliveries", Unit::PerSecond, rate),
            Figure::new("messages", Unit::Count, town.messages() as f64),
            Figure::new("resumes", Unit::Count, town.resumes() as f64),
        ];
        figures.extend(percentiles("until acknowledged", town.acknowledged()));
        figures.extend(percentiles("until the last has it", town.last()));
        Ok(figures)
    }
}
