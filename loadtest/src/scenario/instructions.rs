//! Instructions of the server's own code for a delivery, a start, a command or a heartbeat, counted by
//! callgrind. Unlike time, the count is the same on a busy machine.

use std::{fs, path::PathBuf};

use clap::{Args, ValueEnum};
use shared::protocol::codec::Encoding;

use super::{
    Fanout, Idle, Scenario, Stage,
    routine::{COMMANDS, Commands, Heartbeats},
};
use crate::{
    measure::{Figure, Progress, Report, Unit},
    swarm::Fault,
    target::{Launch, Server},
};

/// Commands and heartbeats of the first run; the second has eleven times as many.
const FEW: u64 = 200;
/// Sessions whose heartbeats are counted.
const BEATING: usize = 500;

/// The server runs under callgrind twice, for few of what is counted and for many; what the second run
/// took more, by what it had more of them, is the cost of one.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Instructions {
    /// The server program, with debug symbols if the profile is to be read
    #[arg(long, value_name = "PROGRAM")]
    server: PathBuf,
    /// What is counted
    #[arg(long, value_enum, default_value = "delivery")]
    of: Of,
    /// How many people start a session in the second run, each with ten friends and three rooms
    #[arg(long, default_value_t = 1_100)]
    starts: usize,
    /// How many members the room has
    #[arg(long, default_value_t = 200)]
    members: usize,
    /// How many messages are under way
    #[arg(long, default_value_t = 1)]
    in_flight: u64,
    /// How many deliveries more the second run has
    #[arg(long, default_value_t = 40_000)]
    deliveries: u64,
    /// Keep the second run's profile here, to be read with callgrind_annotate
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// One event to one member of a room, in both encodings.
    Delivery,
    /// Upgrade, token, start, and the end that follows.
    Start,
    /// A command and its answer, for several commands, in both encodings.
    Command,
    /// A ping and its pong, with all else that an idle node does in the time between.
    Heartbeat,
}

impl Instructions {
    /// Counts and prints the report.
    ///
    /// # Errors
    /// valgrind is not installed, or the server failed.
    pub fn run(&self) -> Result<(), Fault> {
        let mut report = Report::begin("instructions", Encoding::Json);
        match self.of {
            Of::Delivery => self.deliveries(&mut report)?,
            Of::Start => self.starts(&mut report)?,
            Of::Command => self.commands(&mut report)?,
            Of::Heartbeat => self.heartbeats(&mut report)?,
        }
        if self.json {
            println!("{}", report.json());
        } else {
            print!("{report}");
        }
        Ok(())
    }

    fn deliveries(&self, report: &mut Report) -> Result<(), Fault> {
        for (name, encoding) in [("JSON", Encoding::Json), ("MessagePack", Encoding::MsgPack)] {
            let count = |deliveries| {
                let mut room = Fanout::of(self.members, self.in_flight, deliveries);
                let what = format!("{deliveries} deliveries");
                self.count(encoding, &what, None, &mut room)
            };
            let few = count(self.deliveries / 10)?;
            let many = count(self.deliveries / 10 + self.deliveries)?;
            let each = many.saturating_sub(few) as f64 / self.deliveries as f64;
            let name = format!("instructions a delivery, {name}");
            report.add("server", [Figure::new(name, Unit::Count, each)]);
        }
        Ok(())
    }

    fn starts(&self, report: &mut Report) -> Result<(), Fault> {
        let mut idle = Idle::of(self.starts);
        let progress = Progress::begin();
        progress.step("preparing");
        let launch = Launch {
            program: self.server.clone(),
            ..Launch::default()
        };
        let server = Server::start(&launch)?;
        idle.prepare(&stage(Encoding::Json, &progress), &server)?;
        let data = server.stop()?;
        progress.end();
        let data = data.as_ref().map(Server::data_of);
        let few = self.starts / 11;
        let count = |sessions| {
            let what = format!("{sessions} starts");
            self.count(
                Encoding::Json,
                &what,
                data.clone(),
                &mut idle.first(sessions),
            )
        };
        let more = count(self.starts)?.saturating_sub(count(few)?);
        let each = more as f64 / (self.starts - few) as f64;
        report.add(
            "server",
            [Figure::new("instructions a start", Unit::Count, each)],
        );
        Ok(())
    }

