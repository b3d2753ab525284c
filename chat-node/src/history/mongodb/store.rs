//! The database, and how it is asked.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc},
    options::{
        Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};

use super::{
    documents::{Damaged, EntryDoc, Key, PersonDoc, ReactionDoc, RoomDoc},
    gauges::Gauges,
    heads::Heads,
    health::Health,
    purge::GoneDoc,
    search::WordsDoc,
    seen::SeenDoc,
    settings::MongoSettings,
};
use crate::history::HistoryError;

/// Folds that may be under way without anybody waiting for them. Whoever reads does what is left.
const FOLDS: usize = 64;
/// Rooms that are made at once.
const CREATIONS: usize = 32;
/// Values of one question: as names of positions they take half a MiB.
const AMONG: usize = 10_000;
/// Documents in one answer, if they are no more than 16 MiB; the driver's own 101 would make two of many.
const ANSWER: u32 = 2_000;
/// Locks that keep the folds of one room apart within this process.
const STRIPES: usize = 64;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Driver(#[from] mongodb::error::Error),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("{0}")]
    Other(String),
}

impl From<Fault> for HistoryError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(match fault {
            // The driver's own words are long, and name addresses.
            Fault::Driver(error) => short(&error),
            other => other.to_string(),
        })
    }
}

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// An error of the driver in a line.
pub(super) fn short(error: &mongodb::error::Error) -> String {
    let text = error.kind.to_string();
    let text = text.lines().next().unwrap_or_default();
    text.chars().take(200).collect()
}

/// The collections, and what all questions share.
pub(super) struct Store {
    pub(super) db: Database,
    pub(super) entries: Collection<EntryDoc>,
    pub(super) rooms: Collection<RoomDoc>,
    pub(super) people: Collection<PersonDoc>,
    pub(super) reactions: Collection<ReactionDoc>,
    pub(super) words: Collection<WordsDoc>,
    pub(super) gone: Collection<GoneDoc>,
    pub(super) seen: Collection<SeenDoc>,
    pub(super) heads: Heads,
    pub(super) health: Health,
    pub(super) gauges: Gauges,
    /// How long one attempt may take.
    pub(super) patience: Duration,
    /// Held by folds that nobody waits for.
    pub(super) folds: Arc<Semaphore>,
    /// Held while a room is made.
    pub(super) creations: Semaphore,
    /// Held while it is noted when people were last seen: a later word comes over an earlier one.
    pub(super) noting: Mutex<()>,
    stripes: Vec<Mutex<()>>,
}

impl Store {
    /// Does not connect yet.
    pub(super) async fn new(uri: &str, settings: &MongoSettings) -> Result<Self> {
        let mut options = ClientOptions::parse(uri).await?;
        options.app_name.get_or_insert_with(|| "fireside".into());
        options.server_selection_timeout = Some(settings.mongodb_connect_timeout);
        options.connect_timeout = Some(settings.mongodb_connect_timeout);
        options.max_pool_size = Some(settings.mongodb_connections);
        options.heartbeat_freq = Some(Duration::from_secs(2));
        // Not for the URI to weaken: what was acknowledged stands when any one server is lost, and
        // nothing is read that could still be rolled back.
        options.write_concern = Some(
            WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .journal(true)
                .w_timeout(settings.mongodb_timeout)
                .build(),
        );
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| settings.mongodb_database.clone());
        let db = Client::with_options(options)?.database(&name);
        Ok(Self {
            entries: db.collection("entries"),
            rooms: db.collection("rooms"),
            people: db.collection("people"),
            reactions: db.collection("reactions"),
            words: db.collection("words"),
            gone: db.collection("gone"),
            seen: db.collection("seen"),
            db,
            heads: Heads::default(),
            health: Health::default(),
            gauges: Gauges::new(),
            patience: settings.mongodb_timeout,
            folds: Arc::new(Semaphore::new(FOLDS)),
            creations: Semaphore::new(CREATIONS),
            noting: Mutex::new(()),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
        })
    }

    /// What keeps two folds of a room apart in this process: between nodes they race, harmlessly
    /// but for nothing.
    pub(super) fn stripe(&self, key: Key) -> &Mutex<()> {
        let bytes = key.bytes();
        let last = usize::from(bytes[11]);
        &self.stripes[last % STRIPES]
    }

    /// Several updates in one command, each on its own: `{q, u, upsert?}`.
    pub(super) async fn update(&self, collection: &str, updates: Vec<Document>) -> Result<Updated> {
        if updates.is_empty() {
            return Ok(Updated::default());
        }
        let reply = self
            .db
            .run_command(doc! {
                "update": collection,
                "updates": updates,
                "ordered": false,
                "writeConcern": {
                    "w": "majority",
                    "j": true,
                    "wtimeout": i64::try_from(self.patience.as_millis()).unwrap_or(i64::MAX),
                },
            })
            .await?;
        if let Ok(error) = reply.get_document("writeConcernError") {
            return Err(Fault::Other(format!("not written by a majority: {error}")));
        }
        let mut updated = Updated {
            matched: number(&reply, "n"),
            duplicates: 0,
        };
        for error in reply.get_array("writeErrors").into_iter().flatten() {
            match error.as_document().map(|error| number(error, "code")) {
                Some(DUPLICATE) => updated.duplicates += 1,
                _ => return Err(Fault::Other(format!("an update failed: {error}"))),
            }
        }
        Ok(updated)
    }
}

/// A unique index has that key already.
pub(super) const DUPLICATE: i64 = 11_000;

/// What became of several updates.
#[derive(Debug, Default)]
pub(super) struct Updated {
    /// How many found their document, or made it.
    pub(super) matched: i64,
    /// How many were to make a document that is there already.
    pub(super) duplicates: i64,
}

/// A number of whatever type.
pub(super) fn number(doc: &Document, key: &str) -> i64 {
    match doc.get(key) {
        Some(mongodb::bson::Bson::Int32(n)) => i64::from(*n),
        Some(mongodb::bson::Bson::Int64(n)) => *n,
        #[expect(clippy::cast_possible_truncation, reason = "counts are whole")]
        Some(mongodb::bson::Bson::Double(n)) => *n as i64,
        _ => 0,
    }
}

/// Whether an insert or upsert failed because the key is taken.
pub(super) fn is_duplicate(error: &mongodb::error::Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => i64::from(error.code) == DUPLICATE,
        ErrorKind::Command(error) => i64::from(error.code) == DUPLICATE,
        ErrorKind::InsertMany(error) => {
            error.write_concern_error.is_none()
                && error.write_errors.as_ref().is_some_and(|errors| {
                    errors
                        .iter()
                        .all(|error| i64::from(error.code) == DUPLICATE)
                })
        }
        _ => false,
    }
}

/// All that a question finds.
pub(super) async fn all<T>(collection: &Collection<T>, filter: Document) -> Result<Vec<T>>
where
    T: DeserializeOwned + Send + Sync + Unpin,
{
    let found = collection.find(filter).batch_size(ANSWER);
    Ok(found.await?.try_collect().await?)
}

/// All whose field is one of `values`; asks nothing when there are none.
pub(super) async fn among<T, V>(
    collection: &Collection<T>,
    field: &str,
    values: Vec<V>,
) -> Result<Vec<T>>
where
    T: DeserializeOwned + Send + Sync + Unpin,
    V: Into<mongodb::bson::Bson>,
{
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<mongodb::bson::Bson> = values.into_iter().map(Into::into).collect();
    let mut found = Vec::new();
    for some in values.chunks(AMONG) {
        found.extend(all(collection, doc! { field: { "$in": some } }).await?);
    }
    Ok(found)
}
