//! The connection that commands go over.

use std::{sync::Arc, time::Duration};

use crate::telemetry::Sparing;
use ::redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    from_redis_value,
};
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Backoff, Dialer, RedisHost, RedisSettings, RedisSetupError, dial::no_answer};

/// How often the connection is asked whether it still stands.
const PROBE: Duration = Duration::from_secs(1);
/// At every which probe the Sentinels are asked whether the master is another one by now.
const ASK_SENTINELS: u32 = 5;
/// After how many failed probes a connection to a Cluster is made anew; it mends itself before.
const CLUSTER_PATIENCE: u32 = 5;

/// Commands for Redis: give it to `query_async`, `Script::invoke_async` and pipelines. Clones
/// share one connection per server, on which commands are pipelined.
///
/// It connects by itself, again and again with growing pauses. While Redis is out of reach a
/// command fails at once; any command fails after `redis_timeout`, and may have been executed all
/// the same. On a Cluster the keys of one script or pipeline belong to one slot: share a hash tag.
#[derive(Clone)]
pub struct RedisLink {
    shared: Arc<Shared>,
    /// Ends the keeper with the last clone.
    _keeper: Arc<DropGuard>,
}

struct Shared {
    dialer: Dialer,
    prefix: String,
    connection: RwLock<Option<Connection>>,
    /// Whether it is up, and how often it came up.
    state: watch::Sender<State>,
    /// A command failed in a way that makes the connection suspect.
    suspected: Notify,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    up: bool,
    ups: u64,
}

#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl RedisLink {
    /// Begins to connect; call it on a tokio runtime. A Redis that is out of reach is no error.
    pub fn connect(settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        let shared = Arc::new(Shared {
            dialer: Dialer::new(settings)?,
            prefix: settings.redis_prefix.clone(),
            connection: RwLock::default(),
            state: watch::Sender::default(),
            suspected: Notify::new(),
        });
        let stop = CancellationToken::new();
        tokio::spawn({
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            async move {
                tokio::select! {
                    () = shared.keep() => {}
                    () = stop.cancelled() => {}
                }
            }
        });
        Ok(Self {
            shared,
            _keeper: Arc::new(stop.drop_guard()),
        })
    }

    /// Whether commands reach Redis, and on a Cluster every slot is served, as of the last second.
    pub fn is_up(&self) -> bool {
        self.shared.state.borrow().up
    }

    /// Changes whenever the link comes up: the number of times it did. What stood in Redis may be
    /// gone by then.
    pub fn ups(&self) -> watch::Receiver<u64> {
        let mut states = self.shared.state.subscribe();
        let (sender, receiver) = watch::channel(states.borrow_and_update().ups);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
                let ups = states.borrow_and_update().ups;
                sender.send_if_modified(|old| std::mem::replace(old, ups) != ups);
            }
        });
        receiver
    }

    /// Waits until the link is up, at most that long.
    pub async fn wait_up(&self, at_most: Duration) -> bool {
        let mut states = self.shared.state.subscribe();
        let up = tokio::time::timeout(at_most, states.wait_for(|state| state.up)).await;
        matches!(up, Ok(Ok(_)))
    }

    /// A round trip; on a Cluster to every master there is.
    pub async fn ping(&self) -> RedisResult<()> {
        ::redis::cmd("PING").query_async(&mut self.clone()).await
    }

    /// What the names of all our keys and channels begin with.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Whether keys of one script must share a hash tag.
    pub fn is_cluster(&self) -> bool {
        self.shared.dialer.address().is_cluster()
    }

    /// Opens further connections to the same Redis.
    pub fn dialer(&self) -> &Dialer {
        &self.shared.dialer
    }
}

impl ConnectionLike for RedisLink {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut connection = self.shared.current()?;
            let answer = connection.req_packed_command(cmd);
            self.shared.judged(answer).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut connection = self.shared.current()?;
            let answer = connection.req_packed_commands(pipeline, offset, count);
            self.shared.judged(answer).await
        })
    }

    fn get_db(&self) -> i64 {
        self.shared.dialer.address().database
    }
}

impl Shared {
    fn current(&self) -> RedisResult<Connection> {
        let connection = self.connection.read().clone();
        connection.ok_or_else(|| {
            count_error("unreachable");
            no_answer("Redis is out of reach")
        })
    }

