//! What is older than the operator keeps, taken off the front of a log, a little at a time.
//!
//! First the room's document says that the log begins later: from then on nobody is shown what comes
//! before. The next step deletes it, when whoever was reading has read on. A crash between the two leaves
//! a document that says so, and the next sweep does the rest. Of two nodes at the same room one moves the
//! beginning, and both may delete.

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde::Deserialize;
use shared::{
    id::{RoomId, Seq, Timestamp},
    protocol::room::RoomKind,
};

use super::{
    documents::{Key, RoomDoc, position, seq},
    rooms::room_id,
    store::{Result, Store},
};
use crate::history::{Expired, Overdue};

/// Rooms that are looked at in one go.
const PORTION: i64 = 500;
/// Entries that go at once.
const CHUNK: i64 = 500;

/// A room as far as it matters for whether something in it may go.
#[derive(Debug, Deserialize)]
struct Begins {
    #[serde(rename = "_id")]
    id: String,
    first: i64,
    cut: i64,
    head: i64,
}

/// An entry as far as it matters here.
#[derive(Debug, Deserialize)]
struct Old {
    s: i64,
    t: i64,
    p: i64,
}

impl Store {
    /// The first entry of a room that is kept; 0 when there is no such room.
    pub(super) async fn first(&self, room: &RoomId) -> Result<Seq> {
        Ok(self
            .room_doc(room)
            .await?
            .map_or(Seq::ZERO, |doc| seq(doc.first)))
    }

    /// Rooms of a kind that begin before a time, among the next ones after an id.
    pub(super) async fn overdue(
        &self,
        kind: RoomKind,
        before: Timestamp,
        after: Option<String>,
    ) -> Result<Overdue> {
        let mut due = doc! { "kind": kind_name(kind)?, "oldest": { "$lt": before.as_millis() } };
        if let Some(after) = after {
            due.insert("_id", doc! { "$gt": after });
        }
        let found: Vec<Begins> = self
            .rooms
            .clone_with_type::<Begins>()
            .find(due)
            .sort(doc! { "_id": 1 })
            .limit(PORTION)
            .projection(doc! { "first": 1, "cut": 1, "head": 1 })
            .await?
            .try_collect()
            .await?;
        let whole = found.len() < PORTION as usize;
        let next = found.last().filter(|_| !whole).map(|last| last.id.clone());
        // In a room in which nothing is said any more the head is all that is left.
        let due = found
            .iter()
            .filter(|room| room.first < room.head || room.cut < room.first);
        Ok(Overdue {
            rooms: due
                .map(|room| Ok(room_id(&room.id)?))
                .collect::<Result<_>>()?,
            next,
        })
    }

    /// Deletes what is out of sight already, and moves a little more of the log out of sight.
    pub(super) async fn expire(&self, room: &RoomId, before: Timestamp) -> Result<Expired> {
        // With everything folded that is in the log: what goes is needed for that no more.
        let Some((doc, head)) = self.current(room).await? else {
            return Ok(Expired::default());
        };
        if doc.cut < doc.first {
            self.cut(&doc).await?;
        }
        let mut old = self.oldest(&doc, head.seq).await?;
        let last = old.len().saturating_sub(1);
        let count = old
            .iter()
            .zip(doc.first..)
            .take(last)
            // A position that another node took meanwhile ends what can go now.
            .take_while(|(entry, at)| entry.s == *at && entry.t < before.as_millis())
            .count();
        let kept = old.drain(count..).next();
        let (Some(kept), Some(last)) = (kept, old.last()) else {
            return Ok(Expired::default());
        };
        let moved = self
            .rooms
            .update_one(
                doc! { "_id": room.as_str(), "key": doc.key, "first": doc.first },
                doc! { "$set": { "first": last.s + 1, "expired": last.p, "oldest": kept.t } },
            )
            .await?;
        Ok(Expired {
            entries: if moved.matched_count == 1 {
                count as u64
            } else {
                0
            },
            // What went out of sight is to be deleted.
            more: true,
        })
    }

    /// As many as may go at once, and the one after them.
    async fn oldest(&self, doc: &RoomDoc, head: i64) -> Result<Vec<Old>> {
        let upto = head.min(doc.first.saturating_add(CHUNK));
        let mut old: Vec<Old> = self
            .entries
            .clone_with_type::<Old>()
            .find(doc! { "r": doc.key, "s": { "$gte": doc.first, "$lte": upto } })
            .projection(doc! { "_id": 0, "s": 1, "t": 1, "p": 1 })
            .await?
            .try_collect()
            .await?;
        old.sort_unstable_by_key(|entry| entry.s);
        Ok(old)
    }

    /// Deletes what is out of sight.
    async fn cut(&self, doc: &RoomDoc) -> Result<()> {
        let range = doc! { "$gte": doc.cut, "$lt": doc.first };
        let entries = doc! { "r": doc.key, "s": range };
        self.entries.delete_many(entries).await?;
        let derived = between(doc.key, seq(doc.cut), seq(doc.first));
        self.reactions.delete_many(derived.clone()).await?;
        self.words.delete_many(derived).await?;
        self.rooms
            .update_one(
                doc! { "_id": &doc.id, "key": doc.key },
                doc! { "$max": { "cut": doc.first } },
            )
            .await?;
        Ok(())
    }
}

/// What belongs to the positions from one on up to another, by its name.
fn between(key: Key, from: Seq, to: Seq) -> Document {
    doc! { "_id": { "$gte": position(key, from), "$lt": position(key, to) } }
}

fn kind_name(kind: RoomKind) -> Result<mongodb::bson::Bson> {
    Ok(mongodb::bson::serialize_to_bson(&kind).map_err(mongodb::error::Error::from)?)
}
