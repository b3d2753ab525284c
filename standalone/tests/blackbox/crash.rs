//! kill -9, or a clean stop, and a start: everything that was acknowledged stands.

use reqwest::Method;
use serde_json::Value;
use shared::protocol::codec::Encoding;

use crate::app::{TestApp, open_dm};

#[tokio::test]
async fn accounts_friends_rooms_and_messages_survive_a_kill() {
    let mut app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let (mut socket, _) = app.session(&alice.access_token, Encoding::Json).await;
    let room = open_dm(&mut socket, &bob.id).await;
    let ack = socket.say(&room, "n1", "before the fall").await.unwrap();
    app.kill();
    app.boot().await;
    // The access token still holds, and so does the account.
    let bob = app.rest.login(&bob).await.unwrap();
    let (mut socket, started) = app.session(&bob.access_token, Encoding::MsgPack).await;
    assert_eq!(started.friends[0].id, alice.id);
    let view = started.rooms.iter().find(|r| r.id == room).unwrap();
    assert_eq!((view.head, view.unread), (ack.seq, 1));
    let last = view.last.as_ref().unwrap();
    assert_eq!((last.text.as_str(), last.seq), ("before the fall", ack.seq));
    let path = format!("/v1/rooms/{room}/messages");
    let page: Value = app
        .rest
        .ok(Method::GET, &path, None, Some(&bob.access_token))
        .await
        .unwrap();
    assert_eq!(page["items"][0]["text"], "before the fall");
    // A retry of what was acknowledged before the fall is a dup, at its place.
    let (mut alice_again, _) = app.session(&alice.access_token, Encoding::Json).await;
    let again = alice_again
        .say(&room, "n1", "before the fall")
        .await
        .unwrap();
    assert!(again.dup);
    assert_eq!((again.seq, again.ts), (ack.seq, ack.ts));
    let next = socket
        .say(&room, "n1", "another sender's n1")
        .await
        .unwrap();
    assert_eq!((next.seq, next.dup), (ack.seq.next(), false));
}

#[tokio::test]
async fn a_clean_stop_and_start_keeps_everything_too() {
    let mut app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let (mut socket, _) = app.session(&alice.access_token, Encoding::Json).await;
    let room = open_dm(&mut socket, &bob.id).await;
    let ack = socket.say(&room, "n1", "good night").await.unwrap();
    assert!(app.terminate().await.success(), "{}", app.log());
    app.boot().await;
    let (_, started) = app.session(&bob.access_token, Encoding::Json).await;
    let view = started.rooms.iter().find(|r| r.id == room).unwrap();
    assert_eq!(view.head, ack.seq);
}
