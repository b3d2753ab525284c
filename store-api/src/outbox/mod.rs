//! Events leave through a table: written in the transaction of the change they tell of, delivered
//! after it, in order, at least once.
//!
//! Each target has rows of its own and a relay of its own, so that a node which is away holds up
//! nobody else. A row is removed when its target has taken it, or when it is so old that a node
//! coming back must start afresh anyway.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, DatabaseTransaction, EntityTrait, FromQueryResult, QueryFilter, QuerySelect,
    Select,
};
use shared::{
    events::{StoreEvent, StoreEventKind},
    id::Timestamp,
};
use tokio::sync::Notify;
use ulid::Ulid;

use crate::{database::Database, entity::outbox, error::StoreError};

#[cfg(feature = "http-client")]
pub use node::NodeSink;
pub(crate) use relay::Relay;
pub(crate) use whispers::{Whispers, deliver_whispers};

#[cfg(feature = "http-client")]
mod node;
mod relay;
mod whispers;

/// How long an event waits for a target that does not take it.
pub(crate) const RETENTION: Duration = Duration::from_hours(1);

/// Where events go.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Takes `events` over, in this order. On an error all of them come again, so they must be
    /// idempotent to the taker; they are, because each says how things now stand.
    async fn deliver(&self, events: &[StoreEvent]) -> Result<(), DeliveryError>;
}

/// Why a sink did not take events.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(pub String);

/// A sink and the name under which its events are kept; the name must stay the same over restarts.
#[derive(Clone)]
pub struct EventTarget {
    /// The name.
    pub name: String,
    /// The sink.
    pub sink: Arc<dyn EventSink>,
}

impl EventTarget {
    /// Events for `name` go to `sink`.
    pub fn new(name: impl Into<String>, sink: impl EventSink) -> Self {
        Self {
            name: name.into(),
            sink: Arc::new(sink),
        }
    }
}

/// The writing end. Queue: the table; bounded by [`RETENTION`], gauge
/// `fireside_store_outbox_pending`.
#[derive(Default)]
pub(crate) struct Outbox {
    targets: OnceLock<Vec<(String, Arc<Notify>)>>,
    whispers: Whispers,
}

impl Outbox {
    /// Names the targets, once, and gives a relay for each.
    pub(crate) fn open(&self, targets: Vec<EventTarget>, database: &Database) -> Vec<Relay> {
        let mut names = Vec::with_capacity(targets.len());
        let mut relays = Vec::with_capacity(targets.len());
        for target in targets {
            let wake = Arc::new(Notify::new());
            names.push((target.name.clone(), wake.clone()));
            relays.push(Relay::new(target, wake, database.clone()));
        }
        match self.targets.set(names) {
            Ok(()) => relays,
            Err(_) => Vec::new(),
        }
    }

    /// What is said beside the table.
    pub(crate) fn whispers(&self) -> &Whispers {
        &self.whispers
    }

    fn targets(&self) -> &[(String, Arc<Notify>)] {
        self.targets.get().map_or(&[], Vec::as_slice)
    }

    /// Writes events into the caller's transaction, as its last act: what is enqueued later by
    /// somebody else about the same people then also comes later.
    pub(crate) async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        events: &[StoreEvent],
    ) -> Result<(), StoreError> {
        let names = self.targets().iter().map(|(name, _)| name.as_str());
        write(tx, events, names).await
    }

    fn has(&self, name: &str) -> bool {
        self.targets().iter().any(|(target, _)| target == name)
    }

    /// Wakes the relays; called after the commit, so that an event takes milliseconds.
    pub(crate) fn wake(&self) {
        for (_, wake) in self.targets() {
            wake.notify_one();
        }
    }

    /// Drops what nobody took for too long, and shows how much waits.
    pub(crate) async fn sweep(
        &self,
        database: &Database,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let oldest = now.as_millis() - RETENTION.as_millis() as i64;
        let tx = database.begin().await?;
        let late: Vec<Pending> = pending()
            .filter(outbox::Column::CreatedAt.lt(oldest))
            .into_model()
            .all(&tx)
            .await?;
        let dropped = outbox::Entity::delete_many()
            .filter(outbox::Column::CreatedAt.lt(oldest))
            .exec(&tx)
            .await?
            .rows_affected;
        // Whoever comes back after that learns that there was more.
        let missed = StoreEvent {
            id: Ulid::new(),
            ts: now,
            kind: StoreEventKind::Missed,
        };
        let names = late.into_iter().map(|row| row.target);
        let names: Vec<String> = names.filter(|name| self.has(name)).collect();
        write(&tx, &[missed], names.iter().map(String::as_str)).await?;
        database.commit(tx).await?;
        if dropped > 0 {
            metrics::counter!("fireside_store_outbox_dropped_total").increment(dropped);
            tracing::warn!(
                dropped,
                "events that no target took within an hour are dropped"
            );
        }
        let pending: HashMap<String, i64> = pending()
            .into_model::<Pending>()
            .all(database.reader())
            .await?
            .into_iter()
            .map(|row| (row.target, row.pending))
            .collect();
        for (target, _) in self.targets() {
            let pending = pending.get(target).copied().unwrap_or(0);
            metrics::gauge!("fireside_store_outbox_pending", "target" => target.clone())
                .set(pending as f64);
        }
        Ok(())
    }
}

async fn write(
    tx: &DatabaseTransaction,
    events: &[StoreEvent],
    targets: impl Iterator<Item = &str> + Clone,
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for event in events {
        let text = serde_json::to_string(event)
            .map_err(|error| StoreError::Internal(format!("event: {error}")))?;
        rows.extend(targets.clone().map(|target| outbox::ActiveModel {
            id: NotSet,
            target: Set(target.to_owned()),
            event: Set(text.clone()),
            created_at: Set(event.ts.as_millis()),
        }));
    }
    // In pieces: a person with a thousand friends who leaves is thousands of bound values.
    for piece in rows.chunks(500) {
        outbox::Entity::insert_many(piece.to_vec())
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

/// How much waits for each target.
fn pending() -> Select<outbox::Entity> {
    outbox::Entity::find()
        .select_only()
        .column(outbox::Column::Target)
        .column_as(outbox::Column::Id.count(), "pending")
        .group_by(outbox::Column::Target)
}

#[derive(FromQueryResult)]
struct Pending {
    target: String,
    pending: i64,
}
