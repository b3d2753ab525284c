//! What was said where, and who heard it: count, order and content of every delivery.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{
    Fault, Who,
    message::{Content, Told},
};

/// A room of a [`Ledger`].
pub type Room = usize;

/// One entry of a room's log.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// A digest of the text, as first heard.
    text: u64,
    /// How many members heard it.
    heard: u32,
}

#[derive(Debug)]
struct Log {
    id: Box<str>,
    /// Where the log stood when the ledger was opened.
    base: u64,
    members: u32,
    entries: Vec<Entry>,
    /// Entries that every member has.
    whole: u64,
}

/// The book of some rooms and of who heard what.
#[derive(Debug, Default)]
pub struct Ledger {
    rooms: HashMap<Box<str>, Room>,
    logs: Vec<Log>,
    /// The next place each session expects, by room.
    expected: Vec<Vec<(Room, u64)>>,
    delivered: u64,
    payload_bytes: u64,
}

/// A message that a session heard.
#[derive(Debug)]
pub struct Heard<'a> {
    /// Where.
    pub room: Room,
    /// Its place in the log.
    pub seq: u64,
    /// Its words.
    pub text: &'a str,
    /// Every member has it now.
    pub last: bool,
}

impl Ledger {
    /// Opens the book of a room whose log stands at `base`, with `members` who are connected.
    pub fn open(&mut self, id: &str, base: u64, members: usize) -> Room {
        let room = self.logs.len();
        self.rooms.insert(id.into(), room);
        self.logs.push(Log {
            id: id.into(),
            base,
            members: members as u32,
            entries: Vec::new(),
            whole: 0,
        });
        room
    }

    /// The room's id.
    pub fn id(&self, room: Room) -> &str {
        &self.logs[room].id
    }

    /// How many rooms there are.
    pub fn rooms(&self) -> usize {
        self.logs.len()
    }

    /// Deliveries verified so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes of text in them.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Entries of a room that every member has.
    pub fn whole(&self, room: Room) -> u64 {
        self.logs[room].whole
    }

    /// Whether every member has every entry that anybody knows of.
    pub fn is_whole(&self, room: Room) -> bool {
        let log = &self.logs[room];
        log.whole == log.entries.len() as u64
    }

    /// A session expects the rooms' entries from here on.
    pub fn listen(&mut self, who: Who, rooms: impl IntoIterator<Item = Room>) {
        if self.expected.len() <= who {
            self.expected.resize_with(who + 1, Vec::new);
        }
        let logs = &self.logs;
        self.expected[who].extend(rooms.into_iter().map(|room| (room, logs[room].base + 1)));
    }

    /// Takes in what a session was told; messages of the book's rooms are verified.
    ///
    /// # Errors
    /// A hole, a double, another order, or other words than another member heard.
    pub fn hear<'a>(&mut self, who: Who, told: &'a Told<'a>) -> Result<Option<Heard<'a>>, Fault> {
        let (Some("message.new"), Some(content)) = (told.ev.as_deref(), &told.d) else {
            return Ok(None);
        };
        let Content {
            room: Some(id),
            seq: Some(seq),
            text: Some(text),
            ..
        } = content
        else {
            return Err(Fault::Contract(
                "a message without room, seq or text".into(),
            ));
        };
        let Some(&room) = self.rooms.get(id.as_ref()) else {
            return Ok(None);
        };
        let expected = (self.expected.get_mut(who))
            .and_then(|rooms| rooms.iter_mut().find(|(of, _)| *of == room))
            .ok_or_else(|| Fault::Delivery(format!("socket {who} heard {id} unasked")))?;
        if *seq != expected.1 {
            let what = format!("socket {who} heard {seq} of {id}, not {}", expected.1);
            return Err(Fault::Delivery(what));
        }
        expected.1 += 1;
        let log = &mut self.logs[room];
        let place = (seq - log.base - 1) as usize;
        if log.entries.len() <= place {
            log.entries.resize(place + 1, Entry::default());
        }
        let entry = &mut log.entries[place];
        let digest = digest(text);
        if entry.heard == 0 && entry.text == 0 {
            entry.text = digest;
        } else if entry.text != digest {
            let what = format!("socket {who} heard other words as {seq} of {id}");
            return Err(Fault::Delivery(what));
        }
        entry.heard += 1;
        let last = entry.heard == log.members;
        log.whole += u64::from(last);
        self.delivered += 1;
        self.payload_bytes += text.len() as u64;
        Ok(Some(Heard {
            room,
            seq: *seq,
            text,
            last,
        }))
    }

