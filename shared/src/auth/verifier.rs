//! Believing tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::verify;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, decode_header};
use tokio::signal::unix::{SignalKind, signal};

use super::{AUDIENCE, Algorithm, Claims, KeyError, KeyRing, SigningKey, TokenError};
use crate::id::Timestamp;

/// How far the clocks of issuer and verifier may differ. A token is believed this long after its
/// end.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// A longer text is not a token of ours, and is not worth decoding.
const MAX_TOKEN_BYTES: usize = 4096;

/// Gets newer keys when a token names an unknown one.
pub trait RefreshKeys: Send + Sync + 'static {
    /// Tries to bring the ring up to date, and says whether anything may have changed. Must bound
    /// how often it really asks: tokens with invented key names cost the caller nothing.
    fn refresh(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// The same at once, for an operator who knows that there are others.
    fn refresh_now(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        self.refresh()
    }
}

/// Checks tokens against the keys and the issuer of this deployment. Clones share it.
#[derive(Clone)]
pub struct TokenVerifier {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    issuer: String,
    refresh: Option<Arc<dyn RefreshKeys>>,
}

enum Keys {
    Secret(DecodingKey),
    Ring(KeyRing),
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

impl TokenVerifier {
    /// Believes what is signed with this shared secret and comes from `issuer`.
    pub fn hs256(secret: &[u8], issuer: &str) -> Result<Self, KeyError> {
        let key = SigningKey::from_secret(secret)?;
        Ok(Self::of_key(&key, issuer))
    }

    /// Believes what is signed with a key of the ring and comes from `issuer`.
    pub fn eddsa(ring: KeyRing, issuer: &str) -> Self {
        Self::new(Keys::Ring(ring), issuer, None)
    }

    /// The same, and asks for newer keys when a token names an unknown one.
    pub fn eddsa_refreshed(ring: KeyRing, issuer: &str, refresh: Arc<dyn RefreshKeys>) -> Self {
        Self::new(Keys::Ring(ring), issuer, Some(refresh))
    }

    /// Believes what `key` itself signs: issuer and verifier in one process.
    pub fn of_key(key: &SigningKey, issuer: &str) -> Self {
        match (key.secret(), key.public()) {
            (Some(secret), _) => {
                let key = Keys::Secret(DecodingKey::from_secret(secret));
                Self::new(key, issuer, None)
            }
            (None, public) => {
                // A key of our own making is a usable one; were it not, the ring stays empty and
                // nothing is believed.
                let jwks = super::Jwks {
                    keys: public.cloned().into_iter().collect(),
                };
                Self::eddsa(KeyRing::new(&jwks).unwrap_or_default(), issuer)
            }
        }
    }

    fn new(keys: Keys, issuer: &str, refresh: Option<Arc<dyn RefreshKeys>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                keys,
                issuer: issuer.to_owned(),
                refresh,
            }),
        }
    }

    /// The one algorithm that is believed here.
    pub fn algorithm(&self) -> Algorithm {
        match self.shared.keys {
            Keys::Secret(_) => Algorithm::Hs256,
            Keys::Ring(_) => Algorithm::EdDsa,
        }
    }

    /// Checks a token by the system's clock, with the keys at hand.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.verify_at(token, Timestamp::now())
    }

    /// Checks a token by the system's clock; when it names an unknown key, looks for newer keys
    /// once.
    pub async fn verify_fresh(&self, token: &str) -> Result<Claims, TokenError> {
        match (self.verify(token), &self.shared.refresh) {
            (Err(TokenError::UnknownKey), Some(refresh)) if refresh.refresh().await => {
                self.verify(token)
            }
            (verdict, _) => verdict,
        }
    }

    /// Refreshes published keys now, every so often and on SIGHUP, for ever, so that a key that is no
    /// longer published stops being believed. Spawn it; it returns at once where there is nothing to
    /// refresh.
    pub async fn keep_fresh(&self, every: Duration) {
        let Some(keys) = &self.shared.refresh else {
            return;
        };
        let mut hangups = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::error!(%error, "keys are not read again on SIGHUP"))
            .ok();
        keys.refresh().await;
        loop {
            let hangup = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hangup => {
                    if keys.refresh_now().await {
                        tracing::info!("the keys of tokens were read again");
                    }
                }
                () = tokio::time::sleep(every) => {
                    keys.refresh().await;
                }
            }
        }
    }

    /// Checks a token as of `now`, with the keys at hand.
    pub fn verify_at(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed(format!(
                "longer than {MAX_TOKEN_BYTES} bytes"
            )));
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(no_jwt)?;
        let header = decode_header(token).map_err(|error| refusal(&error))?;
        // The header chooses among our keys, never among algorithms: what it says is compared before a
        // key is touched.
        let algorithm = self.algorithm().as_jwt();
        if header.alg != algorithm {
            return Err(TokenError::WrongAlgorithm);
        }
        let found;
        let key = match &self.shared.keys {
            Keys::Secret(key) => key,
            Keys::Ring(ring) => {
                found = ring.find(header.kid.as_deref())?;
                &found
            }
        };
        // Step by step, because the library's `decode` reads header and claims twice each.
        let holds = verify(signature, message.as_bytes(), key, algorithm);
        if !holds.map_err(|error| refusal(&error))? {
            return Err(TokenError::BadSignature);
        }
        let claims = claims(message)?;
        if claims.iss != self.shared.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if claims.aud != AUDIENCE {
            return Err(TokenError::WrongAudience);
        }
        let seconds = u64::try_from(now.as_millis() / 1000).unwrap_or_default();
        if claims.exp.saturating_add(LEEWAY.as_secs()) <= seconds {
            return Err(TokenError::Expired);
        }
        if claims.iat > seconds.saturating_add(LEEWAY.as_secs()) {
            return Err(TokenError::NotYetValid);
        }
        Ok(claims)
    }
}

/// What a signed message says.
fn claims(message: &str) -> Result<Claims, TokenError> {
    let (_, payload) = message.split_once('.').ok_or_else(no_jwt)?;
    let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| no_jwt())?;
    serde_json::from_slice(&json).map_err(|error| {
        if error.is_data() {
            TokenError::Malformed(without_position(&error.to_string()))
        } else {
            no_jwt()
        }
    })
}

fn no_jwt() -> TokenError {
    TokenError::Malformed("not a JWT".to_owned())
}

fn refusal(error: &jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm
        | ErrorKind::InvalidKeyFormat => TokenError::WrongAlgorithm,
        // serde names an unknown `alg` (such as `none`) like any other bad field.
        ErrorKind::Json(error) if error.to_string().starts_with("unknown variant") => {
            TokenError::WrongAlgorithm
        }
        ErrorKind::Json(error) if error.is_data() => {
            TokenError::Malformed(without_position(&error.to_string()))
        }
        _ => no_jwt(),
    }
}

/// serde's message without the column, which is of no use inside base64.
fn without_position(message: &str) -> String {
    message
        .split(" at line")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
