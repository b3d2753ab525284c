//! Bad input of every kind. Whatever comes, the server answers or closes as the contract says,
//! serves the next client, and nothing in it panics.

use std::time::Duration;

use loadtest::{
    Seen, WireError,
    raw::{Ended, RawFrame, RawSocket},
};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    protocol::{
        codec::Encoding,
        reply::{RoomReply, Started},
    },
};
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::app::{ENCODINGS, TestApp, make_room, open_dm};

/// A name, what is written, and the close codes that are right.
type Offence = (&'static str, Vec<Vec<u8>>, &'static [u16]);

/// What a socket does that is against RFC 6455 or the contract, and the close code for it. Where
/// two codes are right, both.
fn frames(encoding: Encoding) -> Vec<Offence> {
    let opcode = match encoding {
        Encoding::Json => 1,
        Encoding::MsgPack => 2,
    };
    let ping = encoding.encode(&json!({"op": "ping"})).unwrap();
    let data = |payload: &[u8]| RawFrame::new(opcode, payload);
    let text = |payload: &[u8]| RawFrame::text(payload);
    vec![
        ("not masked", vec![data(&ping).unmasked().bytes()], &[1002]),
        ("RSV1", vec![data(&ping).reserved(4).bytes()], &[1002]),
        ("RSV2", vec![data(&ping).reserved(2).bytes()], &[1002]),
        ("RSV3", vec![data(&ping).reserved(1).bytes()], &[1002]),
        (
            "opcode 3",
            vec![RawFrame::new(3, ping.clone()).bytes()],
            &[1002],
        ),
        (
            "opcode 11",
            vec![RawFrame::new(11, ping.clone()).bytes()],
            &[1002],
        ),
        (
            "a fragmented ping",
            vec![RawFrame::new(9, "x").unfinished().bytes()],
            &[1002],
        ),
        (
            "a long ping",
            vec![RawFrame::new(9, vec![b'x'; 126]).bytes()],
            &[1002],
        ),
        (
            "a long close",
            vec![RawFrame::close(vec![b'x'; 126]).bytes()],
            &[1002],
        ),
        (
            "a continuation of nothing",
            vec![RawFrame::continuation("x").bytes()],
            &[1002],
        ),
        (
            "a new message inside a fragmented one",
            vec![data(b"{").unfinished().bytes(), data(&ping).bytes()],
            &[1002],
        ),
        (
            "a frame too long",
            vec![data(&vec![b' '; 16_385]).bytes()],
            &[1009],
        ),
        (
            "a frame claiming four gigabytes",
            vec![data(b"").claiming(1 << 32).bytes()],
            &[1009],
        ),
        (
            "a frame claiming 2^63",
            vec![data(b"").claiming(1 << 63).bytes()],
            &[1009, 1002],
        ),
        (
            "fragments too long together",
            vec![
                data(&vec![b' '; 9000]).unfinished().bytes(),
                RawFrame::continuation(vec![b' '; 9000]).bytes(),
            ],
            &[1009],
        ),
        (
            "text that is not UTF-8",
            vec![text(b"{\"op\":\"\xff\"}").bytes()],
            &[1007],
        ),
        (
            "a surrogate in UTF-8",
            vec![text(b"{\"op\":\"\xed\xa0\x80\"}").bytes()],
            &[1007],
        ),
        (
            "UTF-8 cut by a fragment's end, and gone wrong",
            vec![
                text(b"{\"op\":\"\xe2\x82").unfinished().bytes(),
                RawFrame::continuation(b"\x28\"}".to_vec()).bytes(),
            ],
            &[1007],
        ),
        (
            "close code 0",
            vec![RawFrame::close([0, 0]).bytes()],
            &[1002],
        ),
        (
            "close code 999",
            vec![RawFrame::close(999_u16.to_be_bytes()).bytes()],
            &[1002],
        ),
        (
            "close code 1005",
            vec![RawFrame::close(1005_u16.to_be_bytes()).bytes()],
            &[1002],
        ),
        (
            "close code 1006",
            vec![RawFrame::close(1006_u16.to_be_bytes()).bytes()],
            &[1002],
        ),
        (
            "close code 1015",
            vec![RawFrame::close(1015_u16.to_be_bytes()).bytes()],
            &[1002],
        ),
        (
            "close code 5000",
            vec![RawFrame::close(5000_u16.to_be_bytes()).bytes()],
            &[1002],
        ),
        (
            "half a close code",
            vec![RawFrame::close([3]).bytes()],
            &[1002],
        ),
        (
            "a close reason that is not UTF-8",
            vec![RawFrame::close(b"\x03\xe8\xff\xfe".to_vec()).bytes()],
            &[1007, 1002],
        ),
        (
            "noise",
            vec![(0..200_u8).map(|n| n.wrapping_mul(151)).collect()],
            &[1002, 1007, 1009],
        ),
    ]
}

