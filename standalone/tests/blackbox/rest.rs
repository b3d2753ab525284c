//! REST of the chat node, and what every answer has in common.

use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    id::RoomId,
    protocol::{codec::Encoding, reply::RoomReply},
};

use crate::app::{TestApp, make_room, open_dm};

#[tokio::test]
async fn rooms_are_listed_made_and_read() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let a = Some(alice.access_token.as_str());
    let body = json!({"kind": "group", "name": "Raid night", "members": [bob.id]});
    let made = app
        .rest
        .call(Method::POST, "/v1/rooms", Some(&body), a)
        .await
        .unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    let room: RoomReply = serde_json::from_value(made.body.clone()).unwrap();
    let location = made.header("location").unwrap();
    assert!(location.ends_with(&format!("/v1/rooms/{}", room.room.id)));
    let dm = json!({"kind": "dm", "members": [bob.id]});
    let dm = app
        .rest
        .call(Method::POST, "/v1/rooms", Some(&dm), a)
        .await
        .unwrap();
    assert_eq!(
        dm.body["room"]["id"],
        RoomId::direct(&alice.id, &bob.id).as_str()
    );
    let list = app
        .rest
        .ok(Method::GET, "/v1/rooms", None, a)
        .await
        .unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let one = app.rest.ok(Method::GET, location, None, a).await.unwrap();
    assert_eq!(one["room"]["name"], "Raid night");
    let members = format!("{location}/members?limit=1");
    let page = app.rest.ok(Method::GET, &members, None, a).await.unwrap();
    assert_eq!(page["members"].as_array().unwrap().len(), 1);
    let next = format!(
        "{location}/members?after={}",
        page["next"].as_str().unwrap()
    );
    let rest = app.rest.ok(Method::GET, &next, None, a).await.unwrap();
    assert_eq!(rest["members"].as_array().unwrap().len(), 1);
    // Somebody else learns nothing of it.
    let carol = app.account("carol").await;
    for path in [
        location.to_owned(),
        format!("{location}/members"),
        format!("{location}/messages"),
        format!("{location}/log"),
    ] {
        let token = Some(carol.access_token.as_str());
        let hidden = app
            .rest
            .call(Method::GET, &path, None, token)
            .await
            .unwrap();
        let absent = app
            .rest
            .call(
                Method::GET,
                &path.replace(room.room.id.as_str(), "r:none"),
                None,
                token,
            )
            .await
            .unwrap();
        assert_eq!((hidden.status, absent.status), (404, 404), "{path}");
        assert_eq!(hidden.body["code"], absent.body["code"]);
        assert_eq!(hidden.body["detail"], absent.body["detail"]);
    }
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_a_send() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let (mut b, _) = app.session(&bob.access_token, Encoding::MsgPack).await;
    let room = open_dm(&mut b, &alice.id).await;
    let path = format!("/v1/rooms/{room}/messages");
    let bearer = format!("Bearer {}", alice.access_token);
    let body = json!({"text": "over REST", "data": {"k": 1}});
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "key-1"),
    ];
    let first = app
        .rest
        .call_with(Method::POST, &path, Some(&body), &headers)
        .await
        .unwrap();
    assert_eq!(first.status, 201, "{first:?}");
    let seq = first.body["seq"].as_u64().unwrap();
    b.entry(&room, seq).await.unwrap();
    let again = app
        .rest
        .call_with(Method::POST, &path, Some(&body), &headers)
        .await
        .unwrap();
    assert_eq!((again.status, &again.body["dup"]), (200, &json!(true)));
    assert_eq!(again.body["seq"], seq);
    // The nonce is one, whatever the surface.
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let ack = a.say(&room, "key-1", "over the socket").await.unwrap();
    assert_eq!((ack.seq.get(), ack.dup), (seq, true));
    // Without a key there is no promise, so no send.
    let without = app
        .rest
        .call_with(Method::POST, &path, Some(&body), &headers[..1])
        .await;
    assert_eq!(without.unwrap().status, 400);
    let read = format!("/v1/rooms/{room}/read");
    let token = Some(bob.access_token.as_str());
    let body = json!({"seq": seq});
    let answer = app
        .rest
        .ok(Method::PUT, &read, Some(&body), token)
        .await
        .unwrap();
    assert_eq!(answer["seq"], seq);
    let event = a.event("read").await.unwrap();
    assert_eq!(event.d["user"], bob.id.as_str());
}

#[tokio::test]
async fn search_finds_words_in_the_callers_rooms_only() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let carol = app.account("carol").await;
    let (mut a, _) = app.session(&alice.access_token, Encoding::Json).await;
    let room = open_dm(&mut a, &bob.id).await;
    let said = a
        .say(&room, "n1", "the secret dragon sleeps")
        .await
        .unwrap();
    a.say(&room, "n2", "nothing of note").await.unwrap();
    let hits = async |token: &str, query: &str| -> Vec<Value> {
        let path = format!("/v1/search?q={query}");
        let found = app
            .rest
            .ok(Method::GET, &path, None, Some(token))
            .await
            .unwrap();
        found["items"].as_array().unwrap().clone()
    };
    for token in [&alice.access_token, &bob.access_token] {
        let found = hits(token, "dragon").await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["room"], room.as_str());
        assert_eq!(found[0]["message"]["seq"], said.seq.get());
    }
    assert!(hits(&carol.access_token, "dragon").await.is_empty());
    let of_bob = format!("dragon&author={}", bob.id);
    assert!(hits(&alice.access_token, &of_bob).await.is_empty());
    let in_room = format!("dragon&room={room}");
    assert_eq!(hits(&alice.access_token, &in_room).await.len(), 1);
    let path = format!("/v1/search?q=dragon&room={room}");
    let stranger = app
        .rest
        .call(Method::GET, &path, None, Some(&carol.access_token))
        .await
        .unwrap();
    assert_eq!(stranger.status, 404);
    // What was taken back is not found.
    let delete = json!({"room": room, "seq": said.seq});
    let _: Value = a.command("message.delete", &delete).await.unwrap();
    assert!(hits(&bob.access_token, "dragon").await.is_empty());
    // A query is words, not a language to break.
    for odd in ["%22", "AND", "a%20NEAR%20b", "%27%3B--", "*", "-", "%28"] {
        let path = format!("/v1/search?q={odd}");
        let answer = app
            .rest
            .call(Method::GET, &path, None, Some(&alice.access_token))
            .await
            .unwrap();
        assert!(matches!(answer.status, 200 | 400), "{odd}: {answer:?}");
    }
}

