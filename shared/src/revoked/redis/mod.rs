//! What is revoked, in a sorted set of Redis by when it was added, on Redis' clock.
//!
//! Bound: the revocations of [`KEEP`].

use std::time::Duration;

use crate::auth::{LEEWAY, MAX_TOKEN_LIFETIME};
use ::redis::{RedisError, Value, from_redis_value};
use async_trait::async_trait;

use super::{Mark, Revoked, RevokedError, RevokedSet, Since};
use crate::redis::{Asked, RedisLink, Script};

/// How long it is kept: no token lasts longer.
const KEEP: Duration = MAX_TOKEN_LIFETIME
    .saturating_add(LEEWAY)
    .saturating_add(Duration::from_hours(1));
/// How many are added with one call.
const BATCH: usize = 500;

static ADD: Script = Script::new(|| ::redis::Script::new(include_str!("add.lua")));
static SINCE: Script = Script::new(|| ::redis::Script::new(include_str!("since.lua")));

/// The set in Redis. Clones are the same.
#[derive(Clone)]
pub struct RedisRevoked {
    link: RedisLink,
}

impl RedisRevoked {
    /// The set that all nodes with this link and prefix share.
    pub fn new(link: RedisLink) -> Self {
        Self { link }
    }

    fn set(&self) -> String {
        format!("{}revoked:{{all}}", self.link.prefix())
    }

    async fn ask(&self, asked: Asked) -> Result<Value, RevokedError> {
        let answers = self.link.ask(&[asked]).await;
        let mut answers = answers.map_err(|error| unavailable(&error))?;
        Ok(answers.pop().unwrap_or_default())
    }
}

#[async_trait]
impl RevokedSet for RedisRevoked {
    async fn add(&self, revoked: &[Revoked]) -> Result<(), RevokedError> {
        for some in revoked.chunks(BATCH) {
            let call = ADD.call().key(self.set()).arg(keep());
            let call = some.iter().fold(call, |call, one| call.arg(one.encode()));
            self.ask(call.into()).await?;
        }
        Ok(())
    }

    async fn since(&self, mark: Option<&Mark>) -> Result<Since, RevokedError> {
        let known = mark.map_or("", |mark| &mark.set);
        let at = mark.map_or("0", |mark| &mark.at);
        let call = SINCE
            .call()
            .key(self.set())
            .key(format!("{}:born", self.set()));
        let call = call.arg(known).arg(at).arg(keep());
        let answer = self.ask(call.into()).await?;
        let (set, at, members): (String, String, Vec<String>) =
            from_redis_value(answer).map_err(|error| unavailable(&RedisError::from(error)))?;
        Ok(Since {
            revoked: members
                .iter()
                .filter_map(|text| Revoked::decode(text))
                .collect(),
            lost: set != known,
            mark: Mark { set, at },
        })
    }
}

fn keep() -> String {
    KEEP.as_millis().to_string()
}

fn unavailable(error: &RedisError) -> RevokedError {
    RevokedError::Unavailable(error.to_string())
}
