//! Rooms as their members see them, for many who ask at once.
//!
//! When a node died, thousands start at once, and a question costs the server ten times what one more document in its
//! answer does. So each kind of question is asked once for everybody in a round ([`Rounds`](crate::rounds::Rounds)), whatever their
//! number, and what several share, such as a room of theirs, is read once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use mongodb::bson::doc;
use shared::{
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::room::{Message, RoomKind, RoomView, UserRef},
};

use super::{
    documents::{EntryDoc, Key, PersonDoc, RoomDoc, position, seq, user},
    rooms::{epoch, slow},
    store::{Fault, Result, Store, all, among},
};
use crate::history::HistoryError;

/// The most people of a round.
pub(super) const ROUND: usize = 128;
/// Of how many people each is asked for apart at once, when something is wrong with the rooms of one.
const APART: usize = 8;
/// What somebody and a room have to do with each other.
type Seat = (RoomId, PersonDoc, RoomDoc);

/// A seat with what was read for its view.
pub(super) struct Seen {
    id: RoomId,
    pub(super) me: PersonDoc,
    pub(super) doc: RoomDoc,
    pub(super) head: EntryDoc,
    /// How many messages come before the marker, if that entry is there.
    pub(super) read: Option<i64>,
}

/// The rooms each of these belongs to, direct-message rooms apart.
pub(super) async fn memberships(
    store: Arc<Store>,
    users: Vec<UserId>,
) -> Vec<Result<Vec<RoomId>, HistoryError>> {
    answers(users, |users| {
        let store = Arc::clone(&store);
        async move { store.memberships(&users).await }
    })
    .await
}

/// The rooms each of these belongs to, as they see them.
pub(super) async fn views(
    store: Arc<Store>,
    users: Vec<UserId>,
) -> Vec<Result<Vec<RoomView>, HistoryError>> {
    answers(users, |users| {
        let store = Arc::clone(&store);
        async move { store.views(&users, None).await }
    })
    .await
}

/// Answers everybody of a round. What is wrong with the rooms of one is not the others' trouble: then each is
/// asked for apart. A server that is away is away for all.
async fn answers<T, F>(
    users: Vec<UserId>,
    ask: impl Fn(Vec<UserId>) -> F,
) -> Vec<Result<T, HistoryError>>
where
    F: Future<Output = Result<Vec<T>>>,
{
    let count = users.len();
    let fault = match ask(users.clone()).await {
        Ok(found) => return found.into_iter().map(Ok).collect(),
        Err(fault) => fault,
    };
    if count == 1 || matches!(fault, Fault::Driver(_)) {
        let error = HistoryError::from(fault);
        return (0..count).map(|_| Err(error.clone())).collect();
    }
    tracing::warn!(error = %fault, users = count, "a round is asked again for each apart");
    let apart: Vec<_> = users.into_iter().map(|user| ask(vec![user])).collect();
    let apart = stream::iter(apart).buffered(APART).collect::<Vec<_>>();
    let nobody = || HistoryError::Unavailable("an answer for nobody".into());
    let own = |found: Result<Vec<T>>| found?.pop().ok_or_else(nobody);
    apart.await.into_iter().map(own).collect()
}

/// What was found, by whom it is for.
struct Sorted<'a, T>(HashMap<&'a str, Vec<T>>);

impl<'a, T> Sorted<'a, T> {
    fn of(users: &'a [UserId]) -> Self {
        Self(
            users
                .iter()
                .map(|user| (user.as_str(), Vec::new()))
                .collect(),
        )
    }

    fn put(&mut self, user: &str, found: T) {
        if let Some(own) = self.0.get_mut(user) {
            own.push(found);
        }
    }

    /// For each of `users`, who may be named twice.
    fn for_all(mut self, users: &[UserId]) -> Vec<Vec<T>>
    where
        T: Clone,
    {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for user in users {
            *times.entry(user.as_str()).or_default() += 1;
        }
        let own = |user: &UserId| {
            let left = times.get_mut(user.as_str())?;
            *left -= 1;
            if *left > 0 {
                return self.0.get(user.as_str()).cloned();
            }
            self.0.remove(user.as_str())
        };
        let owns = users.iter().map(own);
        owns.map(Option::unwrap_or_default).collect()
    }
}

impl Store {
    /// What somebody has to do with the rooms they are in, with what is folded of all that brought them in
    /// or out.
    pub(super) async fn rooms_of(&self, user: &UserId, only: Option<&RoomId>) -> Result<Vec<Seat>> {
        self.seats(std::slice::from_ref(user), only).await
    }

    /// The same of several people.
    async fn seats(&self, users: &[UserId], only: Option<&RoomId>) -> Result<Vec<Seat>> {
        let ids = users.iter().map(UserId::as_str).collect();
        let pending = among(&self.entries, "j", ids).await?;
        let pending: BTreeSet<Key> = pending.into_iter().map(|entry| entry.room).collect();
        for key in pending {
            self.fold(key).await?;
        }
        self.seats_as_folded(users, only).await
    }

    /// The same, with what happens to be folded.
    async fn seats_as_folded(&self, users: &[UserId], only: Option<&RoomId>) -> Result<Vec<Seat>> {
        let ids: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let people = if let Some(room) = only {
            let one = doc! { "u": { "$in": ids }, "room": room.as_str(), "here": true };
            all(&self.people, one).await?
        } else {
            let mut people = among(&self.people, "u", ids).await?;
            people.retain(|person| person.here);
            people
        };
        self.with_rooms(people).await
    }

