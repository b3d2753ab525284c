//! Tokens: what holds, what does not, and what happens when one runs out.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use loadtest::Connector;
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    id::Timestamp,
    protocol::{codec::Encoding, reply::Renewed},
};

use crate::app::{ENCODINGS, SECRET, TestApp};

fn claims() -> Value {
    let now = Timestamp::now().as_millis() / 1000;
    json!({
        "sub": "mallory", "name": "Mallory", "jti": ulid::Ulid::new().to_string(),
        "iat": now, "exp": now + 600, "iss": "fireside", "aud": "fireside",
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn sign(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

fn unsigned(algorithm: &str, claims: &Value, signature: &str) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let header = json!({"alg": algorithm, "typ": "JWT"});
    format!("{}.{}.{signature}", part(&header), part(claims))
}

/// Tokens that must be worth nothing, by name.
fn worthless() -> Vec<(&'static str, String)> {
    let good = sign(&claims(), Algorithm::HS256, SECRET);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let now = Timestamp::now().as_millis() / 1000;
    let mut without_sub = claims();
    without_sub.as_object_mut().unwrap().remove("sub");
    let mut without_exp = claims();
    without_exp.as_object_mut().unwrap().remove("exp");
    let mut without_aud = claims();
    without_aud.as_object_mut().unwrap().remove("aud");
    let payload = URL_SAFE_NO_PAD.encode(with("sub", json!("somebody-else")).to_string());
    let header = head.split('.').next().unwrap();
    vec![
        ("none", unsigned("none", &claims(), "")),
        ("None", unsigned("None", &claims(), "")),
        (
            "none with a signature",
            unsigned("none", &claims(), signature),
        ),
        ("HS256 without a signature", format!("{head}.")),
        (
            "another secret",
            sign(
                &claims(),
                Algorithm::HS256,
                "another secret of 32 bytes or so",
            ),
        ),
        (
            "another algorithm",
            sign(&claims(), Algorithm::HS512, SECRET),
        ),
        (
            "expired",
            sign(&with("exp", json!(now - 60)), Algorithm::HS256, SECRET),
        ),
        (
            "a foreign audience",
            sign(&with("aud", json!("shop")), Algorithm::HS256, SECRET),
        ),
        (
            "a foreign issuer",
            sign(&with("iss", json!("evil")), Algorithm::HS256, SECRET),
        ),
        ("no subject", sign(&without_sub, Algorithm::HS256, SECRET)),
        ("no end", sign(&without_exp, Algorithm::HS256, SECRET)),
        ("no audience", sign(&without_aud, Algorithm::HS256, SECRET)),
        (
            "a subject that is no id",
            sign(&with("sub", json!("a b")), Algorithm::HS256, SECRET),
        ),
        ("another payload", format!("{header}.{payload}.{signature}")),
        (
            "a cut signature",
            format!("{head}.{}", &signature[..signature.len() - 4]),
        ),
        ("one part", "eyJhbGciOiJIUzI1NiJ9".into()),
        ("not base64", "a.b!.c".into()),
        ("too long", "x".repeat(5000)),
        ("EdDSA by name", unsigned("EdDSA", &claims(), signature)),
    ]
}

#[tokio::test]
async fn tokens_that_do_not_hold_open_nothing() {
    let app = TestApp::start().await;
    for (name, token) in worthless() {
        for encoding in ENCODINGS {
            let base = Connector::new(&app.address).encoding(encoding);
            for connector in [
                base.clone().token(&token),
                base.token_as_subprotocol(&token),
            ] {
                let Err(error) = connector.connect().await else {
                    panic!("{name} opened a socket");
                };
                // `!` is no token character: as a subprotocol the request itself is malformed.
                assert!(matches!(error.status(), Some(401 | 400)), "{name}: {error}");
            }
        }
        for path in ["/v1/rooms", "/v1/friends", "/v1/me", "/v1/presence?user=x"] {
            let answer = app
                .rest
                .call(Method::GET, path, None, Some(&token))
                .await
                .unwrap();
            assert_eq!(answer.status, 401, "{name} {path}: {:?}", answer.body);
            assert_eq!(answer.body["code"], "unauthenticated", "{name} {path}");
        }
    }
    app.is_well().await;
}

#[tokio::test]
async fn the_token_is_not_taken_from_the_url() {
    let app = TestApp::start().await;
    let token = app.stranger("solo");
    for query in ["token", "access_token", "bearer"] {
        let path = format!("/v1/rooms?{query}={token}");
        let answer = app.rest.call(Method::GET, &path, None, None).await.unwrap();
        assert_eq!(answer.status, 401);
    }
}

#[tokio::test]
async fn a_service_token_is_not_a_person_and_a_person_no_service() {
    let app = TestApp::start().await;
    let connect = app
        .connector(&app.service(), Encoding::Json)
        .connect()
        .await;
    assert!(matches!(connect.unwrap_err().status(), Some(401 | 403)));
    let answer = app
        .rest
        .call(Method::GET, "/v1/rooms", None, Some(&app.service()))
        .await
        .unwrap();
    assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    let body = json!({"users": ["a"]});
    let person = app.stranger("person");
    let answer = app
        .rest
        .call(
            Method::POST,
            "/v1/server/presence",
            Some(&body),
            Some(&person),
        )
        .await
        .unwrap();
    assert!(matches!(answer.status, 401 | 403), "{answer:?}");
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_it_is_renewed() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let short = Duration::from_secs(2);
        let (mut expiring, started) = app.session(&app.issue("u1", short), encoding).await;
        let (mut renewed, _) = app.session(&app.issue("u1", short), encoding).await;
        // Somebody else's token renews nothing, nor does a bad one.
        let foreign = json!({"token": app.stranger("u2")});
        let refused = renewed.refused("session.renew", &foreign).await.unwrap();
        assert!(matches!(
            refused.code,
            ErrorCode::Unauthenticated | ErrorCode::Forbidden
        ));
        let bad = json!({"token": "x.y.z"});
        let refused = renewed.refused("session.renew", &bad).await.unwrap();
        assert_eq!(refused.code, ErrorCode::Unauthenticated);
        let token = app.stranger("u1");
        let answer: Renewed = renewed
            .command("session.renew", &json!({"token": token}))
            .await
            .unwrap();
        assert!(answer.expires > Timestamp::now().plus_millis(1_800_000));
        let bye = expiring.event("bye").await.unwrap();
        assert_eq!(bye.d["code"], 4100);
        expiring.closed_with(CloseCode::TokenExpired).await.unwrap();
        renewed.until_pong().await.unwrap();
        // A new token takes the session up again.
        let mut socket = app.connector(&token, encoding).connect().await.unwrap();
        socket.resume(&started.sid, 0).await.unwrap();
        socket.until_pong().await.unwrap();
    }
}
