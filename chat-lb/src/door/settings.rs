//! What an operator may set about requests.

use std::time::Duration;

use shared::settings::{ByteSize, Report, Settings, duration};

/// The bounds of a request.
#[derive(Debug, Clone, clap::Args)]
pub struct DoorSettings {
    /// The longest head of a request
    #[arg(long, default_value = "16KiB")]
    pub max_head: ByteSize,
    /// The longest body of a request; of one to a node, or of nobody who is known, 256KiB at most
    #[arg(long, default_value = "2MiB")]
    pub max_body: ByteSize,
    /// How long a request's body may take to arrive
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub body_timeout: Duration,
}

impl Settings for DoorSettings {
    fn validate(&self, report: &mut Report) {
        report.require(
            (ByteSize::kib(1)..=ByteSize::kib(256)).contains(&self.max_head),
            "max_head",
            "is 1KiB to 256KiB",
        );
        report.require(
            self.max_body >= ByteSize::kib(1),
            "max_body",
            "at least 1KiB",
        );
        report.require(
            !self.body_timeout.is_zero(),
            "body_timeout",
            "must not be zero",
        );
    }
}
