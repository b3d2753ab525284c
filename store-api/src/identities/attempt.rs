//! One log-in on its way: what is known of it between its steps, and whose it is.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{WRONG, attempts::AttemptsError, provider::ProvedPerson};
use crate::{
    accounts::{hex, random},
    error::StoreError,
    store::Store,
};

/// Bytes of a state, a ticket, a secret and a verifier.
const BYTES: usize = 32;

/// What is known of a log-in on its way.
#[derive(Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) provider: String,
    /// Hash of what only the browser that began knows.
    pub(super) secret: String,
    /// Whose account the identity is to be linked to; none to log in.
    pub(super) user: Option<String>,
    /// When it ends, in milliseconds since the epoch.
    pub(super) expires_at: i64,
    pub(super) stage: Stage,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Stage {
    /// The browser is at the provider.
    Gone { verifier: String },
    /// It is back, with a code if the provider gave one.
    Back {
        verifier: String,
        code: Option<String>,
    },
    /// The provider said who it is, and nobody here is that.
    Known(ProvedPerson),
}

impl Stage {
    fn word(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "gone",
            Self::Back { .. } => "back",
            Self::Known(_) => "known",
        }
    }
}

impl Store {
    /// Keeps an attempt under a new name.
    pub(super) async fn put_attempt(&self, attempt: &Attempt) -> Result<String, StoreError> {
        let name = unguessed()?;
        self.keep_attempt(attempt, &name).await?;
        Ok(name)
    }

    pub(super) async fn keep_attempt(
        &self,
        attempt: &Attempt,
        name: &str,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(attempt)
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        let left = self.left(attempt);
        if left.is_zero() {
            return Ok(());
        }
        let key = key(attempt.stage.word(), name);
        let attempts = self.by_providers().attempts();
        attempts.put(&key, &text, left).await.map_err(unkept)
    }

    /// The attempt of this name, which is used up, if it holds still.
    pub(super) async fn take_attempt(
        &self,
        stage: &str,
        name: &str,
    ) -> Result<Option<Attempt>, StoreError> {
        let attempts = self.by_providers().attempts();
        let text = attempts.take(&key(stage, name)).await.map_err(unkept)?;
        let attempt = text.and_then(|text| serde_json::from_str::<Attempt>(&text).ok());
        Ok(attempt.filter(|attempt| !self.left(attempt).is_zero()))
    }

    /// The same, if whoever asks is who began it. Whoever is not uses it up.
    pub(super) async fn open_attempt(
        &self,
        stage: &str,
        ticket: &str,
        secret: &str,
    ) -> Result<Attempt, StoreError> {
        let attempt = self.take_attempt(stage, ticket).await?.ok_or(WRONG)?;
        let given = hashed(secret);
        if !bool::from(attempt.secret.as_bytes().ct_eq(given.as_bytes())) {
            return Err(WRONG);
        }
        Ok(attempt)
    }

    pub(super) fn left(&self, attempt: &Attempt) -> Duration {
        let left = attempt.expires_at - self.now().as_millis();
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }
}

pub(super) fn unguessed() -> Result<String, StoreError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<BYTES>()?))
}

/// What nobody guesses, by its hash: whoever reads what is kept has nothing to show.
pub(super) fn hashed(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

fn key(stage: &str, name: &str) -> String {
    format!("{stage}:{}", hashed(name))
}

fn unkept(error: AttemptsError) -> StoreError {
    match error {
        AttemptsError::Full => StoreError::Busy,
        away @ AttemptsError::Away(_) => StoreError::Away(away.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_stages_are_apart() {
        assert_ne!(key("gone", "x"), key("back", "x"));
        assert!(!key("gone", "a secret").contains("secret"));
    }
}
