//! Settings of the store. The ones of listening, logging and tokens are shared by all services.

use std::{path::Path, time::Duration};

use shared::{
    auth::{MAX_TOKEN_LIFETIME, TokenSettings},
    limits::Quota,
    network::Network,
    program::ProgramSettings,
    settings::{Report, Secret, ServerSettings, Settings, duration},
    telemetry::LogSettings,
};

use crate::{
    accounts::{HashCost, Purpose, TokenLifetimes},
    catalogue::MAX_GAMES,
    http::RateLimits,
    identities::LoginSettings,
    mail::MailSettings,
    money::Country,
    payments::PaymentSettings,
    webhooks::WebhookSettings,
};

/// The database file in the data directory.
pub(crate) const DATABASE_FILE: &str = "store.db";

/// What the store itself is told; part of every program that contains it.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreSettings {
    /// Where accounts and friends are kept: sqlite:PATH or postgres://…; store.db in the data
    /// directory when not given
    #[arg(long, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// Connections to PostgreSQL (SQLite has one writer and two readers)
    #[arg(long, default_value_t = 8)]
    pub database_connections: u32,
    /// How long an access token lasts
    #[arg(long, value_parser = duration, default_value = "15m")]
    pub access_token_lifetime: Duration,
    /// How long a refresh token lasts that is not used
    #[arg(long, value_parser = duration, default_value = "30d")]
    pub refresh_token_lifetime: Duration,
    /// How long a log-in lasts, however often it is refreshed
    #[arg(long, value_parser = duration, default_value = "180d")]
    pub login_lifetime: Duration,
    /// Log-ins of one account at the same time; the longest unused ends for a new one
    #[arg(long, default_value_t = 50)]
    pub max_logins: u64,
    /// Friends of one person
    #[arg(long, default_value_t = 1000)]
    pub max_friends: u64,
    /// Unanswered friend requests of one person
    #[arg(long, default_value_t = 500)]
    pub max_friend_requests: u64,
    /// People one person blocks
    #[arg(long, default_value_t = 1000)]
    pub max_blocks: u64,
    /// The country of a person who never said: its prices, its currency
    #[arg(long, default_value = "US")]
    pub store_country: Country,
    /// What the store keeps of a sale, in percent; the rest is the publisher's
    #[arg(long, default_value_t = 30)]
    pub store_share_percent: u8,
    /// For how long after its purchase a game may be given back
    #[arg(long, value_parser = duration, default_value = "14d")]
    pub refund_window: Duration,
    /// A game that was played for longer is not taken back
    #[arg(long, value_parser = duration, default_value = "2h")]
    pub refund_play_time: Duration,
    /// How long a gift waits for an answer; then its giver is paid back
    #[arg(long, value_parser = duration, default_value = "30d")]
    pub gift_lifetime: Duration,
    /// Who waits in the queue before a drop and does not ask for so long does not wait any more
    #[arg(long, value_parser = duration, default_value = "1m")]
    pub queue_timeout: Duration,
    /// How long the pass is good that a queue gives to whose turn it is
    #[arg(long, value_parser = duration, default_value = "2m")]
    pub queue_pass_lifetime: Duration,
    /// How long it is kept who did what
    #[arg(long, value_parser = duration, default_value = "365d")]
    pub audit_keep: Duration,
    /// Invented games that an empty catalogue is filled with, at most 1000
    #[arg(long, default_value_t = 0)]
    pub seed_games: u32,
    /// Looks at the catalogue from one address, by people who are not logged in
    #[arg(long, default_value = "50/s burst 200")]
    pub visitor_rate: Quota,
    /// How long an answer about the catalogue is given again to whoever asks the same: so old is at most what other
    /// stores on the database changed; 0s is never
    #[arg(long, value_parser = duration, default_value = "1s")]
    pub catalogue_kept: Duration,
    /// Attempts at the password of one account
    #[arg(long, default_value = "10/m burst 20")]
    pub login_account_rate: Quota,
    /// Log-ins from one address
    #[arg(long, default_value = "120/m burst 200")]
    pub login_address_rate: Quota,
    /// Registrations from one address
    #[arg(long, default_value = "60/m burst 200")]
    pub registration_rate: Quota,
    /// Token refreshes from one address
    #[arg(long, default_value = "600/m burst 600")]
    pub refresh_rate: Quota,
    /// Questions whether a name is free, from one address
    #[arg(long, default_value = "60/m burst 60")]
    pub availability_rate: Quota,
    /// Requests to the store of one person
    #[arg(long, default_value = "20/s burst 60")]
    pub store_user_rate: Quota,
    /// Memory of one password hash, in KiB. Less than 19456 is for tests only
    #[arg(long, default_value_t = 19 * 1024)]
    pub password_hash_memory_kib: u32,
    /// Passes of a password hash over its memory
    #[arg(long, default_value_t = 2)]
    pub password_hash_passes: u32,
    /// Password hashes at work at the same time; 0 is one a processor
    #[arg(long, default_value_t = 0)]
    pub password_hashes_at_once: usize,
    /// Password hashes waiting for their turn; one more is answered `busy`
    #[arg(long, default_value_t = 128)]
    pub password_hashes_waiting: usize,
    /// Mail.
    #[command(flatten)]
    pub mail: MailSettings,
    /// Log-ins by other providers.
    #[command(flatten)]
    pub login: LoginSettings,
    /// How payments are taken.
    #[command(flatten)]
    pub payments: PaymentSettings,
    /// Webhooks.
    #[command(flatten)]
    pub webhooks: WebhookSettings,
}

