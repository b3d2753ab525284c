//! What the game's own backend may do, and presence.

use std::time::Duration;

use chat_node::presence::DeviceState;
use reqwest::Method;
use serde_json::json;
use shared::protocol::command::PresenceSet;
use shared::{
    events::{StoreEvent, StoreEventKind},
    id::Timestamp,
    protocol::presence::Status,
};
use ulid::Ulid;

use crate::rig::{Rig, SERVICE, user};

#[actix_rt::test]
async fn the_backend_makes_rooms_posts_and_removes() {
    let rig = Rig::start().await;
    let body = json!({"kind": "lobby", "name": "Match 7", "members": ["ann", "bob"]});
    let made = rig.post(SERVICE, "/v1/server/rooms", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["room"]["id"].as_str().unwrap().to_owned();
    let path = |what: &str| format!("/v1/server/rooms/{id}/{what}");

    let posted = rig.say(SERVICE, &id, "m1", "The match begins").await;
    assert_eq!(posted.status, 201, "{posted:?}");
    let again = rig.say(SERVICE, &id, "m1", "The match begins").await;
    assert_eq!((again.status, &again.body["dup"]), (200, &json!(true)));
    let body = json!({"as": "ann", "text": "gl hf"});
    let key = [("idempotency-key", "m2")];
    let as_ann = rig
        .call_with(SERVICE, Method::POST, &path("messages"), Some(body), &key)
        .await;
    assert_eq!(as_ann.status, 201, "{as_ann:?}");
    let page = rig.get("bob", &format!("/v1/rooms/{id}/messages")).await;
    let said: Vec<_> = page.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["user"])
        .collect();
    assert_eq!(said, [&json!("system"), &json!("ann")], "{page:?}");

    let cyd = json!({"user": "cyd"});
    assert_eq!(
        rig.post(SERVICE, &path("invite"), cyd.clone()).await.status,
        200
    );
    assert_eq!(rig.get("cyd", &format!("/v1/rooms/{id}")).await.status, 200);
    assert_eq!(
        rig.post(SERVICE, &path("kick"), cyd.clone()).await.status,
        200
    );
    assert_eq!(rig.get("cyd", &format!("/v1/rooms/{id}")).await.status, 404);
    let until = Timestamp::now().plus_millis(60_000);
    let ban = json!({"user": "bob", "until": until});
    assert_eq!(rig.post(SERVICE, &path("ban"), ban).await.status, 200);
    assert_eq!(rig.get("bob", &format!("/v1/rooms/{id}")).await.status, 404);
    let bans = rig
        .history
        .room(&id.parse().unwrap())
        .await
        .unwrap()
        .unwrap()
        .bans;
    assert_eq!(bans, [(user("bob"), Some(until))]);
    let bob = json!({"user": "bob"});
    assert_eq!(rig.post(SERVICE, &path("unban"), bob).await.status, 200);
    let nowhere = rig.post(SERVICE, "/v1/server/rooms/r:none/kick", cyd).await;
    assert_eq!(
        (nowhere.status, &nowhere.body["code"]),
        (404, &json!("not_found"))
    );
    let owned = json!({"as": "ann", "kind": "group", "name": "Guild", "members": ["bob"]});
    let owned = rig.post(SERVICE, "/v1/server/rooms", owned).await;
    assert_eq!(
        (owned.status, &owned.body["room"]["role"]),
        (201, &json!("owner"))
    );
}

#[actix_rt::test]
async fn presence_is_for_friends_and_in_bulk_for_the_backend() {
    let rig = Rig::start().await;
    rig.people.befriend("ann", "bob");
    rig.people.befriend("ann", "inv");
    let state = |status| {
        let set = PresenceSet {
            status,
            activity: None,
        };
        DeviceState::parse(&set, Timestamp::now()).unwrap()
    };
    let key = |n| chat_node::transport::SessionKey::new(0, n);
    rig.presence
        .connected(key(1), &user("bob"), state(Status::Busy));
    rig.presence
        .connected(key(2), &user("inv"), state(Status::Invisible));
    rig.presence
        .connected(key(3), &user("eve"), state(Status::Online));
    let ask = async || {
        let answer = rig
            .get("ann", "/v1/presence?user=bob,inv&user=eve&user=nobody")
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].clone()
    };
    // Told to the store by a loop of its own.
    let settled = async {
        while ask().await[0]["status"] != "busy" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), settled)
        .await
        .unwrap();
    let seen = ask().await;
    let of = |who: &str| seen.as_array().unwrap().iter().find(|p| p["user"] == who);
    assert_eq!(of("bob").unwrap()["status"], "busy");
    assert_eq!(
        of("inv").unwrap()["status"],
        "offline",
        "invisible reads as offline"
    );
    assert!(of("eve").is_none() && of("nobody").is_none(), "{seen}");
    assert_eq!(rig.get("ann", "/v1/presence").await.status, 400);

    let body = json!({"users": ["bob", "inv", "eve"]});
    let bulk = rig.post(SERVICE, "/v1/server/presence", body).await;
    let statuses: Vec<_> = bulk.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["user"].as_str().unwrap(), p["status"].as_str().unwrap()))
        .collect();
    assert!(statuses.contains(&("bob", "busy")), "{statuses:?}");
    assert!(statuses.contains(&("inv", "offline")), "{statuses:?}");
    let many: Vec<String> = (0..501).map(|n| format!("u{n}")).collect();
    for bad in [json!({"users": []}), json!({"users": many}), json!({})] {
        assert_eq!(
            rig.post(SERVICE, "/v1/server/presence", bad).await.status,
            400
        );
    }
}

