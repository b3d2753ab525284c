//! What a message between nodes costs: made and handed over, and on its way over a real Redis.

#![allow(clippy::unwrap_used, reason = "a benchmark's failure is a panic")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use chat_node::{
    bridge::BusMessage,
    bus::{Bus, BusEvent, BusReceiver, LocalBus, Topic, redis::RedisBus},
    redis::RedisSettings,
    room::RoomNews,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use loadtest::cluster::RedisServer;
use shared::{
    id::{NodeId, RoomId},
    protocol::room::Entry,
    settings::Secret,
};

/// As many as a busy room's batch, and what the outbound queue takes at once.
const BURST: u64 = 512;

fn message() -> BusMessage {
    let entry: Entry = serde_json::from_value(serde_json::json!({
        "seq": 4_711, "user": "u-0123456789", "ts": 1_700_000_000_000_u64, "kind": "message",
        "nonce": "01HZXW3V5N8QK2D7M4T6R9B1CE",
        "text": "Shall we meet at the old bridge at nine, and then go on from there together?"
    }))
    .unwrap();
    BusMessage::Room(RoomNews::Entries {
        room: RoomId::parse("r-0123456789").unwrap(),
        users: None,
        entries: vec![entry],
        followed: Vec::new(),
    })
}

fn topic() -> Topic {
    Topic::Room(RoomId::parse("r-0123456789").unwrap())
}

fn encode(c: &mut Criterion) {
    let message = message();
    c.bench_function("bus/encode", |b| {
        b.iter(|| black_box(&message).encode().unwrap());
    });
    let payload = message.encode().unwrap();
    c.bench_function("bus/decode", |b| {
        b.iter(|| BusMessage::decode(black_box(&payload)).unwrap());
    });
}

fn local(c: &mut Criterion) {
    let runtime = runtime();
    let hub = LocalBus::new();
    let (a, _a) = hub.node(NodeId::parse("a").unwrap(), 16);
    let (b, mut heard) = hub.node(NodeId::parse("b").unwrap(), 16);
    runtime.block_on(b.subscribe(&[topic()])).unwrap();
    let payload = message().encode().unwrap();
    c.bench_function("bus/local", |bench| {
        bench.iter(|| {
            a.publish(topic(), payload.clone()).unwrap();
            heard.try_recv().unwrap()
        });
    });
}

/// Published by one node and heard by another, 512 at a time, and one alone (its round trip).
fn redis(c: &mut Criterion) {
    let runtime = runtime();
    let (_server, a, b, mut heard) = runtime.block_on(async {
        let server = RedisServer::start().await.unwrap();
        let settings = RedisSettings {
            redis_url: Some(Secret::new(server.url().to_owned())),
            ..RedisSettings::default()
        };
        let (a, _) = RedisBus::connect(&settings, NodeId::parse("a").unwrap(), 16).unwrap();
        let (b, heard) = RedisBus::connect(&settings, NodeId::parse("b").unwrap(), 4096).unwrap();
        for bus in [&a, &b] {
            while bus.ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        b.subscribe(&[topic()]).await.unwrap();
        (server, a, b, heard)
    });
    let payload = message().encode().unwrap();
    let mut group = c.benchmark_group("bus/redis");
    for burst in [1, BURST] {
        group.throughput(Throughput::Elements(burst));
        group.bench_function(format!("{burst}"), |bench| {
            bench.iter(|| runtime.block_on(round(&a, &mut heard, &payload, burst)));
        });
    }
    group.finish();
    drop(b);
}

async fn round(bus: &RedisBus, heard: &mut BusReceiver, payload: &Bytes, burst: u64) {
    for _ in 0..burst {
        bus.publish(topic(), payload.clone()).unwrap();
    }
    for _ in 0..burst {
        let event = heard.recv().await.unwrap();
        assert!(matches!(event, BusEvent::Message(..)));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

criterion_group!(benches, encode, local, redis);
criterion_main!(benches);
