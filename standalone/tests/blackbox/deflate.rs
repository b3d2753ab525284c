//! permessage-deflate (RFC 7692): agreed on only where it is switched on, compressed for who agreed
//! to it and for nobody else, and bounded in what it may inflate to.

use std::collections::VecDeque;

use loadtest::raw::{Ended, RawFrame, RawSocket};
use serde_json::{Value, json};
use shared::{
    id::RoomId,
    protocol::{codec::Encoding, reply::Started},
};

use crate::app::{ENCODINGS, TestApp, make_room};

const ANSWER: &str = "sec-websocket-extensions: permessage-deflate; \
                      server_no_context_takeover; client_no_context_takeover\r\n";
/// As Chromium and Firefox offer it.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// A socket whose frames are looked at before they are understood.
struct Client {
    raw: RawSocket,
    encoding: Encoding,
    agreed: bool,
    /// Objects that have arrived in a frame with others, and whether that was compressed.
    waiting: VecDeque<(Value, bool)>,
}

impl Client {
    async fn connect(app: &TestApp, token: &str, encoding: Encoding, offer: &str) -> Self {
        let upgraded = RawSocket::upgrade_offering(&app.address, encoding, token, offer);
        let (raw, head) = upgraded.await.unwrap();
        let mut client = Self {
            raw,
            encoding,
            agreed: head.to_lowercase().contains(ANSWER),
            waiting: VecDeque::new(),
        };
        assert_eq!(client.agreed, head.to_lowercase().contains("deflate"));
        assert_eq!(client.next().await.0["ev"], "hello");
        client
    }

    async fn start(app: &TestApp, token: &str, encoding: Encoding, offer: &str) -> (Self, Started) {
        let mut client = Self::connect(app, token, encoding, offer).await;
        let (ok, _) = client.ask("session.start", &json!({})).await;
        (client, serde_json::from_value(ok).unwrap())
    }

    fn frame(&self, value: &Value) -> RawFrame {
        let opcode = match self.encoding {
            Encoding::Json => 1,
            Encoding::MsgPack => 2,
        };
        RawFrame::new(opcode, self.encoding.encode(value).unwrap())
    }

    /// The next object, and whether it came compressed.
    async fn next(&mut self) -> (Value, bool) {
        while self.waiting.is_empty() {
            let frame = self.raw.read().await.unwrap().expect("the end");
            if frame.opcode >= 8 {
                assert_ne!(frame.opcode, 8, "{:?}", frame.close_code());
                continue;
            }
            let compressed = match frame.rsv {
                0 => false,
                4 if self.agreed => true,
                other => panic!("reserved bits {other}"),
            };
            let message = frame.message().unwrap();
            let mut objects = Vec::new();
            match self.encoding {
                Encoding::Json => objects.extend(
                    (serde_json::Deserializer::from_slice(&message).into_iter())
                        .map(|object| object.unwrap()),
                ),
                Encoding::MsgPack => {
                    let mut rest = &message[..];
                    while !rest.is_empty() {
                        objects.push(rmp_serde::from_read(&mut rest).unwrap());
                    }
                }
            }
            let objects = objects
                .into_iter()
                .map(|object: Value| (object, compressed));
            self.waiting.extend(objects);
        }
        self.waiting.pop_front().unwrap()
    }

    /// Sends a command, compressed if that was agreed on, and answers what it came to.
    async fn ask(&mut self, op: &str, d: &Value) -> (Value, bool) {
        let command = self.frame(&json!({"id": 1, "op": op, "d": d}));
        let command = if self.agreed {
            command.compressed()
        } else {
            command
        };
        self.raw.frame(&command).await.unwrap();
        let mut events = VecDeque::new();
        let answer = loop {
            let (object, compressed) = self.next().await;
            if object["id"] == 1 {
                assert!(object["ok"].is_object(), "{object}");
                break (object["ok"].clone(), compressed);
            }
            events.push_back((object, compressed));
        };
        events.append(&mut self.waiting);
        self.waiting = events;
        answer
    }

    /// The next `message.new`: its place in the stream, its words, and whether it came compressed.
    async fn message(&mut self) -> (u64, String, bool) {
        loop {
            let (object, compressed) = self.next().await;
            if object["ev"] == "message.new" {
                let text = object["d"]["text"].as_str().unwrap().to_owned();
                return (object["s"].as_u64().unwrap(), text, compressed);
            }
        }
    }

