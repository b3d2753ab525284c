//! Money: wallets, gift cards, names of requests; and books that are right whatever happens at the
//! same time.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{SERVICE_TOKEN, TestApp, User},
    both,
};

both!(
    a_gift_card_fills_one_wallet_once,
    a_card_of_another_currency_or_too_old_is_not_redeemed,
    a_batch_and_what_is_outstanding_are_bounded,
    what_nobody_redeemed_is_taken_back,
    guessing_codes_is_stopped,
    a_request_under_one_name_is_done_once,
    requests_of_one_name_at_the_same_time_are_one,
    a_name_and_an_amount_are_checked,
    the_currency_is_that_of_the_country,
    the_history_has_pages,
    the_books_are_right_whatever_happens_at_once,
);

async fn a_gift_card_fills_one_wallet_once(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let codes = app.gift_cards(1500, "USD", 2).await;
    let written = codes[0].to_lowercase().replace('-', " ");
    let redeemed = app.redeem(&ann, &written).await.expect(200);
    let dollars = |minor: i64| json!({"minor": minor, "currency": "USD", "exponent": 2});
    assert_eq!(
        redeemed,
        json!({"amount": dollars(1500), "balance": dollars(1500)})
    );
    // Again, as a client does that lost the answer.
    assert_eq!(app.redeem(&ann, &codes[0]).await.expect(200), redeemed);
    assert_eq!(app.redeem(&bob, &codes[0]).await.problem(404), "not_found");
    app.redeem(&ann, &codes[1]).await.expect(200);
    assert_eq!(
        (app.balance(&ann).await, app.balance(&bob).await),
        (3000, 0)
    );
    app.check_ledger().await;
    app
}

async fn a_card_of_another_currency_or_too_old_is_not_redeemed(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let won = app.gift_cards(5000, "KRW", 1).await;
    let body = app.redeem(&ann, &won[0]).await.expect(409);
    assert_eq!(body["errors"][0]["rule"], "currency");
    let old = app.gift_cards(5000, "USD", 1).await;
    app.advance(Duration::from_hours(24 * 365 * 5));
    let ann = User::of(
        &app.login(&ann.email, crate::app::PASSWORD)
            .await
            .expect(200),
        ann.email,
    );
    app.redeem(&ann, &old[0]).await.problem(404);
    assert_eq!(app.balance(&ann).await, 0);
    app.check_ledger().await;
    app
}

