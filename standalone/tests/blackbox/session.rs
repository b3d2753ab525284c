//! Connecting, starting, several devices, and the end of a session.

use loadtest::{
    ConnectError, Connector, Seen, WireError,
    raw::{Ended, RawFrame, RawSocket},
};
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    protocol::{
        codec::Encoding,
        command::SessionStart,
        reply::{Empty, Pong, Started},
    },
};
use tokio_tungstenite::tungstenite::Message;

use crate::app::{ENCODINGS, TestApp, make_room};

#[tokio::test]
async fn a_session_starts_with_hello_and_a_snapshot_in_both_encodings() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    for encoding in ENCODINGS {
        let connector = app.connector(&alice.access_token, encoding);
        let mut socket = connector.connect().await.unwrap();
        let hello = socket.hello().await.unwrap();
        assert_eq!(hello.protocol, 1);
        assert_eq!(hello.heartbeat_ms, 25_000);
        assert_eq!(hello.max_frame_bytes, 16_384);
        let body = json!({"device": "d1", "client": "test/1"});
        let started: Started = socket.command("session.start", &body).await.unwrap();
        assert_eq!(started.me.id, alice.id);
        assert_eq!(started.me.name, alice.name);
        assert_eq!(started.friends.len(), 1);
        assert_eq!(started.friends[0].id, bob.id);
        assert_eq!(started.friends[0].name, bob.name);
        assert_eq!(started.limits.max_frame_bytes, 16_384);
        assert_eq!(started.limits.max_text_chars, 4000);
        assert_eq!(started.limits.max_data_bytes, 4096);
        assert_eq!(started.limits.session_ttl_ms, 120_000);
        assert_eq!(started.limits.max_group_members, 500);
        let pong: Pong = socket.command("ping", &json!({})).await.unwrap();
        assert!(pong.ts.as_millis() > 1_700_000_000_000);
    }
}

#[tokio::test]
async fn the_token_travels_in_the_header_or_as_a_subprotocol() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    for encoding in ENCODINGS {
        let base = Connector::new(&app.address).encoding(encoding);
        for connector in [
            base.clone().token(&token),
            base.token_as_subprotocol(&token),
        ] {
            let mut socket = connector.connect().await.unwrap();
            socket.start(&SessionStart::default()).await.unwrap();
        }
    }
    // No subprotocol offered: JSON.
    let plain = Connector::new(&app.address).token(&token);
    let mut socket = plain.without_subprotocol().connect().await.unwrap();
    socket.start(&SessionStart::default()).await.unwrap();
}

