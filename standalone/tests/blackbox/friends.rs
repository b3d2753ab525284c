//! Friendship, blocks and profiles, as live sessions hear of them.

use loadtest::{Seen, WsClient};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{id::UserId, protocol::event::FriendState};

use crate::app::{ENCODINGS, TestApp, friend_state, open_dm};

async fn put(app: &TestApp, token: &str, path: &str) -> Value {
    app.rest
        .ok(Method::PUT, path, None, Some(token))
        .await
        .unwrap()
}

async fn delete(app: &TestApp, token: &str, path: &str) {
    app.rest
        .ok(Method::DELETE, path, None, Some(token))
        .await
        .unwrap();
}

async fn next_state(socket: &mut WsClient, other: &UserId) -> FriendState {
    friend_state(socket, other).await
}

#[tokio::test]
async fn both_sides_hear_of_every_step() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = (app.account("alice").await, app.account("bob").await);
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let (to_bob, to_alice) = (
            format!("/v1/friends/{}", bob.id),
            format!("/v1/friends/{}", alice.id),
        );
        // Asked and taken back.
        let asked = put(&app, &alice.access_token, &to_bob).await;
        assert_eq!(asked["state"], "outgoing");
        assert_eq!(next_state(&mut a, &bob.id).await, FriendState::Outgoing);
        assert_eq!(next_state(&mut b, &alice.id).await, FriendState::Incoming);
        delete(&app, &alice.access_token, &to_bob).await;
        assert_eq!(next_state(&mut a, &bob.id).await, FriendState::None);
        assert_eq!(next_state(&mut b, &alice.id).await, FriendState::None);
        // Asked and accepted, by asking back.
        put(&app, &alice.access_token, &to_bob).await;
        let accepted = put(&app, &bob.access_token, &to_alice).await;
        assert_eq!(accepted["state"], "friend");
        for state in [FriendState::Outgoing, FriendState::Friend] {
            assert_eq!(next_state(&mut a, &bob.id).await, state);
        }
        for state in [FriendState::Incoming, FriendState::Friend] {
            assert_eq!(next_state(&mut b, &alice.id).await, state);
        }
        // From then on they see each other, and may talk.
        a.event_where("presence", |e| {
            e.name == "presence" && e.d["user"] == bob.id.as_str() && e.d["status"] == "online"
        })
        .await
        .unwrap();
        let room = open_dm(&mut a, &bob.id).await;
        let ack = a.say(&room, "n1", "hi").await.unwrap();
        b.entry(&room, ack.seq.get()).await.unwrap();
        let list = app
            .rest
            .ok(Method::GET, "/v1/friends", None, Some(&alice.access_token))
            .await
            .unwrap();
        assert_eq!(list["items"][0]["user"]["id"], bob.id.as_str());
        assert_eq!(list["items"][0]["state"], "friend");
        // Parted: no more direct messages.
        delete(&app, &bob.access_token, &to_alice).await;
        assert_eq!(next_state(&mut a, &bob.id).await, FriendState::None);
        let say = json!({"room": room, "nonce": "n2", "text": "still there?"});
        a.refused("message.send", &say).await.unwrap();
    }
}

#[tokio::test]
async fn a_block_is_never_told_to_the_blocked() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let path = format!("/v1/blocks/{}", alice.id);
        put(&app, &bob.access_token, &path).await;
        let event = b.event("block.changed").await.unwrap();
        assert_eq!(
            (&event.d["user"], &event.d["blocked"]),
            (&json!(alice.id), &json!(true))
        );
        // Becoming friends may still have been on its way when the session began.
        while next_state(&mut a, &bob.id).await != FriendState::None {}
        // Asking anew looks as with anybody, and reaches nobody.
        let asked = put(
            &app,
            &alice.access_token,
            &format!("/v1/friends/{}", bob.id),
        )
        .await;
        assert_eq!(asked["state"], "outgoing");
        let seen = b.until_pong().await.unwrap();
        assert!(
            !seen
                .iter()
                .any(|s| matches!(s, Seen::Event(e) if e.d["state"] == "incoming")),
            "{seen:?}"
        );
        delete(&app, &bob.access_token, &path).await;
        let event = b.event("block.changed").await.unwrap();
        assert_eq!(event.d["blocked"], false);
        let seen = a.until_pong().await.unwrap();
        assert!(
            !seen
                .iter()
                .any(|s| matches!(s, Seen::Event(e) if e.name == "block.changed"))
        );
    }
}