#[tokio::test]
async fn frames_against_the_standard_close_with_its_codes() {
    let app = TestApp::start().await;
    let token = app.stranger("framer");
    for encoding in ENCODINGS {
        for (name, writes, codes) in frames(encoding) {
            let mut socket = RawSocket::upgrade(&app.address, encoding, &token)
                .await
                .unwrap();
            for bytes in writes {
                // The server may have had enough before the last of them.
                let _ = socket.write(&bytes).await;
            }
            match socket.ended().await {
                Ended::Closed(Some(code)) => {
                    assert!(codes.contains(&code), "{encoding:?} {name}: {code}");
                }
                other => panic!("{encoding:?} {name}: {other:?}"),
            }
        }
    }
    app.is_well().await;
}

#[tokio::test]
async fn every_bad_frame_of_the_golden_vectors_gets_what_its_vector_says() {
    let app = TestApp::start().await;
    let token = app.stranger("vector");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors/bad.json");
    let vectors: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for vector in vectors {
        let name = &vector["name"];
        let (encoding, opcode) = match vector["encoding"].as_str().unwrap() {
            "json" => (Encoding::Json, 1),
            _ => (Encoding::MsgPack, 2),
        };
        let hex = vector["hex"].as_str().unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        if let Some(code) = vector["close"].as_u64() {
            let mut socket = RawSocket::upgrade(&app.address, encoding, &token)
                .await
                .unwrap();
            socket.frame(&RawFrame::new(opcode, bytes)).await.unwrap();
            let ended = socket.ended().await;
            assert_eq!(
                ended,
                Ended::Closed(Some(code as u16)),
                "{encoding:?} {name}"
            );
        } else {
            let (mut socket, _) = app.session(&token, encoding).await;
            let message = match encoding {
                Encoding::Json => Message::text(String::from_utf8(bytes).unwrap()),
                Encoding::MsgPack => Message::binary(bytes),
            };
            socket.send_message(message).await.unwrap();
            // Of an id that is none nothing comes back.
            let refused = loop {
                match socket.next().await.unwrap() {
                    Seen::Reply { id, result } => {
                        assert_eq!(id, vector["id"].as_u64(), "{encoding:?} {name}");
                        break result.unwrap_err();
                    }
                    Seen::Event(_) => {}
                    closed @ Seen::Closed(_) => panic!("{encoding:?} {name}: {closed:?}"),
                }
            };
            assert_eq!(refused.code.word(), vector["error"], "{encoding:?} {name}");
            socket.until_pong().await.unwrap();
        }
    }
    app.is_well().await;
}

#[tokio::test]
async fn good_fragments_and_control_frames_between_them_are_one_message() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let token = app.stranger("fragmenter");
        let mut socket = RawSocket::upgrade(&app.address, encoding, &token)
            .await
            .unwrap();
        let command = json!({"id": 7, "op": "session.start", "d": {"client": "é".repeat(10)}});
        let bytes = encoding.encode(&command).unwrap();
        // A byte a fragment: characters are cut in the middle.
        let opcode = match encoding {
            Encoding::Json => 1,
            Encoding::MsgPack => 2,
        };
        for (n, byte) in bytes.iter().enumerate() {
            let mut frame = RawFrame::new(if n == 0 { opcode } else { 0 }, vec![*byte]);
            frame.fin = n + 1 == bytes.len();
            socket.frame(&frame).await.unwrap();
            if n == 5 {
                socket.frame(&RawFrame::new(9, "between")).await.unwrap();
            }
        }
        let mut ponged = false;
        loop {
            let frame = socket.read().await.unwrap().unwrap();
            match frame.opcode {
                10 => ponged = frame.payload == b"between",
                8 => panic!("closed: {:?}", frame.close_code()),
                _ if contains(&frame.payload, b"sid") => break,
                _ => {}
            }
        }
        assert!(ponged);
    }
    app.is_well().await;
}

