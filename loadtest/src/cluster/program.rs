//! One of our programs as a process: on ports of its own, asked through its admin address.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    process::{Command, ExitStatus, Output},
    time::Instant,
};

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Failure, Place, ServerProcess};
use crate::accounts::Rest;

/// What to do where a program was not built.
const INSTALL: &str = "run `cargo build --workspace`";

/// A program of the workspace, running or not.
#[derive(Debug)]
pub struct Program {
    file: PathBuf,
    place: Place,
    process: ServerProcess,
    /// `host:port` of everything a client reaches.
    address: String,
    rest: Rest,
    admin: Rest,
    settings: Vec<(String, String)>,
    outlives_size_limits: bool,
    resolver: Option<PathBuf>,
}

impl Program {
    /// The program of that name, of the same build as the caller, on ports that are free. Not
    /// started yet.
    pub fn new(name: &str) -> Result<Self, Failure> {
        Self::at(built(name)?, name)
    }

    /// The same with a program from elsewhere; the name is for messages.
    pub fn at(file: PathBuf, name: &str) -> Result<Self, Failure> {
        Self::in_place(file, name, Place::here())
    }

    /// The same in another place.
    pub fn in_place(file: PathBuf, name: &str, place: Place) -> Result<Self, Failure> {
        let (address, admin) = (place.free_address()?, place.free_address()?);
        let client = |address: &str| {
            let client = Rest::new(&format!("http://{address}"));
            client.map_err(|error| Failure::system("a client")(std::io::Error::other(error)))
        };
        Ok(Self {
            file,
            place,
            process: ServerProcess::new(format!("{name} on {address}"))?,
            rest: client(&address)?,
            admin: client(&admin)?,
            address,
            settings: Vec::new(),
            outlives_size_limits: false,
            resolver: None,
        })
    }

    /// `http://host:port` of everything a client reaches.
    pub fn origin(&self) -> &str {
        self.rest.base()
    }

    /// The same without the scheme.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `host:port` of what only operators reach.
    pub fn admin_address(&self) -> &str {
        &self.admin.base()["http://".len()..]
    }

    /// Where it runs.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// REST there.
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The process.
    pub fn process(&self) -> &ServerProcess {
        &self.process
    }

    /// The process, to be killed, paused, resumed.
    pub fn process_mut(&mut self) -> &mut ServerProcess {
        &mut self.process
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        // Made by the program, with the modes it wants.
        self.process.data().join("data")
    }

    /// Settings for the next start, as variables of the environment; the last of a name counts.
    pub fn set<K: Into<String>, V: Into<String>>(
        &mut self,
        settings: impl IntoIterator<Item = (K, V)>,
    ) {
        let settings = settings.into_iter().map(|(k, v)| (k.into(), v.into()));
        self.settings.extend(settings);
    }

    /// From the next start on, a file that may not grow is an error to the process and not its end.
    pub fn outlives_size_limits(&mut self) {
        self.outlives_size_limits = true;
    }

    /// From the next start on, it looks names up at this server alone, which listens on port 53. That takes root: it
    /// sees another `/etc/resolv.conf` than everybody else.
    pub fn resolve_at(&mut self, server: IpAddr) -> Result<(), Failure> {
        let file = self.process.data().join("resolv.conf");
        let text = format!("nameserver {server}\noptions timeout:1 attempts:1\n");
        fs::write(&file, text).map_err(Failure::system("resolv.conf"))?;
        self.resolver = Some(file);
        Ok(())
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        self.spawn()?;
        while !self.is_ready().await {
            self.process.keep_waiting(since).await?;
        }
        Ok(())
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) -> Result<(), Failure> {
        let mut command = self.command();
        self.process.spawn(&mut command)
    }

    /// Waits until it is ready, having been started already.
    pub async fn until_ready(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        while !self.is_ready().await {
            self.process.keep_waiting(since).await?;
        }
        Ok(())
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        matches!(self.readiness().await, Some((status, _)) if status == StatusCode::OK)
    }

    /// What `/readyz` answers; nothing when nobody does.
    pub async fn readiness(&self) -> Option<(StatusCode, Value)> {
        let answer = self.admin.call(Method::GET, "/readyz", None, None).await;
        let answer = answer.ok()?;
        Some((StatusCode::from_u16(answer.status).ok()?, answer.body))
    }

    /// What it shows of itself at `/live`; nothing when it shows nothing.
    pub async fn live(&self) -> Option<Value> {
        let answer = self.admin.call(Method::GET, "/live", None, None).await;
        answer
            .ok()
            .filter(|answer| answer.status == 200)
            .map(|answer| answer.body)
    }

    /// Its metrics as they read now; empty when it does not answer.
    pub async fn metrics(&self) -> String {
        match reqwest::get(format!("{}/metrics", self.admin.base())).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// The value of a metric, added up over its labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics().await;
        let of_name = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let values: Vec<f64> = text
            .lines()
            .filter(of_name)
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self) -> Result<ExitStatus, Failure> {
        self.process.terminate().await
    }

    /// Runs it where it is expected to end by itself.
    pub fn output(&self) -> Result<Output, Failure> {
        run(&mut self.command())
    }

    /// Runs it once more, on the same data and other ports; it is expected to end by itself.
    pub fn output_beside(&self) -> Result<Output, Failure> {
        let any = format!("{}:0", self.place.host());
        run(&mut self.command_on(&any, &any))
    }

    fn command(&self) -> Command {
        self.command_on(&self.address, self.admin_address())
    }

    fn command_on(&self, address: &str, admin: &str) -> Command {
        let mut command = if self.outlives_size_limits {
            // What a shell ignores, the program that takes its place ignores.
            let mut shell = self.place.command("/bin/sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
            shell.arg(&self.file);
            shell
        } else if let Some(resolver) = &self.resolver {
            let mut shell = self.place.command("unshare");
            let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
            shell.args(["--mount", "/bin/sh", "-c", mount]);
            shell.arg(resolver).arg(&self.file);
            shell
        } else {
            self.place.command(&self.file)
        };
        command
            .args(["--listen", address])
            .args(["--admin-listen", admin])
            .arg("--data-dir")
            .arg(self.data_dir())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(self.settings.iter().cloned());
        command
    }
}

fn run(command: &mut Command) -> Result<Output, Failure> {
    command.output().map_err(Failure::system("a program"))
}

/// Where a program of the workspace is: beside the caller, or above it when that is a test. Cargo
/// builds those of all packages when it tests the workspace, and only one package's when it tests
/// that; then it is asked to.
pub fn built(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(Failure::system("this program"))?;
    let folder = own.ancestors().skip(1).find(|folder| {
        let name = folder.file_name();
        name != Some("deps".as_ref()) && name != Some("examples".as_ref())
    });
    let folder = folder.unwrap_or(&own);
    let program = folder.join(name);
    if let (false, Some(cargo)) = (program.exists(), std::env::var_os("CARGO")) {
        let mut build = Command::new(cargo);
        build.args(["build", "--locked", "-p", name]);
        if folder.file_name() == Some("release".as_ref()) {
            build.arg("--release");
        }
        build.status().map_err(Failure::system("cargo build"))?;
    }
    if program.exists() {
        return Ok(program);
    }
    Err(Failure::Missing {
        program: program.display().to_string(),
        install: INSTALL,
    })
}
