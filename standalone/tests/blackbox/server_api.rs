//! What the game's own backend may do.

use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    protocol::{
        codec::Encoding,
        room::{EntryBody, MemberAction},
    },
};

use crate::app::{ENCODINGS, TestApp};

#[tokio::test]
async fn a_backend_makes_rooms_speaks_and_keeps_order() {
    let app = TestApp::start().await;
    let service = app.service();
    let bearer = format!("Bearer {service}");
    for encoding in ENCODINGS {
        let alice = app.account("alice").await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        // Nobody's friend, and still brought in.
        let body = json!({"kind": "lobby", "name": "Match 7", "members": [alice.id]});
        let made = app
            .rest
            .ok(
                Method::POST,
                "/v1/server/rooms",
                Some(&body),
                Some(&service),
            )
            .await
            .unwrap();
        let room: shared::id::RoomId = serde_json::from_value(made["room"]["id"].clone()).unwrap();
        let added = a.event("room.added").await.unwrap();
        assert_eq!(added.d["room"]["id"], room.as_str());
        let path = format!("/v1/server/rooms/{room}/messages");
        let headers = [
            ("authorization", bearer.as_str()),
            ("idempotency-key", "round-1"),
        ];
        let body = json!({"text": "Round one"});
        let said = app
            .rest
            .call_with(Method::POST, &path, Some(&body), &headers)
            .await
            .unwrap();
        assert!((200..300).contains(&said.status), "{said:?}");
        let entry = a
            .entry(&room, said.body["seq"].as_u64().unwrap())
            .await
            .unwrap()
            .entry;
        assert_eq!(entry.user.as_str(), "system");
        assert!(matches!(&entry.body, EntryBody::Message(m) if m.text == "Round one"));
        let again = app
            .rest
            .call_with(Method::POST, &path, Some(&body), &headers)
            .await
            .unwrap();
        assert_eq!(again.body["dup"], true);
        // Kicked and banned without being a member itself.
        let kick = format!("/v1/server/rooms/{room}/kick");
        let who = json!({"user": alice.id});
        app.rest
            .ok(Method::POST, &kick, Some(&who), Some(&service))
            .await
            .unwrap();
        a.event("room.removed").await.unwrap();
        let ban = format!("/v1/server/rooms/{room}/ban");
        let banned = app
            .rest
            .call(Method::POST, &ban, Some(&who), Some(&service))
            .await
            .unwrap();
        assert!(matches!(banned.status, 200 | 404), "{banned:?}");
        if banned.status == 200 {
            let back = a
                .refused("room.join", &json!({"room": room}))
                .await
                .unwrap();
            assert_eq!(back.code, ErrorCode::Forbidden);
        }
    }
}

#[tokio::test]
async fn a_backend_disconnects_a_user() {
    let app = TestApp::start().await;
    let alice = app.account("alice").await;
    let (mut a, started) = app.session(&alice.access_token, Encoding::Json).await;
    let (mut a2, _) = app.session(&alice.access_token, Encoding::MsgPack).await;
    let path = format!("/v1/server/users/{}/disconnect", alice.id);
    let answer = app
        .rest
        .call(Method::POST, &path, None, Some(&app.service()))
        .await
        .unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
    for socket in [&mut a, &mut a2] {
        let bye = socket.event("bye").await.unwrap();
        assert_eq!(
            (&bye.d["code"], &bye.d["resume"]),
            (&json!(4101), &json!(false))
        );
        socket.closed_with(CloseCode::SessionLost).await.unwrap();
    }
    // The session is gone; the person may come back.
    let connector = app.connector(&alice.access_token, Encoding::Json);
    let mut socket = connector.connect().await.unwrap();
    let lost = socket.resume(&started.sid, 0).await.unwrap_err();
    assert_eq!(lost.code(), Some(ErrorCode::SessionLost));
    let _: Value = socket.command("session.start", &json!({})).await.unwrap();
}

#[tokio::test]
async fn presence_in_bulk_and_bad_requests() {
    let app = TestApp::start().await;
    let service = app.service();
    let alice = app.account("alice").await;
    let (_a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let body = json!({"users": [alice.id, "u:nobody"]});
    let path = "/v1/server/presence";
    let bulk = app
        .rest
        .ok(Method::POST, path, Some(&body), Some(&service))
        .await
        .unwrap();
    let items = bulk["items"].as_array().unwrap();
    let of = |id: &str| items.iter().find(|i| i["user"] == id);
    assert_eq!(of(alice.id.as_str()).unwrap()["status"], "online");
    if let Some(nobody) = of("u:nobody") {
        assert_eq!(nobody["status"], "offline");
    }
    let many: Vec<String> = (0..501).map(|n| format!("u{n}")).collect();
    for body in [
        json!({"users": []}),
        json!({"users": many}),
        json!({"users": "x"}),
    ] {
        let answer = app
            .rest
            .call(Method::POST, path, Some(&body), Some(&service))
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{body}");
    }
    // Without the token, or with a person's, the door is shut.
    for token in [None, Some(alice.access_token.as_str())] {
        let answer = app
            .rest
            .call(Method::POST, path, Some(&body), token)
            .await
            .unwrap();
        assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    }
}

/// What the system does is in the log like everything else.
#[tokio::test]
async fn the_log_tells_who_acted() {
    let app = TestApp::start().await;
    let service = app.service();
    let (alice, bob) = app.friends().await;
    let body = json!({"kind": "group", "name": "Guild", "as": alice.id, "members": [bob.id]});
    let made = app
        .rest
        .ok(
            Method::POST,
            "/v1/server/rooms",
            Some(&body),
            Some(&service),
        )
        .await
        .unwrap();
    let room = made["room"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/server/rooms/{room}/kick");
    let who = json!({"user": bob.id});
    app.rest
        .ok(Method::POST, &path, Some(&who), Some(&service))
        .await
        .unwrap();
    let path = format!("/v1/rooms/{room}/log");
    let log: Value = app
        .rest
        .ok(Method::GET, &path, None, Some(&alice.access_token))
        .await
        .unwrap();
    let log: shared::protocol::reply::Synced = serde_json::from_value(log).unwrap();
    let last = log.entries.last().unwrap();
    assert!(
        matches!(&last.body, EntryBody::Member(m) if m.action == MemberAction::Kick && m.member == bob.id)
    );
    assert_eq!(log.entries[0].user, alice.id);
}
