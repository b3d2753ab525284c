//! Events for programs of others: what they are told, signed how, and what becomes of it when they do
//! not listen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use store_api::Role;

use crate::{
    app::{Answer, TestApp, User},
    both,
    orders::{give, rule},
    receiver::{How, Letter, Receiver, now},
};

both!(
    what_happens_is_told_and_signed,
    a_publisher_hears_of_its_games_and_of_nobody,
    gifts_and_withdrawals_are_told,
    what_fails_is_tried_again_until_it_is_a_dead_letter,
    of_one_order_events_come_in_order_and_others_pass,
    who_is_gone_is_sent_nothing_more,
    who_fails_for_days_is_sent_nothing_more,
    who_hangs_or_hangs_up_is_tried_again_and_holds_up_nobody,
    who_asks_for_a_pause_gets_it,
    a_redirect_is_not_followed,
    only_what_the_settings_allow_is_reached,
    two_secrets_hold_for_a_while,
    what_makes_no_sense_is_refused,
    what_operators_do_is_written_down,
);

const ORDERS: &[&str] = &["order.paid", "order.refunded"];

/// A webhook, as its owner knows it.
pub(crate) struct Hook {
    id: String,
    pub(crate) secret: String,
}

/// A store that may reach receivers of a test, and its operator; tokens outlive the time that passes.
pub(crate) async fn open(app: &mut TestApp) -> User {
    app.settings.webhooks.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
    app.settings.webhooks.webhook_timeout = Duration::from_secs(1);
    app.settings.access_token_lifetime = Duration::from_hours(24);
    app.restart().await;
    app.user_as("Olaf", Role::Operator).await
}

async fn register(app: &TestApp, user: &User, body: Value) -> Answer {
    app.with_body(Method::POST, "/v1/webhooks", user, body)
        .await
}

pub(crate) async fn subscribe(app: &TestApp, user: &User, to: &Receiver, kinds: &[&str]) -> Hook {
    subscribe_for(app, user, to, kinds, None).await
}

async fn subscribe_for(
    app: &TestApp,
    user: &User,
    to: &Receiver,
    kinds: &[&str],
    publisher: Option<&str>,
) -> Hook {
    let body = json!({"url": to.url(), "kinds": kinds, "publisher": publisher});
    let answer = register(app, user, body).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body = answer.expect(201);
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Hook {
        id: text("id"),
        secret: text("secret"),
    }
}

async fn post(app: &TestApp, user: &User, path: &str) -> Answer {
    app.send(app.request(Method::POST, path, Some(&user.access)))
        .await
}

async fn look(app: &TestApp, user: &User, hook: &Hook) -> Value {
    let path = format!("/v1/webhooks/{}", hook.id);
    app.get(&path, user).await.expect(200)
}

async fn deliveries(app: &TestApp, user: &User, hook: &Hook, query: &str) -> Vec<Value> {
    let path = format!("/v1/webhooks/{}/deliveries?{query}", hook.id);
    let body = app.get(&path, user).await.expect(200);
    body["items"].as_array().unwrap().clone()
}

