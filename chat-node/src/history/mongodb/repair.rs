//! Folding entries into what is derived from them, by whoever comes first: the node that appended
//! them, right afterwards, or whoever reads and finds that it has not been done.
//!
//! An entry that changes more than the number of messages carries a mark (`f`) from the insert on
//! until it has been folded; an index over the marks alone says in no time whether a room has any.
//! The documents that the marked entries touch are read, folded in memory ([`super::fold`]), and
//! written back where nobody was faster (`at` is still what was read), or else all is done again. The
//! marks go last, so a crash anywhere leaves them, and folding again changes nothing twice.

use std::{sync::Arc, time::Duration};

use mongodb::bson::{Bson, Document, doc, serialize_to_bson};
use shared::id::Timestamp;

use super::{
    documents::{EntryDoc, Key, RoomDoc, position, seq},
    fold::{Change, Derived, Needs, Tracked},
    search,
    store::{Fault, Result, Store, all, among, number},
};

/// How often a fold is begun anew because another node was faster.
const TRIES: u32 = 50;

/// Folds what a room has marked, without anybody waiting for it. When too many are under way it is
/// left to whoever reads.
pub(super) fn soon(store: &Arc<Store>, key: Key) {
    let Ok(permit) = Arc::clone(&store.folds).try_acquire_owned() else {
        return;
    };
    let store = Arc::clone(store);
    tokio::spawn(async move {
        if let Err(error) = store.fold(key).await {
            tracing::debug!(%error, "a fold is left to whoever reads");
        }
        drop(permit);
    });
}

impl Store {
    /// Folds what a room has marked. What is derived is to be read afterwards: nothing marked may
    /// mean that somebody has folded it since it was read.
    pub(super) async fn caught_up(&self, key: Key) -> Result<()> {
        if self.entries.find_one(doc! { "f": key }).await?.is_some() {
            self.fold(key).await?;
        }
        Ok(())
    }

    /// Folds what these rooms have marked; see [`Self::caught_up`].
    pub(super) async fn all_caught_up(&self, keys: &[Key]) -> Result<()> {
        let mut marked: Vec<Key> = among(&self.entries, "f", keys.to_vec())
            .await?
            .into_iter()
            .map(|entry| entry.room)
            .collect();
        marked.sort_unstable();
        marked.dedup();
        for key in marked {
            self.fold(key).await?;
        }
        Ok(())
    }

