//! What is unread in rooms, counted for many who ask at once.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;
use shared::protocol::room::RoomKind;

use super::{
    documents::{Key, position, seq},
    store::{Fault, Result, Store, among, number},
    views::Seen,
};

/// Rooms in which the server counts what is unread at once.
const TOGETHER: usize = 8;
/// Entries among which what is unread is counted one by one.
const COUNTED: i64 = 2_000;
/// A gap of at most so many entries is read and counted here.
const NEAR: i64 = 64;
/// How many entries are read for that in a round; beyond, the server counts.
const NEAR_IN_ALL: i64 = 8_192;

/// What of an entry tells whether it is unread.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "s")]
    seq: i64,
    #[serde(rename = "u")]
    user: String,
    #[serde(rename = "k", default)]
    message: bool,
    #[serde(rename = "m", default)]
    mentions: Vec<String>,
    #[serde(rename = "d", default)]
    deleted: Option<i64>,
    #[serde(rename = "r")]
    room: Key,
}

impl Seen {
    /// After which entry counting begins.
    fn marker(&self) -> i64 {
        self.me.read.max(self.doc.first - 1)
    }

    fn gap(&self) -> i64 {
        self.head.seq - self.marker()
    }

    /// Nothing was said since, or nobody counts.
    pub(super) fn is_read(&self) -> bool {
        self.doc.kind == RoomKind::Channel || self.gap() <= 0 || self.read == Some(self.head.place)
    }

    /// How many of these messages of others are unread, and how many mention the reader.
    fn count(&self, said: &HashMap<Key, Vec<Said>>) -> (u64, u64) {
        if self.is_read() {
            return (0, 0);
        }
        let unread = self.marker() + 1..=self.head.seq;
        let (mut count, mut mentions) = (0, 0);
        for one in said.get(&self.doc.key).into_iter().flatten() {
            if unread.contains(&one.seq) && one.user != self.me.user {
                count += 1;
                mentions += u64::from(one.mentions.contains(&self.me.user));
            }
        }
        (count, mentions)
    }
}

impl Store {
    /// How many messages of others each has not read, and how many of them mention the reader.
    ///
    /// What was said in a short gap is read, for all together; in a longer one the server counts.
    pub(super) async fn unread(&self, seen: &[Seen]) -> Result<Vec<(u64, u64)>> {
        let (mut near, mut left) = (BTreeSet::new(), NEAR_IN_ALL);
        let mut far = Vec::new();
        for (n, one) in seen.iter().enumerate().filter(|(_, one)| !one.is_read()) {
            let gap = one.gap();
            if gap > NEAR.min(left) {
                far.push(async move { Ok::<_, Fault>((n, self.counted(one).await?)) });
                continue;
            }
            left -= gap;
            let positions = one.marker() + 1..=one.head.seq;
            near.extend(positions.map(|at| position(one.doc.key, seq(at))));
        }
        let mut said: HashMap<Key, Vec<Said>> = HashMap::new();
        let entries = self.entries.clone_with_type::<Said>();
        for one in among(&entries, "_id", near.into_iter().collect()).await? {
            if one.message && one.deleted.is_none() {
                said.entry(one.room).or_default().push(one);
            }
        }
        let mut counts: Vec<(u64, u64)> = seen.iter().map(|one| one.count(&said)).collect();
        let far: Vec<_> = stream::iter(far).buffered(TOGETHER).try_collect().await?;
        for (n, count) in far {
            counts[n] = count;
        }
        Ok(counts)
    }

    /// The same of one, counted by the server.
    ///
    /// Among the newest [`COUNTED`] entries they are counted one by one, so that nobody who was away
    /// for long makes the server read a whole log. How many messages came between these and the marker
    /// their places say, less the reader's own: deleted ones are not told apart there, nor mentions.
    async fn counted(&self, seen: &Seen) -> Result<(u64, u64)> {
        let Seen { me, doc, head, .. } = seen;
        let read = seen.read.filter(|_| me.read >= doc.first);
        let read = read.unwrap_or(doc.expired);
        let marker = seen.marker();
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
