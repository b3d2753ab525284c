//! Roles, and tokens of services.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use store_api::Role;

use crate::{
    app::{SERVICE_TOKEN, TestApp, User},
    both,
};

both!(
    a_role_holds_at_once_and_ends_at_once,
    a_service_may_do_what_its_scopes_say,
    a_services_token_ends,
    a_services_token_has_a_name_and_scopes,
);

const TOKENS: &str = "/v1/service-tokens";

async fn make(app: &TestApp, by: &User, scopes: &[&str]) -> Value {
    let body = json!({"name": "shop", "scopes": scopes, "lifetime_hours": 2});
    app.with_body(Method::POST, TOKENS, by, body)
        .await
        .expect(201)
}

async fn a_role_holds_at_once_and_ends_at_once(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    assert_eq!(app.get("/v1/me", &ann).await.expect(200)["role"], "player");
    app.get(TOKENS, &ann).await.problem(403);
    // As the person at the machine does.
    let user = app.store().set_role_of(&ann.email, Role::Operator).await;
    assert_eq!(user.unwrap().as_str(), ann.id);
    app.get(TOKENS, &ann).await.expect(200);
    assert_eq!(
        app.get("/v1/me", &ann).await.expect(200)["role"],
        "operator"
    );
    let give = async |by: &User, to: &User, role: &str| {
        let path = format!("/v1/users/{}/role", to.id);
        app.with_body(Method::PUT, &path, by, json!({"role": role}))
            .await
    };
    give(&ann, &bob, "operator").await.expect(204);
    assert_eq!(give(&ann, &bob, "king").await.problem(400), "invalid");
    give(&bob, &ann, "player").await.expect(204);
    app.get(TOKENS, &ann).await.problem(403);
    let nobody = json!({"role": "player"});
    let path = "/v1/users/nobody/role";
    let answer = app.with_body(Method::PUT, path, &bob, nobody).await;
    assert_eq!(answer.problem(404), "not_found");
    app
}

async fn a_service_may_do_what_its_scopes_say(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let wallet = make(&app, &operator, &["wallet"]).await;
    let catalogue = make(&app, &operator, &["catalogue"]).await;
    let token = |made: &Value| made["token"].as_str().unwrap().to_owned();
    let (wallet, catalogue) = (token(&wallet), token(&catalogue));
    let body = json!({"amount": 100, "currency": "USD", "cards": 1});
    let issue = async |token: &str| app.named("/v1/gift-cards", token, "one-card", &body).await;
    issue(&wallet).await.expect(201);
    assert_eq!(issue(&catalogue).await.problem(403), "forbidden");
    // It is neither a person nor one of our own services.
    for path in ["/v1/me", "/v1/internal/revocations", TOKENS] {
        let request = app.request(Method::GET, path, Some(&wallet));
        assert_eq!(app.send(request).await.problem(403), "forbidden", "{path}");
    }
    let wrong = format!("{wallet}x");
    assert_eq!(issue(&wrong).await.problem(401), "unauthenticated");
    app
}

async fn a_services_token_ends(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    let one = make(&app, &operator, &["wallet"]).await;
    let other = make(&app, &operator, &["wallet"]).await;
    let body = json!({"amount": 100, "currency": "USD", "cards": 1});
    let issue = async |made: &Value| {
        let token = made["token"].as_str().unwrap();
        app.named("/v1/gift-cards", token, "one-card", &body).await
    };
    issue(&one).await.expect(201);
    let path = format!("{TOKENS}/{}", one["id"].as_str().unwrap());
    for _ in 0..2 {
        app.delete(&path, &operator).await.expect(204);
    }
    assert_eq!(issue(&one).await.problem(401), "unauthenticated");
    let listed = app.get(TOKENS, &operator).await.expect(200);
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["id"], other["id"]);
    assert_eq!(items[0].get("token"), None);
    issue(&other).await.expect(201);
    app.advance(Duration::from_hours(2));
    assert_eq!(issue(&other).await.problem(401), "unauthenticated");
    // What services show each other has no end.
    app.named("/v1/gift-cards", SERVICE_TOKEN, "one-card", &body)
        .await
        .expect(201);
    app
}

async fn a_services_token_has_a_name_and_scopes(app: TestApp) -> TestApp {
    let operator = app.user_as("Olaf", Role::Operator).await;
    for (field, rule, body) in [
        (
            "scopes",
            "required",
            json!({"name": "x", "scopes": [], "lifetime_hours": 1}),
        ),
        (
            "scopes",
            "unknown",
            json!({"name": "x", "scopes": ["server"], "lifetime_hours": 1}),
        ),
        (
            "name",
            "malformed",
            json!({"name": " ", "scopes": ["wallet"], "lifetime_hours": 1}),
        ),
        (
            "lifetime_hours",
            "range",
            json!({"name": "x", "scopes": ["wallet"], "lifetime_hours": 0}),
        ),
    ] {
        let answer = app.with_body(Method::POST, TOKENS, &operator, body).await;
        let body = answer.expect(400);
        assert_eq!(body["errors"][0]["field"], field);
        assert_eq!(body["errors"][0]["rule"], rule);
    }
    app
}
