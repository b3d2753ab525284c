//! What MongoDB takes by itself to insert documents such as history's, and the same through history. The server is the
//! stand-in, or the one that `MONGODB_URI` names; of the stand-in its CPU time is printed.

#![allow(clippy::unwrap_used, reason = "a benchmark's failure is a panic")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::Duration;

use chat_node::history::{
    History as _, NewEntry,
    mongodb::{MongoHistory, MongoSettings},
};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use futures_util::future::join_all;
use loadtest::cluster::{MongoServer, ServerProcess};
use mongodb::{
    Client, Collection,
    bson::{Document, doc, oid::ObjectId},
    options::{Acknowledgment, WriteConcern},
};
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, MessageBody, RoomChange, RoomKind},
    settings::Secret,
};
use tokio::runtime::{Builder, Runtime};

const BATCHES: [usize; 5] = [1, 10, 50, 200, 1_000];

/// Runs one function, and prints what it cost the server beside what it took.
fn one(
    group: &mut BenchmarkGroup<'_, WallTime>,
    server: &MongoServer,
    name: &str,
    documents: usize,
    mut insert: impl FnMut(),
) {
    let process = server.process().ok().and_then(ServerProcess::usage);
    let cpu = || process.map(|process| process.cpu().unwrap());
    let before = cpu();
    let mut count = 0;
    group.throughput(Throughput::Elements(documents as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            insert();
            count += documents;
        });
    });
    if let (Some(before), Some(after)) = (before, cpu()) {
        let took = after.since(before).total().as_secs_f64() * 1e6 / count.max(1) as f64;
        println!("{name}: {took:.1} µs of the server's CPU time a document");
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// As `history/mongodb/schema.rs` makes it.
async fn entries(uri: &str) -> Collection<Document> {
    let client = Client::with_uri_str(uri).await.unwrap();
    let entries = client
        .default_database()
        .unwrap()
        .collection::<Document>("entries");
    let index = |keys, unique, sparse| {
        doc! { "key": keys, "name": ObjectId::new().to_hex(), "unique": unique, "sparse": sparse }
    };
    let indexes = vec![
        index(doc! { "r": 1, "s": 1 }, true, false),
        index(doc! { "r": 1, "u": 1, "n": 1 }, true, false),
        index(doc! { "f": 1 }, false, true),
        index(doc! { "j": 1 }, false, true),
        index(doc! { "e": 1 }, false, true),
    ];
    let create = doc! { "createIndexes": "entries", "indexes": indexes };
    let db = client.default_database().unwrap();
    db.run_command(create).await.unwrap();
    entries
}

fn entry(key: ObjectId, seq: i64) -> Document {
    doc! {
        "_id": format!("{}{seq:016x}", key.to_hex()),
        "r": key, "s": seq, "u": "somebody", "t": 1_700_000_000_000_i64 + seq,
        "n": format!("01HZXW3V5N8QK2D7{seq:010}"), "a": ObjectId::new(), "p": seq, "l": seq,
        "b": body(seq), "k": true,
    }
}

fn body(seq: i64) -> String {
    format!(
        "{{\"kind\":\"message\",\"text\":\"shall we go for tower {seq} now? I have the keys\"}}"
    )
}

fn alone(c: &mut Criterion) {
    let runtime = runtime();
    let server = runtime.block_on(MongoServer::shared()).unwrap();
    let mut group = c.benchmark_group("mongodb alone");
    group
        .measurement_time(Duration::from_secs(3))
        .sample_size(10);
    for batch in BATCHES {
        let uri = server.uri_of(&format!("alone-{}", ObjectId::new().to_hex()));
        let entries = runtime.block_on(entries(&uri));
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build();
        let keys: Vec<ObjectId> = (0..batch.min(100)).map(|_| ObjectId::new()).collect();
        let each = batch.div_ceil(keys.len());
        let mut seq = 0;
        one(
            &mut group,
            server,
            &format!("{batch} in one insert"),
            batch,
            || {
                let of = |key: &ObjectId| {
                    (1..=each as i64)
                        .map(|n| entry(*key, seq + n))
                        .collect::<Vec<_>>()
                };
                let docs: Vec<Document> = keys.iter().flat_map(of).collect();
                seq += each as i64;
                let insert = entries.insert_many(docs).ordered(true);
                runtime
                    .block_on(async { insert.write_concern(durable.clone()).await })
                    .unwrap();
            },
        );
    }
    group.finish();
}

fn append(c: &mut Criterion) {
    let runtime = runtime();
    let server = runtime.block_on(MongoServer::shared()).unwrap();
    let settings = MongoSettings {
        mongodb_uri: Some(Secret::new(
            server.uri_of(&format!("history-{}", ObjectId::new().to_hex())),
        )),
        ..MongoSettings::default()
    };
    let history = runtime.block_on(MongoHistory::open(&settings)).unwrap();
    let user = UserId::parse("somebody").unwrap();
    let new = |body| NewEntry {
        user: user.clone(),
        ts: Timestamp::now(),
        body,
    };
    let mut group = c.benchmark_group("history in mongodb");
    group
        .measurement_time(Duration::from_secs(3))
        .sample_size(10);
    for count in [1, 16, 256] {
        let rooms: Vec<RoomId> = (0..count)
            .map(|n| RoomId::parse(&format!("r-{count}-{n}")).unwrap())
            .collect();
        let created = || {
            EntryBody::Room(RoomChange {
                created: Some(RoomKind::Group),
                ..RoomChange::default()
            })
        };
        for room in &rooms {
            let append = history.append(room, Seq::ZERO, vec![new(created())]);
            runtime.block_on(append).unwrap();
        }
        let mut head = Seq::FIRST;
        one(
            &mut group,
            server,
            &format!("1 to each of {count} rooms"),
            count,
            || {
                let say = |room| {
                    let said = new(EntryBody::Message(MessageBody {
                        unreadable: false,
                        nonce: Nonce::generate(),
                        text: "shall we go for the tower now? I have the keys".into(),
                        reply_to: None,
                        mentions: Vec::new(),
                        data: None,
                    }));
                    history.append(room, head, vec![said])
                };
                for appended in runtime.block_on(join_all(rooms.iter().map(say))) {
                    appended.unwrap();
                }
                head = head.next();
            },
        );
    }
    group.finish();
}

criterion_group!(benches, alone, append);
criterion_main!(benches);
