//! The logs as they read at the end.

use std::collections::HashMap;

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
    entries: Vec<Entry>,
}

impl Log {
    pub(super) fn at(&self, seq: Seq) -> Option<&Entry> {
        let index = usize::try_from(seq.get()).ok()?.checked_sub(1)?;
        self.entries.get(index)
    }

    pub(super) fn head(&self) -> Seq {
        Seq::new(self.entries.len() as u64)
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
            entries,
        } = &line.what
        else {
            continue;
        };
        if let Some(first) = logs.rooms.get(room) {
            if first.epoch != *epoch || first.entries != *entries {
                verdict.breach(
                    Rule::LogBroken,
                    format!("{room}: two readings of the log differ"),
                );
            }
            continue;
        }
        for (index, entry) in entries.iter().enumerate() {
            if entry.seq.get() != index as u64 + 1 {
                verdict.breach(
                    Rule::LogBroken,
                    format!("{room}: entry {} stands at place {}", entry.seq, index + 1),
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
        logs.rooms.insert(
            room.clone(),
            Log {
                epoch: epoch.clone(),
                entries: entries.clone(),
            },
        );
    }
    if logs.rooms.is_empty() {
        verdict.breach(Rule::Record, "the record holds no log to judge by");
    }
    logs
}