#[tokio::test]
async fn without_a_token_there_is_no_upgrade_but_a_problem() {
    let app = TestApp::start().await;
    match Connector::new(&app.address).connect().await {
        Err(ConnectError::Http {
            status,
            content_type,
            body,
        }) => {
            assert_eq!(status, 401);
            assert!(
                content_type.starts_with("application/problem+json"),
                "{content_type}"
            );
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["code"], "unauthenticated");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_foreign_origin_is_turned_away() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    let connector = app.connector(&token, Encoding::Json);
    let foreign = connector.clone().header("Origin", "https://evil.example");
    assert_eq!(foreign.connect().await.unwrap_err().status(), Some(403));
    let own = connector.header("Origin", &app.origin);
    own.connect().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_and_the_events_after_it_leave_no_hole() {
    let app = TestApp::start().await;
    let (mut owner, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    let room = make_room(&mut owner, "channel", &[]).await.id;
    let token = app.stranger("joiner");
    let (mut joiner, _) = app.session(&token, Encoding::Json).await;
    let _: Value = joiner
        .command("room.join", &json!({"room": room}))
        .await
        .unwrap();
    // Sessions start while messages flow: each must hear every entry after its snapshot's head.
    for round in 0..10 {
        let encoding = ENCODINGS[round % 2];
        for n in 0..3 {
            let body = json!({"room": room, "nonce": format!("n{round}-{n}"), "text": "x"});
            owner.post("message.send", &body).await.unwrap();
        }
        let (mut socket, started) = app.session(&token, encoding).await;
        let view = started.rooms.iter().find(|r| r.id == room).unwrap();
        let ack = owner
            .say(&room, &format!("last{round}"), "last")
            .await
            .unwrap();
        let mut expected = view.head.next();
        while expected <= ack.seq {
            let event = socket.event("message.new").await.unwrap();
            let entry = event.entry().unwrap();
            // At least once: what the snapshot has may come again, and is dropped by its seq.
            if entry.entry.seq > view.head {
                assert_eq!(entry.entry.seq, expected, "round {round}");
                expected = expected.next();
            }
        }
    }
}

#[tokio::test]
async fn devices_of_one_user_hear_the_same_and_an_older_start_of_a_device_gives_way() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let device = |name: &str| SessionStart {
        device: Some(name.parse().unwrap()),
        ..SessionStart::default()
    };
    for encoding in ENCODINGS {
        let token = &alice.access_token;
        let (mut phone, _) = app.session_as(token, encoding, &device("phone")).await;
        let (mut laptop, _) = app.session_as(token, encoding, &device("laptop")).await;
        let (mut friend, _) = app.session(&bob.access_token, encoding).await;
        let room = crate::app::open_dm(&mut friend, &alice.id).await;
        let nonce = format!("n{encoding:?}");
        let ack = friend.say(&room, &nonce, "to both").await.unwrap();
        for socket in [&mut phone, &mut laptop, &mut friend] {
            let seen = socket.entry(&room, ack.seq.get()).await.unwrap();
            assert_eq!(seen.entry.ts, ack.ts);
        }
        let (mut phone_again, _) = app.session_as(token, encoding, &device("phone")).await;
        phone.closed_with(CloseCode::Replaced).await.unwrap();
        phone_again.until_pong().await.unwrap();
        laptop.until_pong().await.unwrap();
    }
}

#[tokio::test]
async fn commands_before_a_session_and_a_second_start_are_errors_not_closes() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let connector = app.connector(&app.stranger("solo"), encoding);
        let mut socket = connector.connect().await.unwrap();
        socket.hello().await.unwrap();
        let get = json!({"room": "r:none"});
        socket.refused("room.get", &get).await.unwrap();
        socket
            .refused("session.ack", &json!({"s": 1}))
            .await
            .unwrap();
        let _: Started = socket.command("session.start", &json!({})).await.unwrap();
        let again = socket.refused("session.start", &json!({})).await.unwrap();
        assert!(matches!(
            again.code,
            ErrorCode::Conflict | ErrorCode::Invalid
        ));
        socket.until_pong().await.unwrap();
    }
}

#[tokio::test]
async fn unknown_ops_and_bad_bodies_are_error_replies() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut socket, _) = app.session(&app.stranger("solo"), encoding).await;
        for (op, body) in [
            ("no.such", json!({})),
            ("", json!({})),
            ("room.get", json!({"room": 5})),
            ("room.get", json!({"room": "a b"})),
            ("room.get", json!({})),
            ("read", json!({"room": "r", "seq": -1})),
            ("presence.set", json!({"status": "offline"})),
            ("presence.set", json!({"status": "bored"})),
            ("message.send", json!({"room": "r", "text": "no nonce"})),
            ("room.create", json!({"kind": "dm", "name": "x"})),
            ("room.create", json!({"kind": "group", "name": ""})),
        ] {
            let refused = socket.refused(op, &body).await;
            let refused = refused.unwrap_or_else(|e| panic!("{op} {body}: {e}"));
            assert_eq!(refused.code, ErrorCode::Invalid, "{op} {body}: {refused:?}");
            assert!(!refused.retry);
            assert!(!refused.message.is_empty());
        }
        socket.until_pong().await.unwrap();
    }
}

#[tokio::test]
async fn one_frame_may_carry_several_commands_and_a_command_no_id() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut socket, _) = app.session(&app.stranger("solo"), encoding).await;
        let commands = [
            json!({"op": "ping"}),
            json!({"id": 1001, "op": "ping", "d": {}, "new": [1]}),
            json!({"id": 1002, "op": "no.such"}),
            json!({"op": "no.such"}),
            json!({"d": null, "op": "ping", "id": 1003}),
        ];
        let frame: Vec<u8> = commands
            .iter()
            .map(|c| encoding.encode(c).unwrap())
            .collect::<Vec<_>>()
            .join(encoding.separator());
        socket.send_frame(frame).await.unwrap();
        // In order, and the ping without an id gets no `ok`, the error without one an `err`.
        let mut answers = Vec::new();
        while answers.len() < 4 {
            if let Seen::Reply { id, result } = socket.next().await.unwrap() {
                answers.push((id, result.is_ok()));
            }
        }
        let expected = [
            (Some(1001), true),
            (Some(1002), false),
            (None, false),
            (Some(1003), true),
        ];
        assert_eq!(answers, expected);
    }
}

