use std::time::Duration;

use shared::events::{FriendChange, FriendState, Person, Profile, StoreEvent, StoreEventKind};

use super::*;
use crate::friends::memory::MemoryFriends;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn person(name: &str) -> Person {
    Person {
        id: user(name),
        name: name.to_uppercase(),
    }
}

fn befriend(a: &str, b: &str, state: FriendState) -> StoreEvent {
    StoreEvent::new(StoreEventKind::FriendChanged(FriendChange {
        a: person(a),
        b: person(b),
        state,
        only_a: false,
    }))
}

fn friends_of(names: &[&str]) -> Graph {
    Graph {
        friends: names
            .iter()
            .map(|name| (user(name), name.to_uppercase()))
            .collect(),
        ..Graph::default()
    }
}

fn setup() -> (Arc<MemoryFriends>, Arc<FriendCache>) {
    let store = Arc::new(MemoryFriends::default());
    store.graphs.lock().insert(user("a"), friends_of(&["b"]));
    let cache = FriendCache::new(
        Arc::clone(&store) as Arc<dyn Friends>,
        FriendCacheSettings::default(),
    );
    (store, Arc::new(cache))
}

#[tokio::test(start_paused = true)]
async fn devices_share_one_reading_and_events_keep_it_true() {
    let (store, cache) = setup();
    *store.slow.lock() = Some(Duration::from_millis(50));
    let a = user("a");
    let (one, two) = tokio::join!(cache.online(&a), cache.online(&a));
    assert_eq!((one, store.reads.load(Relaxed)), (two, 1));
    let event = befriend("c", "a", FriendState::Friend);
    cache.apply(&event);
    cache.apply(&event);
    let graph = cache.load(&user("a")).await.unwrap();
    assert_eq!(*graph, friends_of(&["b", "c"]));
    cache.apply(&befriend("a", "b", FriendState::None));
    cache.apply(&StoreEvent::new(StoreEventKind::Blocked {
        by: user("c"),
        user: user("a"),
    }));
    let graph = cache.graph(&user("a")).unwrap();
    assert!(graph.friends.contains(&user("c")) && !graph.befriended(&user("c")));
    assert!(!graph.friends.contains(&user("b")));
    assert_eq!(store.reads.load(Relaxed), 1, "events cost no reading");
}

