use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;
use crate::presence::{Availability, merged, seen};

const PACE: Pace = Pace {
    grace: Duration::from_secs(10),
    damping: Duration::from_secs(2),
};

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn session(n: u64) -> SessionKey {
    SessionKey::new(0, n)
}

fn state(availability: Availability) -> DeviceState {
    DeviceState {
        availability,
        activity: None,
    }
}

const ONLINE: Availability = Availability::Online;
const BUSY: Availability = Availability::Busy;
const INVISIBLE: Availability = Availability::Invisible;

/// A roster with a clock and a store that takes everything, where no other node holds anything.
struct Bench {
    roster: Roster,
    start: Instant,
    now: Instant,
    version: u64,
}

/// What was told: seconds since the start, and the state.
type Told = (u64, Option<Availability>);

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            roster: Roster::new(PACE),
            start: now,
            now,
            version: 0,
        }
    }

    /// Lets time pass, doing what is due when it is due.
    fn pass(&mut self, time: Duration) -> Vec<Told> {
        let until = self.now + time;
        let mut told = Vec::new();
        loop {
            for due in self.roster.due(self.now, 100) {
                self.version += 1;
                let settled = Settled {
                    held: due.held.clone(),
                    elsewhere: None,
                    total: due.held,
                    version: self.version,
                    tell: true,
                };
                if let Some(news) = self.roster.settled(&due.user, settled, self.now) {
                    let at = (self.now - self.start).as_secs();
                    told.push((at, news.after.map(|state| state.availability)));
                }
            }
            match self.roster.next() {
                Some(at) if at <= until => self.now = at.max(self.now),
                _ => break,
            }
        }
        self.now = until;
        told
    }

    fn secs(&mut self, seconds: u64) -> Vec<Told> {
        self.pass(Duration::from_secs(seconds))
    }
}

#[test]
fn a_short_absence_is_no_absence() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    assert_eq!(bench.secs(5), [(0, Some(ONLINE))]);
    bench.roster.disconnected(session(1), &a, bench.now);
    assert_eq!(bench.secs(9), []);
    bench.roster.resumed(session(1), &a, bench.now);
    assert_eq!(bench.secs(60), []);
    bench.roster.disconnected(session(1), &a, bench.now);
    let gone = bench.secs(60);
    assert_eq!(gone, [(84, None)], "after the grace, not before");
    bench.roster.resumed(session(1), &a, bench.now);
    assert_eq!(bench.secs(5), [(134, Some(ONLINE))], "as it was");
    bench.roster.ended(session(1), &a, bench.now);
    assert_eq!(bench.secs(5), [(139, None)], "an end needs no grace");
    assert_eq!(bench.roster.len(), (0, 0));
}

#[test]
fn the_newest_wins_and_only_so_often() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    let mut told = bench.pass(Duration::ZERO);
    for n in 0..100 {
        let next = if n % 2 == 0 { BUSY } else { ONLINE };
        bench.roster.set(session(1), &a, bench.now, |_| state(next));
        told.extend(bench.pass(Duration::from_millis(100)));
    }
    told.extend(bench.secs(10));
    assert!(told.len() <= 6, "{told:?}");
    assert!(
        told.windows(2).all(|two| two[1].0 - two[0].0 >= 2),
        "{told:?}"
    );
    assert_eq!(told.last().unwrap().1, Some(ONLINE));
    assert_eq!(bench.roster.len(), (1, 0), "an idle user waits for nothing");
}

#[test]
fn a_flap_within_the_damping_is_not_told() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    bench.secs(1);
    bench.roster.ended(session(1), &a, bench.now);
    bench.pass(Duration::from_millis(500));
    bench
        .roster
        .connected(session(2), &a, state(ONLINE), bench.now);
    assert_eq!(bench.secs(20), []);
}

#[test]
fn a_device_that_takes_over_leaves_no_gap() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    bench.secs(10);
    bench
        .roster
        .connected(session(2), &a, state(ONLINE), bench.now);
    bench.roster.ended(session(1), &a, bench.now);
    assert_eq!(bench.secs(20), []);
    assert_eq!(bench.roster.held(&a), Some(state(ONLINE)));
}

