//! What can be measured: each scenario prepares a server, drives it, verifies everything that it
//! delivers, and returns figures.

mod fanout;
mod floor;
mod talk;

use std::path::PathBuf;

use shared::protocol::codec::Encoding;

pub use fanout::Fanout;
pub use floor::serve as serve_floor;

use crate::{
    measure::{Figure, Progress},
    swarm::{Crowd, Fault},
    target::{Cpu, Process, Server},
};

/// What every scenario is given.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The encoding that clients speak.
    pub encoding: Encoding,
    /// Offer permessage-deflate.
    pub deflate: bool,
    /// The CPU that serves.
    pub server_cpu: Option<usize>,
    /// Tells what is going on.
    pub progress: Progress,
}

impl Stage {
    /// An empty crowd at the server.
    fn crowd(&self, server: &Server) -> Result<Crowd, Fault> {
        let mut crowd = Crowd::new(server.address(), self.encoding)?;
        if self.deflate {
            crowd.swarm().offer_deflate();
        }
        Ok(crowd)
    }
}

/// Something that can be measured.
pub trait Scenario {
    /// Settings that a server started for it needs.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Prepares data that every run begins with, with a server that was started for it; the data
    /// directory is copied for each run.
    fn prepare(&mut self, _stage: &Stage, _server: &Server) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether [`Self::prepare`] does anything.
    fn prepares(&self) -> bool {
        false
    }

    /// One run on a fresh server.
    ///
    /// # Errors
    /// Anything that breaks the delivery promise: the figures would be worth nothing.
    fn run(&mut self, stage: &Stage, server: &Server) -> Result<Vec<Figure>, Fault>;

    /// What the kernel alone costs for the same writes; figures that have the name of one of
    /// [`Self::run`] are compared with it.
    fn floor(&mut self, _stage: &Stage) -> Result<Vec<Figure>, Fault> {
        Ok(Vec::new())
    }
}

/// The server's process, which most figures need.
fn process(server: &Server) -> Result<Process, Fault> {
    let process = server.process();
    process.ok_or_else(|| Fault::Target("give the server's process: --pid".into()))
}

fn cpu(process: Process) -> Result<Cpu, Fault> {
    process
        .cpu()
        .map_err(|error| Fault::Target(error.to_string()))
}

/// The program itself, for a floor in a process of its own.
fn this_program() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|error| Fault::Target(error.to_string()))
}
