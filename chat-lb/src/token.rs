//! Who is asking: tokens are judged here, before a back end is touched.
//!
//! The deny list is read from Redis, where nodes share it, and from nowhere else: without Redis it is
//! empty here, and the node that is asked denies what it knows of.

use std::time::Duration;

use shared::{
    auth::{Auth, Claims, Revocations, STORE_TOKEN, TokenError},
    id::Timestamp,
    revoked::{Mark, RedisRevoked, Revoked, RevokedSet as _},
    settings::Secret,
    telemetry::Sparing,
};
use subtle::ConstantTimeEq as _;

/// How often the deny list is looked into.
const LOOK: Duration = Duration::from_secs(1);
/// How often what has had its time is let go.
const LOOKS_PER_TIDY: u32 = 60;

/// Judges who asks.
pub struct Tokens {
    auth: Auth,
    service_token: Option<Secret>,
}

impl Tokens {
    /// Believes what `auth` does, and services that show `service_token`.
    pub fn new(auth: Auth, service_token: Option<Secret>) -> Self {
        Self {
            auth,
            service_token,
        }
    }

    /// The person a token was issued to.
    pub async fn person(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.auth.authenticate(token).await?;
        if claims.is_service() {
            return Err(TokenError::WrongScope);
        }
        Ok(claims)
    }

    /// Who shows this to the store.
    pub async fn of_store(&self, token: &str) -> Result<Caller, TokenError> {
        if token.starts_with(STORE_TOKEN) {
            return Ok(Caller::StoreService);
        }
        if self.knows_the_secret(token) {
            return Ok(Caller::Service);
        }
        let claims = self.auth.authenticate(token).await?;
        if claims.is_service() {
            return Ok(Caller::Service);
        }
        Ok(Caller::Person(Box::new(claims)))
    }

    /// Whether a service shows this: the services' secret, or a token of the scope `server`.
    pub async fn service(&self, token: &str) -> Result<(), TokenError> {
        if self.knows_the_secret(token) || self.auth.authenticate(token).await?.is_service() {
            return Ok(());
        }
        Err(TokenError::WrongScope)
    }

    fn knows_the_secret(&self, token: &str) -> bool {
        self.service_token.as_ref().is_some_and(|secret| {
            let secret = secret.expose().as_bytes();
            !secret.is_empty() && bool::from(secret.ct_eq(token.as_bytes()))
        })
    }
}

/// Who shows a token to the store.
#[derive(Debug)]
pub enum Caller {
    /// A person.
    Person(Box<Claims>),
    /// One of our services.
    Service,
    /// A service with a token that the store made, which the store alone can judge.
    StoreService,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// Keeps the deny list what it is in Redis, for ever. While that is out of reach, what is known holds.
pub async fn follow_revocations(set: RedisRevoked, revocations: Revocations) {
    let lines = Sparing::new(Duration::from_secs(10));
    let mut mark: Option<Mark> = None;
    let mut looks = 0_u32;
    loop {
        match set.since(mark.as_ref()).await {
            Ok(since) => {
                for revoked in since.revoked {
                    // What ends sessions is the nodes' matter.
                    if let Revoked::Tokens(revocation) = revoked {
                        revocations.apply(revocation);
                    }
                }
                mark = Some(since.mark);
            }
            Err(error) => {
                if let Some(more) = lines.due() {
                    tracing::warn!(%error, more, "what is revoked cannot be learned");
                }
            }
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_PER_TIDY) {
            revocations.purge(Timestamp::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}
