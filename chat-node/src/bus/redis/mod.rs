//! The bus over Redis: pub/sub on one server or behind Sentinel, sharded pub/sub on a Cluster.
//!
//! Every master has a [`Shard`] here: one connection on which this node publishes and one on which
//! it is subscribed, each with a task that opens it again whenever it breaks. Topics belong to
//! shards by their slot ([`Routes`]); without a Cluster there is one shard with all slots.
//!
//! # What is lost, and who makes it good
//! - A subscription link that breaks loses what is published meanwhile. The receiver is told
//!   `Interrupted` at once, everything is subscribed to anew, and `Restored` is told when Redis has
//!   confirmed all of it, on all shards.
//! - A link that is silent although nobody closed it is found by probes: a message to oneself, and
//!   a ping. After `redis_silence` without anything it counts as broken.
//! - A message that could not be published, or was under way when the connection broke, or went to
//!   a master that nobody else heard any more: the others cannot know. So after every such loss, and
//!   after every new connection, this node publishes a note of it, and who hears the note reads
//!   again as if its own link had been interrupted.
//!
//! # Bounds
//! `redis_publish_queue` messages and [`MAX_QUEUED_BYTES`] wait for each master; more are refused
//! (`Full`), and noted. Who hears is bounded by the receiver's capacity (see `inbox`).

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use rand::Rng as _;
use shared::{
    id::NodeId,
    telemetry::{LATENCY_BUCKETS, Metric},
};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Bus, BusError, BusReceiver, Topic, inbox::Inbox};
use crate::redis::{Dialer, RedisSettings, RedisSetupError};

mod channel;
mod envelope;
mod health;
mod losses;
mod publisher;
mod routes;
mod shard;
mod subscriber;

use channel::{Channel, Names, slot};
use health::{Health, ShardId};
use losses::Losses;
use routes::Routes;
use shard::{Change, Shard};

/// The most bytes that wait to be published to one master.
const MAX_QUEUED_BYTES: usize = 32 << 20;

/// A node's bus over Redis. Dropping it ends its connections.
pub struct RedisBus {
    hub: Arc<Hub>,
    _stop: DropGuard,
}

/// What a change of subscriptions asks of one shard.
struct Part {
    shard: Arc<Shard>,
    topics: Vec<(Channel, Topic)>,
}

/// What the handle and its tasks share.
struct Hub {
    node: NodeId,
    /// Tells this process from others that had, or wrongly have, the same name.
    process: u64,
    names: Names,
    dialer: Dialer,
    silence: Duration,
    queue: usize,
    /// What is heard, and which topic it is. Entries come before the subscription and go before
    /// its end, so that nothing heard is unknown and nothing left is heard.
    heard: RwLock<HashMap<Channel, Topic>>,
    health: Health,
    losses: Losses,
    routes: RwLock<Arc<Routes>>,
    /// Whether the routes may be wrong.
    astray: Notify,
    shards_made: AtomicU64,
    stop: CancellationToken,
}

impl RedisBus {
    /// Begins to connect; call it on a tokio runtime. The receiver holds up to `capacity` messages.
    /// A Redis that is out of reach is no error: it is tried on, and [`Bus::ping`] says so.
    pub fn connect(
        settings: &RedisSettings,
        node: NodeId,
        capacity: usize,
    ) -> Result<(Self, BusReceiver), RedisSetupError> {
        let dialer = Dialer::new(settings)?;
        let (inbox, receiver) = Inbox::new(capacity);
        let stop = CancellationToken::new();
        let hub = Arc::new(Hub {
            node,
            process: rand::rng().random(),
            names: Names::new(&settings.redis_prefix),
            dialer,
            silence: settings.redis_silence,
            queue: settings.redis_publish_queue,
            heard: RwLock::default(),
            health: Health::new(inbox),
            losses: Losses::default(),
            routes: RwLock::default(),
            astray: Notify::new(),
            shards_made: AtomicU64::new(0),
            stop: stop.clone(),
        });
        hub.spawn(routes::keep(Arc::clone(&hub)));
        hub.spawn(losses::tell(Arc::clone(&hub)));
        hub.spawn(losses::repair(Arc::clone(&hub)));
        let bus = Self {
            hub,
            _stop: stop.drop_guard(),
        };
        Ok((bus, receiver))
    }

