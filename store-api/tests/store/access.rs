//! Who may do what: every route, tried by nobody, by a stranger to the matter, by its owner, by a
//! publisher, by an operator and by a service.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use store_api::Role;

use crate::{
    app::{PASSWORD, SERVICE_TOKEN, TestApp, User, game},
    both, campaigns,
};

both!(
    every_route_lets_in_whom_it_should,
    a_token_of_the_scope_server_is_a_services
);

/// A route, a request that would succeed, and the statuses for nobody, another person, the owner
/// of what it is about, a publisher, an operator, and a service.
type Row = (&'static str, &'static str, Option<Value>, [u16; 6]);

/// The statuses where a person does a thing of their own, and no service can.
const fn people(status: u16) -> [u16; 6] {
    [401, status, status, status, status, 401]
}

/// The statuses of what only services may do.
const fn services(status: u16) -> [u16; 6] {
    [401, 403, 403, 403, 403, status]
}

/// The statuses of what only operators may do.
const fn operators(status: u16) -> [u16; 6] {
    [401, 403, 403, 403, status, 403]
}

/// The statuses of what anybody may look at; a service is nobody to look at things.
const VISITORS: [u16; 6] = [200, 200, 200, 200, 200, 401];

/// The statuses of what somebody shows to friends, of whom the other is one.
const FRIENDS: [u16; 6] = [401, 200, 200, 403, 403, 401];

/// The statuses of a webhook of the publisher's.
const KEEPERS: [u16; 6] = [401, 404, 404, 200, 200, 403];