async fn a_batch_and_what_is_outstanding_are_bounded(app: TestApp) -> TestApp {
    const BATCH: i64 = 10_000_000_000;
    let issue = async |key: &str, amount: i64, currency: &str, cards: i64| {
        let body = json!({"amount": amount, "currency": currency, "cards": cards});
        app.named("/v1/gift-cards", SERVICE_TOKEN, key, &body).await
    };
    for (key, amount, cards) in [("too-much", BATCH + 1, 1), ("too-many", BATCH / 50, 51)] {
        let body = issue(key, amount, "USD", cards).await.expect(400);
        assert_eq!(body["errors"][0]["rule"], "range");
    }
    for number in 0..100 {
        let key = format!("batch-number-{number}");
        issue(&key, BATCH / 2, "USD", 2).await.expect(201);
    }
    let body = issue("one-cent-more", 1, "USD", 1).await.expect(409);
    assert_eq!(
        (&body["errors"][0]["field"], &body["errors"][0]["rule"]),
        (&json!("amount"), &json!("outstanding"))
    );
    // Another currency is not concerned, and what is redeemed or taken back makes room.
    issue("some-euros", 500, "EUR", 1).await.expect(201);
    let again = issue("batch-number-0", BATCH / 2, "USD", 2).await;
    let first = again.expect(201);
    let ann = app.user("Ann").await;
    let code = first["codes"][0].as_str().unwrap();
    app.redeem(&ann, code).await.expect(200);
    issue("half-a-batch", BATCH / 2, "USD", 1).await.expect(201);
    let path = format!("/v1/gift-cards/{}", first["batch"].as_str().unwrap());
    let voided = app.service(Method::DELETE, &path).await.expect(200);
    assert_eq!(voided["cards"], 1);
    // Of two that each fit, one does.
    let answers = join_all([
        issue("the-one-half", BATCH / 2, "USD", 1),
        issue("the-other-half", BATCH / 2, "USD", 1),
    ])
    .await;
    let mut statuses: Vec<u16> = answers.iter().map(|one| one.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    app.check_ledger().await;
    app
}

async fn what_nobody_redeemed_is_taken_back(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", store_api::Role::Operator).await;
    let ann = app.user("Ann").await;
    let body = json!({"amount": 700, "currency": "USD", "cards": 3});
    let issued = app.named("/v1/gift-cards", &operator.access, "three-cards", &body);
    let issued = issued.await.expect(201);
    app.gift_cards(900, "USD", 1).await;
    let code = |place: usize| issued["codes"][place].as_str().unwrap().to_owned();
    app.redeem(&ann, &code(1)).await.expect(200);
    let path = format!("/v1/gift-cards/{}", issued["batch"].as_str().unwrap());
    for (cards, minor) in [(2, 1400), (0, 0)] {
        let voided = app.delete(&path, &operator).await.expect(200);
        assert_eq!(voided["cards"], cards);
        assert_eq!(
            voided["amount"],
            json!({"minor": minor, "currency": "USD", "exponent": 2})
        );
        app.check_ledger().await;
    }
    // As good as none; what was redeemed stays, and is told of again.
    app.redeem(&ann, &code(0)).await.problem(404);
    assert_eq!(
        app.redeem(&ann, &code(1)).await.expect(200)["balance"]["minor"],
        700
    );
    let line = app.get("/v1/audit?deed=gift_cards_voided", &operator).await;
    let lines = line.expect(200)["items"].clone();
    assert_eq!(
        lines[0]["details"],
        json!({"batch": issued["batch"], "cards": 2, "amount": 1400, "currency": "USD"})
    );
    assert_eq!(lines.as_array().unwrap().len(), 1);
    for unknown in ["01J00000000000000000000000", "nothing", "redeem%3A"] {
        let path = format!("/v1/gift-cards/{unknown}");
        app.delete(&path, &operator).await.problem(404);
    }
    // Taken back and redeemed at once: each card is one or the other.
    for round in 0..5 {
        let body = json!({"amount": 100, "currency": "USD", "cards": 1});
        let key = format!("round-number-{round}");
        let issued = app.named("/v1/gift-cards", &operator.access, &key, &body);
        let issued = issued.await.expect(201);
        let path = format!("/v1/gift-cards/{}", issued["batch"].as_str().unwrap());
        let before = app.balance(&ann).await;
        let (voided, redeemed) = tokio::join!(
            app.delete(&path, &operator),
            app.redeem(&ann, issued["codes"][0].as_str().unwrap())
        );
        let voided = voided.expect(200)["cards"].as_i64().unwrap();
        let came = app.balance(&ann).await - before;
        assert_eq!((1 - voided) * 100, came, "{}", redeemed.body);
        app.check_ledger().await;
    }
    app
}

async fn guessing_codes_is_stopped(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let codes = app.gift_cards(100, "USD", 3).await;
    let mut guesses = (0..10).map(|guess| format!("GUESS-{guess}"));
    for guess in guesses.by_ref().take(9) {
        app.redeem(&ann, &guess).await.problem(404);
    }
    // What is right does not count.
    app.redeem(&ann, &codes[0]).await.expect(200);
    app.redeem(&ann, &guesses.next().unwrap())
        .await
        .problem(404);
    let refused = app.redeem(&ann, &codes[1]).await;
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.problem(429), "rate_limited");
    app.redeem(&bob, &codes[1]).await.expect(200);
    app.advance(Duration::from_hours(1));
    let again = app.refresh(&ann.refresh).await.expect(200);
    let ann = User::of(&again, ann.email);
    app.redeem(&ann, &codes[2]).await.expect(200);
    app.check_ledger().await;
    app
}

