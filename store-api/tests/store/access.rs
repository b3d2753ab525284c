//! Who may do what: every route, tried by nobody, by a stranger to the matter, by its owner and by
//! a service.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{PASSWORD, SERVICE_TOKEN, TestApp, User},
    both,
};

both!(
    every_route_lets_in_whom_it_should,
    a_token_of_the_scope_server_is_a_services
);

/// A route, a request that would succeed, and the statuses for nobody, another person, the owner
/// of what it is about, and a service.
type Row = (&'static str, &'static str, Option<Value>, [u16; 4]);

/// What a person does, only they can do; what a service does, no person can.
fn table() -> Vec<Row> {
    let account = json!({"email": "new@example.org", "name": "New", "password": PASSWORD});
    let login = json!({"email": "nobody@example.org", "password": PASSWORD});
    let refresh = json!({"refresh_token": "x"});
    let password = json!({"current_password": "wrong", "new_password": "a better password"});
    vec![
        (
            "POST",
            "/v1/auth/register",
            Some(account),
            [201, 409, 409, 409],
        ),
        ("POST", "/v1/auth/login", Some(login), [401, 401, 401, 401]),
        (
            "POST",
            "/v1/auth/refresh",
            Some(refresh),
            [401, 401, 401, 401],
        ),
        (
            "GET",
            "/v1/auth/available?name=Free",
            None,
            [200, 200, 200, 200],
        ),
        ("GET", "/v1/me", None, [401, 200, 200, 401]),
        (
            "PATCH",
            "/v1/me",
            Some(json!({"status_text": "x"})),
            [401, 200, 200, 401],
        ),
        (
            "PUT",
            "/v1/me/password",
            Some(password),
            [401, 403, 403, 401],
        ),
        (
            "DELETE",
            "/v1/me",
            Some(json!({"password": "wrong"})),
            [401, 403, 403, 401],
        ),
        ("GET", "/v1/users?q=ann", None, [401, 200, 200, 401]),
        ("GET", "/v1/users/{user}", None, [401, 200, 200, 401]),
        ("GET", "/v1/friends", None, [401, 200, 200, 401]),
        ("PUT", "/v1/friends/{user}", None, [401, 200, 200, 401]),
        (
            "GET",
            "/v1/friends/{user}/mutual",
            None,
            [401, 200, 200, 401],
        ),
        ("DELETE", "/v1/friends/{user}", None, [401, 204, 204, 401]),
        ("GET", "/v1/blocks", None, [401, 200, 200, 401]),
        ("PUT", "/v1/blocks/{user}", None, [401, 204, 204, 401]),
        ("DELETE", "/v1/blocks/{user}", None, [401, 204, 204, 401]),
        (
            "GET",
            "/v1/internal/users/{user}/friends",
            None,
            [401, 403, 403, 200],
        ),
        (
            "POST",
            "/v1/internal/names",
            Some(json!({"ids": []})),
            [401, 403, 403, 200],
        ),
        (
            "GET",
            "/v1/internal/revocations",
            None,
            [401, 403, 403, 200],
        ),
        ("POST", "/v1/auth/logout-all", None, [401, 204, 204, 401]),
        ("POST", "/v1/auth/logout", None, [401, 401, 401, 401]),
    ]
}

async fn every_route_lets_in_whom_it_should(app: TestApp) -> TestApp {
    let (ann, bob) = (app.user("Ann").await, app.user("Bob").await);
    let rows = table();
    for (method, path, body, expected) in &rows {
        let method: Method = method.parse().unwrap();
        let callers: [(&str, Option<&str>, &User); 4] = [
            ("nobody", None, &ann),
            ("another", Some(&bob.access), &ann),
            ("the owner", Some(&ann.access), &bob),
            ("a service", Some(SERVICE_TOKEN), &ann),
        ];
        for ((caller, token, other), expected) in callers.into_iter().zip(expected) {
            let path = path.replace("{user}", &other.id);
            let mut request = app.request(method.clone(), &path, token);
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
                .replace("{user_id}", "{user}")
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