    /// Sends topics to the shards they belong to, and waits for all answers.
    async fn change(&self, topics: &[Topic], subscribe: bool) -> Result<(), BusError> {
        let hub = &self.hub;
        let routes = hub.routes();
        let mut parts: HashMap<ShardId, Part> = HashMap::new();
        let mut failed = Vec::new();
        for topic in topics {
            let channel = hub.names.topic(topic);
            if !subscribe {
                hub.heard.write().remove(&channel);
            }
            let Some(shard) = routes.shard(slot(&channel)) else {
                // Without a link nothing is subscribed to, and what is not listed never will be.
                if subscribe {
                    failed.push(topic.clone());
                }
                continue;
            };
            let part = parts.entry(shard.id).or_insert_with(|| Part {
                shard: Arc::clone(shard),
                topics: Vec::new(),
            });
            part.topics.push((channel, topic.clone()));
        }
        let answers = parts
            .into_values()
            .map(|Part { shard, topics }| async move {
                let (channels, topics): (Vec<Channel>, Vec<Topic>) = topics.into_iter().unzip();
                let change = if subscribe {
                    Change::Subscribe(channels.into_iter().zip(topics.clone()).collect())
                } else {
                    Change::Unsubscribe(channels)
                };
                (shard.change(change).await, topics)
            });
        // All of them, whatever becomes of one: a master that is away takes nothing with it.
        let answers = futures_util::future::join_all(answers).await;
        let mut why = (!failed.is_empty()).then(out_of_reach);
        for (answer, topics) in answers {
            if let Err(error) = answer {
                failed.extend(topics);
                why = Some(error);
            }
        }
        match why {
            None => Ok(()),
            Some(error) if failed.len() == topics.len() => Err(error),
            Some(error) => Err(BusError::Partly {
                topics: failed,
                reason: error.to_string(),
            }),
        }
    }

    /// While it has never been up, gives it a moment to come up.
    async fn started(&self) {
        let wait = self.hub.dialer.timeout();
        let since = tokio::time::Instant::now();
        while self.hub.health.starting() && since.elapsed() < wait {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn publish(&self, topic: Topic, payload: Bytes) -> Result<(), BusError> {
        let hub = &self.hub;
        let channel = hub.names.topic(&topic);
        let routes = hub.routes();
        let published = match routes.shard(slot(&channel)) {
            Some(shard) => shard.publish(hub, &channel, &payload),
            None => Err(out_of_reach()),
        };
        if published.is_err() {
            hub.losses.happened();
        }
        published
    }

    async fn publish_counted(&self, topic: Topic, payload: Bytes) -> Result<Option<u64>, BusError> {
        let hub = &self.hub;
        let channel = hub.names.topic(&topic);
        let shard = hub.routes().shard(slot(&channel)).map(Arc::clone);
        let counted = match shard {
            Some(shard) => shard.publish_counted(hub, &channel, &payload).await,
            None => Err(out_of_reach()),
        };
        if counted.is_err() {
            hub.losses.happened();
        }
        counted.map(Some)
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
        self.started().await;
        self.change(topics, true).await
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
        self.change(topics, false).await
    }

    /// A round trip behind everything published before, to every master; all subscriptions stand.
    async fn ping(&self) -> Result<(), BusError> {
        let hub = &self.hub;
        if !hub.health.all_stand() {
            let redis = hub.dialer.address();
            let reason = format!("subscriptions at Redis ({redis}) do not stand");
            return Err(BusError::Unavailable(reason));
        }
        let routes = hub.routes();
        let pings = routes.shards().map(|shard| shard.ping());
        let pings = futures_util::future::try_join_all(pings);
        match tokio::time::timeout(hub.dialer.timeout(), pings).await {
            Ok(answers) => answers.map(drop),
            Err(_) => Err(BusError::Unavailable("Redis does not answer".to_owned())),
        }
    }
}

impl Hub {
    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read())
    }

    /// Runs a task of the bus until the bus is dropped.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn sharded(&self) -> bool {
        self.dialer.address().is_cluster()
    }
}

fn out_of_reach() -> BusError {
    BusError::Unavailable("Redis is out of reach".to_owned())
}

/// The metrics of the bus over Redis.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_bus_redis_queue",
        "Messages that wait to be published, at the master that was last written to",
    ),
    Metric::histogram(
        "fireside_bus_redis_batch",
        "Messages published at once",
        &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0],
    ),
    Metric::counter(
        "fireside_bus_redis_lost_total",
        "Messages not published, or perhaps not: full (of the queue), broken (of the link), refused (by Redis)",
    )
    .by(&["reason"]),
    Metric::counter(
        "fireside_bus_redis_losses_told_total",
        "Notes of losses: told to other nodes, heard from them",
    )
    .by(&["way"]),
    Metric::counter(
        "fireside_bus_redis_stale_total",
        "Messages dropped because they came late over a connection that their node had given up",
    ),
    Metric::gauge(
        "fireside_bus_redis_broken",
        "Masters whose subscriptions are known to be broken",
    ),
    Metric::counter(
        "fireside_bus_redis_connects_total",
        "Connections of the bus opened to Redis",
    )
    .by(&["link"]),
    Metric::histogram(
        "fireside_bus_redis_resubscribe_seconds",
        "Time from a new subscription connection to the last confirmation on it",
        LATENCY_BUCKETS,
    ),
];
