//! What each client saw against the logs. Of what was deleted the logs know no words any more: then
//! clients are held to what was sent and to each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use shared::{
    id::{Epoch, RoomId, Seq, SessionId},
    protocol::room::{Entry, EntryBody},
};

use super::{
    Rule, SendKey, Verdict,
    logs::{Logs, blanked},
};
use crate::record::{Happened, Line, Mark};

/// One client while its lines are read.
#[derive(Default)]
struct Client {
    /// The session whose events come now.
    session: Option<SessionId>,
    /// The last position of that session's stream.
    s: u64,
    rooms: HashMap<RoomId, Place>,
}

/// What a client holds of a room.
struct Place {
    epoch: Epoch,
    /// Entries from here on are the client's to see.
    from: Seq,
    /// Where this session's events of the room stand.
    events: Seq,
    /// Entries this session has delivered as events.
    delivered: HashSet<Seq>,
    /// Entries seen by whatever way.
    seen: HashSet<Seq>,
    member: bool,
}

impl Place {
    fn at(mark: &Mark) -> Self {
        Self {
            epoch: mark.epoch.clone(),
            from: mark.head,
            events: mark.head,
            delivered: HashSet::new(),
            seen: HashSet::new(),
            member: true,
        }
    }

    /// A new snapshot: events go on after its head; what lies between is for `room.sync`.
    fn place(&mut self, mark: &Mark) {
        // Whoever comes back into a room has no claim on what was said meanwhile.
        if self.epoch != mark.epoch || !self.member {
            *self = Self::at(mark);
            return;
        }
        self.member = true;
        self.events = mark.head;
        self.delivered.clear();
    }
}

/// What entries are held to.
struct Truth<'a> {
    logs: &'a Logs,
    /// The texts that were sent.
    texts: HashMap<SendKey, String>,
    /// How entries read, before they were blank, to whoever saw them first.
    first: HashMap<(RoomId, Seq), Entry>,
}

/// Holds what each client saw to the logs, and to the texts that were sent.
pub(super) fn judge(
    lines: &[Line],
    logs: &Logs,
    texts: HashMap<SendKey, String>,
    verdict: &mut Verdict,
) {
    let mut truth = Truth {
        logs,
        texts,
        first: HashMap::new(),
    };
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for line in lines {
        if !line.c.is_empty() {
            let client = clients.entry(&line.c).or_default();
            client.take(&line.c, &line.what, &mut truth, verdict);
        }
    }
    verdict.seen.clients = clients.len();
}

impl Client {
    fn take(&mut self, name: &str, what: &Happened, truth: &mut Truth<'_>, verdict: &mut Verdict) {
        match what {
            Happened::Started { sid, rooms, .. } => {
                verdict.seen.sessions += 1;
                self.session = Some(sid.clone());
                self.s = 0;
                for mark in rooms {
                    self.place(mark);
                }
                for (room, place) in &mut self.rooms {
                    place.member = rooms.iter().any(|mark| mark.room == *room);
                }
            }
            Happened::Resuming { sid, s } => {
                if self.session.as_ref() != Some(sid) {
                    let what = format!("{name} resumes {sid}, which is not its session");
                    verdict.breach(Rule::Record, what);
                }
                self.s = *s;
            }
            Happened::Resumed { .. } => verdict.seen.resumes += 1,
            Happened::Entry { s, room, entry } => {
                verdict.seen.events += 1;
                self.follow(name, *s, verdict);
                self.event(name, room, entry, verdict);
                self.hold_to_log(name, room, entry, truth, verdict);
            }
            Happened::Placed { s, mark } => {
                self.follow(name, *s, verdict);
                self.place(mark);
            }
            Happened::Removed { s, room } => {
                self.follow(name, *s, verdict);
                if let Some(place) = self.rooms.get_mut(room) {
                    place.member = false;
                }
            }
            Happened::Other { s } => self.follow(name, Some(*s), verdict),
            Happened::Synced {
                room,
                epoch,
                after,
                reset,
                first,
                entries,
            } => {
                verdict.seen.synced += entries.len();
                self.synced(
                    name,
                    room,
                    epoch,
                    (*after, *first),
                    *reset,
                    entries,
                    verdict,
                );
                for entry in entries {
                    self.hold_to_log(name, room, entry, truth, verdict);
                }
            }
            Happened::CaughtUp => self.caught_up(name, truth.logs, verdict),
            Happened::Lost
            | Happened::Closed { .. }
            | Happened::Sent { .. }
            | Happened::Acked { .. }
            | Happened::Refused { .. }
            | Happened::Done { .. }
            | Happened::Log { .. } => {}
        }
    }

    fn place(&mut self, mark: &Mark) {
        self.rooms
            .entry(mark.room.clone())
            .or_insert_with(|| Place::at(mark))
            .place(mark);
    }

    /// The positions of a session's stream are consecutive, from 1.
    fn follow(&mut self, name: &str, s: Option<u64>, verdict: &mut Verdict) {
        let Some(s) = s else {
            let what = format!("{name}: a durable event without a position");
            verdict.breach(Rule::StreamBroken, what);
            return;
        };
        if s != self.s + 1 {
            let what = format!("{name}: position {s} follows {}", self.s);
            verdict.breach(Rule::StreamBroken, what);
        }
        self.s = s;
    }

