//! Lists, follows and the library.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{TestApp, User},
    both,
};

both!(
    putting_and_taking_may_be_repeated,
    what_is_owned_is_not_wished_for,
    publishers_are_followed,
    a_library_knows_what_is_installed_and_played,
);

async fn listed(app: &TestApp, user: &User, list: &str) -> Vec<String> {
    let body = app
        .get(&format!("/v1/lists/{list}"), user)
        .await
        .expect(200);
    let items = body["items"].as_array().unwrap();
    let slug = |item: &Value| item["game"]["slug"].as_str().unwrap().to_owned();
    items.iter().map(slug).collect()
}

async fn putting_and_taking_may_be_repeated(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let moon = app.game(&publisher, "moon", |_| ()).await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    for list in ["wishlist", "cart", "likes"] {
        for game in [&star, &star, &moon] {
            app.put(&format!("/v1/lists/{list}/{game}"), &ann)
                .await
                .expect(204);
        }
        let mut slugs = listed(&app, &ann, list).await;
        slugs.sort();
        assert_eq!(slugs, ["moon", "star"]);
        assert_eq!(listed(&app, &bob, list).await, [""; 0]);
        for _ in 0..2 {
            app.delete(&format!("/v1/lists/{list}/{moon}"), &ann)
                .await
                .expect(204);
        }
        assert_eq!(listed(&app, &ann, list).await, ["star"]);
        assert_eq!(
            app.put(&format!("/v1/lists/{list}/x"), &ann)
                .await
                .problem(404),
            "not_found"
        );
    }
    let detail = app.get("/v1/games/star", &ann).await.expect(200);
    assert_eq!(detail["mine"], json!(["cart", "likes", "wishlist"]));
    assert_eq!(detail["likes"], 1);
    assert_eq!(
        app.get("/v1/lists/hates", &ann).await.problem(404),
        "not_found"
    );
    let pages = app.get("/v1/lists/likes?limit=1", &ann).await.expect(200);
    assert!(pages.get("next").is_none());
    app
}

async fn what_is_owned_is_not_wished_for(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app
        .game(&publisher, "star", |game| game["prices"] = json!({"US": 0}))
        .await;
    let ann = app.user("Ann").await;
    for list in ["wishlist", "cart"] {
        app.put(&format!("/v1/lists/{list}/{star}"), &ann)
            .await
            .expect(204);
    }
    app.buy(&ann, "the-star-itself", &[&star]).await.expect(201);
    for list in ["wishlist", "cart"] {
        assert_eq!(listed(&app, &ann, list).await, [""; 0]);
        let refused = app
            .put(&format!("/v1/lists/{list}/{star}"), &ann)
            .await
            .expect(409);
        assert_eq!(refused["errors"][0]["rule"], "already_owned");
    }
    app.put(&format!("/v1/lists/likes/{star}"), &ann)
        .await
        .expect(204);
    // Withdrawn, it stays theirs.
    app.game(&publisher, "star", |game| {
        game["prices"] = json!({"US": 0});
        game["state"] = json!("withdrawn");
    })
    .await;
    let detail = app.get("/v1/games/star", &ann).await.expect(200);
    assert_eq!(detail["mine"], json!(["library", "likes"]));
    app
}

async fn publishers_are_followed(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let path = format!("/v1/follows/{publisher}");
    for user in [&ann, &ann, &bob] {
        app.put(&path, user).await.expect(204);
    }
    let page = app.get("/v1/follows", &ann).await.expect(200);
    assert_eq!(
        page["items"],
        json!([{"id": publisher, "name": "Oak", "followers": 2}])
    );
    for _ in 0..2 {
        app.delete(&path, &ann).await.expect(204);
    }
    assert_eq!(
        app.get("/v1/follows", &ann).await.expect(200)["items"],
        json!([])
    );
    assert_eq!(
        app.put("/v1/follows/x", &ann).await.problem(404),
        "not_found"
    );
    app
}

async fn a_library_knows_what_is_installed_and_played(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app
        .game(&publisher, "star", |game| game["prices"] = json!({"US": 0}))
        .await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    app.buy(&ann, "the-star-itself", &[&star]).await.expect(201);
    let path = format!("/v1/library/{star}");
    let install = async |user, installed: bool| {
        let body = json!({"installed": installed});
        app.with_body(Method::PATCH, &path, user, body).await
    };
    install(&ann, true).await.expect(204);
    assert_eq!(install(&bob, true).await.problem(404), "not_found");
    let play = async |user, session: &str, seconds: i64| {
        let path = format!("{path}/sessions/{session}");
        app.with_body(Method::PUT, &path, user, json!({"seconds": seconds}))
            .await
    };
    // Said again, said late, said of another go.
    for (session, seconds, total) in [
        ("one", 60, 60),
        ("one", 60, 60),
        ("one", 90, 90),
        ("one", 30, 90),
        ("two", 10, 100),
    ] {
        let played = play(&ann, session, seconds).await.expect(200);
        assert_eq!(played["played_seconds"], total, "{session} {seconds}");
    }
    assert_eq!(play(&bob, "one", 5).await.problem(404), "not_found");
    for seconds in [-1, 8 * 24 * 3600] {
        assert_eq!(
            play(&ann, "one", seconds).await.expect(400)["errors"][0]["rule"],
            "range"
        );
    }
    let page = app.get("/v1/library", &ann).await.expect(200);
    let owned = &page["items"][0];
    assert_eq!(owned["slug"], "star");
    assert_eq!(
        (&owned["installed"], &owned["played_seconds"]),
        (&json!(true), &json!(100))
    );
    assert!(owned["played_at"].is_i64());
    install(&ann, false).await.expect(204);
    let page = app.get("/v1/library", &ann).await.expect(200);
    assert_eq!(page["items"][0]["installed"], false);
    assert_eq!(
        app.get("/v1/library", &bob).await.expect(200)["items"],
        json!([])
    );
    app
}
