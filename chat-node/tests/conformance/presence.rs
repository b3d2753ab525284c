//! What every backend of the presence store has to do. A backend runs all of it by
//! [`conforms`] with a factory of its own.

mod redis;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chat_node::history::sqlite::{SqliteHistory, SqliteSettings};
use chat_node::presence::{
    Availability, DeviceState, Incarnation, LEASE_FOR, LocalPresence, LocalPresenceNode,
    PresenceError, PresenceStore, RENEW_EVERY, Standing,
};
use shared::{
    id::{NodeId, Timestamp, UserId},
    protocol::presence::{Activity, ActivityKind},
};

/// A store that nodes share, and the time its leases go by.
#[async_trait]
pub(crate) trait PresenceFactory {
    /// The backend's handle.
    type Node: PresenceStore;

    /// A handle on the one store of this factory.
    async fn node(&self, name: &str) -> Self::Node;

    /// Lets the store's time pass. A backend with a clock of its own may shorten its leases and
    /// wait in proportion.
    async fn pass(&self, time: Duration);
}

/// Runs the suite, each part with users and nodes of its own.
pub(crate) async fn conforms<F: PresenceFactory>(factory: &F) {
    nobody_is_offline_and_unheard_of(factory).await;
    nodes_hold_apart_and_count_together(factory).await;
    putting_again_changes_nothing(factory).await;
    versions_grow_over_all_nodes(factory).await;
    last_seen_is_when_a_user_ceased_to_be_visible(factory).await;
    a_renewed_lease_holds_and_another_does_not(factory).await;
    an_expired_lease_is_reaped_once(factory).await;
    who_was_not_told_of_is_learnt_by_the_reaper(factory).await;
    a_reaper_answers_for_telling(factory).await;
    what_was_reaped_leaves_the_time_last_seen_of_the_visible_only(factory).await;
    a_new_life_holds_for_itself(factory).await;
    a_released_lease_is_gone_at_once(factory).await;
    many_users_are_one_round_trip(factory).await;
}

async fn nobody_is_offline_and_unheard_of<F: PresenceFactory>(factory: &F) {
    let a = factory.node("nobody-a").await;
    let standing = read(&a, "nobody").await;
    assert_eq!(
        (standing.merged(), standing.last_seen, standing.version),
        (None, None, 0)
    );
    let lease = a.lease().await.unwrap().incarnation;
    let standing = put(&a, lease, 5, "nobody", None).await;
    assert_eq!((standing.merged(), standing.last_seen), (None, None));
    assert_eq!(a.read(&[]).await.unwrap(), []);
    assert_eq!(a.put(lease, at(5), &[]).await.unwrap(), []);
}

async fn nodes_hold_apart_and_count_together<F: PresenceFactory>(factory: &F) {
    let (a, b) = (factory.node("apart-a").await, factory.node("apart-b").await);
    let (la, lb) = (
        a.lease().await.unwrap().incarnation,
        b.lease().await.unwrap().incarnation,
    );
    put(&a, la, 1, "apart", Some(playing("chess"))).await;
    let standing = put(&b, lb, 2, "apart", Some(state(Availability::Busy))).await;
    let merged = standing.merged().unwrap();
    assert_eq!(merged.availability, Availability::Busy);
    assert_eq!(
        merged.activity,
        playing("chess").activity,
        "activities survive the store whole"
    );
    let name = NodeId::parse("apart-b").unwrap();
    assert_eq!(standing.elsewhere(&name, lb), Some(playing("chess")));
    assert_eq!(
        read(&a, "apart").await,
        standing,
        "both nodes read the same"
    );
    assert_eq!(standing.changed, Some(at(2)));
    let standing = put(&a, la, 3, "apart", None).await;
    assert_eq!(standing.merged(), Some(state(Availability::Busy)));
    assert_eq!(standing.held.len(), 1);
    let standing = put(&b, lb, 4, "apart", None).await;
    assert_eq!(standing.merged(), None);
}

async fn putting_again_changes_nothing<F: PresenceFactory>(factory: &F) {
    let a = factory.node("again-a").await;
    let lease = a.lease().await.unwrap().incarnation;
    let first = put(&a, lease, 1, "again", Some(playing("go"))).await;
    let second = put(&a, lease, 2, "again", Some(playing("go"))).await;
    assert_eq!(first, second);
    let gone = put(&a, lease, 3, "again", None).await;
    assert_eq!(put(&a, lease, 4, "again", None).await, gone);
}

