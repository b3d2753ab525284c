//! What is said in rooms, and what becomes of it.

use loadtest::Seen;
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    protocol::{
        codec::Encoding,
        reply::{Appended, Empty, ReadReply, RoomReply, Synced},
        room::EntryBody,
    },
};

use crate::app::{ENCODINGS, TestApp, make_room, open_dm};

#[tokio::test]
async fn a_message_reaches_everybody_with_all_it_carries() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    for (sender, reader) in [(0, 1), (1, 0)] {
        let (mut a, _) = app.session(&alice.access_token, ENCODINGS[sender]).await;
        let (mut b, _) = app.session(&bob.access_token, ENCODINGS[reader]).await;
        let room = open_dm(&mut a, &bob.id).await;
        let first = a
            .say(&room, &format!("first{sender}"), "naïve 日本語 🔥")
            .await
            .unwrap();
        let data = json!({"loadout": [1, -2, 2.5, null, true, {"k": "v"}], "n": 4_294_967_296_u64});
        let body = json!({
            "room": room, "nonce": format!("full{sender}"), "text": "all of it",
            "reply_to": first.seq, "mentions": [bob.id], "data": data,
        });
        let ack: Appended = a.command("message.send", &body).await.unwrap();
        assert_eq!(ack.seq, first.seq.next());
        assert!(!ack.dup);
        for socket in [&mut a, &mut b] {
            let entry = socket.entry(&room, first.seq.get()).await.unwrap().entry;
            let EntryBody::Message(message) = entry.body else {
                panic!("{entry:?}")
            };
            assert_eq!(message.text, "naïve 日本語 🔥");
            let entry = socket.entry(&room, ack.seq.get()).await.unwrap().entry;
            assert_eq!((entry.user, entry.ts), (alice.id.clone(), ack.ts));
            let EntryBody::Message(message) = entry.body else {
                panic!()
            };
            assert_eq!(message.reply_to, Some(first.seq));
            assert_eq!(message.mentions, std::slice::from_ref(&bob.id));
            assert_eq!(message.data.as_ref(), Some(&data));
            assert_eq!(message.nonce.as_str(), format!("full{sender}"));
        }
    }
}

#[tokio::test]
async fn a_nonce_is_said_once_however_often_it_is_sent() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let token = app.stranger(&format!("owner{encoding:?}"));
        let (mut a, _) = app.session(&token, encoding).await;
        let (mut other_device, _) = app.session(&token, encoding).await;
        let room = make_room(&mut a, "channel", &[]).await.id;
        let first = a.say(&room, "n1", "once").await.unwrap();
        for socket in [&mut a, &mut other_device] {
            let again = socket
                .say(&room, "n1", "whatever it says now")
                .await
                .unwrap();
            assert_eq!(
                (again.seq, again.ts, again.dup),
                (first.seq, first.ts, true)
            );
        }
        // A hundred at once under one nonce are one message.
        let mut ids = Vec::new();
        let body = json!({"room": room, "nonce": "n2", "text": "storm"});
        for _ in 0..15 {
            ids.push(a.post("message.send", &body).await.unwrap());
            ids.push(other_device.post("message.send", &body).await.unwrap());
        }
        let mut fresh = 0;
        for pair in ids.chunks(2) {
            for (socket, id) in [&mut a, &mut other_device].into_iter().zip(pair) {
                let ack: Appended =
                    serde_json::from_value(socket.reply(*id).await.unwrap()).unwrap();
                assert_eq!(ack.seq, first.seq.next());
                fresh += usize::from(!ack.dup);
            }
        }
        assert_eq!(fresh, 1);
        // A different room is a different name space.
        let elsewhere = make_room(&mut a, "channel", &[]).await.id;
        assert!(!a.say(&elsewhere, "n1", "here").await.unwrap().dup);
    }
}

