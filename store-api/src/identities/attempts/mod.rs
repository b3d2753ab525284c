//! What is known of a log-in on its way: kept for minutes, taken once.
//!
//! A browser that goes to a provider may come back to another store than it left from, so several
//! stores share these in Redis; a store that is alone keeps them in its memory. Either may lose them:
//! whoever was on the way begins again.

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use local::LocalAttempts;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisAttempts;

mod local;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;

/// Why attempts are not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptsError {
    /// More are on their way than are kept.
    #[error("too many log-ins are on their way")]
    Full,
    /// What keeps them does not answer.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))] // memory answers always
    #[error("the shared store of log-ins on their way: {0}")]
    Away(String),
}

/// Keeps attempts, by a key that nobody guesses.
#[async_trait]
pub(crate) trait Attempts: Send + Sync {
    /// Keeps `value` for so long, unless it is taken before. The key was never used.
    async fn put(&self, key: &str, value: &str, lifetime: Duration) -> Result<(), AttemptsError>;

    /// What is kept under the key, which is kept no longer: of many that ask at once, one gets it.
    async fn take(&self, key: &str) -> Result<Option<String>, AttemptsError>;
}
