//! Drops: whoever comes first, one each, as many as there are; whatever the gate before them forgets.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use loadtest::cluster::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    auth::Claims,
    id::Timestamp,
    redis::{RedisLink, RedisSettings},
    settings::Secret,
};
use store_api::StoreError;

use crate::{
    app::{Answer, Backend, TestApp, User, run},
    both,
    campaigns::campaign,
    orders::rule,
};

both!(
    it_goes_to_who_comes_first_one_each,
    it_has_its_time,
    what_is_ended_is_over_at_once,
    what_was_given_out_survives_the_gate,
    a_token_that_was_taken_back_gets_none,
    a_rush_of_thousands_goes_in_batches,
);

/// A drop of so many, and what `change` makes of it.
async fn drop_of(app: &TestApp, quantity: i64, change: impl FnOnce(&mut Value)) -> String {
    campaign(app, |body| {
        body["drop"] = json!(true);
        body["quantity"] = json!(quantity);
        change(body);
    })
    .await
}

async fn claim(app: &TestApp, user: &User, drop: &str) -> Answer {
    let path = format!("/v1/drops/{drop}/claim");
    app.send(app.request(Method::POST, &path, Some(&user.access)))
        .await
}

async fn people(app: &TestApp, how_many: usize) -> Vec<User> {
    let mut people = Vec::new();
    for _ in 0..how_many {
        people.push(app.user("Ann").await);
    }
    people
}

/// All of them claim twice at once; those who get a coupon, which is one each.
async fn rush(stores: &[&TestApp], people: &[User], drop: &str) -> BTreeSet<String> {
    let tries = people.iter().enumerate().flat_map(|(number, user)| {
        (0..2).map(move |again| async move {
            let store = stores[(number + again) % stores.len()];
            (user.id.clone(), claim(store, user, drop).await)
        })
    });
    let mut coupons: BTreeSet<(String, String)> = BTreeSet::new();
    for (user, answer) in join_all(tries).await {
        if answer.status == 200 {
            let id = answer.body["coupon"]["id"].as_str().unwrap().to_owned();
            coupons.insert((user, id));
        } else {
            assert_eq!(rule(&answer.expect(409)), "sold_out");
        }
    }
    let got: BTreeSet<String> = coupons.iter().map(|(user, _)| user.clone()).collect();
    assert_eq!(got.len(), coupons.len(), "one each: {coupons:?}");
    got
}

async fn it_goes_to_who_comes_first_one_each(app: TestApp) -> TestApp {
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let people = people(&app, 20).await;
    let drop = drop_of(&app, 7, |_| ()).await;
    let seen = app.get("/v1/drops", &people[0]).await.expect(200);
    let seen = &seen["items"][0];
    assert_eq!((&seen["state"], &seen["left"]), (&json!("open"), &json!(7)));

    let got = rush(&[&app], &people, &drop).await;
    assert_eq!(got.len(), 7);
    assert_eq!(app.count("coupons").await, 7);
    let (have, lack): (Vec<&User>, Vec<&User>) =
        people.iter().partition(|user| got.contains(&user.id));
    let again = claim(&app, have[0], &drop).await.expect(200);
    assert_eq!(again["held"], true);
    assert_eq!(
        rule(&claim(&app, lack[0], &drop).await.expect(409)),
        "sold_out"
    );
    let seen = app.get("/v1/drops", have[0]).await.expect(200);
    let seen = &seen["items"][0];
    assert_eq!(
        (&seen["state"], &seen["left"]),
        (&json!("sold_out"), &json!(0))
    );
    assert_eq!(seen["mine"], again["coupon"]["id"]);
    let seen = app.get("/v1/drops", lack[0]).await.expect(200);
    assert_eq!(seen["items"][0].get("mine"), None);

    // It is a coupon like every other.
    let codes = app.gift_cards(1000, "USD", 1).await;
    app.redeem(have[0], &codes[0]).await.expect(200);
    let body = json!({"games": [star], "coupons": [again["coupon"]["id"]]});
    let order = app
        .named("/v1/orders", &have[0].access, "bought-with-it", &body)
        .await;
    assert_eq!(order.expect(201)["total"]["minor"], 800);
    let used = claim(&app, have[0], &drop).await.expect(200);
    assert_eq!(used["coupon"]["state"], "used");
    app.check_ledger().await;

    let other = campaign(&app, |_| ()).await;
    for unknown in [other.as_str(), "nothing"] {
        assert_eq!(
            claim(&app, have[0], unknown).await.problem(404),
            "not_found"
        );
    }
    app
}