#[tokio::test]
async fn a_connection_cut_anywhere_in_a_frame_hurts_nobody() {
    let app = TestApp::start().await;
    let token = app.stranger("cutter");
    for encoding in ENCODINGS {
        let command = json!({"id": 1, "op": "session.start", "d": {}});
        let whole = RawFrame::new(
            match encoding {
                Encoding::Json => 1,
                Encoding::MsgPack => 2,
            },
            encoding.encode(&command).unwrap(),
        )
        .bytes();
        for cut in 0..whole.len() {
            let mut socket = RawSocket::upgrade(&app.address, encoding, &token)
                .await
                .unwrap();
            socket.write(&whole[..cut]).await.unwrap();
        }
    }
    app.is_well().await;
}

#[tokio::test]
async fn deep_and_lying_bodies_are_refused_or_closed_and_cost_nothing() {
    let app = TestApp::start().await;
    let (mut owner, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    let room = make_room(&mut owner, "channel", &[]).await.id;
    let before = app.rss();
    for round in 0..20 {
        let token = app.stranger(&format!("deep{round}"));
        // Fifteen thousand brackets.
        let mut socket = RawSocket::upgrade(&app.address, Encoding::Json, &token)
            .await
            .unwrap();
        let deep = format!("{{\"op\":\"ping\",\"d\":{}", "[".repeat(15_000));
        socket.frame(&RawFrame::text(deep)).await.unwrap();
        assert_eq!(socket.ended().await, Ended::Closed(Some(4400)));
        let mut socket = RawSocket::upgrade(&app.address, Encoding::MsgPack, &token)
            .await
            .unwrap();
        let mut lying = b"\x82\xa2op\xa4ping\xa1d".to_vec();
        lying.extend(b"\xdd\xff\xff\xff\xff".repeat(60));
        socket.frame(&RawFrame::binary(lying)).await.unwrap();
        assert_eq!(socket.ended().await, Ended::Closed(Some(4400)));
    }
    // Deep but whole, as `data` of a message: refused or taken, and then readable by all.
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let body = json!({"room": room, "nonce": "deep", "text": "", "data": deep});
    match owner.command::<Value>("message.send", &body).await {
        Ok(ack) => {
            let (mut packed, _) = app.session(&app.stranger("owner"), Encoding::MsgPack).await;
            let sync = json!({"room": room, "after": 0});
            let log: Value = packed.command("room.sync", &sync).await.unwrap();
            assert_eq!(log["head"], ack["seq"]);
        }
        Err(error) => assert_eq!(error.code(), Some(ErrorCode::Invalid)),
    }
    // serde_json reads the string under this key as JSON, with a depth of its own: stored, it
    // could never be read again, and nobody of the room could start a session.
    let hidden = json!({"$serde_json::private::RawValue": "[".repeat(126) + &"]".repeat(126)});
    let deep = (0..50).fold(hidden, |inner, _| json!([inner]));
    let body = json!({"room": room, "nonce": "hidden", "text": "x", "data": deep});
    let error = owner.refused("message.send", &body).await.unwrap();
    assert_eq!(error.code, ErrorCode::Invalid);
    // The same key, where it is taken for one only when the message is read again.
    let shallow = r#"{"op":"message.send","id":77,"d":{"room":"ROOM","nonce":"shallow","text":"x",
        "data":{"a":0,"$serde_json::private::RawValue":"x"}}}"#;
    let shallow = shallow.replace("ROOM", room.as_str());
    owner.send_frame(shallow.into_bytes()).await.unwrap();
    let refusal = owner.reply(77).await.unwrap_err();
    assert_eq!(refusal.code(), Some(ErrorCode::Invalid), "{refusal}");
    let (_, started) = app.session(&app.stranger("owner"), Encoding::Json).await;
    assert_eq!(started.rooms.len(), 1);
    let grown = app.rss().saturating_sub(before);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
    app.is_well().await;
}

