//! Who set what presence, and who heard what of whom: the book of presence, as the
//! [`Ledger`](crate::swarm::Ledger) is that of messages.
//!
//! Every state that a person sets has a number, which travels in the activity. States may be
//! skipped (the newest wins), but none may be heard of a stranger, out of order or altered, and in
//! the end everybody must have heard the newest of each friend.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{Stage, histogram};
use crate::{
    swarm::{
        Crowd, Fault, Who,
        message::{Content, Told},
    },
    target::Server,
};

/// At most one publication about a person in this time, by the contract. A change after twice as
/// long without one is not held back.
pub(super) const DAMPING: Duration = Duration::from_secs(2);
/// One state in so many is invisible.
const INVISIBLE_EVERY: u32 = 8;

/// One person.
#[derive(Debug)]
struct Person {
    /// Friends, and the person too: one's own devices hear of a change.
    circle: Vec<Who>,
    /// When each state was due; the first is what a session starts with.
    set: Vec<Instant>,
    /// The newest state that anybody heard.
    told: u32,
    /// What this person last heard, by whom it is about.
    heard: HashMap<Who, u32>,
}

impl Person {
    /// The newest state that was set.
    fn now(&self) -> u32 {
        self.set.len() as u32 - 1
    }
}

/// The book of some people's presence.
#[derive(Debug)]
pub(super) struct States {
    ids: HashMap<Box<str>, Who>,
    people: Vec<Person>,
    /// Pairs of whom one has not heard the newest of the other.
    behind: usize,
    sets: u64,
    told: u64,
    deliveries: u64,
    /// From the set until each friend heard, in µs.
    pub(super) waits: Histogram<u64>,
    /// The same for changes that no damping held back.
    pub(super) rested: Histogram<u64>,
}

impl States {
    /// Of these people, of whom `friends` tells the friends; all start online.
    pub(super) fn new(users: &[String], friends: impl Fn(Who) -> Vec<Who>) -> Result<Self, Fault> {
        let now = Instant::now();
        let person = |who| {
            let circle: Vec<Who> = friends(who).into_iter().chain([who]).collect();
            Person {
                heard: circle.iter().map(|other| (*other, 0)).collect(),
                circle,
                set: vec![now],
                told: 0,
            }
        };
        Ok(Self {
            ids: (users.iter().enumerate())
                .map(|(who, id)| (id.as_str().into(), who))
                .collect(),
            people: (0..users.len()).map(person).collect(),
            behind: 0,
            sets: 0,
            told: 0,
            deliveries: 0,
            waits: histogram()?,
            rested: histogram()?,
        })
    }

    /// The next state of a person, as `presence.set` takes it.
    pub(super) fn set(&mut self, who: Who, due: Instant) -> Value {
        let old = self.people[who].now();
        let current = (self.people[who].circle.iter())
            .filter(|hearer| self.people[**hearer].heard[&who] == old)
            .count();
        self.behind += current;
        self.sets += 1;
        let person = &mut self.people[who];
        person.set.push(due);
        said(person.now())
    }

    /// The newest state of a person once more, if they have not heard it themselves: what they said may have been lost
    /// with their connection.
    pub(super) fn again(&self, who: Who) -> Option<Value> {
        let person = &self.people[who];
        (person.heard[&who] != person.now()).then(|| said(person.now()))
    }

    /// Takes in what a session was told; presence is verified.
    ///
    /// # Errors
    /// The state of a stranger, one older than the last heard, one that was never set, or one
    /// that was altered.
    pub(super) fn hear(&mut self, hearer: Who, told: &Told<'_>) -> Result<(), Fault> {
        let (Some("presence"), Some(content)) = (told.ev.as_deref(), &told.d) else {
            return Ok(());
        };
        let at = Instant::now();
        let id = content.user.as_deref().unwrap_or_default();
        let fault = |what: &str| {
            let state = (&content.status, &content.activity);
            Fault::Delivery(format!("person {hearer} heard of {id} {what}: {state:?}"))
        };
        let known = self.ids.get(id).copied();
        let Some(who) = known.filter(|who| self.people[hearer].heard.contains_key(who)) else {
            return Err(fault("who is a stranger"));
        };
        let person = &mut self.people[who];
        let now = person.now();
        let number = number(content, now).ok_or_else(|| fault("what was never set"))?;
        if content.status.as_deref() != Some(shown(number, who == hearer)) {
            return Err(fault("what was altered"));
        }
        self.deliveries += 1;
        if number > person.told {
            person.told = number;
            self.told += 1;
        }
        let set = person.set[number as usize];
        let before = person.set[number.saturating_sub(1) as usize];
        let Some(last) = self.people[hearer].heard.get_mut(&who) else {
            return Ok(());
        };
        if number < *last {
            return Err(fault("what is older than the last heard"));
        }
        if number > *last {
            self.behind -= usize::from(number == now);
            *last = number;
            if who != hearer {
                let wait = at.saturating_duration_since(set).as_micros() as u64;
                self.waits.saturating_record(wait);
                if set.saturating_duration_since(before) > DAMPING * 2 {
                    self.rested.saturating_record(wait);
                }
            }
        }
        Ok(())
    }

