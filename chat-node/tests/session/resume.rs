//! Resuming, replacing and ending.

use serde_json::json;
use shared::{
    codes::{CloseCode, ErrorCode},
    protocol::{
        codec::Encoding,
        command::SessionStart,
        reply::{Resumed, RoomReply, Started},
    },
};

use crate::rig::{Options, Rig, rig, rig_with, user};

/// A room with ann and bob in it, and their sessions.
async fn room(
    rig: &Rig,
) -> (
    loadtest::WsClient,
    loadtest::WsClient,
    Started,
    shared::id::RoomId,
) {
    rig.people.befriend(&user("ann"), &user("bob"));
    let (mut ann, _) = rig.start("ann").await;
    let (bob, started) = rig.start("bob").await;
    let open = json!({"user": "bob"});
    let room: RoomReply = ann.command("room.open_dm", &open).await.unwrap();
    (ann, bob, started, room.room.id)
}

/// Waits for the entry, and answers its position in the stream and in the room.
async fn hears(client: &mut loadtest::WsClient, seq: u64) -> (u64, u64) {
    let wanted = |event: &loadtest::client::SeenEvent| {
        event
            .entry()
            .is_some_and(|entry| entry.entry.seq.get() == seq)
    };
    let event = client.event_where("the entry", wanted).await.unwrap();
    (event.s.unwrap(), seq)
}

#[actix_rt::test]
async fn a_resume_replays_what_was_missed_whatever_worker_the_new_socket_is_on() {
    let rig = rig().await;
    let (mut ann, mut bob, session, room) = room(&rig).await;
    // The kernel spreads sockets over the workers: twelve in a row are not all on one.
    for round in 0..12 {
        let encoding = [Encoding::Json, Encoding::MsgPack][round % 2];
        let said = ann
            .say(&room, &format!("a{round}"), "before")
            .await
            .unwrap();
        let (s, seq) = hears(&mut bob, said.seq.get()).await;
        // Gone without a word, or with a close of its own: the session does not mind.
        if round % 3 == 0 {
            bob.close(1000).await.unwrap();
        } else {
            drop(bob);
        }
        for n in 0..3 {
            ann.say(&room, &format!("b{round}-{n}"), "meanwhile")
                .await
                .unwrap();
        }
        bob = rig.socket_with(&rig.token("bob"), encoding).await;
        bob.hello().await.unwrap();
        let resume = json!({"sid": session.sid, "s": s});
        let id = bob.post("session.resume", &resume).await.unwrap();
        for n in 1..=3 {
            let event = bob
                .event_where("an entry", |event| event.entry().is_some())
                .await
                .unwrap();
            assert_eq!(event.s, Some(s + n));
            assert_eq!(event.entry().unwrap().entry.seq.get(), seq + n);
        }
        let resumed: Resumed = serde_json::from_value(bob.reply(id).await.unwrap()).unwrap();
        assert_eq!(resumed.sid, session.sid);
        // What was acknowledged a moment ago may be on its way to bob's worker still.
        assert!(resumed.replayed <= 3, "{}", resumed.replayed);
        // The other way round works on the new socket too.
        let said = bob
            .say(&room, &format!("c{round}"), "here again")
            .await
            .unwrap();
        let (s, _) = hears(&mut bob, said.seq.get()).await;
        bob.post("session.ack", &json!({"s": s})).await.unwrap();
    }
    assert_eq!(rig.surroundings.sessions.of_user(&user("bob")), 1);
}

#[actix_rt::test]
async fn a_second_socket_replaces_the_first() {
    let rig = rig().await;
    let (mut ann, mut first, session, room) = room(&rig).await;
    let mut before = 0;
    for round in 0..6 {
        let mut second = rig.socket("bob").await;
        let resumed = second.resume(&session.sid, 0).await.unwrap();
        assert!(round == 0 || resumed.replayed == before + 1);
        before = resumed.replayed;
        first.closed_with(CloseCode::Replaced).await.unwrap();
        let said = ann
            .say(&room, &format!("n{round}"), "to the second")
            .await
            .unwrap();
        second.entry(&room, said.seq.get()).await.unwrap();
        first = second;
    }
    let said = ann.say(&room, "last", "hear it once").await.unwrap();
    first.entry(&room, said.seq.get()).await.unwrap();
}