/// The most that one person may have, and where they are if they never said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreLimits {
    pub(crate) friends: u64,
    pub(crate) requests: u64,
    pub(crate) blocks: u64,
    pub(crate) sessions: u64,
    /// Where somebody buys who never said.
    pub(crate) country: Country,
    /// What the store keeps of a sale.
    pub(crate) share_percent: u8,
    /// For how long after its purchase a game may be given back.
    pub(crate) refund_window: Duration,
    /// What was played for longer is not taken back.
    pub(crate) refund_play_time: Duration,
    /// How long a gift waits.
    pub(crate) gift_lifetime: Duration,
    /// Who does not ask for so long does not wait any more.
    pub(crate) queue_timeout: Duration,
    /// How long a pass is good.
    pub(crate) queue_pass_lifetime: Duration,
    /// How long a mail is tried.
    pub(crate) mail_lifetime: Duration,
    /// How long it is kept who did what.
    pub(crate) audit_keep: Duration,
    email_code_lifetime: Duration,
    password_code_lifetime: Duration,
}

impl StoreLimits {
    /// How long a code holds that is mailed.
    pub(crate) fn code_lifetime(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Email => self.email_code_lifetime,
            Purpose::Password => self.password_code_lifetime,
        }
    }
}

/// The settings of the program `store-api`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceSettings {
    /// Where to listen, where to keep things.
    #[command(flatten)]
    pub server: ServerSettings,
    /// What to log.
    #[command(flatten)]
    pub log: LogSettings,
    /// How tokens are signed.
    #[command(flatten)]
    pub token: TokenSettings,
    /// The store itself.
    #[command(flatten)]
    pub store: StoreSettings,
    /// Redis, which stores on one database share the gate before drops in.
    #[cfg(feature = "redis")]
    #[command(flatten)]
    pub redis: shared::redis::RedisSettings,
    /// Chat nodes that are told what changes, such as http://127.0.0.1:8110
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    pub nodes: Vec<String>,
    /// The secret that our services show each other, at least 32 characters
    #[arg(long)]
    pub service_token: Option<Secret>,
    /// Addresses (or networks, such as 10.0.0.0/8) of balancers: limits by address do not bind
    /// them, and their `X-Forwarded-For` is believed
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.0/8,::1")]
    pub trusted_proxies: Vec<Network>,
    // Longer than chat-lb keeps what it does not use, or what it sends may meet the end of a connection.
    /// How long an HTTP connection may stay idle between two requests
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub http_keep_alive: Duration,
}

impl StoreSettings {
    /// Where the database is.
    pub(crate) fn url(&self, data_dir: &Path) -> String {
        if let Some(url) = &self.database_url {
            return url.expose().clone();
        }
        let path = data_dir.join(DATABASE_FILE);
        // The characters that end a path in a URL, or begin an escape.
        let path = path
            .to_string_lossy()
            .replace('%', "%25")
            .replace('?', "%3F");
        format!("sqlite:{path}")
    }

    pub(crate) fn limits(&self) -> StoreLimits {
        StoreLimits {
            friends: self.max_friends,
            requests: self.max_friend_requests,
            blocks: self.max_blocks,
            sessions: self.max_logins,
            country: self.store_country,
            share_percent: self.store_share_percent,
            refund_window: self.refund_window,
            refund_play_time: self.refund_play_time,
            gift_lifetime: self.gift_lifetime,
            queue_timeout: self.queue_timeout,
            queue_pass_lifetime: self.queue_pass_lifetime,
            mail_lifetime: self.mail.mail_lifetime,
            audit_keep: self.audit_keep,
            email_code_lifetime: self.mail.email_code_lifetime,
            password_code_lifetime: self.mail.password_code_lifetime,
        }
    }