async fn versions_grow_over_all_nodes<F: PresenceFactory>(factory: &F) {
    let (a, b) = (
        factory.node("version-a").await,
        factory.node("version-b").await,
    );
    let (la, lb) = (
        a.lease().await.unwrap().incarnation,
        b.lease().await.unwrap().incarnation,
    );
    let mut last = 0;
    for n in 0..20 {
        let (node, lease) = if n % 2 == 0 { (&a, la) } else { (&b, lb) };
        let next = match n % 3 {
            0 => None,
            1 => Some(state(Availability::Online)),
            _ => Some(state(Availability::Away)),
        };
        let before = read(&a, "version").await;
        let standing = put(node, lease, 10 + n, "version", next).await;
        if standing.held != before.held {
            assert!(standing.version > last, "{} after {last}", standing.version);
        }
        last = standing.version;
    }
}

async fn last_seen_is_when_a_user_ceased_to_be_visible<F: PresenceFactory>(factory: &F) {
    let (a, b) = (factory.node("seen-a").await, factory.node("seen-b").await);
    let (la, lb) = (
        a.lease().await.unwrap().incarnation,
        b.lease().await.unwrap().incarnation,
    );
    let seen = async |lease, time, on_a: bool, next: Option<DeviceState>| {
        let node = if on_a { &a } else { &b };
        put(node, lease, time, "seen", next).await.last_seen
    };
    let online = || Some(state(Availability::Online));
    let invisible = || Some(state(Availability::Invisible));
    // Comes invisible and goes: nobody saw anything.
    assert_eq!(seen(la, 10, true, invisible()).await, None);
    assert_eq!(seen(la, 20, true, None).await, None);
    // Comes, and goes.
    assert_eq!(seen(la, 30, true, online()).await, None);
    assert_eq!(seen(la, 40, true, None).await, Some(at(40)));
    // Turns invisible: that is the moment; what follows unseen does not move it.
    assert_eq!(seen(la, 50, true, online()).await, Some(at(40)));
    assert_eq!(seen(la, 60, true, invisible()).await, Some(at(60)));
    assert_eq!(seen(la, 70, true, None).await, Some(at(60)));
    // Two nodes: an invisible device hides the visible one, whichever comes or goes.
    assert_eq!(seen(la, 80, true, online()).await, Some(at(60)));
    assert_eq!(seen(lb, 90, false, invisible()).await, Some(at(90)));
    assert_eq!(seen(la, 100, true, None).await, Some(at(90)));
    assert_eq!(seen(la, 110, true, online()).await, Some(at(90)));
    assert_eq!(
        seen(lb, 120, false, None).await,
        Some(at(90)),
        "becoming visible is no departure"
    );
    assert_eq!(seen(la, 130, true, None).await, Some(at(130)));
}

async fn a_renewed_lease_holds_and_another_does_not<F: PresenceFactory>(factory: &F) {
    let (a, b) = (factory.node("renew-a").await, factory.node("renew-b").await);
    let (la, lb) = (
        a.lease().await.unwrap().incarnation,
        b.lease().await.unwrap().incarnation,
    );
    put(&a, la, 1, "renew", Some(playing("go"))).await;
    for _ in 0..4 {
        factory.pass(RENEW_EVERY).await;
        a.renew(la).await.unwrap();
    }
    let reaped = a.reap(la, at(2)).await.unwrap();
    assert!(reaped.iter().all(|reaped| reaped.user != user("renew")));
    assert_eq!(a.renew(la).await, Ok(()));
    // Not renewed for as long as a lease holds: over, reaped or not.
    assert_eq!(b.renew(lb).await, Err(PresenceError::Expired));
    let change = [(user("renew"), Some(state(Availability::Busy)))];
    assert_eq!(b.put(lb, at(3), &change).await, Err(PresenceError::Expired));
    assert_eq!(
        read(&a, "renew").await.merged(),
        Some(playing("go")),
        "nothing was changed"
    );
    assert_eq!(
        a.renew(Incarnation::new(u64::MAX)).await,
        Err(PresenceError::Expired)
    );
}

