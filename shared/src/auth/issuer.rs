//! Minting tokens.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use ulid::Ulid;

use super::{AUDIENCE, Claims, KeyError, SERVER_SCOPE, SigningKey};
use crate::id::{Timestamp, UserId};

/// Mints tokens with one key. Clones share it.
#[derive(Clone)]
pub struct TokenIssuer {
    shared: Arc<Shared>,
}

struct Shared {
    issuer: String,
    lifetime: Duration,
    header: Header,
    key: EncodingKey,
}

impl std::fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenIssuer")
            .field("issuer", &self.shared.issuer)
            .field("lifetime", &self.shared.lifetime)
            .finish_non_exhaustive()
    }
}

/// A token and what it says.
#[derive(Clone)]
pub struct IssuedToken {
    /// The compact JWT.
    pub token: String,
    /// Its claims.
    pub claims: Claims,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl TokenIssuer {
    /// An issuer that signs with `key`, calls itself `issuer`, and gives people tokens of this
    /// `lifetime`.
    pub fn new(key: &SigningKey, issuer: impl Into<String>, lifetime: Duration) -> Self {
        let mut header = Header::new(key.algorithm().as_jwt());
        header.kid = key.kid().map(str::to_owned);
        let key = key.encoding_key();
        Self {
            shared: Arc::new(Shared {
                issuer: issuer.into(),
                lifetime,
                header,
                key,
            }),
        }
    }

    /// How long a person's token lasts: `expires_in` of a log-in's answer.
    pub fn lifetime(&self) -> Duration {
        self.shared.lifetime
    }

    /// A person's access token.
    pub fn issue(&self, user: &UserId, name: &str) -> Result<IssuedToken, KeyError> {
        self.issue_at(user, name, Timestamp::now())
    }

    /// A person's access token, issued at a moment of the caller's choosing.
    pub fn issue_at(
        &self,
        user: &UserId,
        name: &str,
        now: Timestamp,
    ) -> Result<IssuedToken, KeyError> {
        self.mint(user, name, None, self.shared.lifetime, now)
    }

    /// A service's token, with the scope `server`.
    pub fn issue_service(
        &self,
        service: &UserId,
        lifetime: Duration,
    ) -> Result<IssuedToken, KeyError> {
        let scope = Some(SERVER_SCOPE.to_owned());
        self.mint(service, service.as_str(), scope, lifetime, Timestamp::now())
    }

    fn mint(
        &self,
        sub: &UserId,
        name: &str,
        scope: Option<String>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<IssuedToken, KeyError> {
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        let claims = Claims {
            sub: sub.clone(),
            name: name.to_owned(),
            jti: Ulid::from_parts(millis, rand::random()).to_string(),
            iat: millis / 1000,
            exp: (millis / 1000).saturating_add(lifetime.as_secs()),
            iss: self.shared.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            scope,
        };
        let token = jsonwebtoken::encode(&self.shared.header, &claims, &self.shared.key)
            .map_err(|error| KeyError::Signing(error.to_string()))?;
        Ok(IssuedToken { token, claims })
    }
}
