//! Clients that ask for more than fits on the way: those who read get all of it, those who do not
//! cost no more than the bounds say.

use std::time::{Duration, Instant};

use loadtest::{
    Seen, WsClient,
    raw::{Ended, RawFrame, RawSocket},
};
use serde_json::json;
use shared::{
    id::RoomId,
    protocol::{
        codec::Encoding,
        reply::{Appended, Synced},
    },
};

use crate::app::{ENCODINGS, TestApp, make_room};

/// With no limit of the user's in the way.
async fn app_with(settings: &[(&str, &str)]) -> TestApp {
    let loose = [
        ("FIRESIDE_LIMIT_SENDS", "10000/s"),
        ("FIRESIDE_LIMIT_COMMANDS", "10000/s"),
        ("FIRESIDE_LIMIT_TYPING", "10000/s"),
        ("FIRESIDE_MAX_SESSIONS_PER_USER", "100"),
        ("FIRESIDE_MAX_FRAME", "64KiB"),
    ];
    TestApp::with(&[&loose, settings].concat()).await
}

/// How many messages of [`TEXT`] characters a room has, and how many a page: some 80 KiB.
const MESSAGES: u64 = 60;
const PAGE: u64 = 20;
const TEXT: usize = 3900;

/// A room of long messages, and a socket of its only member.
async fn long_room(app: &TestApp, name: &str, encoding: Encoding) -> (WsClient, RoomId) {
    let (mut socket, _) = app.session(&app.stranger(name), encoding).await;
    let room = make_room(&mut socket, "group", &[]).await.id;
    for n in 0..MESSAGES {
        let text = "x".repeat(TEXT);
        socket.say(&room, &format!("n{n}"), &text).await.unwrap();
    }
    (socket, room)
}

/// The `n`th command of many: a page that begins somewhere else than the one before.
fn page_of(room: &RoomId, n: u64) -> serde_json::Value {
    json!({"id": 1000 + n, "op": "room.sync", "d": {"room": room, "after": n % 30, "limit": PAGE}})
}

fn frame_of(encoding: Encoding, commands: impl Iterator<Item = serde_json::Value>) -> Vec<u8> {
    let commands: Vec<_> = commands.map(|c| encoding.encode(&c).unwrap()).collect();
    commands.join(encoding.separator())
}

/// Reads the answers to `count` pages, which come in order.
async fn pages(socket: &mut WsClient, count: u64) {
    let mut n = 0;
    while n < count {
        match socket.next().await.unwrap() {
            Seen::Reply { id, result } => {
                assert_eq!(id, Some(1000 + n));
                let page: Synced = serde_json::from_value(result.unwrap()).unwrap();
                let seqs: Vec<u64> = page.entries.iter().map(|e| e.seq.get()).collect();
                let from = n % 30 + 1;
                assert_eq!(seqs, (from..from + PAGE).collect::<Vec<_>>(), "page {n}");
                n += 1;
            }
            Seen::Event(_) => {}
            Seen::Closed(closed) => panic!("page {n}: {closed:?}"),
        }
    }
}

/// 250 pages come to 20 MB, eighty times what an outbox holds.
#[tokio::test]
async fn who_asks_for_hundreds_of_pages_and_reads_gets_them_all_in_order() {
    const PAGES: u64 = 250;
    let app = app_with(&[]).await;
    for encoding in ENCODINGS {
        let name = format!("asks{encoding:?}");
        let (mut socket, room) = long_room(&app, &name, encoding).await;
        let all = (0..PAGES).map(|n| page_of(&room, n));
        socket.send_frame(frame_of(encoding, all)).await.unwrap();
        pages(&mut socket, PAGES).await;
        // A frame each, with a message at the end: it is said when its turn has come.
        for n in 0..PAGES {
            let one = std::iter::once(page_of(&room, n));
            socket.send_frame(frame_of(encoding, one)).await.unwrap();
        }
        let body = json!({"room": room, "nonce": "last", "text": "last"});
        let last = socket.post("message.send", &body).await.unwrap();
        pages(&mut socket, PAGES).await;
        let said = socket.reply(last).await.unwrap();
        let said: Appended = serde_json::from_value(said).unwrap();
        assert!(!said.dup);
        socket.until_pong().await.unwrap();
    }
    app.is_well().await;
}

/// As many small answers as there can be, from the session itself and from a room.
#[tokio::test]
async fn a_thousand_small_commands_at_once_are_answered() {
    let app = app_with(&[]).await;
    for encoding in ENCODINGS {
        let name = format!("small{encoding:?}");
        let (mut socket, room) = long_room(&app, &name, encoding).await;
        for frame in 0..8_u64 {
            let commands = (0..250).map(|n| {
                let id = 10_000 + frame * 250 + n;
                if n % 2 == 0 {
                    json!({"id": id, "op": "ping"})
                } else {
                    json!({"id": id, "op": "read", "d": {"room": room, "seq": 1 + n % 50}})
                }
            });
            let frame = frame_of(encoding, commands);
            socket.send_frame(frame).await.unwrap();
        }
        let mut ids: Vec<u64> = Vec::new();
        while ids.len() < 2000 {
            match socket.next().await.unwrap() {
                Seen::Reply { id, result } => {
                    result.unwrap();
                    ids.extend(id);
                }
                Seen::Event(_) => {}
                Seen::Closed(closed) => panic!("{closed:?} after {}", ids.len()),
            }
        }
        // What the session answers by itself comes in order.
        let pings = ids.iter().filter(|id| **id % 2 == 0);
        assert!(pings.is_sorted(), "{encoding:?}");
        ids.sort_unstable();
        assert_eq!(ids, (10_000..12_000).collect::<Vec<_>>());
    }
}

