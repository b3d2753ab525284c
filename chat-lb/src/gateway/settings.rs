//! What an operator may set about who gets through and how often.

use std::time::Duration;

use shared::{
    limits::Quota,
    origin::Origin,
    settings::{Report, Settings, duration},
};

/// The settings of the gateway.
#[derive(Debug, Clone, clap::Args)]
pub struct GatewaySettings {
    /// Origins besides our own whose pages may connect, such as `https://play.example`; `*` for all
    #[arg(long, value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,
    /// How often one address may try to open a WebSocket; balancers apart
    #[arg(long, default_value = "20/s burst 100")]
    pub upgrades_per_address: Quota,
    /// How often one user may open a WebSocket
    #[arg(long, default_value = "2/s burst 32")]
    pub upgrades_per_user: Quota,
    /// The most WebSockets of one user at once
    #[arg(long, default_value_t = 32)]
    pub sockets_per_user: u32,
    /// Requests of one address; balancers apart
    #[arg(long, default_value = "200/s burst 1000")]
    pub requests_per_address: Quota,
    /// Requests of one user
    #[arg(long, default_value = "50/s burst 200")]
    pub requests_per_user: Quota,
    /// How many WebSockets this balancer opens; a flood of them is asked to come back later
    #[arg(long, default_value = "1000/s burst 6000")]
    pub admissions: Quota,
    /// Over how long those are spread who are asked to come back later
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub come_back_within: Duration,
    /// How long opening a connection to a back end may take
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub connect_timeout: Duration,
    /// How long a back end may take to begin its answer
    #[arg(long, value_parser = duration, default_value = "20s")]
    pub answer_timeout: Duration,
    /// How long a node may take to answer an upgrade before the next is asked
    #[arg(long, value_parser = duration, default_value = "3s")]
    pub upgrade_timeout: Duration,
}

impl Settings for GatewaySettings {
    fn validate(&self, report: &mut Report) {
        for (time, name) in [
            (self.come_back_within, "come_back_within"),
            (self.connect_timeout, "connect_timeout"),
            (self.answer_timeout, "answer_timeout"),
            (self.upgrade_timeout, "upgrade_timeout"),
        ] {
            let sane = Duration::from_millis(10)..=Duration::from_mins(10);
            report.require(sane.contains(&time), name, "is 10ms to 10m");
        }
        report.require(
            self.sockets_per_user > 0,
            "sockets_per_user",
            "must not be zero",
        );
    }
}
