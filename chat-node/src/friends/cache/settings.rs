//! Settings of the cache.

use std::time::Duration;

use shared::settings::{Report, Settings};

/// What bounds the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct FriendCacheSettings {
    /// How long the friends of a user without a session here are believed
    #[arg(long, value_parser = shared::settings::duration, default_value = "15s")]
    pub friends_unpinned_for: Duration,
    /// Of how many users without a session here friends are kept
    #[arg(long, default_value_t = Self::default().friends_max_unpinned)]
    pub friends_max_unpinned: usize,
    /// The most names kept
    #[arg(long, default_value_t = Self::default().friends_max_names)]
    pub friends_max_names: usize,
}

impl Default for FriendCacheSettings {
    fn default() -> Self {
        Self {
            friends_unpinned_for: Duration::from_secs(15),
            friends_max_unpinned: 10_000,
            friends_max_names: 50_000,
        }
    }
}

impl Settings for FriendCacheSettings {
    fn validate(&self, report: &mut Report) {
        let short = self.friends_unpinned_for <= Duration::from_mins(5);
        report.require(
            short,
            "friends_unpinned_for",
            "is at most 5m: no event corrects it",
        );
        report.require(
            self.friends_max_names >= 1000,
            "friends_max_names",
            "is at least 1000",
        );
    }
}
