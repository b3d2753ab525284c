//! Attempts in Redis, for several stores: a key each, which Redis forgets by itself.

use std::time::Duration;

use ::redis::{Value, from_redis_value};
use async_trait::async_trait;
use shared::redis::{Asked, RedisLink};

use super::{Attempts, AttemptsError};

/// Bound: who may begin how often, by address, for as long as an attempt lives.
pub(crate) struct RedisAttempts {
    link: RedisLink,
}

impl RedisAttempts {
    /// Those that all stores with this link and prefix share.
    pub(crate) fn new(link: RedisLink) -> Self {
        Self { link }
    }

    fn key(&self, key: &str) -> String {
        format!("{}login:{key}", self.link.prefix())
    }

    async fn ask(&self, asked: Asked) -> Result<Value, AttemptsError> {
        let answers = self.link.ask(&[asked]).await;
        Ok(answers.map_err(away)?.pop().unwrap_or(Value::Nil))
    }
}

#[async_trait]
impl Attempts for RedisAttempts {
    async fn put(&self, key: &str, value: &str, lifetime: Duration) -> Result<(), AttemptsError> {
        let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let set = Asked::new("SET").arg(self.key(key)).arg(value);
        self.ask(set.arg("PX").arg(millis.max(1))).await?;
        Ok(())
    }

    async fn take(&self, key: &str) -> Result<Option<String>, AttemptsError> {
        let taken = self.ask(Asked::new("GETDEL").arg(self.key(key))).await?;
        from_redis_value(taken).map_err(away)
    }
}

fn away(error: impl std::fmt::Display) -> AttemptsError {
    AttemptsError::Away(error.to_string())
}
