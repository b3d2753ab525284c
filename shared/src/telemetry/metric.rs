//! The table row of a metric: its name, what it means, and how it is divided.

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over buckets.
    Histogram,
}

/// One metric, declared beside the code that counts it.
///
/// ```
/// use shared::telemetry::{LATENCY_BUCKETS, Metric};
///
/// const METRICS: &[Metric] = &[
///     Metric::counter("fireside_sends_total", "Messages accepted").by(&["kind"]),
///     Metric::gauge("fireside_sessions", "Sessions on this node"),
///     Metric::histogram("fireside_append_seconds", "Time of one append", LATENCY_BUCKETS),
/// ];
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The name, as it is exported.
    pub name: &'static str,
    /// What it counts.
    pub kind: MetricKind,
    /// What it means.
    pub help: &'static str,
    /// The labels that divide it. Each must have few values: no user, no room, no address.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets.
    pub buckets: &'static [f64],
}

/// Buckets for the times of requests and appends, in seconds: 100 µs to 10 s.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

impl Metric {
    /// A number that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: MetricKind::Counter,
            help,
            labels: &[],
            buckets: &[],
        }
    }

    /// A number that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: MetricKind::Gauge,
            help,
            labels: &[],
            buckets: &[],
        }
    }

    /// A distribution.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        buckets: &'static [f64],
    ) -> Self {
        Self {
            name,
            kind: MetricKind::Histogram,
            help,
            labels: &[],
            buckets,
        }
    }

    /// Divided by these labels.
    #[must_use]
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// The row of docs/operations.md. Tests ask that it stands there word for word.
    pub fn row(&self) -> String {
        let kind = match self.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        format!(
            "| `{}` | {kind} | {} | {} |",
            self.name,
            self.labels.join(", "),
            self.help
        )
    }

    /// What is wrong with the row, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if !word(self.name) || !self.labels.iter().all(|label| word(label)) {
            return Some("names are lower case letters, digits and _");
        }
        if (self.kind == MetricKind::Counter) != self.name.ends_with("_total") {
            return Some("a counter, and nothing else, ends in _total");
        }
        if (self.kind == MetricKind::Histogram) == self.buckets.is_empty() {
            return Some("a histogram, and nothing else, has buckets");
        }
        if self.buckets.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Some("buckets ascend");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_the_documentation() {
        let metric = Metric::counter("a_total", "All of a").by(&["b", "c"]);
        assert_eq!(metric.row(), "| `a_total` | counter | b, c | All of a |");
    }

    #[test]
    fn rows_are_held_to_the_conventions() {
        assert_eq!(Metric::counter("a_total", "").by(&["kind"]).fault(), None);
        assert_eq!(Metric::gauge("a", "").fault(), None);
        assert_eq!(
            Metric::histogram("a_seconds", "", LATENCY_BUCKETS).fault(),
            None
        );
        assert!(Metric::counter("a", "").fault().is_some());
        assert!(Metric::gauge("a_total", "").fault().is_some());
        assert!(Metric::gauge("A b", "").fault().is_some());
        assert!(Metric::gauge("a", "").by(&["User-Id"]).fault().is_some());
        assert!(Metric::histogram("a", "", &[]).fault().is_some());
        assert!(Metric::histogram("a", "", &[2.0, 1.0]).fault().is_some());
    }
}
