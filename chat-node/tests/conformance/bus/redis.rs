//! The bus over Redis: one server, Sentinel, a Cluster.

use std::time::Duration;

use async_trait::async_trait;
use chat_node::{
    bus::{Bus as _, BusReceiver, redis::RedisBus},
    redis::{Dialer, RedisSettings},
};
use loadtest::cluster::{RedisCluster, RedisSentinel, RedisServer};
use shared::{id::NodeId, settings::Secret};

use super::{BusFactory, conforms};

mod faults;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Buses over the Redis at a URL.
struct OverRedis(RedisSettings);

impl OverRedis {
    fn at(url: &str) -> Self {
        Self(RedisSettings {
            redis_url: Some(Secret::new(url.to_owned())),
            ..RedisSettings::default()
        })
    }
}

/// A node's bus, up.
async fn join(settings: &RedisSettings, name: &str, capacity: usize) -> (RedisBus, BusReceiver) {
    let node = NodeId::parse(name).unwrap();
    let (bus, heard) = RedisBus::connect(settings, node, capacity).unwrap();
    let since = std::time::Instant::now();
    while let Err(error) = bus.ping().await {
        assert!(
            since.elapsed() < PATIENCE,
            "{name} does not come up: {error}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (bus, heard)
}

#[async_trait]
impl BusFactory for OverRedis {
    type Node = RedisBus;

    async fn node(&self, name: &str) -> (RedisBus, BusReceiver) {
        join(&self.0, name, 1024).await
    }

    /// Closes the subscriptions of all nodes, at one master.
    async fn interrupt(&self, _node: &RedisBus) {
        let dialer = Dialer::new(&self.0).unwrap();
        let shards = dialer.shards(&[]).await.unwrap();
        let mut master = dialer
            .open(shards.keys().next().unwrap(), None)
            .await
            .unwrap();
        let mut kill = ::redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("pubsub");
        let killed: i64 = kill.query_async(&mut master).await.unwrap();
        assert!(killed > 0);
    }
}

#[tokio::test]
async fn the_bus_over_one_redis_conforms() {
    // One of its own: the suite closes everybody's subscriptions.
    let server = RedisServer::start().await.unwrap();
    conforms(&OverRedis::at(server.url())).await;
}

#[tokio::test]
async fn the_bus_behind_sentinel_conforms() {
    let redis = RedisSentinel::start().await.unwrap();
    conforms(&OverRedis::at(&redis.url())).await;
}

#[tokio::test]
async fn the_bus_over_a_cluster_conforms() {
    let cluster = RedisCluster::start(3, false).await.unwrap();
    conforms(&OverRedis::at(&cluster.url().unwrap())).await;
}
