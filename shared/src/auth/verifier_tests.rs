use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::{any, proptest};
use serde_json::{Value, json};

use super::*;
use crate::auth::{Jwks, SERVER_SCOPE, TokenIssuer};
use crate::id::UserId;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const ISSUER: &str = "https://fireside.test";
const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_123);

fn user() -> UserId {
    UserId::parse("u1").unwrap()
}

fn secret_key() -> SigningKey {
    SigningKey::from_secret(SECRET).unwrap()
}

fn ed_key() -> SigningKey {
    let dir = tempfile::tempdir().unwrap();
    SigningKey::load_or_generate_ed25519(dir.path()).unwrap()
}

fn issue(key: &SigningKey) -> String {
    let issuer = TokenIssuer::new(key, ISSUER, Duration::from_mins(10));
    issuer.issue_at(&user(), "Ann", NOW).unwrap().token
}

/// Signs any header and claims with the shared secret, as an attacker who has it, or believes so,
/// would.
fn forge(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

fn claims() -> Value {
    let seconds = NOW.as_millis() / 1000;
    json!({"sub": "u1", "name": "Ann", "jti": "j1", "iat": seconds, "exp": seconds + 600,
           "iss": ISSUER, "aud": "fireside"})
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn judge_hs256(claims: &Value) -> Result<Claims, TokenError> {
    let token = forge(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET);
    TokenVerifier::hs256(SECRET, ISSUER)
        .unwrap()
        .verify_at(&token, NOW)
}

#[test]
fn both_algorithms_believe_their_own() {
    for key in [secret_key(), ed_key()] {
        let claims = TokenVerifier::of_key(&key, ISSUER)
            .verify_at(&issue(&key), NOW)
            .unwrap();
        assert_eq!((claims.sub.as_str(), claims.name.as_str()), ("u1", "Ann"));
        assert_eq!(claims.issued_at(), NOW);
        assert_eq!(claims.exp - claims.iat, 600);
        assert!(!claims.is_service());
    }
}

#[test]
fn service_tokens_carry_the_scope() {
    let key = secret_key();
    let issuer = TokenIssuer::new(&key, ISSUER, Duration::from_mins(10));
    let issued = issuer
        .issue_service(&user(), Duration::from_mins(1))
        .unwrap();
    let claims = TokenVerifier::of_key(&key, ISSUER)
        .verify(&issued.token)
        .unwrap();
    assert_eq!(claims.scope.as_deref(), Some(SERVER_SCOPE));
    assert!(claims.is_service());
}

#[test]
fn the_end_of_a_token_has_the_stated_leeway() {
    let (key, lifetime, leeway) = (secret_key(), 600_000, LEEWAY.as_millis() as i64);
    let verifier = TokenVerifier::of_key(&key, ISSUER);
    let token = issue(&key);
    // The claims count whole seconds, so the token ends 123 ms early.
    let end = lifetime + leeway - 123;
    assert!(verifier.verify_at(&token, NOW.plus_millis(end - 1)).is_ok());
    assert_eq!(
        verifier.verify_at(&token, NOW.plus_millis(end)),
        Err(TokenError::Expired)
    );
    let early = NOW.plus_millis(-leeway - 1000);
    assert_eq!(
        verifier.verify_at(&token, early),
        Err(TokenError::NotYetValid)
    );
}

#[test]
fn algorithm_none_is_refused() {
    for verifier in [
        TokenVerifier::of_key(&secret_key(), ISSUER),
        TokenVerifier::of_key(&ed_key(), ISSUER),
    ] {
        for name in ["none", "None", "NONE", ""] {
            let signed = forge(&json!({"alg": name, "typ": "JWT"}), &claims(), SECRET);
            let bare = format!("{}.", signed.rsplit_once('.').unwrap().0);
            for token in [signed, bare] {
                let verdict = verifier.verify_at(&token, NOW);
                assert_eq!(verdict, Err(TokenError::WrongAlgorithm), "{name}");
            }
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The classic confusion: the published key, in any spelling, as an HMAC secret.
    let key = ed_key();
    let public = key.public().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(&public.x).unwrap();
    let document = serde_json::to_string(&Jwks::publish([&key])).unwrap();
    let verifier = TokenVerifier::of_key(&key, ISSUER);
    for secret in [raw.as_slice(), public.x.as_bytes(), document.as_bytes()] {
        for alg in ["HS256", "EdDSA"] {
            let header = json!({"alg": alg, "typ": "JWT", "kid": public.kid});
            let verdict = verifier.verify_at(&forge(&header, &claims(), secret), NOW);
            let expected = match alg {
                "HS256" => TokenError::WrongAlgorithm,
                _ => TokenError::BadSignature,
            };
            assert_eq!(verdict, Err(expected));
        }
    }
    // And the other way round: an EdDSA token where a secret is configured.
    let verdict = TokenVerifier::of_key(&secret_key(), ISSUER).verify_at(&issue(&key), NOW);
    assert_eq!(verdict, Err(TokenError::WrongAlgorithm));
}

#[test]
fn a_sibling_algorithm_is_refused_too() {
    let token = forge(&json!({"alg": "HS512", "typ": "JWT"}), &claims(), SECRET);
    let verdict = TokenVerifier::hs256(SECRET, ISSUER)
        .unwrap()
        .verify_at(&token, NOW);
    assert_eq!(verdict, Err(TokenError::WrongAlgorithm));
}

#[test]
fn foreign_claims_are_told_apart() {
    assert!(judge_hs256(&claims()).is_ok());
    assert_eq!(
        judge_hs256(&with(&json!({"aud": "other"}))),
        Err(TokenError::WrongAudience)
    );
    assert!(judge_hs256(&with(&json!({"aud": []}))).is_err());
    assert_eq!(
        judge_hs256(&with(&json!({"iss": "other"}))),
        Err(TokenError::WrongIssuer)
    );
    assert_eq!(
        judge_hs256(&with(&json!({"exp": 1}))),
        Err(TokenError::Expired)
    );
    for (name, wrong) in [
        ("sub", json!("not an id")),
        ("sub", json!(7)),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("iat", json!(null)),
        ("jti", json!({})),
    ] {
        let verdict = judge_hs256(&with(&json!({name: wrong})));
        assert!(
            matches!(verdict, Err(TokenError::Malformed(_))),
            "{name}: {verdict:?}"
        );
    }
    for name in ["sub", "name", "jti", "iat", "exp", "iss", "aud"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let verdict = judge_hs256(&claims);
        assert!(
            matches!(verdict, Err(TokenError::Malformed(_))),
            "{name}: {verdict:?}"
        );
    }
}

#[test]
fn an_unknown_key_is_its_own_error() {
    let (ours, theirs) = (ed_key(), ed_key());
    let verdict = TokenVerifier::of_key(&ours, ISSUER).verify_at(&issue(&theirs), NOW);
    assert_eq!(verdict, Err(TokenError::UnknownKey));
}

#[test]
fn another_secret_does_not_sign() {
    let other = SigningKey::from_secret(&[9; 40]).unwrap();
    let verdict = TokenVerifier::of_key(&secret_key(), ISSUER).verify_at(&issue(&other), NOW);
    assert_eq!(verdict, Err(TokenError::BadSignature));
}

struct Rotation {
    ring: KeyRing,
    next: Jwks,
}

impl RefreshKeys for Rotation {
    fn refresh(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { self.ring.replace(&self.next).is_ok() })
    }
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once() {
    let (old, new) = (ed_key(), ed_key());
    let ring = KeyRing::new(&Jwks::publish([&old])).unwrap();
    let rotation = Rotation {
        ring: ring.clone(),
        next: Jwks::publish([&old, &new]),
    };
    let verifier = TokenVerifier::eddsa_refreshed(ring, ISSUER, Arc::new(rotation));
    let issuer = TokenIssuer::new(&new, ISSUER, Duration::from_mins(10));
    let token = issuer.issue(&user(), "Ann").unwrap().token;
    assert_eq!(verifier.verify(&token), Err(TokenError::UnknownKey));
    assert!(verifier.verify_fresh(&token).await.is_ok());
    assert!(verifier.verify(&token).is_ok());
    let stranger = issue(&ed_key());
    assert_eq!(
        verifier.verify_fresh(&stranger).await,
        Err(TokenError::UnknownKey)
    );
}

#[tokio::test]
async fn keys_are_refreshed_without_being_asked_for() {
    let (old, new) = (ed_key(), ed_key());
    let ring = KeyRing::new(&Jwks::publish([&old])).unwrap();
    let rotation = Rotation {
        ring: ring.clone(),
        next: Jwks::publish([&new]),
    };
    let verifier = TokenVerifier::eddsa_refreshed(ring, ISSUER, Arc::new(rotation));
    tokio::select! {
        () = verifier.keep_fresh(Duration::from_hours(1)) => unreachable!("it goes on"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(
        verifier.verify_at(&issue(&old), NOW),
        Err(TokenError::UnknownKey)
    );
    assert!(verifier.verify_at(&issue(&new), NOW).is_ok());
    // A shared secret has nothing to refresh.
    TokenVerifier::of_key(&secret_key(), ISSUER)
        .keep_fresh(Duration::ZERO)
        .await;
}

/// Keys for the properties, which would otherwise write one to the disk for every case.
static KEYS: LazyLock<[SigningKey; 2]> = LazyLock::new(|| [secret_key(), ed_key()]);

proptest! {
    #[test]
    fn no_changed_byte_is_believed(at in any::<proptest::sample::Index>(), with in any::<u8>()) {
        for key in KEYS.iter() {
            let verifier = TokenVerifier::of_key(key, ISSUER);
            let token = issue(key);
            let mut bytes = token.clone().into_bytes();
            let at = at.index(bytes.len());
            if bytes[at] == with {
                continue;
            }
            bytes[at] = with;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(verifier.verify_at(&changed, NOW).is_err(), "{changed}");
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic(
            text in ".{0,200}",
            dotted in "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,4}",
        ) {
        for key in KEYS.iter() {
            let verifier = TokenVerifier::of_key(key, ISSUER);
            assert!(verifier.verify_at(&text, NOW).is_err());
            assert!(verifier.verify_at(&dotted, NOW).is_err());
        }
    }
}