    fn event(&mut self, name: &str, room: &RoomId, entry: &Entry, verdict: &mut Verdict) {
        let Some(place) = self.rooms.get_mut(room).filter(|place| place.member) else {
            // The join entry may come before `room.added` says where the room stands; and a snapshot without a
            // room that was just left may be followed by what was said there until then.
            return;
        };
        if !place.delivered.insert(entry.seq) {
            let what = format!("{name}: {room} {} twice in one session", entry.seq);
            verdict.breach(Rule::Doubled, what);
            return;
        }
        if entry.seq > place.events.next() {
            let what = format!("{name}: {room} {} follows {}", entry.seq, place.events);
            verdict.breach(Rule::Hole, what);
        } else if entry.seq <= place.events && place.seen.contains(&entry.seq) {
            // At least once: a snapshot and the first events may overlap. Once per session.
            return;
        } else if entry.seq < place.events && !place.delivered.is_empty() {
            let older = place.delivered.iter().any(|seq| *seq > entry.seq);
            if older {
                let what = format!("{name}: {room} {} after {}", entry.seq, place.events);
                verdict.breach(Rule::Disorder, what);
            }
        }
        place.events = place.events.max(entry.seq);
        place.seen.insert(entry.seq);
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one line")]
    fn synced(
        &mut self,
        name: &str,
        room: &RoomId,
        epoch: &Epoch,
        (after, first): (Seq, Option<Seq>),
        reset: bool,
        entries: &[Entry],
        verdict: &mut Verdict,
    ) {
        let Some(place) = self.rooms.get_mut(room) else {
            return;
        };
        if reset || place.epoch != *epoch {
            let head = entries.last().map_or(Seq::ZERO, |e| e.seq);
            let mark = Mark {
                room: room.clone(),
                epoch: epoch.clone(),
                head,
            };
            *place = Place::at(&mark);
        }
        // What has expired between is not missing.
        let mut expected = first.map_or(after, |first| after.max(first.before()));
        for entry in entries {
            if !reset && entry.seq != expected.next() {
                let what = format!("{name}: sync of {room}: {} follows {expected}", entry.seq);
                verdict.breach(Rule::Hole, what);
            }
            expected = entry.seq;
            place.seen.insert(entry.seq);
        }
    }

    fn hold_to_log(
        &self,
        name: &str,
        room: &RoomId,
        entry: &Entry,
        truth: &mut Truth<'_>,
        verdict: &mut Verdict,
    ) {
        let Some(log) = truth.logs.of(room) else {
            return;
        };
        if self
            .rooms
            .get(room)
            .is_some_and(|place| place.epoch != log.epoch)
        {
            return;
        }
        match log.at(entry.seq) {
            Some(true_entry) if true_entry == entry => {}
            Some(true_entry) if log.is_blank(true_entry) && blanked(entry) == *true_entry => {
                truth.recall(name, room, entry, verdict);
            }
            Some(_) => {
                let what = format!("{name}: {room} {} differs from the log", entry.seq);
                verdict.breach(Rule::Altered, what);
            }
            // Clients saw it before it expired: they are held to what was sent, and to each other.
            None if log.has_expired(entry.seq) => truth.recall_expired(name, room, entry, verdict),
            None => {
                let what = format!("{name}: {room} {} is not in the log", entry.seq);
                verdict.breach(Rule::Lost, what);
            }
        }
    }

    /// Whoever has caught up has seen every entry from where it came in to the log's end.
    fn caught_up(&self, name: &str, logs: &Logs, verdict: &mut Verdict) {
        for (room, place) in &self.rooms {
            let Some(log) = logs.of(room).filter(|log| log.epoch == place.epoch) else {
                continue;
            };
            if !place.member {
                continue;
            }
            let from = place.from.next().max(log.first);
            let missing = (from.get()..=log.head().get())
                .map(Seq::new)
                .filter(|seq| !place.seen.contains(seq));
            let missing: Vec<_> = missing.take(5).map(Seq::get).collect();
            if !missing.is_empty() {
                let what = format!("{name}: never saw {missing:?} … of {room}");
                verdict.breach(Rule::Hole, what);
            }
        }
    }
}

impl Truth<'_> {
    /// An entry that has expired. What was deleted before it did is blank to whoever read it then.
    fn recall_expired(&mut self, name: &str, room: &RoomId, entry: &Entry, verdict: &mut Verdict) {
        if blanked(entry) != *entry {
            self.recall(name, room, entry, verdict);
        }
    }

    /// An entry that is blank by now and had words when it was seen.
    fn recall(&mut self, name: &str, room: &RoomId, entry: &Entry, verdict: &mut Verdict) {
        if let EntryBody::Message(message) = &entry.body {
            let key = (room.clone(), entry.user.clone(), message.nonce.clone());
            if self
                .texts
                .get(&key)
                .is_some_and(|text| *text != message.text)
            {
                let what = format!("{name}: {room} {} differs from what was sent", entry.seq);
                return verdict.breach(Rule::Altered, what);
            }
        }
        let first = self.first.entry((room.clone(), entry.seq));
        if first.or_insert_with(|| entry.clone()) != entry {
            let what = format!("{name}: {room} {} read otherwise to another", entry.seq);
            verdict.breach(Rule::Altered, what);
        }
    }
}
