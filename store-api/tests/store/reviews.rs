//! Reviews: of owners only, one each, and exact.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{PASSWORD, TestApp, User},
    both,
};

both!(
    an_owner_has_one_review,
    votes_count_once_and_stars_exactly,
    reviews_come_in_pages,
    who_leaves_takes_their_stars_along,
);

async fn owner(app: &TestApp, game: &str) -> User {
    let user = app.user("Ann").await;
    app.buy(&user, "the-game-itself", &[game]).await.expect(201);
    user
}

async fn free_game(app: &TestApp) -> String {
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "star", |game| game["prices"] = json!({"US": 0}))
        .await
}

async fn review(app: &TestApp, user: &User, game: &str, stars: i64) {
    let body = json!({"stars": stars, "text": "Well."});
    app.with_body(Method::PUT, &format!("/v1/games/{game}/review"), user, body)
        .await
        .expect(204);
}

async fn rating(app: &TestApp, game: &str) -> (u64, u64) {
    let request = app.request(Method::GET, &format!("/v1/games/{game}"), None);
    let body = app.send(request).await.expect(200);
    let number = |field: &str| body["rating"][field].as_u64().unwrap();
    (number("sum"), number("count"))
}

async fn list(app: &TestApp, game: &str, query: &str) -> Value {
    let path = format!("/v1/games/{game}/reviews{query}");
    app.send(app.request(Method::GET, &path, None))
        .await
        .expect(200)
}

async fn an_owner_has_one_review(app: TestApp) -> TestApp {
    let game = free_game(&app).await;
    let path = format!("/v1/games/{game}/review");
    let stranger = app.user("Bob").await;
    let body = json!({"stars": 5});
    let answer = app
        .with_body(Method::PUT, &path, &stranger, body.clone())
        .await;
    assert_eq!(answer.problem(403), "forbidden");
    let nothing = app
        .with_body(Method::PUT, "/v1/games/x/review", &stranger, body)
        .await;
    assert_eq!(nothing.problem(404), "not_found");
    let ann = owner(&app, &game).await;
    for stars in [0, 6, -1] {
        let answer = app
            .with_body(Method::PUT, &path, &ann, json!({"stars": stars}))
            .await;
        assert_eq!(answer.expect(400)["errors"][0]["field"], "stars");
    }
    review(&app, &ann, &game, 5).await;
    assert_eq!(rating(&app, &game).await, (5, 1));
    review(&app, &ann, &game, 2).await;
    assert_eq!(rating(&app, &game).await, (2, 1));
    let items = list(&app, &game, "").await;
    assert_eq!(items["items"].as_array().unwrap().len(), 1);
    assert_eq!(items["items"][0]["author"]["name"], ann.name.as_str());
    for _ in 0..2 {
        app.delete(&path, &ann).await.expect(204);
        assert_eq!(rating(&app, &game).await, (0, 0));
    }
    app
}

async fn votes_count_once_and_stars_exactly(app: TestApp) -> TestApp {
    let game = free_game(&app).await;
    let mut owners = Vec::new();
    for _ in 0..4 {
        owners.push(owner(&app, &game).await);
    }
    // All at once, over and over, each ending with a known number of stars.
    let (app_ref, game_ref) = (&app, game.as_str());
    join_all(owners.iter().enumerate().map(async |(place, user)| {
        for round in 0..5 {
            review(app_ref, user, game_ref, (place as i64 + round) % 5 + 1).await;
        }
    }))
    .await;
    assert_eq!(rating(&app, &game).await, (5 + 1 + 2 + 3, 4));
    let path = format!("/v1/games/{game}/reviews/{}/helpful", owners[0].id);
    let votes = owners
        .iter()
        .chain(&owners)
        .map(|user| app.put(&path, user));
    let statuses = join_all(votes).await;
    let refused = statuses
        .iter()
        .filter(|answer| answer.status == 400)
        .count();
    assert_eq!(refused, 2, "one's own");
    let first = |list: Value| list["items"][0].clone();
    let best = first(list(&app, &game, "").await);
    assert_eq!(
        (&best["author"]["id"], &best["helpful"]),
        (&json!(owners[0].id), &json!(3))
    );
    for _ in 0..2 {
        app.delete(&path, &owners[1]).await.expect(204);
    }
    assert_eq!(first(list(&app, &game, "").await)["helpful"], 2);
    let nobody = format!("/v1/games/{game}/reviews/nobody/helpful");
    assert_eq!(app.put(&nobody, &owners[1]).await.problem(404), "not_found");
    app.delete(&nobody, &owners[1]).await.expect(204);
    app
}

async fn reviews_come_in_pages(app: TestApp) -> TestApp {
    let game = free_game(&app).await;
    let mut owners = Vec::new();
    for _ in 0..3 {
        let user = owner(&app, &game).await;
        review(&app, &user, &game, 3).await;
        owners.push(user.id);
        app.advance(std::time::Duration::from_secs(1));
    }
    for (sort, reversed) in [("newest", true), ("helpful", false)] {
        let mut seen = Vec::new();
        let mut query = format!("?sort={sort}&limit=1");
        loop {
            let page = list(&app, &game, &query).await;
            seen.push(
                page["items"][0]["author"]["id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
            let Some(next) = page["next"].as_str() else {
                break;
            };
            query = format!("?sort={sort}&limit=1&cursor={next}");
        }
        let mut expected = owners.clone();
        expected.sort();
        if reversed {
            expected = owners.iter().rev().cloned().collect();
        }
        assert_eq!(seen, expected, "{sort}");
    }
    let path = format!("/v1/games/{game}/reviews?cursor=eA");
    let bad = app.send(app.request(Method::GET, &path, None)).await;
    assert_eq!(bad.problem(400), "invalid");
    app
}

async fn who_leaves_takes_their_stars_along(app: TestApp) -> TestApp {
    let game = free_game(&app).await;
    let (ann, bob) = (owner(&app, &game).await, owner(&app, &game).await);
    review(&app, &ann, &game, 5).await;
    review(&app, &bob, &game, 2).await;
    let path = format!("/v1/games/{game}/reviews/{}/helpful", bob.id);
    app.put(&path, &ann).await.expect(204);
    let body = json!({"password": PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &ann, body)
        .await
        .expect(204);
    assert_eq!(rating(&app, &game).await, (2, 1));
    let items = list(&app, &game, "").await;
    assert_eq!(items["items"][0]["helpful"], 0);
    app.check_ledger().await;
    app
}
