//! How often a list reads the database: as often for many things as for one.

use reqwest::Method;
use serde_json::json;
use store_api::Role;

use crate::{
    app::{SERVICE_TOKEN, TestApp, User},
    both,
    campaigns::coupon,
};

both!(a_list_reads_as_often_for_many_as_for_one);

/// Every route that answers a page or a list, as somebody asks it who has a lot.
const LISTS: &[&str] = &[
    "/v1/users?q=reader",
    "/v1/friends",
    "/v1/friends/{friend}/mutual",
    "/v1/users/{friend}/friends",
    "/v1/users/{friend}/library",
    "/v1/users/{friend}/wishlist",
    "/v1/users/{friend}/guest-book",
    "/v1/blocks",
    "/v1/games",
    "/v1/games?q=star&sort=title",
    "/v1/games/suggestions?q=star",
    "/v1/games/categories",
    "/v1/games/game-0/reviews",
    "/v1/searches",
    "/v1/searches/top",
    "/v1/lists/wishlist",
    "/v1/lists/likes",
    "/v1/follows",
    "/v1/library",
    "/v1/orders",
    "/v1/payments",
    "/v1/wallet/history",
    "/v1/webhooks",
    "/v1/webhooks/{webhook}/deliveries",
    "/v1/coupons",
    "/v1/campaigns",
    "/v1/drops",
];

/// How often each list reads, the least of five times: the store has other things to do as well.
async fn reads(app: &TestApp, user: &User, friend: &User) -> Vec<(u64, usize)> {
    let mut all = Vec::new();
    let webhook = first_webhook(app, user).await;
    for path in LISTS {
        let path = path
            .replace("{friend}", &friend.id)
            .replace("{webhook}", &webhook);
        let mut least = u64::MAX;
        let mut items = 0;
        for _ in 0..5 {
            let before = app.store().reads();
            let body = app.get(&path, user).await.expect(200);
            least = least.min(app.store().reads() - before);
            items = body["items"].as_array().unwrap().len();
        }
        all.push((least, items));
    }
    all
}

/// The webhook that was registered first.
async fn first_webhook(app: &TestApp, user: &User) -> String {
    let webhooks = app.get("/v1/webhooks", user).await.expect(200);
    webhooks["items"][0]["id"].as_str().unwrap().to_owned()
}

/// Gives the reader one more of everything.
async fn grow(app: &TestApp, reader: &User, friend: &User, mine: &str, number: usize) {
    let other = app.rich_user("Reader", 1).await;
    for person in [reader, friend] {
        app.befriend(person, &other).await;
    }
    let blocked = app.user("Blocked").await;
    app.put(&format!("/v1/blocks/{}", blocked.id), reader)
        .await
        .expect(204);
    let publisher = app.publisher(&format!("House {number}")).await;
    app.put(&format!("/v1/follows/{publisher}"), reader)
        .await
        .expect(204);
    let slug = format!("game-{number}");
    let game = app
        .game(&publisher, &slug, |game| game["prices"] = json!({"US": 1}))
        .await;
    let wished = app
        .game(&publisher, &format!("wished-{number}"), |_| ())
        .await;
    for list in ["wishlist", "likes"] {
        for person in [reader, friend] {
            app.put(&format!("/v1/lists/{list}/{wished}"), person)
                .await
                .expect(204);
        }
    }
    coupon(app, reader, |campaign| {
        campaign["publisher"] = json!(mine);
        campaign["drop"] = json!(true);
        campaign["quantity"] = json!(2);
    })
    .await;
    for person in [reader, friend] {
        app.buy(person, &format!("order-number-{number}"), &[&game])
            .await
            .expect(201);
    }
    let book = format!("/v1/users/{}/guest-book", friend.id);
    let body = json!({"text": "Hello"});
    app.named(&book, &other.access, "the-first-entry", &body)
        .await
        .expect(201);
    let payment = format!(
        "INSERT INTO payments (id, user_id, provider, purpose, amount, currency, state, created_at, expires_at, \
         changed_at) VALUES ('payment-{number}', '{}', 'toss', 'top_up', 5, 'USD', 'failed', 1, 1, 1)",
        reader.id
    );
    app.write(&[&payment]).await;
    let hook = json!({"url": "http://127.0.0.1:9", "kinds": ["gift.given"]});
    app.with_body(Method::POST, "/v1/webhooks", reader, hook)
        .await
        .expect(201);
    let webhook = first_webhook(app, reader).await;
    app.write(&[&format!(
        "INSERT INTO webhook_deliveries \
         (webhook, message, kind, subject, body, state, next_at, give_up_at, created_at, done_at) \
         VALUES ('{webhook}', 'message-{number}', 'ping', 'x', '', 'dead', 0, 9000000000000, 0, 0)"
    )])
    .await;
    let typed = ["star", "star o", "star of", "star of d"][number];
    let searched = json!({"q": typed});
    app.with_body(Method::POST, "/v1/searches", reader, searched)
        .await
        .expect(204);
    if number > 0 {
        let first = app.get("/v1/games/game-0", reader).await.expect(200);
        let first = first["id"].as_str().unwrap();
        app.buy(&other, "the-first-game", &[first])
            .await
            .expect(201);
        let path = format!("/v1/games/{first}/review");
        app.with_body(Method::PUT, &path, &other, json!({"stars": 3}))
            .await
            .expect(204);
    }
}

async fn a_list_reads_as_often_for_many_as_for_one(mut app: TestApp) -> TestApp {
    app.settings.store_user_rate = "1000/s burst 1000".parse().unwrap();
    app.settings.webhooks.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
    // Who delivers looks at the database several times a second: on a slow machine within every request.
    app.nodes.clear();
    app.restart().await;
    app.quiet().await;
    let reader = app.rich_user("Reader", 10).await;
    let friend = app.rich_user("Friend", 10).await;
    app.store()
        .set_role_of(&reader.email, Role::Operator)
        .await
        .unwrap();
    app.befriend(&reader, &friend).await;
    let house = json!({"name": "Reader's", "owner": reader.id});
    let request = app.request(Method::POST, "/v1/publishers", Some(SERVICE_TOKEN));
    let house = app.send(request.json(&house)).await.expect(201);
    let mine = house["id"].as_str().unwrap();
    for number in 0..2 {
        grow(&app, &reader, &friend, mine, number).await;
    }
    let few = reads(&app, &reader, &friend).await;
    for number in 2..4 {
        grow(&app, &reader, &friend, mine, number).await;
    }
    let many = reads(&app, &reader, &friend).await;
    for ((path, few), many) in LISTS.iter().zip(few).zip(many) {
        // The categories are always the same.
        let fixed = path.ends_with("categories");
        assert!(fixed || many.1 > few.1, "{path}: {few:?}, {many:?}");
        assert_eq!(few.0, many.0, "{path}: {few:?}, {many:?}");
        assert!(many.0 <= 8, "{path}: {many:?}");
    }
    app
}
