//! Buying by a provider rather than from the wallet.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, User},
    both,
    campaigns::coupon,
    coupons::states,
    orders::{library, rule},
    payments::{books, come_back, korean, set_up, until},
    simulator::Simulator,
};

both!(
    an_order_is_paid_by_a_provider_and_goes_back_to_it,
    what_cannot_be_bought_any_more_is_paid_back,
    a_gift_is_paid_by_a_provider,
    a_coupon_waits_for_the_payment_of_its_order,
    a_coupon_outlives_payments_that_come_to_nothing,
    a_coupon_that_was_let_go_is_judged_anew_when_its_payment_comes_after_all,
);

async fn pay(app: &TestApp, user: &User, provider: &str, key: &str, order: Value) -> Answer {
    let body = json!({"provider": provider, "order": order});
    app.named("/v1/payments", &user.access, key, &body).await
}

/// The payer agrees at the provider's, and comes back.
async fn agree(app: &TestApp, simulator: &Simulator, payment: &Value) -> String {
    let back = simulator.pay(&payment["next"], true).await;
    come_back(app, simulator, &back, 303).await;
    payment["id"].as_str().unwrap().to_owned()
}

/// Two games, for 3000 and 5000 won.
async fn games(app: &TestApp) -> [String; 2] {
    let publisher = app.publisher("Oak").await;
    let mut games = Vec::new();
    for (slug, won) in [("moon", 3000), ("star", 5000)] {
        let game = app
            .game(&publisher, slug, |game| {
                game["prices"] = json!({"KR": won});
            })
            .await;
        games.push(game);
    }
    games.try_into().unwrap()
}

async fn an_order_is_paid_by_a_provider_and_goes_back_to_it(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let publisher = app.publisher("Elm").await;
    let mut taken = 0;
    for provider in ["kakao_pay", "toss"] {
        let mut games = Vec::new();
        for (slug, won) in [("moon", 3000), ("star", 5000)] {
            let priced = |won: i64| move |game: &mut Value| game["prices"] = json!({"KR": won});
            let slug = format!("{slug}-{}", provider.replace('_', "-"));
            let game = app.game(&publisher, &slug, priced(won)).await;
            app.put(&format!("/v1/lists/cart/{game}"), &ann)
                .await
                .expect(204);
            games.push((game, slug, priced));
        }
        let key = |word: &str| format!("{provider}-{word}");
        let other = json!({"expected_total": 7999});
        let other = pay(&app, &ann, provider, &key("wrong-total"), other).await;
        assert_eq!(rule(&other.expect(409)), "price_changed");
        let order = json!({"expected_total": 8000});
        let payment = pay(&app, &ann, provider, &key("buys-it"), order).await;
        let payment = payment.expect(201);
        assert_eq!(
            (&payment["purpose"], &payment["amount"]["minor"]),
            (&json!("order"), &json!(8000))
        );
        assert_eq!(payment.get("order"), None);
        // What was agreed on counts, whatever it costs by now.
        let (_, slug, priced) = &games[0];
        app.game(&publisher, slug, priced(9000)).await;
        let id = agree(&app, &simulator, &payment).await;
        let paid = until(&app, &ann, &id, "paid").await;
        taken += 8000;
        let order = paid["order"].as_str().unwrap();
        assert_eq!(library(&app, &ann).await.len(), 2);
        assert_eq!(app.balance(&ann).await, 0);
        let cart = app.get("/v1/lists/cart", &ann).await.expect(200);
        assert_eq!(cart["items"], json!([]));
        let order = app.get(&format!("/v1/orders/{order}"), &ann).await;
        let order = order.expect(200);
        assert_eq!(
            (&order["total"]["minor"], &order["payment"]),
            (&json!(8000), &json!(id))
        );
        // The order is given back, not the payment.
        let path = format!("/v1/payments/{id}/cancel");
        let cancel = app
            .named(&path, &ann.access, &key("cancel"), &json!({}))
            .await;
        assert_eq!(rule(&cancel.expect(409)), "order");
        let path = format!("/v1/orders/{}/refund", order["id"].as_str().unwrap());
        let one = json!({"games": [games[0].0]});
        app.named(&path, &ann.access, &key("one-back"), &one)
            .await
            .expect(200);
        let paid = until(&app, &ann, &id, "partly_cancelled").await;
        assert_eq!(paid["cancelled"]["minor"], 3000);
        assert_eq!(books(&simulator).await, (taken, taken - 5000));
        app.named(&path, &ann.access, &key("rest-back"), &json!({}))
            .await
            .expect(200);
        until(&app, &ann, &id, "cancelled").await;
        assert_eq!(books(&simulator).await, (taken, taken));
        assert_eq!(app.balance(&ann).await, 0);
        assert_eq!(library(&app, &ann).await, [""; 0]);
        app.check_ledger().await;
    }
    app
}

