//! Who is shown on line while nodes die and Redis forgets.

use std::time::Duration;

use loadtest::{Connector, Seen, WsClient, accounts::Account, cluster::Cluster};
use serde_json::json;
use shared::{
    id::UserId,
    protocol::{
        command::SessionStart,
        presence::Status,
        reply::{Empty, Started},
    },
};
use tokio::time::Instant;

use crate::town::{ENCODINGS, alone, plan};

/// How long somebody may be shown on line whose node died.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// How long presence may take to be right after Redis came back empty.
const RIGHT_WITHIN: Duration = Duration::from_secs(10);

/// Two friends.
async fn friends(cluster: &Cluster, name: &str) -> (Account, Account) {
    let rest = cluster.rest();
    let mut both = Vec::new();
    for role in ["a", "b"] {
        let (name, email) = (
            format!("{name}-{role}"),
            format!("{name}-{role}@example.org"),
        );
        both.push(rest.register(&name, &email).await.unwrap());
    }
    let (b, a) = (both.pop().unwrap(), both.pop().unwrap());
    rest.befriend(&a, &b).await.unwrap();
    (a, b)
}

/// A session of somebody at a node.
async fn at(cluster: &Cluster, node: usize, who: &Account, n: usize) -> (WsClient, Started) {
    let program = &cluster.nodes()[node].program;
    let connector = Connector::new(program.address())
        .token(&who.access_token)
        .encoding(ENCODINGS[n % 2]);
    let mut socket = connector.connect().await.unwrap();
    let started = socket.start(&SessionStart::default()).await.unwrap();
    (socket, started)
}

/// The next state that somebody is shown in, within a time.
async fn shown(viewer: &mut WsClient, who: &UserId, within: Duration) -> Option<String> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let Ok(seen) = tokio::time::timeout(left, viewer.next()).await else {
            return None;
        };
        match seen {
            Ok(Seen::Event(e)) if e.name == "presence" && e.d["user"] == who.as_str() => {
                return e.d["status"].as_str().map(str::to_owned);
            }
            Ok(_) | Err(loadtest::WireError::Silent(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until somebody is shown so; answers what was shown before.
async fn until(viewer: &mut WsClient, who: &UserId, status: &str, within: Duration) -> Vec<String> {
    let deadline = Instant::now() + within;
    let mut before = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match shown(viewer, who, left).await {
            Some(now) if now == status => return before,
            Some(other) => before.push(other),
            None => panic!("not shown {status} within {within:?}, but {before:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_shown_on_line_whose_node_died() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(&plan()).await.unwrap();
    let mut watching = Vec::new();
    for n in 0..4 {
        let (viewer, friend) = friends(&cluster, &format!("p{n}")).await;
        let (mut socket, _) = at(&cluster, 1, &viewer, n).await;
        let (there, _) = at(&cluster, 0, &friend, n).await;
        until(&mut socket, &friend.id, "online", RIGHT_WITHIN).await;
        watching.push((viewer, socket, friend.id, there));
    }
    let node = cluster.node_mut(0).program.process_mut();
    node.kill().unwrap();
    let began = Instant::now();
    for (n, (viewer, socket, friend, _)) in watching.iter_mut().enumerate() {
        let left = GONE_WITHIN.saturating_sub(began.elapsed());
        until(socket, friend, "offline", left).await;
        // And to whoever comes now.
        let (_, started) = at(&cluster, 2, viewer, n).await;
        assert_eq!(started.friends[0].presence.status, Status::Offline);
    }
    println!(
        "all of a dead node shown offline after {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_right_after_redis_came_back_empty() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(&plan()).await.unwrap();
    let mut pairs = Vec::new();
    for n in 0..4 {
        let (viewer, friend) = friends(&cluster, &format!("p{n}")).await;
        let (mut socket, _) = at(&cluster, n % 3, &viewer, n).await;
        let (mut there, _) = at(&cluster, (n + 1) % 3, &friend, n).await;
        until(&mut socket, &friend.id, "online", RIGHT_WITHIN).await;
        if n % 2 == 1 {
            let body = json!({"status": "busy"});
            let _: Empty = there.command("presence.set", &body).await.unwrap();
            until(&mut socket, &friend.id, "busy", RIGHT_WITHIN).await;
        }
        pairs.push((viewer, socket, friend, there));
    }
    let redis = cluster.redis_mut().unwrap();
    redis.kill().unwrap();
    redis.restart_empty().await.unwrap();
    let began = Instant::now();
    for (n, (viewer, _, friend, _)) in pairs.iter().enumerate() {
        let right = if n % 2 == 1 {
            Status::Busy
        } else {
            Status::Online
        };
        loop {
            // Asked at the node that serves neither of them.
            let (_, started) = at(&cluster, (n + 2) % 3, viewer, n).await;
            let seen = started.friends[0].presence.status;
            if seen == right {
                break;
            }
            let late = began.elapsed() > RIGHT_WITHIN;
            assert!(!late, "{} is shown {seen:?}, not {right:?}", friend.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    println!(
        "presence right {:?} after Redis came back empty",
        began.elapsed()
    );
    // Nobody was shown as gone who was there all the time, and news go on.
    for (_, socket, friend, there) in &mut pairs {
        let body = json!({"status": "away"});
        let _: Empty = there.command("presence.set", &body).await.unwrap();
        let before = until(socket, &friend.id, "away", RIGHT_WITHIN).await;
        assert!(!before.contains(&"offline".to_owned()), "{before:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_to_another_node_within_the_grace_is_not_seen() {
    let _alone = alone().await;
    let cluster = Cluster::start(&plan()).await.unwrap();
    for (n, _) in ENCODINGS.iter().enumerate() {
        let (viewer, friend) = friends(&cluster, &format!("p{n}")).await;
        let (mut socket, _) = at(&cluster, 2, &viewer, n).await;
        let (there, _) = at(&cluster, 0, &friend, n).await;
        until(&mut socket, &friend.id, "online", RIGHT_WITHIN).await;
        drop(there);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (mut elsewhere, _) = at(&cluster, 1, &friend, n).await;
        // Longer than the grace of the node that was left.
        let seen = shown(&mut socket, &friend.id, Duration::from_secs(14)).await;
        assert!(
            seen.is_none() || seen.as_deref() == Some("online"),
            "{seen:?}"
        );
        let body = json!({"status": "away"});
        let _: Empty = elsewhere.command("presence.set", &body).await.unwrap();
        until(&mut socket, &friend.id, "away", RIGHT_WITHIN).await;
    }
}
