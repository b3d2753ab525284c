//! History in SQLite: the backend of a node that stands alone.
//!
//! ```text
//! append, mark_read, remove ─→ bounded queue ─→ writer thread ─→ one transaction, one fsync ─→ answers
//! room, log, page, …        ─→ bounded queue ─→ reader threads ─→ answers
//! ```
//!
//! The log is the table `entry`. What is derived from it (what messages became, reactions,
//! mentions, members, bans, the index of words) is folded in the entry's own transaction, so it
//! is never behind. A thread beside the writer folds the write-ahead log into the file
//! ([`checkpoint`]). WAL with `synchronous = FULL`: an acknowledged entry survives power loss.

mod append;
mod checkpoint;
mod columns;
mod expiry;
mod fold;
mod gauges;
mod health;
mod marker;
mod messages;
mod missed;
mod purge;
mod queue;
mod reader;
mod rooms;
mod schema;
mod search;
mod seen;
mod settings;
mod unreadable;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{Entry, Message, RoomKind, RoomView},
    settings::ByteSize,
};
use tokio::sync::oneshot;

use self::{
    append::Encoded,
    checkpoint::Folder,
    gauges::Gauges,
    health::Health,
    queue::{Bounds, Queue, Refused},
    reader::{Pool, Readers},
    schema::Place,
    search::Query,
    writer::{Job, Writer},
};
use super::{
    AppendError, Cursor, Expired, Found, History, HistoryError, Missed, NewEntry, Outcome, Overdue,
    Page, RoomRecord, Search,
};
use crate::overload::Overload;

pub use self::{gauges::METRICS, schema::OpenError, settings::SqliteSettings};

/// History in one SQLite file.
pub struct SqliteHistory {
    writes: Arc<Queue<Job>>,
    readers: Readers,
    searchers: Readers,
    gauges: Gauges,
    health: Arc<Health>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteHistory {
    /// Opens the file, and makes it when it is not there. Waits on I/O.
    ///
    /// Metrics go to the recorder that is installed by now.
    pub fn open(path: &Path, settings: &SqliteSettings) -> Result<Self, OpenError> {
        let place = Place {
            path: path.to_owned(),
            max_bytes: settings.history_max_bytes.map(ByteSize::as_u64),
        };
        let mut conn = place.writer().map_err(|source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        })?;
        place.migrate(&mut conn)?;

        let gauges = Gauges::new();
        let bounds = Bounds {
            items: settings.history_queue,
            weight: settings.history_queue_bytes.as_usize(),
        };
        let writes = Arc::new(Queue::new(bounds, gauges.write_queue.clone()));
        let health = Arc::new(Health::new(path, gauges.writable.clone()));
        let (folder, folding) = Folder::start(place.clone())?;
        let writer = Writer::new(
            Arc::clone(&writes),
            place.clone(),
            conn,
            folder,
            Arc::clone(&health),
            settings.history_batch,
            gauges.clone(),
        );
        let pool = Pool {
            name: "history-read",
            threads: settings.history_readers,
            waiting: settings.history_read_queue,
            together: 8,
            depth: gauges.read_queue.clone(),
        };
        let (readers, mut threads) = Readers::start(&place, pool, &gauges)?;
        let pool = Pool {
            name: "history-search",
            threads: 1,
            waiting: search::MAX_WAITING,
            together: 1,
            depth: gauges.search_queue.clone(),
        };
        let (searchers, more) = Readers::start(&place, pool, &gauges)?;
        threads.extend(more);
        threads.push(folding);
        threads.push(
            thread::Builder::new()
                .name("history-write".into())
                .spawn(move || writer.run())?,
        );
        Ok(Self {
            writes,
            readers,
            searchers,
            gauges,
            health,
            threads: Mutex::new(threads),
        })
    }

    /// A history that lives as long as the handle, for tests of what stands on it: nothing touches
    /// the disk, and nothing survives.
    pub fn in_memory() -> Result<Self, OpenError> {
        let name = format!("file:/history-{}?vfs=memdb", ulid::Ulid::new());
        Self::open(Path::new(&name), &SqliteSettings::default())
    }

    /// From now on tells the overload ladder how full the queue of the writer is.
    pub fn report_to(&self, overload: &Overload) {
        self.writes.report_to(overload.clone());
    }

