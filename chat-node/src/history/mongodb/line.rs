//! One append on its way into the log: which of its entries stand, and what is still to be sent.

use std::collections::HashMap;

use mongodb::bson::oid::ObjectId;
use shared::{
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, MemberAction},
};

use super::{
    documents::{EntryDoc, position, seq_value},
    heads::Place,
};
use crate::history::{NewEntry, Outcome};

/// An entry that has no position yet, encoded by whoever appends it.
pub(super) struct Fresh {
    pub(super) user: UserId,
    pub(super) ts: Timestamp,
    pub(super) body: EntryBody,
    json: String,
    /// Made once, and the same however often the entry is sent.
    attempt: ObjectId,
}

impl Fresh {
    pub(super) fn new(entry: NewEntry) -> serde_json::Result<Self> {
        Ok(Self {
            json: serde_json::to_string(&entry.body)?,
            user: entry.user,
            ts: entry.ts,
            body: entry.body,
            attempt: ObjectId::new(),
        })
    }

    /// About how many bytes it holds while it waits.
    pub(super) fn weight(&self) -> usize {
        2 * self.json.len() + 160
    }

    /// The user and the nonce of a message.
    fn name(&self) -> Option<(&str, &str)> {
        match &self.body {
            EntryBody::Message(message) => Some((self.user.as_str(), message.nonce.as_str())),
            _ => None,
        }
    }

    /// It changes what is derived, beyond that there is one message more.
    pub(super) fn is_folded(&self) -> bool {
        !matches!(self.body, EntryBody::Message(_))
    }

    fn document(&self, at: Place, folded: bool) -> EntryDoc {
        let waits = self.is_folded() && !folded;
        let mut doc = EntryDoc {
            id: position(at.key, at.head),
            room: at.key,
            seq: seq_value(at.head),
            user: self.user.as_str().to_owned(),
            ts: self.ts.as_millis(),
            // `!` is in no nonce.
            nonce: format!("!{}", at.head),
            attempt: self.attempt,
            place: at.messages,
            last: at.last,
            body: self.json.clone(),
            message: false,
            unfolded: waits.then_some(at.key),
            concerns: None,
            edits: None,
            end: false,
            mentions: Vec::new(),
            at: None,
            deleted: None,
            edited: None,
            edit: None,
            reacted: false,
        };
        match &self.body {
            EntryBody::Message(message) => {
                message.nonce.as_str().clone_into(&mut doc.nonce);
                doc.message = true;
                doc.mentions = mentioned(&self.user, &message.mentions);
            }
            EntryBody::Edit { target, .. } => doc.edits = Some(position(at.key, *target)),
            EntryBody::Member(change) if waits => {
                use MemberAction::{Ban, Join, Kick, Leave};
                if matches!(change.action, Join | Leave | Kick | Ban) {
                    doc.concerns = Some(change.member.as_str().to_owned());
                }
            }
            _ => {}
        }
        doc
    }
}

/// Whom a message mentions besides its author, once each.
pub(super) fn mentioned(author: &UserId, mentions: &[UserId]) -> Vec<String> {
    let mut users: Vec<String> = Vec::with_capacity(mentions.len());
    for user in mentions.iter().filter(|user| *user != author) {
        if !users.iter().any(|other| other == user.as_str()) {
            users.push(user.as_str().to_owned());
        }
    }
    users
}

/// What is known of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Waits,
    /// A message that says what an earlier one of the same append says.
    As(usize),
    Known(Outcome),
}

/// Why an append came to nothing, or not to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// Somebody else's entry stands where its first should.
    Conflict(Seq),
    /// Some of it may stand.
    Away(String),
}

/// The entries of one append, and how far they have come.
pub(super) struct Line {
    pub(super) room: RoomId,
    pub(super) expected: Seq,
    pub(super) entries: Vec<Fresh>,
    slots: Vec<Slot>,
    /// Where the log ends with what is known to stand.
    pub(super) end: Place,
    /// Whether what is derived from them is written by whoever appends them.
    folded: bool,
    pub(super) lost: Option<Lost>,
}

