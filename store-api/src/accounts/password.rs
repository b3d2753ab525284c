//! Hashing passwords with argon2id, off the async workers and never too many at once.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::rules::Password;
use crate::error::StoreError;

/// One lane: a server hashes for many people at once rather than faster for one.
const LANES: u32 = 1;

/// What one hash costs. The settings' defaults are OWASP's recommendation for argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashCost {
    /// Memory of one hash, in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over that memory.
    pub(crate) passes: u32,
    /// Hashes at work at the same time; 0 is one a processor.
    pub(crate) at_once: usize,
    /// Hashes waiting for their turn; one more is answered `busy`.
    pub(crate) waiting: usize,
}

/// Hashes and verifies passwords.
///
/// Queue: at most `waiting` requests wait for one of `at_once` turns; more are refused with
/// [`StoreError::Busy`]. Gauge: `fireside_store_password_hashes_waiting`.
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_limit: usize,
    /// What an unknown account's password is compared with, so that it takes as long as a known
    /// one's.
    decoy: Arc<str>,
}

impl Hasher {
    pub(crate) fn new(cost: HashCost) -> Result<Self, StoreError> {
        let params = Params::new(cost.memory_kib, cost.passes, LANES, None)
            .map_err(|error| StoreError::Internal(format!("hash cost: {error}")))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let at_once = if cost.at_once == 0 {
            std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
        } else {
            cost.at_once
        };
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
            waiting_limit: cost.waiting,
            decoy: decoy(cost).into(),
        })
    }

    /// The hash to keep, with its salt and cost in it.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, StoreError> {
        let argon2 = self.argon2.clone();
        self.in_turn(move || {
            argon2
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
                .map_err(failed)
        })
        .await?
    }

    /// Whether `password` is the one that `kept` was made of. Without a kept hash the answer is
    /// no, and takes the same time.
    pub(crate) async fn verify(
        &self,
        password: Password,
        kept: Option<String>,
    ) -> Result<bool, StoreError> {
        let argon2 = self.argon2.clone();
        let decoy = self.decoy.clone();
        self.in_turn(move || {
            let known = kept.is_some();
            let hash = kept.as_deref().unwrap_or(&decoy);
            argon2.verify_password(password.as_bytes(), hash).is_ok() && known
        })
        .await
    }

    /// Whether `kept` was made at another cost than new hashes are.
    pub(crate) fn is_outdated(&self, kept: &str) -> bool {
        PasswordHash::new(kept)
            .ok()
            .and_then(|hash| Params::try_from(&hash).ok())
            .is_none_or(|params| {
                let now = self.argon2.params();
                (params.m_cost(), params.t_cost(), params.p_cost())
                    != (now.m_cost(), now.t_cost(), now.p_cost())
            })
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = {
            let _waiting = Waiting::enter(&self.waiting, self.waiting_limit)?;
            self.turns
                .clone()
                .acquire_owned()
                .await
                .map_err(|_| StoreError::Busy)?
        };
        spawn_blocking(move || {
            // Held by the work and not by the request: a caller who hangs up frees no turn while
            // the processor is still at it.
            let _turn = turn;
            work()
        })
        .await
        .map_err(|error| StoreError::Internal(format!("password hashing: {error}")))
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, limit: usize) -> Result<Self, StoreError> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let entered = Self(count);
        entered.show();
        if before >= limit {
            Err(StoreError::Busy)
        } else {
            Ok(entered)
        }
    }

    fn show(&self) {
        metrics::gauge!("fireside_store_password_hashes_waiting")
            .set(self.0.load(Ordering::Relaxed) as f64);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
        self.show();
    }
}

/// A hash as long and as dear as a real one, of no password: chosen, not computed, for computing
/// one would hold up every start.
fn decoy(cost: HashCost) -> String {
    let salt = STANDARD_NO_PAD.encode(rand::random::<[u8; 16]>());
    let hash = STANDARD_NO_PAD.encode(rand::random::<[u8; Params::DEFAULT_OUTPUT_LEN]>());
    let HashCost {
        memory_kib, passes, ..
    } = cost;
    format!("$argon2id$v=19$m={memory_kib},t={passes},p={LANES}${salt}${hash}")
}

#[allow(clippy::needless_pass_by_value)] // the shape `map_err` takes
fn failed(error: argon2::password_hash::Error) -> StoreError {
    StoreError::Internal(format!("password hashing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap(waiting: usize) -> HashCost {
        HashCost {
            memory_kib: 8,
            passes: 1,
            at_once: 1,
            waiting,
        }
    }

    #[tokio::test]
    async fn a_password_is_verified_against_its_own_hash_only() {
        let hasher = Hasher::new(cheap(4)).unwrap();
        let hash = hasher.hash(Password::given("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let kept = || Some(hash.clone());
        assert!(
            hasher
                .verify(Password::given("correct horse"), kept())
                .await
                .unwrap()
        );
        assert!(
            !hasher
                .verify(Password::given("battery staple"), kept())
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn an_unknown_account_costs_a_whole_hash_and_is_refused() {
        let hasher = Hasher::new(cheap(4)).unwrap();
        let decoy = PasswordHash::new(&hasher.decoy).unwrap();
        let refused = hasher.argon2.verify_password(b"anything", &decoy);
        assert!(matches!(
            refused,
            Err(argon2::password_hash::Error::PasswordInvalid)
        ));
        assert!(
            !hasher.is_outdated(&hasher.decoy),
            "it must cost what real ones cost"
        );
        assert!(
            !hasher
                .verify(Password::given("anything"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused() {
        let hasher = Arc::new(Hasher::new(cheap(1)).unwrap());
        let turn = hasher.turns.clone().acquire_owned().await.unwrap();
        let first = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(Password::given("one")).await }
        });
        tokio::task::yield_now().await;
        let second = hasher.hash(Password::given("two")).await;
        assert!(matches!(second, Err(StoreError::Busy)));
        drop(turn);
        assert!(first.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_outdated() {
        let hash = Hasher::new(cheap(1))
            .unwrap()
            .hash(Password::given("x"))
            .await
            .unwrap();
        assert!(!Hasher::new(cheap(1)).unwrap().is_outdated(&hash));
        let dearer = HashCost {
            passes: 2,
            ..cheap(1)
        };
        assert!(Hasher::new(dearer).unwrap().is_outdated(&hash));
        assert!(Hasher::new(dearer).unwrap().is_outdated("nonsense"));
    }
}
