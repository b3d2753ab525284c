//! Starting, and what goes on in a session.

use serde_json::json;
use shared::{
    codes::ErrorCode,
    id::Timestamp,
    protocol::{
        codec::Encoding,
        command::SessionStart,
        reply::{Pong, RoomReply, Started},
    },
};

use crate::rig::{rig, user};

#[actix_rt::test]
async fn two_friends_start_and_talk_in_both_encodings() {
    let rig = rig().await;
    rig.people.befriend(&user("ann"), &user("bob"));
    let mut ann = rig.socket("ann").await;
    let mut bob = rig.socket_with(&rig.token("bob"), Encoding::MsgPack).await;
    let started = ann.start(&SessionStart::default()).await.unwrap();
    assert_eq!(
        (started.me.id, started.me.name.as_str()),
        (user("ann"), "ann")
    );
    assert_eq!(started.friends.len(), 1);
    assert_eq!(started.limits.session_ttl_ms, 120_000);
    bob.start(&SessionStart::default()).await.unwrap();

    let open = json!({"user": "bob"});
    let room: RoomReply = ann.command("room.open_dm", &open).await.unwrap();
    let room = room.room.id;
    for n in 1..=20_u64 {
        let nonce = format!("n{n}");
        let said = ann.say(&room, &nonce, &format!("hello {n}")).await.unwrap();
        let heard = bob.entry(&room, said.seq.get()).await.unwrap();
        assert_eq!(heard.entry.user, user("ann"));
    }

    // A new session of the same people sees the room and what is unread in it.
    let (_again, started) = rig.start("bob").await;
    assert_eq!(started.rooms.len(), 1);
    assert_eq!(
        (started.rooms[0].id.clone(), started.rooms[0].unread),
        (room, 20)
    );
}

#[actix_rt::test]
async fn a_socket_without_a_session_may_only_begin_one() {
    let rig = rig().await;
    let mut ann = rig.socket("ann").await;
    ann.hello().await.unwrap();
    let pong: Pong = ann.command("ping", &json!({})).await.unwrap();
    assert!(pong.ts <= Timestamp::now());
    let get = json!({"room": "r"});
    let refused = ann.refused("room.get", &get).await.unwrap();
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert!(refused.message.contains("start"), "{refused}");
    let bad = json!({"device": "not an id"});
    assert_eq!(
        ann.refused("session.start", &bad).await.unwrap().code,
        ErrorCode::Invalid
    );
    let _: Started = ann.command("session.start", &json!({})).await.unwrap();
    let again = ann.refused("session.start", &json!({})).await.unwrap();
    assert_eq!(again.code, ErrorCode::Conflict);
    assert_eq!(
        ann.refused("room.get", &get).await.unwrap().code,
        ErrorCode::NotFound
    );
}

#[actix_rt::test]
async fn commands_sent_before_the_snapshot_wait_for_it() {
    let rig = rig().await;
    let mut ann = rig.socket("ann").await;
    ann.hello().await.unwrap();
    // One frame, then more frames, without waiting for any answer.
    ann.send_frame(
        b"{\"id\":1,\"op\":\"session.start\"}\n{\"id\":2,\"op\":\"ping\"}\n{\"id\":3,\"op\":\"no.such\"}".to_vec(),
    )
    .await
    .unwrap();
    ann.send_frame(
        b"{\"id\":4,\"op\":\"room.create\",\"d\":{\"kind\":\"group\",\"name\":\"g\"}}".to_vec(),
    )
    .await
    .unwrap();
    assert!(ann.reply(1).await.unwrap()["sid"].is_string());
    assert!(ann.reply(2).await.unwrap()["ts"].is_number());
    assert!(ann.reply(3).await.is_err());
    assert_eq!(ann.reply(4).await.unwrap()["room"]["name"], "g");
}

#[actix_rt::test]
async fn nothing_falls_between_the_snapshot_and_the_first_event() {
    let rig = rig().await;
    let (mut ann, _) = rig.start("ann").await;
    rig.people.befriend(&user("ann"), &user("bob"));
    let create = json!({"kind": "channel", "name": "all"});
    let room: RoomReply = ann.command("room.create", &create).await.unwrap();
    let room = room.room.id;
    let (mut bob, _) = rig.start("bob").await;
    let _: RoomReply = bob
        .command("room.join", &json!({"room": room}))
        .await
        .unwrap();
    // Ann talks without pause while bob's devices come in: each has a snapshot up to some head and
    // hears everything after it.
    let talk = async {
        for n in 0..400_u64 {
            let send = json!({"room": room, "nonce": format!("n{n}"), "text": "x"});
            let id = ann.post("message.send", &send).await.unwrap();
            if n % 20 == 19 {
                ann.reply(id).await.unwrap();
            }
        }
    };
    let come = async {
        let mut devices = Vec::new();
        for _ in 0..10 {
            devices.push(rig.start("bob").await);
        }
        devices
    };
    let ((), devices) = tokio::join!(talk, come);
    let last = {
        let said = ann.say(&room, "last", "over").await.unwrap();
        said.seq.get()
    };
    for (mut device, started) in devices {
        let head = started.rooms[0].head.get();
        let (mut next, mut s) = (head + 1, 0);
        while next <= last {
            let event = device
                .event_where("an entry", |event| event.entry().is_some())
                .await
                .unwrap();
            assert!(event.s.unwrap() > s, "the stream's positions grow");
            s = event.s.unwrap();
            // An entry may be stored, and so in the snapshot, before it is told of.
            let seq = event.entry().unwrap().entry.seq.get();
            if seq > head {
                assert_eq!(seq, next);
                next += 1;
            }
        }
    }
}