#[tokio::test]
async fn a_new_profile_reaches_friends_and_own_devices() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let (mut a, _) = app.session(&alice.access_token, ENCODINGS[0]).await;
    let (mut b, _) = app.session(&bob.access_token, ENCODINGS[1]).await;
    let change = json!({"status_text": "brb", "avatar_url": "https://example.org/a.png"});
    app.rest
        .ok(
            Method::PATCH,
            "/v1/me",
            Some(&change),
            Some(&bob.access_token),
        )
        .await
        .unwrap();
    for socket in [&mut a, &mut b] {
        let event = socket.event("profile.changed").await.unwrap();
        assert_eq!(event.d["user"]["id"], bob.id.as_str());
        assert_eq!(event.d["status_text"], "brb");
        assert_eq!(event.d["avatar_url"], "https://example.org/a.png");
    }
}

#[tokio::test]
async fn crossed_requests_accept_each_other() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.account("alice").await, app.account("bob").await);
    put(
        &app,
        &alice.access_token,
        &format!("/v1/friends/{}", bob.id),
    )
    .await;
    let crossed = put(
        &app,
        &bob.access_token,
        &format!("/v1/friends/{}", alice.id),
    )
    .await;
    assert_eq!(crossed["state"], "friend");
    // Again changes nothing.
    let again = put(
        &app,
        &bob.access_token,
        &format!("/v1/friends/{}", alice.id),
    )
    .await;
    assert_eq!(again["state"], "friend");
}

#[tokio::test]
async fn a_gift_is_heard_of_at_once_and_once() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let service = app.service();
    let publisher = json!({"name": "Oak"});
    let request = app.rest.ok(
        Method::POST,
        "/v1/publishers",
        Some(&publisher),
        Some(&service),
    );
    let publisher = request.await.unwrap();
    let game = json!({"title": "Star of Dawn", "summary": "A star.", "state": "published", "released_at": 1000,
        "categories": ["action"], "prices": {"US": 0}});
    let slug = format!("star-{}", alice.id.as_str().to_lowercase());
    let path = format!(
        "/v1/publishers/{}/games/{slug}",
        publisher["id"].as_str().unwrap()
    );
    let request = app.rest.ok(Method::PUT, &path, Some(&game), Some(&service));
    let game = request.await.unwrap();

    let (mut a, _) = app.session(&alice.access_token, ENCODINGS[0]).await;
    let mut devices = Vec::new();
    for encoding in ENCODINGS {
        devices.push(app.session(&bob.access_token, encoding).await.0);
    }
    let gift = json!({"recipient": bob.id, "games": [game["id"]], "message": "for you"});
    // Lost answers are asked for again; the gift is one.
    for _ in 0..2 {
        let given = app
            .rest
            .named("/v1/gifts", "alices-gift", &gift, &alice.access_token);
        assert_eq!(given.await.unwrap()["state"], "waiting");
    }
    let mut told = Vec::new();
    for device in &mut devices {
        let event = device.event("notice").await.unwrap();
        assert_eq!(event.d["topic"], "gift_received");
        assert_eq!(event.d["data"]["from"]["id"], alice.id.as_str());
        assert_eq!(event.d["data"]["message"], "for you");
        told.push(event.d);
    }
    assert_eq!(told[0], told[1]);
    // The list has it under the same id, for whoever was away.
    let get = app
        .rest
        .ok(Method::GET, "/v1/notices", None, Some(&bob.access_token));
    let notices = get.await.unwrap();
    assert_eq!(notices["items"].as_array().unwrap().len(), 1);
    assert_eq!(notices["items"][0]["id"], told[0]["id"]);
    assert_eq!(notices["unread"], 1);
    let id = told[0]["data"]["gift"].as_str().unwrap();
    put(&app, &bob.access_token, &format!("/v1/gifts/{id}/accept")).await;
    let event = a.event("notice").await.unwrap();
    assert_eq!(event.d["topic"], "gift_accepted");
    for device in &mut devices {
        let seen = device.until_pong().await.unwrap();
        let again = |seen: &Seen| matches!(seen, Seen::Event(event) if event.name == "notice");
        assert!(!seen.iter().any(again), "{seen:?}");
    }
}