async fn it_has_its_time(app: TestApp) -> TestApp {
    let [ann, bob] = [app.user("Ann").await, app.user("Bob").await];
    let now = Timestamp::now().as_millis();
    let drop = drop_of(&app, 5, |body| {
        body["opens_at"] = json!(now + 300_000);
        body["closes_at"] = json!(now + 600_000);
    })
    .await;
    let state = async || app.get("/v1/drops", &ann).await.expect(200)["items"][0]["state"].clone();
    assert_eq!(state().await, "soon");
    assert_eq!(
        rule(&claim(&app, &ann, &drop).await.expect(409)),
        "not_open"
    );
    app.advance(Duration::from_secs(301));
    assert_eq!(state().await, "open");
    let first = claim(&app, &ann, &drop).await.expect(200);
    assert_eq!(first["held"], false);
    app.advance(Duration::from_mins(5));
    assert_eq!(state().await, "over");
    assert_eq!(rule(&claim(&app, &bob, &drop).await.expect(409)), "over");
    // Who has one is told so still.
    let again = claim(&app, &ann, &drop).await.expect(200);
    assert_eq!(
        (&again["held"], &again["coupon"]),
        (&json!(true), &first["coupon"])
    );
    app
}

async fn what_is_ended_is_over_at_once(app: TestApp) -> TestApp {
    let [ann, bob] = [app.user("Ann").await, app.user("Bob").await];
    let drop = drop_of(&app, 5, |_| ()).await;
    // The store knows the drop from now on, for a while.
    claim(&app, &ann, &drop).await.expect(200);
    let path = format!("/v1/campaigns/{drop}");
    app.service(Method::DELETE, &path).await.expect(200);
    assert_eq!(rule(&claim(&app, &bob, &drop).await.expect(409)), "over");
    let again = claim(&app, &ann, &drop).await.expect(200);
    assert_eq!(again["held"], true);
    app
}

async fn what_was_given_out_survives_the_gate(mut app: TestApp) -> TestApp {
    let people = people(&app, 12).await;
    let drop = drop_of(&app, 6, |_| ()).await;
    let early = rush(&[&app], &people[..4], &drop).await;
    assert_eq!(early.len(), 4);
    // The gate of a store that is alone is in its memory.
    app.restart().await;
    let all = rush(&[&app], &people, &drop).await;
    assert_eq!(all.len(), 6);
    assert!(all.is_superset(&early));
    app.check_ledger().await;
    app
}

async fn a_token_that_was_taken_back_gets_none(app: TestApp) -> TestApp {
    let [ann, bob, cat] = [
        app.user("Ann").await,
        app.user("Bob").await,
        app.user("Cat").await,
    ];
    let drop = drop_of(&app, 1, |_| ()).await;
    // Taken back one by one, and all at once.
    for (user, path) in [(&ann, "/v1/auth/logout"), (&bob, "/v1/auth/logout-all")] {
        let request = app.request(Method::POST, path, Some(&user.access));
        app.send(request).await.expect(204);
        assert_eq!(
            claim(&app, user, &drop).await.problem(401),
            "unauthenticated"
        );
    }
    // The place is not theirs.
    claim(&app, &cat, &drop).await.expect(200);
    app
}