    /// The rooms these belong to, direct-message rooms apart.
    async fn memberships(&self, users: &[UserId]) -> Result<Vec<Vec<RoomId>>> {
        let mut found = Sorted::of(users);
        for (id, me, doc) in self.seats(users, None).await? {
            if doc.kind != RoomKind::Dm {
                found.put(&me.user, id);
            }
        }
        Ok(found.for_all(users))
    }

    /// The rooms these belong to, as each sees them; or only `only` of them.
    pub(super) async fn views(
        &self,
        users: &[UserId],
        only: Option<&RoomId>,
    ) -> Result<Vec<Vec<RoomView>>> {
        let mut rooms: HashMap<Key, (RoomId, RoomDoc)> = HashMap::new();
        for (id, _, doc) in self.seats(users, only).await? {
            rooms.insert(doc.key, (id, doc));
        }
        let keys: Vec<Key> = rooms.keys().copied().collect();
        // In this order, for the reason that `current` tells.
        let heads = self.heads_of(rooms.into_values().collect()).await?;
        self.all_caught_up(&keys).await?;
        let seats = self.seats_as_folded(users, only).await?;
        let heads: HashMap<Key, EntryDoc> = heads
            .into_iter()
            .map(|(_, doc, head)| (doc.key, head))
            .collect();
        let (seen, last) = self.seen(seats, &heads).await?;
        let mut peers = self.peers(&seen).await?;
        let counts = self.unread(&seen).await?;
        let mut found = Sorted::of(users);
        for (seen, (unread, mentions)) in seen.into_iter().zip(counts) {
            let Seen {
                id, me, doc, head, ..
            } = seen;
            let peer = peers.remove(&(doc.key, me.user.clone()));
            let view = RoomView {
                id,
                kind: doc.kind,
                epoch: epoch(&doc)?,
                head: head.at(),
                first: Some(seq(doc.first)).filter(|first| *first > Seq::FIRST),
                read: seq(me.read),
                unread,
                mentions,
                last: last.get(&doc.key).cloned(),
                role: me.role,
                members: u32::try_from(doc.members).unwrap_or(0),
                peer: peer.map(|id| UserRef { id, name: None }),
                slow_mode_ms: slow(&doc),
                muted_until: me
                    .muted
                    .map(|muted| muted.time().unwrap_or(Timestamp::FOREVER)),
                name: doc.name,
                topic: doc.topic,
            };
            found.put(&me.user, view);
        }
        Ok(found.for_all(users))
    }

    /// These seats with the heads of their rooms, and the newest message of each room.
    async fn seen(
        &self,
        seats: Vec<Seat>,
        heads: &HashMap<Key, EntryDoc>,
    ) -> Result<(Vec<Seen>, HashMap<Key, Message>)> {
        let (mut newest, mut asked) = (BTreeSet::new(), BTreeSet::new());
        let mut seen = Vec::with_capacity(seats.len());
        for (id, me, doc) in seats {
            // Whoever came into a room since its head was looked for hears of that apart.
            let Some(head) = heads.get(&doc.key).cloned() else {
                continue;
            };
            if head.last >= doc.first {
                newest.insert(position(doc.key, seq(head.last)));
            }
            let one = Seen {
                id,
                me,
                doc,
                head,
                read: None,
            };
            if !one.is_read() {
                asked.insert(position(one.doc.key, seq(one.me.read)));
            }
            seen.push(one);
        }
        asked.extend(newest.iter().cloned());
        let entries = among(&self.entries, "_id", asked.into_iter().collect()).await?;
        let places: HashMap<(Key, i64), i64> = entries
            .iter()
            .map(|entry| ((entry.room, entry.seq), entry.place))
            .collect();
        for one in &mut seen {
            one.read = places.get(&(one.doc.key, one.me.read)).copied();
        }
        let is_last = |entry: &EntryDoc| entry.message && newest.contains(&entry.id);
        let last: Vec<EntryDoc> = entries.into_iter().filter(is_last).collect();
        let last = self.read(last).await?.into_iter().collect();
        Ok((seen, last))
    }

    /// The other ends of direct-message rooms, by room and who looks.
    async fn peers(&self, seen: &[Seen]) -> Result<HashMap<(Key, String), UserId>> {
        let direct = || seen.iter().filter(|seen| seen.doc.kind == RoomKind::Dm);
        let keys: BTreeSet<Key> = direct().map(|seen| seen.doc.key).collect();
        let people = among(&self.people, "r", keys.into_iter().collect()).await?;
        let mut pairs: HashMap<Key, Vec<String>> = HashMap::new();
        for person in people.into_iter().filter(|person| person.here) {
            pairs.entry(person.room).or_default().push(person.user);
        }
        let mut peers = HashMap::new();
        for Seen { me, doc, .. } in direct() {
            let pair = pairs.get(&doc.key).into_iter().flatten();
            if let Some(other) = pair.into_iter().find(|other| **other != me.user) {
                peers.insert((doc.key, me.user.clone()), user(other)?);
            }
        }
        Ok(peers)
    }
}
