//! Search, by an index of words of our own: a document a message with its words, which any server
//! can index, with the same meaning on all of them. A text index of the server would stem and drop
//! words by the rules of one language, and knows no prefixes.
//!
//! The index follows the log at leisure, so that no sender waits for it: what is missing is added
//! when somebody searches, before anything is answered. What an edit or a deletion changes is
//! written when the entry is folded.

use std::{collections::HashMap, time::Instant};

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde::{Deserialize, Serialize};
use shared::{id::RoomId, protocol::room::Message};

use super::{
    documents::{EntryDoc, Key, RoomDoc, position, seq},
    fold::Derived,
    messages::message,
    store::{Result, Store, all, among, is_duplicate},
    words::{Phrase, words},
};
use crate::history::{Found, HistoryError, Search};

/// Longest query, in characters.
const MAX_CHARS: usize = 256;
/// Most words of a query.
const MAX_WORDS: usize = 16;
/// Most messages in one answer.
const MAX_LIMIT: u32 = 100;
/// Entries that are indexed in one go.
const CHUNK: i64 = 500;

/// The words of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WordsDoc {
    /// The message's position.
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "r")]
    room: Key,
    #[serde(rename = "t")]
    ts: i64,
    #[serde(rename = "u")]
    user: String,
    /// The entry that the words are of, as far as it was not the message itself.
    #[serde(rename = "v")]
    version: i64,
    #[serde(rename = "w")]
    words: Vec<String>,
}

impl WordsDoc {
    fn of(entry: &EntryDoc) -> Self {
        let text = message(entry, Vec::new()).map_or_else(|_| String::new(), |m| m.text);
        let mut words = words(&text);
        words.sort_unstable();
        words.dedup();
        Self {
            id: entry.id.clone(),
            room: entry.room,
            ts: entry.ts,
            user: entry.user.clone(),
            version: entry.at.unwrap_or(0),
            words,
        }
    }
}

/// Writes what the messages now say whose words changed.
pub(super) async fn reword(store: &Store, derived: &Derived) -> Result<()> {
    let changed = derived
        .reworded
        .iter()
        .filter_map(|at| derived.messages.get(at));
    let updates: Vec<Document> = changed
        .map(|message| {
            let now = WordsDoc::of(&message.doc);
            doc! {
                "q": { "_id": now.id, "v": { "$lt": now.version } },
                "u": { "$set": {
                    "r": now.room, "t": now.ts, "u": now.user, "v": now.version, "w": now.words,
                } },
                // A duplicate is a newer version.
                "upsert": true,
            }
        })
        .collect();
    store.update("words", updates).await.map(drop)
}

/// A search that has been checked and can run.
pub(super) struct Query {
    phrases: Vec<Phrase>,
    /// The time and position of the last hit of the page before.
    after: Option<(i64, String)>,
    search: Search,
}

impl Query {
    /// # Errors
    /// [`HistoryError::Invalid`] says what is wrong with it.
    pub(super) fn parse(search: Search) -> Result<Self, HistoryError> {
        let invalid = |reason: String| Err(HistoryError::Invalid(reason));
        if search.text.chars().count() > MAX_CHARS {
            return invalid(format!("a query has up to {MAX_CHARS} characters"));
        }
        if !(1..=MAX_LIMIT).contains(&search.limit) {
            return invalid(format!("limit is 1 to {MAX_LIMIT}"));
        }
        let mut phrases: Vec<Phrase> = search
            .text
            .split_whitespace()
            .filter_map(Phrase::parse)
            .collect();
        if phrases.is_empty() {
            return invalid("a query has a word of letters or digits".into());
        }
        if phrases.len() > MAX_WORDS {
            return invalid(format!("a query has up to {MAX_WORDS} words"));
        }
        phrases.sort_unstable();
        phrases.dedup();
        let after = match &search.after {
            None => None,
            Some(cursor) => match parse_cursor(cursor) {
                None => return invalid("the cursor is not one of ours".into()),
                known => known,
            },
        };
        Ok(Self {
            phrases,
            after,
            search,
        })
    }

    /// None when it would take too long.
    pub(super) async fn run(&self, store: &Store) -> Result<Option<Found>> {
        let until = Instant::now() + store.patience * 2 / 3;
        let rooms = store
            .rooms_of(&self.search.user, self.search.room.as_ref())
            .await?;
        let rooms: Vec<(RoomId, RoomDoc)> =
            rooms.into_iter().map(|(id, _, doc)| (id, doc)).collect();
        let keys: Vec<Key> = rooms.iter().map(|(_, doc)| doc.key).collect();
        let begins: HashMap<Key, (RoomId, i64)> = rooms
            .iter()
            .map(|(id, doc)| (doc.key, (id.clone(), doc.first)))
            .collect();
        if !store.index_up(rooms, until).await? {
            return Ok(None);
        }
        let limit = self.search.limit as usize;
        let mut hits: Vec<(EntryDoc, Message)> = Vec::new();
        let mut after = self.after.clone();
        while hits.len() <= limit {
            if Instant::now() > until {
                return Ok(None);
            }
            let batch = 2 * limit + 8;
            let candidates = self.candidates(store, &keys, after.as_ref(), batch).await?;
            let whole = candidates.len() < batch;
            after = candidates.last().map(|last| (last.ts, last.id.clone()));
            let verified = self.verified(store, candidates).await?;
            hits.extend(verified.into_iter().filter(|(entry, _)| {
                // What has expired may not be deleted yet.
                let begin = begins.get(&entry.room);
                begin.is_some_and(|(_, first)| entry.seq >= *first)
            }));
            if whole {
                break;
            }
        }
        let more = hits.len() > limit;
        hits.truncate(limit);
        let next = hits
            .last()
            .filter(|_| more)
            .map(|(entry, _)| format!("m{}.{}", entry.ts, entry.id));
        let items = hits
            .into_iter()
            .filter_map(|(entry, message)| Some((begins.get(&entry.room)?.0.clone(), message)))
            .collect();
        Ok(Some(Found { items, next }))
    }

