//! Removing rooms.
//!
//! A room ends with an entry that says so, at the position after its head: nothing can be appended
//! behind the back of whoever removes it, nor afterwards by a node that has not heard of it. Then
//! the room's document goes, and with it everything is out of sight. What is left is deleted later,
//! when no node builds upon what it knew of the room any more; the last entry stays longest.

use std::{sync::Arc, time::Duration};

use mongodb::bson::{doc, oid::ObjectId};
use serde::{Deserialize, Serialize};
use shared::id::{RoomId, Seq, Timestamp};

use super::{
    documents::{EntryDoc, Key, RoomDoc, position, seq_value},
    store::{Result, Store, is_duplicate},
};

/// How long what is left of a room stays: much longer than nodes build upon what they knew.
const STAYS: Duration = Duration::from_mins(10);
/// How long its last entry stays.
const LAST_STAYS: Duration = Duration::from_hours(24);
/// How often it is looked for.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// Rooms that are emptied in one go.
const TOGETHER: i64 = 100;

/// A removed room of which something is left.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GoneDoc {
    #[serde(rename = "_id")]
    key: Key,
    room: String,
    /// When it was removed.
    at: i64,
    /// Only the last entry is left.
    emptied: bool,
}

impl Store {
    /// Removes a room if its log still ends at `at`; answers whether it is gone.
    pub(super) async fn remove(&self, room: &RoomId, at: Seq) -> Result<bool> {
        let Some((doc, head)) = self.room_and_head(room).await? else {
            return Ok(true);
        };
        if head.at() != at {
            return Ok(false);
        }
        match self.entries.insert_one(end_of(&head)).await {
            Ok(_) => {}
            // Somebody said something more, or removed it too.
            Err(error) if is_duplicate(&error) => {
                return Ok(self.room_and_head(room).await?.is_none());
            }
            Err(error) => return Err(error.into()),
        }
        self.heads.forget(room);
        self.conceal(&doc).await?;
        Ok(true)
    }

    /// Takes a room that has ended out of sight. Whoever meets one that was left half-way does it.
    pub(super) async fn conceal(&self, doc: &RoomDoc) -> Result<()> {
        let gone = GoneDoc {
            key: doc.key,
            room: doc.id.clone(),
            at: Timestamp::now().as_millis(),
            emptied: false,
        };
        if let Err(error) = self.gone.insert_one(gone).await
            && !is_duplicate(&error)
        {
            return Err(error.into());
        }
        let own = doc! { "_id": &doc.id, "key": doc.key };
        self.rooms.delete_one(own).await?;
        Ok(())
    }

    /// Deletes everything of a key, but for the last entry if that `stays`.
    pub(super) async fn erase(&self, key: Key, stays: bool) -> Result<()> {
        let of_room = doc! { "r": key };
        self.people.delete_many(of_room.clone()).await?;
        self.reactions.delete_many(of_room.clone()).await?;
        self.words.delete_many(of_room).await?;
        let mut entries = doc! { "r": key, "s": { "$gte": 0, "$lte": i64::MAX } };
        if stays {
            entries.insert("end", doc! { "$exists": false });
        }
        self.entries.delete_many(entries).await?;
        Ok(())
    }

    /// Deletes what is left of rooms that were removed a while before `now`.
    pub(super) async fn purge(&self, now: Timestamp) -> Result<()> {
        use futures_util::TryStreamExt as _;
        let ago = |time: Duration| {
            let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            now.plus_millis(-millis).as_millis()
        };
        let due = doc! { "emptied": false, "at": { "$lt": ago(STAYS) } };
        let found: Vec<GoneDoc> = self
            .gone
            .find(due)
            .limit(TOGETHER)
            .await?
            .try_collect()
            .await?;
        for gone in found {
            self.erase(gone.key, true).await?;
            let emptied = doc! { "$set": { "emptied": true } };
            self.gone
                .update_one(doc! { "_id": gone.key }, emptied)
                .await?;
        }
        let due = doc! { "emptied": true, "at": { "$lt": ago(LAST_STAYS) } };
        let found: Vec<GoneDoc> = self
            .gone
            .find(due)
            .limit(TOGETHER)
            .await?
            .try_collect()
            .await?;
        for gone in found {
            self.erase(gone.key, false).await?;
            self.gone.delete_one(doc! { "_id": gone.key }).await?;
        }
        Ok(())
    }
}

/// Purges now and then, for as long as the store is open.
pub(super) async fn run(store: Arc<Store>) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = store.purge(Timestamp::now()).await {
            tracing::debug!(%error, "what is left of removed rooms is deleted later");
        }
    }
}

/// The entry after which nothing follows.
fn end_of(head: &EntryDoc) -> EntryDoc {
    let seq = head.at().next();
    EntryDoc {
        id: position(head.room, seq),
        seq: seq_value(seq),
        nonce: format!("!{seq}"),
        attempt: ObjectId::new(),
        user: String::new(),
        body: String::new(),
        message: false,
        unfolded: None,
        concerns: None,
        edits: None,
        end: true,
        mentions: Vec::new(),
        at: None,
        deleted: None,
        edited: None,
        edit: None,
        reacted: false,
        ..head.clone()
    }
}
