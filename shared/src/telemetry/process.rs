//! What the system knows about this process, read when somebody asks. Linux only; elsewhere these
//! metrics are absent.

use std::fmt::Write as _;
use std::fs;

use super::{Metric, MetricKind};

/// The clock tick of `/proc`, which Linux fixes at 100 a second for all that user space sees.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the process, with the names that Prometheus clients agree on.
pub const PROCESS_METRICS: &[Metric] = &[
    Metric::counter(
        "process_cpu_seconds_total",
        "User and system time of the process",
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is in RAM",
    ),
    Metric::gauge(
        "process_virtual_memory_bytes",
        "Address space of the process",
    ),
    Metric::gauge("process_open_fds", "Open files and sockets"),
    Metric::gauge("process_max_fds", "How many files and sockets may be open"),
    Metric::gauge("process_threads", "Threads of the process"),
    Metric::gauge(
        "process_start_time_seconds",
        "When the process started, since the epoch",
    ),
];

/// Appends the values that can be read, in the order of [`PROCESS_METRICS`].
pub(super) fn render(text: &mut String) {
    let (cpu, start) = times().unzip();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let values = [
        cpu,
        line(&status, "VmRSS:").map(|kib| kib * 1024.0),
        line(&status, "VmSize:").map(|kib| kib * 1024.0),
        // The listing itself holds one more descriptor open.
        fs::read_dir("/proc/self/fd")
            .ok()
            .map(|fds| fds.count().saturating_sub(1) as f64),
        fs::read_to_string("/proc/self/limits")
            .ok()
            .and_then(|text| line(&text, "Max open files")),
        line(&status, "Threads:"),
        start.flatten(),
    ];
    for (metric, value) in PROCESS_METRICS.iter().zip(values) {
        let Some(value) = value else { continue };
        let kind = if metric.kind == MetricKind::Counter {
            "counter"
        } else {
            "gauge"
        };
        let name = metric.name;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}\n\n",
            metric.help
        );
    }
}

/// The first number after `name`.
fn line(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Seconds of CPU used, and when the process started.
fn times() -> Option<(f64, Option<f64>)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything; fields count
    // from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let cpu = (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND;
    let start = || {
        let boot = line(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
        Some(boot + ticks(22)? / TICKS_PER_SECOND)
    };
    Some((cpu, start()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        found
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }

    #[test]
    fn every_metric_has_a_plausible_value() {
        let mut text = String::new();
        render(&mut text);
        for metric in PROCESS_METRICS {
            assert!(value(&text, metric.name) >= 0.0);
        }
        assert!(value(&text, "process_resident_memory_bytes") > 100_000.0);
        assert!(value(&text, "process_open_fds") >= 3.0);
        assert!(value(&text, "process_max_fds") >= value(&text, "process_open_fds"));
        let now = crate::id::Timestamp::now().as_millis() as f64 / 1000.0;
        let age = now - value(&text, "process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
