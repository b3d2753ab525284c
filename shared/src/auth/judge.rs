//! Whether a token holds now: it verifies, and nobody took it back.

use super::{Claims, Revocations, TokenError, TokenVerifier};

/// Everything that judging a token takes.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Checks signatures and claims.
    pub verifier: TokenVerifier,
    /// Knows what was taken back.
    pub revocations: Revocations,
}

impl Auth {
    /// Judges a token of either kind, a person's or a service's.
    pub async fn authenticate(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.verifier.verify_fresh(token).await?;
        if self.revocations.denies(&claims) {
            Err(TokenError::Revoked)
        } else {
            Ok(claims)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::{Revocation, SigningKey, TokenIssuer};
    use crate::id::UserId;

    #[tokio::test]
    async fn what_was_taken_back_holds_no_longer() {
        let key = SigningKey::from_secret(&[3; 32]).unwrap();
        let auth = Auth {
            verifier: TokenVerifier::of_key(&key, "i"),
            revocations: Revocations::new(),
        };
        let issuer = TokenIssuer::new(&key, "i", Duration::from_mins(1));
        let token = issuer.issue(&UserId::parse("u1").unwrap(), "Ann").unwrap();
        let verdict = auth.authenticate(&token.token).await;
        assert_eq!(verdict.as_ref(), Ok(&token.claims));
        auth.revocations.apply(Revocation::Token {
            expires: token.claims.expires_at(),
            jti: token.claims.jti,
        });
        let verdict = auth.authenticate(&token.token).await;
        assert_eq!(verdict, Err(TokenError::Revoked));
        assert_eq!(
            auth.authenticate("x.y.z").await.unwrap_err().code(),
            crate::codes::ErrorCode::Unauthenticated
        );
    }
}
