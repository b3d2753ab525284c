//! Sessions that outlive their sockets.

use std::time::Duration;

use loadtest::Seen;
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    id::RoomId,
    protocol::{
        codec::Encoding,
        reply::{Empty, Resumed, Started},
    },
};
use tokio::task::JoinSet;

use crate::app::{ENCODINGS, TestApp, make_room, open_dm};

#[tokio::test]
async fn what_came_meanwhile_is_replayed_once_and_in_order() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    for encoding in ENCODINGS {
        let (mut sender, _) = app.session(&bob.access_token, encoding).await;
        let room = open_dm(&mut sender, &alice.id).await;
        let (mut socket, started) = app.session(&alice.access_token, encoding).await;
        let first = sender
            .say(&room, &format!("a{encoding:?}"), "1")
            .await
            .unwrap();
        let seen = socket
            .event_where("first", |e| {
                e.entry().is_some_and(|e| e.entry.seq == first.seq)
            })
            .await
            .unwrap();
        let s = seen.s.unwrap();
        // Another device beside it: what it has heard has reached the session, at whatever node.
        let (mut beside, _) = app.session(&alice.access_token, encoding).await;
        drop(socket);
        for n in 0..20 {
            let nonce = format!("b{encoding:?}{n}");
            sender.say(&room, &nonce, "meanwhile").await.unwrap();
        }
        beside.entry(&room, first.seq.get() + 20).await.unwrap();
        let mut socket = app
            .connector(&alice.access_token, encoding)
            .connect()
            .await
            .unwrap();
        socket.hello().await.unwrap();
        let body = json!({"sid": started.sid, "s": s});
        let id = socket.post("session.resume", &body).await.unwrap();
        // The replay comes before the answer, which says how much it was.
        let mut replayed = Vec::new();
        let resumed: Resumed = loop {
            match socket.next().await.unwrap() {
                loadtest::Seen::Event(event) => replayed.push(event),
                loadtest::Seen::Reply { id: of, result } if of == Some(id) => {
                    break serde_json::from_value(result.unwrap()).unwrap();
                }
                other => panic!("{other:?}"),
            }
        };
        let durable: Vec<_> = replayed.iter().filter_map(|e| e.s).collect();
        assert_eq!(durable.len() as u64, resumed.replayed);
        let expected: Vec<u64> = (s + 1..=s + durable.len() as u64).collect();
        assert_eq!(durable, expected);
        let seqs: Vec<u64> = replayed
            .iter()
            .filter_map(|e| Some(e.entry()?.entry.seq.get()))
            .collect();
        let expected: Vec<u64> = (first.seq.get() + 1..=first.seq.get() + 20).collect();
        assert_eq!(seqs, expected);
        // And it goes on where it was.
        let ack = sender
            .say(&room, &format!("c{encoding:?}"), "live")
            .await
            .unwrap();
        let live = socket.entry(&room, ack.seq.get()).await.unwrap();
        assert_eq!(live.entry.seq, ack.seq);
    }
}

#[tokio::test]
async fn a_second_socket_replaces_the_first() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    for encoding in ENCODINGS {
        let (mut first, started) = app.session(&token, encoding).await;
        let mut second = app.connector(&token, encoding).connect().await.unwrap();
        second.resume(&started.sid, 0).await.unwrap();
        let bye = first.event("bye").await.unwrap();
        assert_eq!(
            (&bye.d["code"], &bye.d["resume"]),
            (&json!(4406), &json!(false))
        );
        first.closed_with(CloseCode::Replaced).await.unwrap();
        second.until_pong().await.unwrap();
    }
}

