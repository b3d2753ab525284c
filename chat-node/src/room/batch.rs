//! Group commit: what waits for a room is appended together, as far as one decision does not
//! depend on the entry another makes.

use shared::{
    id::{Seq, Timestamp, UserId},
    protocol::{
        command::Command,
        reply::Appended,
        room::{Entry, EntryBody, MessageBody},
    },
};
use smallvec::SmallVec;

use super::{ask::Ask, state::RoomState};
use crate::history::{NewEntry, Outcome};

/// The most entries of one append.
pub(super) const MAX_ENTRIES: usize = 256;
/// The most bytes of text of one append.
pub(super) const MAX_BYTES: usize = 512 * 1024;

/// Commands whose entries go into the log with one append.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    touched: Vec<Touch>,
    entries: usize,
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
struct Item {
    ask: Ask,
    ts: Timestamp,
    /// Empty for a message, which stands in the command.
    bodies: SmallVec<[EntryBody; 1]>,
}

/// What an entry changes that another decision may look at.
#[derive(Debug, PartialEq)]
enum Touch {
    /// When somebody last spoke, under slow mode.
    Pace(UserId),
    /// A message: how it reads, or that it is gone.
    Message(Seq),
    /// One emoji under a message. Others may join in with the same at once.
    Reaction(Seq, Box<str>, UserId),
    /// Anything else: members, settings.
    Room,
}

impl Touch {
    fn of(ask: &Ask, state: &RoomState) -> Option<Self> {
        match &ask.command {
            Command::MessageSend(_) => {
                (state.slow_mode_ms() > 0).then(|| Self::Pace(ask.caller.user.clone()))
            }
            Command::MessageEdit(edit) => Some(Self::Message(edit.seq)),
            Command::MessageDelete(delete) => Some(Self::Message(delete.seq)),
            Command::ReactionAdd(r) | Command::ReactionRemove(r) => Some(Self::Reaction(
                r.seq,
                r.emoji.as_str().into(),
                ask.caller.user.clone(),
            )),
            _ => Some(Self::Room),
        }
    }

    fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pace(a), Self::Pace(b)) => a == b,
            (Self::Message(a), Self::Message(b) | Self::Reaction(b, ..))
            | (Self::Reaction(a, ..), Self::Message(b)) => a == b,
            (Self::Reaction(a, emoji, user), Self::Reaction(b, other, by)) => {
                a == b && (emoji != other || user == by)
            }
            (Self::Room, _) | (_, Self::Room) => true,
            (Self::Pace(_), _) | (_, Self::Pace(_)) => false,
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many entries it holds.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Takes a decided command in, unless its decision might read otherwise once the entries
    /// before it stand, or the batch is full: then it is handed back, for the next one.
    ///
    /// A change of the room itself is the last of its batch.
    pub(super) fn push(
        &mut self,
        ask: Ask,
        bodies: SmallVec<[EntryBody; 1]>,
        ts: Timestamp,
        state: &RoomState,
    ) -> Result<(), Box<Ask>> {
        let entries = bodies.len().max(1);
        let bytes = match &ask.command {
            Command::MessageSend(send) => send.text.len(),
            Command::MessageEdit(edit) => edit.text.len(),
            _ => 0,
        };
        let full = self.entries + entries > MAX_ENTRIES || self.bytes + bytes > MAX_BYTES;
        if self.closed || (full && !self.is_empty()) {
            return Err(Box::new(ask));
        }
        if let Some(touch) = Touch::of(&ask, state) {
            if touch == Touch::Room {
                // It was decided on what stands, which messages before it do not change.
                self.closed = true;
            } else if self.touched.iter().any(|other| touch.clashes(other)) {
                return Err(Box::new(ask));
            } else {
                self.touched.push(touch);
            }
        }
        self.entries += entries;
        self.bytes += bytes;
        self.items.push(Item { ask, ts, bodies });
        Ok(())
    }

    /// What to append.
    pub(super) fn entries(&self) -> Vec<NewEntry> {
        let mut entries = Vec::with_capacity(self.entries);
        for Item { ask, ts, bodies } in &self.items {
            let new = |body| NewEntry {
                user: ask.caller.user.clone(),
                ts: *ts,
                body,
            };
            if let Command::MessageSend(send) = &ask.command {
                entries.push(new(EntryBody::Message(MessageBody {
                    nonce: send.nonce.clone(),
                    text: send.text.clone(),
                    reply_to: send.reply_to,
                    mentions: send.mentions.clone(),
                    data: send.data.clone(),
                })));
            } else {
                entries.extend(bodies.iter().cloned().map(new));
            }
        }
        entries
    }

    /// The commands with where their entries stand, and the entries that are new, ascending.
    pub(super) fn stood(self, outcomes: &[Outcome]) -> (Vec<(Ask, Appended)>, Vec<Entry>) {
        let mut asks = Vec::with_capacity(self.items.len());
        let mut entries = Vec::with_capacity(self.entries);
        let mut outcomes = outcomes.iter();
        for Item {
            mut ask, bodies, ..
        } in self.items
        {
            let mut answer = None;
            let bodies = match &mut ask.command {
                Command::MessageSend(send) => SmallVec::from_buf([message(send)]),
                _ => bodies,
            };
            for (body, outcome) in bodies.into_iter().zip(outcomes.by_ref()) {
                answer.get_or_insert(Appended {
                    seq: outcome.seq,
                    ts: outcome.ts,
                    dup: outcome.dup,
                });
                if !outcome.dup {
                    entries.push(Entry {
                        seq: outcome.seq,
                        user: ask.caller.user.clone(),
                        ts: outcome.ts,
                        body,
                    });
                }
            }
            // Without an outcome the answer is dropped: `unavailable`.
            if let Some(answer) = answer {
                asks.push((ask, answer));
            }
        }
        (asks, entries)
    }

    /// The commands, undone.
    pub(super) fn into_asks(self) -> impl DoubleEndedIterator<Item = Ask> {
        self.items.into_iter().map(|item| item.ask)
    }
}

/// Moves the message out of a command that is done with.
fn message(send: &mut shared::protocol::command::MessageSend) -> EntryBody {
    EntryBody::Message(MessageBody {
        nonce: send.nonce.clone(),
        text: std::mem::take(&mut send.text),
        reply_to: send.reply_to,
        mentions: std::mem::take(&mut send.mentions),
        data: send.data.take(),
    })
}
