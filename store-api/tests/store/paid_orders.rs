//! Buying by a provider rather than from the wallet.

use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, User},
    both,
    orders::{library, rule},
    payments::{books, come_back, korean, set_up, until},
    simulator::Simulator,
};

both!(
    an_order_is_paid_by_a_provider_and_goes_back_to_it,
    what_cannot_be_bought_any_more_is_paid_back,
    a_gift_is_paid_by_a_provider,
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
