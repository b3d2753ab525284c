//! The errors that docs/protocol.md lists for each op are those it answers, each of them shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use loadtest::{WireError, WsClient};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    codes::{ERRORS, ErrorCode},
    id::RoomId,
    protocol::{codec::Encoding, reply::Appended},
};

use crate::app::{TestApp, make_room, open_dm};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const PAGE: &str = include_str!("../../../docs/protocol.md");

/// What is documented: for each op the errors of its row.
fn documented() -> BTreeMap<String, BTreeSet<&'static str>> {
    let rows = PAGE
        .lines()
        .skip_while(|line| *line != "| op | `d` | `ok` | errors |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let named = |cell: &str| {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted
            .filter_map(|word| ERRORS.iter().find(|row| row.word == word))
            .map(|row| row.word)
            .collect::<BTreeSet<_>>()
    };
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let op = cells[0].trim().trim_matches('`').to_owned();
        (op, named(cells.last().unwrap()))
    })
    .filter(|(_, errors)| !errors.is_empty())
    .collect()
}

/// What was shown.
#[derive(Default)]
struct Shown(BTreeMap<String, BTreeSet<&'static str>>);

impl Shown {
    /// `socket` must be refused like that.
    async fn refused(&mut self, socket: &mut WsClient, op: &str, body: Value, code: ErrorCode) {
        let error = socket.refused(op, &body).await;
        let error = error.unwrap_or_else(|e| panic!("{op} {body}: {e}"));
        assert_eq!(error.code, code, "{op} {body}: {}", error.message);
        assert_eq!(error.retry, code.retry(), "{op}");
        self.0.entry(op.to_owned()).or_default().insert(code.word());
    }
}

/// A room of 500, made by the game's backend for `owner`.
async fn full_room(app: &TestApp, kind: &str, owner: &shared::id::UserId) -> RoomId {
    let members: Vec<String> = (0..499).map(|n| format!("full{n}")).collect();
    let body = json!({"kind": kind, "name": "Full", "as": owner, "members": members});
    let (path, service) = ("/v1/server/rooms", app.service());
    let made = app.rest.ok(Method::POST, path, Some(&body), Some(&service));
    serde_json::from_value(made.await.unwrap()["room"]["id"].clone()).unwrap()
}

#[tokio::test]
async fn each_op_answers_the_errors_of_its_row_and_no_row_has_more() {
    use ErrorCode::{
        Conflict, Forbidden, Muted, NotFound, SessionLost, SlowMode, TooLarge, Unauthenticated,
    };
    let app = TestApp::with(&[
        ("FIRESIDE_LIMIT_SENDS", "10000/s"),
        ("FIRESIDE_LIMIT_COMMANDS", "10000/s"),
    ])
    .await;
    let mut shown = Shown::default();
    let (alice, bob) = app.friends().await;
    let carol = app.account("carol").await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let (mut b, _) = app.session(&bob.access_token, Encoding::MsgPack).await;
    let (mut c, started) = app.session(&carol.access_token, Encoding::Json).await;
    let group = make_room(&mut a, "group", &[&bob.id]).await.id;
    let channel = make_room(&mut a, "channel", &[]).await.id;
    let dm = open_dm(&mut a, &bob.id).await;
    let of_alice = a.say(&group, "a1", "hers").await.unwrap().seq;
    let of_bob = b.say(&group, "b1", "his").await.unwrap().seq;
    let in_dm = a.say(&dm, "d1", "between us").await.unwrap().seq;

    // Sessions.
    let resume = json!({"sid": started.sid, "s": 0});
    shown
        .refused(&mut c, "session.start", json!({}), Conflict)
        .await;
    shown
        .refused(&mut c, "session.resume", resume, Conflict)
        .await;
    let connector = app.connector(&carol.access_token, Encoding::Json);
    let mut fresh = connector.connect().await.unwrap();
    let unknown = json!({"sid": "s:none", "s": 0});
    shown
        .refused(&mut fresh, "session.resume", unknown, SessionLost)
        .await;
    for (token, code) in [
        ("x.y.z", Unauthenticated),
        (alice.access_token.as_str(), Forbidden),
    ] {
        let body = json!({"token": token});
        shown.refused(&mut c, "session.renew", body, code).await;
    }

    // To a stranger nothing is there.
    for (op, extra) in [
        ("room.get", json!({})),
        ("room.members", json!({})),
        ("room.sync", json!({"after": 0})),
        ("room.join", json!({})),
        ("room.leave", json!({})),
        ("room.watch", json!({"on": true})),
        ("room.update", json!({"name": "mine"})),
        ("room.invite", json!({"user": carol.id})),
        ("room.kick", json!({"user": bob.id})),
        ("room.ban", json!({"user": bob.id})),
        ("room.unban", json!({"user": bob.id})),
        ("room.mute", json!({"user": bob.id})),
        ("room.unmute", json!({"user": bob.id})),
        ("room.role", json!({"user": carol.id, "role": "owner"})),
        ("message.send", json!({"nonce": "n", "text": "hi"})),
        ("message.edit", json!({"seq": of_alice, "text": "hi"})),
        ("message.delete", json!({"seq": of_alice})),
        ("reaction.add", json!({"seq": of_alice, "emoji": "x"})),
        ("reaction.remove", json!({"seq": of_alice, "emoji": "x"})),
        ("typing", json!({"on": true})),
        ("read", json!({"seq": of_alice})),
    ] {
        let mut body = extra;
        body["room"] = json!(group);
        shown.refused(&mut c, op, body, NotFound).await;
    }

    // A member may not do what takes a role, nor to whom stands above.
    for (op, extra) in [
        ("room.update", json!({"name": "mine"})),
        ("room.invite", json!({"user": carol.id})),
        ("room.kick", json!({"user": alice.id})),
        ("room.ban", json!({"user": alice.id})),
        ("room.unban", json!({"user": carol.id})),
        ("room.mute", json!({"user": alice.id})),
        ("room.unmute", json!({"user": alice.id})),
        ("room.role", json!({"user": bob.id, "role": "owner"})),
        ("message.edit", json!({"seq": of_alice, "text": "ours"})),
        ("message.delete", json!({"seq": of_alice})),
    ] {
        let mut body = extra;
        body["room"] = json!(group);
        shown.refused(&mut b, op, body, Forbidden).await;
    }
    let with_carol = json!({"kind": "group", "name": "Us", "members": [carol.id]});
    shown
        .refused(&mut a, "room.create", with_carol, Forbidden)
        .await;
    let carols = json!({"user": carol.id});
    shown
        .refused(&mut a, "room.open_dm", carols, Forbidden)
        .await;
    shown
        .refused(&mut a, "room.leave", json!({"room": dm}), Forbidden)
        .await;

    // Full, too large, banned.
    let full = full_room(&app, "group", &alice.id).await;
    let body = json!({"room": full, "user": bob.id});
    shown.refused(&mut a, "room.invite", body, Conflict).await;
    let full = full_room(&app, "lobby", &alice.id).await;
    let body = json!({"room": full});
    shown.refused(&mut b, "room.join", body, Conflict).await;
    let path = format!("/v1/server/rooms/{channel}/members");
    let users: Vec<String> = (0..500).map(|n| format!("full{n}")).collect();
    let brought = json!({"users": users});
    let service = app.service();
    app.rest
        .ok(Method::POST, &path, Some(&brought), Some(&service))
        .await
        .unwrap();
    let body = json!({"room": channel, "on": true});
    // Another node may have brought them in: hers hears of it a moment later.
    let since = Instant::now();
    while a.command::<Value>("room.watch", &body).await.is_ok() && since.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shown.refused(&mut a, "room.watch", body, Conflict).await;
    let body = json!({"room": channel, "user": carol.id});
    let _: Value = a.command("room.ban", &body).await.unwrap();
    let body = json!({"room": channel});
    shown.refused(&mut c, "room.join", body, Forbidden).await;

    // What is said.
    let long = "x".repeat(4001);
    let body = json!({"room": group, "nonce": "long", "text": long});
    shown.refused(&mut b, "message.send", body, TooLarge).await;
    let body = json!({"room": group, "seq": of_bob, "text": long});
    shown.refused(&mut b, "message.edit", body, TooLarge).await;
    let react = |n: usize| json!({"room": group, "seq": of_alice, "emoji": format!("e{n}")});
    for n in 0..20 {
        let _: Appended = a.command("reaction.add", &react(n)).await.unwrap();
    }
    shown
        .refused(&mut b, "reaction.add", react(20), Conflict)
        .await;
    let slow = json!({"room": group, "slow_mode_ms": 60_000});
    let _: Value = a.command("room.update", &slow).await.unwrap();
    let say = json!({"room": group, "nonce": "b2", "text": "too soon"});
    shown.refused(&mut b, "message.send", say, SlowMode).await;
    let mute = json!({"room": group, "user": bob.id});
    let _: Value = a.command("room.mute", &mute).await.unwrap();
    for (op, extra) in [
        ("message.send", json!({"nonce": "b3", "text": "hush"})),
        ("message.edit", json!({"seq": of_bob, "text": "hush"})),
        ("reaction.add", json!({"seq": of_alice, "emoji": "e1"})),
        ("typing", json!({"on": true})),
    ] {
        let mut body = extra;
        body["room"] = json!(group);
        shown.refused(&mut b, op, body, Muted).await;
    }
    // Friends no more: the room stays, and nobody speaks in it.
    let path = format!("/v1/friends/{}", bob.id);
    let token = Some(alice.access_token.as_str());
    app.rest
        .call(Method::DELETE, &path, None, token)
        .await
        .unwrap();
    crate::app::friend_state(&mut b, &alice.id).await;
    for (op, extra) in [
        ("message.send", json!({"nonce": "d2", "text": "hello?"})),
        ("reaction.add", json!({"seq": in_dm, "emoji": "x"})),
        ("typing", json!({"on": true})),
    ] {
        let mut body = extra;
        body["room"] = json!(dm);
        shown.refused(&mut b, op, body, Forbidden).await;
    }
    assert_eq!(shown.0, documented());
    app.is_well().await;
}

/// One command after the other, each answer read: first served, then refused, then closed.
#[tokio::test]
async fn who_goes_on_after_being_refused_is_closed_and_told_how_long_to_stay_away() {
    let app = TestApp::with(&[
        ("FIRESIDE_LIMIT_COMMANDS", "1/m burst 5"),
        ("FIRESIDE_LIMIT_FLOOD", "1/m burst 10"),
    ])
    .await;
    for encoding in crate::app::ENCODINGS {
        let token = app.stranger(&format!("flood{encoding:?}"));
        let (mut socket, started) = app.session(&token, encoding).await;
        let mut answers = Vec::new();
        let closed = loop {
            match socket.command::<Value>("ping", &json!({})).await {
                Ok(_) => answers.push(None),
                Err(WireError::Refused(error)) => {
                    assert!(error.retry_after_ms.is_some_and(|ms| ms > 1000));
                    answers.push(Some(error.code));
                }
                Err(WireError::Closed(closed)) => break closed,
                Err(error) => panic!("{error}"),
            }
        };
        let served = [None; 5].into_iter();
        let refused = [Some(ErrorCode::RateLimited); 10];
        assert_eq!(answers, served.chain(refused).collect::<Vec<_>>());
        assert_eq!(closed.code, Some(4201));
        let bye = socket.event("bye").await.unwrap();
        assert_eq!(
            (&bye.d["code"], &bye.d["resume"]),
            (&json!(4201), &json!(true))
        );
        assert!(bye.d["delay_ms"].as_u64().is_some_and(|ms| ms > 0));
        let connector = app.connector(&token, encoding);
        let mut socket = connector.connect().await.unwrap();
        socket.resume(&started.sid, 0).await.unwrap();
    }
}
