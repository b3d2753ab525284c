//! What a running service tells about itself: logs, metrics, health.
//!
//! [`LogSettings::start`] sends `tracing` to the standard error, for people or as JSON lines.
//! [`Metrics`] is the Prometheus recorder behind the `metrics` macros; every metric stands in a
//! table (`&[Metric]`) beside the code that counts it, and the catalogue of all tables is what
//! documentation is held to. [`observe`] gives each HTTP request an id, a line in the log and its
//! place in the metrics. The [`AdminServer`] answers `/healthz`, `/readyz`, `/metrics` and `/live` on
//! an address of its own, away from clients.
//!
//! Nothing here ever writes a token, a query string or a body.

mod admin;
mod http;
mod logs;
mod metric;
mod process;
mod recorder;
mod sparing;

pub use admin::{AdminServer, LiveView, admin_routes, public_readiness};
pub use http::{HTTP_METRICS, RequestId, method_label, observe};
pub use logs::{LogFormat, LogSettings};
pub use metric::{LATENCY_BUCKETS, Metric, MetricKind};
pub use process::PROCESS_METRICS;
pub use recorder::{BUILD_METRICS, Metrics};
pub use sparing::Sparing;

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("`log`: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process took the log, or the metrics, first.
    #[error("{0} already started by something else in this process")]
    AlreadyStarted(&'static str),
    /// A table of metrics contradicts itself.
    #[error("metric `{0}`: {1}")]
    Metric(&'static str, String),
}
