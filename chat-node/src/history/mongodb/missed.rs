//! What a node may have missed: where logs stand, and what happened lately to people.

use std::collections::{HashMap, HashSet};

use mongodb::bson::doc;
use shared::{
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::room::RoomKind,
};

use super::{
    documents::{EntryDoc, Key, RoomDoc, user},
    rooms::room_id,
    store::{Result, Store, all, among},
};
use crate::history::{Missed, Stirred};

/// The first look back into a log for what came before a time; each next one goes four times as far.
const WINDOW: i64 = 64;

impl Store {
    /// Where these logs stand.
    pub(super) async fn heads_at(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>> {
        let ids = rooms.iter().map(RoomId::as_str).collect();
        let docs = among(&self.rooms, "_id", ids).await?;
        let docs: Vec<(RoomId, RoomDoc)> = docs
            .into_iter()
            .map(|doc| Ok((room_id(&doc.id)?, doc)))
            .collect::<Result<_>>()?;
        let heads = self.heads_of(docs).await?.into_iter();
        Ok(heads.map(|(room, _, head)| (room, head.at())).collect())
    }

    /// What happened to these users at `since` or later.
    pub(super) async fn missed(&self, users: &[UserId], since: Timestamp) -> Result<Missed> {
        let ids: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let pending: HashSet<Key> = among(&self.entries, "j", ids.clone())
            .await?
            .into_iter()
            .map(|entry| entry.room)
            .collect();
        for key in pending {
            self.fold(key).await?;
        }
        let mut people = among(&self.people, "u", ids).await?;
        people.retain(|person| person.here);
        let mut missed = Missed::default();
        let mut direct: HashMap<Key, (RoomId, RoomDoc)> = HashMap::new();
        for (id, person, doc) in self.with_rooms(people).await? {
            if doc.kind == RoomKind::Dm {
                direct.insert(doc.key, (id, doc));
            } else if person.came >= since.as_millis() {
                let seq = super::documents::seq(person.since);
                missed.joined.push((user(&person.user)?, id, seq));
            }
        }
        for (room, doc, head) in self.heads_of(direct.into_values().collect()).await? {
            if head.ts >= since.as_millis() {
                let before = self.before(&doc, &head, since).await?;
                let head = head.at();
                missed.direct.push(Stirred { room, before, head });
            }
        }
        missed.direct.sort_unstable_by(|a, b| a.room.cmp(&b.room));
        Ok(missed)
    }

    /// The newest entry of a log before a time; what has expired counts as such.
    async fn before(&self, doc: &RoomDoc, head: &EntryDoc, since: Timestamp) -> Result<Seq> {
        let (mut to, mut window) = (head.seq - 1, WINDOW);
        while to >= doc.first {
            let from = (to - window + 1).max(doc.first);
            let range = doc! { "r": head.room, "s": { "$gte": from, "$lte": to } };
            let entries = all(&self.entries, range).await?;
            let earlier = entries.iter().filter(|e| e.ts < since.as_millis());
            if let Some(newest) = earlier.map(|entry| entry.seq).max() {
                return Ok(super::documents::seq(newest));
            }
            (to, window) = (from - 1, window.saturating_mul(4));
        }
        Ok(super::documents::seq(doc.first).before())
    }
}