async fn what_cannot_be_bought_any_more_is_paid_back(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let [moon, star] = games(&app).await;
    let both = json!({"games": [moon, star]});
    // Two begin to buy the same: the second to pay has it already.
    let first = pay(
        &app,
        &ann,
        "kakao_pay",
        "first-of-two",
        json!({"games": [moon]}),
    )
    .await;
    let second = pay(&app, &ann, "toss", "second-of-two", both).await;
    let (first, second) = (first.expect(201), second.expect(201));
    let id = agree(&app, &simulator, &first).await;
    until(&app, &ann, &id, "paid").await;
    let id = agree(&app, &simulator, &second).await;
    let payment = until(&app, &ann, &id, "cancelled").await;
    assert_eq!(payment["failure"], "already_owned");
    assert_eq!(payment.get("order"), None);
    assert_eq!(library(&app, &ann).await, std::slice::from_ref(&moon));
    assert_eq!(books(&simulator).await, (11_000, 8000));
    assert_eq!(app.balance(&ann).await, 0);
    // What makes no sense is refused before anybody pays.
    let owned = pay(
        &app,
        &ann,
        "toss",
        "owned-already",
        json!({"games": [moon]}),
    )
    .await;
    assert_eq!(rule(&owned.expect(409)), "already_owned");
    let nothing = pay(&app, &ann, "toss", "nothing-in-it", json!({})).await;
    assert_eq!(rule(&nothing.expect(409)), "empty");
    let publisher = app.publisher("Ash").await;
    let free = app
        .game(&publisher, "free", |game| {
            game["prices"] = json!({"KR": 0});
        })
        .await;
    let free = pay(
        &app,
        &ann,
        "toss",
        "costs-nothing",
        json!({"games": [free]}),
    )
    .await;
    assert_eq!(rule(&free.expect(409)), "free");
    for body in [
        json!({"provider": "toss"}),
        json!({"provider": "toss", "amount": 5, "order": {}}),
    ] {
        let answer = app
            .named("/v1/payments", &ann.access, "one-of-both", &body)
            .await;
        assert_eq!(rule(&answer.expect(400)), "either");
    }
    app.check_ledger().await;
    app
}

async fn a_gift_is_paid_by_a_provider(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let bob = korean(&app, "Bob").await;
    let [moon, star] = games(&app).await;
    let gift = |game: &str| json!({"games": [game], "recipient": bob.id, "message": " for you "});
    let early = pay(&app, &ann, "toss", "not-a-friend", gift(&moon)).await;
    assert_eq!(rule(&early.expect(409)), "not_a_friend");
    app.befriend(&ann, &bob).await;
    let mut sent = Vec::new();
    for (key, game) in [("gives-moon", &moon), ("gives-star", &star)] {
        let payment = pay(&app, &ann, "kakao_pay", key, gift(game)).await;
        let payment = payment.expect(201);
        let id = agree(&app, &simulator, &payment).await;
        let payment = until(&app, &ann, &id, "paid").await;
        sent.push((id, payment["order"].as_str().unwrap().to_owned()));
    }
    let gifts = app.get("/v1/gifts", &bob).await.expect(200);
    assert_eq!(gifts["items"].as_array().unwrap().len(), 2);
    assert_eq!(gifts["items"][0]["message"], "for you");
    app.put(&format!("/v1/gifts/{}/accept", sent[0].1), &bob)
        .await
        .expect(200);
    app.put(&format!("/v1/gifts/{}/decline", sent[1].1), &bob)
        .await
        .expect(200);
    assert_eq!(library(&app, &bob).await, [moon]);
    until(&app, &ann, &sent[1].0, "cancelled").await;
    until(&app, &ann, &sent[0].0, "paid").await;
    assert_eq!(books(&simulator).await, (8000, 5000));
    assert_eq!(app.balance(&ann).await, 0);
    // They are friends no more when it is paid.
    let payment = pay(&app, &ann, "toss", "gives-it-again", gift(&star)).await;
    let payment = payment.expect(201);
    let path = format!("/v1/friends/{}", bob.id);
    app.delete(&path, &ann).await.expect(204);
    let id = agree(&app, &simulator, &payment).await;
    let payment = until(&app, &ann, &id, "cancelled").await;
    assert_eq!(payment["failure"], "not_a_friend");
    assert_eq!(books(&simulator).await, (13_000, 10_000));
    app.check_ledger().await;
    app
}