    pub(super) async fn fold(&self, key: Key) -> Result<()> {
        let _apart = self.stripe(key).lock().await;
        let mut marked = all(&self.entries, doc! { "f": key }).await?;
        if marked.is_empty() {
            return Ok(());
        }
        // No such room: it was removed, or is just being made.
        let Some(room) = self.rooms.find_one(doc! { "key": key }).await? else {
            return Ok(());
        };
        marked.sort_unstable_by_key(|entry| entry.seq);
        let changes = marked
            .iter()
            .map(|entry| {
                Ok(Change {
                    seq: entry.at(),
                    user: entry.author()?,
                    ts: Timestamp::from_millis(entry.ts),
                    body: entry.body(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        self.gauges.folds.increment(1);
        self.settle(room, &changes, true).await?;
        let ids: Vec<String> = marked.into_iter().map(|entry| entry.id).collect();
        let unmark = doc! {
            "q": { "_id": { "$in": ids } },
            "u": { "$unset": { "f": "", "j": "" } },
            "multi": true,
        };
        self.update("entries", vec![unmark]).await.map(drop)
    }

    /// Folds entries until all they touch says so; answers how the room stands then.
    pub(super) async fn settle(
        &self,
        mut room: RoomDoc,
        changes: &[Change],
        born: bool,
    ) -> Result<RoomDoc> {
        let needs = Needs::of(changes);
        let positions: Vec<String> = needs
            .messages
            .iter()
            .map(|target| position(room.key, seq(*target)))
            .collect();
        let people: Vec<String> = needs
            .people
            .iter()
            .map(|user| super::documents::person_id(room.key, user))
            .collect();
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.gauges.fold_races.increment(1);
                let pause = rand::random_range(1..=4 * u64::from(attempt.min(10)));
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if born {
                    match self.rooms.find_one(doc! { "key": room.key }).await? {
                        Some(again) => room = again,
                        None => return Ok(room),
                    }
                }
            }
            let (people, messages, reactions) = futures_util::try_join!(
                among(&self.people, "_id", people.clone()),
                among(&self.entries, "_id", positions.clone()),
                among(&self.reactions, "m", positions.clone()),
            )?;
            let mut derived = Derived::new(&room, people, messages, reactions);
            for change in changes {
                derived.apply(change);
            }
            let last = changes
                .last()
                .map_or(0, |change| super::documents::seq_value(change.seq));
            if self.write(&mut derived, last, born).await? {
                return Ok(derived.room.doc);
            }
        }
        Err(Fault::Other("others fold the same room without end".into()))
    }

    /// Writes what changed; false when somebody else has written some of it meanwhile.
    async fn write(&self, derived: &mut Derived, last: i64, born: bool) -> Result<bool> {
        let messages = derived.messages.values().filter(|m| m.dirty);
        let people = derived.people.values().filter(|p| p.dirty);
        let reactions = derived.reactions.values().filter(|r| r.dirty);
        let (messages, people, reactions) = (
            messages.map(message_update).collect::<Vec<_>>(),
            people.map(person_update).collect::<Result<Vec<_>>>()?,
            reactions.map(reaction_update).collect::<Result<Vec<_>>>()?,
        );
        if !(self.written("reactions", reactions).await?
            && self.written("entries", messages).await?
            && self.written("people", people).await?)
        {
            return Ok(false);
        }
        self.blank_edits(derived).await?;
        search::reword(self, derived).await?;
        if derived.moved {
            derived.room.doc.members = self.count_members(derived.room.doc.key).await?;
            derived.room.dirty = true;
        }
        if !born || !derived.room.dirty || derived.room.doc.at > last {
            return Ok(true);
        }
        let room = &mut derived.room;
        room.doc.at = last;
        let doc = &room.doc;
        let update = doc! {
            "q": { "_id": &doc.id, "key": doc.key, "at": room.was },
            "u": { "$set": {
                "name": doc.name.as_deref(),
                "topic": doc.topic.as_deref(),
                "slow": doc.slow,
                "members": doc.members,
                "at": doc.at,
            } },
        };
        self.written("rooms", vec![update]).await
    }

    /// Whether each of them found what it was read from.
    async fn written(&self, collection: &str, updates: Vec<Document>) -> Result<bool> {
        let count = i64::try_from(updates.len()).unwrap_or(i64::MAX);
        let updated = self.update(collection, updates).await?;
        Ok(updated.duplicates == 0 && updated.matched == count)
    }

    /// Takes the words of edits of deleted messages out of the log.
    async fn blank_edits(&self, derived: &Derived) -> Result<()> {
        let key = derived.room.doc.key;
        let targets: Vec<String> = derived
            .deleted
            .keys()
            .map(|target| position(key, seq(*target)))
            .collect();
        let by_position: std::collections::HashMap<String, i64> = derived
            .deleted
            .iter()
            .map(|(target, by)| (position(key, seq(*target)), *by))
            .collect();
        let edits = among(&self.entries, "e", targets.clone()).await?;
        let updates = edits
            .iter()
            .filter(|edit| {
                let by = edit
                    .edits
                    .as_ref()
                    .and_then(|target| by_position.get(target));
                by.is_some_and(|by| edit.seq < *by)
            })
            .filter_map(|edit| {
                let body = super::fold::blank(&edit.body)?;
                Some(doc! { "q": { "_id": &edit.id }, "u": { "$set": { "b": body } } })
            })
            .collect();
        self.update("entries", updates).await?;
        if !targets.is_empty() {
            let gone = doc! { "m": { "$in": targets } };
            self.reactions.delete_many(gone).await?;
        }
        Ok(())
    }

    async fn count_members(&self, key: Key) -> Result<i64> {
        use futures_util::TryStreamExt as _;
        let counted: Vec<Document> = self
            .people
            .aggregate(vec![
                doc! { "$match": { "r": key, "here": true } },
                doc! { "$group": { "_id": Bson::Null, "n": { "$sum": 1 } } },
            ])
            .await?
            .try_collect()
            .await?;
        Ok(counted.first().map_or(0, |counted| number(counted, "n")))
    }
}

fn was(at: Option<i64>) -> Bson {
    at.map_or_else(|| Bson::Document(doc! { "$exists": false }), Bson::Int64)
}

fn message_update(message: &Tracked<EntryDoc>) -> Document {
    let doc = &message.doc;
    let mut set = doc! { "b": &doc.body };
    let mut unset = Document::new();
    let mut put = |name: &str, value: Option<Bson>| match value {
        Some(value) => drop(set.insert(name, value)),
        None => drop(unset.insert(name, "")),
    };
    put("at", doc.at.map(Bson::Int64));
    put("d", doc.deleted.map(Bson::Int64));
    put("et", doc.edited.map(Bson::Int64));
    put("eb", doc.edit.clone().map(Bson::String));
    put("x", doc.reacted.then_some(Bson::Boolean(true)));
    let mentions: Vec<Bson> = doc.mentions.iter().cloned().map(Bson::String).collect();
    put("m", (!mentions.is_empty()).then_some(Bson::Array(mentions)));
    let mut change = doc! { "$set": set };
    if !unset.is_empty() {
        change.insert("$unset", unset);
    }
    doc! { "q": { "_id": &doc.id, "at": was(message.was) }, "u": change }
}

fn person_update(person: &Tracked<super::documents::PersonDoc>) -> Result<Document> {
    let doc = &person.doc;
    let mut set = fields(doc)?;
    // Markers move without folds, and only forward.
    set.remove("read");
    Ok(doc! {
        "q": { "_id": &doc.id, "at": was(person.was) },
        "u": { "$set": set, "$max": { "read": doc.read } },
        "upsert": person.was.is_none(),
    })
}

fn reaction_update(reaction: &Tracked<super::documents::ReactionDoc>) -> Result<Document> {
    let doc = &reaction.doc;
    Ok(doc! {
        "q": { "_id": &doc.id, "at": was(reaction.was) },
        "u": { "$set": fields(doc)? },
        "upsert": reaction.was.is_none(),
    })
}

/// A document but for its name.
fn fields(doc: &impl serde::Serialize) -> Result<Document> {
    match serialize_to_bson(doc).map_err(mongodb::error::Error::from)? {
        Bson::Document(mut fields) => {
            fields.remove("_id");
            Ok(fields)
        }
        other => Err(Fault::Other(format!("not a document: {other}"))),
    }
}
