//! A node that cannot reach what it works on serves whom it can, and says what it cannot.

use std::time::Duration;

use loadtest::{
    Connector, WsClient,
    cluster::{Cluster, Program},
    target::Access,
};
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::RoomId,
    protocol::{
        codec::Encoding,
        command::SessionStart,
        reply::{Appended, RoomReply},
    },
};
use tokio::time::Instant;

use crate::town::{ENCODINGS, alone, plan};

/// How soon readiness has to follow.
const SAID_WITHIN: Duration = Duration::from_secs(15);
/// How soon a session that died with its node has to be given up; a node that may still have it is waited for
/// for longer.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(1_500);
/// How soon what was missed has to be made good once the link is back.
const REPAIRED_WITHIN: Duration = Duration::from_secs(15);

/// Somebody at one node.
async fn at(cluster: &Cluster, node: usize, name: &str, encoding: Encoding) -> WsClient {
    let access = Access::new(Cluster::jwt_secret(), Cluster::service_token()).unwrap();
    let program = &cluster.nodes()[node].program;
    let connector = Connector::new(program.address())
        .token(&access.token(name).unwrap())
        .encoding(encoding);
    let mut socket = connector.connect().await.unwrap();
    socket.start(&SessionStart::default()).await.unwrap();
    socket
}

/// A channel of everybody given.
async fn channel(people: &mut [&mut WsClient]) -> RoomId {
    let body = json!({"kind": "channel", "name": "A room"});
    let made: RoomReply = people[0].command("room.create", &body).await.unwrap();
    for guest in &mut people[1..] {
        let body = json!({"room": made.room.id});
        let _: Value = guest.command("room.join", &body).await.unwrap();
    }
    made.room.id
}

