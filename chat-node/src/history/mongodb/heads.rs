//! Where logs end.
//!
//! The head in a room's document is a hint: the log ends there or further on, never before. It is
//! written a moment after the entries, so that a room in which much is said costs no second write a
//! message; the entries themselves say where the log ends, found from the hint on.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::doc;
use parking_lot::Mutex;
use shared::id::{RoomId, Seq};

use super::{
    documents::{EntryDoc, Key, RoomDoc, position, seq, seq_value},
    store::{Result, Store, among},
};

/// How long what is known of a log's end is built upon without asking. A removed room's last entry
/// is kept for much longer ([`super::purge`]), so nothing can be appended to a room behind its end.
const FRESH: Duration = Duration::from_mins(1);
/// Rooms whose ends are known. When there are more, everything is forgotten and asked again.
const KNOWN: usize = 100_000;
/// How far behind a hint the end of a log is looked for together with others'.
const AHEAD: i64 = 2;
/// Logs that are looked at together.
const TOGETHER: usize = 16;

/// The end of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) head: Seq,
    /// How many messages there are up to there.
    pub(super) messages: i64,
    /// The newest of them; 0 when there is none.
    pub(super) last: i64,
}

impl Place {
    pub(super) fn of(entry: &EntryDoc) -> Self {
        Self {
            key: entry.room,
            head: entry.at(),
            messages: entry.place,
            last: entry.last,
        }
    }
}

/// What this node knows of the ends of logs.
#[derive(Default)]
pub(super) struct Heads {
    known: DashMap<RoomId, (Place, Instant)>,
    /// Hints that are to be written.
    due: Mutex<HashMap<RoomId, (Key, Seq)>>,
}

impl Heads {
    /// The end of a log as it was a short while ago.
    pub(super) fn fresh(&self, room: &RoomId) -> Option<Place> {
        let known = self.known.get(room)?;
        (known.1.elapsed() < FRESH).then_some(known.0)
    }

    /// A log ends there or further on.
    pub(super) fn learn(&self, room: &RoomId, place: Place) {
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        let mut known = self
            .known
            .entry(room.clone())
            .or_insert((place, Instant::now()));
        // Answers overtake each other.
        if known.0.key != place.key || known.0.head <= place.head {
            *known = (place, Instant::now());
        }
    }

    pub(super) fn forget(&self, room: &RoomId) {
        self.known.remove(room);
    }

    /// The hint of a room is behind.
    pub(super) fn moved(&self, room: &RoomId, key: Key, head: Seq) {
        self.due.lock().insert(room.clone(), (key, head));
    }

    /// Where the log of that room ends, or before.
    pub(super) fn hint(&self, room: &RoomDoc) -> i64 {
        let known = self.known.get(room.id.as_str());
        let known = known.filter(|known| known.0.key == room.key);
        known.map_or(room.head, |known| room.head.max(seq_value(known.0.head)))
    }
}

impl Store {
    pub(super) async fn room_doc(&self, room: &RoomId) -> Result<Option<RoomDoc>> {
        Ok(self.rooms.find_one(doc! { "_id": room.as_str() }).await?)
    }

    /// A room and the newest entry of its log; `None` when there is no such room.
    pub(super) async fn room_and_head(&self, room: &RoomId) -> Result<Option<(RoomDoc, EntryDoc)>> {
        let Some(doc) = self.room_doc(room).await? else {
            self.heads.forget(room);
            return Ok(None);
        };
        let head = self.head(room, &doc).await?;
        Ok(head.map(|head| (doc, head)))
    }

    /// The newest entry of a log; `None` when the room is being removed.
    pub(super) async fn head(&self, room: &RoomId, doc: &RoomDoc) -> Result<Option<EntryDoc>> {
        let mut found = self.newest(doc.key, self.heads.hint(doc)).await?;
        if found.is_none() {
            found = self.newest(doc.key, 0).await?;
        }
        match found {
            Some(head) if !head.end => {
                self.heads.learn(room, Place::of(&head));
                Ok(Some(head))
            }
            ended => {
                self.heads.forget(room);
                if ended.is_some() {
                    // Whoever removed it may have crashed.
                    self.conceal(doc).await?;
                }
                Ok(None)
            }
        }
    }

    /// The newest entry from a position on.
    async fn newest(&self, key: Key, from: i64) -> Result<Option<EntryDoc>> {
        // Bounded on both sides: not every server uses an index otherwise.
        let newest = self
            .entries
            .find_one(doc! { "r": key, "s": { "$gte": from, "$lte": i64::MAX } })
            .sort(doc! { "s": -1 });
        Ok(newest.await?)
    }

    /// Learns that logs go on at least to these positions, as far as there is an entry that is not the end of a
    /// room which was removed.
    pub(super) async fn follow(&self, told: Vec<(RoomId, String)>) -> Result<()> {
        let ids = told.iter().map(|(_, position)| position.as_str()).collect();
        let found = among(&self.entries, "_id", ids).await?;
        let mut found: HashMap<&str, &EntryDoc> = found
            .iter()
            .map(|entry| (entry.id.as_str(), entry))
            .collect();
        for (room, position) in &told {
            if let Some(entry) = found.remove(position.as_str()).filter(|entry| !entry.end) {
                self.heads.learn(room, Place::of(entry));
            }
        }
        Ok(())
    }

    /// The newest entries of many logs. One question finds those whose hints are right, or nearly so, which are
    /// nearly all of those in which little happens.
    pub(super) async fn heads_of(
        &self,
        rooms: Vec<(RoomId, RoomDoc)>,
    ) -> Result<Vec<(RoomId, RoomDoc, EntryDoc)>> {
        // As they are now: what is learned meanwhile was not asked for.
        let rooms = rooms.into_iter().map(|(room, doc)| {
            let hint = self.heads.hint(&doc);
            (room, doc, hint)
        });
        let rooms: Vec<_> = rooms.collect();
        let asked = rooms
            .iter()
            .flat_map(|(_, doc, hint)| (*hint..=hint + AHEAD).map(|at| position(doc.key, seq(at))));
        let found = among(&self.entries, "_id", asked.collect()).await?;
        let mut found: HashMap<(Key, i64), EntryDoc> = found
            .into_iter()
            .map(|entry| ((entry.room, entry.seq), entry))
            .collect();
        stream::iter(rooms)
            .map(|(room, doc, hint)| {
                let standing = (hint..=hint + AHEAD)
                    .map_while(|at| found.remove(&(doc.key, at)))
                    .last();
                async move {
                    let head = match standing {
                        // Something stands there, and nothing right after it.
                        Some(head) if head.seq < hint + AHEAD && !head.end => Some(head),
                        _ => self.head(&room, &doc).await?,
                    };
                    Ok(head.map(|head| (room, doc, head)))
                }
            })
            .buffered(TOGETHER)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await
    }

    /// Writes the hints that are behind.
    pub(super) async fn write_hints(&self) -> Result<()> {
        let due = std::mem::take(&mut *self.heads.due.lock());
        let updates = due.iter().map(|(room, (key, head))| {
            doc! {
                "q": { "_id": room.as_str(), "key": *key },
                "u": { "$max": { "head": seq_value(*head) } },
            }
        });
        self.update("rooms", updates.collect()).await.map(drop)
    }
}
