//! History in MongoDB: the backend of nodes that are many.
//!
//! ```text
//! append            ─→ bounded queue ─→ a writer for the room ─→ one ordered insert ─→ answers, folds
//! room, log, page … ─→ bounded number of questions            ─→ answers
//! memberships, views ─→ rounds: everybody who starts is asked for together ─→ answers
//! ```
//!
//! # The log
//! A document an entry, in `entries`. Its `_id` is its position (the room's key and the seq), so
//! that of all who append at one head one wins, whatever nodes they are on: the index is the
//! sequencer. Written with a majority and its journals, read from what a majority has.
//!
//! **Neither lost, doubled nor out of order.** An insert of a batch is *ordered*: the server takes one
//! document after the other and stops at the first whose position or nonce is taken. So
//! 1. an entry at seq n is sent only right behind the one at n-1 in the same insert, or after a
//!    majority is known to have the one at n-1. There is never a hole, whatever is cut off and
//!    whenever it arrives: what comes late begins with a position that is taken by then, and stops
//!    there.
//! 2. Each entry carries the name of its attempt (`a`), made once. When an insert fails and nobody
//!    knows how far it came, its positions are read again: those with our names stand, the first
//!    without one is where to go on. Names are what keeps entries that have no nonce from being
//!    doubled; the positions of what is sent again do not change, so an insert that was thought dead
//!    and still arrives writes the same documents at the same places, or nothing.
//! 3. A refused document's position is taken (somebody was faster: a conflict, or, if part of the
//!    append stands already, `Unavailable`: others may have built on that part) or its nonce is known
//!    (a duplicate: it is left out, the rest close ranks and are sent again).
//! 4. Nothing is answered before it stands. If time runs out the answer is `Unavailable`: a prefix may
//!    stand, or come to; whoever retries finds messages by their nonces, and the room's actor reads
//!    what stands before it appends again.
//!
//! A batch mixes rooms; a refusal ends the part of that room only. Who was faster there writes in batches too, so one
//! question finds in which of the other rooms it was, and the rest is sent again: the inserts do not grow with the places that are lost.
//!
//! # What is derived
//! Rooms, people (`people`: members, bans, markers), how messages now read (in the message's own
//! document) and reactions are folded from the log right after an insert, by whoever appended, or
//! by whoever reads first ([`repair`]). A plain message folds into nothing: it stands as it reads, and
//! carries how many messages came before it. Search has an index of words that follows at leisure
//! ([`search`]). Nothing uses transactions: one that a killed node leaves open would block its
//! rooms for a minute.
//!
//! # Rooms
//! A room has a key of its own besides its id. It is made by one document that shows entries
//! written before ([`create`]) and ends with an entry that says so ([`purge`]), so what is made
//! anew under an old id has nothing of the old room.

mod append;
mod asking;
mod create;
mod documents;
mod expiry;
mod fold;
mod gaps;
mod gauges;
mod heads;
mod health;
mod line;
mod messages;
mod missed;
mod purge;
mod queue;
mod repair;
mod rooms;
mod schema;
mod search;
mod seen;
mod settings;
mod store;
mod unread;
mod views;
mod words;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use mongodb::bson::doc;
use parking_lot::Mutex;
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{Entry, Message, RoomKind, RoomView},
};
use tokio::{
    runtime::{Builder, Handle},
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::timeout,
};

use self::{
    gaps::{Filled, Gap},
    line::Fresh,
    queue::Waiting,
    search::Query,
    store::Store,
    writer::Append,
};
use super::{
    AppendError, Cursor, Expired, Found, History, HistoryError, Missed, NewEntry, Outcome, Overdue,
    Page, RoomRecord, Search,
};
use crate::{overload::Overload, rounds::Rounds};

pub use self::{gauges::METRICS, schema::OpenError, settings::MongoSettings};

/// Questions that are asked of the server at once; others wait.
const TOGETHER: usize = 128;
/// What an answer may take beyond what the server may take: to notice, and to look up what stands.
const GRACE: Duration = Duration::from_millis(1_500);
/// How often the heads of rooms are noted in their documents.
const HINTS_EVERY: Duration = Duration::from_millis(500);

/// What many ask of themselves at the same time.
type Together<T> = Rounds<UserId, Result<T, HistoryError>>;

