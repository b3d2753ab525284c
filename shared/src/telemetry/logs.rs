//! Logs: for people on a terminal, as JSON lines for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::TelemetryError;
use crate::settings::{Report, Settings};
use crate::trace::TraceSettings;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// The settings of the log, and of what is followed beside it.
#[derive(Debug, Clone, clap::Args)]
pub struct LogSettings {
    /// What is logged: a level, or levels by module such as `info,access=warn,chat_node=debug`
    #[arg(long, default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(long, value_enum, default_value = "pretty")]
    pub log_format: LogFormat,
    /// Which messages are followed.
    #[command(flatten)]
    pub trace: TraceSettings,
}

impl Settings for LogSettings {
    fn validate(&self, report: &mut Report) {
        if let Err(error) = EnvFilter::try_new(&self.log) {
            report.require(false, "log", error.to_string());
        }
        self.trace.validate(report);
    }
}

/// What a client sends that is no HTTP is an error to these; it is none of the operator's. They are
/// heard again when the operator names the library in a filter of their own.
const BLAMES_CLIENTS: &str = "actix_http::h1=off,actix_http::ws=off";

/// Libraries that say at `info` what only their authors need. A directive of the operator's for
/// the same target wins, because it comes later.
const QUIET: &str = "actix_server=warn,sea_orm_migration=warn,rusqlite_migration=warn";

impl LogSettings {
    fn directives(&self) -> String {
        let mut all = QUIET.to_owned();
        if !self.log.contains("actix_http") {
            all = format!("{all},{BLAMES_CLIENTS}");
        }
        format!("{all},{}", self.log)
    }

    /// Starts the log of this process, on the standard error.
    pub fn start(&self) -> Result<(), TelemetryError> {
        let lines = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(self.directives())?)
            .with_writer(std::io::stderr)
            // A line that cannot be written, to a log on a full disk, is not told on the same way:
            // that would panic.
            .log_internal_errors(false)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Pretty => lines.finish().try_init(),
            LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
        }
        .map_err(|_| TelemetryError::AlreadyStarted("the log was"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_before_the_start() {
        let mut report = Report::default();
        let settings = |log: &str| LogSettings {
            log: log.into(),
            log_format: LogFormat::Pretty,
            trace: TraceSettings::default(),
        };
        settings("info,access=warn").validate(&mut report);
        assert!(report.complaints().is_empty());
        settings("info,access=loud").validate(&mut report);
        assert_eq!(report.complaints().len(), 1);
    }
}
