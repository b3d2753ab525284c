//! The one store of a schedule: logs in memory, with what the port promises and nothing else. The
//! real backends are held to the same promises by `tests/conformance`.

use std::collections::BTreeMap;

use chat_node::history::{
    AppendError, MemberRecord, Missed, NewEntry, Outcome, RoomRecord, Stirred,
};
use parking_lot::Mutex;
use shared::{
    id::{Epoch, Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{
        Entry, EntryBody, MemberAction, Message, MessageBody, Role, RoomKind, RoomView, UserRef,
    },
};

use crate::plant::Plant;

/// All logs, those of rooms that were removed too.
pub(crate) struct Store {
    plant: Plant,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    rooms: BTreeMap<RoomId, Log>,
    removed: Vec<Log>,
}

/// The log of a room and what is derived from it.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) record: RoomRecord,
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    fn new(id: RoomId, epoch: usize) -> Self {
        Self {
            record: RoomRecord {
                id,
                kind: RoomKind::Group,
                name: None,
                topic: None,
                slow_mode_ms: 0,
                epoch: Epoch::parse(&format!("e{epoch}")).expect("an epoch"),
                head: Seq::ZERO,
                members: Vec::new(),
                bans: Vec::new(),
            },
            entries: Vec::new(),
        }
    }

    /// What stands at a position.
    pub(crate) fn at(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(seq.get().checked_sub(1)? as usize)
    }

    pub(crate) fn has(&self, user: &UserId) -> bool {
        self.record
            .members
            .iter()
            .any(|member| member.user == *user)
    }

    fn sent(&self, user: &UserId, nonce: &Nonce) -> Option<&Entry> {
        self.entries.iter().find(|entry| {
            entry.user == *user
                && matches!(&entry.body, EntryBody::Message(body) if body.nonce == *nonce)
        })
    }

    fn push(&mut self, new: NewEntry) -> Outcome {
        let seq = self.record.head.next();
        self.record.head = seq;
        match &new.body {
            EntryBody::Member(change) => {
                let members = &mut self.record.members;
                let place = members
                    .iter()
                    .position(|member| member.user == change.member);
                match (change.action, place) {
                    (MemberAction::Join, None) => members.push(MemberRecord {
                        user: change.member.clone(),
                        role: change.role.unwrap_or_default(),
                        muted: None,
                        read: seq,
                    }),
                    (MemberAction::Leave | MemberAction::Kick, Some(place)) => {
                        members.remove(place);
                    }
                    (MemberAction::Role, Some(place)) => {
                        members[place].role = change.role.unwrap_or_default();
                    }
                    _ => {}
                }
            }
            EntryBody::Room(change) => {
                if let Some(kind) = change.created {
                    self.record.kind = kind;
                }
                self.record.name = change.name.clone().or(self.record.name.take());
            }
            _ => {}
        }
        self.entries.push(Entry {
            seq,
            user: new.user,
            ts: new.ts,
            body: new.body,
        });
        Outcome {
            seq,
            ts: new.ts,
            dup: false,
        }
    }

    fn last(&self) -> Option<Message> {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.body {
                EntryBody::Message(body) => Some(message(
                    entry.seq,
                    entry.user.clone(),
                    entry.ts,
                    body.clone(),
                )),
                _ => None,
            })
    }

    fn view(&self, user: &UserId) -> Option<RoomView> {
        let record = &self.record;
        let member = record.members.iter().find(|member| member.user == *user)?;
        let peer = (record.kind == RoomKind::Dm)
            .then(|| record.members.iter().find(|member| member.user != *user))
            .flatten();
        Some(RoomView {
            id: record.id.clone(),
            kind: record.kind,
            name: record.name.clone(),
            topic: None,
            epoch: record.epoch.clone(),
            head: record.head,
            first: None,
            read: member.read,
            unread: 0,
            mentions: 0,
            last: self.last(),
            role: member.role,
            members: record.members.len() as u32,
            peer: peer.map(|peer| UserRef {
                id: peer.user.clone(),
                name: None,
            }),
            slow_mode_ms: 0,
            muted_until: None,
        })
    }
}

impl Store {
    pub(crate) fn new(plant: Plant) -> Self {
        Self {
            plant,
            books: Mutex::default(),
        }
    }

