//! What the store holds of somebody, and what is left of that when they leave.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use shared::id::UserId;

use crate::{
    app::{PASSWORD, TestApp, User},
    both,
    campaigns::{campaign, coupon},
    orders::give,
    smtp::MailServer,
};

both!(
    everything_is_exported_and_only_books_are_left,
    every_table_is_thought_of,
);

/// Tables in which nothing is about a person, or nothing but what is on its way for a moment.
const NOT_ABOUT_PEOPLE: &[&str] = &[
    "access_tokens",
    "announcements",
    "campaigns",
    "drop_queues",
    "game_media",
    "game_prices",
    "game_sales",
    "game_texts",
    "game_words",
    "games",
    "idempotency_keys",
    "mails",
    "outbox",
    "probe",
    "revocations",
    "search_days",
    "seaql_migrations",
    "transfers",
    "webhook_deliveries",
];

/// What is in the document beside the time, and the table it is of.
const PARTS: &[(&str, &str)] = &[
    ("account", "users"),
    ("blocks", "blocks"),
    ("codes", "codes"),
    ("coupons", "coupons"),
    ("drop_tickets", "drop_tickets"),
    ("follows", "follows"),
    ("friends", "relations"),
    ("gift_cards", "gift_cards"),
    ("gifts", "gifts"),
    ("guest_book", "guest_book"),
    ("guest_book_entries", "guest_book"),
    ("identities", "identities"),
    ("library", "library"),
    ("lists", "marks"),
    ("notices", "notices"),
    ("order_coupons", "order_coupons"),
    ("order_lines", "order_lines"),
    ("orders", "orders"),
    ("payment_cancels", "payment_cancels"),
    ("payments", "payments"),
    ("play_sessions", "play_sessions"),
    ("privacy", "privacy"),
    ("publishers", "publishers"),
    ("reviews", "reviews"),
    ("searches", "recent_searches"),
    ("security_events", "audit"),
    ("service_tokens", "service_tokens"),
    ("sessions", "sessions"),
    ("transfers", "postings"),
    ("votes", "review_votes"),
    ("wallets", "ledger_accounts"),
    ("webhooks", "webhooks"),
    ("wrong_gift_cards", "gift_card_attempts"),
];

/// What is left of somebody who left: books, under an id that is nobody's, and for a while what was
/// done to the account.
const BOOKS: &[&str] = &[
    "account",
    "coupons",
    "gift_cards",
    "gifts",
    "library",
    "order_coupons",
    "order_lines",
    "orders",
    "security_events",
    "payment_cancels",
    "payments",
    "service_tokens",
    "transfers",
    "wallets",
    "webhooks",
];

async fn export(app: &TestApp, user: &User) -> Value {
    let answer = app.get("/v1/me/export", user).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.expect(200)
}

/// The parts that have something in them.
fn filled(document: &Value) -> BTreeSet<&str> {
    let fields = document.as_object().unwrap().iter();
    fields
        .filter(|(_, part)| part.as_array().is_some_and(|rows| !rows.is_empty()))
        .map(|(name, _)| name.as_str())
        .collect()
}

