//! What a door costs: chat-lb, HAProxy and nginx before the same back ends, and no door at all.

mod balancer;
mod echo;
mod trips;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use clap::Args;
use hdrhistogram::Histogram;
use shared::protocol::codec::Encoding;

pub use echo::serve as serve_echo;

use self::{
    balancer::{Balancer, Kind, Plan},
    trips::Trips,
};
use crate::{
    cluster::{Guarded, built},
    measure::{Figure, Progress, Report, Unit},
    swarm::Fault,
    target::{Access, Process, pin, pinned},
};

/// The secret of the tokens that doors check here; it stands in a file of HAProxy's too.
const SECRET: &str = "aSecretOfTheLoadGeneratorForDoorsThatItOpens";
/// How many back ends there are to choose from.
const PLACES: usize = 3;
/// How many are under way in the two cases.
const IN_FLIGHT: [usize; 2] = [1, 64];
/// How long a door may take to give back what opening took.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it may take to let go of those who left.
const LEAVE: Duration = Duration::from_millis(500);

/// The doors in turns, each a fresh process with one thread that serves, before a fresh back end, which
/// says back what it hears. Runs begin with another of them, and every second goes backwards.
///
/// chat-lb and HAProxy verify the token and hash its subject; nginx verifies nothing and hashes
/// the token. The CPU is the door's own; what the back end takes is told beside it.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Door {
    /// The balancer of ours, several times for several builds of it; beside this program when not given
    #[arg(long, value_name = "PROGRAM")]
    chat_lb: Vec<PathBuf>,
    /// How many runs each gets
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How many round trips are timed, with one and with 64 under way; 0 for upgrades and memory alone
    #[arg(long, default_value_t = 100_000)]
    round_trips: usize,
    /// How many sockets make them
    #[arg(long, default_value_t = 64)]
    speakers: usize,
    /// How long a message is, in bytes
    #[arg(long, default_value_t = 200)]
    text: usize,
    /// The first reading of memory is taken at so many tunnels
    #[arg(long, default_value_t = 500)]
    from: usize,
    /// The second at so many; the slope between them is the cost of one
    #[arg(long, default_value_t = 4_500)]
    to: usize,
    /// How often the tunnels between the two are ended and opened again, which is timed too
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// The CPU that doors keep to
    #[arg(long)]
    server_cpu: Option<usize>,
    /// The CPU that the load and the back end keep to
    #[arg(long)]
    load_cpu: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write JSON to this file as well, for `loadtest graph`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Door {
    /// Measures all and prints the report. `program` is this one, which is the back end too.
    ///
    /// # Errors
    /// A program that is not installed, or a door that loses or alters something.
    pub fn run(&self, program: &std::path::Path) -> Result<Report, Fault> {
        if let Some(cpu) = self.load_cpu {
            pin(cpu).map_err(fault)?;
        }
        let mut builds = self.chat_lb.clone();
        if builds.is_empty() {
            builds.push(built("chat-lb").map_err(fault)?);
        }
        let mut report = Report::begin("door", Encoding::Json);
        let progress = Progress::begin();
        for run in 0..self.runs {
            let mut found = Vec::new();
            for kind in Kind::in_turn(builds.len(), run) {
                progress.step(format!("run {} of {}: {kind}", run + 1, self.runs));
                found.push((kind, self.measure(kind, &builds, program)?));
            }
            add(&mut report, &Kind::all(builds.len()), &found);
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

    fn measure(
        &self,
        kind: Kind,
        builds: &[PathBuf],
        program: &std::path::Path,
    ) -> Result<Vec<Figure>, Fault> {
        let back_end = BackEnd::start(program, self.load_cpu)?;
        let access = Access::new(SECRET, "")?;
        let people = self.to.max(self.from + 1).max(self.speakers);
        let users: Vec<String> = (0..people).map(|n| format!("load-{n}")).collect();
        let tokens = access.tokens(&users)?;
        let plan = Plan {
            kind,
            builds,
            places: &back_end.places,
            secret: SECRET,
            token: &tokens[0],
            tunnels: people,
            cpu: self.server_cpu,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fault)?;
        let door = runtime.block_on(Balancer::open(&plan)).map_err(fault)?;
        let mut watched = vec![("the back end: ", Process::of(back_end.child.id()))];
        watched.extend(door.process().map(|process| ("", process)));
        let mut figures = Vec::new();

        let mut trips = Trips::at(door.address(), self.text)?;
        let mut unread = super::histogram()?;
        let (few, others) = tokens.split_at(self.from.max(self.speakers).min(people - 1));
        trips.open(few)?;
        // What comes first is dearer, here and there.
        trips.run(
            self.round_trips / 10,
            trips.len(),
            self.speakers,
            &mut unread,
        )?;
        for in_flight in IN_FLIGHT {
            if self.round_trips == 0 {
                break;
            }
            let mut took = super::histogram()?;
            let before = used(&watched)?;
            let since = std::time::Instant::now();
            trips.run(self.round_trips, self.speakers, in_flight, &mut took)?;
            let rate = self.round_trips as f64 / since.elapsed().as_secs_f64();
            let what = format!("a round trip, {in_flight} in flight");
            figures.extend(each(&watched, &before, &what, self.round_trips)?);
            let name = format!("{in_flight} in flight: round trips");
            figures.push(Figure::new(name, Unit::PerSecond, rate));
            figures.extend(waits(
                &format!("{in_flight} in flight: until it is back"),
                &took,
            ));
        }

        trips.run(trips.len(), trips.len(), self.speakers, &mut unread)?;
        trips.rest(SETTLE)?;
        let at_few = memory(&watched)?;
        let before = used(&watched)?;
        trips.open(others)?;
        figures.extend(each(&watched, &before, "an upgrade", others.len())?);
        // A tunnel that never carried anything has not shown what it keeps.
        trips.run(trips.len(), trips.len(), self.speakers, &mut unread)?;
        trips.rest(SETTLE)?;
        for ((whose, _), (few, all)) in watched.iter().zip(at_few.iter().zip(memory(&watched)?)) {
            let each = (all as f64 - *few as f64) / others.len() as f64;
            let name = format!("{whose}memory of an idle tunnel");
            figures.push(Figure::new(name, Unit::Bytes, each));
        }
        figures.extend(self.again(&mut trips, others, &watched)?);
        Ok(figures)
    }

    /// Those who are there last leave and come back: no memory has to be found for them any more.
    fn again(
        &self,
        trips: &mut Trips,
        tokens: &[String],
        watched: &[Watched],
    ) -> Result<Vec<Figure>, Fault> {
        let first = trips.len() - tokens.len();
        let mut unread = super::histogram()?;
        let (mut came, mut left) = (vec![Duration::ZERO; 2], vec![Duration::ZERO; 2]);
        for _ in 0..self.rounds {
            let there = used(watched)?;
            trips.cut(first);
            trips.rest(LEAVE)?;
            let gone = used(watched)?;
            trips.reopen(first, tokens)?;
            let back = used(watched)?;
            for n in 0..watched.len() {
                left[n] += gone[n].saturating_sub(there[n]);
                came[n] += back[n].saturating_sub(gone[n]);
            }
            trips.run(trips.len(), trips.len(), self.speakers, &mut unread)?;
        }
        let count = self.rounds * tokens.len();
        let mut figures = Vec::new();
        if count > 0 {
            figures.extend(costs(watched, &came, "an upgrade, again", count));
            figures.extend(costs(watched, &left, "the end of a tunnel", count));
        }
        Ok(figures)
    }
}

/// A back end in a process of its own, as many addresses as there are places.
struct BackEnd {
    child: Guarded,
    places: Vec<SocketAddr>,
}

impl BackEnd {
    fn start(program: &std::path::Path, cpu: Option<usize>) -> Result<Self, Fault> {
        let mut command = Command::new(program);
        command
            .args(["serve-echo", "--places", &PLACES.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = pinned(&mut command, cpu).map_err(fault)?;
        let child = Guarded::new(child, None).map_err(fault)?;
        let mut back_end = Self {
            child,
            places: Vec::new(),
        };
        let stdout = back_end.child.take_stdout();
        let lines = stdout.map(BufReader::new).into_iter();
        for line in lines.flat_map(BufReader::lines).take(PLACES) {
            let place = line.map_err(fault)?.parse().map_err(fault)?;
            back_end.places.push(place);
        }
        if back_end.places.len() < PLACES {
            return Err(Fault::Target("the back end did not start".into()));
        }
        Ok(back_end)
    }
}

type Watched = (&'static str, Process);

fn used(watched: &[Watched]) -> Result<Vec<Duration>, Fault> {
    let used = watched.iter().map(|(_, process)| process.time());
    used.map(|time| time.map_err(fault)).collect()
}

fn memory(watched: &[Watched]) -> Result<Vec<u64>, Fault> {
    let memory = watched.iter().map(|(_, process)| process.rss());
    memory.map(|rss| rss.map_err(fault)).collect()
}

/// What each has used since, for each of `count`.
fn each(
    watched: &[Watched],
    before: &[Duration],
    what: &str,
    count: usize,
) -> Result<Vec<Figure>, Fault> {
    let now = used(watched)?;
    let since = now.iter().zip(before);
    let since: Vec<Duration> = since
        .map(|(now, before)| now.saturating_sub(*before))
        .collect();
    Ok(costs(watched, &since, what, count))
}

/// What each has used, for each of `count`.
fn costs(watched: &[Watched], used: &[Duration], what: &str, count: usize) -> Vec<Figure> {
    let cost = watched.iter().zip(used).map(|((whose, _), used)| {
        let micros = used.as_secs_f64() * 1e6 / count as f64;
        Figure::new(format!("{whose}{what}"), Unit::CpuMicros, micros)
    });
    cost.collect()
}

/// How long round trips took, as far as tables go.
fn waits(what: &str, took: &Histogram<u64>) -> [Figure; 2] {
    [("p50", 0.5), ("p99", 0.99)].map(|(name, share)| {
        let name = format!("{what}, {name}");
        Figure::new(name, Unit::Millis, super::millis(took, share))
    })
}

/// Adds what was found in one run, and ours by what others cost in the same.
fn add(report: &mut Report, kinds: &[Kind], found: &[(Kind, Vec<Figure>)]) {
    let of = |kind: &Kind| found.iter().find(|(other, _)| other == kind);
    for (kind, figures) in kinds.iter().filter_map(of) {
        report.add(&kind.to_string(), figures.iter().cloned());
        for other in [Kind::HaProxy, Kind::Nginx] {
            if let (Kind::ChatLb(_), Some((_, theirs))) = (kind, of(&other)) {
                report.add(&kind.to_string(), compared(figures, theirs, other));
            }
        }
    }
}

/// What ours costs, by what another costs in the same run.
fn compared(ours: &[Figure], theirs: &[Figure], kind: Kind) -> Vec<Figure> {
    let costs = ours.iter().filter(|figure| {
        matches!(figure.unit, Unit::CpuMicros | Unit::Bytes) && !figure.name.starts_with("the back")
    });
    costs
        .filter_map(|figure| {
            let same = theirs.iter().find(|other| other.name == figure.name)?;
            // Too little was done to be seen.
            (same.value > 0.0).then(|| {
                let name = format!("{}, by {kind}'s", figure.name);
                Figure::new(name, Unit::Times, figure.value / same.value)
            })
        })
        .collect()
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Target(error.to_string())
}
