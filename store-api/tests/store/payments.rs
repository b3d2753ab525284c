//! Charging a wallet by providers that behave.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    app::{Answer, PASSWORD, TestApp, User, client},
    both,
    simulator::{SECURITY_KEY, Simulator},
};

both!(
    what_is_paid_at_kakao_pay_is_in_the_wallet_and_goes_back,
    what_is_paid_at_toss_is_in_the_wallet_and_goes_back,
    what_makes_no_sense_is_refused,
    who_gives_up_or_waits_too_long_pays_nothing,
    messages_are_taken_from_the_provider_alone,
    a_provider_that_is_away_is_asked_again,
    nobody_is_charged_who_left,
    a_wallet_is_charged_with_no_more_than_it_holds,
    the_currency_waits_for_payments,
    the_window_of_toss_is_opened_by_a_page_of_its_own,
);

/// A store with providers, and somebody who buys in won.
pub async fn set_up(app: &mut TestApp, simulator: &Simulator) -> User {
    simulator.set_up(&mut app.settings.payments);
    app.settings.payments.payment_retry_first = Duration::from_millis(20);
    app.settings.payments.payment_retry_last = Duration::from_millis(200);
    app.restart().await;
    korean(app, "Ann").await
}

pub async fn korean(app: &TestApp, name: &str) -> User {
    let user = app.user(name).await;
    let body = json!({"country": "KR"});
    app.with_body(Method::PUT, "/v1/wallet/country", &user, body)
        .await
        .expect(200);
    user
}

async fn charge(app: &TestApp, user: &User, provider: &str, key: &str, amount: i64) -> Answer {
    let body = json!({"provider": provider, "amount": amount});
    app.named("/v1/payments", &user.access, key, &body).await
}

/// A payment that was paid.
pub async fn paid(
    app: &TestApp,
    simulator: &Simulator,
    user: &User,
    (provider, key): (&str, &str),
    amount: i64,
) -> String {
    let payment = charge(app, user, provider, key, amount).await.expect(201);
    assert_eq!(payment["state"], "ready", "{payment}");
    let back = simulator.pay(&payment["next"], true).await;
    come_back(app, simulator, &back, 303).await;
    payment["id"].as_str().unwrap().to_owned()
}

/// The provider sends the payer's browser back.
pub async fn come_back(app: &TestApp, simulator: &Simulator, path: &str, status: u16) {
    let (answered, _) = simulator.visit(&app.url(path)).await;
    assert_eq!(answered, status, "{path}");
}

async fn cancel(app: &TestApp, user: &User, id: &str, key: &str, body: Value) -> Answer {
    let path = format!("/v1/payments/{id}/cancel");
    app.named(&path, &user.access, key, &body).await
}