#[tokio::test]
async fn handshakes_that_are_none_are_answered_and_slow_ones_cut() {
    let app = TestApp::with(&[
        ("FIRESIDE_HANDSHAKE_TIMEOUT", "3s"),
        ("FIRESIDE_GREETING_TIMEOUT", "3s"),
    ])
    .await;
    let token = app.stranger("loris");
    let good = [
        "GET /v1/ws HTTP/1.1".to_owned(),
        format!("Host: {}", app.address),
        "Connection: Upgrade".into(),
        "Upgrade: websocket".into(),
        "Sec-WebSocket-Version: 13".into(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".into(),
        format!("Authorization: Bearer {token}"),
    ];
    let answer = async |lines: &[String]| -> String {
        let mut socket = RawSocket::connect(&app.address).await.unwrap();
        let request = lines.join("\r\n") + "\r\n\r\n";
        socket.write(request.as_bytes()).await.unwrap();
        socket.head().await.unwrap_or_default()
    };
    assert!(answer(&good).await.starts_with("HTTP/1.1 101"));
    for (line, instead) in [
        (4, "Sec-WebSocket-Version: 8"),
        (5, "Sec-WebSocket-Key: short"),
        (5, "X: no key"),
        (3, "Upgrade: h2c"),
        (3, "X: no upgrade"),
        (2, "Connection: close"),
        (0, "POST /v1/ws HTTP/1.1"),
        (0, "GET /v1/ws HTTP/1.0"),
    ] {
        let mut lines = good.clone();
        lines[line] = instead.to_owned();
        let head = answer(&lines).await;
        let status: u16 = head.get(9..12).unwrap_or("0").parse().unwrap_or(0);
        assert!((400..500).contains(&status), "{instead}: {head}");
    }
    for nonsense in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
        "GET /v1/ws HTTP/1.1\r\nHost\r\n\r\n",
        "SSH-2.0-client\r\n\r\n",
    ] {
        let mut socket = RawSocket::connect(&app.address).await.unwrap();
        socket.write(nonsense.as_bytes()).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_secs(10), socket.head())
            .await
            .unwrap();
    }
    // Headers without end.
    let mut socket = RawSocket::connect(&app.address).await.unwrap();
    let mut endless = good.join("\r\n").into_bytes();
    endless.extend(format!("\r\nX-Long: {}", "x".repeat(1 << 20)).bytes());
    let _ = socket.write(&endless).await;
    let head = socket.head().await.unwrap_or_default();
    assert!(!head.starts_with("HTTP/1.1 101"), "{head}");
    // What strangers send is no fault of ours.
    assert!(!app.log().contains("ERROR"), "{}", app.log());
    // A byte at a time, never coming to the end.
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut socket = RawSocket::connect(&app.address).await.unwrap();
        socket
            .write(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-A: ")
            .await
            .unwrap();
        slow.push(socket);
    }
    for n in 0..20 {
        for socket in &mut slow {
            let _ = socket.write(b"a").await;
        }
        if n == 4 {
            app.is_well().await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for mut socket in slow {
        let ended = tokio::time::timeout(Duration::from_secs(5), socket.head()).await;
        match ended.expect("a slow handshake is cut") {
            Ok(head) => assert!(head.starts_with("HTTP/1.1 4"), "{head}"),
            Err(_cut) => {}
        }
    }
    // Nothing at all.
    let mut idle = tokio::net::TcpStream::connect(&app.address).await.unwrap();
    let mut byte = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), idle.read(&mut byte)).await;
    assert!(read.is_ok(), "a connection that says nothing stays open");
    // Upgraded, and then nothing.
    let mut socket = RawSocket::upgrade(&app.address, Encoding::Json, &token)
        .await
        .unwrap();
    assert_ne!(socket.ended().await, Ended::StillOpen);
    app.is_well().await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_until_some_go() {
    // A proxy's own address is not counted, and by default this machine is one.
    let app = TestApp::with(&[
        ("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "8"),
        ("FIRESIDE_TRUSTED_PROXIES", "10.0.0.0/8"),
    ])
    .await;
    let token = app.stranger("crowd");
    let mut sockets = Vec::new();
    let refused = loop {
        let connect = app.connector(&token, Encoding::Json).connect().await;
        match connect {
            Ok(socket) => sockets.push(socket),
            Err(error) => break error,
        }
        assert!(sockets.len() <= 8, "the limit does not hold");
    };
    if let Some(status) = refused.status() {
        assert!(matches!(status, 429 | 503), "{refused}");
    }
    assert!(
        sockets.len() >= 4,
        "{} connections and then: {refused}",
        sockets.len()
    );
    sockets[0].hello().await.unwrap();
    let _: Started = sockets[0]
        .command("session.start", &json!({}))
        .await
        .unwrap();
    sockets.truncate(1);
    // Those that went make room.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        if app
            .connector(&token, Encoding::Json)
            .connect()
            .await
            .is_ok()
        {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "nobody gets in any more"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sockets[0].until_pong().await.unwrap();
}

/// What is not yours reads as if it were not there, whatever you try on it.
#[tokio::test]
async fn other_peoples_things_are_not_found() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let mallory = app.account("mallory").await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let dm = open_dm(&mut a, &bob.id).await;
    let group = make_room(&mut a, "group", &[&bob.id]).await.id;
    for room in [&dm, &group] {
        a.say(room, "secret", "for bob's eyes").await.unwrap();
    }
    for encoding in ENCODINGS {
        let (mut m, started) = app.session(&mallory.access_token, encoding).await;
        assert!(started.rooms.is_empty() && started.friends.is_empty());
        let absent = json!("r:none");
        for room in [json!(dm), json!(group)] {
            for (op, extra) in [
                ("room.get", json!({})),
                ("room.members", json!({})),
                ("room.sync", json!({"after": 0})),
                ("room.join", json!({})),
                ("room.leave", json!({})),
                ("room.watch", json!({"on": true})),
                ("room.update", json!({"name": "mine"})),
                ("room.invite", json!({"user": mallory.id})),
                ("room.kick", json!({"user": bob.id})),
                ("room.ban", json!({"user": bob.id})),
                ("room.unban", json!({"user": bob.id})),
                ("room.mute", json!({"user": bob.id})),
                ("room.unmute", json!({"user": bob.id})),
                ("room.role", json!({"user": mallory.id, "role": "owner"})),
                ("message.send", json!({"nonce": "n", "text": "hi"})),
                ("message.edit", json!({"seq": 2, "text": "hi"})),
                ("message.delete", json!({"seq": 2})),
                ("reaction.add", json!({"seq": 2, "emoji": "x"})),
                ("reaction.remove", json!({"seq": 2, "emoji": "x"})),
                ("typing", json!({"on": true})),
                ("read", json!({"seq": 2})),
            ] {
                let mut errors = Vec::new();
                for room in [&room, &absent] {
                    let mut body = extra.clone();
                    body["room"] = room.clone();
                    let refused = m.refused(op, &body).await;
                    errors.push(refused.unwrap_or_else(|e| panic!("{op} {room}: {e}")));
                }
                assert_eq!(errors[0].code, ErrorCode::NotFound, "{op}");
                // Not a word's difference between hidden and absent.
                assert_eq!(errors[0], errors[1], "{op}");
            }
        }
        // Nothing of it ever reached her.
        let seen = m.until_pong().await.unwrap();
        assert!(!format!("{seen:?}").contains("for bob's eyes"));
        let _: Value = m.command("session.end", &json!({})).await.unwrap();
    }
    // Nor did anything she tried reach them.
    let get: RoomReply = a
        .command("room.get", &json!({"room": group}))
        .await
        .unwrap();
    assert_eq!(get.room.members, 2);
    for path in [
        format!("/v1/rooms/{dm}"),
        format!("/v1/rooms/{dm}/messages"),
        format!("/v1/rooms/{group}/log"),
    ] {
        let token = Some(mallory.access_token.as_str());
        let answer = app
            .rest
            .call(Method::GET, &path, None, token)
            .await
            .unwrap();
        assert_eq!(answer.status, 404, "{path}");
    }
    let path = format!("/v1/friends/{}", bob.id);
    let token = Some(mallory.access_token.as_str());
    let parted = app
        .rest
        .call(Method::DELETE, &path, None, token)
        .await
        .unwrap();
    assert!(matches!(parted.status, 200 | 204 | 404), "{parted:?}");
    let list = app
        .rest
        .ok(Method::GET, "/v1/friends", None, Some(&bob.access_token))
        .await;
    assert_eq!(list.unwrap()["items"][0]["user"]["id"], alice.id.as_str());
    app.is_well().await;
}

#[tokio::test]
async fn a_flood_of_commands_is_limited_and_then_closed() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let token = app.stranger(&format!("flood{encoding:?}"));
        let (mut socket, _) = app.session(&token, encoding).await;
        let one = encoding.encode(&json!({"id": 1, "op": "room.get", "d": {"room": "r:x"}}));
        let frame = vec![one.unwrap(); 100].join(encoding.separator());
        let mut closed = None;
        for _ in 0..100 {
            if let Err(WireError::Closed(how)) = socket.send_frame(frame.clone()).await {
                closed = Some(how);
                break;
            }
        }
        let closed = match closed {
            Some(closed) => closed,
            None => socket.closed().await.unwrap(),
        };
        // The flood itself may break the connection under the close frame.
        assert!(matches!(closed.code, Some(4201) | None), "{closed:?}");
    }
    app.is_well().await;
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
