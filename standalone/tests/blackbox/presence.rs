//! Who sees whom how.

use std::time::Duration;

use loadtest::{Seen, WsClient, accounts::Account};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::UserId,
    protocol::{
        codec::Encoding,
        presence::Status,
        reply::{Empty, RoomReply},
    },
};

use crate::app::{ENCODINGS, TestApp, make_room};

/// Presence without its delays, which have tests of their own below.
const PROMPT: &[(&str, &str)] = &[
    ("FIRESIDE_PRESENCE_GRACE", "200ms"),
    ("FIRESIDE_PRESENCE_DAMPING", "50ms"),
    ("FIRESIDE_LIMIT_PRESENCE", "1000/s"),
];

async fn set(socket: &mut WsClient, body: Value) {
    let _: Empty = socket.command("presence.set", &body).await.unwrap();
}

async fn sees(viewer: &mut WsClient, who: &UserId, status: &str) -> Value {
    let event = viewer
        .event_where(&format!("{who} {status}"), |e| {
            e.name == "presence" && e.d["user"] == who.as_str() && e.d["status"] == status
        })
        .await
        .unwrap();
    assert_eq!(event.s, None, "presence is ephemeral");
    event.d
}

fn mentions(seen: &[Seen], who: &UserId) -> bool {
    seen.iter()
        .any(|s| matches!(s, Seen::Event(e) if e.name == "presence" && e.d["user"] == who.as_str()))
}

async fn over_rest(app: &TestApp, viewer: &Account, who: &UserId) -> Option<Value> {
    let path = format!("/v1/presence?user={who}");
    let answer = app
        .rest
        .ok(Method::GET, &path, None, Some(&viewer.access_token))
        .await
        .unwrap();
    let items = answer["items"].as_array().unwrap();
    items
        .iter()
        .find(|i| i["user"] == who.as_str() || i["id"] == who.as_str())
        .cloned()
}

fn status_of(item: &Value) -> &str {
    item["status"]
        .as_str()
        .or_else(|| item["presence"]["status"].as_str())
        .unwrap()
}

#[tokio::test]
async fn friends_see_each_other_come_change_and_go() {
    let app = TestApp::with(PROMPT).await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, started) = app.session(&alice.access_token, encoding).await;
        assert_eq!(started.friends[0].presence.status, Status::Offline);
        assert_eq!(started.me.presence.status, Status::Online);
        let (mut b, started) = app.session(&bob.access_token, encoding).await;
        assert_eq!(started.friends[0].presence.status, Status::Online);
        sees(&mut a, &bob.id, "online").await;
        set(&mut b, json!({"status": "away"})).await;
        sees(&mut a, &bob.id, "away").await;
        let activity = json!({
            "kind": "game", "game": "Ember Keep", "state": "In the lobby", "details": "Ranked",
            "party": {"id": "p-7", "size": 2, "max": 4}, "joinable": true,
        });
        set(&mut b, json!({"status": "online", "activity": activity})).await;
        let seen = a
            .event_where("activity", |e| {
                e.name == "presence" && e.d["activity"].is_object()
            })
            .await
            .unwrap();
        for (key, value) in activity.as_object().unwrap() {
            assert_eq!(seen.d["activity"][key], *value, "{key}");
        }
        assert!(
            seen.d["activity"]["since"].is_i64(),
            "the server says since when"
        );
        let item = over_rest(&app, &alice, &bob.id).await.unwrap();
        assert_eq!(status_of(&item), "online");
        let _: Empty = b.command("session.end", &json!({})).await.unwrap();
        let gone = sees(&mut a, &bob.id, "offline").await;
        assert!(gone["last_seen"].is_i64());
        assert!(gone.get("activity").is_none());
        let (_, started) = app.session(&alice.access_token, encoding).await;
        assert_eq!(started.friends[0].presence.status, Status::Offline);
        assert!(started.friends[0].presence.last_seen.is_some());
    }
}

