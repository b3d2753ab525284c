//! The settings of the program `chat-lb`.

use shared::{
    auth::{Algorithm, TokenSettings},
    listener::ConnectionSettings,
    program::ProgramSettings,
    redis::RedisSettings,
    settings::{Report, Secret, ServerSettings, Settings},
    telemetry::LogSettings,
};

use crate::{
    door::{DoorSettings, TlsSettings},
    gateway::GatewaySettings,
    nodes::{DiscoverySettings, HealthSettings},
};

/// The settings of the program `chat-lb`.
#[derive(Debug, Clone, clap::Args)]
pub struct LbSettings {
    /// Where to listen, where to keep things.
    #[command(flatten)]
    pub server: ServerSettings,
    /// What to log.
    #[command(flatten)]
    pub log: LogSettings,
    /// How tokens are judged.
    #[command(flatten)]
    pub token: TokenSettings,
    /// Worker threads, each with its share of the connections; 0 is one a processor
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// The secret that our services show each other, at least 32 characters
    #[arg(long)]
    pub service_token: Option<Secret>,
    /// Connections.
    #[command(flatten)]
    pub connections: ConnectionSettings,
    /// Requests.
    #[command(flatten)]
    pub door: DoorSettings,
    /// TLS.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// Who gets through.
    #[command(flatten)]
    pub gateway: GatewaySettings,
    /// Where back ends are found.
    #[command(flatten)]
    pub discovery: DiscoverySettings,
    /// When they are fit.
    #[command(flatten)]
    pub health: HealthSettings,
    /// Where nodes share what is revoked, and announce themselves.
    #[command(flatten)]
    pub redis: RedisSettings,
}

impl LbSettings {
    /// How many worker threads there will be.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

impl Settings for LbSettings {
    fn validate(&self, report: &mut Report) {
        self.server.validate(report);
        self.log.validate(report);
        self.token.validate(report);
        self.connections.validate(report);
        self.door.validate(report);
        self.tls.validate(report);
        self.gateway.validate(report);
        self.discovery.validate(report);
        self.health.validate(report);
        self.redis.validate(report);
        report.require(self.workers <= 256, "workers", "is at most 256");
        let strong = self
            .service_token
            .as_ref()
            .is_none_or(|token| token.expose().len() >= 32);
        report.require(strong, "service_token", "needs at least 32 characters");
        report.require(
            self.redis.redis_url.is_some() || !self.discovery.nodes_from_redis,
            "redis_url",
            "is needed for `nodes_from_redis`",
        );
        // This program signs nothing: a key of its own would believe nobody.
        let token = &self.token;
        let (setting, given) = match token.jwt_algorithm {
            Algorithm::Hs256 => ("jwt_secret", token.jwt_secret.is_some()),
            Algorithm::EdDsa => (
                "jwks_url",
                token.jwks_url.is_some() || token.jwks_file.is_some(),
            ),
        };
        report.require(given, setting, "is needed to check what store-api signs");
    }
}

impl ProgramSettings for LbSettings {
    fn server(&self) -> &ServerSettings {
        &self.server
    }

    fn log(&self) -> &LogSettings {
        &self.log
    }
}
