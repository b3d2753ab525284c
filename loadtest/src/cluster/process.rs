//! A server as a process: signals, its log, and an end that nothing outlives.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::Pid,
};
use tempfile::TempDir;

use super::{Failure, guarded::Guarded};
use crate::target::Process;

/// How long a server may take to get ready on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How often it is asked.
const ASKED_EVERY: Duration = Duration::from_millis(10);
/// How long it may take until a process stands still.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// How much of a log a failure shows.
const TAIL: usize = 2_000;
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// How many bytes have to be free there.
const ROOM_IN_MEMORY: u64 = 1 << 30;

/// A server's process, running or not, with a directory of its own for its data and its log.
///
/// It ends when it is dropped, and when the process that started it ends, however that comes. The
/// directory goes with it.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    directory: TempDir,
    running: Option<Guarded>,
}

impl ServerProcess {
    /// One that is not started yet; the name is for messages.
    pub fn new(name: impl Into<String>) -> Result<Self, Failure> {
        Self::new_in(&std::env::temp_dir(), name)
    }

    /// The same, in memory where there is room: what it wrote outlives it there, too, and it is
    /// never held up by a disk.
    pub fn in_memory(name: impl Into<String>) -> Result<Self, Failure> {
        let memory = Path::new(MEMORY);
        let free = statvfs(memory).map_or(0, |of| of.blocks_available() * of.fragment_size());
        if free < ROOM_IN_MEMORY {
            return Self::new(name);
        }
        Self::new_in(memory, name)
    }

    fn new_in(parent: &Path, name: impl Into<String>) -> Result<Self, Failure> {
        let directory = tempfile::tempdir_in(parent).map_err(Failure::system("a directory"))?;
        fs::create_dir(directory.path().join("data")).map_err(Failure::system("a directory"))?;
        Ok(Self {
            name: name.into(),
            directory,
            running: None,
        })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts it; it is not ready yet.
    ///
    /// # Errors
    /// The program cannot be run, or one runs already.
    pub fn spawn(&mut self, command: &mut Command) -> Result<(), Failure> {
        self.spawn_by(command, Command::spawn)
    }

    /// The same by another way to start a command, such as on one CPU.
    pub fn spawn_by(
        &mut self,
        command: &mut Command,
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> Result<(), Failure> {
        if self.running.is_some() {
            return Err(self.failure("runs already"));
        }
        let what = format!("starting {}", self.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(Failure::system(&*what))?;
        let errors = log.try_clone().map_err(Failure::system(&*what))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = spawn(command).map_err(Failure::system(&*what))?;
        let guarded = Guarded::new(child, Some(self.directory.path()));
        self.running = Some(guarded.map_err(Failure::system(what))?);
        Ok(())
    }

    /// To be called until it is ready, with the time it was started at: pauses a moment.
    ///
    /// # Errors
    /// It ended, or has had its time.
    pub async fn keep_waiting(&mut self, since: Instant) -> Result<(), Failure> {
        let ended = match &mut self.running {
            Some(running) => running.ended(),
            None => return Err(self.failure("was stopped")),
        };
        if let Some(status) = ended {
            self.running = None;
            return Err(self.failure(&format!("ended with {status}")));
        }
        if since.elapsed() > READY_WITHIN {
            return Err(self.failure(&format!("was not ready within {READY_WITHIN:?}")));
        }
        tokio::time::sleep(ASKED_EVERY).await;
        Ok(())
    }

    /// Whether it was started and not stopped by us.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// kill -9.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(&mut self) -> Result<(), Failure> {
        let ended = match &mut self.running {
            Some(running) => running.ended(),
            None => return Err(self.failure("does not run")),
        };
        self.running = None;
        match ended {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("had ended before, with {status}"))),
        }
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self) -> Result<ExitStatus, Failure> {
        self.signal(Signal::SIGTERM)?;
        let since = Instant::now();
        loop {
            let status = match &mut self.running {
                Some(running) => running.ended(),
                None => return Err(self.failure("does not run")),
            };
            if let Some(status) = status {
                self.running = None;
                return Ok(status);
            }
            if since.elapsed() > READY_WITHIN {
                return Err(self.failure("did not stop"));
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn ask_to_end(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGTERM)
    }

    /// SIGHUP: a daemon reads its files again.
    pub fn hang_up(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGHUP)
    }

    /// SIGSTOP: its connections stay, and nothing answers any more when this returns.
    pub fn pause(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGSTOP)?;
        let since = Instant::now();
        // The signal is sent; on a busy machine a thread may go on for a while until it is taken.
        while !self.pid().is_some_and(is_stopped) {
            if since.elapsed() > STOPS_WITHIN {
                return Err(self.failure("did not stand still"));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)
    }

    /// Removes its data; it must not run.
    pub fn wipe(&self) -> Result<(), Failure> {
        if self.running.is_some() {
            return Err(self.failure("runs, and so keeps its data"));
        }
        let data = self.data();
        fs::remove_dir_all(&data)
            .and_then(|()| fs::create_dir(&data))
            .map_err(Failure::system(format!("emptying {}", data.display())))
    }

    /// The process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Guarded::id)
    }