    pub(crate) fn lifetimes(&self) -> TokenLifetimes {
        TokenLifetimes {
            access: self.access_token_lifetime,
            refresh: self.refresh_token_lifetime,
            session: self.login_lifetime,
        }
    }

    pub(crate) fn hash_cost(&self) -> HashCost {
        HashCost {
            memory_kib: self.password_hash_memory_kib,
            passes: self.password_hash_passes,
            at_once: self.password_hashes_at_once,
            waiting: self.password_hashes_waiting,
        }
    }

    /// How often is too often, for [`crate::HttpOptions`].
    pub fn rate_limits(&self) -> RateLimits {
        RateLimits {
            account: self.login_account_rate,
            address: self.login_address_rate,
            registrations: self.registration_rate,
            refreshes: self.refresh_rate,
            availability: self.availability_rate,
            user: self.store_user_rate,
            visitors: self.visitor_rate,
            mailed_account: self.mail.mail_account_rate,
            mailed_address: self.mail.mail_address_rate,
        }
    }
}

impl Settings for StoreSettings {
    fn validate(&self, report: &mut Report) {
        let known = self.database_url.as_ref().is_none_or(|url| {
            ["sqlite:", "postgres:", "postgresql:"]
                .iter()
                .any(|kind| url.expose().starts_with(kind))
        });
        report.require(known, "database_url", "begins with sqlite: or postgres:");
        report.require(
            self.database_connections > 1,
            "database_connections",
            "at least 2",
        );
        for (setting, lifetime) in [
            ("access_token_lifetime", self.access_token_lifetime),
            ("refresh_token_lifetime", self.refresh_token_lifetime),
            ("login_lifetime", self.login_lifetime),
        ] {
            report.require(lifetime >= Duration::from_secs(1), setting, "at least 1s");
        }
        let ordered = self.access_token_lifetime <= self.refresh_token_lifetime
            && self.refresh_token_lifetime <= self.login_lifetime;
        report.require(
            ordered,
            "refresh_token_lifetime",
            "between those of access and log-in",
        );
        report.require(
            self.store_share_percent <= 100,
            "store_share_percent",
            "at most 100",
        );
        report.require(
            self.gift_lifetime >= Duration::from_secs(1),
            "gift_lifetime",
            "at least 1s",
        );
        for (setting, span) in [
            ("queue_timeout", self.queue_timeout),
            ("queue_pass_lifetime", self.queue_pass_lifetime),
        ] {
            report.require(span >= Duration::from_secs(1), setting, "at least 1s");
        }
        report.require(self.seed_games <= MAX_GAMES, "seed_games", "at most 1000");
        report.require(self.max_logins > 0, "max_logins", "at least 1");
        report.require(
            self.access_token_lifetime <= MAX_TOKEN_LIFETIME,
            "access_token_lifetime",
            "at most 24h: for so long are revocations remembered",
        );
        let volatile = self.database_url.as_ref().is_some_and(|url| {
            let url = url.expose();
            url.starts_with("sqlite:") && (url.contains(":memory:") || url.contains("mode=memory"))
        });
        report.require(!volatile, "database_url", "needs a file, not memory");
        report.require(
            self.password_hashes_waiting > 0,
            "password_hashes_waiting",
            "at least 1: everybody waits for a moment",
        );
        report.require(
            self.password_hash_passes > 0,
            "password_hash_passes",
            "at least 1",
        );
        let memory = self.password_hash_memory_kib >= 8;
        report.require(memory, "password_hash_memory_kib", "at least 8");
        self.mail.validate(report);
        self.login.validate(report);
        self.payments.validate(report);
        self.webhooks.validate(report);
    }
}

impl ProgramSettings for ServiceSettings {
    fn server(&self) -> &ServerSettings {
        &self.server
    }

    fn log(&self) -> &LogSettings {
        &self.log
    }
}

impl Settings for ServiceSettings {
    fn validate(&self, report: &mut Report) {
        self.server.validate(report);
        self.log.validate(report);
        self.token.validate(report);
        self.store.validate(report);
        #[cfg(feature = "redis")]
        self.redis.validate(report);
        let strong = self
            .service_token
            .as_ref()
            .is_none_or(|token| token.expose().len() >= 32);
        report.require(strong, "service_token", "needs at least 32 characters");
        let told = self.nodes.is_empty() || self.service_token.is_some();
        report.require(told, "service_token", "is needed to reach `nodes`");
        for node in &self.nodes {
            let address = url::Url::parse(node)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            report.require(address, "nodes", format!("`{node}` is no http:// address"));
        }
    }
}
