use std::time::Duration;

use super::*;

const THRESHOLDS: Thresholds = Thresholds {
    up_after: 2,
    down_after: 2,
    gone_after: Duration::ZERO,
    eject_after: 3,
    eject_for: Duration::from_mins(1),
    slow_start: Duration::from_hours(1),
};

fn places(names: &[&str]) -> Vec<Place> {
    let place = |name: &&str| format!("{name}=127.0.0.1:9").parse().unwrap();
    names.iter().map(place).collect()
}

/// A pool of nodes that are all ready.
fn pool(names: &[&str]) -> (Pool, Vec<Arc<Backend>>) {
    let pool = Pool::new(PoolKind::Nodes, THRESHOLDS, 1.25);
    let backends = pool.replace(&places(names));
    for backend in &backends {
        backend.probed(Probe::Ready);
    }
    (pool, backends)
}

fn names(order: &[Arc<Backend>]) -> Vec<&str> {
    order.iter().map(|backend| backend.name()).collect()
}

fn firsts(pool: &Pool) -> Vec<String> {
    let first = |n: usize| pool.of_user(Key::of(&format!("u{n}")))[0].name().to_owned();
    (0..500).map(first).collect()
}

#[test]
fn nobody_is_sent_where_nobody_answered_yet() {
    let pool = Pool::new(PoolKind::Nodes, THRESHOLDS, 1.25);
    assert!(pool.of_user(Key::of("ann")).is_empty());
    let fresh = pool.replace(&places(&["a", "b"]));
    assert_eq!(fresh.len(), 2);
    assert!(pool.of_user(Key::of("ann")).is_empty());
    assert!(!pool.report());
    fresh[0].probed(Probe::Ready);
    assert_eq!(names(&pool.for_connect(Key::of("ann"))), ["a"]);
    assert!(pool.report());
}

#[test]
fn a_node_that_falls_hands_its_users_alone_to_the_next() {
    let (pool, backends) = pool(&["a", "b", "c"]);
    let before = firsts(&pool);
    backends[1].probed(Probe::Unready);
    let after = firsts(&pool);
    assert!(after.iter().all(|name| name != "b"));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == "b" || before == after);
    }
}

#[test]
fn one_that_fails_is_asked_last() {
    let (pool, backends) = pool(&["a", "b"]);
    for _ in 0..3 {
        backends[0].failed();
    }
    for n in 0..100 {
        let user = Key::of(&format!("u{n}"));
        assert_eq!(names(&pool.of_user(user)), ["b", "a"]);
    }
    backends[1].probed(Probe::Unready);
    assert_eq!(names(&pool.of_user(Key::of("ann"))), ["a"]);
    assert_eq!(pool.view()[0].state, "ejected");
}

#[test]
fn who_joins_begins_with_little() {
    let (pool, _) = pool(&["a", "b"]);
    let fresh = pool.replace(&places(&["a", "b", "c"]));
    assert_eq!(fresh.len(), 1);
    fresh[0].probed(Probe::Ready);
    let with = firsts(&pool).iter().filter(|name| *name == "c").count();
    assert!(
        (1..80).contains(&with),
        "{with} of 500, of a tenth of a third"
    );
}

#[tokio::test]
async fn who_is_named_no_more_keeps_its_tunnels_until_it_is_gone() {
    let (pool, backends) = pool(&["a", "b"]);
    let place = backends[0].tunnels().enter(&UserId::parse("ann").unwrap());
    let number = place.number();
    let task = tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(place);
    });
    backends[0].tunnels().attach(number, task.abort_handle());
    assert!(pool.replace(&places(&["b"])).is_empty());
    assert_eq!(names(&pool.of_user(Key::of("ann"))), ["b"]);
    let view = pool.view();
    assert_eq!((view.len(), view[1].listed, view[1].tunnels), (2, false, 1));
    // It may come back, and is the same.
    assert!(pool.replace(&places(&["a", "b"])).is_empty());
    assert!(pool.replace(&places(&["b"])).is_empty());
    for probe in [Probe::Refused, Probe::Refused, Probe::Refused] {
        backends[0].probed(probe);
    }
    assert!(!task.is_finished(), "a socket that is open is alive");
    backends[0].probed(Probe::Silent);
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(backends[0].is_left());
    assert_eq!(pool.replace(&places(&["b"])).len(), 0);
    assert_eq!(pool.view().len(), 1);
}

#[test]
fn the_store_that_has_least_to_do_is_asked() {
    let (pool, backends) = pool(&["a", "b", "c"]);
    let busy = [backends[0].request(), backends[2].request()];
    for _ in 0..20 {
        assert_eq!(pool.by_load()[0].name(), "b");
    }
    drop(busy);
    let mut asked: Vec<String> = (0..200)
        .map(|_| pool.by_load()[0].name().to_owned())
        .collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, ["a", "b", "c"], "idle ones take turns");
}

/// Opens a socket of a user where the user is sent now.
fn open(pool: &Pool, user: &UserId) {
    let node = pool.for_connect(Key::of(user.as_str()))[0].clone();
    let place = node.tunnels().enter(user);
    let (number, tunnels) = (place.number(), place.tunnels());
    let task = tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(place);
    });
    tunnels.attach(number, task.abort_handle());
}

#[tokio::test]
async fn who_belongs_to_a_node_that_comes_is_moved_there_and_nobody_else() {
    let pool = Pool::new(
        PoolKind::Nodes,
        Thresholds {
            slow_start: Duration::ZERO,
            ..THRESHOLDS
        },
        1.25,
    );
    for backend in pool.replace(&places(&["a", "b"])) {
        backend.probed(Probe::Ready);
    }
    let users: Vec<UserId> = (0..60)
        .map(|n| UserId::parse(&format!("u{n}")).unwrap())
        .collect();
    for user in &users {
        open(&pool, user);
    }
    assert!(pool.astray(99).is_empty(), "everybody is at home");
    let fresh = pool.replace(&places(&["a", "b", "c"]));
    assert!(pool.astray(99).is_empty(), "it is not ready");
    for _ in 0..2 {
        fresh[0].probed(Probe::Ready);
    }
    let belongs = |user: &UserId| pool.of_user(Key::of(user.as_str()))[0].name().to_owned();
    let mut of_c: Vec<UserId> = users
        .iter()
        .filter(|u| belongs(u) == "c")
        .cloned()
        .collect();
    of_c.sort_unstable();
    assert!((5..40).contains(&of_c.len()));
    // Not more at once than may be, and each once.
    let mut moved = Vec::new();
    while let Some(users) = Some(pool.astray(4)).filter(|some| !some.is_empty()) {
        let users: Vec<UserId> = users.into_iter().flat_map(|(_, users)| users).collect();
        assert!(users.len() <= 4);
        moved.extend(users);
    }
    moved.sort_unstable();
    assert_eq!(moved, of_c);
    // A node that is not fit sends its people away by itself.
    fresh[0].probed(Probe::Unready);
    for user in &of_c {
        open(&pool, user);
    }
    assert!(pool.astray(99).is_empty());
    // When the balancer ends, it is everybody's turn who was not asked.
    let left: usize = pool.anybody(999).iter().map(|(_, users)| users.len()).sum();
    assert_eq!(left, 60);
    assert!(pool.anybody(999).is_empty());
}