/// In the order in which they are tried: what ends the callers' sessions comes last.
fn table() -> Vec<Row> {
    let account = json!({"email": "new@example.org", "name": "New", "password": PASSWORD});
    let login = json!({"email": "nobody@example.org", "password": PASSWORD});
    let refresh = json!({"refresh_token": "x"});
    let password = json!({"current_password": "wrong", "new_password": "a better password"});
    let reset = json!({"email": "nobody@example.org", "code": "x", "new_password": PASSWORD});
    let email = json!({"email": "new@example.org", "password": PASSWORD});
    let status = json!({"status_text": "x"});
    let wrong = json!({"password": "wrong"});
    let cards = json!({"amount": 500, "currency": "USD", "cards": 1});
    let campaign = campaigns::text(|_| ());
    let token = json!({"name": "x", "scopes": ["wallet"], "lifetime_hours": 1});
    vec![
        (
            "POST",
            "/v1/auth/register",
            Some(account),
            [201, 409, 409, 409, 409, 409],
        ),
        ("POST", "/v1/auth/login", Some(login), [401; 6]),
        ("POST", "/v1/auth/refresh", Some(refresh), [401; 6]),
        ("GET", "/v1/auth/available?name=Free", None, [200; 6]),
        // Whose address it is makes no difference, and no mail is sent here.
        (
            "POST",
            "/v1/auth/password/forgot",
            Some(json!({"email": "nobody@example.org"})),
            [409; 6],
        ),
        ("POST", "/v1/auth/password/reset", Some(reset), [401; 6]),
        ("GET", "/v1/auth/providers", None, [200; 6]),
        // None is set up here.
        ("POST", "/v1/auth/providers/kakao", None, [404; 6]),
        (
            "GET",
            "/v1/auth/providers/kakao/return?state=x",
            None,
            [404; 6],
        ),
        (
            "POST",
            "/v1/auth/finish",
            Some(json!({"ticket": "x", "secret": "x"})),
            [403; 6],
        ),
        (
            "POST",
            "/v1/auth/finish/register",
            Some(json!({"ticket": "x", "secret": "x", "name": "Newcomer"})),
            [403; 6],
        ),
        ("GET", "/v1/me", None, people(200)),
        ("GET", "/v1/me/identities", None, people(200)),
        (
            "POST",
            "/v1/me/identities",
            Some(json!({"ticket": "x", "secret": "x"})),
            people(403),
        ),
        (
            "POST",
            "/v1/me/identities/kakao",
            Some(json!({"password": PASSWORD})),
            people(404),
        ),
        ("DELETE", "/v1/me/identities/kakao", None, people(404)),
        ("GET", "/v1/me/export", None, people(200)),
        ("PATCH", "/v1/me", Some(status), people(200)),
        ("PUT", "/v1/me/password", Some(password), people(403)),
        ("PUT", "/v1/me/email", Some(email), people(409)),
        ("POST", "/v1/me/email/code", None, people(409)),
        (
            "POST",
            "/v1/me/email/verify",
            Some(json!({"code": "0000-0000"})),
            people(403),
        ),
        ("DELETE", "/v1/me", Some(wrong), people(403)),
        ("GET", "/v1/users?q=ann", None, people(200)),
        ("GET", "/v1/me/security-events", None, people(200)),
        ("GET", "/v1/me/privacy", None, people(200)),
        (
            "PATCH",
            "/v1/me/privacy",
            Some(json!({"library": "friends"})),
            people(200),
        ),
        ("GET", "/v1/users/{user}", None, people(200)),
        // The other is her friend still.
        ("GET", "/v1/users/{owner}/friends", None, FRIENDS),
        ("GET", "/v1/users/{owner}/library", None, FRIENDS),
        ("GET", "/v1/users/{owner}/wishlist", None, FRIENDS),
        ("GET", "/v1/users/{owner}/guest-book", None, people(200)),
        (
            "POST",
            "/v1/users/{owner}/guest-book",
            Some(json!({"text": "Hello"})),
            [401, 201, 201, 403, 403, 401],
        ),
        (
            "PUT",
            "/v1/users/{owner}/guest-book/{entry}/hidden",
            None,
            [401, 403, 204, 403, 403, 401],
        ),
        (
            "DELETE",
            "/v1/users/{owner}/guest-book/{entry}/hidden",
            None,
            [401, 403, 204, 403, 403, 401],
        ),
        (
            "DELETE",
            "/v1/users/{owner}/guest-book/{entry}",
            None,
            [401, 403, 204, 204, 204, 401],
        ),
        (
            "PUT",
            "/v1/users/{user}/role",
            Some(json!({"role": "player"})),
            operators(204),
        ),
        ("GET", "/v1/friends", None, people(200)),
        ("PUT", "/v1/friends/{user}", None, people(200)),
        ("GET", "/v1/friends/{user}/mutual", None, people(200)),
        ("DELETE", "/v1/friends/{user}", None, people(204)),
        ("GET", "/v1/blocks", None, people(200)),
        ("PUT", "/v1/blocks/{user}", None, people(204)),
        ("DELETE", "/v1/blocks/{user}", None, people(204)),
        ("GET", "/v1/games?q=star", None, VISITORS),
        ("GET", "/v1/games/suggestions?q=star", None, VISITORS),
        ("GET", "/v1/games/categories", None, VISITORS),
        ("GET", "/v1/games/{game}", None, VISITORS),
        ("GET", "/v1/games/{game}/reviews", None, VISITORS),
        (
            "PUT",
            "/v1/games/{game}/review",
            Some(json!({"stars": 4, "text": "Fine."})),
            [401, 403, 204, 403, 403, 401],
        ),
        (
            "PUT",
            "/v1/games/{game}/reviews/{owner}/helpful",
            None,
            [401, 204, 400, 204, 204, 401],
        ),
        (
            "DELETE",
            "/v1/games/{game}/reviews/{owner}/helpful",
            None,
            people(204),
        ),
        ("DELETE", "/v1/games/{game}/review", None, people(204)),
        (
            "POST",
            "/v1/publishers",
            Some(json!({"name": " "})),
            [401, 403, 403, 403, 400, 400],
        ),
        ("GET", "/v1/publishers/{publisher}", None, VISITORS),
        (
            "POST",
            "/v1/publishers/{publisher}/games",
            Some(json!([])),
            [401, 403, 403, 400, 400, 400],
        ),
        (
            "PUT",
            "/v1/publishers/{publisher}/games/star",
            Some(game(|_| ())),
            [401, 403, 403, 200, 200, 200],
        ),
        ("GET", "/v1/searches", None, people(200)),
        (
            "POST",
            "/v1/searches",
            Some(json!({"q": "star"})),
            people(204),
        ),
        ("DELETE", "/v1/searches", None, people(204)),
        ("GET", "/v1/searches/top", None, VISITORS),
        ("GET", "/v1/lists/cart", None, people(200)),
        (
            "PUT",
            "/v1/lists/cart/{game}",
            None,
            [401, 204, 409, 204, 204, 401],
        ),
        ("DELETE", "/v1/lists/cart/{game}", None, people(204)),
        ("GET", "/v1/follows", None, people(200)),
        ("PUT", "/v1/follows/{publisher}", None, people(204)),
        ("DELETE", "/v1/follows/{publisher}", None, people(204)),
        ("GET", "/v1/library", None, people(200)),
        (
            "PATCH",
            "/v1/library/{game}",
            Some(json!({"installed": true})),
            [401, 404, 204, 404, 404, 401],
        ),
        (
            "PUT",
            "/v1/library/{game}/sessions/s",
            Some(json!({"seconds": 5})),
            [401, 404, 200, 404, 404, 401],
        ),
        ("GET", "/v1/orders", None, people(200)),
        (
            "GET",
            "/v1/orders/{order}",
            None,
            [401, 404, 200, 404, 404, 401],
        ),
        (
            "POST",
            "/v1/orders",
            Some(json!({"games": []})),
            people(409),
        ),
        (
            "POST",
            "/v1/orders/preview",
            Some(json!({"games": []})),
            people(409),
        ),
        (
            "POST",
            "/v1/orders/{order}/refund",
            Some(json!({"games": []})),
            [401, 404, 409, 404, 404, 401],
        ),
        ("GET", "/v1/gifts", None, people(200)),
        (
            "POST",
            "/v1/gifts",
            Some(json!({"recipient": "nobody", "games": []})),
            people(409),
        ),
        (
            "PUT",
            "/v1/gifts/{gift}/decline",
            None,
            [401, 404, 200, 404, 404, 401],
        ),
        (
            "PUT",
            "/v1/gifts/{gift}/accept",
            None,
            [401, 404, 409, 404, 404, 401],
        ),
        (
            "DELETE",
            "/v1/gifts/{gift}",
            None,
            [401, 409, 404, 404, 404, 401],
        ),
        ("GET", "/v1/coupons", None, people(200)),
        (
            "POST",
            "/v1/coupons/redeem",
            Some(json!({"code": "WRONG-ONE"})),
            people(404),
        ),
        ("GET", "/v1/drops", None, people(200)),
        (
            "POST",
            "/v1/drops/{campaign}/claim",
            None,
            [401, 404, 404, 404, 404, 401],
        ),
        ("PUT", "/v1/drops/{campaign}/queue", None, people(404)),
        ("GET", "/v1/drops/{campaign}/queue", None, people(404)),
        ("DELETE", "/v1/drops/{campaign}/queue", None, people(404)),
        // A player keeps no campaigns, and sees none.
        ("GET", "/v1/campaigns", None, [401, 200, 200, 200, 200, 200]),
        (
            "POST",
            "/v1/campaigns",
            Some(campaign),
            [401, 403, 403, 403, 201, 201],
        ),
        (
            "POST",
            "/v1/campaigns/{campaign}/coupons",
            Some(json!({"users": []})),
            [401, 404, 404, 400, 400, 400],
        ),
        (
            "DELETE",
            "/v1/campaigns/{campaign}",
            None,
            [401, 404, 404, 200, 200, 200],
        ),
        ("GET", "/v1/notices", None, people(200)),
        (
            "PUT",
            "/v1/notices/read",
            Some(json!({"up_to": "01J00000000000000000000000"})),
            people(204),
        ),
        ("GET", "/v1/wallet", None, people(200)),
        (
            "PUT",
            "/v1/wallet/country",
            Some(json!({"country": "KR"})),
            people(200),
        ),
        ("GET", "/v1/wallet/history", None, people(200)),
        ("GET", "/v1/payments", None, people(200)),
        (
            "GET",
            "/v1/payments/{payment}",
            None,
            [401, 404, 200, 404, 404, 401],
        ),
        (
            "POST",
            "/v1/payments",
            Some(json!({"provider": "nobody", "amount": 1})),
            people(400),
        ),
        (
            "POST",
            "/v1/payments/{payment}/confirm",
            Some(json!({"token": "x"})),
            [401, 404, 200, 404, 404, 401],
        ),
        // Whoever comes back from a provider shows what the provider gave them.
        (
            "GET",
            "/v1/payments/nothing/return?outcome=approved&pg_token=x",
            None,
            [404; 6],
        ),
        // Whoever goes there has its seal.
        ("GET", "/v1/payments/nothing/window", None, [404; 6]),
        (
            "POST",
            "/v1/payments/{payment}/cancel",
            Some(json!({})),
            [401, 404, 409, 404, 404, 401],
        ),
        // Providers sign what they send.
        (
            "POST",
            "/v1/payments/webhooks/toss",
            Some(json!({})),
            [404; 6],
        ),
        (
            "POST",
            "/v1/gift-cards",
            Some(cards),
            [401, 403, 403, 403, 201, 201],
        ),
        (
            "DELETE",
            "/v1/gift-cards/{batch}",
            None,
            [401, 403, 403, 403, 200, 200],
        ),
        (
            "POST",
            "/v1/gift-cards/redeem",
            Some(json!({"code": "x"})),
            people(404),
        ),
        ("GET", "/v1/audit?deed=logged_in", None, operators(200)),
        (
            "POST",
            "/v1/webhooks",
            Some(json!({"url": "http://127.0.0.1:9", "kinds": ["order.paid"]})),
            operators(201),
        ),
        ("GET", "/v1/webhooks", None, operators(200)),
        ("GET", "/v1/webhooks/{webhook}", None, KEEPERS),
        (
            "PATCH",
            "/v1/webhooks/{webhook}",
            Some(json!({"kinds": ["order.paid"]})),
            KEEPERS,
        ),
        ("POST", "/v1/webhooks/{webhook}/secret", None, KEEPERS),
        (
            "POST",
            "/v1/webhooks/{webhook}/ping",
            None,
            [401, 404, 404, 202, 202, 403],
        ),
        ("GET", "/v1/webhooks/{webhook}/deliveries", None, KEEPERS),
        (
            "POST",
            "/v1/webhooks/{webhook}/deliveries/x/replay",
            None,
            [401, 404, 404, 404, 404, 403],
        ),
        (
            "POST",
            "/v1/webhooks/{webhook}/replay",
            None,
            [401, 404, 404, 202, 202, 403],
        ),
        (
            "DELETE",
            "/v1/webhooks/{webhook}",
            None,
            [401, 404, 404, 204, 404, 403],
        ),
        ("GET", "/v1/service-tokens", None, operators(200)),
        ("POST", "/v1/service-tokens", Some(token), operators(201)),
        ("DELETE", "/v1/service-tokens/x", None, operators(204)),
        (
            "GET",
            "/v1/internal/users/{user}/friends",
            None,
            services(200),
        ),
        (
            "POST",
            "/v1/internal/graphs",
            Some(json!({"ids": []})),
            services(200),
        ),
        (
            "POST",
            "/v1/internal/names",
            Some(json!({"ids": []})),
            services(200),
        ),
        ("GET", "/v1/internal/revocations", None, services(200)),
        ("POST", "/v1/auth/logout-all", None, people(204)),
        ("POST", "/v1/auth/logout", None, [401; 6]),
    ]
}

