//! What a client should not do, and what it gets for it.

use std::time::Duration;

use loadtest::raw::{Ended, RawFrame, RawSocket};
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    protocol::{codec::Encoding, command::SessionStart, reply::RoomReply},
};

use crate::rig::{Options, Rig, rig, rig_with, user};

async fn raw(rig: &Rig, name: &str, encoding: Encoding) -> RawSocket {
    let address = rig.server.address().to_string();
    RawSocket::upgrade(&address, encoding, &rig.token(name))
        .await
        .unwrap()
}

#[actix_rt::test]
async fn broken_frames_close_with_the_codes_of_the_standard_and_ours() {
    let rig = rig().await;
    let start = "{\"id\":1,\"op\":\"session.start\"}";
    let (json, msgpack) = (Encoding::Json, Encoding::MsgPack);
    let deep = format!("{{\"op\":\"ping\",\"d\":{}}}", "[".repeat(5_000));
    let cases: Vec<(&str, Encoding, Vec<u8>, u16)> = vec![
        (
            "unmasked",
            json,
            RawFrame::text(start).unmasked().bytes(),
            1002,
        ),
        (
            "reserved bits",
            json,
            RawFrame::text(start).reserved(4).bytes(),
            1002,
        ),
        (
            "unknown opcode",
            json,
            RawFrame::new(3, start).bytes(),
            1002,
        ),
        (
            "stray continuation",
            json,
            RawFrame::continuation(start).bytes(),
            1002,
        ),
        (
            "not UTF-8",
            json,
            RawFrame::text(vec![b'"', 0xff]).bytes(),
            1007,
        ),
        (
            "oversized",
            json,
            RawFrame::text(vec![b' '; 16 * 1024 + 1]).bytes(),
            1009,
        ),
        (
            "huge claim",
            json,
            RawFrame::text("").claiming(1 << 40).bytes(),
            1009,
        ),
        ("empty", json, RawFrame::text("").bytes(), 4400),
        ("no object", json, RawFrame::text("[]").bytes(), 4400),
        ("cut off", json, RawFrame::text("{\"op\":").bytes(), 4400),
        ("deep", json, RawFrame::text(deep).bytes(), 4400),
        (
            "binary on JSON",
            json,
            RawFrame::binary(start).bytes(),
            4400,
        ),
        (
            "text on MessagePack",
            msgpack,
            RawFrame::text(start).bytes(),
            4400,
        ),
        (
            "lying length",
            msgpack,
            RawFrame::binary(b"\x81\xa2op\xdb\xff\xff\xff\xff".to_vec()).bytes(),
            4400,
        ),
    ];
    for (name, encoding, bytes, code) in cases {
        let mut socket = raw(&rig, "ann", encoding).await;
        socket.write(&bytes).await.unwrap();
        assert_eq!(socket.ended().await, Ended::Closed(Some(code)), "{name}");
    }
    // Nobody is left behind, and the node goes on.
    while rig.server.connections() > 0 {
        tokio::task::yield_now().await;
    }
    rig.start("ann").await;
}

#[actix_rt::test]
async fn a_command_in_fragments_with_a_ping_between_is_one_command() {
    let rig = rig().await;
    let mut socket = raw(&rig, "ann", Encoding::Json).await;
    let hello = socket.read().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&hello.payload).contains("\"hello\""));
    let mut bytes = RawFrame::text("{\"id\":1,\"op\":").unfinished().bytes();
    bytes.extend(RawFrame::new(9, "are you there").bytes());
    bytes.extend(RawFrame::continuation("\"session.start\"}").bytes());
    // In pieces that end anywhere.
    for piece in bytes.chunks(7) {
        socket.write(piece).await.unwrap();
    }
    let pong = socket.read().await.unwrap().unwrap();
    assert_eq!(
        (pong.opcode, pong.payload.as_slice()),
        (10, b"are you there".as_slice())
    );
    let started = socket.read().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&started.payload).contains("\"sid\""));
    // A close is answered with its own code.
    socket
        .frame(&RawFrame::close(1001_u16.to_be_bytes()))
        .await
        .unwrap();
    assert_eq!(socket.ended().await, Ended::Closed(Some(1001)));
    assert_eq!(
        rig.surroundings.sessions.len(),
        1,
        "a client's close ends no session"
    );
}

