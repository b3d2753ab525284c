//! What entries do to the documents derived from them: pure, over documents that were read.
//!
//! Each document carries the seq last folded into it (`at`). An entry at or before that changes
//! nothing in it, so entries may be folded again, from whatever earlier point on, by anybody.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shared::{
    id::{Seq, Timestamp, UserId},
    protocol::room::{EntryBody, MemberAction, MemberChange, RoomChange},
};

use super::{
    documents::{
        EntryDoc, Key, PersonDoc, ReactionDoc, RoomDoc, Until, person_id, position, reaction_id,
        seq_value, unreadable, user,
    },
    line::mentioned,
};

/// An entry as it stands in the log.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) seq: Seq,
    pub(super) user: UserId,
    pub(super) ts: Timestamp,
    pub(super) body: EntryBody,
}

/// A document with what it was when it was read.
#[derive(Debug, Clone)]
pub(super) struct Tracked<T> {
    pub(super) doc: T,
    /// The `at` it was read with; `None` when it had none, or was not there.
    pub(super) was: Option<i64>,
    pub(super) dirty: bool,
}

/// The documents that some entries touch.
#[derive(Debug)]
pub(super) struct Derived {
    key: Key,
    pub(super) room: Tracked<RoomDoc>,
    pub(super) people: HashMap<String, Tracked<PersonDoc>>,
    /// Messages that entries name, by position.
    pub(super) messages: BTreeMap<i64, Tracked<EntryDoc>>,
    /// By message and emoji.
    pub(super) reactions: HashMap<(i64, String), Tracked<ReactionDoc>>,
    /// Messages whose words changed.
    pub(super) reworded: BTreeSet<i64>,
    /// Messages that were deleted, and by which entry.
    pub(super) deleted: BTreeMap<i64, i64>,
    /// Somebody came or went.
    pub(super) moved: bool,
}

/// What has to be read before entries can be folded.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) people: BTreeSet<String>,
    pub(super) messages: BTreeSet<i64>,
}

impl Needs {
    pub(super) fn of(changes: &[Change]) -> Self {
        let mut needs = Self::default();
        for change in changes {
            match &change.body {
                EntryBody::Edit { target, .. }
                | EntryBody::Delete { target }
                | EntryBody::Reaction { target, .. }
                    if *target < change.seq =>
                {
                    needs.messages.insert(seq_value(*target));
                }
                EntryBody::Member(member) => {
                    needs.people.insert(member.member.as_str().to_owned());
                }
                _ => {}
            }
        }
        needs
    }
}

impl Derived {
    pub(super) fn new(
        room: &RoomDoc,
        people: Vec<PersonDoc>,
        messages: Vec<EntryDoc>,
        reactions: Vec<ReactionDoc>,
    ) -> Self {
        fn read<T>(doc: T, was: Option<i64>) -> Tracked<T> {
            Tracked {
                doc,
                was,
                dirty: false,
            }
        }
        let messages: BTreeMap<i64, _> = messages
            .into_iter()
            .filter(|doc| doc.message)
            .map(|doc| (doc.seq, read(doc.clone(), doc.at)))
            .collect();
        let by_position: HashMap<&str, i64> = messages
            .iter()
            .map(|(seq, message)| (message.doc.id.as_str(), *seq))
            .collect();
        let reactions = reactions
            .into_iter()
            .filter_map(|doc| {
                let target = *by_position.get(doc.message.as_str())?;
                let was = Some(doc.at);
                Some(((target, doc.emoji.clone()), read(doc, was)))
            })
            .collect();
        Self {
            key: room.key,
            people: people
                .into_iter()
                .map(|doc| (doc.user.clone(), read(doc.clone(), Some(doc.at))))
                .collect(),
            room: read(room.clone(), Some(room.at)),
            messages,
            reactions,
            reworded: BTreeSet::new(),
            deleted: BTreeMap::new(),
            moved: false,
        }
    }

    /// Folds the next entry.
    pub(super) fn apply(&mut self, change: &Change) {
        let Change {
            seq,
            user,
            ts,
            body,
        } = change;
        let at = seq_value(*seq);
        match body {
            EntryBody::Edit {
                target, mentions, ..
            } if target < seq => {
                self.reworded.insert(seq_value(*target));
                self.edit(at, *target, *ts, body, mentions);
            }
            EntryBody::Delete { target } if target < seq => self.delete(at, *target),
            EntryBody::Reaction { target, emoji, on } if target < seq => {
                self.react(at, user, *target, emoji, *on);
            }
            EntryBody::Member(member) => self.member(at, *ts, member),
            EntryBody::Room(change) => self.settings(at, change),
            // A message stands as it reads, and nothing can be done to what comes later.
            EntryBody::Message(_)
            | EntryBody::Edit { .. }
            | EntryBody::Delete { .. }
            | EntryBody::Reaction { .. } => {}
        }
    }

    /// A message into which the entry has not been folded, and which is not deleted.
    fn live(&mut self, at: i64, target: Seq) -> Option<&mut Tracked<EntryDoc>> {
        let message = self.messages.get_mut(&seq_value(target))?;
        let fresh =
            message.doc.deleted.is_none() && message.doc.at.is_none_or(|folded| folded < at);
        fresh.then_some(message)
    }

    fn edit(&mut self, at: i64, target: Seq, ts: Timestamp, body: &EntryBody, whom: &[UserId]) {
        let Some(message) = self.live(at, target) else {
            return;
        };
        let doc = &mut message.doc;
        doc.at = Some(at);
        doc.edited = Some(ts.as_millis());
        doc.edit = serde_json::to_string(body).ok();
        doc.mentions = user(&doc.user).map_or_else(|_| Vec::new(), |by| mentioned(&by, whom));
        message.dirty = true;
    }

