//! What a token says.

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::id::{Timestamp, UserId};

/// The audience of every Fireside token.
pub const AUDIENCE: &str = "fireside";

/// The scope of a service token: the game's own backend, or one of our services calling another.
pub const SERVER_SCOPE: &str = "server";

/// The claims of an access token, as the wire contract lists them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user, or the name of the service.
    pub sub: UserId,
    /// The user's display name when the token was made.
    pub name: String,
    /// This token's own name; a ULID, whose time is the moment of issue to the millisecond.
    pub jti: String,
    /// When it was issued, in seconds since the epoch.
    pub iat: u64,
    /// When it ends, in seconds since the epoch.
    pub exp: u64,
    /// Who issued it.
    pub iss: String,
    /// Always [`AUDIENCE`] once verified.
    pub aud: String,
    /// Space-separated scopes; absent for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Claims {
    /// Whether `scope` is among the scopes.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope
            .as_deref()
            .is_some_and(|scopes| scopes.split(' ').any(|held| held == scope))
    }

    /// Whether this is a service's token rather than a person's.
    pub fn is_service(&self) -> bool {
        self.has_scope(SERVER_SCOPE)
    }

    /// The moment of issue, as exactly as the token tells.
    ///
    /// `iat` counts whole seconds, too coarse to say on which side of "log out everywhere" a token
    /// of the same second falls. The time part of the `jti` settles it; a `jti` that is no ULID of
    /// that second leaves the token at the second's beginning, where it is revoked rather than
    /// spared.
    pub fn issued_at(&self) -> Timestamp {
        let exact = Ulid::from_string(&self.jti).map(|jti| jti.timestamp_ms());
        let millis = match exact {
            Ok(millis) if millis / 1000 == self.iat => millis,
            _ => self.iat.saturating_mul(1000),
        };
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// When the token ends.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.exp.saturating_mul(1000)).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(jti: &str, iat: u64) -> Claims {
        Claims {
            sub: UserId::parse("u1").unwrap(),
            name: "Ann".into(),
            jti: jti.into(),
            iat,
            exp: iat + 60,
            iss: "i".into(),
            aud: AUDIENCE.into(),
            scope: None,
        }
    }

    #[test]
    fn the_jti_refines_the_moment_of_issue() {
        let jti = Ulid::from_parts(1_700_000_000_123, 7).to_string();
        assert_eq!(
            claims(&jti, 1_700_000_000).issued_at().as_millis(),
            1_700_000_000_123
        );
        assert_eq!(
            claims(&jti, 1_700_000_009).issued_at().as_millis(),
            1_700_000_009_000
        );
        assert_eq!(
            claims("mine", 1_700_000_000).issued_at().as_millis(),
            1_700_000_000_000
        );
    }

    #[test]
    fn scopes_are_words() {
        let mut claims = claims("x", 1);
        assert!(!claims.is_service());
        claims.scope = Some("read server".into());
        assert!(claims.is_service());
        claims.scope = Some("servers".into());
        assert!(!claims.is_service());
    }
}
