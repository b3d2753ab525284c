//! The overload ladder, reached as it is in life: by a disk that stands still, and by more load than
//! small queues hold.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use loadtest::{
    ConnectError, Device, Recorder, Seen, WsClient, check, drive::read_logs, record::Happened,
};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    id::{RoomId, Seq},
    protocol::{
        codec::Encoding,
        command::SessionStart,
        reply::{Appended, Empty, ReadReply, RoomReply, Synced},
        room::EntryBody,
    },
};
use tokio::task::JoinSet;

use crate::{
    app::{ENCODINGS, TestApp, make_room, open_dm},
    resume::open_rooms,
};

/// How many writes may wait; the rungs are at 20, 26, 32 and 38 of them.
const QUEUE: &str = "40";
/// Rooms to write to: one append of each waits at a time.
const ROOMS: usize = 45;

/// Another process that holds the lock of the history's file: the server can read, and what it
/// writes waits, as on a disk that stands still. The server waits 5 s for it.
struct Stall(Connection);

impl Stall {
    fn of(app: &TestApp) -> Self {
        let conn = Connection::open(app.data_dir().join("history.db")).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(conn)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

async fn rung(app: &TestApp) -> u8 {
    app.metric("fireside_overload_rung").await.unwrap_or(0.0) as u8
}

/// Sends to one room after the other until the ladder stands on a rung; the ids of the sends.
async fn climb(
    app: &TestApp,
    sender: &mut WsClient,
    rooms: &[RoomId],
    to: u8,
) -> Vec<(u64, RoomId, String)> {
    let mut sent = Vec::new();
    for room in rooms {
        let nonce = format!("rung{to}");
        let body = json!({"room": room, "nonce": nonce, "text": "waits"});
        let id = sender.post("message.send", &body).await.unwrap();
        // By then the command is with its room, or refused: the queue is full since.
        let before = sender.until_pong().await.unwrap();
        let refused = |s: &Seen| matches!(s, Seen::Reply { id: of, .. } if *of == Some(id));
        if !before.iter().any(refused) {
            sent.push((id, room.clone(), nonce));
        }
        if rung(app).await >= to {
            break;
        }
    }
    assert_eq!(rung(app).await, to, "after {} sends", sent.len());
    sent
}

/// What `socket` was told, once everything posted to it before has reached it.
async fn told(socket: &mut WsClient, room: &RoomId) -> Vec<Seen> {
    let id = socket.post("room.get", &json!({"room": room})).await;
    let id = id.unwrap();
    let mut seen = Vec::new();
    loop {
        match socket.next().await.unwrap() {
            Seen::Reply { id: of, .. } if of == Some(id) => break,
            other => seen.push(other),
        }
    }
    // States go out behind what is reliable.
    seen.extend(socket.until_pong().await.unwrap());
    seen
}

fn names(seen: &[Seen], name: &str) -> usize {
    let of = |s: &&Seen| matches!(s, Seen::Event(e) if e.name == name);
    seen.iter().filter(of).count()
}

async fn on_the_ground(app: &TestApp) {
    let began = Instant::now();
    while rung(app).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "stuck on a rung");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One after the other: typing, presence, receipts, sends; each comes back, and what was
/// acknowledged stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matters_least_is_shed_first_and_nothing_acknowledged_is_lost() {
    let app = TestApp::with(&[
        ("FIRESIDE_HISTORY_QUEUE", QUEUE),
        ("FIRESIDE_LIMIT_SENDS", "10000/s"),
        ("FIRESIDE_LIMIT_COMMANDS", "10000/s"),
        ("FIRESIDE_LIMIT_PRESENCE", "1000/s"),
        ("FIRESIDE_PRESENCE_DAMPING", "50ms"),
    ])
    .await;
    let (alice, bob) = app.friends().await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let (mut phone, _) = app.session(&alice.access_token, Encoding::MsgPack).await;
    let (mut b, _) = app.session(&bob.access_token, Encoding::MsgPack).await;
    let dm = open_dm(&mut a, &bob.id).await;
    let mut seqs: Vec<Seq> = Vec::new();
    for n in 0..8 {
        seqs.push(b.say(&dm, &format!("m{n}"), "read me").await.unwrap().seq);
    }
    let (mut sender, _) = app
        .session(&app.stranger("filler"), Encoding::MsgPack)
        .await;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(make_room(&mut sender, "channel", &[]).await.id);
    }
    let mut acked: BTreeSet<(RoomId, String, Seq)> = BTreeSet::new();
    for step in 1..=4_u8 {
        told(&mut b, &dm).await;
        // A socket from before: later nobody gets this far.
        let mut early = app
            .connector(&bob.access_token, Encoding::Json)
            .connect()
            .await
            .unwrap();
        early.hello().await.unwrap();
        let stall = Stall::of(&app);
        let sent = climb(&app, &mut sender, &rooms, step).await;

        // Typing goes first.
        let body = json!({"room": dm, "on": true});
        let _: Empty = a.command("typing", &body).await.unwrap();
        let seen = told(&mut b, &dm).await;
        assert_eq!(names(&seen, "typing"), 0, "rung {step}: {seen:?}");

        // Then presence, which is told later.
        let status = ["away", "busy", "online", "away"][usize::from(step) - 1];
        let shed = app.metric("fireside_presence_shed_total").await;
        let set = json!({"status": status});
        for device in [&mut a, &mut phone] {
            let _: Empty = device.command("presence.set", &set).await.unwrap();
        }
        let shown =
            |e: &loadtest::client::SeenEvent| e.name == "presence" && e.d["status"] == status;
        if step < 2 {
            b.event_where("presence", shown).await.unwrap();
        } else {
            let began = Instant::now();
            while app.metric("fireside_presence_shed_total").await <= shed {
                assert!(began.elapsed() < Duration::from_secs(3), "not shed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let seen = told(&mut b, &dm).await;
            assert_eq!(names(&seen, "presence"), 0, "rung {step}: {seen:?}");
        }

        // Then read marks of others; one's own devices are told.
        let mark = seqs[usize::from(step)];
        let read = json!({"room": dm, "seq": mark});
        let reading = a.post("read", &read).await.unwrap();
        let of_mark =
            |e: &loadtest::client::SeenEvent| e.name == "read" && e.d["seq"] == mark.get();
        phone.event_where("read", of_mark).await.unwrap();
        if step < 3 {
            b.event_where("read", of_mark).await.unwrap();
        } else {
            let seen = told(&mut b, &dm).await;
            assert_eq!(names(&seen, "read"), 0, "rung {step}: {seen:?}");
        }

        // And last of all new messages, and whoever comes.
        if step == 4 {
            let body = json!({"room": rooms[ROOMS - 1], "nonce": "refused", "text": "not now"});
            let error = sender.refused("message.send", &body).await.unwrap();
            assert_eq!((error.code, error.retry), (ErrorCode::Busy, true));
            assert!(error.retry_after_ms.is_some_and(|ms| ms > 0));
            let path = format!("/v1/rooms/{dm}/messages");
            let bearer = format!("Bearer {}", alice.access_token);
            let headers = [
                ("authorization", bearer.as_str()),
                ("idempotency-key", "refused"),
            ];
            let body = json!({"text": "not now"});
            let answer = app
                .rest
                .call_with(Method::POST, &path, Some(&body), &headers)
                .await
                .unwrap();
            assert_eq!((answer.status, &answer.body["code"]), (503, &json!("busy")));
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            match app
                .connector(&bob.access_token, Encoding::Json)
                .connect()
                .await
            {
                Err(ConnectError::Http { status, .. }) => assert_eq!(status, 503),
                other => panic!("{other:?}"),
            }
            early
                .post("session.start", &SessionStart::default())
                .await
                .unwrap();
            let bye = early.event("bye").await.unwrap();
            assert_eq!(
                (&bye.d["code"], &bye.d["resume"]),
                (&json!(4200), &json!(false))
            );
            assert!(bye.d["delay_ms"].as_u64().is_some_and(|ms| ms > 0));
            early.closed_with(CloseCode::Overloaded).await.unwrap();
        }

        stall.end();
        for (id, room, nonce) in sent {
            let ok = sender.reply(id).await.unwrap();
            let ok: Appended = serde_json::from_value(ok).unwrap();
            assert!(!ok.dup);
            acked.insert((room, nonce, ok.seq));
        }
        let marked: ReadReply = serde_json::from_value(a.reply(reading).await.unwrap()).unwrap();
        assert_eq!(marked.seq, mark);
        on_the_ground(&app).await;
        if step >= 2 {
            // What was shed of presence is told, as it is by now.
            b.event_where("presence", shown).await.unwrap();
        }
    }
    assert!(acked.len() > 100, "{} acks", acked.len());
    // The logs have what was acknowledged, where it was, and nothing else.
    for room in &rooms {
        let sync = json!({"room": room, "after": 0, "limit": 500});
        let log: Synced = sender.command("room.sync", &sync).await.unwrap();
        let stands: Vec<_> = log
            .entries
            .iter()
            .filter_map(|entry| match &entry.body {
                EntryBody::Message(m) => Some((room.clone(), m.nonce.to_string(), entry.seq)),
                _ => None,
            })
            .collect();
        let of_room = acked.iter().filter(|(of, ..)| of == room).cloned();
        assert_eq!(BTreeSet::from_iter(stands), of_room.collect());
    }
    // And all is as before.
    let _: Empty = a
        .command("typing", &json!({"room": dm, "on": true}))
        .await
        .unwrap();
    b.event("typing").await.unwrap();
    sender
        .say(&rooms[ROOMS - 1], "refused", "now")
        .await
        .unwrap();
    app.is_well().await;
}

/// A disk that stands still for longer than the server waits for it: what is under way is
/// `unavailable`, since nobody knows; the same message again is taken once.
#[tokio::test]
async fn who_is_told_unavailable_may_say_it_again() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let token = app.stranger(&format!("patient{encoding:?}"));
        let (mut socket, _) = app.session(&token, encoding).await;
        let room = make_room(&mut socket, "channel", &[]).await;
        let stall = Stall::of(&app);
        let body = json!({"room": room.id, "nonce": "n1", "text": "once"});
        let error = socket.refused("message.send", &body).await.unwrap();
        assert_eq!((error.code, error.retry), (ErrorCode::Unavailable, true));
        stall.end();
        let ack = socket.say(&room.id, "n1", "once").await.unwrap();
        assert_eq!((ack.seq, ack.dup), (room.head.next(), false));
        let again = socket.say(&room.id, "n1", "once").await.unwrap();
        assert_eq!((again.seq, again.dup), (ack.seq, true));
        let get: RoomReply = socket
            .command("room.get", &json!({"room": room.id}))
            .await
            .unwrap();
        assert_eq!(get.room.head, ack.seq);
    }
    app.is_well().await;
}

