//! Whether the database takes what is written: what readiness is told besides its answering.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr};
use shared::telemetry::Sparing;

use crate::{
    database::{Database, begin, connect_once},
    error::{Storage, StoreError},
};

/// How much the probe writes: more than any one request does.
const PROBE_BYTES: usize = 16 << 10;
/// How often a store in trouble tries whether it is over.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What the last transactions came to. One that the disk refused makes it unwell, and only a probe
/// that stood makes it well again: a small write may still find room where the next does not.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    trouble: Mutex<Option<Trouble>>,
    lines: Sparing,
}

struct Trouble {
    complaint: String,
    probe_at: Instant,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Inner {
            trouble: Mutex::new(None),
            lines: Sparing::each_second(),
        }))
    }
}

impl Health {
    /// Takes note of what beginning or committing a transaction came to.
    pub(crate) fn note<T>(&self, outcome: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &outcome
            && let Some(storage) = Storage::of(error)
        {
            let advice = storage.advice();
            if let Some(more) = self.0.lines.due() {
                tracing::error!(%error, more, advice, "the database could not be written");
            }
            *self.0.trouble.lock() = Some(Trouble {
                complaint: format!("cannot be written: {error}; {advice}"),
                probe_at: Instant::now() + PROBE_EVERY,
            });
        }
        outcome
    }

    /// Whether writing is worth trying: always, but in trouble only once a probe stood, of which
    /// there is one a second at most.
    pub(crate) async fn revive(&self, url: &str) -> Result<(), StoreError> {
        {
            let mut trouble = self.0.trouble.lock();
            let Some(trouble) = trouble.as_mut() else {
                return Ok(());
            };
            if Instant::now() < trouble.probe_at {
                return Err(StoreError::Unwritable(trouble.complaint.clone()));
            }
            trouble.probe_at = Instant::now() + PROBE_EVERY;
        }
        self.note(probe(url).await)?;
        *self.0.trouble.lock() = None;
        tracing::info!("the database can be written again");
        Ok(())
    }
}

impl Database {
    /// Whether it answers and takes what is written.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.reader().ping().await?;
        self.health().revive(self.url()).await
    }
}

/// Writes something that needs room of its own, and takes it away again, on a connection of its
/// own: a file system that an error made read-only may still seem to take what is written to files
/// that are open, but lets none be opened.
async fn probe(url: &str) -> Result<(), DbErr> {
    let connection = connect_once(url).await?;
    let outcome = probe_on(&connection).await;
    connection.close().await?;
    outcome
}

async fn probe_on(connection: &DatabaseConnection) -> Result<(), DbErr> {
    let filler = "probe---".repeat(PROBE_BYTES / 8);
    let insert = format!("INSERT INTO probe (filler) VALUES ('{filler}')");
    for statement in ["DELETE FROM probe", &insert, "DELETE FROM probe"] {
        let tx = begin(connection).await?;
        tx.execute_unprepared(statement).await?;
        tx.commit().await?;
    }
    Ok(())
}
