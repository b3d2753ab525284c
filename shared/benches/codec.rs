//! Commands in, events out, in both encodings: what every message pays.

#![allow(clippy::unwrap_used, reason = "a benchmark's failure is a panic")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::{
        codec::{Encoding, Prefix, SharedEvent, decode_commands, encode_ok},
        command::Command,
        event::{Event, RoomEntry},
        presence::{Activity, ActivityKind, Status},
        reply::Appended,
        room::{Entry, EntryBody, MessageBody},
    },
};

const ENCODINGS: [(Encoding, &str); 2] = [(Encoding::Json, "json"), (Encoding::MsgPack, "msgpack")];
const ROOM: &str = "01JZ8Q4M2V7N5T3R1P9K6H4G2F";
const USER: &str = "01JZ8Q4M2V7N5T3R1P9K6H4G2A";

fn commands() -> [(&'static str, serde_json::Value); 3] {
    let send = json!({"id": 41, "op": "message.send", "d": {
        "room": ROOM, "nonce": "n-41", "text": "shall we go for the second tower now? I have the keys",
    }});
    let typing = json!({"op": "typing", "d": {"room": ROOM, "on": true}});
    let presence = json!({"id": 42, "op": "presence.set", "d": {
        "status": "busy",
        "activity": {"kind": "game", "game": "citadel", "state": "In the lobby", "joinable": true},
    }});
    [("send", send), ("typing", typing), ("presence", presence)]
}

fn message() -> Event {
    Event::MessageNew(RoomEntry {
        room: RoomId::parse(ROOM).unwrap(),
        entry: Entry {
            seq: Seq::new(1234),
            user: UserId::parse(USER).unwrap(),
            ts: Timestamp::from_millis(1_763_700_000_000),
            body: EntryBody::Message(MessageBody {
                unreadable: false,
                nonce: Nonce::parse("n-41").unwrap(),
                text: "shall we go for the second tower now? I have the keys".into(),
                reply_to: None,
                mentions: Vec::new(),
                data: None,
            }),
        },
    })
}

fn presence() -> Event {
    Event::Presence {
        user: UserId::parse(USER).unwrap(),
        status: Status::Busy,
        activity: Some(Activity {
            kind: ActivityKind::Game,
            game: "citadel".into(),
            state: Some("In the lobby".into()),
            details: None,
            party: None,
            joinable: true,
            since: Some(Timestamp::from_millis(1_763_700_000_000)),
        }),
        last_seen: None,
    }
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, command) in commands() {
        for (encoding, of) in ENCODINGS {
            let frame = encoding.encode(&command).unwrap();
            group.throughput(Throughput::Bytes(frame.len() as u64));
            group.bench_function(format!("{name}/{of}"), |b| {
                b.iter(|| {
                    let cut = decode_commands(encoding, black_box(&frame)).unwrap();
                    Command::parse(&cut[0].op, &cut[0].body).unwrap()
                });
            });
        }
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (name, event) in [("message", message()), ("presence", presence())] {
        for (encoding, of) in ENCODINGS {
            let bytes = encoding.encode(&event).unwrap();
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(format!("{name}/{of}"), |b| {
                b.iter_batched(
                    || SharedEvent::new(event.clone()),
                    |shared| shared.tail(encoding),
                    criterion::BatchSize::SmallInput,
                );
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    let appended = Appended {
        seq: Seq::new(1234),
        ts: Timestamp::from_millis(1_763_700_000_000),
        dup: false,
    };
    for (encoding, of) in ENCODINGS {
        group.bench_function(format!("ok/{of}"), |b| {
            b.iter(|| encode_ok(encoding, 41, black_box(&appended)).unwrap());
        });
        group.bench_function(format!("prefix/{of}"), |b| {
            b.iter(|| Prefix::new(encoding, Some(black_box(123_456))));
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
