//! What people are told, and that it is kept for them.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{TestApp, User},
    both,
};

both!(
    notices_are_read_in_pages_and_marked,
    who_wishes_for_a_game_hears_of_its_price,
    many_are_told_page_by_page_and_once,
    what_does_not_hold_any_more_is_not_told,
);

async fn read(app: &TestApp, user: &User, up_to: &Value) -> u16 {
    let body = json!({"up_to": up_to});
    let answer = app.with_body(Method::PUT, "/v1/notices/read", user, body);
    answer.await.status.as_u16()
}

async fn notices_are_read_in_pages_and_marked(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for slug in ["one", "two", "three"] {
        let game = app
            .game(&publisher, slug, |game| game["prices"] = json!({"US": 0}))
            .await;
        let key = format!("ann-buys-{slug}");
        app.buy(&ann, &key, &[&game]).await.expect(201);
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/notices?limit=2{cursor}");
        let page = app.get(&path, &ann).await.expect(200);
        assert_eq!(page["unread"], 3);
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|notice| notice["topic"] == "purchase"));
    assert!(seen.is_sorted_by(|a, b| a["id"].as_str() > b["id"].as_str()));
    for _ in 0..2 {
        assert_eq!(read(&app, &ann, &seen[1]["id"]).await, 204);
        let page = app.get("/v1/notices", &ann).await.expect(200);
        assert_eq!(page["unread"], 1);
        let marks: Vec<&Value> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|notice| &notice["read"])
            .collect();
        assert_eq!(marks, [&json!(false), &json!(true), &json!(true)]);
    }
    assert_eq!(read(&app, &ann, &json!("yesterday")).await, 400);
    // Of nobody else's concern.
    assert_eq!(read(&app, &bob, &seen[0]["id"]).await, 204);
    assert_eq!(app.get("/v1/notices", &ann).await.expect(200)["unread"], 1);
    let theirs = app.get("/v1/notices", &bob).await.expect(200);
    assert_eq!(theirs, json!({"items": [], "unread": 0}));
    app
}

async fn who_wishes_for_a_game_hears_of_its_price(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let (ann, bob, cat) = (
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
    );
    let country = json!({"country": "KR"});
    app.with_body(Method::PUT, "/v1/wallet/country", &bob, country)
        .await
        .expect(200);
    for user in [&ann, &bob] {
        app.put(&format!("/v1/lists/wishlist/{star}"), user)
            .await
            .expect(204);
    }
    app.put(&format!("/v1/lists/likes/{star}"), &cat)
        .await
        .expect(204);
    // Dearer here, and cheaper there; the same again is no news.
    for _ in 0..2 {
        app.game(&publisher, "star", |game| {
            game["prices"] = json!({"US": 1500, "KR": 9000});
        })
        .await;
    }
    let node = &app.nodes[0];
    node.wait_for(|event| event["topic"] == "price_dropped")
        .await;
    let told = app.get("/v1/notices", &bob).await.expect(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["items"][0]["topic"], "price_dropped");
    assert_eq!(told["items"][0]["data"]["before"]["minor"], 12_000);
    assert_eq!(told["items"][0]["data"]["now"]["minor"], 9000);
    assert_eq!(told["items"][0]["data"]["game"]["id"], star.as_str());
    for user in [&ann, &cat] {
        let told = app.get("/v1/notices", user).await.expect(200);
        assert_eq!(told["unread"], 0);
    }
    app
}

/// Whom events tell of a price, each of them once.
pub fn told_of_a_price(events: &[Value]) -> BTreeSet<String> {
    let users: Vec<String> = events
        .iter()
        .map(|event| event["user"].as_str().unwrap().to_owned())
        .collect();
    let once: BTreeSet<String> = users.iter().cloned().collect();
    assert_eq!(once.len(), users.len(), "somebody was told twice");
    once
}

pub fn is_price(event: &Value) -> bool {
    event["topic"] == "price_dropped"
}

async fn many_are_told_page_by_page_and_once(mut app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    // More than two pages, the last of them not full; and then so many that it is.
    app.wishers(&star, 450).await;
    app.game(&publisher, "star", |game| {
        game["prices"] = json!({"US": 900});
    })
    .await;
    let node = app.nodes[0].clone();
    let events = node.wait_for_all(450, is_price).await;
    assert_eq!(told_of_a_price(&events).len(), 450);
    let late = "DELETE FROM marks WHERE user_id IN ('wisher-1', 'wisher-2') OR user_id LIKE 'wisher-4__' \
                OR user_id LIKE 'wisher-3__'";
    app.write(&[late]).await;
    // Whoever wishes for it afterwards knows the price.
    app.game(&publisher, "star", |game| {
        game["prices"] = json!({"US": 800});
    })
    .await;
    let ann = app.user("Ann").await;
    app.put(&format!("/v1/lists/wishlist/{star}"), &ann)
        .await
        .expect(204);
    // Told to the end after a stop in the midst of it, too.
    app.restart().await;
    let left = 450 - 2 - 51 - 100;
    let events = node.wait_for_all(450 + left, is_price).await;
    let second = told_of_a_price(&events[450..]);
    assert_eq!(second.len(), left);
    assert!(!second.contains(&ann.id) && !second.contains("wisher-1"));
    app
}

async fn what_does_not_hold_any_more_is_not_told(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.user("Ann").await;
    app.put(&format!("/v1/lists/wishlist/{star}"), &ann)
        .await
        .expect(204);
    // A price that was another one when its turn came, and what only a later store can read.
    let stale = json!({"kind": "price_drop", "game": star, "title": "Star of Dawn",
                       "fell": {"US": {"before": 2000, "now": 1}}});
    let later = json!({"kind": "eclipse"});
    let far = 9_000_000_000_000_i64;
    let insert = |id: &str, what: &Value| {
        format!("INSERT INTO announcements (id, what, created_at) VALUES ('{id}', '{what}', {far})")
    };
    app.write(&[&insert("0", &later), &insert("1", &stale)])
        .await;
    app.game(&publisher, "star", |game| {
        game["prices"] = json!({"US": 900});
    })
    .await;
    app.nodes[0].wait_for(is_price).await;
    let told = app.get("/v1/notices", &ann).await.expect(200);
    assert_eq!(told["items"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["items"][0]["data"]["before"]["minor"], 1000);
    assert_eq!(told["items"][0]["data"]["now"]["minor"], 900);
    app
}