    /// What it costs, if it runs.
    pub fn usage(&self) -> Option<Process> {
        self.pid().map(Process::of)
    }

    /// What it wrote, over all its starts.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A failure of this server, with the end of its log.
    pub fn failure(&self, what: &str) -> Failure {
        Failure::NotReady {
            name: self.name.clone(),
            what: what.to_owned(),
            log: self.tail(),
        }
    }

    fn tail(&self) -> String {
        let log = self.log();
        let start = log.len().saturating_sub(TAIL);
        let start = (start..log.len()).find(|at| log.is_char_boundary(*at));
        log[start.unwrap_or(0)..].to_owned()
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let Some(pid) = self.pid() else {
            return Err(self.failure("does not run"));
        };
        kill(Pid::from_raw(pid as i32), signal)
            .map_err(|error| self.failure(&format!("cannot be sent {signal}: {error}")))
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.running = None;
        if thread::panicking() {
            eprintln!("-- log of {}:\n{}", self.name, self.tail());
        }
    }
}

/// A program by its name, looked for where the shell looks.
pub(crate) fn find(program: &str, install: &'static str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Where Debian keeps what only servers need, and not everybody looks.
        .chain(["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).to_owned()))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| Failure::Missing {
            program: program.to_owned(),
            install,
        })
}

/// Whether no thread of a process runs: each is stopped or ends.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        // One that is gone by now has no state.
        state.is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> ServerProcess {
        let mut process = ServerProcess::new("sleep").unwrap();
        process.spawn(Command::new("sleep").arg("60")).unwrap();
        process
    }

    fn state(pid: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    async fn until(what: impl Fn() -> bool) {
        let since = Instant::now();
        while !what() {
            assert!(since.elapsed() < Duration::from_secs(20), "waited in vain");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_process_is_paused_and_resumed_and_ends_with_its_owner() {
        let process = sleeper();
        let pid = process.pid().unwrap();
        process.pause().unwrap();
        assert_eq!(state(pid), Some('T'));
        process.resume().unwrap();
        until(|| state(pid) == Some('S')).await;
        process.pause().unwrap();
        drop(process);
        assert_eq!(state(pid), None);
    }

    #[tokio::test]
    async fn a_process_ends_when_the_pipe_of_its_guard_does() {
        let mut process = sleeper();
        let pid = process.pid().unwrap();
        // As when this process were killed.
        process.running.as_mut().unwrap().let_go();
        // Ended, and not waited for yet.
        until(|| state(pid) == Some('Z')).await;
        until(|| !process.directory.path().exists()).await;
        assert!(process.kill().is_err());
    }

    #[tokio::test]
    async fn what_ends_too_early_shows_its_log() {
        let mut process = ServerProcess::new("shell").unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        process.spawn(&mut command).unwrap();
        let since = Instant::now();
        let failure = loop {
            if let Err(failure) = process.keep_waiting(since).await {
                break failure.to_string();
            }
        };
        assert!(failure.contains("exit status: 3"), "{failure}");
        assert!(failure.contains("no such thing"), "{failure}");
        assert!(process.kill().is_err());
    }

    #[test]
    fn what_is_not_there_says_what_to_install() {
        let failure = find("no-such-server", "apt-get install it").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "no-such-server was not found: apt-get install it"
        );
    }

    #[test]
    fn data_is_wiped_only_when_nobody_uses_it() {
        let mut process = sleeper();
        fs::write(process.data().join("file"), "x").unwrap();
        assert!(process.wipe().is_err());
        process.kill().unwrap();
        process.wipe().unwrap();
        assert_eq!(fs::read_dir(process.data()).unwrap().count(), 0);
    }
}
