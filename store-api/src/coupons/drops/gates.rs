//! The gates of a store: the one it shares with others, if there is one, and its own for when that is away.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sea_orm::FromQueryResult;

use super::gate::{Entry, Gate, GateDrop, GateError, LocalGate};
use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

/// How many people a gate is told of at once.
const PAGE: i64 = 1000;
/// How often a gate that is wrong is told everything again.
const MENDED_EVERY: Duration = Duration::from_secs(1);

/// Whom to ask who is let in.
#[derive(Default)]
pub(crate) struct Gates {
    shared: OnceLock<Arc<dyn Gate>>,
    local: LocalGate,
    mended: Mutex<HashMap<String, Instant>>,
}

#[derive(FromQueryResult)]
struct Holder {
    user_id: String,
}

impl Gates {
    /// Shares a gate with other stores, from the first claim on.
    #[cfg(feature = "redis")]
    pub(crate) fn share(&self, gate: Arc<dyn Gate>) {
        let _ = self.shared.set(gate);
    }

    /// All of them, those to be asked first before the others.
    fn all(&self) -> impl Iterator<Item = &(dyn Gate + 'static)> {
        let local: &(dyn Gate + 'static) = &self.local;
        let shared = self.shared.get().map(AsRef::as_ref);
        shared.into_iter().chain([local])
    }

    /// Lets people in to a drop: by the shared gate, or by our own while that one does not answer. A gate that does
    /// not know the drop is told first who has a coupon.
    pub(super) async fn enter(
        &self,
        store: &Store,
        drop: &GateDrop,
        people: &[&str],
    ) -> Result<Vec<Entry>, StoreError> {
        for gate in self.all() {
            match entered(store, gate, drop, people).await? {
                Ok(entries) => return Ok(entries),
                Err(error) => away(&error),
            }
        }
        // Our own gate answers always.
        Err(StoreError::Busy)
    }

    /// Says what the database said: `have` have a coupon, `lack` get none.
    pub(super) async fn told(&self, drop: &GateDrop, have: &[&str], lack: &[&str]) {
        for gate in self.all() {
            let told = async {
                if !have.is_empty() {
                    gate.settle(drop, have).await?;
                }
                if !lack.is_empty() {
                    gate.leave(drop, lack).await?;
                }
                Ok::<_, GateError>(())
            };
            if let Err(error) = told.await {
                away(&error);
            }
        }
    }

    /// Tells all gates everything again, since one let in people for whom there was nothing left; but not
    /// all the time.
    pub(super) async fn mend(&self, store: &Store, drop: &GateDrop) -> Result<(), StoreError> {
        {
            let mut mended = self.mended.lock();
            mended.retain(|_, at| at.elapsed() < MENDED_EVERY);
            if mended.contains_key(&drop.id) {
                return Ok(());
            }
            mended.insert(drop.id.clone(), Instant::now());
        }
        for gate in self.all() {
            if let Err(error) = fill(store, gate, drop).await? {
                away(&error);
            }
        }
        Ok(())
    }
}

async fn entered(
    store: &Store,
    gate: &dyn Gate,
    drop: &GateDrop,
    people: &[&str],
) -> Result<Result<Vec<Entry>, GateError>, StoreError> {
    // Twice: a gate may lose everything at any time, also what it has just been told.
    for _ in 0..2 {
        match gate.enter(drop, people).await {
            Ok(Some(entries)) => return Ok(Ok(entries)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        if let Err(error) = fill(store, gate, drop).await? {
            return Ok(Err(error));
        }
    }
    Ok(Err(GateError("forgets what it is told".to_owned())))
}

/// Tells a gate who has a coupon of a drop, in pages, and that it knows the drop then.
async fn fill(
    store: &Store,
    gate: &dyn Gate,
    drop: &GateDrop,
) -> Result<Result<(), GateError>, StoreError> {
    let mut after = String::new();
    loop {
        let holders: Vec<Holder> = sql::all(
            store.database().reader(),
            "SELECT user_id FROM coupons WHERE campaign = ? AND user_id > ? ORDER BY user_id LIMIT ?",
            values![drop.id.as_str(), after.as_str(), PAGE],
        )
        .await?;
        let Some(last) = holders.last() else {
            break;
        };
        after.clone_from(&last.user_id);
        let people: Vec<&str> = holders.iter().map(|row| row.user_id.as_str()).collect();
        if let Err(error) = gate.settle(drop, &people).await {
            return Ok(Err(error));
        }
    }
    Ok(gate.open(drop).await)
}

fn away(error: &GateError) {
    metrics::counter!("fireside_store_gate_failures_total").increment(1);
    tracing::debug!(%error, "the shared gate of drops is away; this store judges by itself");
}
