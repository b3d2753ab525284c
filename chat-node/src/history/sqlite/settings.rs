//! What bounds the backend.

use shared::settings::{ByteSize, Report, Settings};

/// The settings of history in SQLite.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct SqliteSettings {
    /// How many appends and read markers may wait to be written; beyond that they are refused
    #[arg(long, default_value_t = Self::default().history_queue)]
    pub history_queue: usize,
    /// How many bytes they may hold
    #[arg(long, default_value_t = Self::default().history_queue_bytes)]
    pub history_queue_bytes: ByteSize,
    /// Most entries in one commit; the limit in force adapts to the disk below this
    #[arg(long, default_value_t = Self::default().history_batch)]
    pub history_batch: usize,
    /// Threads that read history, each with a connection of its own
    #[arg(long, default_value_t = Self::default().history_readers)]
    pub history_readers: usize,
    /// How many questions may wait for a reader; beyond that they are `unavailable`
    #[arg(long, default_value_t = Self::default().history_read_queue)]
    pub history_read_queue: usize,
    /// How large the history may grow on disk; beyond that nothing can be said any more. No bound when not given
    #[arg(long)]
    pub history_max_bytes: Option<ByteSize>,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            history_queue: 8_192,
            history_queue_bytes: ByteSize::mib(64),
            history_batch: 4_096,
            history_readers: 3,
            history_read_queue: 4_096,
            history_max_bytes: None,
        }
    }
}

impl Settings for SqliteSettings {
    fn validate(&self, report: &mut Report) {
        let counts = [
            (self.history_queue, "history_queue"),
            (self.history_read_queue, "history_read_queue"),
        ];
        for (count, name) in counts {
            report.require(count > 0, name, "is at least 1");
        }
        report.require(
            (1..=64).contains(&self.history_readers),
            "history_readers",
            "is 1 to 64",
        );
        report.require(
            (64..=65_536).contains(&self.history_batch),
            "history_batch",
            "is 64 to 65536",
        );
        report.require(
            self.history_queue_bytes.as_u64() >= 1 << 20,
            "history_queue_bytes",
            "is at least 1MiB",
        );
        if let Some(bytes) = self.history_max_bytes {
            report.require(
                bytes.as_u64() >= 1 << 20,
                "history_max_bytes",
                "is at least 1MiB",
            );
        }
    }
}