    /// Awaits an answer for as long as the settings say, and what it says of the connection.
    async fn judged<T>(&self, answer: RedisFuture<'_, T>) -> RedisResult<T> {
        // The connection has this time-out of its own; this one is for when it is stuck itself.
        let grace = self.dialer.timeout() + Duration::from_millis(100);
        let answer = tokio::time::timeout(grace, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(timed_out()));
        if let Err(error) = &answer {
            let (kind, suspect) = judge(error);
            count_error(kind);
            if suspect {
                self.suspected.notify_one();
            }
        }
        answer
    }

    /// Connects and stays connected, for ever.
    async fn keep(&self) {
        let lines = Sparing::new(Duration::from_secs(10));
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let reason = match self.open().await {
                Ok((host, connection)) => {
                    backoff.reset();
                    metrics::counter!("fireside_redis_connects_total").increment(1);
                    *self.connection.write() = Some(connection.clone());
                    self.set_up(true);
                    tracing::info!(redis = %self.dialer.address(), "Redis is reached");
                    let reason = self.watch(host.as_ref(), connection).await;
                    *self.connection.write() = None;
                    self.set_up(false);
                    tracing::warn!(%reason, "the link to Redis broke");
                    reason
                }
                Err(error) => error.to_string(),
            };
            let wait = backoff.next_wait();
            if let Some(more) = lines.due() {
                let redis = self.dialer.address();
                tracing::warn!(%redis, %reason, more, "Redis is out of reach; trying on");
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn open(&self) -> RedisResult<(Option<RedisHost>, Connection)> {
        if self.dialer.address().is_cluster() {
            let connection = self.dialer.open_cluster().await?;
            return Ok((None, Connection::Cluster(connection)));
        }
        let (host, connection) = self.dialer.open_master(None).await?;
        Ok((Some(host), Connection::Node(connection)))
    }

    /// Returns why the connection is no good any more.
    async fn watch(&self, host: Option<&RedisHost>, mut connection: Connection) -> String {
        let mut probes = tokio::time::interval(PROBE);
        probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut failed, mut count) = (0, 0_u32);
        loop {
            let suspected = tokio::select! {
                _ = probes.tick() => false,
                () = self.suspected.notified() => true,
            };
            count = count.wrapping_add(1);
            match self.probe(&mut connection).await {
                Ok(whole) => {
                    failed = 0;
                    self.set_up(whole);
                }
                Err(error) if host.is_some() => return error.to_string(),
                // A Cluster's connection follows its masters by itself, unless it cannot.
                Err(error) => {
                    failed += 1;
                    self.set_up(false);
                    if failed >= CLUSTER_PATIENCE {
                        return error.to_string();
                    }
                    tokio::time::sleep(PROBE / 4).await;
                }
            }
            let elsewhere = count.is_multiple_of(ASK_SENTINELS) || suspected;
            if let Some(host) = host.filter(|_| elsewhere) {
                // Sentinels that do not answer say nothing against the master.
                match self.dialer.master().await {
                    Ok(now) if now != *host => return format!("the master is {now} now"),
                    _ => {}
                }
            }
        }
    }

    /// Whether it answers, and on a Cluster, whether every slot is served: what its connection
    /// leaves out is a master that it lost.
    async fn probe(&self, connection: &mut Connection) -> RedisResult<bool> {
        let (question, expected) = match connection {
            Connection::Node(_) => (::redis::cmd("PING"), None),
            Connection::Cluster(_) => {
                let mut info = ::redis::cmd("CLUSTER");
                info.arg("INFO");
                (info, Some("cluster_slots_ok:16384"))
            }
        };
        let answer = connection.req_packed_command(&question);
        let answer = tokio::time::timeout(self.dialer.timeout(), answer).await;
        let answer: String = from_redis_value(answer.unwrap_or_else(|_| Err(timed_out()))?)?;
        Ok(expected.is_none_or(|expected| answer.contains(expected)))
    }

    fn set_up(&self, up: bool) {
        metrics::gauge!("fireside_redis_up").set(if up { 1.0 } else { 0.0 });
        self.state.send_if_modified(|state| {
            let changed = state.up != up;
            state.up = up;
            state.ups += u64::from(changed && up);
            changed
        });
    }
}

impl Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }
}

/// An error's label in metrics, and whether the connection is to be looked at.
fn judge(error: &RedisError) -> (&'static str, bool) {
    match error.kind() {
        _ if error.is_timeout() => ("timeout", true),
        ErrorKind::Io => ("broken", true),
        // A master that was demoted, or one that lost its own master.
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
            ("read_only", true)
        }
        ErrorKind::Server(_) => ("server", false),
        _ => ("other", error.is_unrecoverable_error()),
    }
}

fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

fn count_error(kind: &'static str) {
    metrics::counter!("fireside_redis_errors_total", "kind" => kind).increment(1);
}