    pub(crate) fn append(
        &self,
        room: &RoomId,
        expected: Seq,
        new: Vec<NewEntry>,
    ) -> Result<Vec<Outcome>, AppendError> {
        let Books { rooms, removed } = &mut *self.books.lock();
        let head = rooms.get(room).map_or(Seq::ZERO, |log| log.record.head);
        if head != expected {
            if self.plant == Plant::Fork && expected < head {
                // What another node said in between is written over.
                let log = rooms.get_mut(room).expect("a log with a head");
                log.entries.truncate(expected.get() as usize);
                log.record.head = expected;
            } else {
                return Err(AppendError::Conflict { head });
            }
        }
        if !rooms.contains_key(room) {
            let created =
                |entry: &NewEntry| matches!(&entry.body, EntryBody::Room(c) if c.created.is_some());
            if !new.first().is_some_and(created) {
                return Err(AppendError::NotCreated);
            }
            let epoch = removed.iter().filter(|log| log.record.id == *room).count();
            rooms.insert(room.clone(), Log::new(room.clone(), epoch));
        }
        let log = rooms.get_mut(room).expect("made above");
        let outcomes = new.into_iter().map(|entry| {
            if let EntryBody::Message(body) = &entry.body
                && let Some(first) = log.sent(&entry.user, &body.nonce)
                && self.plant != Plant::Twice
            {
                return Outcome {
                    seq: first.seq,
                    ts: first.ts,
                    dup: true,
                };
            }
            log.push(entry)
        });
        Ok(outcomes.collect())
    }

    /// Forgets what stands last.
    pub(crate) fn lose_last(&self, room: &RoomId) {
        if let Some(log) = self.books.lock().rooms.get_mut(room) {
            log.entries.pop();
            log.record.head = Seq::new(log.entries.len() as u64);
        }
    }

    /// What is made of a room's log as it is.
    pub(crate) fn with<T>(&self, room: &RoomId, look: impl FnOnce(&Log) -> T) -> Option<T> {
        self.books.lock().rooms.get(room).map(look)
    }

    /// What is made of every log there was, the epoch's number being its turn.
    pub(crate) fn with_epoch<T>(
        &self,
        room: &RoomId,
        epoch: &Epoch,
        look: impl FnOnce(&Log) -> T,
    ) -> Option<T> {
        let books = self.books.lock();
        let of = |log: &&Log| log.record.id == *room && log.record.epoch == *epoch;
        let log = books.rooms.get(room).filter(of);
        log.or_else(|| books.removed.iter().find(of)).map(look)
    }

    pub(crate) fn rooms_of(&self, user: &UserId) -> Vec<RoomId> {
        let books = self.books.lock();
        let of = books.rooms.values().filter(|log| log.has(user));
        of.map(|log| log.record.id.clone()).collect()
    }

    pub(crate) fn memberships(&self, user: &UserId) -> Vec<RoomId> {
        let books = self.books.lock();
        let of = books.rooms.values();
        of.filter(|log| log.record.kind != RoomKind::Dm && log.has(user))
            .map(|log| log.record.id.clone())
            .collect()
    }

    pub(crate) fn views(&self, user: &UserId, only: Option<&RoomId>) -> Vec<RoomView> {
        let books = self.books.lock();
        let asked = |log: &&Log| only.is_none_or(|only| log.record.id == *only);
        let logs = books.rooms.values().filter(asked);
        logs.filter_map(|log| log.view(user)).collect()
    }

