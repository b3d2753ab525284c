//! What can be set about presence.

use std::time::Duration;

use shared::settings::{Report, Settings};

/// How quickly presence is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct PresenceSettings {
    /// How long a user still counts as there after the connection is gone
    #[arg(long, value_parser = shared::settings::duration, default_value = "10s")]
    pub presence_grace: Duration,
    /// The least time between two publications about one user; the newest wins
    #[arg(long, value_parser = shared::settings::duration, default_value = "2s")]
    pub presence_damping: Duration,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        Self {
            presence_grace: Duration::from_secs(10),
            presence_damping: Duration::from_secs(2),
        }
    }
}

impl Settings for PresenceSettings {
    fn validate(&self, report: &mut Report) {
        let short = self.presence_grace <= Duration::from_mins(2);
        report.require(short, "presence_grace", "is at most 2m, as sessions are");
        let short = self.presence_damping <= Duration::from_mins(1);
        report.require(short, "presence_damping", "is at most 1m");
    }
}
