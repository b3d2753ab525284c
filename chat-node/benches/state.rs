//! The pure parts: what a room's state does with a command and an entry, what becomes of the
//! presence of several devices.

#![allow(clippy::unwrap_used, reason = "a benchmark's failure is a panic")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::{hint::black_box, sync::Arc};

use chat_node::{
    history::{MemberRecord, RoomRecord, retention::RetentionSettings},
    presence::{Availability, DeviceState, Known, Relation, merged, project},
    room::{
        Caller,
        state::{Decision, Facts, Policy, RoomState},
    },
};
use criterion::{Criterion, criterion_group, criterion_main};
use shared::{
    id::{Epoch, Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::{
        command::{Command, MessageSend},
        presence::{Activity, ActivityKind},
        room::{Entry, EntryBody, MessageBody, Role, RoomKind},
    },
};

fn user(n: usize) -> UserId {
    UserId::parse(&format!("user-{n}")).unwrap()
}

fn room(members: usize) -> RoomState {
    let members = (0..members).map(|n| MemberRecord {
        user: user(n),
        role: Role::Member,
        muted: None,
        read: Seq::new(1),
    });
    RoomState::load(RoomRecord {
        id: RoomId::parse("room").unwrap(),
        kind: RoomKind::Channel,
        name: Some("a room".into()),
        topic: None,
        slow_mode_ms: 0,
        epoch: Epoch::generate(),
        head: Seq::new(1),
        members: members.collect(),
        bans: Vec::new(),
    })
}

fn rooms(c: &mut Criterion) {
    let mut group = c.benchmark_group("room");
    let now = Timestamp::from_millis(1_763_700_000_000);
    for members in [10_usize, 1000] {
        let caller = Caller {
            user: user(members / 2),
            service: false,
        };
        let nonce = Nonce::parse("n1").unwrap();
        let text = "shall we go for the second tower now? I have the keys";
        let send = Command::MessageSend(MessageSend {
            room: RoomId::parse("room").unwrap(),
            nonce: nonce.clone(),
            text: text.into(),
            reply_to: None,
            mentions: Vec::new(),
            data: None,
            traceparent: None,
        });
        let policy = Policy {
            dm_friends_only: false,
            invite_friends_only: false,
            keep: RetentionSettings::FOREVER,
        };
        let mut state = room(members);
        group.bench_function(format!("decide a send among {members}"), |b| {
            b.iter(|| {
                let decision =
                    state.decide(&caller, black_box(&send), Facts::default(), policy, now);
                assert!(matches!(decision, Decision::Say));
            });
        });
        let mut entry = Entry {
            seq: Seq::new(1),
            user: caller.user.clone(),
            ts: now,
            body: EntryBody::Message(MessageBody {
                unreadable: false,
                nonce,
                text: text.into(),
                reply_to: None,
                mentions: Vec::new(),
                data: None,
            }),
        };
        group.bench_function(format!("apply a message among {members}"), |b| {
            b.iter(|| {
                entry.seq = state.head().next();
                state.apply(black_box(&entry));
            });
        });
    }
    group.finish();
}

fn device(availability: Availability, since: i64) -> DeviceState {
    DeviceState {
        availability,
        activity: Some(Arc::new(Activity {
            kind: ActivityKind::Game,
            game: "citadel".into(),
            state: Some("In the lobby".into()),
            details: None,
            party: None,
            joinable: true,
            since: Some(Timestamp::from_millis(since)),
        })),
    }
}

fn presence(c: &mut Criterion) {
    let mut group = c.benchmark_group("presence");
    let devices = [
        device(Availability::Away, 3),
        device(Availability::Online, 2),
        device(Availability::Busy, 1),
    ];
    group.bench_function("merge 3 devices", |b| {
        b.iter(|| merged(black_box(&devices)).unwrap());
    });
    let known = Known::Is {
        state: merged(&devices),
        last_seen: None,
    };
    for (relation, name) in [
        (Relation::Open, "a friend"),
        (Relation::Hidden, "a stranger"),
    ] {
        group.bench_function(format!("project for {name}"), |b| {
            b.iter(|| project(relation, black_box(&known)));
        });
    }
    group.finish();
}

criterion_group!(benches, rooms, presence);
criterion_main!(benches);
