//! A channel as large as channels get.

use std::time::{Duration, Instant};

use loadtest::{
    Seen, WsClient,
    raw::{RawFrame, RawSocket},
};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::{RoomId, Seq},
    protocol::{
        codec::Encoding,
        reply::{MembersReply, RoomReply, Started, Synced},
    },
};
use tokio::sync::mpsc;

use crate::app::{ENCODINGS, TestApp};

const MEMBERS: usize = 100_000;
/// Of whom so many are here.
const ONLINE: usize = 400;
/// Brought in by one request.
const AT_ONCE: usize = 500;

fn member(n: usize) -> String {
    format!("m{n:06}")
}

/// Brings people in; answers how many came in and how many were in already.
async fn bring(app: &TestApp, room: &RoomId, users: &[String]) -> (u64, u64, Vec<Value>) {
    let path = format!("/v1/server/rooms/{room}/members");
    let body = json!({"users": users});
    let service = app.service();
    let call = app
        .rest
        .ok(Method::POST, &path, Some(&body), Some(&service));
    let brought = call.await.unwrap();
    let count = |key: &str| brought[key].as_u64().unwrap();
    let refused = brought["refused"].as_array().unwrap().clone();
    (count("added"), count("present"), refused)
}

async fn channel_of_all(app: &TestApp) -> RoomId {
    let body = json!({"kind": "channel", "name": "Everybody", "as": member(0)});
    let service = app.service();
    let path = "/v1/server/rooms";
    let made = app
        .rest
        .ok(Method::POST, path, Some(&body), Some(&service))
        .await
        .unwrap();
    let room = serde_json::from_value(made["room"]["id"].clone()).unwrap();
    let people: Vec<String> = (1..MEMBERS).map(member).collect();
    for some in people.chunks(AT_ONCE) {
        let (added, present, refused) = bring(app, &room, some).await;
        assert_eq!((added as usize, present), (some.len(), 0), "{refused:?}");
    }
    room
}

/// What members who are here hear: each message under its number, from a task of each.
async fn audience(app: &TestApp) -> mpsc::UnboundedReceiver<usize> {
    let (heard, hears) = mpsc::unbounded_channel();
    for n in 1..ONLINE {
        let encoding = ENCODINGS[n % 2];
        let token = app.stranger(&member(n * (MEMBERS / ONLINE)));
        let mut socket = RawSocket::upgrade(&app.address, encoding, &token)
            .await
            .unwrap();
        let start = json!({"id": 1, "op": "session.start", "d": {}});
        let frame = RawFrame::new(1 + (n % 2) as u8, encoding.encode(&start).unwrap());
        socket.frame(&frame).await.unwrap();
        while !contains(&socket.read().await.unwrap().unwrap().payload, b"limits") {}
        let heard = heard.clone();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = socket.read().await {
                for _ in 0..count(&frame.payload, b"to everybody") {
                    if heard.send(n).is_err() {
                        return;
                    }
                }
            }
        });
    }
    hears
}