#[tokio::test]
async fn an_ended_session_is_gone_and_a_closed_one_is_not() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    for encoding in ENCODINGS {
        let (socket, started) = app.session(&token, encoding).await;
        let closed = socket.close(1000).await.unwrap();
        assert!(matches!(closed.code, Some(1000) | None), "{closed:?}");
        let connector = app.connector(&token, encoding);
        let mut socket = connector.connect().await.unwrap();
        socket.resume(&started.sid, 0).await.unwrap();
        let _: Empty = socket.command("session.end", &json!({})).await.unwrap();
        drop(socket);
        let mut socket = connector.connect().await.unwrap();
        let lost = socket.resume(&started.sid, 0).await.unwrap_err();
        assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
        // The socket stays open for a start.
        let _: Started = socket.command("session.start", &json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn silence_is_pinged_and_then_closed() {
    let app = TestApp::with(&[
        ("FIRESIDE_HEARTBEAT", "500ms"),
        ("FIRESIDE_HEARTBEAT_TIMEOUT", "2s"),
        ("FIRESIDE_GREETING_TIMEOUT", "2s"),
    ])
    .await;
    let token = app.stranger("solo");
    // One that answers pings (by reading) stays; three times the time-out shows it.
    let (mut alive, _) = app.session(&token, Encoding::Json).await;
    let seen = alive.drain(std::time::Duration::from_secs(6)).await;
    assert!(
        !seen.iter().any(|s| matches!(s, Seen::Closed(_))),
        "{seen:?}"
    );
    alive.until_pong().await.unwrap();
    // One that answers none does not.
    let mut silent = RawSocket::upgrade(&app.address, Encoding::Json, &token)
        .await
        .unwrap();
    let start = json!({"id": 1, "op": "session.start", "d": {}});
    let start = RawFrame::text(start.to_string());
    silent.frame(&start).await.unwrap();
    let lost = CloseCode::HeartbeatLost.code();
    assert_eq!(silent.ended().await, Ended::Closed(Some(lost)));
    // One that never starts a session does not keep its socket.
    let mut mute = app
        .connector(&token, Encoding::Json)
        .connect()
        .await
        .unwrap();
    mute.hello().await.unwrap();
    mute.closed().await.unwrap();
}

#[tokio::test]
async fn a_pong_carries_what_the_ping_carried() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    let mut socket = RawSocket::upgrade(&app.address, Encoding::Json, &token)
        .await
        .unwrap();
    let ping = RawFrame::new(9, "what is here".as_bytes());
    socket.frame(&ping).await.unwrap();
    loop {
        let frame = socket.read().await.unwrap().unwrap();
        if frame.opcode == 10 {
            assert_eq!(frame.payload, b"what is here");
            break;
        }
    }
}

#[tokio::test]
async fn a_drain_says_bye_and_ends_in_good_order() {
    let mut app = TestApp::start().await;
    let token = app.stranger("solo");
    let (mut socket, _) = app.session(&token, Encoding::Json).await;
    let status = tokio::spawn(async move {
        let status = app.terminate().await;
        (app, status)
    });
    let bye = socket.event("bye").await.unwrap();
    assert_eq!(bye.d["code"], 4001);
    assert_eq!(bye.d["resume"], true);
    socket.closed_with(CloseCode::Draining).await.unwrap();
    let (app, status) = status.await.unwrap();
    assert!(status.success(), "{status}: {}", app.log());
}

#[tokio::test]
async fn a_text_frame_on_a_binary_socket_is_undecodable_and_the_other_way_round() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    for encoding in ENCODINGS {
        let (mut socket, _) = app.session(&token, encoding).await;
        let wrong = match encoding {
            Encoding::Json => Message::binary(b"\x81\xa2op\xa4ping".to_vec()),
            Encoding::MsgPack => Message::text("{\"op\":\"ping\"}"),
        };
        socket.send_message(wrong).await.unwrap();
        match socket.closed().await.unwrap().code {
            Some(4400 | 1003) => {}
            other => panic!("{encoding:?}: {other:?}"),
        }
    }
    app.is_well().await;
}

#[tokio::test]
async fn the_oldest_of_too_many_sessions_gives_way() {
    let app = TestApp::with(&[("FIRESIDE_MAX_SESSIONS_PER_USER", "3")]).await;
    let token = app.stranger("many");
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(app.session(&token, Encoding::Json).await.0);
    }
    sockets[0].closed_with(CloseCode::Replaced).await.unwrap();
    for socket in &mut sockets[1..] {
        match socket.until_pong().await {
            Ok(_) => {}
            Err(WireError::Closed(closed)) => panic!("{closed:?}"),
            Err(other) => panic!("{other}"),
        }
    }
}
