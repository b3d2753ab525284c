//! A gate in Redis, for several stores: one sorted set a drop, and a script for each act.

use std::time::Duration;

use ::redis::{Value, from_redis_value};
use async_trait::async_trait;
use shared::redis::{Call, RedisLink, Script};

use super::{Entry, Gate, GateDrop, GateError, KEPT_FOR, REMEMBERED};

static ENTER: Script = Script::new(|| ::redis::Script::new(include_str!("enter.lua")));
static SETTLE: Script = Script::new(|| ::redis::Script::new(include_str!("settle.lua")));
static LEAVE: Script = Script::new(|| ::redis::Script::new(include_str!("leave.lua")));

/// Bound: as [`super::LocalGate`], by the time at which Redis forgets a drop.
pub(crate) struct RedisGate {
    link: RedisLink,
    kept_for: Duration,
}

impl RedisGate {
    /// The gate that all stores with this link and prefix share.
    pub(crate) fn new(link: RedisLink) -> Self {
        Self::keeping(link, KEPT_FOR)
    }

    /// One that keeps places for so long.
    pub(super) fn keeping(link: RedisLink, kept_for: Duration) -> Self {
        Self { link, kept_for }
    }

    fn on(&self, script: &'static Script, drop: &GateDrop) -> Call {
        let prefix = self.link.prefix();
        script.call().key(format!("{prefix}drop:{{{}}}", drop.id))
    }

    async fn ask(&self, call: Call) -> Result<Value, GateError> {
        let answers = self.link.ask(&[call.into()]).await;
        Ok(answers.map_err(failed)?.pop().unwrap_or(Value::Nil))
    }
}

#[async_trait]
impl Gate for RedisGate {
    async fn enter(
        &self,
        drop: &GateDrop,
        people: &[&str],
    ) -> Result<Option<Vec<Entry>>, GateError> {
        let call = self.on(&ENTER, drop).arg(drop.places);
        let call = call.arg(self.kept_for.as_micros().to_string());
        let call = people.iter().fold(call, |call, person| call.arg(*person));
        let answer = self.ask(call).await?;
        let entries: Option<Vec<i64>> = from_redis_value(answer).map_err(failed)?;
        let entry = |entered| if entered == 1 { Entry::In } else { Entry::Full };
        Ok(entries.map(|entries| entries.into_iter().map(entry).collect()))
    }

    async fn settle(&self, drop: &GateDrop, people: &[&str]) -> Result<(), GateError> {
        let call = self.on(&SETTLE, drop).arg(drop.closes_at + REMEMBERED);
        let call = people.iter().fold(call, |call, person| call.arg(*person));
        self.ask(call).await.map(std::mem::drop)
    }

    async fn leave(&self, drop: &GateDrop, people: &[&str]) -> Result<(), GateError> {
        let call = self.on(&LEAVE, drop);
        let call = people.iter().fold(call, |call, person| call.arg(*person));
        self.ask(call).await.map(std::mem::drop)
    }

    async fn open(&self, drop: &GateDrop) -> Result<(), GateError> {
        self.settle(drop, &[""]).await
    }
}

fn failed(error: impl std::fmt::Display) -> GateError {
    GateError(error.to_string())
}
