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
    let place = backends[0].tunnels().enter();
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