async fn a_rush_of_thousands_goes_in_batches(mut app: TestApp) -> TestApp {
    const PEOPLE: usize = 9000;
    const COUPONS: usize = 3000;
    let server = RedisServer::shared().await.unwrap();
    app.redis = Some(link(server).await);
    app.restart().await;
    app.write(&[&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PEOPLE}) \
         INSERT INTO users (id, name, name_key, created_at) \
         SELECT 'claimer-' || i, 'Claimer ' || i, 'claimer ' || i, 0 FROM n"
    )])
    .await;
    let tokens: Vec<Claims> = (1..=PEOPLE)
        .map(|number| TestApp::claims(&format!("claimer-{number}")))
        .collect();
    let drop = drop_of(&app, COUPONS as i64, |_| ()).await;
    // Those who get one, and then everybody again.
    for expected in ["first", "again"] {
        let began = Instant::now();
        let claims = tokens
            .iter()
            .map(|token| app.store().claim(token, &drop, None));
        let outcomes = join_all(claims).await;
        let rate = PEOPLE as f64 / began.elapsed().as_secs_f64();
        println!("{PEOPLE} claims of {COUPONS} coupons, {expected}: {rate:.0} a second");
        let got = outcomes.iter().filter(|outcome| outcome.is_ok());
        assert_eq!(got.count(), COUPONS);
        let held = outcomes.iter().flatten().filter(|claimed| claimed.held);
        assert_eq!(held.count(), if expected == "first" { 0 } else { COUPONS });
        for lost in outcomes.into_iter().filter_map(Result::err) {
            assert!(matches!(lost, StoreError::Conflict { .. }), "{lost}");
        }
    }
    assert_eq!(app.count("coupons").await, COUPONS as i64);
    app.check_ledger().await;
    app
}

pub(crate) async fn link(server: &RedisServer) -> RedisLink {
    link_with(server, Duration::from_secs(10)).await
}

/// A link that gives an answer up after so long.
async fn link_with(server: &RedisServer, timeout: Duration) -> RedisLink {
    let settings = RedisSettings {
        redis_url: Some(Secret::new(server.url().to_owned())),
        redis_timeout: timeout,
        ..RedisSettings::default()
    };
    let link = RedisLink::connect(&settings).unwrap();
    assert!(link.wait_up(Duration::from_mins(1)).await);
    link
}

#[test]
fn two_stores_never_give_out_more_together() {
    run(Backend::Postgres, async |app: TestApp| {
        // Each with a gate of its own, which knows nothing of the other's.
        let twin = app.twin().await;
        let people = people(&app, 16).await;
        let drop = drop_of(&app, 5, |_| ()).await;
        assert_eq!(rush(&[&app, &twin], &people, &drop).await.len(), 5);
        assert_eq!(app.count("coupons").await, 5);
        app.check_ledger().await;
        twin.end().await;
        app
    });
}

#[test]
fn two_stores_share_a_gate_that_may_forget_everything() {
    run(Backend::Postgres, async |mut app: TestApp| {
        let mut server = RedisServer::start().await.unwrap();
        app.redis = Some(link_with(&server, Duration::from_millis(200)).await);
        app.restart().await;
        let twin = app.twin().await;
        let people = people(&app, 24).await;
        let drop = drop_of(&app, 9, |_| ()).await;
        let stores = [&app, &twin];
        let mut all = rush(&stores, &people[..3], &drop).await;
        // Empty, then paused, then gone.
        server.kill().unwrap();
        server.restart_empty().await.unwrap();
        all.extend(rush(&stores, &people[3..6], &drop).await);
        server.pause().unwrap();
        all.extend(rush(&stores, &people[6..8], &drop).await);
        server.resume().unwrap();
        server.kill().unwrap();
        all.extend(rush(&stores, &people, &drop).await);
        server.restart().await.unwrap();
        all.extend(rush(&stores, &people, &drop).await);
        assert_eq!(all.len(), 9, "{all:?}");
        assert_eq!(app.count("coupons").await, 9);
        app.check_ledger().await;
        twin.end().await;
        app
    });
}
