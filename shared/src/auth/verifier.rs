//! Believing tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

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
}

/// Checks tokens against the keys and the issuer of this deployment. Clones share it.
#[derive(Clone)]
pub struct TokenVerifier {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    validation: Validation,
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
        Self::new(Keys::Ring(ring), Algorithm::EdDsa, issuer, None)
    }

    /// The same, and asks for newer keys when a token names an unknown one.
    pub fn eddsa_refreshed(ring: KeyRing, issuer: &str, refresh: Arc<dyn RefreshKeys>) -> Self {
        Self::new(Keys::Ring(ring), Algorithm::EdDsa, issuer, Some(refresh))
    }

    /// Believes what `key` itself signs: issuer and verifier in one process.
    pub fn of_key(key: &SigningKey, issuer: &str) -> Self {
        match (key.secret(), key.public()) {
            (Some(secret), _) => {
                let key = Keys::Secret(DecodingKey::from_secret(secret));
                Self::new(key, Algorithm::Hs256, issuer, None)
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

    fn new(
        keys: Keys,
        algorithm: Algorithm,
        issuer: &str,
        refresh: Option<Arc<dyn RefreshKeys>>,
    ) -> Self {
        let mut validation = Validation::new(algorithm.as_jwt());
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer]);
        // Time is judged below, with a clock that tests can set.
        validation.validate_exp = false;
        Self {
            shared: Arc::new(Shared {
                keys,
                validation,
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

    /// Refreshes fetched keys now and then `every` so often, for ever, so that a key that is no
    /// longer published stops being believed. Spawn it; it returns at once where keys are not
    /// fetched.
    pub async fn keep_fresh(&self, every: Duration) {
        while let Some(refresh) = &self.shared.refresh {
            refresh.refresh().await;
            tokio::time::sleep(every).await;
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
        let data = match &self.shared.keys {
            // Another algorithm in the header than that of the validation is refused before the
            // key is touched.
            Keys::Secret(key) => decode::<Claims>(token, key, &self.shared.validation),
            Keys::Ring(ring) => {
                let header = decode_header(token).map_err(|error| refusal(&error))?;
                // The header chooses among our keys, never among algorithms.
                if header.alg != self.algorithm().as_jwt() {
                    return Err(TokenError::WrongAlgorithm);
                }
                let key = ring.find(header.kid.as_deref())?;
                decode::<Claims>(token, &key, &self.shared.validation)
            }
        };
        let claims = data.map_err(|error| refusal(&error))?.claims;
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

fn refusal(error: &jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        ErrorKind::InvalidAudience => TokenError::WrongAudience,
        ErrorKind::InvalidIssuer => TokenError::WrongIssuer,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm
        | ErrorKind::InvalidKeyFormat => TokenError::WrongAlgorithm,
        ErrorKind::MissingRequiredClaim(claim) => {
            TokenError::Malformed(format!("the claim `{claim}` is missing"))
        }
        // serde names an unknown `alg` (such as `none`) like any other bad field.
        ErrorKind::Json(error) if error.to_string().starts_with("unknown variant") => {
            TokenError::WrongAlgorithm
        }
        ErrorKind::Json(error) if error.is_data() => {
            TokenError::Malformed(without_position(&error.to_string()))
        }
        _ => TokenError::Malformed("not a JWT".to_owned()),
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