    /// Commits what waits, folds the write-ahead log into the file and ends the threads. Waits on
    /// I/O. What is asked afterwards is `Unavailable`. Dropping does the same.
    pub fn close(&self) {
        self.writes.close();
        self.readers.close();
        self.searchers.close();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    fn push(&self, weight: usize, job: Job) -> Result<(), Refused> {
        self.writes.push(weight, job).inspect_err(|refused| {
            if *refused == Refused::Full {
                self.gauges.writes_refused.increment(1);
            }
        })
    }

    async fn write<T>(
        &self,
        job: Job,
        answer: oneshot::Receiver<Result<T, HistoryError>>,
    ) -> Result<T, HistoryError> {
        self.push(256, job).map_err(|refused| {
            HistoryError::Unavailable(
                match refused {
                    Refused::Full => "too much waits to be written",
                    Refused::Closed => CLOSED,
                }
                .into(),
            )
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(HistoryError::Unavailable(FAILED.into())))
    }
}

impl Drop for SqliteHistory {
    fn drop(&mut self) {
        self.close();
    }
}

const CLOSED: &str = "history is closed";
const FAILED: &str = "the writer failed";

#[async_trait]
impl History for SqliteHistory {
    async fn append(
        &self,
        room: &RoomId,
        expected_head: Seq,
        entries: Vec<NewEntry>,
    ) -> Result<Vec<Outcome>, AppendError> {
        let entries = entries
            .into_iter()
            .map(Encoded::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AppendError::Unavailable(error.to_string()))?;
        let weight = 256 + entries.iter().map(Encoded::weight).sum::<usize>();
        let (reply, answer) = oneshot::channel();
        let job = Job::Append {
            room: room.clone(),
            expected: expected_head,
            entries,
            reply,
        };
        self.push(weight, job).map_err(|refused| match refused {
            Refused::Full => AppendError::Busy,
            Refused::Closed => AppendError::Unavailable(CLOSED.into()),
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(AppendError::Unavailable(FAILED.into())))
    }

    async fn room(&self, room: &RoomId) -> Result<Option<RoomRecord>, HistoryError> {
        let room = room.clone();
        self.readers
            .ask(move |conn| rooms::record(conn, &room))
            .await
    }

    async fn log(&self, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>, HistoryError> {
        let room = room.clone();
        self.readers
            .ask(move |conn| rooms::log(conn, &room, after, limit))
            .await
    }

    async fn page(&self, room: &RoomId, at: Cursor, limit: u32) -> Result<Page, HistoryError> {
        let room = room.clone();
        self.readers
            .ask(move |conn| messages::page(conn, room.as_str(), at, limit))
            .await?
    }

    async fn messages(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<Message>, HistoryError> {
        let (room, seqs) = (room.clone(), seqs.to_vec());
        self.readers
            .ask(move |conn| {
                let Some(key) = rooms::key(conn, &room)? else {
                    return Ok(Vec::new());
                };
                seqs.into_iter()
                    .filter_map(|seq| messages::one(conn, key, seq).transpose())
                    .collect()
            })
            .await
    }

    async fn sent(
        &self,
        room: &RoomId,
        user: &UserId,
        nonce: &Nonce,
    ) -> Result<Option<Outcome>, HistoryError> {
        let (room, user, nonce) = (room.clone(), user.clone(), nonce.clone());
        self.readers
            .ask(move |conn| match rooms::key(conn, &room)? {
                Some(key) => append::sent(conn, key, &user, &nonce),
                None => Ok(None),
            })
            .await
    }

    async fn reacted(
        &self,
        room: &RoomId,
        seq: Seq,
        user: &UserId,
        emoji: &str,
    ) -> Result<bool, HistoryError> {
        let (room, user, emoji) = (room.clone(), user.clone(), emoji.to_owned());
        self.readers
            .ask(move |conn| match rooms::key(conn, &room)? {
                Some(key) => messages::reacted(conn, key, seq, &user, &emoji),
                None => Ok(false),
            })
            .await
    }

    async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, HistoryError> {
        let user = user.clone();
        self.readers
            .ask(move |conn| rooms::memberships(conn, &user))
            .await
    }

    async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, HistoryError> {
        let (user, only) = (user.clone(), only.cloned());
        self.readers
            .ask(move |conn| rooms::views(conn, &user, only.as_ref()))
            .await
    }

    async fn deserted_lobbies(&self, limit: u32) -> Result<Vec<RoomId>, HistoryError> {
        self.readers
            .ask(move |conn| rooms::deserted_lobbies(conn, limit))
            .await
    }

    async fn mark_read(&self, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq, HistoryError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::MarkRead {
            room: room.clone(),
            user: user.clone(),
            seq,
            reply,
        };
        self.write(job, answer).await
    }

    async fn search(&self, query: &Search) -> Result<Found, HistoryError> {
        let query = Query::parse(query.clone())?;
        let found = self.searchers.ask(move |conn| query.run(conn)).await?;
        found.ok_or_else(|| {
            let reason = "the search takes too long; ask for rarer or longer words, or in one room";
            HistoryError::Unavailable(reason.into())
        })
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, HistoryError> {
        let rooms = rooms.to_vec();
        self.readers
            .ask(move |conn| missed::heads(conn, rooms))
            .await
    }

    async fn since(&self, users: &[UserId], since: Timestamp) -> Result<Missed, HistoryError> {
        let users = users.to_vec();
        self.readers
            .ask(move |conn| missed::since(conn, &users, since))
            .await
    }

    async fn remove(&self, room: &RoomId, at: Seq) -> Result<bool, HistoryError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Remove {
            room: room.clone(),
            at,
            reply,
        };
        self.write(job, answer).await
    }

    async fn first(&self, room: &RoomId) -> Result<Seq, HistoryError> {
        let room = room.clone();
        let first = self.readers.ask(move |conn| expiry::first(conn, &room));
        Ok(first.await?.unwrap_or(Seq::ZERO))
    }

    async fn overdue(
        &self,
        kind: RoomKind,
        before: Timestamp,
        from: Option<String>,
    ) -> Result<Overdue, HistoryError> {
        let Some(after) = expiry::cursor(from.as_deref()) else {
            return Err(HistoryError::Invalid(
                "the cursor is not one of ours".into(),
            ));
        };
        self.readers
            .ask(move |conn| expiry::overdue(conn, kind, before, after))
            .await
    }

    async fn expire(&self, room: &RoomId, before: Timestamp) -> Result<Expired, HistoryError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Expire {
            room: room.clone(),
            before,
            reply,
        };
        self.write(job, answer).await
    }

    async fn ping(&self) -> Result<(), HistoryError> {
        if self.writes.is_closed() {
            return Err(HistoryError::Unavailable(CLOSED.into()));
        }
        self.health.look();
        if let Some(complaint) = self.health.complaint() {
            return Err(HistoryError::Unavailable(complaint));
        }
        self.readers
            .ask(|conn| conn.query_row("SELECT 1", [], |_| Ok(())))
            .await
    }
}