#[tokio::test]
async fn edits_deletes_and_reactions_are_entries_and_fold_in() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let room = open_dm(&mut a, &bob.id).await;
        let said = a.say(&room, "n1", "helo").await.unwrap();
        let at = |extra: Value| {
            let mut body = json!({"room": room, "seq": said.seq});
            body.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            body
        };
        // Only the author edits.
        let refused = b
            .refused("message.edit", &at(json!({"text": "mine"})))
            .await
            .unwrap();
        assert_eq!(refused.code, ErrorCode::Forbidden);
        let edited: Appended = a
            .command("message.edit", &at(json!({"text": "hello"})))
            .await
            .unwrap();
        assert_eq!(edited.seq, said.seq.next());
        let event = b.event("message.edited").await.unwrap();
        assert_eq!(event.d["target"], said.seq.get());
        assert_eq!(event.d["text"], "hello");
        assert_eq!(event.d["seq"], edited.seq.get());
        // Reactions: once each, and an op that changes nothing answers the head.
        let fire = at(json!({"emoji": "🔥"}));
        let added: Appended = b.command("reaction.add", &fire).await.unwrap();
        assert_eq!(added.seq, edited.seq.next());
        let event = a.event("reaction.changed").await.unwrap();
        assert_eq!(
            (&event.d["emoji"], &event.d["on"]),
            (&json!("🔥"), &json!(true))
        );
        let again: Appended = b.command("reaction.add", &fire).await.unwrap();
        assert_eq!(again.seq, added.seq);
        let mine: Appended = a.command("reaction.add", &fire).await.unwrap();
        let page = page(&app, &alice.access_token, &room, "").await;
        let message = find(&page, said.seq.get());
        assert_eq!(message["text"], "hello");
        assert!(message["edited_ts"].is_i64());
        assert_eq!(message["reactions"][0]["count"], 2);
        let removed: Appended = b.command("reaction.remove", &fire).await.unwrap();
        assert_eq!(removed.seq, mine.seq.next());
        // Only the author (or a moderator) takes it back.
        let refused = b.refused("message.delete", &at(json!({}))).await.unwrap();
        assert_eq!(refused.code, ErrorCode::Forbidden);
        let deleted: Appended = a.command("message.delete", &at(json!({}))).await.unwrap();
        let event = b.event("message.deleted").await.unwrap();
        assert_eq!(event.d["target"], said.seq.get());
        // A tombstone stays, the words are gone from every surface.
        for token in [&alice.access_token, &bob.access_token] {
            let page = self::page(&app, token, &room, "").await;
            let message = find(&page, said.seq.get());
            assert_eq!(
                (&message["deleted"], &message["text"]),
                (&json!(true), &json!(""))
            );
            assert!(message.get("reactions").is_none());
        }
        let sync: Synced = b
            .command(
                "room.sync",
                &json!({"room": room, "after": 0, "limit": 500}),
            )
            .await
            .unwrap();
        assert_eq!(sync.head, deleted.seq);
        assert_eq!(sync.entries.len() as u64, deleted.seq.get());
        let words = serde_json::to_string(&sync.entries[said.seq.get() as usize - 1]).unwrap();
        assert!(!words.contains("helo"), "{words}");
        // A deleted message is neither edited nor reacted to.
        for (op, body) in [
            ("message.edit", at(json!({"text": "back"}))),
            ("reaction.add", fire.clone()),
        ] {
            let refused = a.refused(op, &body).await.unwrap();
            assert!(
                matches!(refused.code, ErrorCode::NotFound | ErrorCode::Conflict),
                "{op}: {refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn limits_of_a_message_are_kept() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut a, _) = app.session(&app.stranger("owner"), encoding).await;
        let room = make_room(&mut a, "channel", &[]).await.id;
        let longest = "é".repeat(4000);
        a.say(&room, "longest", &longest).await.unwrap();
        let with = |extra: Value| {
            let mut body = json!({"room": room, "nonce": "x", "text": "x"});
            body.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            body
        };
        let data = json!({"data": {"k": "x".repeat(4096)}});
        let many: Vec<String> = (0..51).map(|n| format!("u{n}")).collect();
        for (extra, code) in [
            (json!({"text": "x".repeat(4001)}), ErrorCode::TooLarge),
            (json!({"text": ""}), ErrorCode::Invalid),
            (json!({"text": " \n "}), ErrorCode::Invalid),
            (data, ErrorCode::TooLarge),
            (json!({"mentions": many}), ErrorCode::Invalid),
            (json!({"mentions": ["nobody-here"]}), ErrorCode::Invalid),
            (json!({"reply_to": 9999}), ErrorCode::NotFound),
            (json!({"reply_to": 1}), ErrorCode::NotFound),
            (json!({"nonce": "x".repeat(65)}), ErrorCode::Invalid),
            (json!({"nonce": ""}), ErrorCode::Invalid),
        ] {
            let refused = a.refused("message.send", &with(extra.clone())).await;
            let refused = refused.unwrap_or_else(|e| panic!("{extra}: {e}"));
            assert_eq!(refused.code, code, "{extra}");
        }
        // Text may be empty when data is there.
        let body = with(json!({"text": "", "data": {"k": 1}, "nonce": "data"}));
        let _: Appended = a.command("message.send", &body).await.unwrap();
        for emoji in ["", "two words", &"x".repeat(33)] {
            let body = json!({"room": room, "seq": 2, "emoji": emoji});
            let refused = a.refused("reaction.add", &body).await.unwrap();
            assert_eq!(refused.code, ErrorCode::Invalid, "{emoji:?}");
        }
    }
}

