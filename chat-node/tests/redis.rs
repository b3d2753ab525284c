//! The link to a Redis that is killed, paused, and refuses us.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_node::{
    bus::{Bus as _, BusEvent, Topic, redis::RedisBus},
    redis::{RedisLink, RedisSettings},
};
use loadtest::cluster::{RedisCluster, RedisSentinel, RedisServer, free_port};
use shared::{id::NodeId, settings::Secret};

fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        redis_url: Some(Secret::new(url.to_owned())),
        redis_timeout: Duration::from_millis(500),
        ..RedisSettings::default()
    }
}

async fn linked(url: &str) -> RedisLink {
    let link = RedisLink::connect(&settings(url)).unwrap();
    assert!(link.wait_up(Duration::from_secs(20)).await, "{url}");
    link
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn commands_scripts_and_pipelines_go_over_the_link() {
    let server = RedisServer::start().await.unwrap();
    let mut link = linked(server.url()).await;
    link.ping().await.unwrap();
    assert!(!link.is_cluster());
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for expected in [2, 4] {
        let n: i64 = script
            .key("n")
            .arg(2)
            .invoke_async(&mut link)
            .await
            .unwrap();
        assert_eq!(n, expected);
    }
    let (a, b): (i64, String) = redis::pipe()
        .cmd("INCR")
        .arg("n")
        .cmd("ECHO")
        .arg("hi")
        .query_async(&mut link)
        .await
        .unwrap();
    assert_eq!((a, b.as_str()), (5, "hi"));
}

#[tokio::test]
async fn a_killed_redis_fails_commands_at_once_and_is_found_when_it_is_back() {
    let mut server = RedisServer::start().await.unwrap();
    let link = linked(server.url()).await;
    let mut ups = link.ups();
    let before = *ups.borrow_and_update();
    server.kill().unwrap();
    until("the link is seen to be down", async || !link.is_up()).await;
    let asked = Instant::now();
    assert!(link.ping().await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(400));
    server.restart_empty().await.unwrap();
    ups.changed().await.unwrap();
    assert_eq!(*ups.borrow(), before + 1);
    assert!(link.is_up());
    link.ping().await.unwrap();
}

/// A stall closes no connection: only a time-out shows it.
#[tokio::test]
async fn a_paused_redis_fails_commands_in_their_time() {
    let server = RedisServer::start().await.unwrap();
    let link = linked(server.url()).await;
    server.pause().unwrap();
    let asked = Instant::now();
    assert!(link.ping().await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(5), "a command hung");
    until("the link is seen to be down", async || !link.is_up()).await;
    server.resume().unwrap();
    until("the link is up again", async || link.is_up()).await;
    until("commands pass", async || link.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_link_comes_up_when_redis_does_and_ends_with_its_last_clone() {
    let mut server = RedisServer::start().await.unwrap();
    server.kill().unwrap();
    let link = RedisLink::connect(&settings(server.url())).unwrap();
    assert!(!link.wait_up(Duration::from_millis(50)).await);
    assert!(link.ping().await.is_err());
    server.restart().await.unwrap();
    assert!(link.wait_up(Duration::from_secs(20)).await);
    let mut ups = link.ups();
    drop(link.clone());
    assert!(link.ping().await.is_ok());
    drop(link);
    assert!(ups.changed().await.is_err(), "nobody keeps the link");
}

#[tokio::test]
async fn a_user_with_a_password_is_let_in_and_others_are_not() {
    let server = RedisServer::start().await.unwrap();
    let mut link = linked(server.url()).await;
    let mut rule = redis::cmd("ACL");
    rule.arg("SETUSER").arg("chat").arg("on").arg(">p@ss word");
    // As docs/operations.md has it.
    let rights = "~fireside:* &fireside:* +@connection +@pubsub +@scripting +@read +@write \
                  -@dangerous +cluster|slots +cluster|info +role";
    for part in rights.split_whitespace() {
        rule.arg(part);
    }
    let () = rule.query_async(&mut link).await.unwrap();
    let at = server.url().strip_prefix("redis://").unwrap();
    let chat = linked(&format!("redis://chat:p%40ss%20word@{at}")).await;
    chat.ping().await.unwrap();
    let node = NodeId::parse("n").unwrap();
    let url = settings(&format!("redis://chat:p%40ss%20word@{at}"));
    let (bus, mut heard) = RedisBus::connect(&url, node, 16).unwrap();
    until("the bus is up", async || bus.ping().await.is_ok()).await;
    bus.subscribe(&[Topic::Nodes]).await.unwrap();
    bus.publish(Topic::Nodes, Bytes::new()).unwrap();
    assert!(matches!(heard.recv().await, Some(BusEvent::Message(..))));
    // What is not ours is refused, and breaks nothing.
    let elsewhere = RedisSettings {
        redis_prefix: "else:".to_owned(),
        ..url
    };
    let (lost, _) = RedisBus::connect(&elsewhere, NodeId::parse("m").unwrap(), 16).unwrap();
    assert!(lost.subscribe(&[Topic::Nodes]).await.is_err());
    bus.ping().await.unwrap();
    let stranger = settings(&format!("redis://chat:wrong@{at}"));
    let stranger = RedisLink::connect(&stranger).unwrap();
    assert!(!stranger.wait_up(Duration::from_millis(500)).await);
}

/// The certificates of `tests/tls` are good for 127.0.0.1 and for a hundred years; their CA's key is
/// gone.
#[tokio::test]
async fn tls_is_spoken_with_whom_the_certificates_vouch_for_and_nobody_else() {
    let tls = format!("{}/tests/tls", env!("CARGO_MANIFEST_DIR"));
    let port = free_port().unwrap();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &format!("{tls}/server.pem"),
        "--tls-key-file",
        &format!("{tls}/server.key"),
        "--tls-ca-cert-file",
        &format!("{tls}/ca.pem"),
        "--tls-auth-clients",
        "no",
    ])
    .await
    .unwrap();
    let trusting = RedisSettings {
        redis_tls_ca: Some(format!("{tls}/ca.pem").into()),
        ..settings(&format!("rediss://127.0.0.1:{port}"))
    };
    let link = RedisLink::connect(&trusting).unwrap();
    assert!(link.wait_up(Duration::from_secs(20)).await);
    link.ping().await.unwrap();
    let (bus, mut heard) = RedisBus::connect(&trusting, NodeId::parse("n").unwrap(), 16).unwrap();
    bus.subscribe(&[Topic::Nodes]).await.unwrap();
    until("the bus is up", async || bus.ping().await.is_ok()).await;
    bus.publish(Topic::Nodes, Bytes::new()).unwrap();
    assert!(matches!(heard.recv().await, Some(BusEvent::Message(..))));
    // The system's certificates vouch for others.
    let doubting = settings(&format!("rediss://127.0.0.1:{port}"));
    let doubting = RedisLink::connect(&doubting).unwrap();
    // No TLS at all.
    let plain = settings(&format!("rediss://127.0.0.1:{}", server.port().unwrap()));
    let plain = RedisLink::connect(&plain).unwrap();
    assert!(!doubting.wait_up(Duration::from_millis(500)).await);
    assert!(!plain.wait_up(Duration::from_millis(1)).await);
    let missing = RedisSettings {
        redis_tls_ca: Some("no/such/file.pem".into()),
        ..trusting
    };
    let said = RedisLink::connect(&missing)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(said.contains("no/such/file.pem"), "{said}");
}

#[tokio::test]
async fn the_link_follows_the_master_of_sentinel() {
    let mut redis = RedisSentinel::start().await.unwrap();
    let mut link = linked(&redis.url()).await;
    let mut ups = link.ups();
    ups.mark_unchanged();
    let () = write(&mut link).await.unwrap();
    let old = redis.master_port().await.unwrap();
    redis.master_mut().await.unwrap().kill().unwrap();
    redis.until_promoted(old).await.unwrap();
    ups.changed().await.unwrap();
    until("the new master takes writes", async || {
        write(&mut link.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_link_follows_the_masters_of_a_cluster() {
    let mut cluster = RedisCluster::start(3, true).await.unwrap();
    let link = linked(&cluster.url().unwrap()).await;
    assert!(link.is_cluster());
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for n in 0..20 {
        let key = format!("fireside:{{{n}}}");
        let one: i64 = script
            .key(key)
            .arg(1)
            .invoke_async(&mut link.clone())
            .await
            .unwrap();
        assert_eq!(one, 1);
    }
    cluster.master_mut(0).unwrap().kill().unwrap();
    // Which may be before the link has noticed.
    until("its replica serves every slot of it", async || {
        for n in 0..20 {
            let mut get = redis::cmd("GET");
            get.arg(format!("fireside:{{{n}}}"));
            let got: redis::RedisResult<Option<i64>> = get.query_async(&mut link.clone()).await;
            if got.is_err() {
                return false;
            }
        }
        true
    })
    .await;
    until("the link is whole", async || link.is_up()).await;
    assert!(link.ping().await.is_ok());
}

#[tokio::test]
async fn the_link_misses_a_master_that_nobody_replaces() {
    let mut cluster = RedisCluster::start(3, false).await.unwrap();
    let link = linked(&cluster.url().unwrap()).await;
    cluster.master_mut(0).unwrap().kill().unwrap();
    until("a master is missed", async || !link.is_up()).await;
}

async fn write(link: &mut RedisLink) -> redis::RedisResult<()> {
    redis::cmd("SET").arg("k").arg("v").query_async(link).await
}
