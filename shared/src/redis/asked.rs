//! Many questions with one round trip, scripts among them.

use std::sync::LazyLock;

use ::redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, ToRedisArgs, Value,
    aio::ConnectionLike as _,
};
use futures_util::future::join_all;

use super::RedisLink;

/// A Lua script, which is sent by its hash, and in full to a server that does not know it.
pub struct Script(LazyLock<::redis::Script>);

/// A call of a script: keys first, then arguments.
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

/// One command.
pub struct Asked {
    command: Cmd,
    script: Option<&'static Script>,
}

impl Script {
    /// The script that `make` makes of its text.
    pub const fn new(make: fn() -> ::redis::Script) -> Self {
        Self(LazyLock::new(make))
    }

    /// Begins a call.
    pub fn call(&'static self) -> Call {
        Call {
            script: self,
            keys: Vec::new(),
            args: Vec::new(),
        }
    }
}

impl Call {
    /// A key it uses. On a Cluster all of them share a hash tag.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// An argument.
    #[must_use]
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.args.extend(arg.to_redis_args());
        self
    }
}

impl From<Call> for Asked {
    fn from(call: Call) -> Self {
        let mut command = ::redis::cmd("EVALSHA");
        command.arg(call.script.0.get_hash()).arg(call.keys.len());
        command.arg(&call.keys);
        for arg in &call.args {
            command.arg(arg);
        }
        Self {
            command,
            script: Some(call.script),
        }
    }
}

impl Asked {
    /// A command that is no script.
    pub fn new(name: &str) -> Self {
        Self {
            command: ::redis::cmd(name),
            script: None,
        }
    }

    /// A key or an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }
}

impl RedisLink {
    /// Asks all of these, in this order where they go to one server, and answers in it. One round trip
    /// to each server; on a Cluster each command goes to the server of its keys. What fails fails
    /// the whole, though the rest may have been done.
    pub async fn ask(&self, asked: &[Asked]) -> RedisResult<Vec<Value>> {
        let mut answers = self.ask_once(asked.iter()).await?;
        let unknown: Vec<usize> = (0..answers.len())
            .filter(|n| answers[*n].as_ref().is_err_and(is_unknown_script))
            .collect();
        if !unknown.is_empty() {
            let mut loaded: Vec<&str> = Vec::new();
            for script in unknown.iter().filter_map(|n| asked[*n].script) {
                if !loaded.contains(&script.0.get_hash()) {
                    script.0.load_async(&mut self.clone()).await?;
                    loaded.push(script.0.get_hash());
                }
            }
            let again = self.ask_once(unknown.iter().map(|n| &asked[*n])).await?;
            for (n, answer) in unknown.into_iter().zip(again) {
                answers[n] = answer;
            }
        }
        answers.into_iter().collect()
    }

    async fn ask_once<'a>(
        &self,
        asked: impl ExactSizeIterator<Item = &'a Asked>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let count = asked.len();
        if self.is_cluster() {
            let answers = asked.map(|asked| async move {
                let mut link = self.clone();
                link.req_packed_command(&asked.command).await
            });
            let answers = join_all(answers).await;
            return Ok(answers
                .into_iter()
                .map(|answer| answer.and_then(Value::extract_error))
                .collect());
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(count);
        for asked in asked {
            pipeline.add_command(asked.command.clone());
        }
        let mut link = self.clone();
        let answers = link.req_packed_commands(&pipeline, 0, count).await?;
        Ok(answers.into_iter().map(Value::extract_error).collect())
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
