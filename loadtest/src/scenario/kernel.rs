//! The kernel's floor by itself, to learn what a machine is like before a server is measured on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use shared::protocol::codec::Encoding;

use super::{Fanout, Scenario as _, Stage};
use crate::{
    measure::{Progress, Report},
    swarm::Fault,
    target::pin,
};

/// What the kernel alone takes for the writes of `fanout`: the same floor that stands beside it, with
/// no server.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Kernel {
    /// How many sockets each message is written to
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    sockets: u32,
    /// How long a frame is, in bytes; what a delivery of `fanout` has
    #[arg(long, default_value_t = 228, value_parser = clap::value_parser!(u16).range(2..))]
    length: u16,
    /// How many messages may be under way; several are measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16], value_parser = clap::value_parser!(u64).range(1..))]
    in_flight: Vec<u64>,
    /// How many writes to count for each
    #[arg(long, default_value_t = 500_000)]
    deliveries: u64,
    /// How many runs
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The CPU that writes
    #[arg(long)]
    server_cpu: Option<usize>,
    /// The CPU that reads
    #[arg(long)]
    load_cpu: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write JSON to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Kernel {
    /// Measures and prints the report. `program` is this one, which does the writing in a process of its own.
    ///
    /// # Errors
    /// A process that does not start, or a socket that does not hear everything.
    pub fn run(&self, program: &Path) -> Result<Report, Fault> {
        let fault = |error: std::io::Error| Fault::Target(error.to_string());
        if let Some(cpu) = self.load_cpu {
            pin(cpu).map_err(fault)?;
        }
        let stage = Stage {
            encoding: Encoding::Json,
            deflate: false,
            server_cpu: self.server_cpu,
            program: program.to_owned(),
            progress: Progress::begin(),
        };
        let mut report = Report::begin("floor", stage.encoding);
        for run in 1..=self.runs {
            stage.progress.step(format!("run {run} of {}", self.runs));
            let mut room = Fanout::bare(
                self.sockets as usize,
                self.in_flight.clone(),
                self.deliveries,
                usize::from(self.length),
            );
            report.add("floor", room.floor(&stage)?);
        }
        stage.progress.end();
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
}
