//! What people feel when nodes are deployed, or one is lost: real nodes behind balancers, and people who talk
//! meanwhile.

mod street;

use std::{collections::HashMap, fs, path::PathBuf, time::Duration};

use clap::Args;
use shared::{id::Timestamp, protocol::codec::Encoding};

use self::street::Street;
use crate::{
    check,
    measure::{Figure, Progress, Report, Unit},
    record::{Happened, Line},
    swarm::Fault,
};

/// Nodes behind balancers are deployed one after the other, or the first is killed (`--kill`), while everybody talks in
/// rooms whose members are on all nodes.
///
/// An interruption is from the end of a client's socket to its session on the next. Clients come back at once,
/// and after a refusal within half a second. The checker judges what all of them saw: a run in which anything
/// is lost, doubled or out of order is a fault.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Deploy {
    /// The folder of `chat-node`, `chat-lb` and `store-api`; that of this program when not given
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Kill the first node with kill -9 instead, and do not start it again
    #[arg(long)]
    kill: bool,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How many balancers; people are spread over them, and a process has two sockets for each of its people
    #[arg(long, default_value_t = 1)]
    doors: usize,
    /// How many people, with a device each; a share of them is on each node
    #[arg(long, default_value_t = 300)]
    people: usize,
    /// How many share a room
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// The time between two messages of one, in ms, on average
    #[arg(long, default_value_t = 2_000)]
    pace_ms: u64,
    /// The grace of a drain, in s: people are sent away over half of it
    #[arg(long, default_value_t = 25)]
    grace_s: u64,
    /// How many connect at once at the beginning
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// A setting of all programs, NAME=VALUE; may be given often
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How many runs
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write JSON to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Deploy {
    /// Does it and prints the report.
    ///
    /// # Errors
    /// A program that is not there, or a promise that is broken.
    pub fn run(&self) -> Result<Report, Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(fault)?;
        let (name, of) = if self.kill {
            ("loss", "a node lost:")
        } else {
            ("deploy", "a deploy:")
        };
        let mut report = Report::begin(name, Encoding::Json);
        let progress = Progress::begin();
        for run in 1..=self.runs {
            progress.step(format!("run {run} of {}", self.runs));
            report.add(of, runtime.block_on(self.once(&progress))?);
        }
        progress.end();
        if let Some(file) = &self.out {
            fs::write(file, report.json() + "\n").map_err(fault)?;
        }
        if self.json {
            println!("{}", report.json());
        } else {
            print!("{report}");
        }
        Ok(report)
    }

    async fn once(&self, progress: &Progress) -> Result<Vec<Figure>, Fault> {
        let mut street = Street::settle(self, progress).await?;
        street.talk().await?;
        let since = Timestamp::now();
        if self.kill {
            progress.step("a node is killed");
            street.kill(0).await?;
        } else {
            for node in 0..self.nodes {
                progress.step(format!("node {node} is deployed"));
                street.deploy(node).await?;
            }
        }
        let took = millis_between(since, Timestamp::now());
        street.talk().await?;
        let until = Timestamp::now();
        progress.step("everybody looks whether anything is missing");
        let lines = street.end().await?;
        let verdict = check(&lines);
        if !verdict.holds() {
            return Err(Fault::Delivery(verdict.to_string()));
        }
        let felt = Felt::of(&lines, since, until);
        Ok(if self.kill {
            felt.of_a_loss()
        } else {
            felt.of_a_deploy(took)
        })
    }

    fn settings(&self) -> Result<Vec<(String, String)>, Fault> {
        let own = |text: &String| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let name = name.to_ascii_uppercase();
            if name.is_empty() || value.is_empty() {
                return Err(Fault::Target(format!("`{text}` is not NAME=VALUE")));
            }
            Ok((format!("FIRESIDE_{name}"), value.to_owned()))
        };
        let mut settings = vec![(
            "FIRESIDE_SHUTDOWN_GRACE".to_owned(),
            format!("{}s", self.grace_s),
        )];
        for text in &self.set {
            settings.push(own(text)?);
        }
        Ok(settings)
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(self.pace_ms.max(1))
    }
}

/// What clients went through between two times.
#[derive(Debug, Default, PartialEq)]
struct Felt {
    /// How long each was without a session, in ms, the shortest first.
    interrupted: Vec<f64>,
    /// How long after the beginning each of them was back for good, in ms, the first first: one time each, however
    /// often they had to come.
    back_after: Vec<f64>,
    resumed: usize,
    anew: usize,
}

