//! Access tokens: how they are signed here, and how long things last.

use std::time::Duration;

use shared::{
    auth::{Jwks, SigningKey, TokenIssuer, TokenVerifier},
    id::{Timestamp, UserId},
};

use crate::error::StoreError;

/// How long tokens and sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenLifetimes {
    /// An access token.
    pub(crate) access: Duration,
    /// A refresh token that is not used.
    pub(crate) refresh: Duration,
    /// A session, however often it is refreshed.
    pub(crate) session: Duration,
}

impl TokenLifetimes {
    /// When a session begun at `begun` ends, if it is not refreshed again after `now`.
    pub(super) fn session_end(&self, begun: Timestamp, now: Timestamp) -> Timestamp {
        after(begun, self.session).min(after(now, self.refresh))
    }
}

/// Signs access tokens and believes its own.
pub(crate) struct Tokens {
    issuer: TokenIssuer,
    verifier: TokenVerifier,
    jwks: Jwks,
    lifetimes: TokenLifetimes,
}

/// An access token just made.
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) jti: String,
    pub(super) expires_at: Timestamp,
}

impl Tokens {
    pub(crate) fn new(key: &SigningKey, issuer: &str, lifetimes: TokenLifetimes) -> Self {
        Self {
            issuer: TokenIssuer::new(key, issuer, lifetimes.access),
            verifier: TokenVerifier::of_key(key, issuer),
            jwks: Jwks::publish([key]),
            lifetimes,
        }
    }

    pub(super) fn issue(
        &self,
        user: &UserId,
        name: &str,
        now: Timestamp,
    ) -> Result<Issued, StoreError> {
        let issued = self
            .issuer
            .issue_at(user, name, now)
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        let expires_at = issued.claims.expires_at();
        Ok(Issued {
            token: issued.token,
            jti: issued.claims.jti,
            expires_at,
        })
    }

    pub(crate) fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    pub(crate) fn jwks(&self) -> &Jwks {
        &self.jwks
    }

    pub(crate) fn lifetimes(&self) -> &TokenLifetimes {
        &self.lifetimes
    }
}

/// `span` after `moment`.
pub(super) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    moment.plus_millis(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refreshing_prolongs_a_session_up_to_a_bound() {
        let lifetimes = TokenLifetimes {
            access: Duration::from_millis(1),
            refresh: Duration::from_millis(30),
            session: Duration::from_millis(100),
        };
        let end =
            |now| lifetimes.session_end(Timestamp::from_millis(0), Timestamp::from_millis(now));
        assert_eq!(end(0).as_millis(), 30);
        assert_eq!(end(50).as_millis(), 80);
        assert_eq!(end(90).as_millis(), 100);
    }
}
