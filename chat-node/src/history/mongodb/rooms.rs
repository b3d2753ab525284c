//! Rooms and their people.

use std::{collections::HashMap, sync::Arc};

use futures_util::TryStreamExt as _;
use mongodb::bson::doc;
use shared::{
    id::{Epoch, RoomId, Seq, Timestamp, UserId},
    protocol::room::Entry,
};

use super::{
    documents::{
        Damaged, EntryDoc, Key, PersonDoc, RoomDoc, Until, person_id, seq, seq_value, user,
    },
    heads::Place,
    store::{Fault, Result, Store, all, among},
};
use crate::history::{HistoryError, MemberRecord, RoomRecord};

/// The most rooms of a round.
pub(super) const ROUND: usize = 64;
/// The most people of a room that is read together with others.
const SMALL: i64 = 200;

/// What a round says of a room.
pub(super) enum Together {
    /// What its actor starts from; `None` when there is no such room.
    Read(Option<RoomRecord>),
    /// To be asked apart.
    Apart,
}

/// What the actors of these rooms start from.
pub(super) async fn records(
    store: Arc<Store>,
    rooms: Vec<RoomId>,
) -> Vec<Result<Together, HistoryError>> {
    match store.records(&rooms).await {
        Ok(records) => records.into_iter().map(Ok).collect(),
        Err(fault @ Fault::Driver(_)) => {
            let error = HistoryError::from(fault);
            rooms.iter().map(|_| Err(error.clone())).collect()
        }
        // What is wrong with one room is not the others' trouble.
        Err(_) => rooms.iter().map(|_| Ok(Together::Apart)).collect(),
    }
}

impl Store {
    /// A room with everything folded that is in its log up to the head that is answered, or later.
    ///
    /// The order is what makes it so: the head, then the marks (what comes before the head is
    /// marked by then, or folded), and only then the room as it is answered. What was read of the
    /// room before the marks may be older than a fold that another finished in between.
    pub(super) async fn current(&self, room: &RoomId) -> Result<Option<(RoomDoc, EntryDoc)>> {
        let Some((doc, head)) = self.room_and_head(room).await? else {
            return Ok(None);
        };
        self.caught_up(doc.key).await?;
        let again = self.room_doc(room).await?;
        Ok(again
            .filter(|again| again.key == doc.key)
            .map(|again| (again, head)))
    }

    /// What a room actor starts from.
    pub(super) async fn record(&self, room: &RoomId) -> Result<Option<RoomRecord>> {
        let Some((doc, head)) = self.current(room).await? else {
            return Ok(None);
        };
        let people = all(&self.people, doc! { "r": doc.key, "known": true }).await?;
        recorded(room, doc, &head, people).map(Some)
    }

    /// The same of several rooms, in the order that [`Self::current`] tells. A room in which many are is left out.
    pub(super) async fn records(&self, rooms: &[RoomId]) -> Result<Vec<Together>> {
        let ids: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
        let read = async || {
            let docs = among(&self.rooms, "_id", ids.clone()).await?;
            let named = docs.into_iter().map(|doc| Ok((room_id(&doc.id)?, doc)));
            named.collect::<Result<HashMap<RoomId, RoomDoc>>>()
        };
        let docs = read().await?;
        for room in rooms.iter().filter(|room| !docs.contains_key(*room)) {
            self.heads.forget(room);
        }
        let heads = self.heads_of(docs.into_iter().collect()).await?;
        let heads: HashMap<Key, EntryDoc> = heads
            .into_iter()
            .map(|(_, doc, head)| (doc.key, head))
            .collect();
        let keys: Vec<Key> = heads.keys().copied().collect();
        self.all_caught_up(&keys).await?;
        let docs = read().await?;
        let small = |doc: &&RoomDoc| doc.members <= SMALL && heads.contains_key(&doc.key);
        let keys: Vec<Key> = docs.values().filter(small).map(|doc| doc.key).collect();
        let mut people: HashMap<Key, Vec<PersonDoc>> = HashMap::new();
        if !keys.is_empty() {
            let known = doc! { "r": { "$in": keys }, "known": true };
            for person in all(&self.people, known).await? {
                people.entry(person.room).or_default().push(person);
            }
        }
        let record = |room: &RoomId| {
            let Some(doc) = docs.get(room) else {
                return Ok(Together::Read(None));
            };
            match heads.get(&doc.key) {
                None => Ok(Together::Read(None)),
                Some(_) if doc.members > SMALL => Ok(Together::Apart),
                Some(head) => {
                    let people = people.get(&doc.key).cloned().unwrap_or_default();
                    let record = recorded(room, doc.clone(), head, people)?;
                    Ok(Together::Read(Some(record)))
                }
            }
        };
        rooms.iter().map(record).collect()
    }

