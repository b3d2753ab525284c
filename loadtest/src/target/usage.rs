//! What a process costs, as the kernel counts it.

use std::{fs, io, path::PathBuf, time::Duration};

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

    /// The resident memory of all of them, in bytes.
    pub fn rss(&self) -> io::Result<u64> {
        self.0.iter().map(|process| process.rss()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_and_memory_is_seen() {
        let me = Process::of(std::process::id());
        let before = me.cpu().unwrap();
        let mut sum = 0_u64;
        while me.cpu().unwrap().since(before).total() < Duration::from_millis(20) {
            sum = (0..10_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        assert!(sum != 1);
        let rss = me.rss().unwrap();
        let held = std::hint::black_box(vec![1_u8; 32 << 20]);
        let more = me.rss().unwrap();
        assert!(more >= rss + (30 << 20), "{rss} {more} {}", held.len());
        assert!(Process::of(u32::MAX).cpu().is_err());
    }
}