/// More than a small queue holds, from people who try again when told to: judged by the checker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_for_load_and_tried_again_everything_arrives_once() {
    const PEOPLE: usize = 24;
    let app = TestApp::with(&[
        ("FIRESIDE_HISTORY_QUEUE", "4"),
        ("FIRESIDE_LIMIT_SENDS", "1000/s"),
    ])
    .await;
    let recorder = Recorder::in_memory();
    let rooms = open_rooms(&app, PEOPLE, 16).await;
    let mut people = JoinSet::new();
    for n in 0..PEOPLE {
        let connector = app.connector(&app.stranger(&format!("talker{n}")), ENCODINGS[n % 2]);
        let mut device = Device::new(&format!("d{n}"), connector, recorder.clone());
        let rooms = rooms.clone();
        people.spawn(async move {
            let patience = Duration::from_mins(1);
            device.reconnect(patience).await.unwrap();
            for said in 0..40 {
                if !device.on_line() {
                    device.reconnect(patience).await.unwrap();
                }
                let room = &rooms[(n + said) % rooms.len()];
                let _ = device.send(room, &format!("{n} says {said}")).await;
                while device.unanswered() > 16 {
                    let soon = tokio::time::Instant::now() + Duration::from_millis(100);
                    if device.step(soon).await.is_err() {
                        break;
                    }
                }
            }
            device.settle(patience).await.unwrap();
            device
        });
    }
    let mut devices = people.join_all().await;
    for device in &mut devices {
        device.catch_up().await.unwrap();
    }
    read_logs(&mut devices[0], &rooms, &recorder).await.unwrap();
    let lines = recorder.lines().unwrap();
    let refused = lines.iter().filter(|line| {
        matches!(
            line.what,
            Happened::Refused {
                code: ErrorCode::Busy,
                ..
            }
        )
    });
    assert!(refused.count() > 0, "the queue was large enough");
    let verdict = check(&lines);
    assert!(verdict.holds(), "{verdict}");
    println!("{verdict}");
    assert_eq!(verdict.seen.sends, PEOPLE * 40);
    on_the_ground(&app).await;
    let _: Value = devices[0]
        .socket()
        .unwrap()
        .command("ping", &json!({}))
        .await
        .unwrap();
    app.is_well().await;
}
