//! What a process costs, as the kernel counts it.

use std::{fs, io, path::PathBuf, time::Duration};

use nix::{time::clock_getcpuclockid, unistd::Pid};

/// The unit of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture Linux runs servers on.
const TICK_MS: u64 = 10;

/// CPU time of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl Cpu {
    /// Both.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// Since an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// A process under observation, by pid.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// Whoever has this pid.
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Its CPU time so far, of all its threads, also those that ended, in steps of 10 ms.
    ///
    /// The sum is the scheduler's account; how it splits into user and system is estimated from
    /// the clock's ticks (`utime` and `stime` of `/proc/PID/stat`, as Linux adjusts them).
    pub fn cpu(self) -> io::Result<Cpu> {
        let stat = fs::read_to_string(self.path("stat"))?;
        // The second field is a name in parentheses that may contain anything.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok());
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            return Err(io::Error::other("/proc/PID/stat reads differently here"));
        };
        Ok(Cpu {
            user: Duration::from_millis(user * TICK_MS),
            system: Duration::from_millis(system * TICK_MS),
        })
    }

    /// The same sum without the split, to the nanosecond: for what takes less than a tick is worth.
    pub fn time(self) -> io::Result<Duration> {
        let pid = i32::try_from(self.pid).map_err(io::Error::other)?;
        let clock = clock_getcpuclockid(Pid::from_raw(pid))?;
        Ok(clock.now()?.into())
    }

    /// Its resident memory, in bytes.
    pub fn rss(self) -> io::Result<u64> {
        let rollup = fs::read_to_string(self.path("smaps_rollup"))?;
        let kilobytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| io::Error::other("/proc/PID/smaps_rollup reads differently here"))
    }

    fn path(self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid))
    }
}

/// What serves together: the nodes of one chat.
#[derive(Debug, Clone)]
pub struct Processes(Vec<Process>);

impl Processes {
    /// These.
    pub fn of(processes: Vec<Process>) -> Self {
        Self(processes)
    }

    /// The CPU time of all of them.
    pub fn cpu(&self) -> io::Result<Cpu> {
        self.0.iter().try_fold(Cpu::default(), |sum, process| {
            let cpu = process.cpu()?;
            Ok(Cpu {
                user: sum.user + cpu.user,
                system: sum.system + cpu.system,
            })
        })
    }

    /// The CPU time of each, to the nanosecond.
    pub fn times(&self) -> io::Result<Vec<Duration>> {
        self.0.iter().map(|process| process.time()).collect()
    }

    /// The resident memory of all of them, in bytes.
    pub fn rss(&self) -> io::Result<u64> {
        self.0.iter().map(|process| process.rss()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        thread,
    };

    use nix::sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    };

    use super::*;

    /// A shell with one thread and nobody beside it. When it is stopped, its accounts stand still.
    struct Shell(Child);

    impl Shell {
        fn running(script: &str) -> Self {
            Self(Command::new("sh").args(["-c", script]).spawn().unwrap())
        }

        fn stop(&self) {
            kill(self.pid(), Signal::SIGSTOP).unwrap();
            self.until_stopped();
        }

        fn until_stopped(&self) {
            let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
            assert_eq!(status, WaitStatus::Stopped(self.pid(), Signal::SIGSTOP));
        }

        fn pid(&self) -> Pid {
            Pid::from_raw(self.0.id().cast_signed())
        }

        fn process(&self) -> Process {
            Process::of(self.0.id())
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn both_accounts_of_work_agree() {
        let shell = Shell::running("while :; do :; done");
        let process = shell.process();
        while process.cpu().unwrap().total() < Duration::from_millis(200) {
            thread::yield_now();
        }
        shell.stop();
        let (stepwise, exactly) = (process.cpu().unwrap().total(), process.time().unwrap());
        // User and system are each rounded down to a step.
        let most = stepwise + 2 * Duration::from_millis(TICK_MS);
        assert!(
            (stepwise..=most).contains(&exactly),
            "{stepwise:?} {exactly:?}"
        );
    }

    #[test]
    fn memory_is_seen() {
        let empty = Shell::running("kill -STOP $$");
        let full = Shell::running("held=$(head -c 32M /dev/zero | tr '\\0' x); kill -STOP $$");
        empty.until_stopped();
        full.until_stopped();
        let (less, more) = (
            empty.process().rss().unwrap(),
            full.process().rss().unwrap(),
        );
        assert!(more >= less + (32 << 20), "{less} {more}");
    }

    #[test]
    fn nobody_costs_nothing() {
        let nobody = Process::of(u32::MAX);
        assert!(nobody.cpu().is_err());
        assert!(nobody.time().is_err());
        assert!(nobody.rss().is_err());
    }
}
