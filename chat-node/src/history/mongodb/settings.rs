//! Where MongoDB is and what bounds the backend.

use std::time::Duration;

use shared::settings::{ByteSize, Report, Secret, Settings, duration};

/// The settings of history in MongoDB.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct MongoSettings {
    /// Keeps history in MongoDB, which many nodes may share: `mongodb://` or `mongodb+srv://`, with user, password and TLS as the URI says them. In a file of this node when not given
    #[arg(long)]
    pub mongodb_uri: Option<Secret>,
    /// The database, when the URI names none
    #[arg(long, default_value_t = Self::default().mongodb_database)]
    pub mongodb_database: String,
    /// How long MongoDB may take to answer; after that history is `unavailable`
    #[arg(long, value_parser = duration, default_value = "3s")]
    pub mongodb_timeout: Duration,
    /// How long finding a server and connecting to it may take
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub mongodb_connect_timeout: Duration,
    /// How many appends may wait to be written; beyond that they are refused with `busy`
    #[arg(long, default_value_t = Self::default().mongodb_queue)]
    pub mongodb_queue: usize,
    /// How many bytes they may hold
    #[arg(long, default_value_t = Self::default().mongodb_queue_bytes)]
    pub mongodb_queue_bytes: ByteSize,
    /// Most entries in one insert
    #[arg(long, default_value_t = Self::default().mongodb_batch)]
    pub mongodb_batch: usize,
    /// How many tasks append, each for its share of the rooms
    #[arg(long, default_value_t = Self::default().mongodb_writers)]
    pub mongodb_writers: usize,
    /// How many other questions may be under way or wait; beyond that they are `unavailable`
    #[arg(long, default_value_t = Self::default().mongodb_read_queue)]
    pub mongodb_read_queue: usize,
    /// Most connections to one server
    #[arg(long, default_value_t = Self::default().mongodb_connections)]
    pub mongodb_connections: u32,
}

impl Default for MongoSettings {
    fn default() -> Self {
        Self {
            mongodb_uri: None,
            mongodb_database: "fireside".into(),
            mongodb_timeout: Duration::from_secs(3),
            mongodb_connect_timeout: Duration::from_secs(2),
            mongodb_queue: 8_192,
            mongodb_queue_bytes: ByteSize::mib(64),
            mongodb_batch: 1_000,
            mongodb_writers: 4,
            mongodb_read_queue: 4_096,
            mongodb_connections: 32,
        }
    }
}

impl Settings for MongoSettings {
    fn validate(&self, report: &mut Report) {
        let counts = [
            (self.mongodb_queue, "mongodb_queue"),
            (self.mongodb_read_queue, "mongodb_read_queue"),
            (self.mongodb_connections as usize, "mongodb_connections"),
        ];
        for (count, name) in counts {
            report.require(count > 0, name, "is at least 1");
        }
        for (time, name) in [
            (self.mongodb_timeout, "mongodb_timeout"),
            (self.mongodb_connect_timeout, "mongodb_connect_timeout"),
        ] {
            let range = Duration::from_millis(100)..=Duration::from_mins(1);
            report.require(range.contains(&time), name, "is 100ms to 1m");
        }
        report.require(
            (1..=64).contains(&self.mongodb_writers),
            "mongodb_writers",
            "is 1 to 64",
        );
        report.require(
            (256..=10_000).contains(&self.mongodb_batch),
            "mongodb_batch",
            "is 256 to 10000",
        );
        report.require(
            self.mongodb_queue_bytes.as_u64() >= 1 << 20,
            "mongodb_queue_bytes",
            "is at least 1MiB",
        );
        report.require(
            !self.mongodb_database.is_empty(),
            "mongodb_database",
            "has a name",
        );
    }
}