async fn a_coupon_waits_for_the_payment_of_its_order(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let [moon, star] = games(&app).await;
    let part = coupon(&app, &ann, |body| body["kind"] = json!("first_purchase")).await;
    let other = coupon(&app, &ann, |body| body["kind"] = json!("first_purchase")).await;
    let order = |games: &[&str], total: i64| json!({"games": games, "coupons": [part], "expected_total": total});
    let payment = pay(
        &app,
        &ann,
        "toss",
        "buys-both",
        order(&[&moon, &star], 6400),
    )
    .await;
    let payment = payment.expect(201);
    assert_eq!(payment["amount"]["minor"], 6400);
    assert_eq!(states(&app, &ann).await, ["good", "held"]);
    let held = app.get("/v1/coupons?state=held", &ann).await.expect(200);
    assert_eq!(held["items"][0]["id"], part.as_str());

    // It is for nothing else meanwhile, and a purchase that is about to be paid is the first.
    let again = pay(&app, &ann, "kakao_pay", "once-more", order(&[&star], 4000)).await;
    assert_eq!(rule(&again.expect(409)), "held");
    let body = json!({"games": [star], "coupons": [part]});
    let bought = app
        .named("/v1/orders", &ann.access, "by-wallet", &body)
        .await;
    assert_eq!(rule(&bought.expect(409)), "held");
    let seen = app.with_body(
        Method::POST,
        "/v1/orders/preview",
        &ann,
        json!({"games": [star]}),
    );
    let seen = seen.await.expect(200);
    let reason = |id: &str| {
        let spare = seen["spare"].as_array().unwrap();
        let found = spare.iter().find(|coupon| coupon["id"] == id);
        found.map(|coupon| coupon["reason"].clone())
    };
    assert_eq!(
        (
            seen["total"]["minor"].as_i64(),
            reason(&part),
            reason(&other)
        ),
        (Some(5000), Some(json!("held")), Some(json!("not_first")))
    );

    // Its campaign ends: what was agreed on counts.
    let campaign = held["items"][0]["campaign"].as_str().unwrap();
    app.service(Method::DELETE, &format!("/v1/campaigns/{campaign}"))
        .await
        .expect(200);
    let id = agree(&app, &simulator, &payment).await;
    let paid = until(&app, &ann, &id, "paid").await;
    assert_eq!(states(&app, &ann).await, ["good", "used"]);
    let path = format!("/v1/orders/{}", paid["order"].as_str().unwrap());
    let bought = app.get(&path, &ann).await.expect(200);
    assert_eq!(
        (&bought["total"]["minor"], &bought["payment"]),
        (&json!(6400), &json!(id))
    );
    assert_eq!(bought["coupons"][0]["discount"]["minor"], 1600);
    app.check_ledger().await;

    // What was paid goes back, game by game, and the coupon with the last, though it is over by now.
    let path = format!("{path}/refund");
    let lines = bought["lines"].as_array().unwrap();
    let mut gone = 0;
    for (line, (state, coupon)) in lines
        .iter()
        .zip([("partly_cancelled", "used"), ("cancelled", "over")])
    {
        let game = line["game"].as_str().unwrap();
        app.named(&path, &ann.access, game, &json!({"games": [game]}))
            .await
            .expect(200);
        gone += line["price"]["minor"].as_i64().unwrap();
        let payment = until(&app, &ann, &id, state).await;
        assert_eq!(payment["cancelled"]["minor"], gone);
        assert_eq!(states(&app, &ann).await, ["good", coupon]);
        app.check_ledger().await;
    }
    assert_eq!(books(&simulator).await, (6400, 6400));
    assert_eq!(app.balance(&ann).await, 0);
    app
}

