//! The settings of a node: those of its parts.

use shared::{
    id::NodeId,
    settings::{Report, Secret, Settings},
};

use crate::{
    friends::FriendCacheSettings, history::sqlite::SqliteSettings, limits::LimitSettings,
    presence::PresenceSettings, rest::RestSettings, room::RoomSettings, server::ConnectionSettings,
    session::SessionSettings, upgrade::UpgradeSettings,
};

/// What a node is told; part of every program that contains one.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeSettings {
    /// The node's name among others; made up anew at each start when not given
    #[arg(long)]
    pub node_id: Option<NodeId>,
    /// Worker threads, each with its share of the connections; 0 is one a processor
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// The address at which balancers reach this node, `HOST:PORT`, announced in Redis; not announced when
    /// not given
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The share of the users that balancers send to this node, in proportion to others'
    #[arg(long, default_value_t = 1)]
    pub advertise_weight: u16,
    /// The secret that our services show each other, at least 32 characters
    #[arg(long)]
    pub service_token: Option<Secret>,
    /// Connections.
    #[command(flatten)]
    pub connections: ConnectionSettings,
    /// Upgrades.
    #[command(flatten)]
    pub upgrades: UpgradeSettings,
    /// Sessions.
    #[command(flatten)]
    pub sessions: SessionSettings,
    /// Rooms.
    #[command(flatten)]
    pub rooms: RoomSettings,
    /// History.
    #[command(flatten)]
    pub history: SqliteSettings,
    /// Presence.
    #[command(flatten)]
    pub presence: PresenceSettings,
    /// Friends.
    #[command(flatten)]
    pub friends: FriendCacheSettings,
    /// REST.
    #[command(flatten)]
    pub rest: RestSettings,
    /// How much is too much.
    #[command(flatten)]
    pub limits: LimitSettings,
}

/// Where balancers find a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// `host:port`.
    pub address: String,
    /// Its share.
    pub weight: u16,
}

impl NodeSettings {
    /// Where balancers find this node, if it is to tell them.
    pub fn advertised(&self) -> Option<Advertised> {
        let address = self.advertise.clone()?;
        let weight = self.advertise_weight;
        Some(Advertised { address, weight })
    }

    /// How many worker threads there will be.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

impl Settings for NodeSettings {
    fn validate(&self, report: &mut Report) {
        let strong = self
            .service_token
            .as_ref()
            .is_none_or(|t| t.expose().len() >= 32);
        report.require(strong, "service_token", "needs at least 32 characters");
        let place = self.advertise.as_deref().is_none_or(|address| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                && !address.contains([' ', '/'])
        });
        report.require(place, "advertise", "is HOST:PORT, such as 10.0.0.7:8110");
        report.require(
            (1..=1000).contains(&self.advertise_weight),
            "advertise_weight",
            "is 1 to 1000",
        );
        report.require(self.workers <= 256, "workers", "is at most 256");
        self.connections.validate(report);
        self.upgrades.validate(report);
        self.sessions.validate(report);
        self.rooms.validate(report);
        self.history.validate(report);
        self.presence.validate(report);
        self.friends.validate(report);
        self.rest.validate(report);
        self.limits.validate(report);
    }
}