/// The payment once it is in this state.
pub async fn until(app: &TestApp, user: &User, id: &str, state: &str) -> Value {
    loop {
        let path = format!("/v1/payments/{id}");
        let payment = app.get(&path, user).await.expect(200);
        if payment["state"] == state {
            return payment;
        }
        // Not so often that it is too many requests.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the provider has: taken, and paid back.
pub async fn books(simulator: &Simulator) -> (i64, i64) {
    let books = simulator.books().await;
    let sum = |name: &str| {
        let payments = books["payments"].as_array().unwrap().iter();
        payments.map(|one| one[name].as_i64().unwrap()).sum::<i64>()
    };
    (sum("taken"), sum("cancelled"))
}

fn rule(answer: Answer, status: u16) -> String {
    let body = answer.expect(status);
    body["errors"][0]["rule"].as_str().unwrap().to_owned()
}

async fn what_is_paid_at_kakao_pay_is_in_the_wallet_and_goes_back(mut app: TestApp) -> TestApp {
    there_and_back(&mut app, "kakao_pay").await;
    app
}

async fn what_is_paid_at_toss_is_in_the_wallet_and_goes_back(mut app: TestApp) -> TestApp {
    there_and_back(&mut app, "toss").await;
    app
}

async fn there_and_back(app: &mut TestApp, provider: &str) {
    let simulator = Simulator::start(&[]);
    let ann = set_up(app, &simulator).await;
    let payment = charge(app, &ann, provider, "charge-it", 30_000).await;
    assert_eq!(payment.headers["idempotency-replayed"], "false");
    let payment = payment.expect(201);
    assert_eq!(payment["state"], "ready", "{payment}");
    let again = charge(app, &ann, provider, "charge-it", 30_000).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), payment);
    let id = payment["id"].as_str().unwrap();
    let back = simulator.pay(&payment["next"], true).await;
    assert_eq!(
        (app.balance(&ann).await, books(&simulator).await),
        (0, (0, 0))
    );
    // A browser that comes back twice, and a client that confirms besides.
    let (status, page) = simulator.visit(&app.url(&back)).await;
    assert_eq!(
        (status.as_u16(), page),
        (303, Some(format!("/#/shop/wallet?payment={id}")))
    );
    come_back(app, &simulator, &back, 303).await;
    let path = format!("/v1/payments/{id}/confirm");
    let body = json!({"token": "another", "amount": 1});
    let confirmed = app.with_body(Method::POST, &path, &ann, body).await;
    let confirmed = confirmed.expect(200);
    assert_eq!(confirmed["state"], "paid");
    assert_eq!(confirmed.get("next"), None);
    assert_eq!(app.balance(&ann).await, 30_000);
    assert_eq!(books(&simulator).await, (30_000, 0));

    let part = json!({"amount": 12_000});
    let after = cancel(app, &ann, id, "some-back", part.clone()).await;
    let after = after.expect(200);
    assert_eq!(after["state"], "partly_cancelled", "{after}");
    assert_eq!(after["cancelled"]["minor"], 12_000);
    let again = cancel(app, &ann, id, "some-back", part).await.expect(200);
    assert_eq!(again, after);
    let much = cancel(app, &ann, id, "too-much-back", json!({"amount": 18_001})).await;
    assert_eq!(rule(much, 409), "too_much");
    assert_eq!(app.balance(&ann).await, 18_000);
    let after = cancel(app, &ann, id, "the-rest-back", json!({})).await;
    assert_eq!(after.expect(200)["state"], "cancelled");
    let more = cancel(app, &ann, id, "more-than-all", json!({})).await;
    assert_eq!(rule(more, 409), "already_cancelled");
    assert_eq!(app.balance(&ann).await, 0);
    assert_eq!(books(&simulator).await, (30_000, 30_000));
    app.check_ledger().await;

    let history = app.get("/v1/wallet/history", &ann).await.expect(200);
    let causes = history["items"].as_array().unwrap().iter();
    let causes: Vec<_> = causes
        .map(|entry| entry["cause"].as_str().unwrap())
        .collect();
    assert_eq!(causes, ["payment_cancel", "payment_cancel", "top_up"]);
    let notices = app.get("/v1/notices", &ann).await.expect(200);
    let told = notices["items"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|notice| notice["data"]["state"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["cancelled", "partly_cancelled", "paid"]);
    let list = app.get("/v1/payments", &ann).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

async fn what_makes_no_sense_is_refused(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let bob = korean(&app, "Bob").await;
    let usa = app.user("Cat").await;
    for (user, provider, amount, status, expected) in [
        (&ann, "paypal", 100, 400, "unknown"),
        (&ann, "toss", 0, 400, "range"),
        (&ann, "toss", 1_000_001, 400, "range"),
        (&usa, "toss", 100, 409, "currency"),
    ] {
        let answer = charge(&app, user, provider, "makes-no-sense", amount).await;
        assert_eq!(rule(answer, status), expected);
    }
    let payment = charge(&app, &ann, "toss", "one-of-ann", 5000).await;
    let payment = payment.expect(201);
    let other = charge(&app, &ann, "toss", "one-of-ann", 6000).await;
    assert_eq!(rule(other, 409), "reused");
    let id = payment["id"].as_str().unwrap();
    let early = cancel(&app, &ann, id, "early-cancel", json!({})).await;
    assert_eq!(rule(early, 409), "not_paid");
    // What Toss asked for is what we asked for, and what was paid is paid once.
    let back = simulator.pay(&payment["next"], true).await;
    let wrong = back.replace("amount=5000", "amount=4000");
    come_back(&app, &simulator, &wrong, 409).await;
    // Nobody makes up the address that somebody else is sent back to, not even to give up.
    let made_up = format!("/v1/payments/{id}/return?outcome=cancelled");
    come_back(&app, &simulator, &made_up, 404).await;
    let another = charge(&app, &bob, "toss", "bob-does-not-pay", 5000).await;
    let another = another.expect(201)["id"].as_str().unwrap().to_owned();
    come_back(&app, &simulator, &back.replace(id, &another), 404).await;
    let unproved = back.split("&paymentKey").next().unwrap();
    come_back(&app, &simulator, unproved, 400).await;
    come_back(&app, &simulator, &back, 303).await;
    let theirs = charge(&app, &bob, "toss", "one-of-bob", 5000).await;
    let theirs = theirs.expect(201);
    let key = back.split("paymentKey=").nth(1).unwrap();
    let key = key.split('&').next().unwrap();
    let path = format!("/v1/payments/{}/confirm", theirs["id"].as_str().unwrap());
    let body = json!({"token": key});
    let stolen = app.with_body(Method::POST, &path, &bob, body).await;
    assert_eq!(rule(stolen, 409), "used");
    // A proof that is none.
    let body = json!({"token": "made-up"});
    let answer = app.with_body(Method::POST, &path, &bob, body).await;
    let answer = answer.expect(200);
    assert_eq!(
        (&answer["state"], &answer["failure"]),
        (&json!("failed"), &json!("NOT_FOUND_PAYMENT"))
    );
    // What is somebody else's is not there.
    let path = format!("/v1/payments/{id}");
    app.get(&path, &bob).await.expect(404);
    cancel(&app, &bob, id, "of-another", json!({}))
        .await
        .expect(404);
    // What was spent cannot go back.
    let publisher = app.publisher("Oak").await;
    let star = app
        .game(&publisher, "star", |game| {
            game["prices"] = json!({"KR": 3000});
        })
        .await;
    app.buy(&ann, "ann-buys-it", &[&star]).await.expect(201);
    let spent = cancel(&app, &ann, id, "spent-already", json!({})).await;
    assert_eq!(rule(spent, 409), "insufficient_funds");
    cancel(&app, &ann, id, "what-is-left", json!({"amount": 2000}))
        .await
        .expect(200);
    app.advance(Duration::from_hours(24 * 15));
    let app_user = app.login(&ann.email, PASSWORD).await.expect(200);
    let ann = User::of(&app_user, ann.email);
    let late = cancel(&app, &ann, id, "late-cancel", json!({"amount": 1})).await;
    assert_eq!(rule(late, 409), "too_late");
    assert_eq!(books(&simulator).await, (5000, 2000));
    app.check_ledger().await;
    app
}

async fn who_gives_up_or_waits_too_long_pays_nothing(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let mut left = Vec::new();
    for provider in ["kakao_pay", "toss"] {
        let payment = charge(&app, &ann, provider, &format!("{provider}-quit"), 700).await;
        let payment = payment.expect(201);
        let back = simulator.pay(&payment["next"], false).await;
        come_back(&app, &simulator, &back, 303).await;
        let id = payment["id"].as_str().unwrap();
        let payment = until(&app, &ann, id, "failed").await;
        assert_eq!(payment["failure"], "given_up");
        let payment = charge(&app, &ann, provider, &format!("{provider}-wait"), 800).await;
        let payment = payment.expect(201);
        let back = simulator.pay(&payment["next"], true).await;
        left.push((payment["id"].as_str().unwrap().to_owned(), back));
    }
    app.advance(Duration::from_mins(16));
    let session = app.login(&ann.email, PASSWORD).await.expect(200);
    let ann = User::of(&session, ann.email);
    for (id, back) in left {
        until(&app, &ann, &id, "expired").await;
        // Too late, and nobody is asked to take anything.
        come_back(&app, &simulator, &back, 303).await;
        until(&app, &ann, &id, "expired").await;
    }
    assert_eq!(app.balance(&ann).await, 0);
    assert_eq!(books(&simulator).await, (0, 0));
    app.check_ledger().await;
    app
}

fn signature(key: &str, body: &str, at: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{body}:{at}").as_bytes());
    format!("v1:AAAA,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn messages_are_taken_from_the_provider_alone(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let id = paid(&app, &simulator, &ann, ("toss", "paid-already"), 900).await;
    let send = async |provider: &str, body: &str, signed: Option<String>| {
        let path = format!("/v1/payments/webhooks/{provider}");
        let mut request = app.request(Method::POST, &path, None);
        request = request.header("content-type", "application/json");
        if let Some(signature) = signed {
            request = request
                .header("tosspayments-webhook-transmission-time", "now")
                .header("tosspayments-webhook-signature", signature);
        }
        let answer = request.body(body.to_owned()).send().await.unwrap();
        answer.status().as_u16()
    };
    let told = |id: &str, status: &str| {
        let data = json!({"orderId": id, "status": status});
        json!({"eventType": "PAYMENT_STATUS_CHANGED", "data": data}).to_string()
    };
    let body = told(&id, "DONE");
    let right = |body: &str| Some(signature(SECURITY_KEY, body, "now"));
    assert_eq!(send("toss", &body, None).await, 401);
    assert_eq!(
        send("toss", &body, Some(signature("no", &body, "now"))).await,
        401
    );
    assert_eq!(send("toss", "{}", right("{}")).await, 400);
    assert_eq!(send("kakao_pay", &body, right(&body)).await, 404);
    assert_eq!(send("paypal", &body, right(&body)).await, 404);
    // Again and again, in any order, whatever it says: nothing changes.
    for status in ["CANCELED", "DONE", "READY", "ABORTED", "DONE"] {
        let body = told(&id, status);
        assert_eq!(send("toss", &body, right(&body)).await, 204);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let unknown = told("nothing", "DONE");
    assert_eq!(send("toss", &unknown, right(&unknown)).await, 204);
    until(&app, &ann, &id, "paid").await;
    assert_eq!(app.balance(&ann).await, 900);
    app.check_ledger().await;
    app
}

async fn a_provider_that_is_away_is_asked_again(mut app: TestApp) -> TestApp {
    let away = Simulator::start(&[]);
    let ann = set_up(&mut app, &away).await;
    let address = away.url.strip_prefix("http://").unwrap().to_owned();
    drop(away);
    let payment = charge(&app, &ann, "kakao_pay", "while-it-is-away", 400).await;
    let payment = payment.expect(201);
    assert_eq!(payment["state"], "created", "{payment}");
    let back = Simulator::start(&["--listen", &address]);
    let id = payment["id"].as_str().unwrap();
    let payment = until(&app, &ann, id, "ready").await;
    let path = back.pay(&payment["next"], true).await;
    come_back(&app, &back, &path, 303).await;
    until(&app, &ann, id, "paid").await;
    assert_eq!(app.balance(&ann).await, 400);
    app
}

async fn nobody_is_charged_who_left(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let payment = charge(&app, &ann, "kakao_pay", "then-she-leaves", 600).await;
    let payment = payment.expect(201);
    let back = simulator.pay(&payment["next"], true).await;
    let password = json!({"password": PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &ann, password)
        .await
        .expect(204);
    come_back(&app, &simulator, &back, 303).await;
    while books(&simulator).await != (600, 600) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Until the answer is written down as well.
    loop {
        let id = shared::id::UserId::parse(&ann.id).unwrap();
        let left = app.store().export(&id).await.unwrap();
        if left["payments"][0]["state"] == "cancelled" {
            assert_eq!(left["wallets"][0]["balance"], 0);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.check_ledger().await;
    app
}

/// Puts money into a wallet that never had any, and writes it into the books: more than anybody could pay.
async fn plant(app: &TestApp, user: &User, minor: i64) {
    let wallet = format!("wallet:{}:KRW", user.id);
    app.write(&[
        &format!(
            "INSERT INTO ledger_accounts (id, kind, owner, currency, balance) VALUES \
             ('outside:KRW', 'outside', NULL, 'KRW', -{minor}), ('{wallet}', 'wallet', '{}', 'KRW', {minor})",
            user.id
        ),
        "INSERT INTO transfers (id, cause, reference, created_at) VALUES ('planted', 'planted', 'planted', 1)",
        &format!(
            "INSERT INTO postings (transfer, account, amount, balance) VALUES \
             ('planted', 'outside:KRW', -{minor}, -{minor}), ('planted', '{wallet}', {minor}, {minor})"
        ),
    ])
    .await;
}

async fn a_wallet_is_charged_with_no_more_than_it_holds(mut app: TestApp) -> TestApp {
    const MOST: i64 = 1_000_000_000_000_000;
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let begun = charge(&app, &ann, "toss", "begun-before", 30_000).await;
    let begun = begun.expect(201);
    plant(&app, &ann, MOST - 45_000).await;
    // With what is on its way already there is room for 15,000.
    let refused = charge(&app, &ann, "toss", "too-much-now", 15_001).await;
    assert_eq!(rule(refused, 409), "too_much");
    charge(&app, &ann, "toss", "just-enough", 15_000)
        .await
        .expect(201);
    assert_eq!(books(&simulator).await, (0, 0));
    // It fills in another way before the first is paid, which then goes back where it came from.
    let codes = app.gift_cards(40_000, "KRW", 1).await;
    app.redeem(&ann, &codes[0]).await.expect(200);
    let back = simulator.pay(&begun["next"], true).await;
    come_back(&app, &simulator, &back, 303).await;
    let id = begun["id"].as_str().unwrap();
    let payment = until(&app, &ann, id, "cancelled").await;
    assert_eq!(payment["failure"], "too_much");
    assert_eq!(books(&simulator).await, (30_000, 30_000));
    assert_eq!(app.balance(&ann).await, MOST - 5_000);
    app.check_ledger().await;
    app
}

async fn the_currency_waits_for_payments(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let move_to = async |country: &str| {
        let body = json!({"country": country});
        app.with_body(Method::PUT, "/v1/wallet/country", &ann, body)
            .await
    };
    let payment = charge(&app, &ann, "kakao_pay", "not-paid-yet", 5000).await;
    let payment = payment.expect(201);
    assert_eq!(rule(move_to("US").await, 409), "payment_open");
    move_to("KR").await.expect(200);
    let back = simulator.pay(&payment["next"], false).await;
    come_back(&app, &simulator, &back, 303).await;
    until(&app, &ann, payment["id"].as_str().unwrap(), "failed").await;
    assert_eq!(move_to("US").await.expect(200)["country"], "US");
    app.check_ledger().await;
    app
}

async fn the_window_of_toss_is_opened_by_a_page_of_its_own(mut app: TestApp) -> TestApp {
    let simulator = Simulator::start(&[]);
    let ann = set_up(&mut app, &simulator).await;
    let payment = charge(&app, &ann, "toss", "in-a-window", 5000).await;
    let payment = payment.expect(201);
    let next = &payment["next"];
    let url = url::Url::parse(next["url"].as_str().unwrap()).unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap());
    let page = client().get(app.url(&path)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    let scripts = format!("script-src 'self' {};", simulator.url);
    assert!(policy.contains(&scripts), "{policy}");
    let page = page.text().await.unwrap();
    for said in ["sdk_url", "client_key", "success_url"] {
        let value = next[said].as_str().unwrap().replace('&', "&amp;");
        let value = value.replace('/', "&#x2f;");
        assert!(page.contains(&value), "{value}: {page}");
    }
    let script = client().get(next["sdk_url"].as_str().unwrap());
    assert_eq!(script.send().await.unwrap().status(), 200);
    let id = payment["id"].as_str().unwrap();
    come_back(&app, &simulator, &format!("/v1/payments/{id}/window"), 404).await;
    // The card is refused in it, and another payment is none for a window.
    let back = simulator.pay(next, false).await;
    let refused = back.replace("PAY_PROCESS_CANCELED", "REJECT_CARD_COMPANY");
    come_back(&app, &simulator, &refused, 303).await;
    let payment = app.get(&format!("/v1/payments/{id}"), &ann).await;
    let payment = payment.expect(200);
    assert_eq!(
        (&payment["state"], &payment["failure"]),
        (&json!("failed"), &json!("REJECT_CARD_COMPANY"))
    );
    come_back(&app, &simulator, &path, 303).await;
    let other = charge(&app, &ann, "kakao_pay", "by-the-other", 5000).await;
    let other = other.expect(201)["id"].as_str().unwrap().to_owned();
    come_back(&app, &simulator, &path.replace(id, &other), 404).await;
    app
}