    fn delete(&mut self, at: i64, target: Seq) {
        let Some(message) = self.messages.get_mut(&seq_value(target)) else {
            return;
        };
        // The first that deletes is the one that counts; a repair does again what it had to do.
        let first = *message.doc.deleted.get_or_insert(at);
        if first != at {
            return;
        }
        self.deleted.insert(seq_value(target), at);
        self.reworded.insert(seq_value(target));
        if message.doc.at.is_some_and(|folded| folded >= at) {
            return;
        }
        let doc = &mut message.doc;
        doc.at = Some(at);
        doc.body = blank(&doc.body).unwrap_or_else(|| blank_message(&doc.nonce));
        doc.edit = doc
            .edit
            .as_deref()
            .map(|edit| blank(edit).unwrap_or_default());
        doc.mentions.clear();
        doc.reacted = false;
        message.dirty = true;
    }

    fn react(&mut self, at: i64, by: &UserId, target: Seq, emoji: &str, on: bool) {
        let key = self.key;
        let Some(message) = self.messages.get_mut(&seq_value(target)) else {
            return;
        };
        if message.doc.deleted.is_some() {
            return;
        }
        let position = position(key, target);
        let slot = (seq_value(target), emoji.to_owned());
        if !on && !self.reactions.contains_key(&slot) {
            return;
        }
        let reaction = self.reactions.entry(slot).or_insert_with(|| Tracked {
            doc: ReactionDoc {
                id: reaction_id(&position, emoji),
                message: position,
                room: key,
                emoji: emoji.to_owned(),
                place: at,
                count: 0,
                users: Vec::new(),
                at: 0,
            },
            was: None,
            dirty: false,
        });
        // Even if the reaction was written already: whoever did may not have come as far as this.
        if !message.doc.reacted {
            message.doc.reacted = true;
            message.dirty = true;
        }
        let doc = &mut reaction.doc;
        if doc.at >= at {
            return;
        }
        let held = doc.users.iter().position(|user| user == by.as_str());
        match (on, held) {
            (true, None) => {
                if doc.users.is_empty() {
                    doc.place = at;
                }
                doc.users.push(by.as_str().to_owned());
            }
            (false, Some(n)) => drop(doc.users.remove(n)),
            _ => {}
        }
        doc.count = i64::try_from(doc.users.len()).unwrap_or(i64::MAX);
        doc.at = at;
        reaction.dirty = true;
    }

    fn member(&mut self, at: i64, ts: Timestamp, change: &MemberChange) {
        let who = change.member.as_str();
        let (key, room_id) = (self.key, &self.room.doc.id);
        let person = self
            .people
            .entry(who.to_owned())
            .or_insert_with(|| Tracked {
                doc: stranger(key, room_id, who),
                was: None,
                dirty: false,
            });
        let was_here = person.doc.here;
        let doc = &mut person.doc;
        if doc.at >= at {
            // Whoever folded it may have gone before the members were counted.
            self.moved = true;
            return;
        }
        match change.action {
            MemberAction::Join if !doc.here => {
                doc.here = true;
                doc.role = change.role.unwrap_or_default();
                doc.muted = None;
                doc.since = at;
                doc.came = ts.as_millis();
                doc.read = at;
            }
            MemberAction::Join | MemberAction::Role => {
                if let (true, Some(role)) = (doc.here, change.role) {
                    doc.role = role;
                }
            }
            MemberAction::Leave | MemberAction::Kick => doc.here = false,
            MemberAction::Ban => {
                doc.here = false;
                doc.banned = Some(Until::new(change.until));
            }
            MemberAction::Unban => doc.banned = None,
            MemberAction::Mute if doc.here => doc.muted = Some(Until::new(change.until)),
            MemberAction::Unmute => doc.muted = None,
            MemberAction::Mute => {}
        }
        doc.known = doc.here || doc.banned.is_some();
        doc.at = at;
        person.dirty = true;
        self.moved |= was_here != doc.here;
    }

    fn settings(&mut self, at: i64, change: &RoomChange) {
        let doc = &mut self.room.doc;
        if doc.at >= at {
            return;
        }
        if let Some(name) = &change.name {
            doc.name = Some(name.clone());
        }
        if let Some(topic) = &change.topic {
            doc.topic = Some(topic.clone());
        }
        if let Some(slow) = change.slow_mode_ms {
            doc.slow = i64::from(slow);
        }
        doc.at = at;
        self.room.dirty = true;
    }
}

fn stranger(key: Key, room_id: &str, who: &str) -> PersonDoc {
    PersonDoc {
        id: person_id(key, who),
        room: key,
        room_id: room_id.to_owned(),
        user: who.to_owned(),
        here: false,
        known: false,
        role: shared::protocol::room::Role::default(),
        since: 0,
        came: 0,
        muted: None,
        banned: None,
        read: 0,
        at: 0,
    }
}

/// A message or an edit without its words; `None` when it cannot be read.
pub(super) fn blank(json: &str) -> Option<String> {
    let mut body: EntryBody = serde_json::from_str(json).ok()?;
    match &mut body {
        EntryBody::Message(message) => {
            message.text.clear();
            message.mentions.clear();
            message.data = None;
            message.unreadable = false;
        }
        EntryBody::Edit { text, mentions, .. } => {
            text.clear();
            mentions.clear();
        }
        _ => {}
    }
    serde_json::to_string(&body).ok()
}

/// What is left of a deleted message that could not be read.
fn blank_message(nonce: &str) -> String {
    let Ok(nonce) = shared::id::Nonce::parse(nonce) else {
        return String::new();
    };
    let mut message = unreadable(nonce);
    message.unreadable = false;
    serde_json::to_string(&EntryBody::Message(message)).unwrap_or_default()
}
