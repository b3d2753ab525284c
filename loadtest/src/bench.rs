//! Runs a scenario several times, on several servers in turns, and reports.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use shared::protocol::codec::Encoding;

use crate::{
    measure::{Figure, Progress, Report, Unit},
    scenario::{Scenario, Stage},
    target::{Access, Launch, Server, pin},
};

/// What is measured and how often.
#[derive(Debug, Clone, Args)]
pub struct Bench {
    /// A server program to start for every run; several are measured in turns: A B A B
    #[arg(long, value_name = "PROGRAM")]
    server: Vec<PathBuf>,
    /// Start so many nodes of one chat instead, joined by a Redis and a MongoDB; PROGRAM is a chat-node. Clients are spread over them
    #[arg(long, value_name = "N", requires = "server", conflicts_with = "under")]
    nodes: Option<usize>,
    /// What starts the servers, such as a profiler with its options; words are separated by spaces
    #[arg(long, value_name = "COMMAND", requires = "server")]
    under: Option<String>,
    /// A setting for the servers that are started, such as workers=1; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// A server that runs already, instead; several are nodes of one chat, and clients are spread over them
    #[arg(long, value_name = "ADDRESS", conflicts_with = "server")]
    address: Vec<SocketAddr>,
    /// Its process, to read what it costs; of several nodes each
    #[arg(long, requires = "address")]
    pid: Vec<u32>,
    /// A process that works for the nodes and is counted apart, such as redis=4711
    #[arg(long, value_name = "NAME=PID", requires = "address", value_parser = beside)]
    beside: Vec<(String, u32)>,
    /// The secret that signs its tokens
    #[arg(long, env = "FIRESIDE_JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<String>,
    /// Its service token
    #[arg(long, env = "FIRESIDE_SERVICE_TOKEN", hide_env_values = true)]
    service_token: Option<String>,
    /// How many runs each server gets
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// What clients speak: json or msgpack
    #[arg(long, default_value = "json", value_parser = encoding)]
    encoding: Encoding,
    /// Measure every server twice in each run: with clients that offer permessage-deflate and with
    /// clients that do not. Servers that are started allow it
    #[arg(long)]
    deflate: bool,
    /// The CPU that servers which are started keep to; a pinned server has one worker unless --set says otherwise
    #[arg(long)]
    server_cpu: Option<usize>,
    /// The CPU that the load keeps to
    #[arg(long)]
    load_cpu: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write JSON to this file as well, for `loadtest graph`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Bench {
    /// Runs the scenario and prints the report.
    ///
    /// # Errors
    /// The first run that cannot be believed: a server that fails or breaks the promise.
    pub fn run(&self, name: &str, scenario: &mut dyn Scenario) -> anyhow::Result<()> {
        if let Some(cpu) = self.load_cpu {
            pin(cpu).with_context(|| format!("keeping to CPU {cpu}"))?;
        }
        let stage = Stage {
            encoding: self.encoding,
            deflate: false,
            server_cpu: self.server_cpu,
            program: std::env::current_exe()?,
            progress: Progress::begin(),
        };
        let mut report = Report::begin(name, self.encoding);
        let outcome = if self.address.is_empty() {
            self.on_started(scenario, &stage, &mut report)
        } else {
            self.on_running(scenario, &stage, &mut report)
        };
        stage.progress.end();
        outcome?;
        if let Some(file) = &self.out {
            fs::write(file, report.json() + "\n")
                .with_context(|| format!("writing {}", file.display()))?;
        }
        if self.json {
            println!("{}", report.json());
        } else {
            print!("{report}");
        }
        Ok(())
    }

    fn on_running(
        &self,
        scenario: &mut dyn Scenario,
        stage: &Stage,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (Some(secret), Some(service)) = (&self.jwt_secret, &self.service_token) else {
            bail!(
                "a server that runs already is spoken to with its secrets: give --jwt-secret and \
                 --service-token, or FIRESIDE_JWT_SECRET and FIRESIDE_SERVICE_TOKEN"
            );
        };
        let access = Access::new(secret, service)?;
        let mut server = Server::running(&self.address, access, &self.pid, &self.beside)?;
        if scenario.prepares() {
            scenario.prepare(stage, &server)?;
        }
        for run in 1..=self.runs {
            stage.progress.step(format!("run {run} of {}", self.runs));
            let mut readings = Vec::new();
            for stage in self.ways(stage) {
                readings.push((way("server", &stage), scenario.run(&stage, &mut server)?));
            }
            let floor = scenario.floor(stage)?;
            for (name, figures) in readings {
                add(report, &name, figures, &floor);
            }
            report.add("floor", floor);
        }
        Ok(())
    }

    fn on_started(
        &self,
        scenario: &mut dyn Scenario,
        stage: &Stage,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Some(first) = self.server.first() else {
            bail!(
                "nothing to measure: give --server PROGRAM (target/release/fireside), or --address \
                 of a server that runs already"
            );
        };
        let mut settings = self.settings.clone();
        settings.extend(scenario.settings());
        if self.deflate {
            settings.push(("FIRESIDE_DEFLATE".into(), "true".into()));
        }
        if self.nodes.is_some() && scenario.prepares() {
            bail!(
                "this scenario prepares the data directory of a single server: leave --nodes out"
            );
        }
        let data = if scenario.prepares() {
            stage.progress.step("preparing");
            let server = Server::start(&Launch {
                program: first.clone(),
                settings: settings.clone(),
                ..Launch::default()
            })?;
            scenario.prepare(stage, &server)?;
            server.stop()?
        } else {
            None
        };
        let data = data.as_ref().map(Server::data_of);
        for run in 1..=self.runs {
            let mut readings = Vec::new();
            let turns = self.server.iter().enumerate();
            for ((n, program), stage) in
                turns.flat_map(|server| self.ways(stage).map(move |stage| (server, stage)))
            {
                let name = way(&self.label(n), &stage);
                stage
                    .progress
                    .step(format!("run {run} of {}: {name}", self.runs));
                let launch = Launch {
                    program: program.clone(),
                    settings: settings.clone(),
                    data: data.clone(),
                    cpu: self.server_cpu,
                    under: (self.under.iter())
                        .flat_map(|under| under.split_whitespace().map(str::to_owned))
                        .collect(),
                };
                let mut server = match self.nodes {
                    Some(nodes) => Server::start_nodes(&launch, nodes)?,
                    None => Server::start(&launch)?,
                };
                readings.push((name, scenario.run(&stage, &mut server)?));
                if self.under.is_some() {
                    // A profiler writes its findings at the end.
                    server.stop()?;
                }
            }
            let floor = scenario.floor(stage)?;
            for (name, figures) in readings {
                add(report, &name, figures, &floor);
            }
            report.add("floor", floor);
        }
        Ok(())
    }

    /// The ways each server is measured in; the last is the one that the floor does the same as.
    fn ways(&self, stage: &Stage) -> impl Iterator<Item = Stage> + use<> {
        let ways: &[bool] = if self.deflate {
            &[true, false]
        } else {
            &[false]
        };
        let stage = stage.clone();
        ways.iter().map(move |deflate| Stage {
            deflate: *deflate,
            ..stage.clone()
        })
    }

    /// A server's name in the report: its program's, or, where these are alike, its path.
    fn label(&self, n: usize) -> String {
        let name = |path: &PathBuf| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let own = name(&self.server[n]);
        let alike = self.server.iter().filter(|path| name(path) == own).count();
        let name = match own {
            Some(own) if alike == 1 => own,
            _ => self.server[n].display().to_string(),
        };
        match self.nodes {
            Some(nodes) => format!("{nodes} × {name}"),
            None => name,
        }
    }
}

/// A server's name in the report, and how its clients spoke to it.
fn way(name: &str, stage: &Stage) -> String {
    if stage.deflate {
        format!("{name}, deflate,")
    } else {
        name.to_owned()
    }
}

/// Adds a server's figures, and how they compare with the floor of the same run.
fn add(report: &mut Report, of: &str, figures: Vec<Figure>, floor: &[Figure]) {
    let compared: Vec<Figure> = (figures.iter())
        .filter(|figure| figure.unit != Unit::PerSecond)
        .filter_map(|figure| {
            let same = floor.iter().find(|floor| floor.name == figure.name)?;
            let name = format!("{}, by the floor", figure.name);
            Some(Figure::new(name, Unit::Times, figure.value / same.value))
        })
        .collect();
    report.add(of, figures);
    report.add(of, compared);
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a setting reads NAME=VALUE, such as workers=1")?;
    let name = name.to_uppercase().replace('-', "_");
    Ok((format!("FIRESIDE_{name}"), value.to_owned()))
}

fn beside(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text
        .split_once('=')
        .ok_or("reads NAME=PID, such as redis=4711")?;
    let pid = pid.parse().map_err(|_| format!("`{pid}` is no pid"))?;
    Ok((name.to_owned(), pid))
}

fn encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "json" => Ok(Encoding::Json),
        "msgpack" => Ok(Encoding::MsgPack),
        _ => Err("json or msgpack".into()),
    }
}