async fn everything_is_exported_and_only_books_are_left(mut app: TestApp) -> TestApp {
    let server = MailServer::start();
    app.settings.webhooks.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
    server.serve(&mut app).await;
    let publisher = app.publisher("Oak").await;
    let star = app.game(&publisher, "star", |_| ()).await;
    let moon = app.game(&publisher, "moon", |_| ()).await;
    let sun = app
        .game(&publisher, "sun", |game| game["prices"] = json!({"US": 0}))
        .await;
    let (ann, bob) = (
        app.rich_user("Ann", 30).await,
        app.rich_user("Bob", 20).await,
    );
    app.store()
        .set_role_of(&ann.email, store_api::Role::Operator)
        .await
        .unwrap();
    app.befriend(&ann, &bob).await;
    let cat = app.user("Cat").await;
    let put = async |path: String| {
        app.put(&path, &ann).await.expect(204);
    };
    let body = async |method: Method, path: String, body: Value| {
        let answer = app.with_body(method, &path, &ann, body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
    };
    put(format!("/v1/blocks/{}", cat.id)).await;
    put(format!("/v1/lists/wishlist/{moon}")).await;
    put(format!("/v1/follows/{publisher}")).await;
    let drop = campaign(&app, |body| {
        body["drop"] = json!(true);
        body["quantity"] = json!(1);
        body["queue_rate"] = json!(1);
    })
    .await;
    app.put(&format!("/v1/drops/{drop}/queue"), &ann)
        .await
        .expect(200);
    let used = coupon(&app, &ann, |_| ()).await;
    coupon(&app, &ann, |_| ()).await;
    let cheaper = json!({"games": [star], "coupons": [used]});
    app.named("/v1/orders", &ann.access, "ann-buys-it", &cheaper)
        .await
        .expect(201);
    for user in [&bob, &ann] {
        app.buy(user, "the-free-one", &[&sun]).await.expect(201);
    }
    let review = |game: &str| format!("/v1/games/{game}/review");
    body(Method::PUT, review(&star), json!({"stars": 5})).await;
    app.with_body(Method::PUT, &review(&sun), &bob, json!({"stars": 4}))
        .await
        .expect(204);
    put(format!("/v1/games/{sun}/reviews/{}/helpful", bob.id)).await;
    let played = format!("/v1/library/{star}/sessions/one");
    body(Method::PUT, played, json!({"seconds": 90})).await;
    body(Method::POST, "/v1/searches".into(), json!({"q": "star"})).await;
    body(
        Method::PATCH,
        "/v1/me/privacy".into(),
        json!({"library": "nobody"}),
    )
    .await;
    body(
        Method::PATCH,
        "/v1/me".into(),
        json!({"status_text": "Anns line"}),
    )
    .await;
    let house = json!({"name": "Ann's house", "owner": ann.id});
    body(Method::POST, "/v1/publishers".into(), house).await;
    let token = json!({"name": "x", "scopes": ["wallet"], "lifetime_hours": 1});
    body(Method::POST, "/v1/service-tokens".into(), token).await;
    let hook = json!({"url": "http://127.0.0.1:9", "kinds": ["user.withdrawn"]});
    body(Method::POST, "/v1/webhooks".into(), hook).await;
    app.redeem(&ann, "7Q2K0-1M9PX-4BDTV-C6H8W")
        .await
        .expect(404);
    for (author, owner) in [(&ann, &bob), (&bob, &ann)] {
        let path = format!("/v1/users/{}/guest-book", owner.id);
        let text = json!({"text": "Hello"});
        app.named(&path, &author.access, "the-first-entry", &text)
            .await
            .expect(201);
    }
    let message = json!({"recipient": bob.id, "games": [moon], "message": "for you"});
    app.named("/v1/gifts", &ann.access, "anns-gift", &message)
        .await
        .expect(201);
    give(&app, &bob, "bobs-gift-to-ann", &ann, &[&moon])
        .await
        .expect(201);

    app.write(&[
        "INSERT INTO payments (id, user_id, provider, purpose, amount, currency, state, cancelled, created_at, \
         expires_at, changed_at) SELECT 'p', id, 'toss', 'top_up', 5, 'KRW', 'cancelled', 5, 1, 1, 1 FROM users \
         WHERE role = 'operator'",
        "INSERT INTO payment_cancels (id, payment, amount, state, asked_at, answered_at) \
         VALUES ('c', 'p', 5, 'done', 1, 1)",
    ])
    .await;
    let identity = format!(
        "INSERT INTO identities (provider, subject, user_id, linked_at) VALUES ('kakao', '17', '{}', 1)",
        ann.id
    );
    app.write(&[&identity]).await;
    let document = export(&app, &ann).await;
    let everything: BTreeSet<&str> = PARTS.iter().map(|(part, _)| *part).collect();
    assert_eq!(filled(&document), everything, "{document:#}");
    assert_eq!(document["account"][0]["email"], ann.email.as_str());
    assert_eq!(document["account"][0]["email_verified_at"], Value::Null);
    assert_eq!(document["codes"][0]["email"], ann.email.as_str());
    assert_eq!(document["library"].as_array().unwrap().len(), 2);
    assert_eq!(document["friends"][0]["other"], bob.id.as_str());
    assert_eq!(document["guest_book_entries"][0]["text"], "Hello");
    // Nothing that proves who somebody is, nothing of others, and not who blocks her.
    let text = document.to_string();
    for never in ["argon2", "hash", &ann.refresh, &bob.email] {
        assert!(!text.contains(never), "{never}");
    }
    app.put(&format!("/v1/blocks/{}", ann.id), &cat)
        .await
        .expect(204);
    assert_eq!(
        export(&app, &ann).await["blocks"].as_array().unwrap().len(),
        1
    );

    let password = json!({"password": PASSWORD});
    app.with_body(Method::DELETE, "/v1/me", &ann, password)
        .await
        .expect(204);
    let id = UserId::parse(&ann.id).unwrap();
    let left = app.store().export(&id).await.unwrap();
    let books: BTreeSet<&str> = BOOKS.iter().copied().collect();
    assert_eq!(filled(&left), books, "{left:#}");
    // Of coupons those that were used.
    assert_eq!(document["coupons"].as_array().unwrap().len(), 2);
    assert_eq!(left["coupons"].as_array().unwrap().len(), 1);
    assert_eq!(left["coupons"][0]["id"], used.as_str());
    let text = left.to_string();
    for gone in [&ann.email, &ann.name, "Anns line", "for you"] {
        assert!(!text.contains(gone), "{gone}: {left:#}");
    }
    for game in left["library"].as_array().unwrap() {
        assert_eq!(
            (&game["played_seconds"], &game["played_at"]),
            (&json!(0), &Value::Null)
        );
    }
    app.nodes[0]
        .wait_for(|event| event["kind"] == "user_withdrawn" && event["user"] == ann.id.as_str())
        .await;
    app.write(&["DELETE FROM payment_cancels", "DELETE FROM payments"])
        .await;
    app.check_ledger().await;
    app
}

async fn every_table_is_thought_of(app: TestApp) -> TestApp {
    let tables = app.tables().await;
    let thought_of: BTreeSet<String> = PARTS
        .iter()
        .map(|(_, table)| *table)
        .chain(NOT_ABOUT_PEOPLE.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(tables, thought_of);
    app
}