    async fn say(&mut self, room: &RoomId, nonce: &str, text: &str) {
        let d = json!({"room": room, "nonce": nonce, "text": text});
        self.ask("message.send", &d).await;
    }
}

async fn compressing() -> TestApp {
    TestApp::with(&[("FIRESIDE_DEFLATE", "true")]).await
}

fn long(n: usize) -> String {
    format!("{n}: are you on tonight, {}", "or tomorrow, ".repeat(20))
}

/// A group of two accounts and their tokens.
async fn group(app: &TestApp) -> (RoomId, String, String) {
    let (alice, bob) = app.friends().await;
    let (mut owner, _) = app.session(&alice.access_token, Encoding::Json).await;
    let room = make_room(&mut owner, "group", &[&bob.id]).await;
    (room.id, alice.access_token, bob.access_token)
}

#[tokio::test]
async fn nothing_is_agreed_on_unless_it_is_switched_on_and_offered() {
    let (off, on) = tokio::join!(TestApp::start(), compressing());
    let token = off.stranger("negotiator");
    let cases = [
        (&off, OFFER, false),
        (&on, "", false),
        (&on, OFFER, true),
        (&on, "Sec-WebSocket-Extensions: permessage-bzip2\r\n", false),
        (
            &on,
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10, \
             permessage-deflate\r\n",
            true,
        ),
        (
            &on,
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
            false,
        ),
    ];
    for (app, offer, agreed) in cases {
        let client = Client::connect(app, &token, Encoding::Json, offer).await;
        assert_eq!(client.agreed, agreed, "{offer}");
    }
}

#[tokio::test]
async fn members_of_one_room_get_the_same_words_compressed_or_not() {
    let app = compressing().await;
    let (room, alice, bob) = group(&app).await;
    let mut members = Vec::new();
    for encoding in ENCODINGS {
        for offer in [OFFER, ""] {
            members.push(Client::start(&app, &bob, encoding, offer).await.0);
        }
    }
    for encoding in ENCODINGS {
        let (mut speaker, _) = Client::start(&app, &alice, encoding, OFFER).await;
        for n in 0..3 {
            speaker
                .say(&room, &format!("l{encoding:?}{n}"), &long(n))
                .await;
            speaker.say(&room, &format!("s{encoding:?}{n}"), "hi").await;
        }
        for member in &mut members {
            for n in 0..3 {
                let (_, text, compressed) = member.message().await;
                assert_eq!((text, compressed), (long(n), member.agreed));
                assert_eq!(member.message().await.1, "hi");
            }
        }
    }
    app.is_well().await;
}

#[tokio::test]
async fn compressed_commands_come_whole_and_in_fragments() {
    let app = compressing().await;
    let (room, alice, _) = group(&app).await;
    for encoding in ENCODINGS {
        let (mut client, _) = Client::start(&app, &alice, encoding, OFFER).await;
        client
            .say(&room, &format!("whole{encoding:?}"), &long(1))
            .await;
        assert_eq!(client.message().await.1, long(1));

        let d = json!({"room": room, "nonce": format!("cut{encoding:?}"), "text": long(2)});
        let whole = client
            .frame(&json!({"id": 2, "op": "message.send", "d": d}))
            .compressed();
        let (first, rest) = whole.payload.split_at(11);
        let (second, third) = rest.split_at(1);
        let mut fragments = RawFrame {
            payload: first.into(),
            ..whole.clone()
        }
        .unfinished()
        .bytes();
        fragments.extend(RawFrame::continuation(second).unfinished().bytes());
        fragments.extend(RawFrame::new(9, "between").bytes());
        fragments.extend(RawFrame::continuation(third).bytes());
        for byte in fragments {
            client.raw.write(&[byte]).await.unwrap();
        }
        assert_eq!(client.message().await.1, long(2));
    }
}