#[tokio::test(start_paused = true)]
async fn those_who_start_together_are_asked_for_together() {
    let (store, cache) = setup();
    let users: Vec<UserId> = (0..100).map(|n| user(&format!("u{n}"))).collect();
    for (n, of) in users.iter().enumerate() {
        let friend = format!("f{n}");
        let graph = friends_of(&[&friend]);
        store.graphs.lock().insert(of.clone(), graph);
    }
    let online = users.iter().map(|user| cache.online(user));
    for (n, graph) in join_all(online).await.into_iter().enumerate() {
        assert_eq!(*graph, friends_of(&[&format!("f{n}")]));
    }
    assert_eq!(store.reads.load(Relaxed), 2, "64 and the others");
    let names = users.chunks(2).map(|pair| cache.names(pair));
    for (pair, names) in users.chunks(2).zip(join_all(names).await) {
        assert_eq!(names.len(), 2);
        assert_eq!(names[&pair[1]], pair[1].as_str().to_uppercase());
    }
    assert_eq!(store.reads.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn one_side_alone_hears_of_what_the_other_must_not() {
    let (_store, cache) = setup();
    cache.online(&user("a")).await;
    let StoreEventKind::FriendChanged(change) = befriend("c", "a", FriendState::Friend).kind else {
        panic!("made as a friend change");
    };
    let only_a = FriendChange {
        only_a: true,
        ..change
    };
    cache.apply(&StoreEvent::new(StoreEventKind::FriendChanged(only_a)));
    assert_eq!(*cache.graph(&user("a")).unwrap(), friends_of(&["b"]));
}

#[tokio::test(start_paused = true)]
async fn an_event_during_a_reading_is_not_lost() {
    let (store, cache) = setup();
    *store.slow.lock() = Some(Duration::from_millis(50));
    let reading = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { cache.online(&user("a")).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    // The answer under way was made before the change.
    store
        .graphs
        .lock()
        .insert(user("a"), friends_of(&["b", "c"]));
    cache.apply(&befriend("c", "a", FriendState::Friend));
    assert_eq!(*reading.await.unwrap(), friends_of(&["b", "c"]));
}

#[tokio::test(start_paused = true)]
async fn a_late_event_is_no_step_back() {
    let (store, cache) = setup();
    cache.online(&user("a")).await;
    let older = StoreEvent {
        ts: Timestamp::from_millis(1),
        ..befriend("a", "b", FriendState::None)
    };
    cache.apply(&befriend("a", "c", FriendState::Friend));
    store
        .graphs
        .lock()
        .insert(user("a"), friends_of(&["b", "c"]));
    cache.apply(&older);
    assert_eq!(cache.in_doubt(), 1);
    cache.refresh(10).await;
    assert_eq!(*cache.graph(&user("a")).unwrap(), friends_of(&["b", "c"]));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_cached_will_do_and_the_rest_comes_later() {
    let (store, cache) = setup();
    cache.online(&user("a")).await;
    cache.offline(&user("a"));
    store.away.store(true, Relaxed);
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(*cache.online(&user("a")).await, friends_of(&["b"]));
    assert_eq!(*cache.online(&user("new")).await, Graph::default());
    assert_eq!(cache.refresh(10).await, []);
    assert!(cache.load(&user("stranger")).await.is_err());
    // It comes back, and while it was away two became friends.
    store.away.store(false, Relaxed);
    store
        .graphs
        .lock()
        .insert(user("new"), friends_of(&["a", "z"]));
    let refreshed = cache.refresh(10).await;
    assert_eq!(
        refreshed.len(),
        1,
        "a's graph reads as before: {refreshed:?}"
    );
    assert_eq!(refreshed[0].user, user("new"));
    assert_eq!(*refreshed[0].after, friends_of(&["a", "z"]));
    assert_eq!(cache.in_doubt(), 0);
}

/// A phone goes while store-api is away: the desk still waits for its friends.
#[tokio::test(start_paused = true)]
async fn one_device_that_goes_takes_nothing_from_the_others() {
    let (store, cache) = setup();
    store.away.store(true, Relaxed);
    cache.online(&user("a")).await;
    cache.online(&user("a")).await;
    cache.offline(&user("a"));
    assert_eq!(cache.in_doubt(), 1);
    store.away.store(false, Relaxed);
    let refreshed = cache.refresh(8).await;
    assert_eq!(*refreshed[0].after, friends_of(&["b"]));
    cache.offline(&user("a"));
    assert_eq!(cache.in_doubt(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_graph_without_a_pin_is_read_again_after_a_while_and_bounded() {
    let (store, cache) = setup();
    for _ in 0..3 {
        cache.load(&user("a")).await.unwrap();
    }
    assert_eq!(store.reads.load(Relaxed), 1);
    tokio::time::advance(Duration::from_mins(1)).await;
    cache.load(&user("a")).await.unwrap();
    assert_eq!(store.reads.load(Relaxed), 2);
    cache.online(&user("a")).await;
    assert_eq!(
        store.reads.load(Relaxed),
        3,
        "events before the pin went unheard"
    );
    for n in 0..20_500 {
        cache.load(&user(&format!("u{n}"))).await.unwrap();
    }
    assert!(cache.graphs.len() <= 10_001);
    assert!(
        cache.graph(&user("a")).is_some(),
        "a pinned graph is never let go"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_calls_everything_in_question() {
    let (store, cache) = setup();
    cache.online(&user("a")).await;
    store.graphs.lock().insert(user("a"), friends_of(&["c"]));
    cache.doubt_all();
    let refreshed = cache.refresh(10).await;
    assert_eq!(*refreshed[0].before, friends_of(&["b"]));
    assert_eq!(*refreshed[0].after, friends_of(&["c"]));
}

#[tokio::test(start_paused = true)]
async fn profiles_and_withdrawals_reach_every_friend_here() {
    let (_store, cache) = setup();
    cache.online(&user("a")).await;
    let told = cache.apply(&StoreEvent::new(StoreEventKind::ProfileChanged(Profile {
        user: user("b"),
        name: "Bertha".into(),
        avatar_url: None,
        status_text: None,
    })));
    assert_eq!(told, [user("a")]);
    let graph = cache.graph(&user("a")).unwrap();
    assert_eq!(graph.friends.get(&user("b")), Some(&"Bertha".into()));
    assert_eq!(cache.names(&[user("b")]).await[&user("b")], "Bertha");
    cache.apply(&StoreEvent::new(StoreEventKind::UserWithdrawn {
        user: user("b"),
    }));
    assert_eq!(*cache.graph(&user("a")).unwrap(), Graph::default());
}

#[tokio::test(start_paused = true)]
async fn names_are_cached_with_the_unknown_left_out() {
    let (store, cache) = setup();
    let asked = [user("a"), user("nobody")];
    for _ in 0..2 {
        let names = cache.names(&asked).await;
        assert_eq!(names, HashMap::from([(user("a"), "A".to_owned())]));
    }
    assert_eq!(store.reads.load(Relaxed), 1);
    store.away.store(true, Relaxed);
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(
        cache.names(&asked).await[&user("a")],
        "A",
        "an old name will do"
    );
}