#[test]
fn what_the_store_did_not_take_is_due_again() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    let due = bench.roster.due(bench.now, 10);
    assert_eq!(due.len(), 1);
    assert_eq!(bench.roster.due(bench.now, 10), [], "one at a time");
    bench.roster.set(session(1), &a, bench.now, |_| state(BUSY));
    bench.roster.failed(&a, bench.now, Duration::from_secs(1));
    assert_eq!(bench.roster.due(bench.now, 10), []);
    assert_eq!(bench.secs(5), [(1, Some(BUSY))]);
}

#[test]
fn what_is_shed_is_told_later_as_it_is_then() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    let due = bench.roster.due(bench.now, 10).remove(0);
    let settled = Settled {
        held: due.held.clone(),
        elsewhere: None,
        total: due.held,
        version: 1,
        tell: false,
    };
    bench.version = 1;
    assert_eq!(bench.roster.settled(&a, settled, bench.now), None);
    bench.roster.set(session(1), &a, bench.now, |_| state(BUSY));
    assert_eq!(bench.secs(5), [(2, Some(BUSY))]);
}

#[test]
fn a_node_that_joins_in_knows_what_was_known_before() {
    // Online elsewhere; here a second device comes and is invisible: the friends see it go.
    let mut bench = Bench::new();
    let a = user("a");
    let invisible = state(Availability::Invisible);
    bench
        .roster
        .connected(session(1), &a, invisible.clone(), bench.now);
    let due = bench.roster.due(bench.now, 10).remove(0);
    let settled = Settled {
        held: due.held,
        elsewhere: Some(state(ONLINE)),
        total: Some(invisible.clone()),
        version: 5,
        tell: true,
    };
    let news = bench.roster.settled(&a, settled, bench.now).unwrap();
    assert_eq!(news.before, Some(state(ONLINE)));
    assert_eq!(news.after, Some(invisible));
    assert!(
        !bench.roster.heard(&a, None, 4, true),
        "older than what was told"
    );
    assert!(bench.roster.heard(&a, None, 6, true));
}

impl Bench {
    /// The store answers what is due of `user` with what another node holds, at this version.
    fn settle(
        &mut self,
        user: &UserId,
        elsewhere: Option<Availability>,
        version: u64,
    ) -> Option<News> {
        self.now += PACE.damping;
        let due = self.roster.due(self.now, 10).remove(0);
        let elsewhere = elsewhere.map(state);
        let settled = Settled {
            total: merged(due.held.iter().chain(&elsewhere)),
            held: due.held,
            elsewhere,
            version,
            tell: true,
        };
        self.roster.settled(user, settled, self.now)
    }

    /// The store has this of `user`, and no other node has anything.
    fn settle_due(&mut self, user: &UserId, held: Option<DeviceState>, version: u64) {
        let settled = Settled {
            total: held.clone(),
            held,
            elsewhere: None,
            version,
            tell: true,
        };
        self.roster.settled(user, settled, self.now);
    }

    /// Another node's news come. Answers whether they are new.
    fn hear(&mut self, user: &UserId, total: Option<Availability>, version: u64) -> bool {
        let total = total.map(state);
        let heard = self.roster.heard(user, total.as_ref(), version, true);
        if !heard {
            self.roster
                .overtook(user, total.as_ref(), version, self.now);
        }
        heard
    }
}

/// One device hid here; before the store answered, another node told that a device left which did not show any
/// more.
#[test]
fn what_does_not_show_keeps_nobody_from_being_told_what_does() {
    let mut bench = Bench::new();
    let a = user("a");
    let now = bench.now;
    bench.roster.connected(session(1), &a, state(ONLINE), now);
    assert!(bench.settle(&a, None, 2).is_some());
    bench.roster.set(session(1), &a, now, |_| state(INVISIBLE));
    bench.now += PACE.damping;
    let due = bench.roster.due(bench.now, 10).remove(0);
    let settled = |elsewhere: Option<Availability>, version| {
        let elsewhere = elsewhere.map(state);
        Settled {
            total: merged(due.held.iter().chain(&elsewhere)),
            held: due.held.clone(),
            elsewhere,
            version,
            tell: true,
        }
    };
    let left = state(INVISIBLE);
    assert!(bench.roster.heard(&a, Some(&left), 4, false));
    let hid = bench
        .roster
        .settled(&a, settled(Some(ONLINE), 3), bench.now);
    let hid = hid.unwrap();
    assert_eq!(hid.before, Some(state(ONLINE)));
    assert_eq!(hid.after, Some(state(INVISIBLE)));
    // Of what shows it is the other way about: whoever told it told this, too.
    assert!(bench.roster.heard(&a, None, 6, true));
    assert_eq!(bench.roster.settled(&a, settled(None, 5), bench.now), None);
}

