//! Tokens, allowances, and what is not there.

use std::time::Duration;

use chat_node::rest::RestSettings;
use reqwest::Method;
use serde_json::json;
use shared::auth::{Revocation, SigningKey, TokenIssuer};

use crate::rig::{Rig, SERVICE, limits, user};

#[actix_rt::test]
async fn without_a_good_token_there_is_nothing() {
    let rig = Rig::start().await;
    let foreign = SigningKey::from_secret(&[9; 32]).unwrap();
    let foreign = TokenIssuer::new(&foreign, "test", Duration::from_mins(1));
    let foreign = foreign.issue(&user("ann"), "ann").unwrap().token;
    let revoked = rig.issuer.issue(&user("ann"), "ann").unwrap();
    rig.auth.revocations.apply(Revocation::Token {
        jti: revoked.claims.jti.clone(),
        expires: revoked.claims.expires_at(),
    });
    let service = rig
        .issuer
        .issue_service(&user("backend"), Duration::from_mins(1));
    let service = service.unwrap().token;
    for path in [
        "/v1/rooms",
        "/v1/search?q=x",
        "/v1/presence?user=a",
        "/v1/rooms/r/log",
    ] {
        let get = async |token: &str| {
            let value = format!("Bearer {token}");
            let headers = [("authorization", value.as_str())];
            rig.bare(Method::GET, path, None, &headers).await
        };
        let none = rig.bare(Method::GET, path, None, &[]).await;
        assert_eq!(
            (none.status, &none.body["code"]),
            (401, &json!("unauthenticated"))
        );
        assert!(none.header("www-authenticate").is_some());
        for bad in ["x", foreign.as_str(), revoked.token.as_str()] {
            assert_eq!(get(bad).await.status, 401, "{path}");
        }
        assert_eq!(
            get(&service).await.status,
            403,
            "a service is nobody: {path}"
        );
        assert_ne!(get(SERVICE).await.status, 200, "nor is its secret: {path}");
    }
    for (method, path) in [
        (Method::POST, "/v1/server/rooms"),
        (Method::POST, "/v1/server/presence"),
        (Method::POST, "/v1/server/events"),
        (Method::POST, "/v1/server/users/ann/disconnect"),
    ] {
        let person = rig.call("ann", method.clone(), path, Some(json!({}))).await;
        assert_eq!(
            (person.status, &person.body["code"]),
            (403, &json!("forbidden")),
            "{path}"
        );
        let none = rig.bare(method, path, Some(json!({})), &[]).await;
        assert_eq!(none.status, 401, "{path}");
    }
}

#[actix_rt::test]
async fn an_allowance_is_told_and_ends() {
    let rig = Rig::with(RestSettings {
        rest_rate: "1/h burst 3".parse().unwrap(),
        search_rate: "1/h burst 1".parse().unwrap(),
        server_api_rate: "1/h burst 1".parse().unwrap(),
    })
    .await;
    let first = rig.get("ann", "/v1/rooms").await;
    assert_eq!(first.header("ratelimit-limit"), Some("3"));
    assert_eq!(first.header("ratelimit-remaining"), Some("2"));
    assert!(first.header("ratelimit-reset").is_some());
    assert_eq!(rig.get("ann", "/v1/search?q=x").await.status, 200);
    let search = rig.get("ann", "/v1/search?q=x").await;
    assert_eq!(
        (search.status, &search.body["code"]),
        (429, &json!("rate_limited"))
    );
    let over = rig.get("ann", "/v1/rooms").await;
    assert_eq!(over.status, 429);
    assert!(over.header("retry-after").is_some());
    assert!(over.body["retry_after_ms"].as_u64().unwrap() > 0);
    assert_eq!(
        rig.get("bob", "/v1/rooms").await.status,
        200,
        "another's is another's"
    );
    let body = json!({"users": ["ann"]});
    let served = rig.post(SERVICE, "/v1/server/presence", body.clone()).await;
    assert_eq!(served.status, 200);
    assert_eq!(
        rig.post(SERVICE, "/v1/server/presence", body).await.status,
        429
    );
}

#[actix_rt::test]
async fn sends_come_from_the_bucket_of_the_websocket() {
    let free = || "1000/s".parse().unwrap();
    let settings = RestSettings {
        rest_rate: free(),
        search_rate: free(),
        server_api_rate: free(),
    };
    let rig = Rig::limited(settings, limits("1/h burst 2")).await;
    let id = rig.group(&["ann", "bob"]).await;
    for n in ["1", "2"] {
        assert_eq!(rig.say("ann", &id, n, "x").await.status, 201);
    }
    let over = rig.say("ann", &id, "3", "x").await;
    assert_eq!(
        (over.status, &over.body["code"]),
        (429, &json!("rate_limited"))
    );
    assert!(over.header("retry-after").is_some());
    assert_eq!(rig.say("bob", &id, "3", "x").await.status, 201);
    assert_eq!(rig.say(SERVICE, &id, "4", "x").await.status, 201);
}

#[actix_rt::test]
async fn the_document_is_public_and_names_every_path() {
    let rig = Rig::start().await;
    let document = rig.bare(Method::GET, "/v1/openapi.json", None, &[]).await;
    assert_eq!(document.status, 200);
    let version = document.body["openapi"].as_str().unwrap();
    assert!(version.starts_with("3."), "{version}");
    for path in document.body["paths"].as_object().unwrap().keys() {
        let path = path.replace("{id}", "none");
        let answer = rig.bare(Method::PATCH, &path, None, &[]).await;
        assert_eq!(answer.status, 405, "{path} is mounted and has no PATCH");
    }
    assert_eq!(rig.get("ann", "/v1/rooms/a%20b").await.status, 404);
}
