//! One of our programs as a process, for tests: what fails panics.

use std::{
    path::PathBuf,
    process::{ExitStatus, Output},
};

use loadtest::{accounts::Rest, cluster::Program};

/// A program, running or not.
pub(crate) struct Server {
    /// `http://host:port` of everything a client reaches.
    pub(crate) origin: String,
    /// The same without the scheme.
    pub(crate) address: String,
    /// REST there.
    pub(crate) rest: Rest,
    program: Program,
}

impl Server {
    /// The program of that name, on ports that are free, not started yet.
    pub(crate) fn new(name: &str) -> Self {
        let program = Program::new(name).unwrap();
        Self {
            origin: program.origin().to_owned(),
            address: program.address().to_owned(),
            rest: program.rest().clone(),
            program,
        }
    }

    /// The whole product with these settings, started.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let mut server = Self::new("fireside");
        server.set(settings);
        server.boot().await;
        server
    }

    /// Where the user of that token connects: there is one address.
    pub(crate) fn address_of(&self, _token: &str) -> &str {
        &self.address
    }

    /// Settings for the next start, as variables of the environment.
    pub(crate) fn set(&mut self, settings: &[(&str, &str)]) {
        self.program.set(settings.iter().copied());
    }

    /// From the next start on, a file that may not grow is an error to the process and not its end.
    pub(crate) fn outlives_size_limits(&mut self) {
        self.program.outlives_size_limits();
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn boot(&mut self) {
        self.program.start().await.unwrap();
    }

    /// Runs a program that is expected to end by itself.
    pub(crate) fn output(&self) -> Output {
        self.program.output().unwrap()
    }

    /// Runs the program once more, on the same data and other ports; it is expected to end by
    /// itself.
    pub(crate) fn output_beside(&self) -> Output {
        self.program.output_beside().unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.program.process_mut().kill().unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.program.terminate().await.unwrap()
    }

    /// What the process wrote.
    pub(crate) fn log(&self) -> String {
        self.program.process().log()
    }

    /// Where the process keeps its things.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.program.data_dir()
    }

    /// The value of a metric, added up over its labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        self.program.metric(name).await
    }

    /// What `/readyz` answers.
    pub(crate) async fn readiness(&self) -> (u16, serde_json::Value) {
        let (status, body) = self.program.readiness().await.unwrap();
        (status.as_u16(), body)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.program.process().pid().unwrap()
    }

    /// Memory of the process that is in RAM, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let usage = self.program.process().usage().unwrap();
        usage.rss().unwrap()
    }

    /// The same of the process that serves the user of that token: there is one.
    pub(crate) fn rss_for(&self, _token: &str) -> u64 {
        self.rss()
    }
}