    /// Whether a person's newest state is one that friends cannot tell from an earlier one of its
    /// kind: they may rightly never hear of it.
    pub(super) fn is_hidden(&self, who: Who) -> bool {
        status(self.people[who].now()) == "invisible"
    }

    /// How many have not yet heard the newest state of somebody.
    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    /// States that were set.
    pub(super) fn sets(&self) -> u64 {
        self.sets
    }

    /// States that anybody heard; the others were passed over for newer ones.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Events verified, those to one's own devices too.
    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Closes the book: everybody must have heard the newest state of each friend.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        for (who, person) in self.people.iter().enumerate() {
            for hearer in &person.circle {
                let (heard, now) = (self.people[*hearer].heard[&who], person.now());
                if heard != now {
                    let what =
                        format!("person {hearer} last heard state {heard} of {who}, not {now}");
                    return Err(Fault::Delivery(what));
                }
            }
        }
        Ok(())
    }
}

/// Which state it is, given the newest that was set.
fn number(content: &Content<'_>, now: u32) -> Option<u32> {
    let details = (content.activity.as_ref()).and_then(|activity| activity.details.as_deref());
    match (details, content.status.as_deref()) {
        (Some(_), Some("offline")) => None,
        (Some(details), _) => details.parse().ok().filter(|number| *number <= now),
        // An invisible person is offline and does nothing: which time it was is not to be seen.
        (None, Some("offline")) => (1..=now)
            .rev()
            .find(|number| status(*number) == "invisible"),
        (None, _) => Some(0),
    }
}

/// A state, as `presence.set` takes it.
fn said(number: u32) -> Value {
    json!({
        "status": status(number),
        "activity": {"kind": "game", "game": "load", "details": number.to_string()},
    })
}

/// The status of a person's `number`th state.
fn status(number: u32) -> &'static str {
    match number % INVISIBLE_EVERY {
        7 => "invisible",
        1 | 4 => "away",
        2 | 5 => "busy",
        _ => "online",
    }
}

/// The same as a friend sees it, or the person.
fn shown(number: u32, own: bool) -> &'static str {
    match status(number) {
        "invisible" if !own => "offline",
        status => status,
    }
}

/// Lets everybody of `accounts` come, and waits until that they came is told: it holds back what follows.
pub(super) fn gather(
    stage: &Stage,
    server: &Server,
    accounts: &[String],
    states: &mut States,
) -> Result<Crowd, Fault> {
    let mut crowd = stage.crowd(server)?;
    let mut outcome = Ok(());
    crowd.join(server.access().tokens(accounts)?, |who, told| {
        stage.progress.count("sessions", who + 1, accounts.len());
        outcome = std::mem::replace(&mut outcome, Ok(())).and_then(|()| states.hear(who, told));
    })?;
    outcome?;
    listen(&mut crowd, states, DAMPING * 2)?;
    Ok(crowd)
}

/// Takes in what comes within `time`.
pub(super) fn listen(crowd: &mut Crowd, states: &mut States, time: Duration) -> Result<(), Fault> {
    let since = Instant::now();
    loop {
        let mut outcome = Ok(());
        crowd.poll(time.saturating_sub(since.elapsed()), |who, told| {
            if outcome.is_ok() {
                outcome = match &told.err {
                    Some(error) => Err(Fault::Refused(error.explain())),
                    None => states.hear(who, told),
                };
            }
        })?;
        outcome?;
        if since.elapsed() >= time {
            return Ok(());
        }
    }
}

/// The friends of a person in a [`World`](crate::target::World) of `people`, each with `each` friends.
pub(super) fn friends(who: Who, people: usize, each: usize) -> Vec<Who> {
    (1..=each / 2)
        .flat_map(|step| [(who + step) % people, (who + people - step) % people])
        .collect()
}