/// The deliveries of a webhook, the newest first, once they are as wanted.
async fn settled(
    app: &TestApp,
    user: &User,
    hook: &Hook,
    wanted: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let found = deliveries(app, user, hook, "").await;
        if wanted(&found) {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{found:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn all(deliveries: &[Value], state: &str) -> bool {
    !deliveries.is_empty() && deliveries.iter().all(|found| found["state"] == state)
}

/// A publisher's game for 10 dollars.
async fn star(app: &TestApp) -> String {
    let publisher = app.publisher("Oak").await;
    app.game(&publisher, "star", |_| ()).await
}

pub(crate) async fn buy(app: &TestApp, user: &User, key: &str, games: &[&str]) -> String {
    let order = app.buy(user, key, games).await.expect(201);
    order["id"].as_str().unwrap().to_owned()
}

async fn refund(app: &TestApp, user: &User, order: &str, games: Value) {
    let path = format!("/v1/orders/{order}/refund");
    let key = format!("refund-{order}-{games}").replace(['"', '[', ']'], "");
    app.named(&path, &user.access, &key, &json!({"games": games}))
        .await
        .expect(200);
}

fn dollars(minor: i64) -> Value {
    json!({"minor": minor, "currency": "USD", "exponent": 2})
}

async fn what_happens_is_told_and_signed(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    let star = star(&app).await;
    let ann = app.rich_user("Ann", 20).await;
    let before = now();
    let order = buy(&app, &ann, "anns-order", &[&star]).await;
    refund(&app, &ann, &order, Value::Null).await;
    let letters = receiver.wait_for(2).await;
    for (letter, kind) in letters.iter().zip(ORDERS) {
        letter.check(&hook.secret);
        assert_eq!((letter.path.as_str(), letter.kind()), ("/hook", *kind));
        let second: i64 = letter.header("webhook-timestamp").parse().unwrap();
        assert!((before..=now()).contains(&second));
        let line = json!({
            "game": star, "title": "Star of Dawn", "price": dollars(1000), "earned": dollars(700),
        });
        let data = json!({
            "order": order, "country": "US", "gift": false, "user": ann.id, "lines": [line],
            "amount": dollars(1000), "earned": dollars(700),
        });
        assert_eq!(letter.body["data"], data);
        let other = format!("whsec_{}", "A".repeat(44));
        assert!(letter.signed_with(&other).is_none());
    }
    assert_ne!(letters[0].id(), letters[1].id());
    let found = settled(&app, &operator, &hook, |found| all(found, "delivered")).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[1]["id"], letters[0].id());
    assert_eq!(found[1]["subject"], order.as_str());
    assert_eq!(
        (&found[1]["attempts"], &found[1]["outcome"]),
        (&json!(0), &json!("204"))
    );
    // Asked again for what is done already, nothing is told.
    app.buy(&ann, "anns-order", &[&star]).await.expect(201);
    assert_eq!(app.count("webhook_deliveries").await, 2);
    assert_eq!(receiver.letters().len(), 2);
    app
}

async fn a_publisher_hears_of_its_games_and_of_nobody(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let pia = app.user_as("Pia", Role::Publisher).await;
    let body = json!({"name": "Pia's", "owner": pia.id});
    let made = app.with_body(Method::POST, "/v1/publishers", &operator, body);
    let made = made.await.expect(201);
    let house = made["id"].as_str().unwrap();
    let hers = app.game(house, "hers", |_| ()).await;
    let star = star(&app).await;
    let hook = subscribe_for(&app, &pia, &receiver, ORDERS, Some(house)).await;
    let ann = app.rich_user("Ann", 40).await;
    buy(&app, &ann, "another-house", &[&star]).await;
    let bob = app.rich_user("Bob", 40).await;
    let order = buy(&app, &bob, "both-houses", &[&hers, &star]).await;
    refund(&app, &bob, &order, json!([star])).await;
    refund(&app, &bob, &order, json!([hers])).await;
    let letters = receiver.wait_for(2).await;
    for letter in &letters {
        letter.check(&hook.secret);
        assert_eq!(letter.order(), order);
        let lines = letter.body["data"]["lines"].as_array().unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["game"], hers.as_str());
        assert_eq!(letter.body["data"]["amount"], dollars(1000));
        assert!(
            !letter.body.to_string().contains(&bob.id),
            "{:?}",
            letter.body
        );
    }
    settled(&app, &pia, &hook, |found| all(found, "delivered")).await;
    assert_eq!(app.count("webhook_deliveries").await, 2);
    // Each sees their own; those who run the store see all.
    let path = format!("/v1/webhooks?publisher={house}");
    let listed = app.get(&path, &pia).await.expect(200);
    assert_eq!(listed["items"][0]["id"], hook.id.as_str());
    assert!(listed["items"][0].get("secret").is_none());
    assert_eq!(look(&app, &operator, &hook).await, listed["items"][0]);
    let own = app.get("/v1/webhooks", &operator).await.expect(200);
    assert_eq!(own["items"], json!([]));
    app.get(&path, &ann).await.expect(403);
    app.get("/v1/webhooks", &pia).await.expect(403);
    let path = format!("/v1/webhooks/{}", hook.id);
    app.get(&path, &ann).await.expect(404);
    app
}

async fn gifts_and_withdrawals_are_told(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let kinds = store_api::EventKind::ALL.map(store_api::EventKind::word);
    let hook = subscribe(&app, &operator, &receiver, &kinds).await;
    let star = star(&app).await;
    let (ann, bob) = (app.rich_user("Ann", 40).await, app.user("Bob").await);
    app.befriend(&ann, &bob).await;
    let declined = give(&app, &ann, "the-first-gift", &bob, &[&star]).await;
    let declined = declined.expect(201)["id"].as_str().unwrap().to_owned();
    app.put(&format!("/v1/gifts/{declined}/decline"), &bob)
        .await
        .expect(200);
    let back = give(&app, &ann, "the-second-gift", &bob, &[&star]).await;
    let back = back.expect(201)["id"].as_str().unwrap().to_owned();
    app.delete(&format!("/v1/gifts/{back}"), &ann)
        .await
        .expect(200);
    let kept = give(&app, &ann, "the-third-gift", &bob, &[&star]).await;
    let kept = kept.expect(201)["id"].as_str().unwrap().to_owned();
    let late = give(&app, &ann, "the-fourth-gift", &bob, &[&star]).await;
    let late = late.expect(201)["id"].as_str().unwrap().to_owned();
    app.put(&format!("/v1/gifts/{kept}/accept"), &bob)
        .await
        .expect(200);
    // Of what did not come about nothing is told: he has the game.
    app.put(&format!("/v1/gifts/{late}/accept"), &bob)
        .await
        .expect(409);
    let password = json!({"password": crate::app::PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &bob, password)
        .await
        .expect(204);
    receiver.wait_for(16).await;
    let letters = receiver.events();
    let of = |order: &str| -> Vec<&str> {
        let of_order = letters.iter().filter(|letter| letter.order() == order);
        of_order.map(Letter::kind).collect()
    };
    let given = ["order.paid", "gift.given"];
    let undone = |kind| [given[0], given[1], kind, "order.refunded"].to_vec();
    assert_eq!(of(&declined), undone("gift.declined"));
    assert_eq!(of(&back), undone("gift.taken_back"));
    assert_eq!(of(&late), undone("gift.expired"));
    assert_eq!(of(&kept), [given[0], given[1], "gift.accepted"]);
    let people = &letters.iter().find(|letter| letter.kind() == "gift.given");
    let people = &people.unwrap().body["data"];
    assert_eq!(
        (&people["user"], &people["recipient"], &people["gift"]),
        (&json!(ann.id), &json!(bob.id), &json!(true))
    );
    let left = letters
        .iter()
        .find(|letter| letter.kind() == "user.withdrawn");
    assert_eq!(left.unwrap().body["data"], json!({"user": bob.id}));
    for letter in &letters {
        letter.check(&hook.secret);
    }
    app
}

async fn what_fails_is_tried_again_until_it_is_a_dead_letter(mut app: TestApp) -> TestApp {
    app.settings.webhooks.webhook_lifetime = Duration::from_hours(3);
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    let star = star(&app).await;
    let (ann, bob) = (
        app.rich_user("Ann", 20).await,
        app.rich_user("Bob", 20).await,
    );
    receiver.answer(How::Status(500));
    let order = buy(&app, &ann, "anns-order", &[&star]).await;
    receiver.wait_for(1).await;
    let found = settled(&app, &operator, &hook, |found| {
        found[0]["attempts"].as_u64() >= Some(1)
    })
    .await;
    assert_eq!(
        (&found[0]["state"], &found[0]["outcome"]),
        (&json!("waiting"), &json!("500"))
    );
    assert!(found[0]["next_at"].as_i64() >= found[0]["created_at"].as_i64());
    assert!(look(&app, &operator, &hook).await["failing_since"].is_i64());
    for attempts in 2..4 {
        app.advance(Duration::from_hours(1));
        settled(&app, &operator, &hook, |found| {
            found[0]["attempts"].as_u64() >= Some(attempts)
        })
        .await;
    }
    buy(&app, &bob, "bobs-order", &[&star]).await;
    app.advance(Duration::from_hours(2));
    let found = settled(&app, &operator, &hook, |found| found[1]["state"] == "dead").await;
    assert_eq!(found[0]["state"], "waiting");
    app.advance(Duration::from_hours(2));
    settled(&app, &operator, &hook, |found| all(found, "dead")).await;
    let attempts = receiver.letters().len();
    app.advance(Duration::from_hours(5));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(receiver.letters().len(), attempts, "the dead rest");
    let mut sent = receiver.letters();
    sent.retain(|letter| letter.order() == order);
    assert!(sent.len() >= 4);
    for letter in &sent {
        letter.check(&hook.secret);
        assert_eq!((letter.id(), &letter.body), (sent[0].id(), &sent[0].body));
    }

    // One is sent again, then all that are left.
    receiver.answer(How::Status(200));
    let dead = deliveries(&app, &operator, &hook, "state=dead").await;
    let path = format!(
        "/v1/webhooks/{}/deliveries/{}/replay",
        hook.id,
        sent[0].id()
    );
    let replayed = post(&app, &operator, &path).await.expect(202);
    assert_eq!(
        (&replayed["state"], &replayed["attempts"]),
        (&json!("waiting"), &json!(0))
    );
    let letters = receiver.wait_for(attempts + 1).await;
    let last = letters.last().unwrap();
    assert_eq!((last.id(), &last.body), (sent[0].id(), &sent[0].body));
    last.check(&hook.secret);
    let path = format!("/v1/webhooks/{}/replay", hook.id);
    let replayed = post(&app, &operator, &path).await.expect(202);
    assert_eq!(replayed, json!({"replayed": dead.len() - 1, "left": 0}));
    settled(&app, &operator, &hook, |found| all(found, "delivered")).await;
    let replayed = post(&app, &operator, &path).await.expect(202);
    assert_eq!(replayed, json!({"replayed": 0, "left": 0}));
    assert!(
        look(&app, &operator, &hook)
            .await
            .get("failing_since")
            .is_none()
    );
    // What was taken may be sent again, too.
    let path = format!(
        "/v1/webhooks/{}/deliveries/{}/replay",
        hook.id,
        sent[0].id()
    );
    let before = receiver.letters().len();
    post(&app, &operator, &path).await.expect(202);
    receiver.wait_for(before + 1).await;
    app
}

async fn of_one_order_events_come_in_order_and_others_pass(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    let star = star(&app).await;
    let (ann, bob) = (
        app.rich_user("Ann", 20).await,
        app.rich_user("Bob", 20).await,
    );
    let stubborn = Arc::new(AtomicBool::new(true));
    let (refuses, anns) = (stubborn.clone(), ann.id.clone());
    receiver.answer_by(move |letter| {
        let hers = letter.body["data"]["user"] == anns.as_str();
        let refused = hers && letter.kind() == "order.paid" && refuses.load(Ordering::Relaxed);
        How::Status(if refused { 500 } else { 200 })
    });
    let order = buy(&app, &ann, "anns-order", &[&star]).await;
    receiver.wait_for(1).await;
    refund(&app, &ann, &order, Value::Null).await;
    let bobs = buy(&app, &bob, "bobs-order", &[&star]).await;
    refund(&app, &bob, &bobs, Value::Null).await;
    let of = |order: &str| {
        let mut letters = receiver.events();
        letters.retain(|letter| letter.order() == order);
        let kinds = letters.iter().map(|letter| letter.kind().to_owned());
        kinds.collect::<Vec<_>>()
    };
    settled(&app, &operator, &hook, |found| {
        let done = found.iter().filter(|found| found["state"] == "delivered");
        done.count() == 2
    })
    .await;
    assert_eq!(of(&bobs), ORDERS, "theirs waits for nobody");
    assert_eq!(
        of(&order),
        ["order.paid"],
        "the refund waits for the purchase"
    );
    stubborn.store(false, Ordering::Relaxed);
    app.advance(Duration::from_hours(2));
    settled(&app, &operator, &hook, |found| all(found, "delivered")).await;
    assert_eq!(of(&order), ORDERS);
    app
}

async fn notice(app: &TestApp, user: &User) -> Value {
    let since = Instant::now();
    loop {
        let body = app.get("/v1/notices", user).await.expect(200);
        let mut items = body["items"].as_array().unwrap().iter();
        if let Some(found) = items.find(|item| item["topic"] == "webhook_disabled") {
            return found["data"].clone();
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn who_is_gone_is_sent_nothing_more(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    let star = star(&app).await;
    let (ann, bob) = (
        app.rich_user("Ann", 20).await,
        app.rich_user("Bob", 20).await,
    );
    receiver.answer(How::Status(410));
    buy(&app, &ann, "anns-order", &[&star]).await;
    let told = notice(&app, &operator).await;
    let expected = json!({"webhook": hook.id, "host": "127.0.0.1", "reason": "gone"});
    assert_eq!(told, expected);
    let seen = look(&app, &operator, &hook).await;
    assert_eq!(
        (&seen["enabled"], &seen["disabled_because"]),
        (&json!(false), &json!("gone"))
    );
    buy(&app, &bob, "bobs-order", &[&star]).await;
    assert_eq!(
        app.count("webhook_deliveries").await,
        1,
        "of that it hears nothing"
    );
    let dead = deliveries(&app, &operator, &hook, "").await;
    assert!(all(&dead, "dead"), "{dead:?}");
    let path = |action: &str| format!("/v1/webhooks/{}/{action}", hook.id);
    for action in ["ping", "replay"] {
        let refused = post(&app, &operator, &path(action)).await.expect(409);
        assert_eq!(rule(&refused), "disabled");
    }
    receiver.answer(How::Status(200));
    let enable = json!({"enabled": true});
    let plain = format!("/v1/webhooks/{}", hook.id);
    let seen = app.with_body(Method::PATCH, &plain, &operator, enable);
    assert_eq!(seen.await.expect(200)["enabled"], true);
    let replayed = post(&app, &operator, &path("replay")).await.expect(202);
    assert_eq!(replayed["replayed"], 1);
    let letters = receiver.wait_for(2).await;
    assert_eq!(letters[0].id(), letters[1].id());
    settled(&app, &operator, &hook, |found| all(found, "delivered")).await;
    // One that is disabled by hand keeps what waits.
    receiver.answer(How::Status(500));
    let ping = post(&app, &operator, &path("ping")).await.expect(202);
    receiver.wait_for(3).await;
    let change = async |body: Value| {
        let answer = app.with_body(Method::PATCH, &plain, &operator, body);
        answer.await.expect(200)
    };
    let seen = change(json!({"enabled": false, "kinds": ["gift.given"]})).await;
    assert_eq!(
        (&seen["disabled_because"], &seen["kinds"]),
        (&json!("asked"), &json!(["gift.given"]))
    );
    // An attempt that was under way may still come.
    tokio::time::sleep(Duration::from_millis(300)).await;
    receiver.answer(How::Status(200));
    let before = receiver.letters().len();
    app.advance(Duration::from_hours(2));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(receiver.letters().len(), before);
    change(json!({"enabled": true})).await;
    let letter = receiver.wait_for(before + 1).await.pop().unwrap();
    assert_eq!(
        (letter.id(), letter.kind()),
        (ping["id"].as_str().unwrap(), "ping")
    );
    app
}

async fn who_fails_for_days_is_sent_nothing_more(mut app: TestApp) -> TestApp {
    app.settings.webhooks.webhook_disable_after = Duration::from_hours(2);
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    receiver.answer(How::Status(503));
    let star = star(&app).await;
    let ann = app.rich_user("Ann", 20).await;
    buy(&app, &ann, "anns-order", &[&star]).await;
    receiver.wait_for(1).await;
    for _ in 0..2 {
        assert_eq!(look(&app, &operator, &hook).await["enabled"], true);
        let before = receiver.letters().len();
        app.advance(Duration::from_mins(70));
        receiver.wait_for(before + 1).await;
    }
    assert_eq!(notice(&app, &operator).await["reason"], "failing");
    let seen = look(&app, &operator, &hook).await;
    assert_eq!(seen["disabled_because"], "failing");
    let dead = deliveries(&app, &operator, &hook, "state=dead").await;
    assert_eq!(dead.len(), 1);
    app
}

async fn who_hangs_or_hangs_up_is_tried_again_and_holds_up_nobody(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let (hangs, listens) = (Receiver::start().await, Receiver::start().await);
    let hook = subscribe(&app, &operator, &hangs, ORDERS).await;
    subscribe(&app, &operator, &listens, ORDERS).await;
    hangs.answer(How::Hang);
    let star = star(&app).await;
    let ann = app.rich_user("Ann", 20).await;
    let order = buy(&app, &ann, "anns-order", &[&star]).await;
    refund(&app, &ann, &order, Value::Null).await;
    listens.wait_for(2).await;
    let outcome = async |outcome: &str| {
        settled(&app, &operator, &hook, |found| {
            found[1]["outcome"] == outcome
        })
        .await
    };
    let found = outcome("timeout").await;
    assert_eq!(found[1]["state"], "waiting");
    // It took the event and does not say so: it comes again, under the same name.
    hangs.answer(How::Drop);
    app.advance(Duration::from_hours(1));
    outcome("connection").await;
    hangs.answer(How::Status(200));
    app.advance(Duration::from_hours(1));
    settled(&app, &operator, &hook, |found| all(found, "delivered")).await;
    let letters = hangs.letters();
    let (last, first) = letters.split_last().unwrap();
    assert!(first.len() >= 3);
    assert!(first.iter().all(|letter| letter.id() == first[0].id()));
    assert_eq!(last.kind(), "order.refunded");
    app
}

async fn who_asks_for_a_pause_gets_it(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    receiver.answer(How::With(429, "retry-after", "1800".into()));
    let star = star(&app).await;
    let (ann, bob) = (
        app.rich_user("Ann", 20).await,
        app.rich_user("Bob", 20).await,
    );
    buy(&app, &ann, "anns-order", &[&star]).await;
    receiver.wait_for(1).await;
    settled(&app, &operator, &hook, |found| found[0]["outcome"] == "429").await;
    buy(&app, &bob, "bobs-order", &[&star]).await;
    app.advance(Duration::from_mins(25));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(receiver.letters().len(), 1);
    receiver.answer(How::Status(200));
    app.advance(Duration::from_mins(10));
    settled(&app, &operator, &hook, |found| all(found, "delivered")).await;
    app
}

async fn a_redirect_is_not_followed(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    receiver.answer(How::With(307, "location", elsewhere.url()));
    let star = star(&app).await;
    let ann = app.rich_user("Ann", 20).await;
    buy(&app, &ann, "anns-order", &[&star]).await;
    settled(&app, &operator, &hook, |found| found[0]["outcome"] == "307").await;
    assert_eq!(elsewhere.connections(), 0);
    app
}

async fn only_what_the_settings_allow_is_reached(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    // Other settings from now on: what was registered before is held to them as well.
    app.settings.webhooks.webhook_networks = vec!["10.0.0.0/8".parse().unwrap()];
    app.restart().await;
    let star = star(&app).await;
    let ann = app.rich_user("Ann", 20).await;
    buy(&app, &ann, "anns-order", &[&star]).await;
    let found = settled(&app, &operator, &hook, |found| {
        found[0]["outcome"] == "address"
    });
    assert_eq!(found.await[0]["state"], "waiting");
    assert_eq!(receiver.connections(), 0);
    app.settings.webhooks.webhook_networks.clear();
    app.restart().await;
    let refused = async |url: &str| {
        let body = json!({"url": url, "kinds": ORDERS});
        let body = register(&app, &operator, body).await.expect(400);
        rule(&body).to_owned()
    };
    assert_eq!(refused(&receiver.url()).await, "scheme");
    for url in [
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://localhost/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1",
        "https://2130706433/",
    ] {
        assert_eq!(refused(url).await, "address", "{url}");
    }
    app.settings.webhooks.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
    app.restart().await;
    app.advance(Duration::from_hours(1));
    receiver.wait_for(1).await;
    app
}

async fn two_secrets_hold_for_a_while(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let hook = subscribe(&app, &operator, &receiver, ORDERS).await;
    let path = |action: &str| format!("/v1/webhooks/{}/{action}", hook.id);
    let ping = async |sent: usize| {
        post(&app, &operator, &path("ping")).await.expect(202);
        receiver.wait_for(sent).await.pop().unwrap()
    };
    let letter = ping(1).await;
    letter.check(&hook.secret);
    assert_eq!(letter.kind(), "ping");
    assert_eq!(letter.body["data"], json!({"webhook": hook.id}));
    let renewed = post(&app, &operator, &path("secret")).await;
    assert_eq!(renewed.headers["cache-control"], "no-store");
    let renewed = renewed.expect(200);
    let second = renewed["secret"].as_str().unwrap().to_owned();
    assert_ne!(second, hook.secret);
    assert!(renewed["previous_secret_until"].is_i64());
    let letter = ping(2).await;
    assert_eq!(letter.signed_with(&second), Some(0));
    assert_eq!(letter.signed_with(&hook.secret), Some(1));
    app.advance(Duration::from_hours(23));
    let third = post(&app, &operator, &path("secret")).await.expect(200);
    let third = third["secret"].as_str().unwrap().to_owned();
    let letter = ping(3).await;
    assert_eq!(letter.signed_with(&third), Some(0));
    assert_eq!(letter.signed_with(&second), Some(1));
    assert_eq!(
        letter.signed_with(&hook.secret),
        None,
        "of three the first ends"
    );
    app.advance(Duration::from_hours(25));
    let login = app.login(&operator.email, crate::app::PASSWORD).await;
    let operator = User::of(&login.expect(200), operator.email.clone());
    post(&app, &operator, &path("ping")).await.expect(202);
    let letter = receiver.wait_for(4).await.pop().unwrap();
    assert_eq!(letter.header("webhook-signature").split(' ').count(), 1);
    assert_eq!(letter.signed_with(&third), Some(0));
    app
}

async fn what_makes_no_sense_is_refused(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let url = "https://hooks.example/a";
    let refused = async |body: Value| {
        let body = register(&app, &operator, body).await.expect(400);
        rule(&body).to_owned()
    };
    for (body, expected) in [
        (
            json!({"url": "hooks.example", "kinds": ORDERS}),
            "malformed",
        ),
        (
            json!({"url": "https://u:p@hooks.example", "kinds": ORDERS}),
            "malformed",
        ),
        (
            json!({"url": "ftp://hooks.example", "kinds": ORDERS}),
            "scheme",
        ),
        (json!({"url": url, "kinds": []}), "required"),
        (json!({"url": url, "kinds": ["order.lost"]}), "unknown"),
        (json!({"url": url, "kinds": ["ping"]}), "unknown"),
    ] {
        assert_eq!(refused(body.clone()).await, expected, "{body}");
    }
    let house = app.publisher("Oak").await;
    let people = json!({"url": url, "kinds": ["user.withdrawn"], "publisher": house});
    assert_eq!(refused(people).await, "not_for_publishers");
    let body = json!({"url": url, "kinds": ORDERS, "publisher": "nobody"});
    register(&app, &operator, body).await.expect(404);
    let body = json!({"url": url, "kinds": ORDERS, "publisher": house});
    let made = register(&app, &operator, body.clone()).await.expect(201);
    for _ in 0..4 {
        register(&app, &operator, body.clone()).await.expect(201);
    }
    let full = register(&app, &operator, body).await.expect(409);
    assert_eq!(rule(&full), "too_many");

    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let patch = async |body: Value| app.with_body(Method::PATCH, &path, &operator, body).await;
    let bad = patch(json!({"url": "https://127.1.1.1:1/", "kinds": []})).await;
    bad.expect(400);
    assert_eq!(patch(json!({})).await.expect(200)["url"], url);
    for wrong in ["?state=lost", "?cursor=%25", "?cursor=YQ", "?limit=0"] {
        let path = format!("{path}/deliveries{wrong}");
        let answer = app.get(&path, &operator).await;
        assert_eq!(answer.problem(400), "invalid", "{wrong}");
    }
    let replay = format!("{path}/deliveries/01J0/replay");
    assert_eq!(
        post(&app, &operator, &replay).await.problem(404),
        "not_found"
    );
    // Page by page.
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/webhooks?publisher={house}&limit=2{next}");
        let page = app.get(&path, &operator).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(seen.len(), 5);
    app.delete(&path, &operator).await.expect(204);
    app.delete(&path, &operator).await.expect(404);
    app
}

async fn what_operators_do_is_written_down(mut app: TestApp) -> TestApp {
    let operator = open(&mut app).await;
    let receiver = Receiver::start().await;
    let body = json!({"url": format!("{}?token=s3cret", receiver.url()), "kinds": ORDERS});
    let made = register(&app, &operator, body).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let path = |action: &str| format!("/v1/webhooks/{id}{action}");
    let ping = post(&app, &operator, &path("/ping")).await.expect(202);
    receiver.wait_for(1).await;
    let replay = format!("/deliveries/{}/replay", ping["id"].as_str().unwrap());
    post(&app, &operator, &path(&replay)).await.expect(202);
    post(&app, &operator, &path("/secret")).await.expect(200);
    let body = json!({"kinds": ["gift.given"], "enabled": false});
    app.with_body(Method::PATCH, &path(""), &operator, body)
        .await
        .expect(200);
    // What waits for it is gone with it.
    app.delete(&path(""), &operator).await.expect(204);
    assert_eq!(app.count("webhook_deliveries").await, 0);
    let log = app.get("/v1/audit?limit=500", &operator).await.expect(200);
    let about = |deed: &str| {
        let mut items = log["items"].as_array().unwrap().iter();
        let found = items.find(|item| item["deed"] == deed);
        let found = found.unwrap_or_else(|| panic!("no {deed}"));
        assert_eq!(found["actor"], format!("user:{}", operator.id));
        found["details"].clone()
    };
    let plain = json!({"webhook": id, "host": "127.0.0.1"});
    let with = |name: &str, value: Value| {
        let mut details = plain.clone();
        details[name] = value;
        details
    };
    assert_eq!(about("webhook_made"), with("kinds", json!(ORDERS)));
    assert_eq!(
        about("webhook_replayed"),
        with("delivery", ping["id"].clone())
    );
    assert_eq!(about("webhook_secret_renewed"), plain);
    let mut changed = with("kinds", json!(["gift.given"]));
    changed["enabled"] = json!(false);
    assert_eq!(about("webhook_changed"), changed);
    assert_eq!(about("webhook_deleted"), plain);
    assert!(!log.to_string().contains("s3cret"));
    assert!(!log.to_string().contains("whsec_"));
    app
}
