//! Giving back.

use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, User},
    both,
    orders::{library, rule},
};

both!(
    what_is_given_back_is_paid_back,
    what_was_played_or_is_old_is_not_taken_back,
    a_game_is_paid_back_once,
    who_buys_and_who_gives_back_do_not_wait_for_each_other,
);

async fn refund(app: &TestApp, user: &User, order: &Value, key: &str, body: Value) -> Answer {
    let path = format!("/v1/orders/{}/refund", order["id"].as_str().unwrap());
    app.named(&path, &user.access, key, &body).await
}

async fn what_is_given_back_is_paid_back(mut app: TestApp) -> TestApp {
    // A share that does not divide evenly, and changes meanwhile.
    app.settings.store_share_percent = 33;
    app.restart().await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let moon = app
        .game(&publisher, "moon", |game| {
            game["prices"] = json!({"US": 333});
        })
        .await;
    let free = app
        .game(&publisher, "free", |game| game["prices"] = json!({"US": 0}))
        .await;
    let ann = app.rich_user("Ann", 20).await;
    let order = app.buy(&ann, "three-games", &[&star, &moon, &free]).await;
    let order = order.expect(201);
    app.settings.store_share_percent = 7;
    app.restart().await;
    let back = refund(
        &app,
        &ann,
        &order,
        "the-moon-back",
        json!({"games": [moon]}),
    )
    .await;
    let back = back.expect(200);
    let refunded: Vec<&Value> = back["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line.get("refunded_at").is_some())
        .map(|line| &line["game"])
        .collect();
    assert_eq!(refunded, [&json!(moon)]);
    assert_eq!(app.balance(&ann).await, 1000);
    app.check_ledger().await;
    let again = refund(
        &app,
        &ann,
        &order,
        "the-moon-back",
        json!({"games": [moon]}),
    )
    .await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), back);
    let twice = refund(
        &app,
        &ann,
        &order,
        "the-moon-again",
        json!({"games": [moon]}),
    )
    .await;
    assert_eq!(rule(&twice.expect(409)), "already_refunded");
    // The rest, one of which cost nothing.
    refund(&app, &ann, &order, "all-the-rest", json!({}))
        .await
        .expect(200);
    assert_eq!(app.balance(&ann).await, 2000);
    assert_eq!(library(&app, &ann).await, [""; 0]);
    let none = refund(&app, &ann, &order, "nothing-left", json!({})).await;
    assert_eq!(rule(&none.expect(409)), "already_refunded");
    let (told, _) = app.nodes[0]
        .wait_for(|event| event["topic"] == "refund")
        .await;
    assert_eq!(told["data"]["games"][0]["id"], moon);
    app.check_ledger().await;
    // It may be bought once more.
    app.buy(&ann, "the-star-again", &[&star]).await.expect(201);
    assert_eq!(library(&app, &ann).await, [star]);
    app.check_ledger().await;
    app
}

async fn what_was_played_or_is_old_is_not_taken_back(mut app: TestApp) -> TestApp {
    app.settings.refund_window = Duration::from_mins(5);
    app.restart().await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let moon = app.game(&publisher, "moon", |_| ()).await;
    let (ann, bob) = (app.rich_user("Ann", 20).await, app.user("Bob").await);
    let order = app.buy(&ann, "two-games-then", &[&star, &moon]).await;
    let order = order.expect(201);
    let play = async |seconds: i64| {
        let path = format!("/v1/library/{star}/sessions/today");
        let body = json!({"seconds": seconds});
        app.with_body(Method::PUT, &path, &ann, body)
            .await
            .expect(200);
    };
    play(2 * 60 * 60 + 1).await;
    let all = refund(&app, &ann, &order, "all-of-it-now", json!({})).await;
    assert_eq!(rule(&all.expect(409)), "played");
    assert_eq!(app.balance(&ann).await, 0);
    let theirs = refund(&app, &bob, &order, "not-his-order", json!({})).await;
    assert_eq!(theirs.problem(404), "not_found");
    let other = refund(&app, &ann, &order, "not-in-there", json!({"games": ["x"]})).await;
    assert_eq!(other.problem(404), "not_found");
    let empty = refund(&app, &ann, &order, "none-of-them", json!({"games": []})).await;
    assert_eq!(rule(&empty.expect(409)), "empty");
    app.advance(Duration::from_mins(6));
    let late = refund(&app, &ann, &order, "too-late-now", json!({"games": [moon]})).await;
    assert_eq!(rule(&late.expect(409)), "too_late");
    app.check_ledger().await;
    app
}

async fn a_game_is_paid_back_once(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let ann = app.rich_user("Ann", 20).await;
    let order = app.buy(&ann, "the-star-then", &[&star]).await.expect(201);
    let (app_, ann_, order_) = (&app, &ann, &order);
    let back = |number: i32| async move {
        let key = format!("device-number-{number}");
        refund(app_, ann_, order_, &key, json!({})).await
    };
    let answers = join_all((0..5).map(back)).await;
    let done = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(done, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        assert_eq!(rule(&answer.expect(409)), "already_refunded");
    }
    assert_eq!(app.balance(&ann).await, 2000);
    app.check_ledger().await;
    app
}

async fn who_buys_and_who_gives_back_do_not_wait_for_each_other(app: TestApp) -> TestApp {
    let mut publishers = Vec::new();
    for name in ["Oak", "Elm", "Ash"] {
        publishers.push(app.publisher(name).await);
    }
    // The game that is given back first is of the publisher who is paid last.
    let mut games = Vec::new();
    for (publisher, name) in publishers.iter().rev().zip(["star", "moon", "sun"]) {
        games.push(app.game(publisher, name, |_| ()).await);
    }
    let games: Vec<&str> = games.iter().map(String::as_str).collect();
    let mut people = Vec::new();
    for name in ["Ann", "Bob", "Cat", "Dan", "Eve", "Fay", "Gil", "Hal"] {
        people.push(app.rich_user(name, 30).await);
    }
    let (half, others) = people.split_at(4);
    let buy = async |who: &User, key: String| app.buy(who, &key, &games).await.expect(201);
    let first = half.iter().map(|who| buy(who, "bought-0".to_owned()));
    let mut held = join_all(first).await;
    for round in 1..=6 {
        let (back, keen) = if round % 2 == 1 {
            (half, others)
        } else {
            (others, half)
        };
        let key = format!("given-back-{round}");
        let give_back = async |(who, order): (&User, &Value)| {
            let answer = refund(&app, who, order, &key, json!({})).await;
            answer.expect(200);
        };
        let given_back = join_all(back.iter().zip(&held).map(give_back));
        let bought = join_all(keen.iter().map(|who| buy(who, format!("bought-{round}"))));
        let (_, orders) = join(given_back, bought).await;
        held = orders;
        app.check_ledger().await;
    }
    app
}
