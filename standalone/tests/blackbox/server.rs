//! One of our programs as a process: started on free ports with a data directory of its own, killed
//! and started again.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use loadtest::accounts::Rest;
use reqwest::Method;
use tempfile::TempDir;

/// How long a program may take to get ready; a debug build on a busy machine is slow.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A program, running or not.
pub(crate) struct Server {
    name: &'static str,
    /// `http://host:port` of everything a client reaches.
    pub(crate) origin: String,
    /// The same without the scheme.
    pub(crate) address: String,
    /// REST there.
    pub(crate) rest: Rest,
    admin: String,
    data: TempDir,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    outlives_size_limits: bool,
}

impl Server {
    /// The program of that name, on ports that are free, not started yet.
    pub(crate) fn new(name: &'static str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let origin = format!("http://{address}");
        Self {
            name,
            rest: Rest::new(&origin).unwrap(),
            origin,
            address,
            admin: format!("http://127.0.0.1:{}", free_port()),
            data: tempfile::tempdir().unwrap(),
            settings: Vec::new(),
            child: None,
            outlives_size_limits: false,
        }
    }

    /// Settings for the next start, as variables of the environment.
    pub(crate) fn set(&mut self, settings: &[(&str, &str)]) {
        let owned = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.settings.extend(owned);
    }

    /// From the next start on, a file that may not grow is an error to the process and not its end.
    pub(crate) fn outlives_size_limits(&mut self) {
        self.outlives_size_limits = true;
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn boot(&mut self) {
        let began = Instant::now();
        self.spawn();
        let admin = Rest::new(&self.admin).unwrap();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("{} ended with {status}:\n{}", self.name, self.log());
            }
            let ready = admin.call(Method::GET, "/readyz", None, None).await;
            if ready.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(began.elapsed() < READY_WITHIN, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(&mut self) {
        let open = || {
            let log = File::options()
                .create(true)
                .append(true)
                .open(self.log_file());
            Stdio::from(log.unwrap())
        };
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Runs a program that is expected to end by itself.
    pub(crate) fn output(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Runs the program once more, on the same data and other ports; it is expected to end by
    /// itself.
    pub(crate) fn output_beside(&self) -> Output {
        self.command_on("127.0.0.1:0", "127.0.0.1:0")
            .output()
            .unwrap()
    }

    fn command(&self) -> Command {
        self.command_on(&self.address, &self.admin["http://".len()..])
    }

    fn command_on(&self, address: &str, admin: &str) -> Command {
        let program = program(self.name);
        let mut command = if self.outlives_size_limits {
            // What a shell ignores, the program that takes its place ignores.
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
            shell.arg(program);
            shell
        } else {
            Command::new(program)
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

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "it had ended before: {}",
            self.log()
        );
    }

    /// SIGTERM, and how the process ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        tokio::task::spawn_blocking(move || child.wait().unwrap())
            .await
            .unwrap()
    }

    /// What the process wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.data.path().join("log")
    }

    /// Where the process keeps its things.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// The value of a metric, added up over its labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = reqwest::get(format!("{}/metrics", self.admin))
            .await
            .unwrap();
        let text = text.text().await.unwrap();
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

    /// What `/readyz` answers.
    pub(crate) async fn readiness(&self) -> (u16, serde_json::Value) {
        let answer = reqwest::get(format!("{}/readyz", self.admin))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Memory of the process that is in RAM, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(4000);
            let start = (start..log.len()).find(|i| log.is_char_boundary(*i));
            eprintln!(
                "-- log of {} on {}:\n{}",
                self.name,
                self.address,
                &log[start.unwrap_or(0)..]
            );
        }
    }
}

/// A program of the workspace, of the same build as `fireside`. Cargo builds those of all packages
/// when it tests the workspace, and only this one's when it tests this package: then it is asked
/// to.
pub(crate) fn program(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fireside")).with_file_name(name);
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "-p", name]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    assert!(program.exists(), "cargo build -p {name}");
    program
}

/// A port nobody listens on, below those the system gives to connections of its own: the server
/// has to come back to it after a restart.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id() % 1000) as u16 * 16;
        let port = 12_000 + (start + n) % 18_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