    /// A send was acknowledged at this place.
    ///
    /// # Errors
    /// Members heard other words there.
    pub fn acknowledged(&mut self, room: Room, seq: u64, text: &str) -> Result<(), Fault> {
        let log = &mut self.logs[room];
        let place = (seq - log.base - 1) as usize;
        if log.entries.len() <= place {
            log.entries.resize(place + 1, Entry::default());
        }
        let digest = digest(text);
        let entry = &mut log.entries[place];
        if entry.text == 0 {
            entry.text = digest;
        }
        if entry.text == digest {
            return Ok(());
        }
        let id = &log.id;
        let what = format!("{seq} of {id} was acknowledged to two, or altered");
        Err(Fault::Delivery(what))
    }

    /// Closes the book: every member must have heard every entry.
    pub fn settle(&self) -> Result<(), Fault> {
        for log in &self.logs {
            for (place, entry) in log.entries.iter().enumerate() {
                if entry.heard != log.members {
                    let (seq, id) = (log.base + 1 + place as u64, &log.id);
                    let (heard, members) = (entry.heard, log.members);
                    let what = format!("{heard} of {members} heard {seq} of {id}");
                    return Err(Fault::Delivery(what));
                }
            }
        }
        Ok(())
    }
}

/// Never 0, which stands for "nothing heard yet".
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn told(room: &'static str, seq: u64, text: &'static str) -> Told<'static> {
        Told {
            ev: Some(Cow::Borrowed("message.new")),
            d: Some(Content {
                room: Some(Cow::Borrowed(room)),
                seq: Some(seq),
                text: Some(Cow::Borrowed(text)),
                ..Content::default()
            }),
            ..Told::default()
        }
    }

    fn book() -> Ledger {
        let mut ledger = Ledger::default();
        let room = ledger.open("r", 10, 2);
        ledger.listen(0, [room]);
        ledger.listen(1, [room]);
        ledger
    }

    #[test]
    fn what_everybody_heard_in_order_settles() {
        let mut ledger = book();
        ledger.acknowledged(0, 12, "b").unwrap();
        for (seq, text) in [(11, "a"), (12, "b")] {
            assert!(!ledger.hear(0, &told("r", seq, text)).unwrap().unwrap().last);
            assert!(ledger.hear(1, &told("r", seq, text)).unwrap().unwrap().last);
        }
        ledger.acknowledged(0, 11, "a").unwrap();
        assert_eq!((ledger.delivered(), ledger.whole(0)), (4, 2));
        ledger.settle().unwrap();
        assert!(
            ledger
                .hear(0, &told("elsewhere", 1, "x"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn holes_doubles_and_altered_words_are_found() {
        let mut ledger = book();
        ledger.hear(0, &told("r", 11, "a")).unwrap();
        assert!(ledger.hear(0, &told("r", 13, "c")).is_err(), "a hole");
        assert!(ledger.hear(0, &told("r", 11, "a")).is_err(), "a double");
        assert!(ledger.hear(1, &told("r", 11, "b")).is_err(), "other words");
        assert!(
            ledger.acknowledged(0, 11, "b").is_err(),
            "other words acknowledged"
        );
        assert!(ledger.hear(7, &told("r", 11, "a")).is_err(), "a stranger");
        assert!(ledger.settle().is_err(), "one of two");
    }

    #[test]
    fn an_acknowledged_message_that_nobody_heard_does_not_settle() {
        let mut ledger = book();
        ledger.acknowledged(0, 11, "a").unwrap();
        assert!(ledger.settle().is_err());
    }
}