#[actix_rt::test]
async fn the_backend_ends_sessions_and_hands_in_events_once() {
    let rig = Rig::start().await;
    let path = "/v1/server/users/ann/disconnect";
    let told = rig.call(SERVICE, Method::POST, path, None).await;
    assert_eq!(told.status, 204, "{told:?}");
    assert_eq!(rig.sessions.told(), ["disconnected ann"]);
    let path = "/v1/server/users/a%20b/disconnect";
    assert_eq!(
        rig.call(SERVICE, Method::POST, path, None).await.status,
        404
    );

    let token = rig.issuer.issue(&user("bob"), "bob").unwrap();
    let revoked = StoreEvent::new(StoreEventKind::TokenRevoked {
        user: user("bob"),
        jti: token.claims.jti.clone(),
        exp: token.claims.expires_at(),
    });
    let unknown = json!({"id": Ulid::new(), "ts": 1, "kind": "of_a_later_version", "x": 1});
    let events = json!({"events": [unknown, revoked]});
    for _ in 0..2 {
        let taken = rig.post(SERVICE, "/v1/server/events", events.clone()).await;
        assert_eq!(taken.status, 204, "{taken:?}");
    }
    let jti = format!("token {}", token.claims.jti);
    assert_eq!(
        rig.sessions.told()[1..],
        [jti],
        "once, though delivered twice"
    );
    let bearer = format!("Bearer {}", token.token);
    let headers = [("authorization", bearer.as_str())];
    let refused = rig.bare(Method::GET, "/v1/rooms", None, &headers).await;
    assert_eq!(refused.status, 401);

    let many = vec![revoked; 101];
    let answer = rig
        .post(SERVICE, "/v1/server/events", json!({ "events": many }))
        .await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (400, &json!("invalid"))
    );
    // A hundred events with all they may hold fit; a message as long does not.
    let padding = "x".repeat(500 << 10);
    let wide = json!({"events": [], "padding": padding});
    assert_eq!(
        rig.post(SERVICE, "/v1/server/events", wide).await.status,
        204
    );
}

#[actix_rt::test]
async fn the_backend_brings_many_in_at_once() {
    let rig = Rig::start().await;
    let body = json!({"kind": "group", "name": "Guild", "as": "ann"});
    let made = rig.post(SERVICE, "/v1/server/rooms", body).await;
    let id = made.body["room"]["id"].as_str().unwrap().to_owned();
    let path = |what: &str| format!("/v1/server/rooms/{id}/{what}");
    let ban = rig
        .post(SERVICE, &path("ban"), json!({"user": "cyd"}))
        .await;
    assert_eq!(ban.status, 200, "{ban:?}");
    // Banned, in already, and named twice.
    let users = json!({"users": ["bob", "cyd", "ann", "dan", "bob"]});
    let brought = rig.post(SERVICE, &path("members"), users).await;
    assert_eq!(brought.status, 200, "{brought:?}");
    let refused = json!([{"user": "cyd", "code": "forbidden"}]);
    let expected = json!({"added": 2, "present": 2, "refused": refused});
    assert_eq!(brought.body, expected);
    let log = rig.get("bob", &format!("/v1/rooms/{id}/log")).await;
    let joined: Vec<_> = log.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "join")
        .map(|entry| (entry["user"].clone(), entry["member"].clone()))
        .collect();
    let by = |who: &str, member: &str| (json!(who), json!(member));
    assert_eq!(
        joined,
        [by("ann", "ann"), by("system", "bob"), by("system", "dan")]
    );
    // As many as there is room for, in however few appends.
    let users: Vec<String> = (0..500).map(|n| format!("u{n}")).collect();
    let brought = rig
        .post(SERVICE, &path("members"), json!({"users": users}))
        .await;
    assert_eq!(brought.body["added"], 497, "{brought:?}");
    let refused = brought.body["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|who| who["code"] == "conflict"));
    let room = rig.get("ann", &format!("/v1/rooms/{id}")).await;
    assert_eq!(room.body["room"]["members"], 500);

    let many: Vec<String> = (0..501).map(|n| format!("u{n}")).collect();
    for bad in [json!({"users": []}), json!({"users": many}), json!({})] {
        let answer = rig.post(SERVICE, &path("members"), bad).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("invalid"))
        );
    }
    let users = json!({"users": ["bob"]});
    let nowhere = "/v1/server/rooms/r:none/members";
    let answer = rig.post(SERVICE, nowhere, users.clone()).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (404, &json!("not_found"))
    );
    assert_eq!(rig.post("ann", &path("members"), users).await.status, 403);
}
