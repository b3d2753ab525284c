//! Attempts in the memory of this process.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Attempts, AttemptsError};

/// Attempts kept at most, of some hundred bytes each. Who may begin how often is bounded by address.
const MOST: usize = 50_000;

/// Bound: [`MOST`].
#[derive(Default)]
pub(crate) struct LocalAttempts {
    kept: Mutex<HashMap<String, (Instant, String)>>,
}

#[async_trait]
impl Attempts for LocalAttempts {
    async fn put(&self, key: &str, value: &str, lifetime: Duration) -> Result<(), AttemptsError> {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        // Looking at all of them costs as much as putting as many as there are, and comes once in so many.
        if kept.len() == kept.capacity() || kept.len() >= MOST {
            kept.retain(|_, (until, _)| *until > now);
        }
        if kept.len() >= MOST {
            return Err(AttemptsError::Full);
        }
        kept.insert(key.to_owned(), (now + lifetime, value.to_owned()));
        Ok(())
    }

    async fn take(&self, key: &str) -> Result<Option<String>, AttemptsError> {
        let taken = self.kept.lock().remove(key);
        Ok(taken
            .filter(|(until, _)| *until > Instant::now())
            .map(|(_, value)| value))
    }
}