async fn an_expired_lease_is_reaped_once<F: PresenceFactory>(factory: &F) {
    let (a, b) = (factory.node("reap-a").await, factory.node("reap-b").await);
    let c = factory.node("reap-c").await;
    let (la, lb, lc) = (
        a.lease().await.unwrap().incarnation,
        b.lease().await.unwrap().incarnation,
        c.lease().await.unwrap().incarnation,
    );
    put(&a, la, 1, "reap-1", Some(playing("go"))).await;
    put(&a, la, 1, "reap-2", Some(state(Availability::Away))).await;
    put(&b, lb, 1, "reap-2", Some(state(Availability::Online))).await;
    put(&a, la, 1, "reap-3", Some(state(Availability::Online))).await;
    put(&a, la, 2, "reap-3", None).await;
    let told = ["reap-1", "reap-2", "reap-3"].map(user);
    a.told(la, &told);
    for _ in 0..2 {
        a.renew(la).await.unwrap();
        b.renew(lb).await.unwrap();
        c.renew(lc).await.unwrap();
        factory.pass(LEASE_FOR / 2).await;
    }
    b.renew(lb).await.unwrap();
    c.renew(lc).await.unwrap();
    factory.pass(LEASE_FOR / 2).await;
    assert_eq!(
        read(&b, "reap-1").await.merged(),
        Some(playing("go")),
        "until it is reaped"
    );
    let (from_b, from_c) = tokio::join!(b.reap(lb, at(7)), c.reap(lc, at(7)));
    let mut reaped = [from_b.unwrap(), from_c.unwrap()].concat();
    reaped.retain(|reaped| reaped.user.as_str().starts_with("reap-"));
    reaped.sort_by(|x, y| x.user.cmp(&y.user));
    let users: Vec<&str> = reaped.iter().map(|reaped| reaped.user.as_str()).collect();
    assert_eq!(users, ["reap-1", "reap-2"], "each user once, whoever reaps");
    assert!(reaped.iter().all(|reaped| !reaped.untold));
    assert_eq!(reaped[0].lost, Some(playing("go")));
    assert_eq!(reaped[0].standing.merged(), None);
    assert_eq!(reaped[0].standing, read(&c, "reap-1").await);
    assert_eq!(
        reaped[1].standing.merged(),
        Some(state(Availability::Online))
    );
    assert_eq!(b.reap(lb, at(8)).await.unwrap(), []);
    assert_eq!(a.renew(la).await, Err(PresenceError::Expired));
}

/// A node puts, and dies before it has told anybody.
async fn who_was_not_told_of_is_learnt_by_the_reaper<F: PresenceFactory>(factory: &F) {
    let (a, b) = (
        factory.node("untold-a").await,
        factory.node("untold-b").await,
    );
    let la = a.lease().await.unwrap().incarnation;
    for name in ["untold-1", "untold-2", "untold-3", "untold-4"] {
        put(&a, la, 1, name, Some(state(Availability::Online))).await;
    }
    a.told(la, &["untold-1", "untold-2", "untold-3"].map(user));
    // Known to the store at the latest when it is renewed.
    a.renew(la).await.unwrap();
    let busy = Some(state(Availability::Busy));
    put(&a, la, 2, "untold-1", busy.clone()).await;
    put(&a, la, 2, "untold-2", None).await;
    put(&a, la, 2, "untold-4", None).await;
    put(&a, la, 3, "untold-4", busy.clone()).await;
    a.told(la, &[user("untold-4")]);
    put(&a, la, 4, "untold-4", None).await;
    // Who hides is told to nobody; who begins to is.
    let invisible = Some(state(Availability::Invisible));
    put(&a, la, 4, "untold-5", invisible.clone()).await;
    put(&a, la, 4, "untold-3", invisible.clone()).await;
    factory.pass(LEASE_FOR).await;
    let lb = b.lease().await.unwrap().incarnation;
    put(&b, lb, 5, "untold-1", busy.clone()).await;
    let mut reaped = b.reap(lb, at(7)).await.unwrap();
    while let Some(more) = Some(b.reap(lb, at(7)).await.unwrap()).filter(|more| !more.is_empty()) {
        reaped.extend(more);
    }
    reaped.retain(|reaped| reaped.user.as_str().starts_with("untold-"));
    reaped.sort_by(|x, y| x.user.cmp(&y.user));
    let learnt: Vec<_> = reaped
        .iter()
        .map(|one| (one.user.as_str(), one.lost.clone(), one.untold))
        .collect();
    let expected = [
        ("untold-1", busy.clone(), true),
        ("untold-2", None, true),
        ("untold-3", invisible.clone(), true),
        ("untold-4", None, true),
        ("untold-5", invisible, false),
    ];
    assert_eq!(learnt, expected);
    let merged: Vec<_> = reaped.iter().map(|one| one.standing.merged()).collect();
    assert_eq!(merged, [busy, None, None, None, None], "as they stand now");
    for one in &reaped {
        assert_eq!(one.standing, read(&b, one.user.as_str()).await);
    }
    assert_eq!(b.reap(lb, at(8)).await.unwrap(), []);
}

