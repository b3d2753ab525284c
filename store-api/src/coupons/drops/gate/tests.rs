//! What every gate does: run on the one in memory and on the one in Redis.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use shared::id::Timestamp;
use tokio::task::JoinSet;
use ulid::Ulid;

use super::*;
use crate::test_redis::shared_redis;

/// For how long these gates keep a place.
const KEPT: Duration = Duration::from_secs(4);

async fn redis() -> RedisGate {
    RedisGate::keeping(shared_redis().await, KEPT)
}

fn drop_of(places: u64) -> GateDrop {
    GateDrop {
        id: Ulid::new().to_string(),
        places,
        closes_at: Timestamp::now().as_millis() + 60_000,
    }
}

/// Who of these is let in.
async fn enter(gate: &dyn Gate, drop: &GateDrop, people: &[&str]) -> Vec<bool> {
    let entries = gate.enter(drop, people).await.unwrap().unwrap();
    entries.iter().map(|entry| *entry == Entry::In).collect()
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test] async fn $name() { super::$name(super::LocalGate::keeping(super::KEPT)).await; })+
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::redis().await).await; })+
        }
    };
}

conforms!(
    a_drop_is_known_once_it_is_opened,
    as_many_are_let_in_as_there_are_places_in_their_order,
    who_has_a_place_is_let_in_again,
    a_place_that_nobody_settles_is_free_again,
    a_settled_place_is_for_good,
    who_leaves_frees_a_place,
    more_may_be_settled_than_there_are_places,
    drops_are_apart,
    many_at_once_are_never_too_many,
);

async fn a_drop_is_known_once_it_is_opened(gate: impl Gate) {
    let drop = drop_of(1);
    assert_eq!(gate.enter(&drop, &["ann"]).await.unwrap(), None);
    gate.leave(&drop, &["ann"]).await.unwrap();
    gate.settle(&drop, &["bob"]).await.unwrap();
    assert_eq!(gate.enter(&drop, &["bob"]).await.unwrap(), None);
    for _ in 0..2 {
        gate.open(&drop).await.unwrap();
        // What was settled before counts.
        assert_eq!(enter(&gate, &drop, &["ann", "bob"]).await, [false, true]);
    }
}

async fn as_many_are_let_in_as_there_are_places_in_their_order(gate: impl Gate) {
    let drop = drop_of(3);
    gate.open(&drop).await.unwrap();
    let first = enter(&gate, &drop, &["d", "a", "d", "c", "b"]).await;
    assert_eq!(first, [true, true, true, true, false]);
    assert_eq!(enter(&gate, &drop, &["e", "a"]).await, [false, true]);
    assert_eq!(enter(&gate, &drop, &[]).await, [] as [bool; 0]);
}

async fn who_has_a_place_is_let_in_again(gate: impl Gate) {
    let drop = drop_of(1);
    gate.open(&drop).await.unwrap();
    // Coming again keeps the place for longer.
    for _ in 0..5 {
        assert_eq!(enter(&gate, &drop, &["ann", "bob"]).await, [true, false]);
        tokio::time::sleep(KEPT / 3).await;
    }
}

async fn a_place_that_nobody_settles_is_free_again(gate: impl Gate) {
    let drop = drop_of(2);
    gate.open(&drop).await.unwrap();
    assert_eq!(enter(&gate, &drop, &["ann", "bob"]).await, [true, true]);
    gate.settle(&drop, &["bob"]).await.unwrap();
    assert_eq!(enter(&gate, &drop, &["cat"]).await, [false]);
    tokio::time::sleep(KEPT + KEPT / 4).await;
    let late = enter(&gate, &drop, &["cat", "ann", "bob", "dan"]).await;
    assert_eq!(late, [true, false, true, false]);
}

async fn a_settled_place_is_for_good(gate: impl Gate) {
    let drop = drop_of(1);
    gate.open(&drop).await.unwrap();
    assert_eq!(enter(&gate, &drop, &["ann"]).await, [true]);
    gate.settle(&drop, &["ann"]).await.unwrap();
    assert_eq!(enter(&gate, &drop, &["ann"]).await, [true]);
    gate.leave(&drop, &["ann"]).await.unwrap();
    tokio::time::sleep(KEPT + KEPT / 4).await;
    assert_eq!(enter(&gate, &drop, &["bob", "ann"]).await, [false, true]);
}

async fn who_leaves_frees_a_place(gate: impl Gate) {
    let drop = drop_of(1);
    gate.open(&drop).await.unwrap();
    assert_eq!(enter(&gate, &drop, &["ann", "bob"]).await, [true, false]);
    gate.leave(&drop, &["ann", "bob", "nobody"]).await.unwrap();
    assert_eq!(enter(&gate, &drop, &["bob", "ann"]).await, [true, false]);
}

async fn more_may_be_settled_than_there_are_places(gate: impl Gate) {
    let drop = drop_of(1);
    gate.open(&drop).await.unwrap();
    gate.settle(&drop, &["ann", "bob", "ann"]).await.unwrap();
    let entered = enter(&gate, &drop, &["cat", "ann", "bob"]).await;
    assert_eq!(entered, [false, true, true]);
}

async fn drops_are_apart(gate: impl Gate) {
    let drops = [drop_of(1), drop_of(1)];
    for drop in &drops {
        gate.open(drop).await.unwrap();
        assert_eq!(enter(&gate, drop, &["ann", "bob"]).await, [true, false]);
    }
    gate.settle(&drops[0], &["ann"]).await.unwrap();
    gate.leave(&drops[1], &["ann"]).await.unwrap();
    assert_eq!(enter(&gate, &drops[0], &["bob"]).await, [false]);
    assert_eq!(enter(&gate, &drops[1], &["bob"]).await, [true]);
}

async fn many_at_once_are_never_too_many(gate: impl Gate + 'static) {
    let gate = Arc::new(gate);
    let drop = drop_of(100);
    gate.open(&drop).await.unwrap();
    let mut tasks = JoinSet::new();
    for group in 0..20 {
        let (gate, drop) = (gate.clone(), drop.clone());
        tasks.spawn(async move {
            // Half of everybody's people are those of the next, too.
            let people: Vec<String> = (group * 10..group * 10 + 20)
                .map(|n| n.to_string())
                .collect();
            let people: Vec<&str> = people.iter().map(String::as_str).collect();
            let entered = enter(gate.as_ref(), &drop, &people).await;
            let entered = people.iter().zip(entered).filter(|(_, entered)| *entered);
            entered
                .map(|(person, _)| (*person).to_owned())
                .collect::<Vec<_>>()
        });
    }
    let in_all: BTreeSet<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(in_all.len(), 100);
}