#[tokio::test]
async fn unread_and_mentions_are_counted_and_read_marks_travel() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let (mut b2, _) = app.session(&bob.access_token, encoding).await;
        let room = make_room(&mut a, "group", &[&bob.id]).await.id;
        let mut seqs = Vec::new();
        for n in 0..4 {
            let mentions = if n == 2 { vec![&bob.id] } else { vec![] };
            let body =
                json!({"room": room, "nonce": format!("n{n}"), "text": "x", "mentions": mentions});
            let ack: Appended = a.command("message.send", &body).await.unwrap();
            seqs.push(ack.seq);
        }
        let get = json!({"room": room});
        let view: RoomReply = b.command("room.get", &get).await.unwrap();
        assert_eq!((view.room.unread, view.room.mentions), (4, 1));
        let own: RoomReply = a.command("room.get", &get).await.unwrap();
        assert_eq!((own.room.unread, own.room.mentions), (0, 0));
        // A deleted message stops counting.
        let delete = json!({"room": room, "seq": seqs[0]});
        let _: Appended = a.command("message.delete", &delete).await.unwrap();
        let view: RoomReply = b.command("room.get", &get).await.unwrap();
        assert_eq!((view.room.unread, view.room.mentions), (3, 1));
        // Reading up to the mention leaves the last one.
        let read: ReadReply = b
            .command("read", &json!({"room": room, "seq": seqs[2]}))
            .await
            .unwrap();
        assert_eq!(read.seq, seqs[2]);
        let view: RoomReply = b.command("room.get", &get).await.unwrap();
        assert_eq!(
            (view.room.unread, view.room.mentions, view.room.read),
            (1, 0, seqs[2])
        );
        // The other device and, in a group, the other members hear of it.
        for socket in [&mut b2, &mut a] {
            let event = socket
                .event_where("read", |e| e.name == "read" && e.d["seq"] == seqs[2].get())
                .await
                .unwrap();
            assert_eq!(event.d["user"], bob.id.as_str());
        }
        // It does not go back.
        let back: ReadReply = b
            .command("read", &json!({"room": room, "seq": seqs[1]}))
            .await
            .unwrap();
        assert_eq!(back.seq, seqs[2]);
        // Nor beyond the end.
        let beyond = json!({"room": room, "seq": 9999});
        match b.command::<ReadReply>("read", &beyond).await {
            Ok(read) => assert!(read.seq <= view.room.head.plus(2)),
            Err(error) => assert_eq!(error.code(), Some(ErrorCode::Invalid)),
        }
        // A new session sees the same.
        let (_, started) = app.session(&bob.access_token, encoding).await;
        let view = started.rooms.iter().find(|r| r.id == room).unwrap();
        assert!(view.unread <= 1);
    }
}

#[tokio::test]
async fn typing_is_told_to_the_others_and_never_replayed() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, started) = app.session(&bob.access_token, encoding).await;
        let room = open_dm(&mut a, &bob.id).await;
        let body = json!({"room": room, "on": true});
        let _: Empty = a.command("typing", &body).await.unwrap();
        let event = b.event("typing").await.unwrap();
        assert_eq!(event.s, None);
        assert_eq!(event.d["user"], alice.id.as_str());
        assert_eq!(event.d["on"], true);
        // Not to the one who types.
        let seen = a.until_pong().await.unwrap();
        assert!(
            !seen
                .iter()
                .any(|s| matches!(s, Seen::Event(e) if e.name == "typing"))
        );
        let (mut other, _) = app.session(&bob.access_token, encoding).await;
        let said = a.say(&room, "said", "said").await.unwrap();
        drop(b);
        let _: Empty = a
            .command("typing", &json!({"room": room, "on": false}))
            .await
            .unwrap();
        let _: Empty = a.command("typing", &body).await.unwrap();
        // What was told before this has arrived when this has, on whatever node.
        let edit = json!({"room": room, "seq": said.seq, "text": "corrected"});
        let edited: serde_json::Value = a.command("message.edit", &edit).await.unwrap();
        let edited = edited["seq"].as_u64().unwrap();
        other.entry(&room, edited).await.unwrap();
        let mut b = app
            .connector(&bob.access_token, encoding)
            .connect()
            .await
            .unwrap();
        b.resume(&started.sid, 0).await.unwrap();
        let seen = b.until_pong().await.unwrap();
        assert!(
            !seen
                .iter()
                .any(|s| matches!(s, Seen::Event(e) if e.name == "typing"))
        );
    }
}

