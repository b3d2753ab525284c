//! Group commit: what waits for a room is appended together, as far as one decision does not
//! depend on the entry another makes.

use std::collections::HashSet;

use shared::{
    id::{Seq, Timestamp, UserId},
    protocol::{
        command::Command,
        reply::Appended,
        room::{Entry, EntryBody, MessageBody},
    },
};
use smallvec::SmallVec;

use super::{ask::Ask, rules, state::RoomState};
use crate::history::{NewEntry, Outcome};

/// The most entries of one append.
pub(super) const MAX_ENTRIES: usize = 256;
/// The most bytes of words and data of one append, as JSON has them: half of what an outbox holds, because all of it reaches
/// every member at once.
pub(super) const MAX_BYTES: usize = 128 * 1024;

/// Commands whose entries go into the log with one append.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    touched: Vec<Touch>,
    /// Who comes in.
    coming: HashSet<UserId>,
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
    /// Somebody comes in: many may at once, as long as there is room for all.
    Come(UserId),
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
            Command::RoomJoin(_) => Some(Self::Come(ask.caller.user.clone())),
            Command::RoomInvite(invite) => Some(Self::Come(invite.user.clone())),
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
            _ => false,
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
    /// A change of the room itself is the last of its batch. Who comes in comes in with others: ten
    /// thousand who join at once are not ten thousand appends.
    pub(super) fn push(
        &mut self,
        ask: Ask,
        bodies: SmallVec<[EntryBody; 1]>,
        ts: Timestamp,
        state: &RoomState,
    ) -> Result<(), Box<Ask>> {
        let entries = bodies.len().max(1);
        let bytes = match &ask.command {
            Command::MessageSend(send) => {
                let data = send.data.as_ref().map_or(0, |_| rules::MAX_DATA_BYTES);
                rules::length_in_json(&send.text) + data
            }
            Command::MessageEdit(edit) => rules::length_in_json(&edit.text),
            _ => 0,
        };
        let full = self.entries + entries > MAX_ENTRIES || self.bytes + bytes > MAX_BYTES;
        if self.closed || (full && !self.is_empty()) {
            return Err(Box::new(ask));
        }
        match Touch::of(&ask, state) {
            None => {}
            // It was decided on what stands, which messages before it do not change, but who
            // comes in does.
            Some(Touch::Room) if self.coming.is_empty() => self.closed = true,
            Some(Touch::Room) => return Err(Box::new(ask)),
            Some(Touch::Come(user)) => {
                let expected = state.members().len() + self.coming.len();
                if expected >= rules::max_members(state.kind()) || !self.coming.insert(user) {
                    return Err(Box::new(ask));
                }
            }
            Some(touch) if self.touched.iter().any(|other| touch.clashes(other)) => {
                return Err(Box::new(ask));
            }
            Some(touch) => self.touched.push(touch),
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
                    unreadable: false,
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
        unreadable: false,
        nonce: send.nonce.clone(),
        text: std::mem::take(&mut send.text),
        reply_to: send.reply_to,
        mentions: std::mem::take(&mut send.mentions),
        data: send.data.take(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::{
        id::{Epoch, Nonce, RoomId},
        protocol::{
            command::{MessageSend, OfMember, OfMessage, OfRoom, React},
            room::{Role, RoomChange, RoomKind},
        },
    };
    use smallvec::smallvec;

    use super::*;
    use crate::{
        overload::Overload,
        room::{Caller, ReplyTo, RoomCommand, ask::Owed, state::change},
        transport::relay::Relays,
    };

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn state(slow_mode_ms: u32) -> RoomState {
        let mut state = RoomState::unborn(room(), Epoch::generate());
        let created = RoomChange {
            created: Some(RoomKind::Group),
            slow_mode_ms: Some(slow_mode_ms),
            ..RoomChange::default()
        };
        let join = change(shared::protocol::room::MemberAction::Join, &user("a"));
        let bodies = [EntryBody::Room(created), join.role(Role::Owner).entry()];
        for (body, seq) in bodies.into_iter().zip(1..) {
            state.apply(&Entry {
                seq: Seq::new(seq),
                user: user("a"),
                ts: Timestamp::default(),
                body,
            });
        }
        state
    }

    fn ask(who: &str, command: Command) -> Ask {
        let command = RoomCommand {
            caller: Caller {
                user: user(who),
                service: false,
            },
            command,
            reply: ReplyTo::Nobody,
        };
        let owed: Arc<Owed> = Arc::default();
        Ask::new(command, &Relays::new(1, Overload::default()), &owed)
    }

    fn send(text: &str) -> Command {
        Command::MessageSend(MessageSend {
            room: room(),
            nonce: Nonce::generate(),
            text: text.into(),
            reply_to: None,
            mentions: Vec::new(),
            data: None,
            traceparent: None,
        })
    }

    fn react(seq: u64, emoji: &str) -> Command {
        Command::ReactionAdd(React {
            room: room(),
            seq: Seq::new(seq),
            emoji: emoji.into(),
        })
    }

    fn delete(seq: u64) -> Command {
        Command::MessageDelete(OfMessage {
            room: room(),
            seq: Seq::new(seq),
        })
    }

    fn kick() -> Command {
        Command::RoomKick(OfMember {
            room: room(),
            user: user("b"),
        })
    }

    fn join() -> Command {
        Command::RoomJoin(OfRoom { room: room() })
    }

    fn invite(who: &str) -> Command {
        Command::RoomInvite(OfMember {
            room: room(),
            user: user(who),
        })
    }

    fn admits(batch: &mut Batch, state: &RoomState, who: &str, command: Command) -> bool {
        let body = EntryBody::Delete { target: Seq::ZERO };
        let said = matches!(command, Command::MessageSend(_));
        let bodies = if said { smallvec![] } else { smallvec![body] };
        let asked = ask(who, command);
        batch
            .push(asked, bodies, Timestamp::default(), state)
            .is_ok()
    }

    #[test]
    fn what_depends_on_each_other_is_not_decided_together() {
        let rows: Vec<(Command, &str, Command, bool)> = vec![
            (send("1"), "a", send("2"), true),
            (send("1"), "b", delete(1), true),
            (delete(1), "a", delete(2), true),
            (delete(1), "a", delete(1), false),
            (delete(1), "b", react(1, "x"), false),
            (react(1, "x"), "a", delete(1), false),
            (react(1, "x"), "a", react(1, "x"), false),
            (react(1, "x"), "b", react(1, "x"), true),
            (react(1, "x"), "b", react(1, "y"), false),
            (react(1, "x"), "b", react(2, "y"), true),
            (send("1"), "b", kick(), true),
            (kick(), "b", send("1"), false),
            (kick(), "b", kick(), false),
            (send("1"), "b", join(), true),
            (join(), "b", send("1"), true),
            (join(), "b", join(), true),
            (join(), "a", join(), false),
            (join(), "b", invite("c"), true),
            (join(), "b", invite("a"), false),
            (join(), "b", kick(), false),
            (kick(), "b", join(), false),
            (join(), "b", react(1, "x"), true),
        ];
        let state = state(0);
        for (first, by, second, together) in rows {
            let mut batch = Batch::default();
            let told = format!("{first:?} then {by} {second:?}");
            assert!(admits(&mut batch, &state, "a", first));
            assert_eq!(admits(&mut batch, &state, by, second), together, "{told}");
        }
    }

    #[test]
    fn under_slow_mode_nobody_speaks_twice_in_one_batch() {
        let (slow, fast) = (state(1_000), state(0));
        for (state, together) in [(slow, false), (fast, true)] {
            let mut batch = Batch::default();
            assert!(admits(&mut batch, &state, "a", send("1")));
            assert_eq!(admits(&mut batch, &state, "a", send("2")), together);
            assert!(admits(&mut batch, &state, "b", send("3")));
        }
    }

    /// Each was let in on a count without the others.
    #[test]
    fn no_more_come_in_together_than_there_is_room_for() {
        let state = state(0);
        let places = rules::max_members(RoomKind::Group) - 1;
        let mut batch = Batch::default();
        for n in 0..MAX_ENTRIES {
            assert!(admits(&mut batch, &state, "a", invite(&format!("u{n}"))));
        }
        // A batch takes fewer entries than a room takes members: here they count for nothing.
        for n in MAX_ENTRIES..places {
            batch.entries = 0;
            assert!(admits(&mut batch, &state, "a", invite(&format!("u{n}"))));
        }
        batch.entries = 0;
        assert!(!admits(&mut batch, &state, "a", invite("one-too-many")));
    }

    #[test]
    fn a_batch_has_bounds() {
        let state = state(0);
        let mut batch = Batch::default();
        for _ in 0..MAX_ENTRIES {
            assert!(admits(&mut batch, &state, "a", send("x")));
        }
        assert!(!admits(&mut batch, &state, "a", send("x")));
        assert_eq!(batch.len(), MAX_ENTRIES);
        let mut batch = Batch::default();
        let text = "x".repeat(MAX_BYTES - 1);
        assert!(admits(&mut batch, &state, "a", send(&text)));
        assert!(!admits(&mut batch, &state, "a", send("xx")));
        // What JSON writes as six bytes counts as six.
        let mut batch = Batch::default();
        let text = "\u{1}".repeat(MAX_BYTES / 6);
        assert!(admits(&mut batch, &state, "a", send(&text)));
        assert!(!admits(&mut batch, &state, "a", send("xx xx")));
    }

    #[test]
    fn retries_leave_no_hole_in_what_is_told_of_the_rest() {
        let state = state(0);
        let mut batch = Batch::default();
        for text in ["1", "2", "3"] {
            assert!(admits(&mut batch, &state, "a", send(text)));
        }
        let outcome = |seq, dup| Outcome {
            seq: Seq::new(seq),
            ts: Timestamp::default(),
            dup,
        };
        let outcomes = [outcome(3, false), outcome(1, true), outcome(4, false)];
        let (asks, entries) = batch.stood(&outcomes);
        let told: Vec<(u64, bool)> = asks.iter().map(|(_, at)| (at.seq.get(), at.dup)).collect();
        assert_eq!(told, [(3, false), (1, true), (4, false)]);
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq.get()).collect();
        assert_eq!(seqs, [3, 4]);
        let EntryBody::Message(last) = &entries[1].body else {
            panic!("{entries:?}");
        };
        assert_eq!(last.text, "3");
    }
}