#[tokio::test]
async fn presence_of_friends_over_rest_is_for_friends() {
    let app = TestApp::start().await;
    let (alice, bob) = app.friends().await;
    let carol = app.account("carol").await;
    let (_b, _) = app.session(&bob.access_token, Encoding::Json).await;
    let path = format!("/v1/presence?user={}&user={}", bob.id, carol.id);
    let answer = app
        .rest
        .ok(Method::GET, &path, None, Some(&alice.access_token))
        .await
        .unwrap();
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{answer}");
    assert_eq!(items[0]["status"], "online");
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    let t = Some(token.as_str());
    let bad = json!({"kind": 5});
    for (method, path, body, token, status, code) in [
        (Method::GET, "/v1/rooms", None, None, 401, "unauthenticated"),
        (Method::GET, "/v1/no-such-thing", None, t, 404, "not_found"),
        (Method::GET, "/v1/rooms/r:none", None, t, 404, "not_found"),
        (Method::GET, "/v1/rooms/a%20b", None, t, 404, "not_found"),
        (Method::DELETE, "/v1/rooms", None, t, 405, "invalid"),
        (Method::POST, "/v1/rooms", Some(&bad), t, 400, "invalid"),
        (Method::GET, "/v1/search", None, t, 400, "invalid"),
    ] {
        let answer = app
            .rest
            .call(method.clone(), path, body, token)
            .await
            .unwrap();
        assert!(
            answer.status == status || (status == 404 && answer.status == 400),
            "{method} {path}: {answer:?}"
        );
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "{method} {path}: {kind}"
        );
        if answer.status == status {
            assert_eq!(answer.body["code"], code, "{method} {path}");
        }
        assert_eq!(answer.body["status"], answer.status, "{method} {path}");
        assert!(
            answer.body["retry"].is_boolean(),
            "{method} {path}: {:?}",
            answer.body
        );
    }
    let huge = json!({"text": "x".repeat(2_000_000)});
    let answer = app
        .rest
        .call(Method::POST, "/v1/rooms/r:none/messages", Some(&huge), t)
        .await
        .unwrap();
    assert_eq!(answer.status, 413, "{:?}", answer.body);
    app.is_well().await;
}

#[tokio::test]
async fn limits_are_told_and_kept() {
    let app = TestApp::start().await;
    let token = app.stranger("eager");
    let first = app
        .rest
        .call(Method::GET, "/v1/rooms", None, Some(&token))
        .await
        .unwrap();
    assert!(
        first.header("ratelimit-limit").is_some(),
        "{:?}",
        first.headers
    );
    assert!(first.header("ratelimit-remaining").is_some());
    assert!(first.header("ratelimit-reset").is_some());
    for _ in 0..2000 {
        let answer = app
            .rest
            .call(Method::GET, "/v1/rooms", None, Some(&token))
            .await
            .unwrap();
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.body["code"], "rate_limited");
            assert_eq!(answer.body["retry"], true);
            assert!(answer.body["retry_after_ms"].is_u64());
            return;
        }
    }
    panic!("two thousand requests and no limit");
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let app = TestApp::start().await;
    for path in ["/v1/openapi.json", "/v1/store/openapi.json"] {
        let document = app.rest.ok(Method::GET, path, None, None).await.unwrap();
        assert!(
            document["openapi"].as_str().unwrap().starts_with('3'),
            "{path}"
        );
        assert!(document["paths"].as_object().unwrap().len() > 5, "{path}");
    }
    for (path, operation) in [
        ("/v1/reference", r#"id="get-v1-rooms--id--messages""#),
        ("/v1/store/reference", r#"id="post-v1-auth-register""#),
    ] {
        let page = reqwest::get(app.rest.url(path)).await.unwrap();
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(page.text().await.unwrap().contains(operation), "{path}");
    }
}

#[tokio::test]
async fn metrics_and_health_are_on_the_admin_address_only() {
    let app = TestApp::start().await;
    let (mut owner, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    make_room(&mut owner, "channel", &[]).await;
    assert!(app.metric("process_resident_memory_bytes").await.unwrap() > 0.0);
    for path in ["/metrics", "/healthz"] {
        let answer = app.rest.call(Method::GET, path, None, None).await.unwrap();
        assert_eq!(answer.status, 404, "{path}");
    }
    // What stands behind a balancer tells it whether it takes clients, and nobody why not.
    let answer = app.rest.call(Method::GET, "/readyz", None, None).await;
    let answer = answer.unwrap();
    assert!([200, 404].contains(&answer.status), "{}", answer.status);
    assert!(answer.body.get("checks").is_none(), "{}", answer.body);
}
