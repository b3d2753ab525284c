//! What people are told, and that it is kept for them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{TestApp, User},
    both,
};

both!(
    notices_are_read_in_pages_and_marked,
    who_wishes_for_a_game_hears_of_its_price,
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
