//! A line in Redis, for several stores: two sorted sets a drop, and a script for each act.

use std::time::Duration;

use ::redis::{FromRedisValue, Value, from_redis_value};
use async_trait::async_trait;
use shared::redis::{Call, RedisLink, Script};

use super::{Line, LineError, LineOf, REMEMBERED, Standing};

static PUT: Script = Script::new(|| ::redis::Script::new(include_str!("put.lua")));
static OPEN: Script = Script::new(|| ::redis::Script::new(include_str!("open.lua")));
static ASK: Script = Script::new(|| ::redis::Script::new(include_str!("ask.lua")));
static LEAVE: Script = Script::new(|| ::redis::Script::new(include_str!("leave.lua")));
static UNSEEN: Script = Script::new(|| ::redis::Script::new(include_str!("unseen.lua")));

/// Bound: as [`super::LocalLine`], by the time at which Redis forgets a line.
pub(crate) struct RedisLine {
    link: RedisLink,
}

impl RedisLine {
    /// The line that all stores with this link and prefix share.
    pub(crate) fn new(link: RedisLink) -> Self {
        Self { link }
    }

    fn on(&self, script: &'static Script, line: &LineOf) -> Call {
        let (prefix, drop) = (self.link.prefix(), &line.drop);
        let call = script.call().key(format!("{prefix}line:{{{drop}}}"));
        call.key(format!("{prefix}line:{{{drop}}}:seen"))
    }

    async fn ask_for<T: FromRedisValue>(&self, call: Call) -> Result<T, LineError> {
        let mut answers = self.link.ask(&[call.into()]).await.map_err(failed)?;
        from_redis_value(answers.pop().unwrap_or(Value::Nil)).map_err(failed)
    }
}

#[async_trait]
impl Line for RedisLine {
    async fn put(&self, line: &LineOf, people: &[(&str, i64)]) -> Result<(), LineError> {
        let call = self.on(&PUT, line).arg(line.closes_at + REMEMBERED);
        let put = |call: Call, (person, number): &(&str, i64)| call.arg(*number).arg(*person);
        self.ask_for(people.iter().fold(call, put)).await
    }

    async fn open(&self, line: &LineOf) -> Result<(), LineError> {
        let call = self.on(&OPEN, line).arg(line.closes_at + REMEMBERED);
        self.ask_for(call).await
    }

    async fn ask(&self, line: &LineOf, person: &str) -> Result<Standing, LineError> {
        let answer: Option<Vec<i64>> = self.ask_for(self.on(&ASK, line).arg(person)).await?;
        Ok(match answer.as_deref() {
            None => Standing::Unknown,
            Some([number, ahead]) => Standing::At {
                number: *number,
                ahead: ahead.unsigned_abs(),
            },
            Some(_) => Standing::Absent,
        })
    }

    async fn leave(&self, line: &LineOf, people: &[&str]) -> Result<(), LineError> {
        let call = self.on(&LEAVE, line);
        let call = people.iter().fold(call, |call, person| call.arg(*person));
        self.ask_for(call).await
    }

    async fn unseen(
        &self,
        line: &LineOf,
        since: Duration,
        limit: usize,
    ) -> Result<Vec<String>, LineError> {
        let call = self.on(&UNSEEN, line).arg(since.as_micros().to_string());
        self.ask_for(call.arg(limit)).await
    }
}

fn failed(error: impl std::fmt::Display) -> LineError {
    LineError(error.to_string())
}