/// History in a MongoDB that other nodes use too.
pub struct MongoHistory {
    store: Arc<Store>,
    runtime: Handle,
    writers: Mutex<Vec<mpsc::Sender<Append>>>,
    hasher: RandomState,
    writes: Arc<Waiting>,
    reads: Arc<Waiting>,
    memberships: Together<Vec<RoomId>>,
    views: Together<Vec<RoomView>>,
    gaps: Rounds<Gap, Filled>,
    records: Rounds<RoomId, Result<rooms::Together, HistoryError>>,
    turns: Arc<Semaphore>,
    stop: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl MongoHistory {
    /// Connects, and makes collections and indexes that are not there yet.
    ///
    /// Metrics go to the recorder that is installed by now.
    pub async fn open(settings: &MongoSettings) -> Result<Self, OpenError> {
        let uri = settings.mongodb_uri.clone().ok_or(OpenError::NoUri)?;
        // A runtime of its own: the driver's connections belong to whatever runtime they were made
        // on, and outlive no worker but all of them.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("history-mongodb".into())
            .spawn(move || {
                runtime.block_on(stopped.notified());
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        let (own, batch, writers) = (
            settings.clone(),
            settings.mongodb_batch,
            settings.mongodb_writers,
        );
        let opened = handle.spawn(async move {
            let store = Arc::new(Store::new(uri.expose(), &own).await?);
            // A server that takes connections and says nothing would be waited for without end.
            let there = timeout(own.mongodb_timeout, schema::version(&store.db));
            there
                .await
                .map_err(|_| OpenError::Away("it does not answer".into()))??;
            schema::migrate(&store.db).await?;
            let asked = (0..writers)
                .map(|_| {
                    let (ask, asked) = mpsc::channel(own.mongodb_queue);
                    tokio::spawn(writer::run(Arc::clone(&store), asked, batch));
                    ask
                })
                .collect::<Vec<_>>();
            tokio::spawn(purge::run(Arc::clone(&store)));
            tokio::spawn(write_hints(Arc::clone(&store)));
            Ok::<_, OpenError>((store, asked))
        });
        let opened = opened
            .await
            .unwrap_or_else(|error| Err(OpenError::Away(error.to_string())));
        let (store, asked) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                stop.notify_one();
                return Err(error);
            }
        };
        let (write_queue, read_queue) = (
            store.gauges.write_queue.clone(),
            store.gauges.read_queue.clone(),
        );
        Ok(Self {
            writes: Arc::new(Waiting::new(
                settings.mongodb_queue,
                settings.mongodb_queue_bytes.as_usize(),
                write_queue,
            )),
            reads: Arc::new(Waiting::new(
                settings.mongodb_read_queue,
                usize::MAX,
                read_queue,
            )),
            memberships: Rounds::gathering(views::ROUND, {
                let store = Arc::clone(&store);
                move |users| views::memberships(Arc::clone(&store), users)
            }),
            views: Rounds::gathering(views::ROUND, {
                let store = Arc::clone(&store);
                move |users| views::views(Arc::clone(&store), users)
            }),
            records: Rounds::gathering(rooms::ROUND, {
                let store = Arc::clone(&store);
                move |rooms| rooms::records(Arc::clone(&store), rooms)
            }),
            gaps: Rounds::gathering(gaps::ROUND, {
                let store = Arc::clone(&store);
                move |gaps| gaps::filled(Arc::clone(&store), gaps)
            }),
            store,
            runtime: handle,
            writers: Mutex::new(asked),
            hasher: RandomState::new(),
            turns: Arc::new(Semaphore::new(TOGETHER)),
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// From now on tells the overload ladder how many appends wait.
    pub fn report_to(&self, overload: &Overload) {
        self.writes.report_to(overload.clone());
    }

    /// Lets go of the store: what is under way is given a second. Waits. What is asked afterwards is
    /// `Unavailable`. Dropping does the same.
    pub fn close(&self) {
        self.writers.lock().clear();
        self.turns.close();
        self.stop.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// The writer that appends to a room.
    fn writer(&self, room: &RoomId) -> Option<mpsc::Sender<Append>> {
        let writers = self.writers.lock();
        let count = u64::try_from(writers.len()).ok().filter(|n| *n > 0)?;
        let own = self.hasher.hash_one(room) % count;
        writers.get(usize::try_from(own).ok()?).cloned()
    }
}

impl Drop for MongoHistory {
    fn drop(&mut self) {
        self.close();
    }
}

async fn write_hints(store: Arc<Store>) {
    loop {
        tokio::time::sleep(HINTS_EVERY).await;
        if let Err(error) = store.write_hints().await {
            // Whoever looks for the end of a log looks a little longer.
            tracing::debug!(%error, "the heads of rooms were not noted");
        }
    }
}

#[async_trait]
impl History for MongoHistory {
    async fn append(
        &self,
        room: &RoomId,
        expected_head: Seq,
        entries: Vec<NewEntry>,
    ) -> Result<Vec<Outcome>, AppendError> {
        let away = |reason: &str| Err(AppendError::Unavailable(reason.to_owned()));
        let entries = entries
            .into_iter()
            .map(Fresh::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AppendError::Unavailable(error.to_string()))?;
        let weight = 256 + entries.iter().map(Fresh::weight).sum::<usize>();
        let busy = || {
            self.store.gauges.writes_refused.increment(1);
            Err(AppendError::Busy)
        };
        let Some(ticket) = self.writes.enter(weight) else {
            return busy();
        };
        let Some(writer) = self.writer(room) else {
            return away("history is closed");
        };
        let (reply, answer) = oneshot::channel();
        let append = Append {
            room: room.clone(),
            expected: expected_head,
            entries,
            reply,
            ticket,
        };
        match writer.try_send(append) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return busy(),
            Err(mpsc::error::TrySendError::Closed(_)) => return away("history is closed"),
        }
        match timeout(self.store.patience + GRACE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => away("history is closed"),
            Err(_) => {
                self.store.gauges.unavailable.increment(1);
                self.store.health.fails("MongoDB does not answer");
                away("MongoDB does not answer")
            }
        }
    }

    async fn room(&self, room: &RoomId) -> Result<Option<RoomRecord>, HistoryError> {
        let room = room.clone();
        let together = self.ask_together(&self.records, room.clone()).await?;
        if let rooms::Together::Read(record) = together {
            return Ok(record);
        }
        self.ask(async move |store| store.record(&room).await).await
    }

    async fn log(&self, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>, HistoryError> {
        let room = room.clone();
        let gap = Gap {
            room: room.clone(),
            after,
            limit,
        };
        if let Some(entries) = self.ask_together(&self.gaps, gap).await? {
            return Ok(entries);
        }
        self.ask(async move |store| store.log(&room, after, limit).await)
            .await
    }

    async fn page(&self, room: &RoomId, at: Cursor, limit: u32) -> Result<Page, HistoryError> {
        let room = room.clone();
        self.ask(async move |store| store.page(&room, at, limit).await)
            .await?
            .ok_or(HistoryError::NoRoom)
    }

    async fn messages(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<Message>, HistoryError> {
        let (room, seqs) = (room.clone(), seqs.to_vec());
        self.ask(async move |store| store.by_position(&room, &seqs).await)
            .await
    }

    async fn sent(
        &self,
        room: &RoomId,
        user: &UserId,
        nonce: &Nonce,
    ) -> Result<Option<Outcome>, HistoryError> {
        let (room, user, nonce) = (room.clone(), user.clone(), nonce.clone());
        self.ask(async move |store| store.sent(&room, &user, &nonce).await)
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
        self.ask(async move |store| store.reacted(&room, seq, &user, &emoji).await)
            .await
    }

    async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, HistoryError> {
        self.ask_together(&self.memberships, user.clone()).await
    }

    async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, HistoryError> {
        let Some(only) = only.cloned() else {
            return self.ask_together(&self.views, user.clone()).await;
        };
        let users = [user.clone()];
        let found = self.ask(async move |store| store.views(&users, Some(&only)).await);
        Ok(found.await?.pop().unwrap_or_default())
    }

    async fn deserted_lobbies(&self, limit: u32) -> Result<Vec<RoomId>, HistoryError> {
        self.ask(async move |store| store.deserted_lobbies(limit).await)
            .await
    }

    async fn mark_read(&self, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq, HistoryError> {
        let (room, user) = (room.clone(), user.clone());
        self.ask(async move |store| store.mark(&room, &user, seq).await)
            .await
    }

    async fn search(&self, query: &Search) -> Result<Found, HistoryError> {
        let query = Query::parse(query.clone())?;
        let found = self.ask(async move |store| query.run(&store).await).await?;
        found.ok_or_else(|| {
            let reason = "the search takes too long; ask for rarer or longer words, or in one room";
            HistoryError::Unavailable(reason.into())
        })
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, HistoryError> {
        let rooms = rooms.to_vec();
        self.ask(async move |store| store.heads_at(&rooms).await)
            .await
    }

    async fn since(&self, users: &[UserId], since: Timestamp) -> Result<Missed, HistoryError> {
        let users = users.to_vec();
        self.ask(async move |store| store.missed(&users, since).await)
            .await
    }

    async fn remove(&self, room: &RoomId, at: Seq) -> Result<bool, HistoryError> {
        let room = room.clone();
        self.ask(async move |store| store.remove(&room, at).await)
            .await
    }

    async fn first(&self, room: &RoomId) -> Result<Seq, HistoryError> {
        let room = room.clone();
        self.ask(async move |store| store.first(&room).await).await
    }

    async fn overdue(
        &self,
        kind: RoomKind,
        before: Timestamp,
        from: Option<String>,
    ) -> Result<Overdue, HistoryError> {
        self.ask(async move |store| store.overdue(kind, before, from).await)
            .await
    }

    async fn expire(&self, room: &RoomId, before: Timestamp) -> Result<Expired, HistoryError> {
        let room = room.clone();
        self.ask(async move |store| store.expire(&room, before).await)
            .await
    }

    async fn ping(&self) -> Result<(), HistoryError> {
        self.ask(async move |store| {
            let trouble = store.health.complaint();
            if trouble.is_some() {
                // Whether it is over: something of no meaning is written.
                let probe = doc! {
                    "q": { "_id": "probe" },
                    "u": { "$set": { "at": Timestamp::now().as_millis() } },
                    "upsert": true,
                };
                store.update("meta", vec![probe]).await?;
                store.health.recovers();
                return Ok(());
            }
            store.db.run_command(doc! { "ping": 1 }).await?;
            Ok(())
        })
        .await
    }
}
