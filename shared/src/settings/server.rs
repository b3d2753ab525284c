//! The settings of every process that listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Report, Settings, duration};

/// Where a process listens, where it keeps its things, and how long it may take to leave.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerSettings {
    /// The address to serve clients on
    #[arg(long, default_value = "127.0.0.1:8102")]
    pub listen: SocketAddr,
    /// The address of /healthz, /readyz and /metrics; off when not given. Keep it from the public
    #[arg(long)]
    pub admin_listen: Option<SocketAddr>,
    /// The directory of databases and generated keys
    #[arg(long, default_value = "./data")]
    pub data_dir: PathBuf,
    /// How long a drain may take before it is cut
    #[arg(long, value_parser = duration, default_value = "25s")]
    pub shutdown_grace: Duration,
}

impl Settings for ServerSettings {
    fn validate(&self, report: &mut Report) {
        // Port 0 asks the system for a free one, so two of those do not collide.
        let apart = self.listen.port() == 0 || self.admin_listen != Some(self.listen);
        report.require(apart, "admin_listen", "must differ from `listen`");
    }
}