async fn a_request_under_one_name_is_done_once(mut app: TestApp) -> TestApp {
    let body = json!({"amount": 100, "currency": "USD", "cards": 2});
    let issue = async |app: &TestApp, body: &Value| {
        app.named("/v1/gift-cards", SERVICE_TOKEN, "one-request", body)
            .await
    };
    let first = issue(&app, &body).await;
    assert_eq!(first.headers["idempotency-replayed"], "false");
    app.restart().await;
    let second = issue(&app, &body).await;
    assert_eq!(second.headers["idempotency-replayed"], "true");
    assert_eq!(first.expect(201), second.expect(201));
    let other = json!({"amount": 100, "currency": "USD", "cards": 3});
    let refused = issue(&app, &other).await.expect(409);
    assert_eq!(refused["code"], "conflict");
    assert_eq!(refused["errors"][0]["field"], "Idempotency-Key");
    assert_eq!(refused["errors"][0]["rule"], "reused");
    // A name is one caller's, and for a day.
    let operator = app.user_as("Olaf", store_api::Role::Operator).await;
    app.named("/v1/gift-cards", &operator.access, "one-request", &other)
        .await
        .expect(201);
    app.check_ledger().await;
    app
}

async fn requests_of_one_name_at_the_same_time_are_one(app: TestApp) -> TestApp {
    let body = json!({"amount": 100, "currency": "USD", "cards": 1});
    let issue = || app.named("/v1/gift-cards", SERVICE_TOKEN, "one-request", &body);
    let answers = join_all((0..6).map(|_| issue())).await;
    let first = answers
        .iter()
        .filter(|answer| answer.headers["idempotency-replayed"] == "false");
    assert_eq!(first.count(), 1);
    let codes: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.expect(201))
        .collect();
    assert!(codes.iter().all(|body| *body == codes[0]), "{codes:?}");
    app.check_ledger().await;
    app
}

async fn a_name_and_an_amount_are_checked(app: TestApp) -> TestApp {
    let good = json!({"amount": 100, "currency": "USD", "cards": 1});
    let request = app.request(Method::POST, "/v1/gift-cards", Some(SERVICE_TOKEN));
    let body = app.send(request.json(&good)).await.expect(400);
    assert_eq!(body["errors"][0]["rule"], "required");
    let mut refused = vec![("malformed", "short", good)];
    for (rule, body) in [
        ("range", json!({"amount": 0, "currency": "USD", "cards": 1})),
        (
            "range",
            json!({"amount": -5, "currency": "USD", "cards": 1}),
        ),
        (
            "range",
            json!({"amount": i64::MAX, "currency": "USD", "cards": 1}),
        ),
        (
            "range",
            json!({"amount": 1_000_000_000_000_000_i64, "currency": "USD", "cards": 2}),
        ),
        (
            "range",
            json!({"amount": 1, "currency": "USD", "cards": 101}),
        ),
        (
            "unknown",
            json!({"amount": 1, "currency": "usd", "cards": 1}),
        ),
    ] {
        refused.push((rule, "long-enough", body));
    }
    for (rule, key, body) in refused {
        let answer = app.named("/v1/gift-cards", SERVICE_TOKEN, key, &body).await;
        let body = answer.expect(400);
        assert_eq!(body["errors"][0]["rule"], rule, "{body}");
    }
    app
}

