//! Where a figure was taken: a figure without its machine says little.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

/// The machine and the moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many CPUs there are.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The commit of the checkout we run in, with `+` when it has changes; empty outside one.
    pub commit: String,
    /// The load averages over 1, 5 and 15 minutes.
    pub load: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes: u64 = (memory.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let load = read("/proc/loadavg");
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            // All of them, also when this process keeps to one.
            cpus: read("/proc/cpuinfo")
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory: kilobytes * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            commit: commit(),
            load: load
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return String::new();
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    if changed { commit + "+" } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let here = Machine::here();
        assert!(!here.kernel.is_empty());
        assert!(here.memory > 1 << 20);
        assert_eq!(here.load.split(' ').count(), 3);
    }
}