#[tokio::test]
async fn invisible_is_offline_on_every_surface() {
    let app = TestApp::with(PROMPT).await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let carol = app.account("carol").await;
        app.rest.befriend(&alice, &carol).await.unwrap();
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        // One friend who was here and left, one who is here unseen.
        let (mut c, _) = app.session(&carol.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        sees(&mut a, &carol.id, "online").await;
        sees(&mut a, &bob.id, "online").await;
        let _: Empty = c.command("session.end", &json!({})).await.unwrap();
        let activity = json!({"kind": "game", "game": "Hidden"});
        set(&mut b, json!({"status": "invisible", "activity": activity})).await;
        let left = sees(&mut a, &carol.id, "offline").await;
        let hid = sees(&mut a, &bob.id, "offline").await;
        let keys = |v: &Value| -> Vec<String> { v.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&left), keys(&hid));
        // The snapshot, REST and the server API read alike.
        let (_, started) = app.session(&alice.access_token, encoding).await;
        for friend in &started.friends {
            assert_eq!(friend.presence.status, Status::Offline, "{friend:?}");
            assert!(friend.presence.activity.is_none());
            assert!(friend.presence.last_seen.is_some(), "{friend:?}");
        }
        let rest_b = over_rest(&app, &alice, &bob.id).await.unwrap();
        let rest_c = over_rest(&app, &alice, &carol.id).await.unwrap();
        assert_eq!(keys(&rest_b), keys(&rest_c));
        assert_eq!(status_of(&rest_b), "offline");
        let body = json!({"users": [bob.id, carol.id]});
        let bulk = app
            .rest
            .ok(
                Method::POST,
                "/v1/server/presence",
                Some(&body),
                Some(&app.service()),
            )
            .await
            .unwrap();
        for item in bulk["items"].as_array().unwrap() {
            assert_eq!(status_of(item), "offline", "{item}");
        }
        // To oneself it shows.
        let (mut other, own) = app.session(&bob.access_token, encoding).await;
        assert_eq!(own.me.presence.status, Status::Invisible);
        let _: Empty = other.command("session.end", &json!({})).await.unwrap();
        // Unseen acts give nothing away: new activity, a new device, leaving.
        a.until_pong().await.unwrap();
        let activity = json!({"kind": "game", "game": "Still hidden"});
        set(&mut b, json!({"status": "invisible", "activity": activity})).await;
        let _: Empty = b.command("session.end", &json!({})).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let seen = a.until_pong().await.unwrap();
        assert!(!mentions(&seen, &bob.id), "{seen:?}");
    }
}

#[tokio::test]
async fn nobody_who_is_there_unseen_is_seen_typing() {
    let app = TestApp::with(PROMPT).await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let carol = app.account("carol").await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut c, _) = app.session(&carol.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        sees(&mut a, &bob.id, "online").await;
        let dm = crate::app::open_dm(&mut b, &alice.id).await;
        let group = make_room(&mut b, "group", &[&alice.id]).await.id;
        let channel = make_room(&mut b, "channel", &[]).await.id;
        let _: RoomReply = c
            .command("room.join", &json!({"room": channel}))
            .await
            .unwrap();
        let rooms = [dm, group, channel];
        let types = async |b: &mut WsClient, on: bool| {
            for room in &rooms {
                let _: Empty = b
                    .command("typing", &json!({"room": room, "on": on}))
                    .await
                    .unwrap();
            }
        };
        let typing = |seen: &[Seen]| {
            let typing = |s: &&Seen| matches!(s, Seen::Event(e) if e.name == "typing");
            seen.iter().filter(typing).count()
        };
        set(&mut b, json!({"status": "invisible"})).await;
        // At once, whatever others were told by now.
        types(&mut b, true).await;
        types(&mut b, false).await;
        // On a device that says nothing of itself, too.
        let (mut other, _) = app.session(&bob.access_token, encoding).await;
        types(&mut other, true).await;
        let mut seen = c.until_pong().await.unwrap();
        // Until she is told that he went, which may be later.
        while !mentions(&seen, &bob.id) {
            seen.extend(a.until_pong().await.unwrap());
            // Who asks without a pause is held for a flood.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(typing(&seen), 0, "{seen:?}");
        set(&mut b, json!({"status": "online"})).await;
        sees(&mut a, &bob.id, "online").await;
        types(&mut b, true).await;
        for _ in 0..2 {
            a.event("typing").await.unwrap();
        }
        c.event("typing").await.unwrap();
    }
}