    /// What has all the words, in whatever order, newest first.
    async fn candidates(
        &self,
        store: &Store,
        rooms: &[Key],
        after: Option<&(i64, String)>,
        limit: usize,
    ) -> Result<Vec<WordsDoc>> {
        let mut having: Vec<Document> = Vec::new();
        for phrase in &self.phrases {
            let last = phrase.words.len() - 1;
            for (n, word) in phrase.words.iter().enumerate() {
                having.push(if n == last && phrase.prefix {
                    let end = format!("{word}\u{10FFFF}");
                    doc! { "w": { "$elemMatch": { "$gte": word, "$lt": end } } }
                } else {
                    doc! { "w": word }
                });
            }
        }
        let mut filter = doc! { "r": { "$in": rooms.to_vec() }, "$and": having };
        if let Some(author) = &self.search.author {
            filter.insert("u", author.as_str());
        }
        // Those of the same time as the cursor are few, and told apart here.
        let mut skipped = 0;
        if let Some((ts, id)) = after {
            filter.insert("t", doc! { "$lte": ts });
            let mut same = filter.clone();
            same.insert("t", *ts);
            let same = all(&store.words, same).await?;
            skipped = same.iter().filter(|words| words.id >= *id).count();
        }
        let found = store
            .words
            .find(filter)
            .sort(doc! { "t": -1, "_id": -1 })
            .skip(skipped as u64)
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .max_time(store.patience)
            .await?;
        Ok(found.try_collect().await?)
    }

    /// Those in which all phrases stand, as they now read.
    async fn verified(
        &self,
        store: &Store,
        candidates: Vec<WordsDoc>,
    ) -> Result<Vec<(EntryDoc, Message)>> {
        let ids = candidates.iter().map(|words| words.id.clone()).collect();
        let docs = among(&store.entries, "_id", ids).await?;
        let mut docs: HashMap<String, EntryDoc> = docs
            .into_iter()
            .filter(|doc| doc.message && doc.deleted.is_none())
            .map(|doc| (doc.id.clone(), doc))
            .collect();
        let docs: Vec<EntryDoc> = candidates
            .iter()
            .filter_map(|words| docs.remove(&words.id))
            .collect();
        let messages = store.read(docs.clone()).await?;
        let read = docs.into_iter().zip(messages.into_iter().map(|(_, m)| m));
        Ok(read
            .filter(|(_, message)| {
                let text = words(&message.text);
                self.phrases.iter().all(|phrase| phrase.is_in(&text))
            })
            .collect())
    }
}

impl Store {
    /// Indexes what was said in these rooms and is not indexed yet; false when time ran out, and
    /// whoever asks again finds more of it done.
    async fn index_up(&self, rooms: Vec<(RoomId, RoomDoc)>, until: Instant) -> Result<bool> {
        let keys: Vec<Key> = rooms.iter().map(|(_, doc)| doc.key).collect();
        let heads = self.heads_of(rooms).await?;
        self.all_caught_up(&keys).await?;
        for (_, doc, head) in heads {
            let mut from = doc.indexed.max(doc.first - 1);
            while from < head.seq {
                if Instant::now() > until {
                    return Ok(false);
                }
                let to = from.saturating_add(CHUNK).min(head.seq);
                self.index_range(doc.key, from, to).await?;
                let done = doc! {
                    "q": { "_id": &doc.id, "key": doc.key },
                    "u": { "$max": { "indexed": to } },
                };
                self.update("rooms", vec![done]).await?;
                from = to;
            }
        }
        Ok(true)
    }

    async fn index_range(&self, key: Key, after: i64, upto: i64) -> Result<()> {
        let range = doc! { "$gte": after + 1, "$lte": upto };
        let entries = all(&self.entries, doc! { "r": key, "s": range }).await?;
        let spoken = entries.iter().filter(|e| e.message && e.deleted.is_none());
        let docs: Vec<WordsDoc> = spoken.map(WordsDoc::of).collect();
        if docs.is_empty() {
            return Ok(());
        }
        match self.words.insert_many(docs).ordered(false).await {
            Ok(_) => Ok(()),
            // Another node was at it too, or an edit was.
            Err(error) if is_duplicate(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// `m`, the time, `.`, the position.
fn parse_cursor(cursor: &str) -> Option<(i64, String)> {
    let (ts, id) = cursor.strip_prefix('m')?.split_once('.')?;
    let (key, at) = id.split_at_checked(24)?;
    let key = Key::parse_str(key).ok()?;
    let at = u64::from_str_radix(at, 16).ok()?;
    let ours = position(key, seq(i64::try_from(at).ok()?));
    (ours == id).then_some((ts.parse().ok()?, ours))
}