#[tokio::test]
async fn history_comes_in_pages_before_after_and_around() {
    let app = TestApp::start().await;
    let token = app.stranger("owner");
    let (mut a, _) = app.session(&token, Encoding::Json).await;
    let room = make_room(&mut a, "channel", &[]).await.id;
    let mut seqs = Vec::new();
    for n in 0..60 {
        seqs.push(
            a.say(&room, &format!("n{n}"), &format!("line {n}"))
                .await
                .unwrap()
                .seq
                .get(),
        );
    }
    let of = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|m| m["seq"].as_u64().unwrap()).collect()
    };
    let newest = page(&app, &token, &room, "").await;
    assert_eq!(of(&newest), seqs[10..]);
    assert_eq!(
        (&newest["has_before"], &newest["has_after"]),
        (&json!(true), &json!(false))
    );
    let before = page(
        &app,
        &token,
        &room,
        &format!("?before={}&limit=5", seqs[10]),
    )
    .await;
    assert_eq!(of(&before), seqs[5..10]);
    assert_eq!(
        (&before["has_before"], &before["has_after"]),
        (&json!(true), &json!(true))
    );
    let first = page(
        &app,
        &token,
        &room,
        &format!("?before={}&limit=100", seqs[3]),
    )
    .await;
    assert_eq!(of(&first), seqs[..3]);
    assert_eq!(first["has_before"], false);
    let after = page(&app, &token, &room, &format!("?after={}&limit=5", seqs[20])).await;
    assert_eq!(of(&after), seqs[21..26]);
    let around = page(
        &app,
        &token,
        &room,
        &format!("?around={}&limit=11", seqs[30]),
    )
    .await;
    let around = of(&around);
    assert!(
        around.contains(&seqs[30]) && around.len() <= 11,
        "{around:?}"
    );
    assert!(around.first() < Some(&seqs[30]) && around.last() > Some(&seqs[30]));
    for bad in ["?limit=0", "?limit=101", "?before=x", "?before=1&after=2"] {
        let path = format!("/v1/rooms/{room}/messages{bad}");
        let answer = app
            .rest
            .call(reqwest::Method::GET, &path, None, Some(&token))
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{bad}: {:?}", answer.body);
        assert_eq!(answer.body["code"], "invalid");
    }
}

#[tokio::test]
async fn a_channel_moderator_takes_back_what_a_member_said() {
    let app = TestApp::start().await;
    let (mut owner, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    let (mut guest, _) = app.session(&app.stranger("guest"), Encoding::MsgPack).await;
    let room = make_room(&mut owner, "channel", &[]).await.id;
    let _: RoomReply = guest
        .command("room.join", &json!({"room": room}))
        .await
        .unwrap();
    let rude = guest.say(&room, "n1", "rude").await.unwrap();
    let fine = owner.say(&room, "n1", "fine").await.unwrap();
    let refused = guest
        .refused("message.delete", &json!({"room": room, "seq": fine.seq}))
        .await
        .unwrap();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let _: Appended = owner
        .command("message.delete", &json!({"room": room, "seq": rude.seq}))
        .await
        .unwrap();
    guest.event("message.deleted").await.unwrap();
}

#[tokio::test]
async fn too_many_sends_are_refused_with_a_time() {
    let app = TestApp::start().await;
    let (mut a, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    let room = make_room(&mut a, "channel", &[]).await.id;
    let mut ids = Vec::new();
    // More than the bucket holds, and less than makes a flood.
    for n in 0..110 {
        let body = json!({"room": room, "nonce": format!("n{n}"), "text": "flood"});
        match a.post("message.send", &body).await {
            Ok(id) => ids.push(id),
            Err(_) => break,
        }
    }
    let (mut good, mut limited) = (0, 0);
    for id in ids {
        match a.reply(id).await {
            Ok(_) => good += 1,
            Err(loadtest::WireError::Refused(error)) => {
                assert_eq!((error.code, error.retry), (ErrorCode::RateLimited, true));
                assert!(error.retry_after_ms.unwrap() > 0);
                limited += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(good > 0 && limited > 0, "{good} good, {limited} limited");
}

async fn page(app: &TestApp, token: &str, room: &shared::id::RoomId, query: &str) -> Value {
    let path = format!("/v1/rooms/{room}/messages{query}");
    app.rest
        .ok(reqwest::Method::GET, &path, None, Some(token))
        .await
        .unwrap()
}

fn find(page: &Value, seq: u64) -> &Value {
    let items = page["items"].as_array().unwrap();
    items.iter().find(|m| m["seq"] == seq).unwrap()
}
