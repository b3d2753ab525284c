//! Tokens signed with EdDSA: whose key counts, and that no other way of signing does.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use loadtest::Connector;
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    auth::{SigningKey, TokenIssuer},
    id::{Timestamp, UserId},
    protocol::{codec::Encoding, reply::Renewed},
};

use crate::app::{ENCODINGS, SECRET, TestApp};

/// The example of RFC 8410, section 10.3: a key made by somebody else.
const FOREIGN_TOOL: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
/// Its public half.
const FOREIGN_X: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";

const EDDSA: (&str, &str) = ("FIRESIDE_JWT_ALGORITHM", "EdDSA");

pub(crate) fn issue(key: &SigningKey, who: &str) -> String {
    let issuer = TokenIssuer::new(key, "fireside", Duration::from_mins(5));
    issuer
        .issue(&UserId::parse(who).unwrap(), who)
        .unwrap()
        .token
}

fn another_key() -> SigningKey {
    let dir = tempfile::tempdir().unwrap();
    SigningKey::load_or_generate_ed25519(dir.path()).unwrap()
}

fn part(token: &str, n: usize) -> Value {
    let part = token.split('.').nth(n).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn claims(who: &str) -> Value {
    let now = Timestamp::now().as_millis() / 1000;
    json!({
        "sub": who, "name": who, "jti": ulid::Ulid::new().to_string(),
        "iat": now, "exp": now + 600, "iss": "fireside", "aud": "fireside",
    })
}

/// Tokens that must be worth nothing where `key` is the key, by name.
pub(crate) fn worthless(key: &SigningKey) -> Vec<(String, String)> {
    let jwk = key.public().unwrap();
    let good = issue(key, "mallory");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let header = head.split('.').next().unwrap();
    let mut tokens = vec![("another key".to_owned(), issue(&another_key(), "mallory"))];

    // Another key that calls itself by the name of the right one.
    let other = issue(&another_key(), "mallory");
    let (_, rest) = other.split_once('.').unwrap();
    tokens.push((
        "another key under this one's name".into(),
        format!("{header}.{rest}"),
    ));

    // What is public is no secret: HMAC with it proves nothing.
    let raw = URL_SAFE_NO_PAD.decode(&jwk.x).unwrap();
    let spki = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..],
        &raw,
    ]
    .concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(&spki)
    );
    let secrets: [(&str, Vec<u8>); 6] = [
        ("the public key", raw),
        ("the public key in DER", spki),
        ("the public key in PEM", pem.into_bytes()),
        ("the public key as published", jwk.x.clone().into_bytes()),
        ("the configured secret", SECRET.as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ];
    for (name, secret) in &secrets {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            for kid in [None, Some(jwk.kid.clone())] {
                let header = Header {
                    kid,
                    ..Header::new(algorithm)
                };
                let secret = EncodingKey::from_secret(secret);
                let token = jsonwebtoken::encode(&header, &claims("mallory"), &secret).unwrap();
                tokens.push((format!("{algorithm:?} with {name}"), token));
            }
        }
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "HS256", "ES256", "RS256", "Ed448"] {
        let header = encode(&json!({"alg": algorithm, "typ": "JWT", "kid": jwk.kid}));
        let payload = head.split('.').nth(1).unwrap();
        tokens.push((
            format!("{algorithm} by name"),
            format!("{header}.{payload}.{signature}"),
        ));
        tokens.push((
            format!("{algorithm}, unsigned"),
            format!("{header}.{payload}."),
        ));
    }
    // Keys and addresses that the token itself brings along.
    let brought = another_key();
    let bad = issue(&brought, "mallory");
    let (bad_head, bad_signature) = bad.rsplit_once('.').unwrap();
    let payload = bad_head.split('.').nth(1).unwrap();
    let header_of_its_own = encode(&json!({
        "alg": "EdDSA", "typ": "JWT", "jwk": brought.public().unwrap(),
        "jku": "http://127.0.0.1:1/jwks.json", "kid": jwk.kid,
    }));
    tokens.push((
        "a key of its own".into(),
        format!("{header_of_its_own}.{payload}.{bad_signature}"),
    ));
    let payload = encode(&claims("somebody-else"));
    tokens.push((
        "another payload".into(),
        format!("{header}.{payload}.{signature}"),
    ));
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    tokens.push(("a signature of zeros".into(), format!("{head}.{zeros}")));
    tokens
}

async fn opens_nothing(app: &TestApp, name: &str, token: &str) {
    for encoding in ENCODINGS {
        let base = Connector::new(&app.address).encoding(encoding);
        for connector in [base.clone().token(token), base.token_as_subprotocol(token)] {
            let Err(error) = connector.connect().await else {
                panic!("{name} opened a socket");
            };
            assert_eq!(error.status(), Some(401), "{name}: {error}");
        }
    }
    for path in ["/v1/rooms", "/v1/me", "/v1/friends"] {
        let call = app.rest.call(Method::GET, path, None, Some(token));
        let answer = call.await.unwrap();
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (401, &json!("unauthenticated")),
            "{name} {path}"
        );
    }
    let body = json!({"users": ["a"]});
    let path = "/v1/server/presence";
    let call = app.rest.call(Method::POST, path, Some(&body), Some(token));
    assert_eq!(call.await.unwrap().status, 401, "{name} {path}");
}

