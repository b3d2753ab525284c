//! What people feel when nodes are deployed, or one is lost: real nodes behind balancers, and people who talk
//! meanwhile.

mod cost;
mod felt;
mod street;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use shared::{id::Timestamp, protocol::codec::Encoding};

use self::{felt::Felt, street::Street};
use crate::{
    check,
    measure::{Figure, Progress, Report},
    record,
    swarm::Fault,
};

/// Nodes behind balancers are deployed one after the other, or the first is killed (`--kill`), while everybody talks in
/// rooms whose members are on all nodes.
///
/// An interruption is from the end of a client's socket to its session on the next. Clients come back at once,
/// and after a refusal within half a second. The checker judges what all of them saw: a run in which anything
/// is lost, doubled or out of order is a fault. Whether the figures are what we aim at is said below them, and is none.
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
    /// Keep what everybody saw in this file, of the last run: what `loadtest check` reads
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
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
        if self.kill {
            felt::aims_of_a_loss(&mut report, of);
        } else {
            felt::aims_of_a_deploy(&mut report, of);
        }
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
        let mut steps = Steps::begin(progress);
        let mut street = Street::settle(self, progress).await?;
        steps.end("everybody is in");
        street.talk().await?;
        let (since, began) = (Timestamp::now(), Instant::now());
        let mut cost = Vec::new();
        if self.kill {
            progress.step("a node is killed");
            cost = street.kill(0).await?;
        } else {
            for node in 0..self.nodes {
                progress.step(format!("node {node} is deployed"));
                street.deploy(node).await?;
            }
        }
        let took = began.elapsed();
        street.talk().await?;
        let until = Timestamp::now();
        steps.end("everybody was served");
        progress.step("everybody looks whether anything is missing");
        let lines = street.end(progress).await?;
        steps.end("all logs are read");
        if let Some(file) = &self.record {
            record::write(file, &lines).map_err(fault)?;
        }
        let verdict = check(&lines);
        steps.end("what everybody saw is judged");
        progress.step(verdict.to_string());
        if !verdict.holds() {
            return Err(Fault::Delivery(verdict.to_string()));
        }
        let felt = Felt::of(&lines, since, until);
        Ok(if self.kill {
            let mut figures = felt.of_a_loss();
            figures.extend(cost);
            figures
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

/// Tells how long each part of a run took.
struct Steps<'a> {
    progress: &'a Progress,
    since: Instant,
}

impl<'a> Steps<'a> {
    fn begin(progress: &'a Progress) -> Self {
        Self {
            progress,
            since: Instant::now(),
        }
    }

    fn end(&mut self, what: &str) {
        let took = self.since.elapsed().as_secs_f64();
        self.progress.step(format!("{what}, after {took:.1} s"));
        self.since = Instant::now();
    }
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Target(error.to_string())
}
