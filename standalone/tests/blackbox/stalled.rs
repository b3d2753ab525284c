//! One member of a room of a thousand stops reading.

use std::time::{Duration, Instant};

use loadtest::{
    Seen,
    raw::{RawFrame, RawSocket},
};
use serde_json::{Value, json};
use shared::{
    id::RoomId,
    protocol::{
        codec::Encoding,
        reply::{Appended, Empty},
    },
};
use tokio::sync::mpsc;

use crate::app::{ENCODINGS, TestApp};

const MEMBERS: usize = 1000;
/// Sized so that one is refused by no limit and two hundred fill every buffer on the way.
const TEXT: usize = 3900;
const ROUNDS: usize = 320;
/// How long a node waits for one that does not read to take its close.
const LINGER: Duration = Duration::from_secs(30);

/// A thousand members; one stalls. Every message must reach the other 999 while it is stuck, in
/// about the time it took before; the stalled one is closed with 4008 and comes back to all of it;
/// and the server does not keep for it more than its bounds say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_closed_and_delays_nobody() {
    let app = TestApp::with(&[
        ("FIRESIDE_LIMIT_SENDS", "10000/s"),
        ("FIRESIDE_LIMIT_COMMANDS", "10000/s"),
        // The readers are bare sockets that answer no ping; a slow machine takes its time.
        ("FIRESIDE_HEARTBEAT_TIMEOUT", "10m"),
    ])
    .await;
    let room = room_of_a_thousand(&app).await;
    let (mut sender, _) = app.session(&app.stranger("m0"), Encoding::MsgPack).await;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let mut readers = Vec::new();
    for n in 1..MEMBERS - 1 {
        let encoding = ENCODINGS[n % 2];
        let token = app.stranger(&format!("m{n}"));
        let mut socket = RawSocket::upgrade(&app.address, encoding, &token)
            .await
            .unwrap();
        let start = json!({"id": 1, "op": "session.start", "d": {}});
        let frame = RawFrame::new(1 + (n % 2) as u8, encoding.encode(&start).unwrap());
        socket.frame(&frame).await.unwrap();
        while !contains(&socket.read().await.unwrap().unwrap().payload, b"limits") {}
        let arrived = arrived.clone();
        readers.push(tokio::spawn(async move {
            // Counting occurrences is enough here: order and content are the checker's.
            while let Ok(Some(frame)) = socket.read().await {
                for _ in 0..count(&frame.payload, b"message.new") {
                    if arrived.send(n).is_err() {
                        return;
                    }
                }
            }
        }));
    }
    let token = app.stranger(&format!("m{}", MEMBERS - 1));
    let (mut socket, started) = app.session(&token, Encoding::Json).await;
    let sid = started.sid;
    let text = "x".repeat(TEXT);
    let mut rounds = Vec::new();
    let since = Instant::now();
    let memory = app.rss();
    let mut memory_peak = 0;
    for round in 0..ROUNDS {
        let began = Instant::now();
        let body = json!({"room": room, "nonce": format!("n{round}"), "text": text});
        let _: Appended = sender.command("message.send", &body).await.unwrap();
        let everybody = async {
            for _ in 0..MEMBERS - 2 {
                arrivals.recv().await.unwrap();
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(20), everybody).await;
        all.unwrap_or_else(|_| panic!("message {round} did not reach everybody"));
        rounds.push(began.elapsed());
        memory_peak = memory_peak.max(app.rss());
        // The sender is a member too, and reads.
        sender.until_pong().await.unwrap();
    }
    // Fresh buffers swallow the first; the last are sent while the stalled one is stuck or gone.
    let median = |of: &[Duration]| {
        let mut sorted = of.to_vec();
        sorted.sort();
        sorted[sorted.len() / 2]
    };
    let before = median(&rounds[5..45]);
    let during = median(&rounds[45..]);
    let grown = memory_peak.saturating_sub(memory);
    println!(
        "a message to {} members: {before:?} before, {during:?} with one stalled; \
         memory {} MiB, at most {} MiB more",
        MEMBERS - 1,
        memory >> 20,
        grown >> 20
    );
    assert!(
        during < before * 3 + Duration::from_secs(1),
        "{before:?} → {during:?}"
    );
    // 999 readers that keep up hold next to nothing; each ring is bounded by 256 KiB of shared
    // bytes, and what is shared is held once.
    assert!(grown < 96 << 20, "grew by {} MiB", grown >> 20);
    // It reads again: what was on the way, then the close.
    let mut s = 0;
    let mut seqs = Vec::new();
    let closed = loop {
        match socket.next().await.unwrap() {
            Seen::Event(event) => {
                s = event.s.unwrap_or(s);
                seqs.extend(event.entry().map(|e| e.entry.seq.get()));
            }
            Seen::Closed(closed) => break closed,
            Seen::Reply { .. } => {}
        }
    };
    // Who does not read for so long is cut off without a word.
    let cut_off = closed.code.is_none() && since.elapsed() > LINGER;
    assert!(
        cut_off || closed.code == Some(4008),
        "{closed:?} after {} entries",
        seqs.len()
    );
    assert!(seqs.len() < ROUNDS, "it was never stuck");
    // It comes back: by the ring when that holds, by the log when it does not. No hole either way.
    let mut socket = app
        .connector(&token, Encoding::Json)
        .connect()
        .await
        .unwrap();
    if let Err(error) = socket.resume(&sid, s).await {
        assert_eq!(error.code(), Some(shared::codes::ErrorCode::SessionLost));
        let _: Value = socket.command("session.start", &json!({})).await.unwrap();
    }
    let mut after = *seqs.last().unwrap();
    loop {
        let body = json!({"room": room, "after": after, "limit": 2});
        let page: shared::protocol::reply::Synced =
            socket.command("room.sync", &body).await.unwrap();
        for entry in &page.entries {
            assert_eq!(entry.seq.get(), after + 1);
            after += 1;
        }
        if !page.more {
            assert_eq!(page.head.get(), after);
            break;
        }
    }
    assert!(
        seqs.windows(2).all(|w| w[1] == w[0] + 1),
        "a hole before the close"
    );
    let _: Empty = socket.command("session.end", &json!({})).await.unwrap();
    for reader in readers {
        reader.abort();
    }
    app.is_well().await;
}

/// Made by the game's backend while nobody is there: a thousand joins told to a thousand members
/// are a test of something else.
async fn room_of_a_thousand(app: &TestApp) -> RoomId {
    let (service, post) = (app.service(), reqwest::Method::POST);
    let first: Vec<String> = (1..400).map(|n| format!("m{n}")).collect();
    let body = json!({"kind": "channel", "name": "Crowd", "as": "m0", "members": first});
    let made = app
        .rest
        .ok(
            post.clone(),
            "/v1/server/rooms",
            Some(&body),
            Some(&service),
        )
        .await
        .unwrap();
    let room: RoomId = serde_json::from_value(made["room"]["id"].clone()).unwrap();
    let path = format!("/v1/server/rooms/{room}/invite");
    for n in 400..MEMBERS {
        let body = json!({"user": format!("m{n}")});
        app.rest
            .ok(post.clone(), &path, Some(&body), Some(&service))
            .await
            .unwrap();
    }
    room
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