#[actix_rt::test]
async fn a_frame_that_is_too_big_costs_the_socket_and_not_the_session() {
    let rig = rig().await;
    let (mut ann, session) = rig.start("ann").await;
    ann.send_frame(vec![b' '; 20_000]).await.unwrap();
    assert_eq!(ann.closed().await.unwrap().code, Some(1009));
    let mut again = rig.socket("ann").await;
    again.resume(&session.sid, 0).await.unwrap();
    // What cannot be decoded at all is the end of it.
    again.send_frame(b"{".to_vec()).await.unwrap();
    let closed = again.closed().await.unwrap();
    assert_eq!(closed.code, Some(CloseCode::Undecodable.code()));
    let mut late = rig.socket("ann").await;
    assert!(late.resume(&session.sid, 0).await.is_err());
}

#[actix_rt::test]
async fn too_many_commands_are_refused_and_a_flood_closes() {
    let options = Options {
        limit_commands: "1/m burst 5".parse().unwrap(),
        limit_flood: "1/m burst 10".parse().unwrap(),
        ..Options::default()
    };
    let rig = rig_with(options).await;
    let (mut ann, session) = rig.start("ann").await;
    for _ in 0..5 {
        let _: Value = ann.command("ping", &json!({})).await.unwrap();
    }
    let refused = ann.refused("ping", &json!({})).await.unwrap();
    assert_eq!(refused.code, ErrorCode::RateLimited);
    assert!(refused.retry && refused.retry_after_ms.is_some());
    for _ in 0..20 {
        if ann.post("no.such", &json!({})).await.is_err() {
            break;
        }
    }
    ann.closed_with(CloseCode::Flooding).await.unwrap();
    // It may come back.
    let mut again = rig.socket("ann").await;
    again.resume(&session.sid, 0).await.unwrap();
}

/// Pings cost their sender as much as commands do.
#[actix_rt::test]
async fn a_flood_of_pings_closes() {
    let options = Options {
        limit_commands: "1/m burst 5".parse().unwrap(),
        limit_flood: "1/m burst 10".parse().unwrap(),
        ..Options::default()
    };
    let rig = rig_with(options).await;
    for opcode in [9, 10] {
        let mut socket = raw(&rig, "ann", Encoding::Json).await;
        let flood = RawFrame::new(opcode, "x").bytes().repeat(100);
        socket.write(&flood).await.unwrap();
        let code = CloseCode::Flooding.code();
        assert_eq!(socket.ended().await, Ended::Closed(Some(code)));
    }
}

#[actix_rt::test]
async fn a_reader_that_stalls_is_closed_and_nobody_else_waits() {
    let rig = rig().await;
    let (mut ann, _) = rig.start("ann").await;
    let create = json!({"kind": "channel", "name": "all"});
    let room: RoomReply = ann.command("room.create", &create).await.unwrap();
    let room = room.room.id;
    let mut stalled = rig.socket("bob").await;
    stalled.start(&SessionStart::default()).await.unwrap();
    let (mut lively, _) = rig.start("cat").await;
    for client in [&mut stalled, &mut lively] {
        let _: RoomReply = client
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
    }
    let text = "x".repeat(4_000);
    for n in 0..2_000 {
        let said = ann.say(&room, &format!("n{n}"), &text).await.unwrap();
        if n % 100 == 0 {
            lively.entry(&room, said.seq.get()).await.unwrap();
        }
    }
    let last = ann.say(&room, "last", "over").await.unwrap();
    lively.entry(&room, last.seq.get()).await.unwrap();
    stalled.closed_with(CloseCode::TooSlow).await.unwrap();
    assert_eq!(rig.surroundings.sessions.of_user(&user("bob")), 1);
}

#[actix_rt::test]
async fn a_room_that_is_slower_than_its_sender_slows_the_sender() {
    let rig = rig_with(Options {
        room_mailbox: 1,
        ..Options::default()
    })
    .await;
    let (mut ann, _) = rig.start("ann").await;
    let create = json!({"kind": "group", "name": "g"});
    let room: RoomReply = ann.command("room.create", &create).await.unwrap();
    let room = room.room.id;
    // Frames of many commands, faster than one place in the mailbox takes them.
    let mut nonce = 0;
    for frame in 0..10_u64 {
        let mut commands = String::new();
        for n in 0..60 {
            let d = json!({"room": room, "nonce": format!("n{nonce}"), "text": "x"});
            let id = 1_000 + frame * 60 + n;
            commands += &json!({"id": id, "op": "message.send", "d": d}).to_string();
            commands.push('\n');
            nonce += 1;
        }
        ann.send_frame(commands.into_bytes()).await.unwrap();
    }
    let mut last = 0;
    for id in 1_000..1_600 {
        let seq = ann.reply(id).await.unwrap()["seq"].as_u64().unwrap();
        assert!(seq > last, "in the order they were sent");
        last = seq;
    }
    tokio::time::timeout(Duration::from_secs(5), ann.until_pong())
        .await
        .unwrap()
        .unwrap();
}
