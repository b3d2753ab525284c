//! The logs as they read at the end.
//!
//! The words of a deleted message, and those of its edits, leave the log: the entries stay, blank.
//! Whoever saw them before saw the words.

use std::collections::{HashMap, HashSet};

use shared::{
    id::{Epoch, RoomId, Seq},
    protocol::room::{Entry, EntryBody},
};

use super::{Rule, SendKey, Verdict};
use crate::record::{Happened, Line};

/// The logs of a record.
#[derive(Debug, Default)]
pub(super) struct Logs {
    rooms: HashMap<RoomId, Log>,
    /// Where each message stands.
    pub(super) messages: HashMap<SendKey, Seq>,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) epoch: Epoch,
    /// What came before it has expired.
    pub(super) first: Seq,
    entries: Vec<Entry>,
    /// Messages that were deleted.
    deleted: HashSet<Seq>,
}

impl Log {
    fn new(epoch: Epoch, first: Seq, entries: Vec<Entry>) -> Self {
        let deleted = entries.iter().filter_map(|entry| match &entry.body {
            EntryBody::Delete { target } => Some(*target),
            _ => None,
        });
        Self {
            deleted: deleted.collect(),
            epoch,
            first,
            entries,
        }
    }

    /// Whether an entry is older than what is kept. The newest entry always is kept.
    pub(super) fn has_expired(&self, seq: Seq) -> bool {
        seq < self.first
    }

    /// Whether the entry's words are gone: a deleted message's, or those of an edit of one.
    pub(super) fn is_blank(&self, entry: &Entry) -> bool {
        match &entry.body {
            EntryBody::Message(_) => self.deleted.contains(&entry.seq),
            EntryBody::Edit { target, .. } => self.deleted.contains(target),
            _ => false,
        }
    }

    pub(super) fn at(&self, seq: Seq) -> Option<&Entry> {
        let index = usize::try_from(seq.get().checked_sub(self.first.get())?).ok()?;
        self.entries.get(index)
    }

    pub(super) fn head(&self) -> Seq {
        Seq::new(self.first.get() + self.entries.len() as u64 - 1)
    }
}

impl Logs {
    pub(super) fn of(&self, room: &RoomId) -> Option<&Log> {
        self.rooms.get(room)
    }
}

/// Reads the logs of a record, and holds them to be dense, free of doubles and the same on every
/// surface.
pub(super) fn read(lines: &[Line], verdict: &mut Verdict) -> Logs {
    let mut logs = Logs::default();
    for line in lines {
        let Happened::Log {
            room,
            epoch,
            first,
            entries,
        } = &line.what
        else {
            continue;
        };
        if let Some(other) = logs.rooms.get(room) {
            let same = (&other.epoch, other.first, &other.entries) == (epoch, *first, entries);
            if !same {
                verdict.breach(
                    Rule::LogBroken,
                    format!("{room}: two readings of the log differ"),
                );
            }
            continue;
        }
        if *first == Seq::ZERO {
            verdict.breach(Rule::Record, format!("{room}: its log begins at 0"));
            continue;
        }
        for (place, entry) in (first.get()..).zip(entries) {
            if entry.seq.get() != place {
                verdict.breach(
                    Rule::LogBroken,
                    format!("{room}: entry {} stands at place {place}", entry.seq),
                );
                break;
            }
        }
        for entry in entries {
            if let EntryBody::Message(message) = &entry.body {
                let key = (room.clone(), entry.user.clone(), message.nonce.clone());
                if let Some(first) = logs.messages.insert(key, entry.seq) {
                    verdict.breach(
                        Rule::Twice,
                        format!(
                            "{room}: {}'s {} stands at {first} and at {}",
                            entry.user, message.nonce, entry.seq
                        ),
                    );
                }
            }
        }
        verdict.seen.logs += 1;
        verdict.seen.entries += entries.len();
        let log = Log::new(epoch.clone(), *first, entries.clone());
        verdict.seen.deleted += log.deleted.len();
        for entry in entries.iter().filter(|entry| log.is_blank(entry)) {
            if blanked(entry) != *entry {
                let what = format!(
                    "{room}: the words at {} are those of a deleted message",
                    entry.seq
                );
                verdict.breach(Rule::Kept, what);
            }
        }
        logs.rooms.insert(room.clone(), log);
    }
    if logs.rooms.is_empty() {
        verdict.breach(Rule::Record, "the record holds no log to judge by");
    }
    logs
}

/// The entry without its words, as the log keeps it once its message is deleted.
pub(super) fn blanked(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    match &mut entry.body {
        EntryBody::Message(message) => {
            message.text.clear();
            message.mentions.clear();
            message.data = None;
        }
        EntryBody::Edit { text, mentions, .. } => {
            text.clear();
            mentions.clear();
        }
        _ => {}
    }
    entry
}
