//! One fault after another, each under load.

use std::time::Duration;

use loadtest::cluster::{
    Cluster, ClusterPlan, Failure, Proxy, RedisCluster, RedisSentinel, RedisServer,
};
use shared::id::Timestamp;

use crate::town::{Town, plan};

/// How long everything runs well before and between faults.
const WELL: Duration = Duration::from_secs(2);
/// How long a process stands still, and a link is away.
const AWAY: Duration = Duration::from_secs(5);
/// Longer than a link may be silent before it counts as broken.
const SILENT: Duration = Duration::from_secs(10);

/// Says what recovery took from the moment a fault began, or from when it was over.
async fn report(town: &Town, what: &str, since: Timestamp) {
    let took = town.recovered(since).await;
    println!("{what}: everybody served again after {took:?}");
    town.go_on(WELL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_killed_and_come_back() {
    let mut town = Town::settle(1).await;
    for n in 0..3 {
        town.go_on(WELL).await;
        let killed = Timestamp::now();
        let node = &mut town.cluster.node_mut(n).program;
        node.process_mut().kill().unwrap();
        report(&town, &format!("kill -9 of node {n}"), killed).await;
        town.cluster.node_mut(n).program.start().await.unwrap();
        report(&town, &format!("node {n} is back"), Timestamp::now()).await;
    }
    let verdict = town.judge().await;
    // Whether a send was under way at a kill is chance; that everybody started anew is not.
    assert!(verdict.seen.synced > 0, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back_with_its_data_and_empty() {
    let mut town = Town::settle(2).await;
    for empty in [false, true] {
        town.go_on(WELL).await;
        let killed = Timestamp::now();
        town.cluster.redis_mut().unwrap().kill().unwrap();
        town.go_on(WELL).await;
        let redis = town.cluster.redis_mut().unwrap();
        let back = if empty {
            redis.restart_empty().await
        } else {
            redis.restart().await
        };
        back.unwrap();
        report(&town, "kill -9 of Redis, 2 s away", killed).await;
    }
    town.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stand_in_is_killed_and_comes_back() {
    let mut town = Town::settle(3).await;
    for _ in 0..2 {
        town.go_on(WELL).await;
        town.cluster.mongo_mut().unwrap().kill().unwrap();
        town.go_on(WELL).await;
        town.cluster.mongo_mut().unwrap().restart().await.unwrap();
        report(&town, "the stand-in is back", Timestamp::now()).await;
    }
    let verdict = town.judge().await;
    assert!(verdict.seen.retried > 0, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_process_stands_still_for_five_seconds() {
    type Act = fn(&Cluster) -> Result<(), Failure>;
    let processes: [(&str, Act, Act); 4] = [
        (
            "a node",
            |c| c.nodes()[1].program.process().pause(),
            |c| c.nodes()[1].program.process().resume(),
        ),
        (
            "Redis",
            |c| c.redis().map_or(Ok(()), RedisServer::pause),
            |c| c.redis().map_or(Ok(()), RedisServer::resume),
        ),
        (
            "the stand-in",
            |c| c.mongo().pause(),
            |c| c.mongo().resume(),
        ),
        (
            "store-api",
            |c| c.store().process().pause(),
            |c| c.store().process().resume(),
        ),
    ];
    let town = Town::settle(4).await;
    for (name, pause, resume) in processes {
        town.go_on(WELL).await;
        pause(&town.cluster).unwrap();
        town.go_on(AWAY).await;
        resume(&town.cluster).unwrap();
        report(
            &town,
            &format!("SIGSTOP of {name} for 5 s"),
            Timestamp::now(),
        )
        .await;
    }
    town.judge().await;
}

/// Cuts a link, and lets it swallow everything, at one node.
async fn break_link(town: &Town, name: &str, link: fn(&Town) -> &Proxy) {
    town.go_on(WELL).await;
    link(town).cut().await;
    town.go_on(AWAY).await;
    link(town).heal().await;
    report(town, &format!("{name} cut for 5 s"), Timestamp::now()).await;
    link(town).half_open();
    town.go_on(SILENT).await;
    link(town).heal().await;
    report(
        town,
        &format!("{name} half open for 10 s"),
        Timestamp::now(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_of_a_node_to_redis_is_cut_and_half_open() {
    let town = Town::settle(5).await;
    break_link(&town, "a node's link to Redis", |town| {
        let links = town.cluster.nodes()[0].links().unwrap();
        links.redis.as_ref().unwrap()
    })
    .await;
    town.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_of_a_node_to_mongodb_is_cut_and_half_open() {
    let town = Town::settle(6).await;
    break_link(&town, "a node's link to MongoDB", |town| {
        &town.cluster.nodes()[0].links().unwrap().mongo
    })
    .await;
    town.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_fails_over_under_sentinel() {
    let mut redis = RedisSentinel::start().await.unwrap();
    let town = Town::settle_in(&with_redis(redis.url()), 7).await;
    for _ in 0..2 {
        town.go_on(WELL).await;
        let old = redis.master_port().await.unwrap();
        let killed = Timestamp::now();
        redis.master_mut().await.unwrap().kill().unwrap();
        redis.until_promoted(old).await.unwrap();
        report(&town, "a Redis failover under Sentinel", killed).await;
        redis.server_mut(old).unwrap().restart().await.unwrap();
    }
    town.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_loses_a_master() {
    let mut redis = RedisCluster::start(3, true).await.unwrap();
    let town = Town::settle_in(&with_redis(redis.url().unwrap()), 8).await;
    for n in [0, 1] {
        town.go_on(WELL).await;
        let killed = Timestamp::now();
        redis.master_mut(n).unwrap().kill().unwrap();
        report(&town, "the loss of a master of a Redis Cluster", killed).await;
        redis.master_mut(n).unwrap().restart().await.unwrap();
        report(&town, "it is back", Timestamp::now()).await;
    }
    town.judge().await;
}

/// A cluster on a Redis of another kind.
fn with_redis(url: String) -> ClusterPlan {
    ClusterPlan {
        redis_url: Some(url),
        ..plan()
    }
}
