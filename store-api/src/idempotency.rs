//! Requests that move money carry a name of their own, so that a client which lost the answer may
//! ask again: the request is done once, and answered the same every time.
//!
//! The name is written in the transaction of what the request does, with the answer. Of two that
//! come with one name at the same time the later waits for the first; one that failed left
//! nothing, its name too, and may be tried again.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    accounts::hex,
    error::{StoreError, Violation},
    sql::{self, values},
    store::Store,
};

/// The header, and the field that a refusal names.
pub(crate) const FIELD: &str = "Idempotency-Key";
/// How long a name is remembered.
pub(crate) const REMEMBERED: std::time::Duration = std::time::Duration::from_hours(24);

/// The name a client gives a request: 8 to 128 visible characters of ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks the rules.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let fits =
            (8..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            let message = "8 to 128 visible characters, another for each request";
            Err(Violation::new(FIELD, "malformed", message))
        }
    }

    /// The rule that a request without one breaks.
    pub(crate) fn missing() -> Violation {
        let message = "this header names the request, so that it is done once";
        Violation::new(FIELD, "required", message)
    }
}

/// What was answered, and whether it was answered before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// Whether an earlier request of this name did it.
    pub replayed: bool,
}

impl<T> Answered<T> {
    pub(crate) fn first(answer: T) -> Self {
        Self {
            answer,
            replayed: false,
        }
    }
}

/// A request under its name.
pub(crate) struct Named<'a> {
    caller: &'a str,
    key: &'a IdempotencyKey,
    fingerprint: String,
}

#[derive(FromQueryResult)]
struct Kept {
    fingerprint: String,
    answer: String,
}

impl<'a> Named<'a> {
    /// What `caller` calls `key`: `request` under `route`.
    pub(crate) fn new(
        caller: &'a str,
        key: &'a IdempotencyKey,
        route: &str,
        request: &impl Serialize,
    ) -> Result<Self, StoreError> {
        let request = serde_json::to_string(request).map_err(unspeakable)?;
        let fingerprint = hex(&Sha256::digest(format!("{route}\n{request}")));
        Ok(Self {
            caller,
            key,
            fingerprint,
        })
    }

    /// Takes the name for the caller's transaction, before anything else in it; or gives what was
    /// answered under it.
    pub(crate) async fn claim<T: DeserializeOwned>(
        &self,
        store: &Store,
        tx: &DatabaseTransaction,
    ) -> Result<Option<Answered<T>>, StoreError> {
        let now = store.now().as_millis();
        let taken = sql::execute(
            tx,
            "INSERT INTO idempotency_keys (caller, name, fingerprint, answer, created_at) \
             VALUES (?, ?, ?, '', ?) ON CONFLICT (caller, name) DO NOTHING",
            values![
                self.caller,
                self.key.0.as_str(),
                self.fingerprint.as_str(),
                now
            ],
        )
        .await?;
        if taken > 0 {
            return Ok(None);
        }
        let kept: Option<Kept> = sql::one(
            tx,
            "SELECT fingerprint, answer FROM idempotency_keys WHERE caller = ? AND name = ?",
            values![self.caller, self.key.0.as_str()],
        )
        .await?;
        // Swept away between the two: as good as busy.
        let kept = kept.ok_or(StoreError::Busy)?;
        if kept.fingerprint != self.fingerprint {
            let message = "another request was sent under this name";
            return Err(StoreError::Conflict {
                message,
                violations: vec![Violation::new(FIELD, "reused", message)],
            });
        }
        let answer = serde_json::from_str(&kept.answer).map_err(unspeakable)?;
        Ok(Some(Answered {
            answer,
            replayed: true,
        }))
    }

    /// Keeps the answer, in the same transaction.
    pub(crate) async fn keep(
        &self,
        tx: &DatabaseTransaction,
        answer: &impl Serialize,
    ) -> Result<(), StoreError> {
        let answer = serde_json::to_string(answer).map_err(unspeakable)?;
        sql::execute(
            tx,
            "UPDATE idempotency_keys SET answer = ? WHERE caller = ? AND name = ?",
            values![answer, self.caller, self.key.0.as_str()],
        )
        .await?;
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn unspeakable(error: serde_json::Error) -> StoreError {
    StoreError::Internal(format!("an answer kept under its key: {error}"))
}

impl Store {
    /// Forgets names that are old.
    pub(crate) async fn forget_old_keys(&self) -> Result<(), StoreError> {
        let oldest = self.now().as_millis() - REMEMBERED.as_millis() as i64;
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "DELETE FROM idempotency_keys WHERE created_at < ?",
            values![oldest],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_and_of_some_length() {
        assert!(IdempotencyKey::parse("01J0000000000000").is_ok());
        for bad in ["", "short", "with a space", "ünïcödé-key", &"x".repeat(129)] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad}");
        }
    }
}