/// Whether everybody can have that many friends.
pub(super) fn enough(people: usize, each: usize) -> Result<(), Fault> {
    if each > 0 && each.is_multiple_of(2) && people > each {
        return Ok(());
    }
    Err(Fault::Target(format!(
        "{people} people cannot have {each} friends each: give more people and an even number of friends"
    )))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::swarm::message::Activity;

    /// Four in a circle: 0 and 2 are strangers.
    fn book() -> States {
        let users: Vec<String> = (0..4).map(|n| format!("u{n}")).collect();
        States::new(&users, |who| friends(who, 4, 2)).unwrap()
    }

    fn event(user: &'static str, status: &'static str, number: &'static str) -> Told<'static> {
        let details = (!number.is_empty()).then_some(Cow::Borrowed(number));
        Told {
            ev: Some(Cow::Borrowed("presence")),
            d: Some(Content {
                user: Some(Cow::Borrowed(user)),
                status: Some(Cow::Borrowed(status)),
                activity: details.is_some().then_some(Activity { details }),
                ..Content::default()
            }),
            ..Told::default()
        }
    }

    fn set(states: &mut States, who: Who, times: usize) {
        for _ in 0..times {
            states.set(who, Instant::now());
        }
    }

    #[test]
    fn who_heard_the_newest_is_not_behind_whatever_was_skipped() {
        let mut states = book();
        set(&mut states, 1, 2);
        assert_eq!(states.behind(), 3, "two friends and the person");
        states.hear(0, &event("u1", "away", "1")).unwrap();
        assert_eq!(states.behind(), 3);
        assert!(states.settle().is_err());
        for hearer in [0, 1, 2] {
            states.hear(hearer, &event("u1", "busy", "2")).unwrap();
        }
        assert_eq!(states.behind(), 0);
        states.settle().unwrap();
        assert_eq!(
            (states.sets(), states.told(), states.deliveries()),
            (2, 2, 4)
        );
        states.hear(0, &event("u1", "busy", "2")).unwrap();
        states.settle().unwrap();
    }

    #[test]
    fn what_somebody_has_not_heard_of_themselves_is_said_again() {
        let mut states = book();
        assert!(states.again(1).is_none());
        let first = states.set(1, Instant::now());
        assert_eq!(states.again(1), Some(first));
        states.hear(0, &event("u1", "away", "1")).unwrap();
        assert!(states.again(1).is_some());
        states.hear(1, &event("u1", "away", "1")).unwrap();
        assert!(states.again(1).is_none());
        assert_eq!(states.sets(), 1);
    }

    #[test]
    fn an_invisible_state_is_hidden_and_the_next_is_not() {
        let mut states = book();
        set(&mut states, 1, 7);
        assert!(states.is_hidden(1) && !states.is_hidden(0));
        set(&mut states, 1, 1);
        assert!(!states.is_hidden(1));
    }

    #[test]
    fn invisible_is_offline_to_friends_and_known_to_oneself() {
        let mut states = book();
        set(&mut states, 1, 7);
        states.hear(0, &event("u1", "offline", "")).unwrap();
        states.hear(2, &event("u1", "offline", "")).unwrap();
        states.hear(1, &event("u1", "invisible", "7")).unwrap();
        states.settle().unwrap();
        set(&mut states, 1, 1);
        states.hear(0, &event("u1", "online", "8")).unwrap();
        let late = states.hear(0, &event("u1", "offline", ""));
        assert!(late.is_err(), "an old state after a new one");
    }

    #[test]
    fn planted_wrong_states_are_found() {
        let heard = |hearer: Who, event: &Told<'_>| {
            let mut states = book();
            set(&mut states, 1, 7);
            states.hear(0, &self::event("u1", "online", "3")).unwrap();
            states.hear(hearer, event)
        };
        heard(0, &event("u1", "away", "4")).unwrap();
        assert!(heard(3, &event("u1", "away", "4")).is_err(), "a stranger");
        assert!(heard(0, &event("nobody", "away", "4")).is_err(), "nobody");
        assert!(heard(0, &event("u1", "busy", "2")).is_err(), "an older one");
        assert!(heard(0, &event("u1", "online", "")).is_err(), "the first");
        assert!(heard(0, &event("u1", "busy", "4")).is_err(), "altered");
        assert!(
            heard(0, &event("u1", "away", "9")).is_err(),
            "of the future"
        );
        assert!(heard(0, &event("u1", "invisible", "7")).is_err(), "seen");
        assert!(
            heard(0, &event("u1", "offline", "7")).is_err(),
            "doing what?"
        );
        assert!(heard(0, &event("u1", "unknown", "")).is_err(), "unknown");
        let mut states = book();
        let offline = states.hear(0, &event("u1", "offline", ""));
        assert!(offline.is_err(), "offline though never invisible");
    }

    #[test]
    fn friendship_is_mutual() {
        for who in 0..10 {
            let of = friends(who, 10, 4);
            assert_eq!(of.len(), 4);
            assert!(of.iter().all(|other| friends(*other, 10, 4).contains(&who)));
        }
        assert!(enough(10, 4).is_ok());
        assert!(enough(4, 4).is_err() && enough(10, 3).is_err() && enough(10, 0).is_err());
    }
}
