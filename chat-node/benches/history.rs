//! Group commits to SQLite, each with its fsync: on a real file, so the disk has its say.

#![allow(clippy::unwrap_used, reason = "a benchmark's failure is a panic")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::Duration;

use chat_node::history::{
    History as _, NewEntry,
    sqlite::{SqliteHistory, SqliteSettings},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{
        EntryBody, MemberAction, MemberChange, MessageBody, Role, RoomChange, RoomKind,
    },
};

/// A room of one member, and where its log stands.
struct Log {
    room: RoomId,
    head: Seq,
    said: u64,
}

impl Log {
    async fn begin(history: &SqliteHistory, name: &str) -> Self {
        let room = RoomId::parse(name).unwrap();
        let created = RoomChange {
            created: Some(RoomKind::Group),
            name: Some(name.to_owned()),
            ..RoomChange::default()
        };
        let joined = MemberChange {
            action: MemberAction::Join,
            member: user(),
            role: Some(Role::Owner),
            until: None,
        };
        let entries = vec![
            entry(EntryBody::Room(created)),
            entry(EntryBody::Member(joined)),
        ];
        let outcomes = history.append(&room, Seq::ZERO, entries).await.unwrap();
        Self {
            room,
            head: outcomes.last().unwrap().seq,
            said: 0,
        }
    }

    async fn say(&mut self, history: &SqliteHistory, count: usize) {
        let entries = (0..count).map(|_| {
            self.said += 1;
            entry(EntryBody::Message(MessageBody {
                unreadable: false,
                nonce: Nonce::parse(&format!("n{}", self.said)).unwrap(),
                text: format!("shall we go for tower {} now? I have the keys", self.said),
                reply_to: None,
                mentions: Vec::new(),
                data: None,
            }))
        });
        let entries = entries.collect();
        let outcomes = history
            .append(&self.room, self.head, entries)
            .await
            .unwrap();
        self.head = outcomes.last().unwrap().seq;
    }
}

fn user() -> UserId {
    UserId::parse("somebody").unwrap()
}

fn entry(body: EntryBody) -> NewEntry {
    NewEntry {
        user: user(),
        ts: Timestamp::now(),
        body,
    }
}

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let history = SqliteHistory::open(&path, &SqliteSettings::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut group = c.benchmark_group("append");
    group
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    for count in [1_usize, 16, 256] {
        let mut log = runtime.block_on(Log::begin(&history, &format!("one-{count}")));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} to one room"), |b| {
            b.iter(|| runtime.block_on(log.say(&history, count)));
        });
    }
    // The writer puts what waits into one transaction, whatever the room.
    for count in [16_usize, 256] {
        let mut logs: Vec<Log> = (0..count)
            .map(|n| runtime.block_on(Log::begin(&history, &format!("each-{count}-{n}"))))
            .collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("1 to each of {count} rooms"), |b| {
            b.iter(|| {
                runtime.block_on(join_all(logs.iter_mut().map(|log| log.say(&history, 1))));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
