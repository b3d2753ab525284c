//! The database's shape: its indexes, by version.
//!
//! The version stands in the document `schema` of the collection `meta`. A step may be taken by
//! several nodes at once and again after a crash: it only makes what is not there yet. The version
//! moves when the step is done, and only forward.

use std::time::Duration;

use mongodb::{
    Database, IndexModel,
    bson::{Document, doc},
    error::ErrorKind,
    options::IndexOptions,
};

use super::store::{Fault, Result, is_duplicate, number, short};

/// The newest version that this program knows.
const VERSION: i64 = 2;
/// How often a step is tried that collides with the same step of another node.
const TRIES: u32 = 20;

/// Why history in MongoDB could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No URI was given.
    #[error("`mongodb_uri` is not set")]
    NoUri,
    /// The server cannot be reached, or does not do what it is asked; that may pass.
    #[error("cannot open the history in MongoDB: {0}")]
    Away(String),
    /// The URI cannot be read, or the server does not let us in; that does not pass by itself.
    #[error("MongoDB lets nobody in like this, see `mongodb_uri`: {0}")]
    Refused(String),
    /// Its collections are of a version that this program does not know.
    #[error("the history in MongoDB is of version {found}; this program knows up to {known}")]
    TooNew {
        /// The version found.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// A thread could not be started.
    #[error("cannot start a thread for the history: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Driver(error) if refuses(&error) => Self::Refused(short(&error)),
            Fault::Driver(error) => Self::Away(short(&error)),
            other => Self::Away(other.to_string()),
        }
    }
}

impl OpenError {
    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

/// Whether it is who asks, or how, that is wrong.
fn refuses(error: &mongodb::error::Error) -> bool {
    /// `Unauthorized`, `AuthenticationFailed`.
    const CODES: [i32; 2] = [13, 18];
    match &*error.kind {
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. } => true,
        ErrorKind::Command(refusal) => CODES.contains(&refusal.code),
        _ => false,
    }
}

/// Brings the database up to date.
pub(super) async fn migrate(db: &Database) -> Result<(), OpenError> {
    let found = version(db).await?;
    if found > VERSION {
        return Err(OpenError::TooNew {
            found,
            known: VERSION,
        });
    }
    for step in found + 1..=VERSION {
        let mut tries = 0;
        while let Err(error) = take(db, step).await {
            tries += 1;
            if tries == TRIES {
                return Err(error.into());
            }
            tracing::debug!(%error, step, "a step of the migration is taken again");
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..=200))).await;
        }
        advance(db, step).await?;
    }
    Ok(())
}

/// The version of the database; 0 when it is empty.
pub(super) async fn version(db: &Database) -> Result<i64> {
    let meta = db.collection::<Document>("meta");
    let found = meta.find_one(doc! { "_id": "schema" }).await?;
    Ok(found.map_or(0, |schema| number(&schema, "version")))
}

async fn advance(db: &Database, to: i64) -> Result<()> {
    let update = db
        .collection::<Document>("meta")
        .update_one(doc! { "_id": "schema" }, doc! { "$max": { "version": to } })
        .upsert(true)
        .await;
    match update {
        Ok(_) => Ok(()),
        // Another node made the document at the same moment: then it says at least this.
        Err(error) if is_duplicate(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// One step.
async fn take(db: &Database, step: i64) -> Result<()> {
    match step {
        1 => {
            // The log. `_id` is the position as well: it orders appends on any server, this finds
            // ranges of a log.
            index(db, "entries", doc! { "r": 1, "s": 1 }, Kind::Unique).await?;
            index(db, "entries", doc! { "r": 1, "u": 1, "n": 1 }, Kind::Unique).await?;
            // Only what is still to be folded, and only edits, are in these.
            index(db, "entries", doc! { "f": 1 }, Kind::Sparse).await?;
            index(db, "entries", doc! { "j": 1 }, Kind::Sparse).await?;
            index(db, "entries", doc! { "e": 1 }, Kind::Sparse).await?;
            index(db, "rooms", doc! { "key": 1 }, Kind::Unique).await?;
            index(db, "rooms", doc! { "kind": 1, "members": 1 }, Kind::Plain).await?;
            index(db, "people", doc! { "r": 1 }, Kind::Plain).await?;
            index(db, "people", doc! { "u": 1 }, Kind::Plain).await?;
            index(db, "reactions", doc! { "m": 1 }, Kind::Plain).await?;
            index(db, "reactions", doc! { "r": 1 }, Kind::Plain).await?;
            index(db, "words", doc! { "r": 1, "w": 1 }, Kind::Plain).await?;
            index(db, "gone", doc! { "at": 1 }, Kind::Plain).await
        }
        2 => {
            // Rooms from before anything expired. That they begin long ago makes a sweep look.
            let rooms = db.collection::<Document>("rooms");
            rooms
                .update_many(
                    doc! { "first": { "$exists": false } },
                    doc! { "$set": { "first": 1, "expired": 0, "oldest": 0, "cut": 1 } },
                )
                .await?;
            Ok(())
        }
        unknown => Err(Fault::Other(format!("there is no step {unknown}"))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Unique,
    Sparse,
}

async fn index(db: &Database, collection: &str, keys: Document, kind: Kind) -> Result<()> {
    let options = IndexOptions::builder()
        .unique((kind == Kind::Unique).then_some(true))
        .sparse((kind == Kind::Sparse).then_some(true))
        .build();
    let model = IndexModel::builder().keys(keys).options(options).build();
    db.collection::<Document>(collection)
        .create_index(model)
        .await?;
    Ok(())
}