async fn published(app: &TestApp) -> Value {
    let path = "/.well-known/jwks.json";
    app.rest.ok(Method::GET, path, None, None).await.unwrap()
}

/// No key given: one is made on the first run, kept, and published.
#[tokio::test]
async fn a_key_of_its_own_is_made_kept_published_and_the_only_one_that_counts() {
    let mut app = TestApp::with(&[EDDSA]).await;
    let file = app.data_dir().join("jwt.pem");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = SigningKey::from_pem_file(&file).unwrap();
    let jwks = published(&app).await;
    assert_eq!(jwks["keys"], json!([key.public().unwrap()]));
    assert!(!jwks.to_string().contains("\"d\""), "{jwks}");

    let (alice, bob) = app.friends().await;
    let header = part(&alice.access_token, 0);
    assert_eq!(
        (&header["alg"], header["kid"].as_str()),
        (&json!("EdDSA"), key.kid())
    );
    for encoding in ENCODINGS {
        let (mut a, started) = app.session(&alice.access_token, encoding).await;
        assert_eq!(started.friends[0].id, bob.id);
        let short = TokenIssuer::new(&key, "fireside", Duration::from_mins(30));
        let longer = short.issue(&alice.id, &alice.name).unwrap().token;
        let renew = json!({"token": longer});
        let _: Renewed = a.command("session.renew", &renew).await.unwrap();
        let alien = json!({"token": issue(&another_key(), alice.id.as_str())});
        let refused = a.refused("session.renew", &alien).await.unwrap();
        assert_eq!(refused.code, shared::codes::ErrorCode::Unauthenticated);
        a.until_pong().await.unwrap();
    }
    let refreshed = app.rest.refresh(&bob).await.unwrap();
    assert_eq!(part(&refreshed.access_token, 0)["alg"], "EdDSA");

    for (name, token) in worthless(&key) {
        opens_nothing(&app, &name, &token).await;
    }
    // After a fall the key is the same: nobody has to log in again.
    app.kill();
    app.boot().await;
    app.session(&alice.access_token, Encoding::MsgPack).await;
    assert_eq!(published(&app).await, jwks);
    opens_nothing(&app, "another key", &issue(&another_key(), "mallory")).await;
    assert!(!app.log().contains("panicked at"), "{}", app.log());
}

/// A key given by its owner, made with another tool: whoever holds it may issue tokens.
#[tokio::test]
async fn a_key_that_is_given_is_the_one_that_counts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("owner.pem");
    fs::write(&file, FOREIGN_TOOL).unwrap();
    let setting = ("FIRESIDE_JWT_PRIVATE_KEY_FILE", file.to_str().unwrap());
    let app = TestApp::with(&[EDDSA, setting]).await;
    assert!(!app.data_dir().join("jwt.pem").exists());
    assert_eq!(published(&app).await["keys"][0]["x"], FOREIGN_X);
    let key = SigningKey::from_pem(FOREIGN_TOOL).unwrap();
    for encoding in ENCODINGS {
        let (mut socket, started) = app.session(&issue(&key, "guest"), encoding).await;
        assert_eq!(started.me.id.as_str(), "guest");
        socket.until_pong().await.unwrap();
    }
    let service = TokenIssuer::new(&key, "fireside", Duration::from_mins(5));
    let service = service
        .issue_service(&UserId::parse("game").unwrap(), Duration::from_mins(5))
        .unwrap();
    let body = json!({"users": ["nobody"]});
    let call = app.rest.ok(
        Method::POST,
        "/v1/server/presence",
        Some(&body),
        Some(&service.token),
    );
    assert_eq!(call.await.unwrap()["items"][0]["status"], "offline");
    for (name, token) in worthless(&key) {
        opens_nothing(&app, &name, &token).await;
    }
}

/// The other way round: where the secret counts, a signature by key does not.
#[tokio::test]
async fn where_a_secret_counts_no_key_does() {
    let app = TestApp::start().await;
    assert_eq!(published(&app).await, json!({"keys": []}));
    let token = issue(&another_key(), "mallory");
    opens_nothing(&app, "EdDSA", &token).await;
    app.is_well().await;
}

/// `fireside` signs its own tokens: an address of somebody else's keys would be believed in vain.
#[test]
fn settings_that_do_not_go_together_are_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    fs::write(&key, FOREIGN_TOOL).unwrap();
    let key = key.to_str().unwrap();
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[("FIRESIDE_JWT_PRIVATE_KEY_FILE", key)], "jwt_algorithm"),
        (
            &[EDDSA, ("FIRESIDE_JWKS_URL", "http://127.0.0.1:9/jwks.json")],
            "jwks_url",
        ),
        (&[("FIRESIDE_JWT_ALGORITHM", "none")], "jwt_algorithm"),
    ];
    for (settings, named) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_fireside"))
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("data"))
            .env_clear()
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{settings:?}: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr).replace('-', "_");
        assert!(told.contains(named), "{settings:?}: {told}");
        assert!(!directory.path().join("data").exists());
    }
}