/// Not by what is missing either: gone, hidden and blocked look the same in a room.
#[tokio::test]
async fn in_an_open_room_those_who_are_not_seen_look_alike() {
    let app = TestApp::with(PROMPT).await;
    let viewer = app.account("viewer").await;
    let (mut v, _) = app.session(&viewer.access_token, Encoding::Json).await;
    let room = make_room(&mut v, "channel", &[]).await.id;
    let join = json!({"room": room});
    let mut people = Vec::new();
    for name in ["gone", "hidden", "blocker"] {
        let account = app.account(name).await;
        let (mut socket, _) = app.session(&account.access_token, Encoding::Json).await;
        let _: RoomReply = socket.command("room.join", &join).await.unwrap();
        people.push((account, socket));
    }
    let watch = json!({"room": room, "on": true});
    let _: Empty = v.command("room.watch", &watch).await.unwrap();
    for (account, _) in &people {
        sees(&mut v, &account.id, "online").await;
    }
    let _: Empty = people[0]
        .1
        .command("session.end", &json!({}))
        .await
        .unwrap();
    set(&mut people[1].1, json!({"status": "invisible"})).await;
    let block = format!("/v1/blocks/{}", viewer.id);
    let token = Some(people[2].0.access_token.as_str());
    app.rest.ok(Method::PUT, &block, None, token).await.unwrap();
    let plain = |id: &UserId| json!({"user": id, "status": "offline"});
    for (account, _) in &people {
        assert_eq!(
            sees(&mut v, &account.id, "offline").await,
            plain(&account.id)
        );
    }
    // And so to somebody who opens the room afterwards.
    let (mut again, _) = app.session(&viewer.access_token, Encoding::Json).await;
    let _: Empty = again.command("room.watch", &watch).await.unwrap();
    for (account, _) in &people {
        let seen = sees(&mut again, &account.id, "offline").await;
        assert_eq!(seen, plain(&account.id));
    }
}

#[tokio::test]
async fn devices_are_merged_into_one_person() {
    let app = TestApp::with(PROMPT).await;
    let (alice, bob) = app.friends().await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let (mut launcher, _) = app.session(&bob.access_token, Encoding::Json).await;
    sees(&mut a, &bob.id, "online").await;
    set(&mut launcher, json!({"status": "away"})).await;
    sees(&mut a, &bob.id, "away").await;
    // The game outranks the idle launcher.
    let (mut game, _) = app.session(&bob.access_token, Encoding::MsgPack).await;
    let activity = json!({"kind": "game", "game": "Ember Keep"});
    set(&mut game, json!({"status": "online", "activity": activity})).await;
    let seen = a
        .event_where("activity", |e| {
            e.name == "presence" && e.d["activity"].is_object()
        })
        .await
        .unwrap();
    assert_eq!(seen.d["status"], "online");
    // Busy on one device is busy.
    set(&mut launcher, json!({"status": "busy"})).await;
    sees(&mut a, &bob.id, "busy").await;
    // Invisible on one device is invisible.
    set(&mut launcher, json!({"status": "invisible"})).await;
    sees(&mut a, &bob.id, "offline").await;
    // The game's device may have been seen before it said what is played.
    a.until_pong().await.unwrap();
    set(&mut launcher, json!({"status": "online"})).await;
    let back = sees(&mut a, &bob.id, "online").await;
    assert_eq!(back["activity"]["game"], "Ember Keep");
    // One device less is still there.
    let _: Empty = launcher.command("session.end", &json!({})).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let seen = a.until_pong().await.unwrap();
    assert!(
        !seen
            .iter()
            .any(|s| matches!(s, Seen::Event(e) if e.d["status"] == "offline"))
    );
    let _: Empty = game.command("session.end", &json!({})).await.unwrap();
    sees(&mut a, &bob.id, "offline").await;
}