    pub(crate) fn messages(&self, room: &RoomId, wanted: impl Fn(Seq) -> bool) -> Vec<Message> {
        let entries = self.with(room, |log| log.entries.clone());
        let entries = entries.unwrap_or_default().into_iter();
        entries
            .filter(|entry| wanted(entry.seq))
            .filter_map(|entry| match entry.body {
                EntryBody::Message(body) => Some(message(entry.seq, entry.user, entry.ts, body)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn sent(&self, room: &RoomId, user: &UserId, nonce: &Nonce) -> Option<Outcome> {
        self.with(room, |log| {
            log.sent(user, nonce).map(|first| Outcome {
                seq: first.seq,
                ts: first.ts,
                dup: true,
            })
        })
        .flatten()
    }

    /// Where the last message stands, or the last of one user.
    pub(crate) fn last_said(&self, room: &RoomId, by: Option<&UserId>) -> Option<Seq> {
        let said = |entry: &&Entry| {
            let message = matches!(entry.body, EntryBody::Message(_));
            message && by.is_none_or(|user| entry.user == *user)
        };
        let last = self.with(room, |log| {
            let last = log.entries.iter().rev().find(said);
            last.map(|entry| entry.seq)
        });
        last.flatten()
    }

    /// Whether a reaction stands.
    pub(crate) fn reacted(&self, room: &RoomId, at: Seq, user: &UserId, with: &str) -> bool {
        let reacted = self.with(room, |log| {
            let of = log.entries.iter().rev();
            let mut of = of.filter(|entry| entry.user == *user);
            of.find_map(|entry| match &entry.body {
                EntryBody::Reaction { target, emoji, on } => {
                    (*target == at && &**emoji == with).then_some(*on)
                }
                _ => None,
            })
        });
        reacted.flatten().unwrap_or_default()
    }

    pub(crate) fn deserted(&self) -> Vec<RoomId> {
        let books = self.books.lock();
        let deserted =
            |log: &&Log| log.record.kind == RoomKind::Lobby && log.record.members.is_empty();
        let logs = books.rooms.values().filter(deserted);
        logs.map(|log| log.record.id.clone()).collect()
    }

    pub(crate) fn mark_read(&self, room: &RoomId, user: &UserId, seq: Seq) -> Seq {
        let mut books = self.books.lock();
        let Some(log) = books.rooms.get_mut(room) else {
            return Seq::ZERO;
        };
        let head = log.record.head;
        let member = log.record.members.iter_mut().find(|m| m.user == *user);
        member.map_or(Seq::ZERO, |member| {
            member.read = member.read.max(seq.min(head));
            member.read
        })
    }

    pub(crate) fn since(&self, users: &[UserId], since: Timestamp) -> Missed {
        let mut missed = Missed::default();
        for log in self.books.lock().rooms.values() {
            let record = &log.record;
            if record.kind == RoomKind::Dm {
                let theirs = users.iter().any(|user| log.has(user));
                if theirs && log.entries.last().is_some_and(|entry| entry.ts >= since) {
                    let before = log.entries.iter().rfind(|entry| entry.ts < since);
                    missed.direct.push(Stirred {
                        room: record.id.clone(),
                        before: before.map_or(Seq::ZERO, |entry| entry.seq),
                        head: record.head,
                    });
                }
                continue;
            }
            for user in users.iter().filter(|user| log.has(user)) {
                let came = log.entries.iter().rfind(|entry| {
                    matches!(&entry.body, EntryBody::Member(change)
                        if change.action == MemberAction::Join && change.member == *user)
                });
                if let Some(came) = came.filter(|entry| entry.ts >= since) {
                    missed
                        .joined
                        .push((user.clone(), record.id.clone(), came.seq));
                }
            }
        }
        missed
    }

    pub(crate) fn remove(&self, room: &RoomId, at: Seq) -> bool {
        let Books { rooms, removed } = &mut *self.books.lock();
        match rooms.get(room) {
            None => true,
            Some(log) if log.record.head != at => false,
            Some(_) => {
                removed.extend(rooms.remove(room));
                true
            }
        }
    }

    /// A room there is from the start, of its owner and some members.
    pub(crate) fn found(&self, room: &RoomId, kind: RoomKind, members: &[UserId], ts: Timestamp) {
        use shared::protocol::room::{MemberChange, RoomChange};
        let created = EntryBody::Room(RoomChange {
            created: Some(kind),
            name: Some("Raid".into()),
            ..RoomChange::default()
        });
        let joins = members.iter().enumerate().map(|(n, member)| {
            EntryBody::Member(MemberChange {
                action: MemberAction::Join,
                member: member.clone(),
                role: Some(if n == 0 { Role::Owner } else { Role::Member }),
                until: None,
            })
        });
        let entries = std::iter::once(created).chain(joins).map(|body| NewEntry {
            user: members[0].clone(),
            ts,
            body,
        });
        self.append(room, Seq::ZERO, entries.collect())
            .expect("a room is made");
    }
}

fn message(seq: Seq, user: UserId, ts: Timestamp, body: MessageBody) -> Message {
    Message {
        seq,
        user,
        ts,
        nonce: body.nonce,
        text: body.text,
        reply_to: body.reply_to,
        mentions: body.mentions,
        data: body.data,
        edited_ts: None,
        deleted: false,
        unreadable: false,
        reactions: Vec::new(),
    }
}
