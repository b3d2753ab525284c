//! The delivering end of the outbox, one task a target.

use std::{sync::Arc, time::Duration};

use rand::Rng as _;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use shared::{events::StoreEvent, id::Timestamp};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{DeliveryError, EventTarget};
use crate::{database::Database, entity::outbox, error::StoreError};

/// Events in one delivery.
const BATCH: u64 = 100;
/// How often to look without having been woken, where another process may have written.
const POLL_SHARED: Duration = Duration::from_millis(250);
/// How often to look where nobody else writes: a request that is given up while its change is being
/// committed wakes nobody, and a revocation has a second.
const POLL_OWN: Duration = Duration::from_millis(500);
/// How long a target may take over a delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses after failed deliveries: doubled from the first to the last, which is short enough for a
/// node that is back to hear of a revocation within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(800);

/// Delivers the events of one target.
pub(crate) struct Relay {
    target: EventTarget,
    wake: Arc<Notify>,
    database: Database,
}

/// What became of one look into the table.
enum Look {
    Empty,
    Delivered { more: bool },
}

impl Relay {
    pub(super) fn new(target: EventTarget, wake: Arc<Notify>, database: Database) -> Self {
        Self {
            target,
            wake,
            database,
        }
    }

    /// Delivers until `stop` turns true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let poll = if self.database.is_shared() {
            POLL_SHARED
        } else {
            POLL_OWN
        };
        let mut failures = 0_u32;
        while !*stop.borrow() {
            let pause = match self.deliver_some().await {
                Ok(Look::Delivered { more: true }) => {
                    failures = 0;
                    continue;
                }
                Ok(Look::Delivered { more: false } | Look::Empty) => {
                    if failures > 0 {
                        tracing::info!(target_name = %self.target.name, "events are taken again");
                    }
                    failures = 0;
                    None
                }
                Err(error) => {
                    // Told once an outage: the counter tells the rest.
                    if failures == 0 {
                        let name = &self.target.name;
                        tracing::warn!(target_name = %name, %error, "events are not taken");
                    }
                    failures = failures.saturating_add(1);
                    metrics::counter!(
                        "fireside_store_outbox_failures_total", "target" => self.target.name.clone()
                    )
                    .increment(1);
                    Some(pause_after(failures))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause.unwrap_or(poll)) => {}
                // While a target is down each new event must not be one more knock at its door.
                () = self.wake.notified(), if pause.is_none() => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
        // What was committed before the end and still finds a taker need not wait for the next
        // start.
        while let Ok(Look::Delivered { more: true }) = self.deliver_some().await {}
    }

    async fn deliver_some(&self) -> Result<Look, RelayError> {
        if !self.database.is_shared() {
            // The only process on this database: nobody else delivers, and no transaction is open
            // while the target takes its time.
            let rows = self.first().all(self.database.reader()).await?;
            return self.deliver(self.database.reader(), rows, true).await;
        }
        let Some(settled) = self.settled().await? else {
            return Ok(Look::Empty);
        };
        // Several processes deliver from one table. Whoever holds the first rows delivers them;
        // the others wait for it to commit, and find them gone, so nothing overtakes.
        let tx = self.database.begin_delivery().await?;
        let held = self.first().filter(outbox::Column::Id.is_in(settled));
        let rows = held.lock_exclusive().all(&tx).await?;
        let look = self.deliver(&tx, rows, false).await?;
        self.database.commit(tx).await?;
        Ok(look)
    }

    /// The first of what waits.
    fn first(&self) -> Select<outbox::Entity> {
        outbox::Entity::find()
            .filter(outbox::Column::Target.eq(&self.target.name))
            .order_by_asc(outbox::Column::Id)
            .limit(BATCH)
    }

    /// The names of the first of what waits, if anything does, once no crash of the database can undo it: nobody is
    /// told of what might never have been.
    async fn settled(&self) -> Result<Option<Vec<i64>>, RelayError> {
        let tx = self.database.begin().await?;
        let names = self.first().select_only().column(outbox::Column::Id);
        let names: Vec<i64> = names.into_tuple().all(&tx).await?;
        if names.is_empty() {
            tx.rollback().await?;
            return Ok(None);
        }
        self.database.end_settled(tx).await?;
        Ok(Some(names))
    }

    async fn deliver(
        &self,
        db: &impl ConnectionTrait,
        rows: Vec<outbox::Model>,
        own_transaction: bool,
    ) -> Result<Look, RelayError> {
        if rows.is_empty() {
            return Ok(Look::Empty);
        }
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            match serde_json::from_str::<StoreEvent>(&row.event) {
                Ok(event) => events.push(event),
                // Written by a later version and read by an earlier one: it can wait for nobody.
                Err(error) => {
                    tracing::error!(id = row.id, %error, "an event cannot be read and is dropped");
                }
            }
        }
        timeout(DELIVERY_TIMEOUT, self.target.sink.deliver(&events))
            .await
            .map_err(|_| DeliveryError("no answer in 5 s".into()))??;
        self.remove(db, &rows, own_transaction).await?;
        let name = self.target.name.clone();
        metrics::counter!("fireside_store_outbox_delivered_total", "target" => name)
            .increment(rows.len() as u64);
        let waited = Timestamp::now().as_millis() - rows[0].created_at;
        metrics::histogram!("fireside_store_outbox_lag_seconds").record(waited.max(0) as f64 / 1e3);
        Ok(Look::Delivered {
            more: rows.len() as u64 == BATCH,
        })
    }

    async fn remove(
        &self,
        db: &impl ConnectionTrait,
        rows: &[outbox::Model],
        own_transaction: bool,
    ) -> Result<(), RelayError> {
        let delete = outbox::Entity::delete_many()
            .filter(outbox::Column::Id.is_in(rows.iter().map(|row| row.id)));
        if own_transaction {
            let tx = self.database.begin().await?;
            delete.exec(&tx).await?;
            self.database.commit(tx).await?;
        } else {
            delete.exec(db).await?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sea_orm::DbErr> for RelayError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// Doubled with each failure, and shortened at random so that many relays do not knock together.
fn pause_after(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled
        .min(LAST_PAUSE)
        .mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert!(pause_after(1) <= FIRST_PAUSE);
        assert!(pause_after(4) >= FIRST_PAUSE * 4);
        for failures in [20, u32::MAX] {
            let pause = pause_after(failures);
            assert!(pause <= LAST_PAUSE && pause >= LAST_PAUSE / 2);
        }
    }
}
