//! What an operator may set about back ends.

use std::time::Duration;

use shared::settings::{Report, Settings, duration};

use super::{Place, Thresholds};

/// Where back ends are found.
#[derive(Debug, Clone, clap::Args)]
pub struct DiscoverySettings {
    /// The chat nodes, such as `a=10.0.0.7:8110*2` (NAME= and *WEIGHT may be left out)
    #[arg(long, value_delimiter = ',', value_name = "PLACE")]
    pub nodes: Vec<Place>,
    /// A name of which every address is a chat node, `HOST:PORT`, looked up again and again
    #[arg(long, value_name = "HOST:PORT")]
    pub nodes_dns: Option<Place>,
    /// Find the chat nodes that announce themselves in Redis (`advertise`)
    #[arg(long)]
    pub nodes_from_redis: bool,
    /// The store-apis
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PLACE",
        default_value = "127.0.0.1:8104"
    )]
    pub stores: Vec<Place>,
    /// A name of which every address is a store-api, `HOST:PORT`, instead of `stores`
    #[arg(long, value_name = "HOST:PORT")]
    pub stores_dns: Option<Place>,
    /// How often DNS and Redis are asked who there is
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub discovery_interval: Duration,
}

impl Settings for DiscoverySettings {
    fn validate(&self, report: &mut Report) {
        let ways = usize::from(!self.nodes.is_empty())
            + usize::from(self.nodes_dns.is_some())
            + usize::from(self.nodes_from_redis);
        report.require(
            ways == 1,
            "nodes",
            "name the chat nodes in one way: `nodes`, `nodes_dns` or `nodes_from_redis`",
        );
        let sane = Duration::from_millis(100)..=Duration::from_mins(5);
        report.require(
            sane.contains(&self.discovery_interval),
            "discovery_interval",
            "is 100ms to 5m",
        );
    }
}

/// When back ends are fit.
#[derive(Debug, Clone, clap::Args)]
pub struct HealthSettings {
    /// How often a back end is asked whether it is ready
    #[arg(long, value_parser = duration, default_value = "500ms")]
    pub health_interval: Duration,
    /// How long it may take to answer
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub health_timeout: Duration,
    /// After how many such questions without an answer it is given nobody new
    #[arg(long, default_value_t = 2)]
    pub health_down_after: u32,
    /// After how many answers that it is ready it is given somebody again
    #[arg(long, default_value_t = 2)]
    pub health_up_after: u32,
    /// After how much silence a node counts as gone and its WebSockets are cut
    #[arg(long, value_parser = duration, default_value = "5s")]
    pub gone_after: Duration,
    /// After how many failures in a row of what clients ask a back end is ejected
    #[arg(long, default_value_t = 5)]
    pub eject_after: u32,
    /// For how long at first; doubled each time, up to 5 min
    #[arg(long, value_parser = duration, default_value = "10s")]
    pub eject_for: Duration,
    /// In what time a back end that joined or came back rises to its full share; 0s: at once
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub slow_start: Duration,
    /// How many people a second are moved to the node they belong to, after one came; 0: nobody is
    #[arg(long, default_value_t = 50)]
    pub relocations: u32,
    /// How many times its share of the WebSockets a node may have before newcomers are sent to the next
    #[arg(long, default_value_t = 1.25)]
    pub load_bound: f64,
}

impl HealthSettings {
    /// As health wants them.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            up_after: self.health_up_after,
            down_after: self.health_down_after,
            gone_after: self.gone_after,
            eject_after: self.eject_after,
            eject_for: self.eject_for,
            slow_start: self.slow_start,
        }
    }
}

impl Settings for HealthSettings {
    fn validate(&self, report: &mut Report) {
        let sane = Duration::from_millis(20)..=Duration::from_mins(1);
        for (time, name) in [
            (self.health_interval, "health_interval"),
            (self.health_timeout, "health_timeout"),
        ] {
            report.require(sane.contains(&time), name, "is 20ms to 1m");
        }
        for (count, name) in [
            (self.health_down_after, "health_down_after"),
            (self.health_up_after, "health_up_after"),
            (self.eject_after, "eject_after"),
        ] {
            report.require(count > 0, name, "must not be zero");
        }
        report.require(
            self.load_bound >= 1.05 && self.load_bound <= 100.0,
            "load_bound",
            "is 1.05 to 100",
        );
    }
}