#[tokio::test]
async fn what_compression_may_not_do_closes_with_the_code_of_the_standard() {
    let app = compressing().await;
    let token = app.stranger("bomber");
    let bomb = vec![b' '; 64 << 20];
    let ping = b"{\"op\":\"ping\"}";
    let cases: Vec<(&str, &str, Vec<RawFrame>, u16)> = vec![
        (
            "not agreed on",
            "",
            vec![RawFrame::text(ping).compressed()],
            1002,
        ),
        (
            "a compressed ping",
            OFFER,
            vec![RawFrame::new(9, "x").compressed()],
            1002,
        ),
        ("RSV2", OFFER, vec![RawFrame::text(ping).reserved(2)], 1002),
        (
            "RSV1 and RSV2",
            OFFER,
            vec![RawFrame::text(ping).reserved(6)],
            1002,
        ),
        (
            "RSV1 on a continuation",
            OFFER,
            vec![
                RawFrame::text("{").compressed().unfinished(),
                RawFrame::continuation("}").reserved(4),
            ],
            1002,
        ),
        (
            "noise",
            OFFER,
            vec![RawFrame::text(vec![0xff; 60]).reserved(4)],
            1007,
        ),
        ("nothing", OFFER, vec![RawFrame::text("").reserved(4)], 1007),
        (
            "not UTF-8 inside",
            OFFER,
            vec![RawFrame::text(b"{\"op\":\"\xff\"}".to_vec()).compressed()],
            1007,
        ),
        (
            "a bomb",
            OFFER,
            vec![RawFrame::text(bomb).compressed()],
            1009,
        ),
        (
            "one byte too long once inflated",
            OFFER,
            vec![RawFrame::text(vec![b' '; 16_385]).compressed()],
            1009,
        ),
        (
            "an empty command as long as may be",
            OFFER,
            vec![RawFrame::text(vec![b' '; 16_384]).compressed()],
            4400,
        ),
    ];
    for (name, offer, frames, code) in cases {
        let mut client = Client::connect(&app, &token, Encoding::Json, offer).await;
        for frame in frames {
            // The server may have had enough before the last of them.
            let _ = client.raw.frame(&frame).await;
        }
        assert_eq!(
            client.raw.ended().await,
            Ended::Closed(Some(code)),
            "{name}"
        );
    }
    app.is_well().await;
}

/// What a session missed is kept as events, not as bytes: the next socket gets it as it takes it.
#[tokio::test]
async fn a_session_moves_between_sockets_that_compress_and_sockets_that_do_not() {
    let app = compressing().await;
    let (room, alice, bob) = group(&app).await;
    let (mut speaker, _) = Client::start(&app, &alice, Encoding::Json, OFFER).await;
    let (mut socket, started) = Client::start(&app, &bob, Encoding::Json, OFFER).await;
    speaker.say(&room, "first", &long(0)).await;
    let (mut s, text, compressed) = socket.message().await;
    assert_eq!((text, compressed), (long(0), true));
    let ways = [
        (Encoding::Json, ""),
        (Encoding::MsgPack, OFFER),
        (Encoding::MsgPack, ""),
        (Encoding::Json, OFFER),
    ];
    for (turn, (encoding, offer)) in ways.into_iter().enumerate() {
        drop(socket);
        for n in 0..5 {
            speaker
                .say(&room, &format!("away{turn}{n}"), &long(n))
                .await;
        }
        socket = Client::connect(&app, &bob, encoding, offer).await;
        let d = json!({"sid": started.sid, "s": s});
        let resume = socket.frame(&json!({"id": 9, "op": "session.resume", "d": d}));
        let resume = if socket.agreed {
            resume.compressed()
        } else {
            resume
        };
        socket.raw.frame(&resume).await.unwrap();
        // The replay comes before the answer; what was on its way between nodes comes after it.
        let (mut texts, mut answered) = (Vec::new(), false);
        while !answered || texts.len() < 5 {
            let (object, compressed) = socket.next().await;
            if let Some(place) = object["s"].as_u64() {
                assert_eq!(place, s + 1, "{object}");
                s = place;
            }
            if object["ev"] == "message.new" {
                assert_eq!(compressed, socket.agreed, "{object}");
                texts.push(object["d"]["text"].as_str().unwrap().to_owned());
            }
            if object["id"] == 9 {
                assert!(object["ok"].is_object(), "{object}");
                answered = true;
            }
        }
        assert_eq!(texts, (0..5).map(long).collect::<Vec<_>>());
        // And it goes on in both directions.
        socket.say(&room, &format!("back{turn}"), &long(7)).await;
        let (place, text, compressed) = socket.message().await;
        assert_eq!((place, text, compressed), (s + 1, long(7), socket.agreed));
        s = place;
    }
    app.is_well().await;
}