/// Fifty ask for 20 MB each and read nothing, though they say that they are alive. None of them
/// gets more done than fits, and each is closed.
#[tokio::test]
async fn who_asks_and_never_reads_is_closed_and_costs_little() {
    const CLIENTS: usize = 50;
    /// What they may hold, of a gigabyte that they asked for, in bytes.
    const HOLD: u64 = 64 << 20;
    let app = app_with(&[
        ("FIRESIDE_HEARTBEAT", "500ms"),
        ("FIRESIDE_HEARTBEAT_TIMEOUT", "2s"),
    ])
    .await;
    let (mut reader, room) = long_room(&app, "m", Encoding::Json).await;
    // All of them are one user, and so at one node.
    let token = app.stranger("m");
    let memory = app.rss_for(&token);
    let done = app.metric("fireside_commands_total").await.unwrap();
    let closed = app.metric("fireside_closes_total").await.unwrap_or(0.0);
    let mut sockets = Vec::new();
    for n in 0..CLIENTS {
        let encoding = ENCODINGS[n % 2];
        let mut socket = RawSocket::upgrade(app.address_of(&token), encoding, &token)
            .await
            .unwrap();
        let opcode = 1 + (n % 2) as u8;
        let start = json!({"id": 1, "op": "session.start", "d": {}});
        let start = RawFrame::new(opcode, encoding.encode(&start).unwrap());
        socket.frame(&start).await.unwrap();
        let all = (0..250).map(|n| page_of(&room, n));
        let all = RawFrame::new(opcode, frame_of(encoding, all));
        socket.frame(&all).await.unwrap();
        sockets.push(socket);
    }
    let began = Instant::now();
    let mut grown = 0;
    let closes = async || app.metric("fireside_closes_total").await.unwrap_or(0.0) - closed;
    while closes().await < CLIENTS as f64 {
        assert!(began.elapsed() < Duration::from_secs(30), "not closed");
        for socket in &mut sockets {
            // It may be gone by now.
            let _ = socket.frame(&RawFrame::new(0xa, "alive")).await;
        }
        grown = grown.max(app.rss_for(&token).saturating_sub(memory));
        // Who reads is served meanwhile.
        reader.until_pong().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let done = app.metric("fireside_commands_total").await.unwrap() - done;
    println!(
        "{CLIENTS} stalled clients: {done} commands, {} MiB more",
        grown >> 20
    );
    // What the kernel's buffers take, an outbox, and the page that did not fit any more: the rest
    // of the 250 was not done.
    assert!(done < 40.0 * CLIENTS as f64, "{done} commands");
    assert!(grown < HOLD, "grew by {} MiB", grown >> 20);
    let last = sockets.last_mut().unwrap();
    assert_eq!(last.ended().await, Ended::Closed(Some(4008)));
}

/// The buffers on the way take longer to read than the server waits for a sign of life; the answers
/// to its pings are behind commands that wait for just that.
#[tokio::test]
async fn who_reads_slowly_is_not_taken_for_dead() {
    const PAGES: u64 = 40;
    let app = app_with(&[
        ("FIRESIDE_HEARTBEAT", "1s"),
        ("FIRESIDE_HEARTBEAT_TIMEOUT", "4s"),
    ])
    .await;
    let (_member, room) = long_room(&app, "m", Encoding::Json).await;
    let token = app.stranger("m");
    let mut socket = RawSocket::upgrade(app.address_of(&token), Encoding::Json, &token)
        .await
        .unwrap();
    let start = RawFrame::text(r#"{"id":1,"op":"session.start","d":{}}"#);
    socket.frame(&start).await.unwrap();
    let all = (0..PAGES).map(|n| page_of(&room, n));
    let all = RawFrame::text(frame_of(Encoding::Json, all));
    socket.frame(&all).await.unwrap();
    let began = Instant::now();
    let (mut read, mut answered) = (0, 0);
    while answered < PAGES {
        let frame = socket.read().await.unwrap().expect("the server closed");
        match frame.opcode {
            1 => {
                let text = String::from_utf8(frame.payload).unwrap();
                answered += text.lines().filter(|l| l.contains("\"entries\"")).count() as u64;
                read += text.len();
            }
            9 => socket
                .frame(&RawFrame::new(0xa, frame.payload))
                .await
                .unwrap(),
            _ => panic!("{frame:?} after {answered} pages"),
        }
        // 300 KB a second.
        let due = Duration::from_secs_f64(read as f64 / 300e3);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
    assert!(began.elapsed() > Duration::from_secs(8), "it was not slow");
    let ping = RawFrame::text(r#"{"id":7,"op":"ping"}"#);
    socket.frame(&ping).await.unwrap();
    loop {
        let frame = socket.read().await.unwrap().expect("the server closed");
        if frame.payload.starts_with(b"{\"id\":7,") {
            break;
        }
    }
}