async fn every_route_lets_in_whom_it_should(mut app: TestApp) -> TestApp {
    app.settings.webhooks.webhook_networks = vec!["127.0.0.0/8".parse().unwrap()];
    // All of them ask about one account, and the table is long.
    app.settings.mail.mail_account_rate = "100/s".parse().unwrap();
    app.settings.store_user_rate = "1000/s".parse().unwrap();
    app.restart().await;
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let publisher = app.user_as("Pia", Role::Publisher).await;
    let operator = app.user_as("Olaf", Role::Operator).await;
    // Ann bought the one game there is.
    let body = json!({"name": "Pia's", "owner": publisher.id});
    let made = app.request(Method::POST, "/v1/publishers", Some(SERVICE_TOKEN));
    let made = app.send(made.json(&body)).await.expect(201);
    let house = made["id"].as_str().unwrap();
    let star = app
        .game(house, "star", |game| game["prices"] = json!({"US": 0}))
        .await;
    let order = app.buy(&ann, "anns-order", &[&star]).await.expect(201);
    let order = order["id"].as_str().unwrap();
    // And Bob gave her another.
    let moon = app
        .game(house, "moon", |game| game["prices"] = json!({"US": 0}))
        .await;
    app.befriend(&ann, &bob).await;
    let body = json!({"recipient": ann.id, "games": [moon]});
    let gift = app
        .named("/v1/gifts", &bob.access, "bobs-gift", &body)
        .await;
    let gift = gift.expect(201);
    let gift = gift["id"].as_str().unwrap();
    let book = format!("/v1/users/{}/guest-book", ann.id);
    let body = json!({"text": "Welcome"});
    let entry = app.named(&book, &ann.access, "anns-entry", &body).await;
    let entry = entry.expect(201);
    let entry = entry["id"].as_str().unwrap();
    // A payment of hers came to nothing.
    let payment = format!(
        "INSERT INTO payments (id, user_id, provider, purpose, amount, currency, state, created_at, expires_at, \
         changed_at) VALUES ('01J', '{}', 'toss', 'top_up', 5, 'USD', 'failed', 1, 1, 1)",
        ann.id
    );
    app.write(&[&payment]).await;
    let body = json!({"url": "http://127.0.0.1:9", "kinds": ["order.paid"], "publisher": house});
    let webhook = app
        .with_body(Method::POST, "/v1/webhooks", &publisher, body)
        .await;
    let webhook = webhook.expect(201);
    let webhook = webhook["id"].as_str().unwrap();
    let body = campaigns::text(|body| body["publisher"] = json!(house));
    let campaign = campaigns::make(&app, &publisher.access, &body)
        .await
        .expect(201);
    let campaign = campaign["id"].as_str().unwrap();
    let cards = json!({"amount": 500, "currency": "USD", "cards": 1});
    let batch = app.named("/v1/gift-cards", SERVICE_TOKEN, "some-cards", &cards);
    let batch = batch.await.expect(201)["batch"].clone();
    let rows = table();
    for (number, (method, path, body, expected)) in rows.iter().enumerate() {
        let method: Method = method.parse().unwrap();
        let callers: [(&str, Option<&str>, &User); 6] = [
            ("nobody", None, &ann),
            ("another", Some(&bob.access), &ann),
            ("the owner", Some(&ann.access), &bob),
            ("a publisher", Some(&publisher.access), &ann),
            ("an operator", Some(&operator.access), &ann),
            ("a service", Some(SERVICE_TOKEN), &ann),
        ];
        for ((caller, token, other), expected) in callers.into_iter().zip(expected) {
            let path = path
                .replace("{user}", &other.id)
                .replace("{owner}", &ann.id)
                .replace("{game}", &star)
                .replace("{publisher}", house)
                .replace("{order}", order)
                .replace("{gift}", gift)
                .replace("{payment}", "01J")
                .replace("{entry}", entry)
                .replace("{campaign}", campaign)
                .replace("{batch}", batch.as_str().unwrap())
                .replace("{webhook}", webhook);
            let mut request = app.request(method.clone(), &path, token);
            request = request.header("idempotency-key", format!("row-{number}-of-the-table"));
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = app.send(request).await;
            assert_eq!(
                answer.status, *expected,
                "{method} {path} by {caller}: {}",
                answer.body
            );
        }
    }

    // The table leaves none out.
    let document = app
        .send(app.request(Method::GET, "/v1/store/openapi.json", None))
        .await
        .expect(200);
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let path = path
                .replace("/v1/users/{id}/friends", "/v1/users/{owner}/friends")
                .replace("/v1/users/{id}/library", "/v1/users/{owner}/library")
                .replace("/v1/users/{id}/wishlist", "/v1/users/{owner}/wishlist")
                .replace("/v1/users/{id}/guest-book", "/v1/users/{owner}/guest-book")
                .replace("/reviews/{user_id}", "/reviews/{owner}")
                .replace("/publishers/{id}", "/publishers/{publisher}")
                .replace("/games/{slug}", "/games/star")
                .replace("/lists/{list}", "/lists/cart")
                .replace("/follows/{id}", "/follows/{publisher}")
                .replace("/sessions/{session}", "/sessions/s")
                .replace("/orders/{id}", "/orders/{order}")
                .replace("/gifts/{id}", "/gifts/{gift}")
                .replace("/payments/{id}/return", "/payments/nothing/return")
                .replace("/payments/{id}/window", "/payments/nothing/window")
                .replace("/payments/{id}", "/payments/{payment}")
                .replace("/webhooks/{provider}", "/webhooks/toss")
                .replace("{provider}", "kakao")
                .replace("/campaigns/{id}", "/campaigns/{campaign}")
                .replace("/drops/{id}", "/drops/{campaign}")
                .replace("{user_id}", "{user}")
                .replace("/webhooks/{id}", "/webhooks/{webhook}")
                .replace("/deliveries/{delivery}", "/deliveries/x")
                .replace("/service-tokens/{id}", "/service-tokens/x")
                .replace("{id}", "{user}");
            let methods = item.as_object().unwrap().keys();
            methods
                .map(move |method| (method.to_uppercase(), path.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    let tried: BTreeSet<(String, String)> = rows
        .iter()
        .map(|(method, path, ..)| {
            (
                (*method).to_owned(),
                path.split('?').next().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(tried, documented);
    app
}

async fn a_token_of_the_scope_server_is_a_services(app: TestApp) -> TestApp {
    let ann = app.user("Ann").await;
    let token = TestApp::service_jwt();
    let get = async |path: &str| app.send(app.request(Method::GET, path, Some(&token))).await;
    get("/v1/internal/revocations").await.expect(200);
    assert_eq!(get("/v1/me").await.problem(403), "forbidden");
    let almost = &SERVICE_TOKEN[1..];
    let request = app.request(Method::GET, "/v1/internal/revocations", Some(almost));
    assert_eq!(app.send(request).await.problem(401), "unauthenticated");
    app.befriend(&ann, &app.user("Bob").await).await;
    app
}
