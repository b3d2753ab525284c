//! Messages as they now read.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use mongodb::bson::doc;
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, Message, Reaction},
};

use super::{
    documents::{
        Damaged, EntryDoc, Key, ReactionDoc, RoomDoc, position, reaction_id, seq, seq_value,
        unreadable, user,
    },
    rooms::epoch,
    store::{Result, Store, all, among},
};
use crate::history::{Cursor, Outcome, Page};

/// How many of those who reacted are named.
const NAMED: i32 = 100;
/// The least entries that are read for a page.
const WINDOW: i64 = 64;

/// A direction through a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Older,
    Newer,
}

/// A log, from the first entry that is kept to its head.
#[derive(Clone, Copy)]
struct Log {
    key: Key,
    first: i64,
    end: i64,
}

impl Store {
    /// A page; `None` when there is no such room.
    pub(super) async fn page(&self, room: &RoomId, at: Cursor, limit: u32) -> Result<Option<Page>> {
        let Some((doc, head)) = self.current(room).await? else {
            return Ok(None);
        };
        let log = Log {
            key: doc.key,
            first: doc.first,
            end: head.seq,
        };
        let limit = limit as usize;
        let docs = match at {
            Cursor::Newest => self.walk(log, Way::Older, log.end, limit).await?,
            Cursor::Before(seq) => self.walk(log, Way::Older, before(seq), limit).await?,
            Cursor::After(seq) => {
                self.walk(log, Way::Newer, seq_value(seq.next()), limit)
                    .await?
            }
            Cursor::Around(seq) => {
                let older = self.walk(log, Way::Older, before(seq), limit / 2);
                let newer = self.walk(log, Way::Newer, seq_value(seq), limit - limit / 2);
                let (mut docs, newer) = futures_util::try_join!(older, newer)?;
                docs.extend(newer);
                docs
            }
        };
        // How many messages stand before the page, and how many up to its end.
        let (earlier, upto) = match (docs.first(), docs.last(), at) {
            (Some(first), Some(last), _) => (first.place - 1, last.place),
            (_, _, Cursor::Newest) => (head.place, head.place),
            // The edges of an empty page are those of the gap it was looked for in.
            (_, _, Cursor::After(seq)) => self.places(&doc, &head, seq_value(seq)).await?,
            (_, _, Cursor::Before(seq) | Cursor::Around(seq)) => {
                self.places(&doc, &head, before(seq)).await?
            }
        };
        let items = self.read(docs).await?;
        Ok(Some(Page {
            items: items.into_iter().map(|(_, message)| message).collect(),
            has_before: earlier > doc.expired,
            has_after: upto < head.place,
            first: seq(doc.first),
            epoch: epoch(&doc)?,
        }))
    }

    /// How many messages there are up to a position, twice.
    async fn places(&self, doc: &RoomDoc, head: &EntryDoc, at: i64) -> Result<(i64, i64)> {
        if at >= head.seq {
            return Ok((head.place, head.place));
        }
        if at < doc.first {
            return Ok((doc.expired, doc.expired));
        }
        let id = position(doc.key, seq(at));
        let entry = self.entries.find_one(doc! { "_id": id }).await?;
        let place = entry.map_or(doc.expired, |entry| entry.place);
        Ok((place, place))
    }