/// While something was owed, and while a put was under way: whoever reaped the lease told that nobody is here.
#[test]
fn what_a_lease_held_that_lapsed_is_told_anew() {
    let a = user("a");
    let mut bench = Bench::new();
    let now = bench.now;
    bench.roster.connected(session(1), &a, state(ONLINE), now);
    assert!(bench.settle(&a, None, 1).is_some());
    bench.roster.owe(&a, Some(state(ONLINE)), now);
    bench.roster.doubt_told();
    bench.roster.owe_all(now);
    let told = bench.settle(&a, None, 4).map(|news| news.after);
    assert_eq!(told, Some(Some(state(ONLINE))));

    bench.roster.set(session(1), &a, now, |_| state(BUSY));
    bench.now += PACE.damping;
    assert_eq!(bench.roster.due(bench.now, 10).len(), 1);
    bench.roster.doubt_told();
    bench.roster.owe_all(bench.now);
    bench.settle_due(&a, Some(state(BUSY)), 5);
    let told = bench.settle(&a, None, 8).map(|news| news.after);
    assert_eq!(told, Some(Some(state(BUSY))));
}

/// The user was on two nodes and left the other first, whose news come late.
#[test]
fn what_another_tells_late_does_not_stand_for_what_was_told_here() {
    let mut bench = Bench::new();
    let a = user("a");
    let now = bench.now;
    bench.roster.connected(session(1), &a, state(ONLINE), now);
    assert!(bench.settle(&a, None, 3).is_some());
    bench.roster.ended(session(1), &a, now);
    let gone = bench.settle(&a, None, 5);
    assert_eq!(gone.map(|news| news.after), Some(None), "told");
    assert!(!bench.hear(&a, Some(ONLINE), 4), "older");
    // Everybody passed over it: it is not what they were told.
    bench.roster.connected(session(2), &a, state(ONLINE), now);
    let back = bench.settle(&a, None, 6).map(|news| news.after);
    assert_eq!(back, Some(Some(state(ONLINE))));
}

/// The user left two nodes at once, of which the other was invisible. It told of what was left here,
/// which did not come.
#[test]
fn what_stood_in_the_store_may_have_been_told() {
    let mut bench = Bench::new();
    let a = user("a");
    let now = bench.now;
    bench.roster.connected(session(1), &a, state(ONLINE), now);
    assert!(bench.settle(&a, None, 2).is_some());
    assert!(bench.hear(&a, Some(INVISIBLE), 3));
    bench.roster.ended(session(1), &a, now);
    let gone = bench.settle(&a, None, 5).unwrap();
    assert_eq!(gone.before, Some(state(ONLINE)), "told at version 4");
    assert_eq!(gone.after, None);
}

/// A user who is busy here and invisible elsewhere: found as it was told, so nobody is.
fn found_as_it_was_told() -> (Bench, UserId) {
    let mut bench = Bench::new();
    let a = user("a");
    let now = bench.now;
    bench.roster.connected(session(1), &a, state(ONLINE), now);
    assert!(bench.settle(&a, None, 2).is_some());
    assert!(bench.hear(&a, Some(INVISIBLE), 3));
    bench.roster.set(session(1), &a, now, |_| state(BUSY));
    assert_eq!(bench.settle(&a, Some(INVISIBLE), 5), None);
    (bench, a)
}

#[test]
fn what_nobody_told_is_told_when_another_told_something_older() {
    let (mut bench, a) = found_as_it_was_told();
    assert!(!bench.hear(&a, Some(ONLINE), 4), "older");
    let news = bench.settle(&a, Some(INVISIBLE), 5).unwrap();
    assert_eq!(news.after, Some(state(INVISIBLE)));
    assert!(!bench.hear(&a, Some(ONLINE), 4), "once more");
    assert_eq!(bench.secs(60), [], "told now");
}

#[test]
fn what_nobody_told_is_told_when_something_was_lost() {
    let (mut bench, a) = found_as_it_was_told();
    bench.roster.doubt_heard(bench.now);
    let news = bench.settle(&a, Some(INVISIBLE), 5).unwrap();
    assert_eq!(news.after, Some(state(INVISIBLE)));
    bench.roster.doubt_heard(bench.now);
    assert_eq!(bench.secs(60), [], "told now");
}

