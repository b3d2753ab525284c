//! The short gaps of many who were away for a moment, read together.
//!
//! When a node died, whoever was on it lacks what was said until they are back: a few entries of a room each, and
//! others in the same room lack nearly the same. Where a log goes on for longer than the hint of its end says, or
//! anything else is not as it mostly is, the answer is to ask apart ([`Store::log`]).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use shared::{
    id::{RoomId, Seq, Timestamp},
    protocol::room::Entry,
};

use super::{
    documents::{EntryDoc, Key, RoomDoc, position, seq, seq_value},
    heads::Place,
    rooms::room_id,
    store::{Fault, Result, Store, among},
};
use crate::history::HistoryError;

/// The most gaps of a round.
pub(super) const ROUND: usize = 128;
/// The longest gap that is read together with others.
const SHORT: i64 = 64;
/// How far beyond the hint the end of a log is looked for: a hint is written a moment after the entries.
const BEYOND: i64 = 4;

/// What somebody lacks: entries of that room after a position, at most so many.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) room: RoomId,
    pub(super) after: Seq,
    pub(super) limit: u32,
}

/// What stands in a gap; `None`: to be asked apart.
pub(super) type Filled = Result<Option<Vec<Entry>>, HistoryError>;

/// Positions that are asked for.
struct Span {
    key: Key,
    from: i64,
    to: i64,
    /// More may stand behind them, which is not asked for.
    bounded: bool,
    /// The log may end before them.
    new: bool,
}

/// What stands in each of these gaps.
pub(super) async fn filled(store: Arc<Store>, gaps: Vec<Gap>) -> Vec<Filled> {
    match store.filled(&gaps).await {
        Ok(filled) => filled.into_iter().map(Ok).collect(),
        Err(fault @ Fault::Driver(_)) => {
            let error = HistoryError::from(fault);
            gaps.iter().map(|_| Err(error.clone())).collect()
        }
        // What is wrong with one room is not the others' trouble.
        Err(_) => gaps.iter().map(|_| Ok(None)).collect(),
    }
}

impl Store {
    async fn filled(&self, gaps: &[Gap]) -> Result<Vec<Option<Vec<Entry>>>> {
        let ids: BTreeSet<&str> = gaps.iter().map(|gap| gap.room.as_str()).collect();
        let docs = among(&self.rooms, "_id", ids.into_iter().collect()).await?;
        let mut rooms: HashMap<RoomId, RoomDoc> = HashMap::with_capacity(docs.len());
        for doc in docs {
            rooms.insert(room_id(&doc.id)?, doc);
        }
        let spans: Vec<Option<Span>> = gaps
            .iter()
            .map(|gap| self.span(gap, rooms.get(&gap.room)?))
            .collect();
        let keys: BTreeSet<Key> = spans.iter().flatten().map(|span| span.key).collect();
        // What was deleted has lost its words.
        let keys: Vec<Key> = keys.into_iter().collect();
        self.all_caught_up(&keys).await?;
        let asked: BTreeSet<String> = spans.iter().flatten().flat_map(Span::positions).collect();
        let found = among(&self.entries, "_id", asked.into_iter().collect()).await?;
        let found: HashMap<(Key, i64), EntryDoc> = found
            .into_iter()
            .map(|entry| ((entry.room, entry.seq), entry))
            .collect();
        let mut filled = Vec::with_capacity(gaps.len());
        for (gap, span) in gaps.iter().zip(spans) {
            let standing = span.and_then(|span| span.standing(&found));
            let Some(standing) = standing else {
                filled.push(None);
                continue;
            };
            if let Some(last) = standing.last() {
                // Whoever lost a place to these goes on after them.
                self.heads.learn(&gap.room, Place::of(last));
            }
            let entries = standing.into_iter().map(|entry| {
                Ok(Entry {
                    seq: entry.at(),
                    user: entry.author()?,
                    ts: Timestamp::from_millis(entry.ts),
                    body: entry.body(),
                })
            });
            // What cannot be told here is told, or refused, to whoever asks for it apart.
            filled.push(entries.collect::<Result<_>>().ok());
        }
        Ok(filled)
    }

    /// What is to be read of a room; `None` when it is too much.
    fn span(&self, gap: &Gap, room: &RoomDoc) -> Option<Span> {
        let from = seq_value(gap.after.next());
        let hint = self.heads.hint(room);
        let end = hint.saturating_add(BEYOND);
        let most = from.saturating_add(i64::from(gap.limit)).saturating_sub(1);
        let short = from >= room.first && from <= end && end.min(most) - from < SHORT;
        short.then(|| Span {
            key: room.key,
            from,
            to: end.min(most),
            bounded: most <= end,
            new: from > hint,
        })
    }
}

impl Span {
    fn positions(&self) -> impl Iterator<Item = String> + use<> {
        let key = self.key;
        (self.from..=self.to).map(move |at| position(key, seq(at)))
    }

    /// The entries that stand there; `None` unless it is certain that these are all.
    fn standing<'a>(&self, found: &'a HashMap<(Key, i64), EntryDoc>) -> Option<Vec<&'a EntryDoc>> {
        let standing: Vec<&EntryDoc> = (self.from..=self.to)
            .map_while(|at| found.get(&(self.key, at)))
            .collect();
        let next = self.from + i64::try_from(standing.len()).ok()?;
        // Part of it may have expired while it was read.
        let whole = (next..=self.to).all(|at| !found.contains_key(&(self.key, at)));
        let ended = next <= self.to || self.bounded;
        let lives = standing.iter().all(|entry| !entry.end);
        (whole && ended && lives && (self.new || !standing.is_empty())).then_some(standing)
    }
}
