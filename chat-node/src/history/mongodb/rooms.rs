//! Rooms, their people, and rooms as their members see them.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Bson, Document, doc};
use shared::{
    id::{Epoch, RoomId, Seq, Timestamp, UserId},
    protocol::room::{Entry, Message, RoomKind, RoomView, UserRef},
};

use super::{
    documents::{
        Damaged, EntryDoc, Key, PersonDoc, RoomDoc, Until, person_id, position, seq, seq_value,
        user,
    },
    store::{Result, Store, all, among, number},
};
use crate::history::{MemberRecord, RoomRecord};

/// Rooms whose unread messages are counted together.
const TOGETHER: usize = 8;
/// Entries among which what is unread is counted one by one.
const COUNTED: i64 = 2_000;

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
        let mut people = all(&self.people, doc! { "r": doc.key, "known": true }).await?;
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
        Ok(Some(record))
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

    /// What a user has to do with the rooms the user is in, with what is folded of all that
    /// brought the user in or out.
    pub(super) async fn rooms_of(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<(RoomId, PersonDoc, RoomDoc)>> {
        let pending = all(&self.entries, doc! { "j": user.as_str() }).await?;
        for entry in pending {
            self.fold(entry.room).await?;
        }
        self.rooms_as_folded(user, only).await
    }

    /// The same, with what happens to be folded.
    async fn rooms_as_folded(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<(RoomId, PersonDoc, RoomDoc)>> {
        let mut filter = doc! { "u": user.as_str(), "here": true };
        if let Some(only) = only {
            filter.insert("room", only.as_str());
        }
        let people = all(&self.people, filter).await?;
        self.with_rooms(people).await
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

    /// The rooms a user belongs to, direct-message rooms apart.
    pub(super) async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>> {
        let rooms = self.rooms_of(user, None).await?.into_iter();
        Ok(rooms
            .filter(|(_, _, doc)| doc.kind != RoomKind::Dm)
            .map(|(id, ..)| id)
            .collect())
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

    /// The rooms a user belongs to, as that user sees them.
    pub(super) async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>> {
        let rooms = self.rooms_of(user, only).await?;
        let keys: Vec<Key> = rooms.iter().map(|(_, _, doc)| doc.key).collect();
        let rooms = rooms.into_iter().map(|(id, _, doc)| (id, doc));
        // In this order, for the reason that `current` tells.
        let heads = self.heads_of(rooms.collect()).await?;
        self.all_caught_up(&keys).await?;
        let mine = self.rooms_as_folded(user, only).await?;
        let heads: HashMap<Key, EntryDoc> = heads
            .into_iter()
            .map(|(_, doc, head)| (doc.key, head))
            .collect();
        let mut asked = Vec::new();
        for (_, me, doc) in &mine {
            if let Some(head) = heads.get(&doc.key) {
                if head.last >= doc.first {
                    asked.push(position(doc.key, seq(head.last)));
                }
                asked.push(position(doc.key, seq(me.read)));
            }
        }
        let entries = among(&self.entries, "_id", asked).await?;
        let last: Vec<EntryDoc> = entries.iter().filter(|e| e.message).cloned().collect();
        let mut last: HashMap<(Key, i64), Message> = self
            .read(last)
            .await?
            .into_iter()
            .map(|(key, message)| ((key, seq_value(message.seq)), message))
            .collect();
        let places: HashMap<(Key, i64), i64> = entries
            .iter()
            .map(|entry| ((entry.room, entry.seq), entry.place))
            .collect();
        let peers = self.peers(user, &mine).await?;
        let with_heads = mine
            .into_iter()
            .filter_map(|(id, me, doc)| Some((id, me, heads.get(&doc.key)?.clone(), doc)));
        let counted: Vec<_> = stream::iter(with_heads)
            .map(|(id, me, head, doc)| {
                let read = places.get(&(doc.key, me.read)).copied();
                async move {
                    // The same place: nothing was said since.
                    let nothing = doc.kind == RoomKind::Channel || read == Some(head.place);
                    let counts = if nothing {
                        (0, 0)
                    } else {
                        let read = read.filter(|_| me.read >= doc.first);
                        self.unread(&doc, &me, &head, read.unwrap_or(doc.expired))
                            .await?
                    };
                    Ok::<_, super::store::Fault>((id, me, head, doc, counts))
                }
            })
            .buffered(TOGETHER)
            .try_collect()
            .await?;
        counted
            .into_iter()
            .map(|(id, me, head, doc, (unread, mentions))| {
                Ok(RoomView {
                    id,
                    kind: doc.kind,
                    epoch: epoch(&doc)?,
                    head: head.at(),
                    first: Some(seq(doc.first)).filter(|first| *first > Seq::FIRST),
                    read: seq(me.read),
                    unread,
                    mentions,
                    last: last.remove(&(doc.key, head.last)),
                    role: me.role,
                    members: u32::try_from(doc.members).unwrap_or(0),
                    peer: peers.get(&doc.key).map(|peer| UserRef {
                        id: peer.clone(),
                        name: None,
                    }),
                    slow_mode_ms: slow(&doc),
                    muted_until: me
                        .muted
                        .map(|muted| muted.time().unwrap_or(Timestamp::FOREVER)),
                    name: doc.name,
                    topic: doc.topic,
                })
            })
            .collect()
    }

    /// The other ends of direct-message rooms.
    async fn peers(
        &self,
        me: &UserId,
        rooms: &[(RoomId, PersonDoc, RoomDoc)],
    ) -> Result<HashMap<Key, UserId>> {
        let direct = rooms.iter().filter(|(_, _, doc)| doc.kind == RoomKind::Dm);
        let keys: Vec<Key> = direct.map(|(_, _, doc)| doc.key).collect();
        let people = among(&self.people, "r", keys).await?;
        let others = people
            .into_iter()
            .filter(|p| p.here && p.user != me.as_str());
        Ok(others
            .map(|person| Ok((person.room, user(&person.user)?)))
            .collect::<Result<_, Damaged>>()?)
    }

    /// How many messages of others somebody has not read, and how many of them mention the reader.
    ///
    /// Among the newest [`COUNTED`] entries they are counted one by one, so that nobody who was away
    /// for long makes the server read a whole log. How many messages came between these and the marker,
    /// which has `read` of them before it, their places say, less the reader's own: deleted ones
    /// are not told apart there, nor mentions.
    async fn unread(
        &self,
        doc: &RoomDoc,
        me: &PersonDoc,
        head: &EntryDoc,
        read: i64,
    ) -> Result<(u64, u64)> {
        let marker = me.read.max(doc.first - 1);
        let from = marker.max(head.seq - COUNTED);
        let mut before = 0;
        if from > marker {
            let last = doc! { "_id": position(doc.key, seq(from)) };
            let last = self.entries.find_one(last).await?;
            let said = last.map_or(0, |last| (last.place - read).max(0).unsigned_abs());
            let between = doc! { "$gt": marker, "$lte": from };
            // By the index of nonces: as much as this person ever said here.
            let own = doc! { "r": doc.key, "u": &me.user, "s": between, "k": true };
            before = said.saturating_sub(self.entries.count_documents(own).await?);
        }
        let counted: Vec<Document> = self
            .entries
            .aggregate(vec![
                doc! { "$match": { "r": doc.key, "s": { "$gt": from, "$lte": head.seq } } },
                doc! { "$match": { "k": true, "u": { "$ne": &me.user }, "d": { "$exists": false } } },
                doc! { "$group": {
                    "_id": Bson::Null,
                    "unread": { "$sum": 1 },
                    "mentions": { "$sum": { "$cond": [
                        { "$in": [&me.user, { "$ifNull": ["$m", []] }] }, 1, 0,
                    ] } },
                } },
            ])
            .await?
            .try_collect()
            .await?;
        let count = |name| {
            counted
                .first()
                .map_or(0, |n| number(n, name).unsigned_abs())
        };
        Ok((before + count("unread"), count("mentions")))
    }
}

pub(super) fn epoch(doc: &RoomDoc) -> Result<Epoch, Damaged> {
    Epoch::parse(&doc.epoch).map_err(|error| Damaged(error.to_string()))
}

pub(super) fn room_id(text: &str) -> Result<RoomId, Damaged> {
    RoomId::parse(text).map_err(|error| Damaged(error.to_string()))
}

fn slow(doc: &RoomDoc) -> u32 {
    u32::try_from(doc.slow).unwrap_or(0)
}