    /// Entries after a position.
    pub(super) async fn log(&self, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>> {
        let Some(mut doc) = self.room_doc(room).await? else {
            return Ok(Vec::new());
        };
        // What was deleted has lost its words.
        self.caught_up(doc.key).await?;
        let entries = loop {
            let from = seq_value(after.next()).max(doc.first);
            let range = doc! { "$gte": from, "$lt": from.saturating_add(i64::from(limit)) };
            let mut entries = all(&self.entries, doc! { "r": doc.key, "s": range }).await?;
            entries.sort_unstable_by_key(|entry| entry.seq);
            let whole = entries
                .iter()
                .zip(from..)
                .all(|(entry, at)| entry.seq == at);
            if whole && !entries.is_empty() {
                break entries;
            }
            // Some of it may have been deleted while it was read: then the log begins later by now.
            match self.room_doc(room).await? {
                Some(again) if again.key == doc.key && again.first > doc.first => doc = again,
                _ => break entries,
            }
        };
        if let Some(last) = entries.last().filter(|last| !last.end) {
            // Whoever lost a place to these goes on after them.
            self.heads.learn(room, Place::of(last));
        }
        let standing = entries.iter().take_while(|entry| !entry.end);
        standing
            .map(|entry| {
                Ok(Entry {
                    seq: entry.at(),
                    user: entry.author()?,
                    ts: Timestamp::from_millis(entry.ts),
                    body: entry.body(),
                })
            })
            .collect()
    }

    /// The rooms that people are in. Rooms that are gone are left out.
    pub(super) async fn with_rooms(
        &self,
        people: Vec<PersonDoc>,
    ) -> Result<Vec<(RoomId, PersonDoc, RoomDoc)>> {
        let mut ids: Vec<&str> = people.iter().map(|p| p.room_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let docs = among(&self.rooms, "_id", ids).await?;
        let docs: HashMap<Key, RoomDoc> = docs.into_iter().map(|doc| (doc.key, doc)).collect();
        let mut found = Vec::with_capacity(people.len());
        for person in people {
            if let Some(doc) = docs.get(&person.room) {
                found.push((room_id(&doc.id)?, person, doc.clone()));
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Lobbies that nobody is in.
    pub(super) async fn deserted_lobbies(&self, limit: u32) -> Result<Vec<RoomId>> {
        let mut pending: Vec<Key> = all(&self.entries, doc! { "j": { "$exists": true } })
            .await?
            .into_iter()
            .map(|entry| entry.room)
            .collect();
        pending.sort_unstable();
        pending.dedup();
        for key in pending {
            self.fold(key).await?;
        }
        let deserted = self
            .rooms
            .find(doc! { "kind": "lobby", "members": 0 })
            .limit(i64::from(limit))
            .await?
            .try_collect::<Vec<_>>()
            .await?;
        deserted.iter().map(|doc| Ok(room_id(&doc.id)?)).collect()
    }

    /// Moves somebody's marker forward, at most to the head; answers where it is then.
    pub(super) async fn mark(&self, room: &RoomId, user: &UserId, to: Seq) -> Result<Seq> {
        let Some((doc, head)) = self.room_and_head(room).await? else {
            return Ok(Seq::ZERO);
        };
        self.caught_up(doc.key).await?;
        let to = seq_value(to.min(head.at()));
        let moved = self
            .people
            .find_one_and_update(
                doc! { "_id": person_id(doc.key, user.as_str()), "here": true },
                doc! { "$max": { "read": to } },
            )
            .return_document(mongodb::options::ReturnDocument::After)
            .await?;
        Ok(moved.map_or(Seq::ZERO, |person| seq(person.read)))
    }
}

/// A room as an actor takes it up.
fn recorded(
    room: &RoomId,
    doc: RoomDoc,
    head: &EntryDoc,
    mut people: Vec<PersonDoc>,
) -> Result<RoomRecord> {
    people.sort_unstable_by(|a, b| (a.since, &a.user).cmp(&(b.since, &b.user)));
    let mut record = RoomRecord {
        id: room.clone(),
        kind: doc.kind,
        epoch: epoch(&doc)?,
        slow_mode_ms: slow(&doc),
        name: doc.name,
        topic: doc.topic,
        head: head.at(),
        members: Vec::new(),
        bans: Vec::new(),
    };
    for person in people {
        if let Some(banned) = person.banned {
            record.bans.push((user(&person.user)?, banned.time()));
        }
        if person.here {
            record.members.push(MemberRecord {
                user: user(&person.user)?,
                role: person.role,
                muted: person.muted.map(Until::time),
                read: seq(person.read),
            });
        }
    }
    record.bans.sort();
    Ok(record)
}

pub(super) fn epoch(doc: &RoomDoc) -> Result<Epoch, Damaged> {
    Epoch::parse(&doc.epoch).map_err(|error| Damaged(error.to_string()))
}

pub(super) fn room_id(text: &str) -> Result<RoomId, Damaged> {
    RoomId::parse(text).map_err(|error| Damaged(error.to_string()))
}

pub(super) fn slow(doc: &RoomDoc) -> u32 {
    u32::try_from(doc.slow).unwrap_or(0)
}