async fn the_currency_is_that_of_the_country(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let wallet = app.get("/v1/wallet", &ann).await.expect(200);
    assert_eq!(wallet["country"], "US");
    let move_to = async |country: &str| {
        let body = json!({"country": country});
        app.with_body(Method::PUT, "/v1/wallet/country", &ann, body)
            .await
    };
    let wallet = move_to("KR").await.expect(200);
    assert_eq!(wallet["country"], "KR");
    assert_eq!(
        wallet["balance"],
        json!({"minor": 0, "currency": "KRW", "exponent": 0})
    );
    let codes = app.gift_cards(9000, "KRW", 1).await;
    app.redeem(&ann, &codes[0]).await.expect(200);
    let body = move_to("DE").await.expect(409);
    assert_eq!(body["errors"][0]["rule"], "wallet_not_empty");
    assert_eq!(move_to("KR").await.expect(200)["balance"]["minor"], 9000);
    assert_eq!(
        move_to("XX").await.expect(400)["errors"][0]["rule"],
        "unknown"
    );
    app
}

async fn the_history_has_pages(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let codes = app.gift_cards(100, "USD", 5).await;
    for code in &codes {
        app.redeem(&ann, code).await.expect(200);
    }
    let mut balances = Vec::new();
    let mut path = "/v1/wallet/history?limit=2".to_owned();
    loop {
        let page = app.get(&path, &ann).await.expect(200);
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["cause"], "gift_card");
            assert_eq!(item["amount"]["minor"], 100);
            balances.push(item["balance"]["minor"].as_i64().unwrap());
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/wallet/history?limit=2&cursor={next}");
    }
    assert_eq!(balances, [500, 400, 300, 200, 100]);
    let none = app.get("/v1/wallet/history", &bob).await.expect(200);
    assert_eq!(none, json!({"items": []}));
    // Base64 of `x`, which is no number.
    let bad = app.get("/v1/wallet/history?cursor=eA", &ann).await;
    assert_eq!(bad.problem(400), "invalid");
    app
}

/// What somebody does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Redeem(usize),
    Guess,
    Move(&'static str),
    Look,
}

async fn the_books_are_right_whatever_happens_at_once(app: TestApp) -> TestApp {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut users = Vec::new();
    for _ in 0..3 {
        users.push(app.user("Ann").await);
    }
    let mut codes = app.gift_cards(700, "USD", 8).await;
    codes.extend(app.gift_cards(1100, "EUR", 8).await);
    for _ in 0..4 {
        let mut acts = Vec::new();
        for _ in 0..12 {
            let act = match random.random_range(0..10) {
                0 => Act::Guess,
                1 => Act::Move(["US", "DE", "FR"][random.random_range(0..3)]),
                2 => Act::Look,
                _ => Act::Redeem(random.random_range(0..codes.len())),
            };
            acts.push((random.random_range(0..users.len()), act));
        }
        let (users, codes) = (&users, &codes);
        join_all(acts.into_iter().map(async |(user, act)| {
            let user = &users[user];
            let answer = match act {
                Act::Redeem(code) => app.redeem(user, &codes[code]).await,
                Act::Guess => app.redeem(user, "nothing").await,
                Act::Look => app.get("/v1/wallet/history", user).await,
                Act::Move(country) => {
                    let body = json!({"country": country});
                    app.with_body(Method::PUT, "/v1/wallet/country", user, body)
                        .await
                }
            };
            let status = answer.status.as_u16();
            assert!(
                [200, 404, 409, 429].contains(&status),
                "{act:?}: {}",
                answer.body
            );
        }))
        .await;
        app.check_ledger().await;
    }
    // Everybody has what they redeemed, and nobody the same card.
    let mut redeemed = HashMap::new();
    for user in &users {
        for country in ["US", "DE"] {
            let body = json!({"country": country});
            let moved = app
                .with_body(Method::PUT, "/v1/wallet/country", user, body)
                .await;
            if moved.status != 200 {
                continue;
            }
            let page = app
                .get("/v1/wallet/history?limit=500", user)
                .await
                .expect(200);
            let mut sum = 0;
            for item in page["items"].as_array().unwrap() {
                sum += item["amount"]["minor"].as_i64().unwrap();
                let card = item["reference"].as_str().unwrap().to_owned();
                assert!(
                    redeemed
                        .insert(card, user.id.clone())
                        .is_none_or(|by| by == user.id)
                );
            }
            assert_eq!(app.balance(user).await, sum);
        }
    }
    app
}