/// A node reaps, and dies before it has told anybody.
async fn a_reaper_answers_for_telling<F: PresenceFactory>(factory: &F) {
    let (a, b) = (
        factory.node("answers-a").await,
        factory.node("answers-b").await,
    );
    let la = a.lease().await.unwrap().incarnation;
    for name in ["answers-1", "answers-2", "answers-3"] {
        put(&a, la, 1, name, Some(playing("go"))).await;
    }
    put(&a, la, 2, "answers-3", None).await;
    factory.pass(LEASE_FOR).await;
    let lb = b.lease().await.unwrap().incarnation;
    let mut reaped = b.reap(lb, at(3)).await.unwrap();
    reaped.retain(|reaped| reaped.user.as_str().starts_with("answers-"));
    assert_eq!(reaped.len(), 3);
    b.told(lb, &[user("answers-2")]);
    b.renew(lb).await.unwrap();
    factory.pass(LEASE_FOR).await;
    let c = factory.node("answers-c").await;
    let lc = c.lease().await.unwrap().incarnation;
    let mut reaped = c.reap(lc, at(4)).await.unwrap();
    reaped.retain(|reaped| reaped.user.as_str().starts_with("answers-"));
    reaped.sort_by(|x, y| x.user.cmp(&y.user));
    let learnt: Vec<_> = reaped
        .iter()
        .map(|one| (one.user.as_str(), one.lost.clone(), one.untold))
        .collect();
    let expected = [("answers-1", None, true), ("answers-3", None, true)];
    assert_eq!(learnt, expected);
    assert!(reaped.iter().all(|one| one.standing.merged().is_none()));
    assert_eq!(c.reap(lc, at(5)).await.unwrap(), []);
}

async fn what_was_reaped_leaves_the_time_last_seen_of_the_visible_only<F: PresenceFactory>(
    factory: &F,
) {
    let (a, b) = (factory.node("trace-a").await, factory.node("trace-b").await);
    let la = a.lease().await.unwrap().incarnation;
    put(&a, la, 1, "trace-1", Some(state(Availability::Online))).await;
    put(&a, la, 1, "trace-2", Some(state(Availability::Invisible))).await;
    factory.pass(LEASE_FOR * 2).await;
    let lb = b.lease().await.unwrap().incarnation;
    b.reap(lb, at(9)).await.unwrap();
    assert_eq!(read(&b, "trace-1").await.last_seen, Some(at(9)));
    assert_eq!(read(&b, "trace-2").await.last_seen, None);
}

async fn a_new_life_holds_for_itself<F: PresenceFactory>(factory: &F) {
    let a = factory.node("life-a").await;
    let first = a.lease().await.unwrap().incarnation;
    put(&a, first, 1, "life-1", Some(state(Availability::Online))).await;
    put(&a, first, 1, "life-2", Some(state(Availability::Online))).await;
    // The process comes again under the same name, sooner than the lease of its first life ends.
    let a = factory.node("life-a").await;
    let second = a.lease().await.unwrap().incarnation;
    assert!(second > first);
    put(&a, second, 2, "life-1", Some(state(Availability::Online))).await;
    for _ in 0..3 {
        factory.pass(LEASE_FOR / 2).await;
        a.renew(second).await.unwrap();
    }
    let mut reaped = a.reap(second, at(3)).await.unwrap();
    reaped.retain(|reaped| reaped.user.as_str().starts_with("life-"));
    reaped.sort_by(|x, y| x.user.cmp(&y.user));
    assert_eq!(
        reaped[0].standing.merged(),
        Some(state(Availability::Online)),
        "held by the second life"
    );
    assert_eq!(reaped[1].standing.merged(), None);
}

async fn a_released_lease_is_gone_at_once<F: PresenceFactory>(factory: &F) {
    let (a, b) = (
        factory.node("release-a").await,
        factory.node("release-b").await,
    );
    let la = a.lease().await.unwrap().incarnation;
    put(&a, la, 1, "release", Some(playing("go"))).await;
    let released = a.release(la, at(4)).await.unwrap();
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].lost, Some(playing("go")));
    assert_eq!(released[0].standing.last_seen, Some(at(4)));
    assert_eq!(a.release(la, at(5)).await.unwrap(), []);
    assert_eq!(a.renew(la).await, Err(PresenceError::Expired));
    factory.pass(LEASE_FOR * 2).await;
    let lb = b.lease().await.unwrap().incarnation;
    let again = b.reap(lb, at(6)).await.unwrap();
    assert!(again.iter().all(|reaped| reaped.user != user("release")));
}