/// Says it until it is taken, and answers what it was.
async fn say(socket: &mut WsClient, room: &RoomId, nonce: &str) -> Appended {
    let deadline = Instant::now() + REPAIRED_WITHIN;
    loop {
        match socket.say(room, nonce, nonce).await {
            Ok(ack) => return ack,
            Err(error) => assert!(Instant::now() < deadline, "{nonce}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the node's readiness is so; answers what it says.
async fn readiness(node: &Program, ready: bool) -> Value {
    let began = Instant::now();
    loop {
        if let Some((status, body)) = node.readiness().await
            && status.is_success() == ready
        {
            return body;
        }
        assert!(began.elapsed() < SAID_WITHIN, "readiness is not {ready}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_history_refuses_sends_and_goes_on_delivering() {
    let _alone = alone().await;
    let cluster = Cluster::start(&plan()).await.unwrap();
    let node = &cluster.nodes()[0];
    for (n, encoding) in ENCODINGS.into_iter().enumerate() {
        let mut here = at(&cluster, 0, &format!("here{n}"), encoding).await;
        let mut there = at(&cluster, 1, &format!("there{n}"), encoding).await;
        let room = channel(&mut [&mut there, &mut here]).await;
        let first = say(&mut there, &room, "before").await;
        here.entry(&room, first.seq.get()).await.unwrap();

        node.links().unwrap().mongo.cut().await;
        // What others say arrives all the same.
        for nonce in ["meanwhile", "and-on"] {
            let heard = say(&mut there, &room, nonce).await;
            here.entry(&room, heard.seq.get()).await.unwrap();
        }
        let body = json!({"room": room, "nonce": "n", "text": "n"});
        let refused = here.refused("message.send", &body).await.unwrap();
        let busy = matches!(refused.code, ErrorCode::Busy | ErrorCode::Unavailable);
        assert!(busy && refused.retry, "{refused:?}");
        readiness(&node.program, false).await;
        // Also after one of its own was refused, whose outcome it cannot look up.
        let heard = say(&mut there, &room, "still").await;
        here.entry(&room, heard.seq.get()).await.unwrap();

        node.links().unwrap().mongo.heal().await;
        readiness(&node.program, true).await;
        let after = say(&mut here, &room, "n").await;
        there.entry(&room, after.seq.get()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_redis_says_so_serves_its_own_and_repairs() {
    let _alone = alone().await;
    let cluster = Cluster::start(&plan()).await.unwrap();
    let node = &cluster.nodes()[0];
    for (n, encoding) in ENCODINGS.into_iter().enumerate() {
        let mut here = at(&cluster, 0, &format!("here{n}"), encoding).await;
        let mut beside = at(&cluster, 0, &format!("beside{n}"), encoding).await;
        let mut there = at(&cluster, 1, &format!("there{n}"), encoding).await;
        let room = channel(&mut [&mut there, &mut here, &mut beside]).await;
        let first = say(&mut there, &room, "before").await;
        here.entry(&room, first.seq.get()).await.unwrap();

        let link = node.links().unwrap().redis.as_ref().unwrap();
        link.cut().await;
        let said = readiness(&node.program, false).await;
        assert!(said.to_string().contains("bus"), "{said}");
        let own = say(&mut here, &room, "among-us").await;
        beside.entry(&room, own.seq.get()).await.unwrap();
        // On the other side of the gap it goes on as well.
        let other = say(&mut there, &room, "among-them").await;
        assert_eq!(other.seq, own.seq.next());

        let began = Instant::now();
        link.heal().await;
        here.entry(&room, other.seq.get()).await.unwrap();
        there.entry(&room, own.seq.get()).await.unwrap();
        let took = began.elapsed();
        println!("what a node without Redis missed was made good within {took:?}");
        assert!(took < REPAIRED_WITHIN, "{took:?}");
        readiness(&node.program, true).await;
        let after = say(&mut here, &room, "after").await;
        there.entry(&room, after.seq.get()).await.unwrap();
    }
}

/// Presence still counts its people there, and nobody waits for it all the same: nobody else hears them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_died_with_its_node_is_waited_for_by_nobody() {
    let _alone = alone().await;
    let mut cluster = Cluster::start(&plan()).await.unwrap();
    let access = Access::new(Cluster::jwt_secret(), Cluster::service_token()).unwrap();
    let token = access.token("bert").unwrap();
    let connect = async |node: &Program| {
        let connector = Connector::new(node.address()).token(&token);
        connector.connect().await.unwrap()
    };
    let mut socket = connect(&cluster.nodes()[0].program).await;
    let started = socket.start(&SessionStart::default()).await.unwrap();
    cluster.node_mut(0).program.process_mut().kill().unwrap();
    let mut socket = connect(&cluster.nodes()[1].program).await;
    let began = Instant::now();
    let lost = socket.resume(&started.sid, 0).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(lost.code(), Some(ErrorCode::SessionLost), "{lost}");
    println!("a session that died with its node is given up after {took:?}");
    assert!(took < GIVEN_UP_WITHIN, "{took:?}");
    // The same socket is good for another.
    let begin = SessionStart::default();
    let begun: serde_json::Value = socket.command("session.start", &begin).await.unwrap();
    assert_ne!(begun["sid"], started.sid.as_str(), "{begun}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_before_its_mongodb_waits_for_it() {
    let _alone = alone().await;
    let mut cluster = Cluster::prepare(&plan()).await.unwrap();
    for node in cluster.nodes() {
        node.links().unwrap().mongo.cut().await;
    }
    cluster.store_mut().start().await.unwrap();
    cluster.node_mut(0).program.spawn().unwrap();
    // One is told to end while it waits, and does.
    cluster.node_mut(1).program.spawn().unwrap();
    let told = readiness(&cluster.nodes()[1].program, false).await;
    assert_eq!(told["phase"], "starting", "{told}");
    let ended = cluster.node_mut(1).program.terminate().await.unwrap();
    assert!(ended.success(), "{ended}");

    let node = &cluster.nodes()[0];
    let began = Instant::now();
    loop {
        let said = readiness(&node.program, false).await;
        let reason = said["checks"]["history"]["reason"].as_str();
        if reason.is_some_and(|reason| reason.contains("MongoDB")) {
            break;
        }
        assert!(began.elapsed() < SAID_WITHIN, "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(node.program.process().log().contains("waits for MongoDB"));
    node.links().unwrap().mongo.heal().await;
    readiness(&node.program, true).await;
    let mut here = at(&cluster, 0, "here", Encoding::Json).await;
    let room = channel(&mut [&mut here]).await;
    say(&mut here, &room, "served").await;
}