/// Seed 6213 of the simulation: until the store knows of the new session, others tell it nothing.
#[test]
fn who_comes_while_their_going_is_on_its_way_is_not_noticed_yet() {
    let mut bench = Bench::new();
    let a = user("a");
    let roster = &mut bench.roster;
    roster.connected(session(1), &a, state(ONLINE), bench.now);
    let online = roster.due(bench.now, 10).remove(0).held;
    roster.taken(&a, online.as_ref());
    bench.settle_due(&a, online, 1);
    bench.now += PACE.damping;
    let roster = &mut bench.roster;
    roster.ended(session(1), &a, bench.now);
    assert_eq!(roster.due(bench.now, 10).len(), 1);
    roster.connected(session(2), &a, state(ONLINE), bench.now);
    assert!(!roster.is_noticed(&a));
    // Whatever became of the going.
    roster.failed(&a, bench.now, PACE.damping);
    assert!(!roster.is_noticed(&a));
    let since = Timestamp::from_millis(5);
    roster.falls_behind(&a, since);
    bench.now += PACE.damping;
    let online = roster.due(bench.now, 10).remove(0).held;
    assert_eq!(roster.taken(&a, online.as_ref()), Some(since));
    assert!(roster.is_noticed(&a));
}

/// A node died that may not have told what it changed; another has told it since.
#[test]
fn what_nobody_told_here_is_news_when_another_tells_it() {
    let (mut bench, a) = found_as_it_was_told();
    assert!(bench.hear(&a, Some(INVISIBLE), 5), "nobody here told it");
    assert!(!bench.hear(&a, Some(INVISIBLE), 5), "now it is told");
}

/// The put was answered before the lease of another node was reaped, or this node's own was lost.
#[test]
fn what_comes_to_be_owed_while_a_put_is_under_way_is_owed_after_it() {
    let owing: [fn(&mut Roster, &UserId, Instant); 3] = [
        |roster, user, now| roster.owe_anyhow(user, now),
        |roster, user, now| roster.owe(user, Some(state(BUSY)), now),
        |roster, _, now| roster.owe_all(now),
    ];
    for owe in owing {
        let mut bench = Bench::new();
        let a = user("a");
        let roster = &mut bench.roster;
        roster.connected(session(1), &a, state(ONLINE), bench.now);
        assert_eq!(roster.due(bench.now, 100).len(), 1);
        owe(roster, &a, bench.now);
        let settled = || Settled {
            held: Some(state(ONLINE)),
            elsewhere: None,
            total: Some(state(ONLINE)),
            version: 1,
            tell: true,
        };
        roster.settled(&a, settled(), bench.now);
        let later = bench.now + PACE.damping;
        assert_eq!(roster.due(later, 100).len(), 1);
        roster.settled(&a, settled(), later);
        assert_eq!(roster.due(later + PACE.damping, 100).len(), 0, "once");
    }
}

/// Nobody knows what the dead node told.
#[test]
fn whom_a_dead_node_may_not_have_told_of_is_told_of_anyhow() {
    for total in [None, Some(state(ONLINE)), Some(state(INVISIBLE))] {
        let mut bench = Bench::new();
        let a = user("a");
        bench.roster.owe_anyhow(&a, bench.now);
        assert_eq!(bench.roster.due(bench.now, 100).len(), 1);
        let settled = Settled {
            held: None,
            elsewhere: total.clone(),
            total: total.clone(),
            version: 7,
            tell: true,
        };
        let news = bench.roster.settled(&a, settled, bench.now).unwrap();
        assert_eq!(news.after, total);
        assert_ne!(seen(news.before.as_ref()), seen(news.after.as_ref()));
        assert_eq!(bench.secs(60), []);
    }
}

#[test]
fn what_was_uncertain_is_told_when_it_may_be() {
    let mut bench = Bench::new();
    let a = user("a");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    assert_eq!(bench.secs(5), [(0, Some(ONLINE))]);
    bench.version = 9;
    bench.roster.doubt_heard(bench.now);
    bench.roster.set(session(1), &a, bench.now, |_| state(BUSY));
    let due = bench.roster.due(bench.now, 10).remove(0);
    let settled = Settled {
        held: due.held.clone(),
        elsewhere: None,
        total: due.held,
        version: 8,
        tell: false,
    };
    assert_eq!(bench.roster.settled(&a, settled, bench.now), None);
    bench
        .roster
        .set(session(1), &a, bench.now, |_| state(ONLINE));
    assert_eq!(bench.secs(5), [(7, Some(ONLINE))], "others may not know");
}