#[actix_rt::test]
async fn what_cannot_be_resumed_is_lost_and_the_socket_may_start() {
    let rig = rig().await;
    let (_ann, _bob, session, _) = room(&rig).await;
    let mut eve = rig.socket("eve").await;
    eve.hello().await.unwrap();
    let cases = [
        ("somebody else's", json!({"sid": session.sid, "s": 0})),
        ("unknown", json!({"sid": "s:none", "s": 0})),
    ];
    for (name, body) in cases {
        let lost = eve.refused("session.resume", &body).await.unwrap();
        assert_eq!(lost.code, ErrorCode::SessionLost, "{name}");
    }
    let _: Started = eve.command("session.start", &json!({})).await.unwrap();

    // A position that never was; the socket has been on another thread, perhaps, and came back.
    for _ in 0..6 {
        let mut bob = rig.socket("bob").await;
        bob.hello().await.unwrap();
        let ahead = json!({"sid": session.sid, "s": 99});
        let lost = bob.refused("session.resume", &ahead).await.unwrap();
        assert_eq!(lost.code, ErrorCode::SessionLost);
        let _: Started = bob
            .command("session.start", &json!({"device": "new"}))
            .await
            .unwrap();
    }
}

#[actix_rt::test]
async fn commands_behind_a_resume_in_its_frame_are_not_lost() {
    let rig = rig().await;
    let (_ann, bob, session, _) = room(&rig).await;
    drop(bob);
    for _ in 0..4 {
        let mut bob = rig.socket("bob").await;
        bob.hello().await.unwrap();
        let resume = json!({"id": 1, "op": "session.resume", "d": {"sid": session.sid, "s": 0}});
        let frame = format!("{resume}\n{{\"id\":2,\"op\":\"ping\"}}");
        bob.send_frame(frame.into_bytes()).await.unwrap();
        bob.send_frame(b"{\"id\":3,\"op\":\"ping\"}".to_vec())
            .await
            .unwrap();
        assert!(bob.reply(1).await.unwrap()["replayed"].is_number());
        assert!(bob.reply(2).await.unwrap()["ts"].is_number());
        assert!(bob.reply(3).await.unwrap()["ts"].is_number());
    }
}

#[actix_rt::test]
async fn an_ended_session_cannot_be_resumed() {
    let rig = rig().await;
    let (mut ann, session) = rig.start("ann").await;
    let _: serde_json::Value = ann.command("session.end", &json!({})).await.unwrap();
    assert_eq!(ann.closed().await.unwrap().code, Some(1000));
    assert_eq!(rig.surroundings.sessions.len(), 0);
    let mut again = rig.socket("ann").await;
    let lost = again.resume(&session.sid, 0).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
}

#[actix_rt::test]
async fn the_same_device_replaces_its_older_session_and_the_oldest_gives_way() {
    let settings = chat_node::session::SessionSettings {
        max_sessions_per_user: 3,
        ..Default::default()
    };
    let options = Options {
        session: settings,
        ..Options::default()
    };
    let rig = rig_with(options).await;
    let on = |device: &str| SessionStart {
        device: Some(shared::id::DeviceId::parse(device).unwrap()),
        ..Default::default()
    };
    let mut old = rig.socket("ann").await;
    let session = old.start(&on("phone")).await.unwrap();
    let mut new = rig.socket("ann").await;
    new.start(&on("phone")).await.unwrap();
    old.closed_with(CloseCode::Replaced).await.unwrap();
    let mut late = rig.socket("ann").await;
    let lost = late.resume(&session.sid, 0).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::SessionLost));

    let (_one, _) = rig.start("ann").await;
    let (_two, _) = rig.start("ann").await;
    assert_eq!(rig.surroundings.sessions.of_user(&user("ann")), 3);
    let (_three, _) = rig.start("ann").await;
    new.closed_with(CloseCode::Replaced).await.unwrap();
}