    /// Up to `limit` messages from a position on, ascending. Messages stand among other entries,
    /// so it reads a little more than it needs, and goes on where that was not enough.
    async fn walk(&self, log: Log, way: Way, from: i64, limit: usize) -> Result<Vec<EntryDoc>> {
        let mut found: Vec<EntryDoc> = Vec::new();
        let mut from = match way {
            Way::Older => from.min(log.end),
            Way::Newer => from.max(log.first),
        };
        let mut window = WINDOW.max(i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(2));
        while found.len() < limit && (log.first..=log.end).contains(&from) {
            let (low, high) = match way {
                Way::Older => ((from - window + 1).max(log.first), from),
                Way::Newer => (from, from.saturating_add(window - 1).min(log.end)),
            };
            let range = doc! { "r": log.key, "s": { "$gte": low, "$lte": high } };
            let mut part = all(&self.entries, range).await?;
            part.retain(|entry| entry.message);
            match way {
                Way::Older => {
                    part.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.seq));
                    from = low - 1;
                }
                Way::Newer => {
                    part.sort_unstable_by_key(|entry| entry.seq);
                    from = high + 1;
                }
            }
            found.extend(part);
            window = window.saturating_mul(4);
        }
        found.truncate(limit);
        if way == Way::Older {
            found.reverse();
        }
        Ok(found)
    }

    /// Messages by position; a position that is no message is left out.
    pub(super) async fn by_position(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<Message>> {
        let Some(doc) = self.room_doc(room).await? else {
            return Ok(Vec::new());
        };
        self.caught_up(doc.key).await?;
        let kept = seqs.iter().filter(|seq| seq_value(**seq) >= doc.first);
        let ids = kept.map(|seq| position(doc.key, *seq)).collect();
        let mut docs = among(&self.entries, "_id", ids).await?;
        docs.retain(|entry| entry.message);
        let mut found: HashMap<Seq, Message> = self
            .read(docs)
            .await?
            .into_iter()
            .map(|(_, message)| (message.seq, message))
            .collect();
        Ok(seqs.iter().filter_map(|seq| found.remove(seq)).collect())
    }

    /// Where the message of a nonce stands.
    pub(super) async fn sent(
        &self,
        room: &RoomId,
        user: &UserId,
        nonce: &Nonce,
    ) -> Result<Option<Outcome>> {
        let Some(doc) = self.room_doc(room).await? else {
            return Ok(None);
        };
        let name = doc! { "r": doc.key, "u": user.as_str(), "n": nonce.as_str() };
        let found = self.entries.find_one(name).await?;
        let kept = found.filter(|entry| entry.seq >= doc.first);
        Ok(kept.map(|entry| Outcome {
            seq: entry.at(),
            ts: Timestamp::from_millis(entry.ts),
            dup: true,
        }))
    }

    /// Whether somebody's reaction stands.
    pub(super) async fn reacted(
        &self,
        room: &RoomId,
        target: Seq,
        user: &UserId,
        emoji: &str,
    ) -> Result<bool> {
        let Some(doc) = self.room_doc(room).await? else {
            return Ok(false);
        };
        self.caught_up(doc.key).await?;
        let message = position(doc.key, target);
        let held = doc! { "_id": reaction_id(&message, emoji), "u": user.as_str() };
        let stands = doc! { "_id": message, "x": true };
        Ok(self.reactions.find_one(held).await?.is_some()
            && self.entries.find_one(stands).await?.is_some())
    }

    /// Messages with their reactions, in the order given, and the keys of their rooms.
    pub(super) async fn read(&self, docs: Vec<EntryDoc>) -> Result<Vec<(Key, Message)>> {
        let reacted = docs.iter().filter(|doc| doc.reacted);
        let positions: Vec<String> = reacted.map(|doc| doc.id.clone()).collect();
        let mut reactions: HashMap<String, Vec<ReactionDoc>> = HashMap::new();
        if !positions.is_empty() {
            let found: Vec<ReactionDoc> = self
                .reactions
                .find(doc! { "m": { "$in": positions } })
                .projection(doc! { "u": { "$slice": NAMED } })
                .await?
                .try_collect()
                .await?;
            for reaction in found.into_iter().filter(|reaction| reaction.count > 0) {
                let of_message = reactions.entry(reaction.message.clone()).or_default();
                of_message.push(reaction);
            }
        }
        docs.into_iter()
            .map(|doc| {
                let held = reactions.remove(&doc.id).unwrap_or_default();
                Ok((doc.room, message(&doc, held)?))
            })
            .collect()
    }
}

/// The last position before another.
fn before(seq: Seq) -> i64 {
    seq_value(seq) - 1
}

/// A message as it now reads.
pub(super) fn message(doc: &EntryDoc, mut held: Vec<ReactionDoc>) -> Result<Message, Damaged> {
    let said = match doc.body() {
        EntryBody::Message(said) => said,
        _ => match Nonce::parse(&doc.nonce) {
            Ok(nonce) => unreadable(nonce),
            Err(error) => return Err(Damaged(error.to_string())),
        },
    };
    let mut message = Message {
        seq: doc.at(),
        user: doc.author()?,
        ts: Timestamp::from_millis(doc.ts),
        nonce: said.nonce,
        text: said.text,
        reply_to: said.reply_to,
        mentions: said.mentions,
        data: said.data,
        edited_ts: doc.edited.map(Timestamp::from_millis),
        deleted: doc.deleted.is_some(),
        unreadable: said.unreadable,
        reactions: Vec::new(),
    };
    if message.edited_ts.is_some() {
        // What it says now, and not what it said before.
        let edit = doc.edit.as_deref().map(serde_json::from_str);
        if let Some(Ok(EntryBody::Edit { text, mentions, .. })) = edit {
            (message.text, message.mentions) = (text, mentions);
            message.unreadable = false;
        } else {
            if !message.deleted {
                doc.report();
            }
            message.unreadable = true;
            message.text.clear();
            message.mentions.clear();
        }
    }
    // A tombstone has no words to miss.
    message.unreadable &= !message.deleted;
    held.sort_unstable_by_key(|reaction| reaction.place);
    for reaction in held {
        let named = usize::try_from(NAMED).unwrap_or(usize::MAX);
        let users = reaction.users.iter().take(named).map(|id| user(id));
        message.reactions.push(Reaction {
            count: u32::try_from(reaction.count).unwrap_or(u32::MAX),
            users: users.collect::<Result<_, _>>()?,
            emoji: reaction.emoji,
        });
    }
    Ok(message)
}