/// Whoever loses has only just come to the session's thread, and hears of it all the same: a bare
/// end of the stream would bring it back to lose again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_resume_at_once_one_stays_and_each_other_is_told() {
    const AT_ONCE: usize = 8;
    let app = TestApp::start().await;
    let token = app.stranger("racer");
    let (first, started) = app.session(&token, Encoding::Json).await;
    // Reads until the close; the one that stays, until a later round.
    let read = async |mut socket: loadtest::WsClient| {
        let mut said = None;
        loop {
            match socket.next().await {
                Ok(Seen::Event(event)) if event.name == "bye" => {
                    said = Some(event.d["code"].clone());
                }
                Ok(Seen::Closed(closed)) => return (said, closed),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let mut losers = JoinSet::new();
    losers.spawn(read(first));
    for round in 0..50 {
        let encoding = ENCODINGS[round % 2];
        let connector = app.connector(&token, encoding);
        let mut sockets = Vec::new();
        for _ in 0..AT_ONCE {
            let mut socket = connector.connect().await.unwrap();
            socket.hello().await.unwrap();
            sockets.push(socket);
        }
        let body = json!({"sid": started.sid, "s": 0});
        let posts = sockets.iter_mut().map(|s| s.post("session.resume", &body));
        for posted in futures_util::future::join_all(posts).await {
            posted.unwrap();
        }
        for socket in sockets {
            losers.spawn(read(socket));
        }
        for _ in 0..AT_ONCE {
            let (said, closed) = losers.join_next().await.unwrap().unwrap();
            assert_eq!(closed.code, Some(4406), "round {round}: {closed:?}");
            assert_eq!(said, Some(json!(4406)), "round {round}");
        }
        assert_eq!(losers.len(), 1, "round {round}");
    }
    let mut last = app
        .connector(&token, Encoding::Json)
        .connect()
        .await
        .unwrap();
    last.resume(&started.sid, 0).await.unwrap();
    last.until_pong().await.unwrap();
}

#[tokio::test]
async fn nobody_resumes_the_session_of_somebody_else() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut mine, started) = app.session(&app.stranger("owner"), encoding).await;
        let connector = app.connector(&app.stranger("thief"), encoding);
        let mut thief = connector.connect().await.unwrap();
        let refused = thief.resume(&started.sid, 0).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::SessionLost));
        mine.until_pong().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_ends_some_time_after_its_socket() {
    let app = TestApp::with(&[("FIRESIDE_SESSION_TTL", "4s")]).await;
    let token = app.stranger("solo");
    let (socket, started) = app.session(&token, Encoding::Json).await;
    drop(socket);
    let connector = app.connector(&token, Encoding::Json);
    let mut socket = connector.connect().await.unwrap();
    socket.resume(&started.sid, 0).await.unwrap();
    drop(socket);
    // Longer than the time to live, with room for a timer's tick.
    tokio::time::sleep(Duration::from_millis(6500)).await;
    let mut socket = connector.connect().await.unwrap();
    let lost = socket.resume(&started.sid, 0).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
    let _: Started = socket.command("session.start", &json!({})).await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_trims_the_ring() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    for encoding in ENCODINGS {
        let (mut sender, _) = app.session(&bob.access_token, encoding).await;
        let room = open_dm(&mut sender, &alice.id).await;
        let (mut socket, started) = app.session(&alice.access_token, encoding).await;
        let mut last = 0;
        for n in 0..5 {
            let ack = sender
                .say(&room, &format!("{encoding:?}{n}"), "x")
                .await
                .unwrap();
            let seen = socket
                .event_where("entry", |e| {
                    e.entry().is_some_and(|e| e.entry.seq == ack.seq)
                })
                .await
                .unwrap();
            last = seen.s.unwrap();
        }
        let _: Empty = socket
            .command("session.ack", &json!({"s": last - 2}))
            .await
            .unwrap();
        drop(socket);
        let connector = app.connector(&alice.access_token, encoding);
        // Whole or not at all: before the acknowledged position nothing can be replayed.
        let mut socket = connector.connect().await.unwrap();
        let lost = socket.resume(&started.sid, last - 4).await.unwrap_err();
        assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
        drop(socket);
        let mut socket = connector.connect().await.unwrap();
        let resumed = socket.resume(&started.sid, last - 2).await;
        // A refused resume may have ended the session; one that was not replays the rest.
        match resumed {
            Ok(resumed) => assert_eq!(resumed.replayed, 2),
            Err(error) => assert_eq!(error.code(), Some(ErrorCode::SessionLost)),
        }
    }
}

#[tokio::test]
async fn a_position_from_the_future_is_lost() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    let (socket, started) = app.session(&token, Encoding::Json).await;
    drop(socket);
    let mut socket = app
        .connector(&token, Encoding::Json)
        .connect()
        .await
        .unwrap();
    let refused = socket.resume(&started.sid, 1_000_000).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::SessionLost));
}

/// Channels that `people` strangers (`talker0`…) have joined.
pub(crate) async fn open_rooms(app: &TestApp, people: usize, rooms: usize) -> Vec<RoomId> {
    let (mut owner, _) = app.session(&app.stranger("talker0"), Encoding::Json).await;
    let mut ids = Vec::new();
    for _ in 0..rooms {
        ids.push(make_room(&mut owner, "channel", &[]).await.id);
    }
    for n in 1..people {
        let token = app.stranger(&format!("talker{n}"));
        let (mut socket, _) = app.session(&token, Encoding::MsgPack).await;
        for room in &ids {
            let _: Value = socket
                .command("room.join", &json!({"room": room}))
                .await
                .unwrap();
        }
        let _: Empty = socket.command("session.end", &json!({})).await.unwrap();
    }
    ids
}