impl Line {
    /// To be appended at an end that is known to stand.
    pub(super) fn new(room: RoomId, entries: Vec<Fresh>, end: Place, folded: bool) -> Self {
        let mut first: HashMap<(&str, &str), usize> = HashMap::new();
        let slots = entries
            .iter()
            .enumerate()
            .map(|(n, entry)| match entry.name() {
                None => Slot::Waits,
                Some(name) => match *first.entry(name).or_insert(n) {
                    earlier if earlier == n => Slot::Waits,
                    earlier => Slot::As(earlier),
                },
            })
            .collect();
        Self {
            room,
            expected: end.head,
            slots,
            entries,
            end,
            folded,
            lost: None,
        }
    }

    /// What is still to be sent, in order, at the positions that follow the end.
    pub(super) fn documents(&self) -> Vec<EntryDoc> {
        if self.lost.is_some() {
            return Vec::new();
        }
        let mut at = self.end;
        let waiting = self.entries.iter().zip(&self.slots);
        waiting
            .filter(|(_, slot)| **slot == Slot::Waits)
            .map(|(entry, _)| {
                at = step(at, entry);
                entry.document(at, self.folded)
            })
            .collect()
    }

    /// How many entries are still to be sent.
    pub(super) fn waiting(&self) -> usize {
        match self.lost {
            Some(_) => 0,
            None => self
                .slots
                .iter()
                .filter(|slot| **slot == Slot::Waits)
                .count(),
        }
    }

    /// The first so many of what was sent stand.
    pub(super) fn stand(&mut self, count: usize) {
        for _ in 0..count {
            let Some(n) = self.next() else { return };
            self.end = step(self.end, &self.entries[n]);
            self.slots[n] = Slot::Known(Outcome {
                seq: self.end.head,
                ts: self.entries[n].ts,
                dup: false,
            });
        }
    }

    /// The next to be sent stands already, from before this append; those behind it close ranks.
    pub(super) fn repeats(&mut self, first: Outcome) {
        if let Some(n) = self.next() {
            self.slots[n] = Slot::Known(first);
        }
    }

    /// Where the next to be sent belongs, and the name of its attempt.
    pub(super) fn next_position(&self) -> Option<(String, ObjectId)> {
        let n = self.next().filter(|_| self.lost.is_none())?;
        let at = position(self.end.key, self.end.head.next());
        Some((at, self.entries[n].attempt))
    }

    /// The user and the nonce of the next to be sent, if it is a message.
    pub(super) fn next_name(&self) -> Option<(&str, &str)> {
        self.next().and_then(|n| self.entries[n].name())
    }

    /// Whether anything of it is in the log because of it.
    pub(super) fn touched(&self) -> bool {
        self.end.head != self.expected
    }

    /// Whether something of it is still to be folded.
    pub(super) fn leaves_folds(&self) -> bool {
        !self.folded
            && self.entries.iter().zip(&self.slots).any(|(entry, slot)| {
                entry.is_folded() && matches!(slot, Slot::Known(outcome) if !outcome.dup)
            })
    }

    /// Where all of it stands.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let known = |n: usize| match self.slots[n] {
            Slot::Known(outcome) => Some(outcome),
            _ => None,
        };
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(n, slot)| match slot {
                Slot::As(first) => known(*first).map(|first| Outcome { dup: true, ..first }),
                _ => known(n),
            })
            .collect()
    }

    fn next(&self) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == Slot::Waits)
    }
}

fn step(at: Place, entry: &Fresh) -> Place {
    let head = at.head.next();
    let message = !entry.is_folded();
    Place {
        key: at.key,
        head,
        messages: at.messages + i64::from(message),
        last: if message { seq_value(head) } else { at.last },
    }
}
