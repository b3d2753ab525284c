//! Who looks after payments that wait for something, since before this process began or since a call
//! without an answer.

use std::time::Duration;

use sea_orm::FromQueryResult;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

/// How often to look for what is due, without having been woken.
const POLL: Duration = Duration::from_millis(500);
/// Payments that are looked after at the same time: a provider that hangs must not take every
/// connection to the database along.
const AT_ONCE: usize = 16;

#[derive(FromQueryResult)]
struct Due {
    id: String,
}

#[derive(FromQueryResult)]
struct Unsettled {
    unsettled: i64,
}

/// Looks after payments until `stop` turns true, and then until what is under way is done.
pub(crate) async fn settle(store: Store, mut stop: watch::Receiver<bool>) {
    if store.payments().providers.is_empty() {
        return;
    }
    let mut at_work = JoinSet::new();
    let mut next_poll = Instant::now();
    while !*stop.borrow() {
        if at_work.len() < AT_ONCE && Instant::now() >= next_poll {
            next_poll = Instant::now() + POLL;
            match store.due_payments(AT_ONCE - at_work.len()).await {
                Ok(due) => {
                    for id in due {
                        let store = store.clone();
                        at_work.spawn(async move { store.look_after(&id).await });
                    }
                }
                Err(error) => tracing::warn!(%error, "looking for payments that wait"),
            }
        }
        let room = at_work.len() < AT_ONCE;
        tokio::select! {
            () = sleep_until(next_poll), if room => {}
            () = store.payments().wake.notified(), if room => next_poll = Instant::now(),
            Some(_) = at_work.join_next(), if !at_work.is_empty() => {}
            changed = stop.changed() => if changed.is_err() { break },
        }
    }
    while at_work.join_next().await.is_some() {}
}

impl Store {
    async fn look_after(&self, id: &str) {
        if let Err(error) = self.advance(id).await {
            // It is due again once the turn that failed has lapsed.
            tracing::warn!(payment = id, %error, "a payment waits");
        }
    }

    /// Payments about which something is to be done, and nobody does it.
    async fn due_payments(&self, room: usize) -> Result<Vec<String>, StoreError> {
        let now = self.now().as_millis();
        let due: Vec<Due> = sql::all(
            self.database().reader(),
            "SELECT id FROM payments WHERE check_at <= ? AND leased_until <= ? ORDER BY check_at LIMIT ?",
            values![now, now, room as i64],
        )
        .await?;
        Ok(due.into_iter().map(|row| row.id).collect())
    }

    /// Shows of how many payments nobody knows how they stand.
    pub(crate) async fn count_unsettled_payments(&self) -> Result<(), StoreError> {
        let count: Option<Unsettled> = sql::one(
            self.database().reader(),
            "SELECT COUNT(*) AS unsettled FROM payments \
             WHERE check_at IS NOT NULL AND (state = 'approving' OR cancelling > 0)",
            Vec::new(),
        )
        .await?;
        metrics::gauge!("fireside_store_payments_unsettled")
            .set(count.map_or(0, |row| row.unsettled) as f64);
        Ok(())
    }
}