#[test]
fn users_of_a_dead_node_are_told_of_once() {
    let mut bench = Bench::new();
    let a = user("a");
    bench.roster.owe(&a, Some(state(ONLINE)), bench.now);
    assert_eq!(bench.secs(30), [(0, None)]);
    // One who was invisible there goes unnoticed; the roster says so by telling no difference
    // that a friend could see, which is the teller's part.
    assert_eq!(bench.roster.len(), (0, 0));
}

#[derive(Debug, Clone)]
enum Act {
    Connect(u64, DeviceState),
    Set(u64, DeviceState),
    Drop(u64),
    Resume(u64),
    End(u64),
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let of_state =
        || prop_oneof![Just(ONLINE), Just(BUSY), Just(Availability::Away)].prop_map(state);
    let act = prop_oneof![
        (0..3_u64, of_state()).prop_map(|(n, s)| Act::Connect(n, s)),
        (0..3_u64, of_state()).prop_map(|(n, s)| Act::Set(n, s)),
        (0..3_u64).prop_map(Act::Drop),
        (0..3_u64).prop_map(Act::Resume),
        (0..3_u64).prop_map(Act::End),
        (0..15_000_u64).prop_map(Act::Pass),
        any::<u8>().prop_map(|ms| Act::Pass(u64::from(ms))),
    ];
    prop::collection::vec(act, 1..80)
}

proptest! {
    #[test]
    fn whatever_devices_do_the_end_is_told_and_not_too_often(acts in acts()) {
        let mut bench = Bench::new();
        let a = user("a");
        let mut told = Vec::new();
        for act in acts {
            let now = bench.now;
            let roster = &mut bench.roster;
            match act {
                Act::Connect(n, s) => roster.connected(session(n), &a, s, now),
                Act::Set(n, s) => roster.set(session(n), &a, now, |_| s),
                Act::Drop(n) => roster.disconnected(session(n), &a, now),
                Act::Resume(n) => roster.resumed(session(n), &a, now),
                Act::End(n) => roster.ended(session(n), &a, now),
                Act::Pass(ms) => told.extend(bench.pass(Duration::from_millis(ms))),
            }
        }
        told.extend(bench.secs(60));
        let end = bench.roster.held(&a).map(|state| state.availability);
        prop_assert_eq!(told.last().and_then(|told| told.1), end);
        for two in told.windows(2) {
            // Whole seconds: two apart may show as one.
            prop_assert!(two[1].0 - two[0].0 >= 1, "{:?}", told);
            prop_assert!(two[0].1 != two[1].1, "told twice: {:?}", told);
        }
        prop_assert_eq!(bench.roster.len().1, 0, "nothing waits when nothing happens");
    }
}

/// Typing asks: it must not show whom presence hides.
#[test]
fn who_hides_is_unseen_at_once_and_until_others_are_told_otherwise() {
    let mut bench = Bench::new();
    let a = user("a");
    assert!(!bench.roster.unseen(&a), "nobody is not hidden");
    bench
        .roster
        .connected(session(1), &a, state(ONLINE), bench.now);
    assert!(!bench.roster.unseen(&a));
    bench.secs(5);
    bench
        .roster
        .set(session(1), &a, bench.now, |_| state(INVISIBLE));
    assert!(bench.roster.unseen(&a), "before anybody is told");
    bench.secs(5);
    bench
        .roster
        .connected(session(2), &a, state(ONLINE), bench.now);
    assert!(bench.roster.unseen(&a), "one device that hides is enough");
    bench
        .roster
        .set(session(1), &a, bench.now, |_| state(ONLINE));
    assert!(bench.roster.unseen(&a), "nobody was told yet");
    bench.secs(5);
    assert!(!bench.roster.unseen(&a));
    // Another node tells of a device of its own.
    assert!(
        bench
            .roster
            .heard(&a, Some(&state(INVISIBLE)), u64::MAX, true)
    );
    assert!(bench.roster.unseen(&a));
}
