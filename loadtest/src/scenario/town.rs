//! The people of [`Mixed`](super::Mixed): their rooms, what is under way, and who is away.

mod places;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde_json::json;

pub(super) use self::places::{Place, settle};
use super::{
    histogram,
    mixed::Act,
    states::{States, friends},
};
use crate::swarm::{Crowd, Fault, Ledger, Room, Who, message::Told};

/// How long messages may take to arrive after the last was sent.
const PATIENCE: Duration = Duration::from_mins(1);
/// Ids of commands whose answers matter only when they are errors; sends have lower ones.
const UNREMARKABLE: u64 = 1 << 32;

/// A message that was due.
#[derive(Debug)]
struct Message {
    who: Who,
    room: Room,
    due: Instant,
    text: String,
    /// Its place in the room's log, once anybody knows it.
    seq: Option<u64>,
    acknowledged: bool,
    /// Nobody of the room was away meanwhile: how long it takes is the server's doing.
    timed: bool,
}

impl Message {
    /// It was heard of at this place.
    ///
    /// # Errors
    /// It was heard of elsewhere: a send and its retry became two messages.
    fn stands_at(&mut self, seq: u64) -> Result<(), Fault> {
        let known = *self.seq.get_or_insert(seq);
        if known == seq {
            return Ok(());
        }
        let text = self.text.trim_end();
        Err(Fault::Delivery(format!(
            "{text:?} stands at {known} and at {seq}"
        )))
    }
}

/// The people and all they do.
#[derive(Debug)]
pub(super) struct Town {
    ledger: Ledger,
    states: States,
    members: Vec<Vec<Who>>,
    rooms: HashMap<String, Room>,
    /// The rooms of each, groups last.
    of: Vec<Vec<Room>>,
    /// The newest place of each room that anybody heard of.
    newest: Vec<u64>,
    messages: Vec<Message>,
    /// Messages that are not acknowledged or that some have not heard.
    under_way: Vec<usize>,
    away: Vec<bool>,
    /// Who comes back when, in that order.
    returns: VecDeque<(Instant, Who)>,
    /// Who has been connecting again.
    coming: Vec<Who>,
    /// What tells nonces of this run from those of another on the same server.
    run: u128,
    text: usize,
    commands: u64,
    events: u64,
    resumes: u64,
    acknowledged: Histogram<u64>,
    last: Histogram<u64>,
}