    fn commands(&self, report: &mut Report) -> Result<(), Fault> {
        for op in COMMANDS {
            for (name, encoding) in [("JSON", Encoding::Json), ("MessagePack", Encoding::MsgPack)] {
                let run = |count| {
                    let what = format!("{count} times {op}");
                    self.count(encoding, &what, None, &mut Commands { op, count })
                };
                let more = run(11 * FEW)?.saturating_sub(run(FEW)?);
                let name = format!("instructions of {op}, {name}");
                report.add("server", [Figure::new(name, Unit::Count, each(more))]);
            }
        }
        Ok(())
    }

    fn heartbeats(&self, report: &mut Report) -> Result<(), Fault> {
        let run = |beats| {
            let (what, sessions) = (format!("{beats} heartbeats"), BEATING);
            let mut idle = Heartbeats { sessions, beats };
            self.count(Encoding::Json, &what, None, &mut idle)
        };
        let more = run(11 * FEW)?.saturating_sub(run(FEW)?);
        let name = "instructions of a heartbeat";
        report.add("server", [Figure::new(name, Unit::Count, each(more))]);
        Ok(())
    }

    fn count(
        &self,
        encoding: Encoding,
        what: &str,
        data: Option<PathBuf>,
        scenario: &mut dyn Scenario,
    ) -> Result<u64, Fault> {
        let progress = Progress::begin();
        progress.step(format!("{what} under callgrind"));
        let scratch = tempfile::tempdir().map_err(fault)?;
        let out = scratch.path().join("callgrind.out");
        let under = ["valgrind", "--tool=callgrind", "--quiet"].map(str::to_owned);
        let file = format!("--callgrind-out-file={}", out.display());
        let mut server = Server::start(&Launch {
            program: self.server.clone(),
            under: under.into_iter().chain([file]).collect(),
            settings: [("FIRESIDE_WORKERS".into(), "1".into())]
                .into_iter()
                .chain(scenario.settings())
                .collect(),
            data,
            ..Launch::default()
        })
        .map_err(|error| Fault::Target(format!("{error} (is valgrind installed?)")))?;
        scenario.run(&stage(encoding, &progress), &mut server)?;
        server.stop()?;
        progress.end();
        let profile = fs::read_to_string(&out).map_err(fault)?;
        if let Some(keep) = &self.profile {
            fs::copy(&out, keep).map_err(fault)?;
        }
        total(&profile).ok_or_else(|| Fault::Target("callgrind left no total".into()))
    }
}

/// What one took, of those that the second run had more.
fn each(instructions: u64) -> f64 {
    instructions as f64 / (10 * FEW) as f64
}

fn stage(encoding: Encoding, progress: &Progress) -> Stage {
    Stage {
        encoding,
        deflate: false,
        server_cpu: None,
        program: PathBuf::new(),
        progress: progress.clone(),
    }
}

/// The number of instructions in a profile of callgrind's.
fn total(profile: &str) -> Option<u64> {
    let lines = profile.lines().rev();
    lines
        .filter_map(|line| {
            line.strip_prefix("totals:")
                .or(line.strip_prefix("summary:"))
        })
        .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Target(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_found() {
        let profile = "events: Ir\nsummary: 12\nfn=(1)\n0 5\ntotals: 345\n";
        assert_eq!(total(profile), Some(345));
        assert_eq!(total("events: Ir\nsummary: 12\n"), Some(12));
        assert_eq!(total("nothing"), None);
    }
}