async fn everybody_hears(hears: &mut mpsc::UnboundedReceiver<usize>) {
    let all = async {
        for _ in 1..ONLINE {
            hears.recv().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(15), all)
        .await
        .expect("a message did not reach everybody who is here");
}

async fn say(socket: &mut WsClient, room: &RoomId, nonce: &str) -> (Seq, Duration) {
    let began = Instant::now();
    let ack = socket.say(room, nonce, "to everybody").await.unwrap();
    (ack.seq, began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_members_are_a_channel_like_any_other() {
    let mut app = TestApp::with(&[
        ("FIRESIDE_LIMIT_SENDS", "1000/s"),
        ("FIRESIDE_LIMIT_COMMANDS", "1000/s"),
    ])
    .await;
    let memory = app.rss();
    let began = Instant::now();
    let room = channel_of_all(&app).await;
    let filled = began.elapsed();
    let held = app.rss().saturating_sub(memory);

    // Who is in is in; there is no room for more, by whatever door.
    let (added, present, _) = bring(&app, &room, &[member(7), member(8)]).await;
    assert_eq!((added, present), (0, 2));
    let (added, _, refused) = bring(&app, &room, &["late".into(), member(9)]).await;
    assert_eq!(added, 0);
    assert_eq!(refused, [json!({"user": "late", "code": "conflict"})]);
    for encoding in ENCODINGS {
        let (mut late, started) = app.session(&app.stranger("late"), encoding).await;
        assert!(started.rooms.is_empty());
        let full = late.refused("room.join", &json!({"room": room})).await;
        assert_eq!(full.unwrap().code, ErrorCode::Conflict);
        // Who is not in may not know of it.
        for (op, body) in [
            ("room.get", json!({"room": room})),
            ("room.members", json!({"room": room})),
            ("room.sync", json!({"room": room, "after": 0})),
            (
                "message.send",
                json!({"room": room, "nonce": "n", "text": "hi"}),
            ),
            ("typing", json!({"room": room, "on": true})),
            ("read", json!({"room": room, "seq": 1})),
        ] {
            let refused = late.refused(op, &body).await.unwrap();
            assert_eq!(refused.code, ErrorCode::NotFound, "{op}");
        }
    }

    let began = Instant::now();
    let mut hears = audience(&app).await;
    let came = began.elapsed();
    let (mut owner, started): (WsClient, Started) =
        app.session(&app.stranger(&member(0)), Encoding::Json).await;
    let view = &started.rooms[0];
    assert_eq!((view.members as usize, view.unread), (MEMBERS, 0));
    assert_eq!(view.head.get() as usize, MEMBERS + 1);
    let mut said = Vec::new();
    for n in 0..20 {
        let began = Instant::now();
        let (seq, acked) = say(&mut owner, &room, &format!("n{n}")).await;
        everybody_hears(&mut hears).await;
        assert_eq!(seq.get(), view.head.get() + n + 1);
        said.push((acked, began.elapsed()));
        owner.until_pong().await.unwrap();
    }
    said.sort();
    let (acked, heard) = said[said.len() / 2];
    let here = app.rss().saturating_sub(memory);

    // Its members come in pages.
    let mut after: Option<Value> = None;
    for page in 0..3 {
        let body = json!({"room": room, "after": after, "limit": 500});
        let members: MembersReply = owner.command("room.members", &body).await.unwrap();
        let ids: Vec<String> = members.members.iter().map(|m| m.id.to_string()).collect();
        let expected: Vec<String> = (page * 500..(page + 1) * 500).map(member).collect();
        assert_eq!(ids, expected);
        after = Some(json!(members.next.unwrap()));
    }
    // Too many to watch.
    let watch = json!({"room": room, "on": true});
    let refused = owner.refused("room.watch", &watch).await.unwrap();
    assert_eq!(refused.code, ErrorCode::Conflict);

    // One goes, another comes.
    let mut leaver = app
        .session(&app.stranger(&member(1)), Encoding::MsgPack)
        .await
        .0;
    let _: Value = leaver
        .command("room.leave", &json!({"room": room}))
        .await
        .unwrap();
    let (mut late, _) = app.session(&app.stranger("late"), Encoding::Json).await;
    let joined: RoomReply = late
        .command("room.join", &json!({"room": room}))
        .await
        .unwrap();
    assert_eq!(joined.room.members as usize, MEMBERS);

    // The first word after a fall: the room is read afresh.
    drop(hears);
    app.kill();
    app.boot().await;
    let (mut owner, started) = app.session(&app.stranger(&member(0)), Encoding::Json).await;
    assert_eq!(started.rooms[0].members as usize, MEMBERS);
    let (mut listener, _) = app
        .session(&app.stranger(&member(77)), Encoding::MsgPack)
        .await;
    let (seq, woken) = say(&mut owner, &room, "after-the-fall").await;
    listener.entry(&room, seq.get()).await.unwrap();
    let sync = json!({"room": room, "after": seq.get() - 3, "limit": 10});
    let log: Synced = listener.command("room.sync", &sync).await.unwrap();
    assert_eq!((log.entries.len(), log.head), (3, seq));
    let seen = listener.until_pong().await.unwrap();
    assert!(!seen.iter().any(|s| matches!(s, Seen::Closed(_))));

    println!(
        "{MEMBERS} members brought in in {filled:?}, {} MiB; {ONLINE} came in {came:?}, {} MiB; a send \
         is acknowledged in {acked:?} and with everybody here in {heard:?}; the first after a restart in {woken:?}",
        held >> 20,
        here >> 20,
    );
    assert!(held < 160 << 20 && here < 224 << 20, "{held} {here}");
    // Orders of magnitude, for a debug build on a busy machine: what is quadratic takes minutes.
    assert!(acked < Duration::from_secs(1) && heard < Duration::from_secs(3));
    assert!(woken < Duration::from_secs(10), "{woken:?}");
    app.is_well().await;
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    count(haystack, needle) > 0
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .filter(|w| *w == needle)
        .count()
}