#[tokio::test]
async fn who_is_blocked_sees_nothing() {
    let app = TestApp::with(PROMPT).await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        sees(&mut a, &bob.id, "online").await;
        let dm = crate::app::open_dm(&mut a, &bob.id).await;
        let room = make_room(&mut b, "channel", &[]).await.id;
        let _: RoomReply = a
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        let block = format!("/v1/blocks/{}", alice.id);
        app.rest
            .ok(Method::PUT, &block, None, Some(&bob.access_token))
            .await
            .unwrap();
        // The blocker's own devices hear of it, the other never hears "block".
        b.event("block.changed").await.unwrap();
        a.event("friend.changed").await.unwrap();
        a.until_pong().await.unwrap();
        set(&mut b, json!({"status": "busy"})).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = a.until_pong().await.unwrap();
        assert!(
            !seen
                .iter()
                .any(|s| matches!(s, Seen::Event(e) if e.name == "block.changed"
                || (e.name == "presence" && e.d["status"] == "busy"))),
            "{seen:?}"
        );
        assert!(over_rest(&app, &alice, &bob.id).await.is_none());
        let (_, started) = app.session(&alice.access_token, encoding).await;
        assert!(started.friends.is_empty());
        // Neither does watching a room they share show the blocker.
        let _: Empty = a
            .command("room.watch", &json!({"room": room, "on": true}))
            .await
            .unwrap();
        set(&mut b, json!({"status": "away"})).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = a.until_pong().await.unwrap();
        assert!(
            !seen
                .iter()
                .any(|s| matches!(s, Seen::Event(e) if e.name == "presence"
                && e.d["user"] == bob.id.as_str() && e.d["status"] == "away")),
            "{seen:?}"
        );
        // And their direct room takes no more messages.
        let say = json!({"room": dm, "nonce": "n", "text": "hello?"});
        let refused = a.refused("message.send", &say).await.unwrap();
        assert!(
            matches!(refused.code, ErrorCode::Forbidden | ErrorCode::NotFound),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn strangers_see_nothing_unless_they_watch_a_room() {
    let app = TestApp::with(PROMPT).await;
    for encoding in ENCODINGS {
        let bob = app.account("bob").await;
        let carol = app.account("carol").await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let (mut c, _) = app.session(&carol.access_token, encoding).await;
        let room = make_room(&mut b, "channel", &[]).await.id;
        let watch = json!({"room": room, "on": true});
        // Not from outside.
        let refused = c.refused("room.watch", &watch).await.unwrap();
        assert_eq!(refused.code, ErrorCode::NotFound);
        let _: RoomReply = c
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        set(&mut b, json!({"status": "away"})).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let seen = c.until_pong().await.unwrap();
        assert!(!mentions(&seen, &bob.id), "{seen:?}");
        assert!(over_rest(&app, &carol, &bob.id).await.is_none());
        let _: Empty = c.command("room.watch", &watch).await.unwrap();
        sees(&mut c, &bob.id, "away").await;
        set(&mut b, json!({"status": "busy"})).await;
        sees(&mut c, &bob.id, "busy").await;
        let off = json!({"room": room, "on": false});
        let _: Empty = c.command("room.watch", &off).await.unwrap();
        c.until_pong().await.unwrap();
        set(&mut b, json!({"status": "online"})).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let seen = c.until_pong().await.unwrap();
        assert!(!mentions(&seen, &bob.id), "{seen:?}");
    }
}

#[tokio::test]
async fn a_short_absence_is_not_published() {
    let app = TestApp::with(&[("FIRESIDE_PRESENCE_GRACE", "5s")]).await;
    let (alice, bob) = app.friends().await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let (b, started) = app.session(&bob.access_token, Encoding::Json).await;
    sees(&mut a, &bob.id, "online").await;
    drop(b);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut b = app
        .connector(&bob.access_token, Encoding::Json)
        .connect()
        .await
        .unwrap();
    b.resume(&started.sid, 0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5500)).await;
    let seen = a.until_pong().await.unwrap();
    assert!(!mentions(&seen, &bob.id), "{seen:?}");
    // A longer one is.
    drop(b);
    sees(&mut a, &bob.id, "offline").await;
}

/// Presence is not replayed: whoever resumes is told how their friends and they themselves stand, if that changed lately.
#[tokio::test]
async fn who_resumes_is_told_what_changed_meanwhile() {
    let app = TestApp::with(PROMPT).await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let (mut other, _) = app.session(&alice.access_token, encoding).await;
        let (a, started) = app.session(&alice.access_token, encoding).await;
        let connector = app.connector(&alice.access_token, encoding);
        drop(a);
        set(&mut other, json!({"status": "busy"})).await;
        sees(&mut other, &alice.id, "busy").await;
        set(&mut b, json!({"status": "away"})).await;
        sees(&mut other, &bob.id, "away").await;
        let mut back = connector.connect().await.unwrap();
        back.resume(&started.sid, 0).await.unwrap();
        sees(&mut back, &alice.id, "busy").await;
        sees(&mut back, &bob.id, "away").await;
        // Nobody noticed that the socket before was dead: what it was told is told again.
        set(&mut other, json!({"status": "online"})).await;
        sees(&mut back, &alice.id, "online").await;
        set(&mut b, json!({"status": "busy"})).await;
        sees(&mut back, &bob.id, "busy").await;
        let mut next = connector.connect().await.unwrap();
        next.resume(&started.sid, 0).await.unwrap();
        sees(&mut next, &alice.id, "online").await;
        sees(&mut next, &bob.id, "busy").await;
    }
}

#[tokio::test]
async fn publications_of_one_person_are_damped_and_the_newest_wins() {
    let app = TestApp::with(&[("FIRESIDE_LIMIT_PRESENCE", "1000/s")]).await;
    let (alice, bob) = app.friends().await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let (mut b, _) = app.session(&bob.access_token, Encoding::Json).await;
    sees(&mut a, &bob.id, "online").await;
    for status in ["away", "busy", "online", "away", "online", "busy"] {
        set(&mut b, json!({"status": status})).await;
    }
    let seen = a.drain(Duration::from_millis(3500)).await;
    let statuses: Vec<_> = seen
        .iter()
        .filter_map(|s| match s {
            Seen::Event(e) if e.name == "presence" => e.d["status"].as_str(),
            _ => None,
        })
        .collect();
    assert!(statuses.len() <= 2, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&"busy"));
}