async fn a_coupon_outlives_payments_that_come_to_nothing(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    app.settings.payments.payment_lifetime = Duration::from_millis(1500);
    app.restart().await;
    let [moon, _] = games(&app).await;
    let part = coupon(&app, &ann, |_| ()).await;
    let order = json!({"games": [moon], "coupons": [part], "expected_total": 2400});
    // Nobody pays in time; they give up; what they paid for is theirs by then, and paid back.
    let payment = pay(&app, &ann, "toss", "never-paid", order.clone()).await;
    let payment = payment.expect(201);
    until(&app, &ann, payment["id"].as_str().unwrap(), "expired").await;
    assert_eq!(states(&app, &ann).await, ["good"]);
    app.settings.payments.payment_lifetime = Duration::from_mins(15);
    app.restart().await;
    let payment = pay(&app, &ann, "kakao_pay", "given-up", order.clone()).await;
    let payment = payment.expect(201);
    let back = simulator.pay(&payment["next"], false).await;
    come_back(&app, &simulator, &back, 303).await;
    until(&app, &ann, payment["id"].as_str().unwrap(), "failed").await;
    assert_eq!(states(&app, &ann).await, ["good"]);
    let plain = pay(&app, &ann, "toss", "without-it", json!({"games": [moon]})).await;
    let payment = pay(&app, &ann, "kakao_pay", "too-late", order).await;
    agree(&app, &simulator, &plain.expect(201)).await;
    let id = agree(&app, &simulator, &payment.expect(201)).await;
    let payment = until(&app, &ann, &id, "cancelled").await;
    assert_eq!(payment["failure"], "already_owned");
    assert_eq!(states(&app, &ann).await, ["good"]);
    assert_eq!(books(&simulator).await, (5400, 2400));
    app.check_ledger().await;
    app
}

async fn a_coupon_that_was_let_go_is_judged_anew_when_its_payment_comes_after_all(
    mut app: TestApp,
) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let [moon, star] = games(&app).await;
    for (game, total, ends, outcome) in
        [(moon, 2400, false, "paid"), (star, 4000, true, "cancelled")]
    {
        let part = coupon(&app, &ann, |_| ()).await;
        let order = json!({"games": [game], "coupons": [part], "expected_total": total});
        let name = format!("comes-out-{outcome}");
        let payment = pay(&app, &ann, "toss", &name, order).await.expect(201);
        let id = payment["id"].as_str().unwrap();
        let back = simulator.pay(&payment["next"], true).await;
        let back = url::Url::parse(&format!("http://play.example.org{back}")).unwrap();
        let named = |name: &str| {
            let mut named = back.query_pairs().filter(|(key, _)| key == name);
            named.next().unwrap().1.into_owned()
        };
        let key = named("paymentKey");
        // The store asked for the money, heard nothing for so long that it gave up, and still looks now and then.
        let lapsed = format!(
            "UPDATE payments SET state = 'expired', provider_key = '{key}', proof = '{key}' WHERE id = '{id}'"
        );
        app.write(&[&lapsed, "UPDATE coupons SET held_by = NULL"])
            .await;
        if ends {
            let good = app.get("/v1/coupons?state=good", &ann).await.expect(200);
            let campaign = good["items"][0]["campaign"].as_str().unwrap();
            app.service(Method::DELETE, &format!("/v1/campaigns/{campaign}"))
                .await
                .expect(200);
        }
        simulator.confirm(&key, &named("orderId"), total).await;
        let due = format!("UPDATE payments SET check_at = 1 WHERE id = '{id}'");
        app.write(&[&due]).await;
        let payment = until(&app, &ann, id, outcome).await;
        let failure = payment.get("failure").and_then(Value::as_str);
        assert_eq!(failure, ends.then_some("over"));
    }
    assert_eq!(states(&app, &ann).await, ["over", "used"]);
    assert_eq!(books(&simulator).await, (6400, 4000));
    app.check_ledger().await;
    app
}