impl Town {
    pub(super) fn new(
        users: &[String],
        places: &[Place],
        each: usize,
        text: usize,
    ) -> Result<Self, Fault> {
        let mut ledger = Ledger::default();
        let mut of = vec![Vec::new(); users.len()];
        for place in places {
            let room = ledger.open(&place.id, place.head, place.members.len());
            for who in &place.members {
                ledger.listen(*who, [room]);
                of[*who].push(room);
            }
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            ledger,
            states: States::new(users, |who| friends(who, users.len(), each))?,
            members: places.iter().map(|place| place.members.clone()).collect(),
            rooms: (places.iter().enumerate())
                .map(|(room, place)| (place.id.clone(), room))
                .collect(),
            of,
            newest: places.iter().map(|place| place.head).collect(),
            messages: Vec::new(),
            under_way: Vec::new(),
            away: vec![false; users.len()],
            returns: VecDeque::new(),
            coming: Vec::new(),
            run: since.map_or(0, |time| time.as_millis()),
            text,
            commands: UNREMARKABLE,
            events: 0,
            resumes: 0,
            acknowledged: histogram()?,
            last: histogram()?,
        })
    }

    /// Events heard so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Messages sent so far.
    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// How often somebody came back.
    pub(super) fn resumes(&self) -> u64 {
        self.resumes
    }

    /// From when a message was due until its sender had the acknowledgement, in µs.
    pub(super) fn acknowledged(&self) -> &Histogram<u64> {
        &self.acknowledged
    }

    /// The same until the last member had the message.
    pub(super) fn last(&self) -> &Histogram<u64> {
        &self.last
    }

    /// Somebody does something; those who are away do nothing.
    pub(super) fn act(
        &mut self,
        crowd: &mut Crowd,
        act: Act,
        who: Who,
        dice: usize,
        due: Instant,
    ) -> Result<(), Fault> {
        if self.away[who] {
            return Ok(());
        }
        let rooms = &self.of[who];
        let any = rooms[dice % rooms.len()];
        let (op, d) = match act {
            Act::Direct => {
                let room = rooms[dice % (rooms.len() - 1)];
                return self.say(crowd, who, room, due);
            }
            Act::Group => {
                let room = rooms[rooms.len() - 1];
                return self.say(crowd, who, room, due);
            }
            Act::Drop => {
                self.drop(crowd, who, due);
                return Ok(());
            }
            Act::Typing => ("typing", json!({"room": self.ledger.id(any), "on": true})),
            Act::Read => {
                let d = json!({"room": self.ledger.id(any), "seq": self.newest[any]});
                ("read", d)
            }
            Act::Presence => ("presence.set", self.states.set(who, due)),
        };
        self.commands += 1;
        crowd.send(who, self.commands, op, &d)
    }

    fn say(&mut self, crowd: &mut Crowd, who: Who, room: Room, due: Instant) -> Result<(), Fault> {
        let n = self.messages.len();
        self.messages.push(Message {
            who,
            room,
            due,
            text: format!("{n:<width$}", width = self.text),
            seq: None,
            acknowledged: false,
            timed: !self.members[room].iter().any(|who| self.away[*who]),
        });
        self.under_way.push(n);
        self.send(crowd, n)
    }

    /// Sends a message, for the first time or once more.
    fn send(&self, crowd: &mut Crowd, n: usize) -> Result<(), Fault> {
        let message = &self.messages[n];
        let d = json!({
            "room": self.ledger.id(message.room),
            "nonce": format!("{:x}-{n}", self.run),
            "text": message.text,
        });
        crowd.send(message.who, n as u64, "message.send", &d)
    }

    fn drop(&mut self, crowd: &mut Crowd, who: Who, now: Instant) {
        crowd.cut([who]);
        self.away[who] = true;
        self.returns.push_back((now, who));
        for n in &self.under_way {
            let message = &mut self.messages[*n];
            message.timed &= !self.members[message.room].contains(&who);
        }
    }

    /// Lets time pass until `due`; whoever has been away for `away` comes back.
    pub(super) fn until(
        &mut self,
        crowd: &mut Crowd,
        due: Instant,
        away: Duration,
    ) -> Result<(), Fault> {
        loop {
            let now = Instant::now();
            while let Some((since, who)) = self.returns.front().copied()
                && since + away <= now
            {
                self.returns.pop_front();
                crowd.come_back(who)?;
                self.coming.push(who);
            }
            let next = self.returns.front().map_or(due, |(since, _)| *since + away);
            let wait = next.min(due).saturating_duration_since(now);
            self.listen(crowd, wait.min(Duration::from_millis(50)))?;
            if Instant::now() >= due {
                return Ok(());
            }
        }
    }

    /// Takes in what comes within `time`.
    pub(super) fn listen(&mut self, crowd: &mut Crowd, time: Duration) -> Result<(), Fault> {
        let since = Instant::now();
        loop {
            let mut outcome = Ok(());
            crowd.poll(time.saturating_sub(since.elapsed()), |who, told| {
                if outcome.is_ok() {
                    outcome = self.hear(who, told);
                }
            })?;
            outcome?;
            self.welcome(crowd)?;
            if since.elapsed() >= time {
                return Ok(());
            }
        }
    }

    /// Whoever is back sends again what was not acknowledged before the connection broke, and the presence that they do
    /// not know to have been taken.
    fn welcome(&mut self, crowd: &mut Crowd) -> Result<(), Fault> {
        let (back, coming) = (self.coming.iter()).partition(|who| crowd.is_joined(**who));
        self.coming = coming;
        let back: Vec<Who> = back;
        for who in back {
            self.away[who] = false;
            self.resumes += 1;
            for n in self.under_way.clone() {
                let message = &self.messages[n];
                if message.who == who && !message.acknowledged {
                    self.send(crowd, n)?;
                }
            }
            if let Some(d) = self.states.again(who) {
                self.commands += 1;
                crowd.send(who, self.commands, "presence.set", &d)?;
            }
        }
        Ok(())
    }

    /// Takes in what a session was told.
    pub(super) fn hear(&mut self, who: Who, told: &Told<'_>) -> Result<(), Fault> {
        if let Some(error) = &told.err {
            return Err(Fault::Refused(error.explain()));
        }
        self.events += u64::from(told.ev.is_some());
        self.states.hear(who, told)?;
        if let (Some("typing" | "read"), Some(d)) = (told.ev.as_deref(), &told.d) {
            let room = d.room.as_deref().and_then(|room| self.rooms.get(room));
            if !room.is_some_and(|room| self.members[*room].contains(&who)) {
                let what = format!("person {who} heard of a strange room: {told:?}");
                return Err(Fault::Delivery(what));
            }
        }
        if let Some(heard) = self.ledger.hear(who, told)? {
            self.newest[heard.room] = self.newest[heard.room].max(heard.seq);
            let message = (heard.text.trim_end().parse().ok())
                .and_then(|n: usize| self.messages.get_mut(n))
                .filter(|message| message.room == heard.room)
                .ok_or_else(|| Fault::Delivery(format!("nobody said {:?}", heard.text)))?;
            message.stands_at(heard.seq)?;
            if heard.last && message.timed {
                let waited = message.due.elapsed().as_micros() as u64;
                self.last.saturating_record(waited);
            }
        }
        if let (Some(id), Some(ok)) = (told.id, &told.ok)
            && let Some(message) = self.messages.get_mut(id as usize)
        {
            let seq = ok.seq.unwrap_or(0);
            message.stands_at(seq)?;
            self.ledger.acknowledged(message.room, seq, &message.text)?;
            if message.timed && !message.acknowledged {
                let waited = message.due.elapsed().as_micros() as u64;
                self.acknowledged.saturating_record(waited);
            }
            message.acknowledged = true;
        }
        if told.id.is_some() || told.ev.as_deref() == Some("message.new") {
            let (messages, ledger) = (&self.messages, &self.ledger);
            self.under_way
                .retain(|n| !messages[*n].acknowledged || !ledger.is_whole(messages[*n].room));
        }
        Ok(())
    }

    /// Waits until everybody is back, every message has arrived, and everybody knows how their
    /// friends are.
    pub(super) fn finish(&mut self, crowd: &mut Crowd) -> Result<(), Fault> {
        let since = Instant::now();
        let nobody = |town: &Self| town.returns.is_empty() && town.coming.is_empty();
        while !nobody(self) || !self.under_way.is_empty() || self.states.behind() > 0 {
            let soon = Instant::now() + Duration::from_millis(5);
            self.until(crowd, soon, Duration::ZERO)?;
            if since.elapsed() > PATIENCE {
                self.close()?;
                let left = self.under_way.len();
                return Err(Fault::Silence(format!("{left} messages and those away")));
            }
        }
        Ok(())
    }

    /// Closes the books.
    pub(super) fn close(&self) -> Result<(), Fault> {
        self.ledger.settle()?;
        self.states.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::message::Content;

    /// 0 and 1 share a room, 1 and 2 another.
    fn town() -> Town {
        let users: Vec<String> = (0..3).map(|n| format!("u{n}")).collect();
        let place = |id: &str, members: [Who; 2]| Place {
            id: id.to_owned(),
            head: 5,
            members: members.to_vec(),
        };
        let places = [place("a", [0, 1]), place("b", [1, 2])];
        let mut town = Town::new(&users, &places, 2, 8).unwrap();
        for room in [0, 1] {
            town.under_way.push(room);
            town.messages.push(Message {
                who: 1,
                room,
                due: Instant::now(),
                text: format!("{room:<8}"),
                seq: None,
                acknowledged: false,
                timed: true,
            });
        }
        town
    }

    fn told<'a>(ev: &'a str, room: &'a str, seq: u64, text: &'a str) -> Told<'a> {
        Told {
            ev: Some(ev.into()),
            d: Some(Content {
                room: Some(room.into()),
                seq: Some(seq),
                text: Some(text.into()),
                ..Content::default()
            }),
            ..Told::default()
        }
    }

    fn acknowledged(id: u64, seq: u64) -> Told<'static> {
        Told {
            id: Some(id),
            ok: Some(Content {
                seq: Some(seq),
                ..Content::default()
            }),
            ..Told::default()
        }
    }

    #[test]
    fn a_message_is_done_when_all_have_it_and_its_sender_knows() {
        let mut town = town();
        town.hear(0, &told("message.new", "a", 6, "0       "))
            .unwrap();
        assert!(town.close().is_err(), "one has not heard it");
        town.hear(1, &told("message.new", "a", 6, "0       "))
            .unwrap();
        assert_eq!((town.last.len(), town.under_way.len()), (1, 2));
        town.hear(1, &acknowledged(0, 6)).unwrap();
        assert_eq!((town.acknowledged.len(), town.under_way.len()), (1, 1));
        town.close().unwrap();
    }

    #[test]
    fn what_nobody_said_and_what_others_do_is_found() {
        let mut town = town();
        town.hear(1, &told("typing", "a", 0, "")).unwrap();
        assert!(town.hear(2, &told("typing", "a", 0, "")).is_err());
        assert!(town.hear(0, &told("read", "b", 6, "")).is_err());
        assert!(town.hear(0, &told("read", "elsewhere", 6, "")).is_err());
        let strange = town.hear(0, &told("message.new", "a", 6, "x"));
        assert!(strange.is_err(), "nobody said it");
    }

    #[test]
    fn a_message_in_another_room_than_it_was_said_in_is_found() {
        let said_in_b = told("message.new", "a", 6, "1       ");
        assert!(town().hear(0, &said_in_b).is_err());
    }

    #[test]
    fn a_send_that_was_retried_must_not_take_two_places() {
        let mut town = town();
        town.hear(1, &acknowledged(0, 6)).unwrap();
        town.hear(1, &acknowledged(0, 6)).unwrap();
        assert!(town.hear(1, &acknowledged(0, 7)).is_err());
        for seq in [6, 7] {
            let heard = town.hear(0, &told("message.new", "a", seq, "0       "));
            assert_eq!(heard.is_err(), seq == 7);
        }
    }
}