async fn many_users_are_one_round_trip<F: PresenceFactory>(factory: &F) {
    let a = factory.node("many-a").await;
    let lease = a.lease().await.unwrap().incarnation;
    let users: Vec<UserId> = (0..500).map(|n| user(&format!("many-{n}"))).collect();
    let changes: Vec<_> = users
        .iter()
        .enumerate()
        .map(|(n, user)| {
            let held = (n % 2 == 0).then(|| playing(&format!("game {n}")));
            (user.clone(), held)
        })
        .collect();
    let standings = a.put(lease, at(1), &changes).await.unwrap();
    assert_eq!(a.read(&users).await.unwrap(), standings);
    for ((_, held), standing) in changes.iter().zip(&standings) {
        assert_eq!(standing.merged(), *held, "in the order asked");
    }
    a.release(lease, at(2)).await.unwrap();
}

async fn put<S: PresenceStore>(
    store: &S,
    lease: Incarnation,
    time: i64,
    name: &str,
    held: Option<DeviceState>,
) -> chat_node::presence::Standing {
    let standings = store.put(lease, at(time), &[(user(name), held)]).await;
    standings.unwrap().remove(0)
}

async fn read<S: PresenceStore>(store: &S, name: &str) -> chat_node::presence::Standing {
    store.read(&[user(name)]).await.unwrap().remove(0)
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn state(availability: Availability) -> DeviceState {
    DeviceState {
        availability,
        activity: None,
    }
}

fn playing(game: &str) -> DeviceState {
    DeviceState {
        availability: Availability::Online,
        activity: Some(Arc::new(Activity {
            kind: ActivityKind::Game,
            game: game.to_owned(),
            state: Some("Lobby — “é”".to_owned()),
            details: None,
            party: None,
            joinable: true,
            since: Some(at(3)),
        })),
    }
}

struct Local(LocalPresence);

#[async_trait]
impl PresenceFactory for Local {
    type Node = LocalPresenceNode;

    async fn node(&self, name: &str) -> LocalPresenceNode {
        self.0.node(NodeId::parse(name).unwrap())
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

/// Of who left it is known when, after a restart; of who was there at a crash it is not, and an invisible
/// user is as one who is gone.
#[tokio::test]
async fn the_local_store_remembers_who_left_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let open = || Arc::new(SqliteHistory::open(&path, &SqliteSettings::default()).unwrap());
    let store = |history: &Arc<SqliteHistory>| {
        LocalPresence::remembering(history.clone()).node(NodeId::parse("n").unwrap())
    };
    let users =
        ["gone", "back", "there", "hidden", "never"].map(|name| UserId::parse(name).unwrap());
    let [gone, back, there, hidden, _] = users.clone();
    let online = || Some(DeviceState::default());
    let invisible = || {
        Some(DeviceState {
            availability: Availability::Invisible,
            activity: None,
        })
    };
    let at = Timestamp::from_millis;

    let history = open();
    let node = store(&history);
    let lease = node.lease().await.unwrap().incarnation;
    let changes: [(i64, &UserId, Option<DeviceState>); 8] = [
        (1, &gone, online()),
        (2, &back, online()),
        (3, &there, online()),
        (4, &hidden, online()),
        (5, &gone, None),
        (6, &back, None),
        (7, &hidden, invisible()),
        (8, &back, online()),
    ];
    for (ms, user, state) in changes {
        node.put(lease, at(ms), &[(user.clone(), state)])
            .await
            .unwrap();
    }
    // As after kill -9: the lease is not given back.
    history.close();
    drop((node, history));

    let history = open();
    let node = store(&history);
    let seen = |standings: Vec<Standing>| -> Vec<Option<Timestamp>> {
        standings.into_iter().map(|s| s.last_seen).collect()
    };
    let known = [Some(at(5)), None, None, Some(at(7)), None];
    assert_eq!(seen(node.read(&users).await.unwrap()), known);
    let lease = node.lease().await.unwrap().incarnation;
    let changes = [(hidden, invisible()), (gone, online())];
    let standings = node.put(lease, at(20), &changes).await.unwrap();
    assert_eq!(seen(standings), [Some(at(7)), Some(at(5))]);
    // An orderly stop.
    node.release(lease, at(30)).await.unwrap();
    history.close();
    drop((node, history));

    let node = store(&open());
    let known = [Some(at(30)), None, None, Some(at(7)), None];
    assert_eq!(seen(node.read(&users).await.unwrap()), known);
}

#[tokio::test(start_paused = true)]
async fn the_local_store_conforms() {
    conforms(&Local(LocalPresence::new())).await;
}