impl Felt {
    fn of(lines: &[Line], since: Timestamp, until: Timestamp) -> Self {
        let mut felt = Self::default();
        let (mut without, mut back) = (HashMap::new(), HashMap::new());
        let meanwhile = |line: &&Line| (since..=until).contains(&line.at);
        for line in lines.iter().filter(meanwhile) {
            match line.what {
                Happened::Closed { .. } => {
                    without.entry(&*line.c).or_insert(line.at);
                }
                Happened::Resumed { .. } | Happened::Started { .. } => {
                    match line.what {
                        Happened::Resumed { .. } => felt.resumed += 1,
                        _ => felt.anew += 1,
                    }
                    if let Some(began) = without.remove(&*line.c) {
                        felt.interrupted.push(millis_between(began, line.at));
                        back.insert(&*line.c, millis_between(since, line.at));
                    }
                }
                _ => {}
            }
        }
        felt.back_after.extend(back.into_values());
        felt.interrupted.sort_unstable_by(f64::total_cmp);
        felt.back_after.sort_unstable_by(f64::total_cmp);
        felt
    }

    fn of_a_deploy(&self, took: f64) -> Vec<Figure> {
        let mut figures = vec![
            Figure::new("all nodes", Unit::Seconds, took / 1e3),
            Figure::new("sessions resumed", Unit::Count, self.resumed as f64),
            Figure::new("sessions begun anew", Unit::Count, self.anew as f64),
        ];
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("longest", 1.0)] {
            let value = within(&self.interrupted, share);
            let name = format!("an interruption, {name}");
            figures.push(Figure::new(name, Unit::Millis, value));
        }
        figures
    }

    fn of_a_loss(&self) -> Vec<Figure> {
        let people = self.back_after.len() as f64;
        let mut figures = vec![
            Figure::new("people on it", Unit::Count, people),
            Figure::new("sessions begun anew", Unit::Count, self.anew as f64),
        ];
        for (name, share) in [("half", 0.5), ("99 in 100", 0.99), ("all", 1.0)] {
            let value = within(&self.back_after, share) / 1e3;
            let name = format!("until {name} are back");
            figures.push(Figure::new(name, Unit::Seconds, value));
        }
        figures
    }
}

/// What so large a share of sorted values is within.
fn within(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(at.clamp(1, sorted.len().max(1)) - 1);
    value.copied().unwrap_or_default()
}

fn millis_between(since: Timestamp, until: Timestamp) -> f64 {
    (until.as_millis() - since.as_millis()) as f64
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Target(error.to_string())
}

#[cfg(test)]
mod tests {
    use shared::id::{SessionId, UserId};

    use super::*;

    #[test]
    fn an_interruption_is_from_the_end_of_a_socket_to_the_next_session() {
        let at = Timestamp::from_millis;
        let line = |millis, c: &str, what| Line {
            at: at(millis),
            c: c.to_owned(),
            what,
        };
        let started = || Happened::Started {
            user: UserId::parse("u").unwrap(),
            sid: SessionId::generate(),
            rooms: Vec::new(),
        };
        let closed = || Happened::Closed { code: None };
        let lines = [
            line(500, "a", started()),
            line(1_000, "a", closed()),
            // A try in between that came to nothing.
            line(1_100, "a", closed()),
            line(1_300, "b", closed()),
            line(1_350, "a", Happened::Resumed { replayed: 0 }),
            line(2_300, "b", Happened::Lost),
            line(2_400, "b", started()),
            // Sent on once more.
            line(2_500, "b", closed()),
            line(2_600, "b", Happened::Resumed { replayed: 0 }),
            line(9_000, "b", closed()),
            line(9_001, "b", started()),
        ];
        let felt = Felt::of(&lines, at(900), at(3_000));
        let wanted = Felt {
            interrupted: vec![100.0, 350.0, 1_100.0],
            back_after: vec![450.0, 1_700.0],
            resumed: 2,
            anew: 1,
        };
        assert_eq!(felt, wanted);
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        let shares = [0.0, 0.5, 0.99, 1.0].map(|share| within(&sorted, share) as u32);
        assert_eq!(shares, [1, 100, 198, 200]);
        assert!(within(&[], 0.99) < 1e-9);
    }
}
