//! What the store tells of: friendships, blocks, revocations.

use super::*;

#[actix_rt::test]
async fn new_friends_are_shown_to_each_other_and_former_ones_no_more() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut a = one.session("a", online()).await;
    let mut b = two.session("b", state(Availability::Away)).await;
    secs(5).await;
    a.events();
    b.events();
    let event = friendship("a", "b", FriendState::Friend);
    one.store_events
        .intake(vec![event.clone(), event.clone()])
        .await;
    two.store_events.intake(vec![event]).await;
    secs(5).await;
    let came = a.events();
    assert_eq!(
        came[0],
        (
            "friend.changed".to_owned(),
            json!({"user": {"id": "b", "name": "B"}, "state": "friend"})
        )
    );
    assert_eq!(came[1].1, json!({"user": "b", "status": "away"}));
    assert_eq!(came.len(), 2, "once: {came:?}");
    assert_eq!(b.events().len(), 2);
    two.store_events
        .intake(vec![friendship("b", "a", FriendState::None)])
        .await;
    one.presence.set(a.key, &a.user, state(Availability::Busy));
    secs(5).await;
    let came = b.events();
    assert_eq!(came.len(), 1, "{came:?}");
    assert_eq!(came[0].1["state"], "none");
}

#[actix_rt::test]
async fn who_began_with_a_friend_is_not_shown_them_again() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let event = friendship("a", "b", FriendState::Friend);
    // The store has it, the nodes have not heard of it.
    cluster.befriend("a", "b");
    let mut a = one.session("a", online()).await;
    let mut b = two.session("b", online()).await;
    secs(5).await;
    assert_eq!(a.seen(), [saw("a", "online"), saw("b", "online")]);
    b.events();
    two.store_events.intake(vec![event]).await;
    secs(5).await;
    for session in [&mut a, &mut b] {
        let came = session.events();
        assert_eq!(came.len(), 1, "{came:?}");
        assert_eq!(came[0].0, "friend.changed");
    }
}

#[actix_rt::test]
async fn what_changes_before_ones_node_hears_of_a_friend_is_shown_to_the_friend() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let b = two.session("b", online()).await;
    secs(5).await;
    cluster.befriend("a", "b");
    let mut event = friendship("a", "b", FriendState::Friend);
    // All of this may be within one millisecond.
    event.ts = event.ts.plus_millis(-1000);
    let mut a = one.session("a", online()).await;
    two.presence.set(b.key, &b.user, state(Availability::Busy));
    secs(5).await;
    assert_eq!(a.seen(), [saw("a", "online")], "nobody knows whom to tell");
    two.store_events.intake(vec![event]).await;
    secs(5).await;
    assert_eq!(a.seen(), [saw("b", "busy")]);
}

#[actix_rt::test]
async fn a_block_is_told_to_the_blocker_alone_and_looks_like_leaving() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut a = one.session("a", online()).await;
    let mut b = two.session("b", online()).await;
    let mut c = two.session("c", online()).await;
    secs(5).await;
    a.events();
    b.events();
    c.events();
    let block = |user_: &str| {
        StoreEvent::new(StoreEventKind::Blocked {
            by: user("a"),
            user: user(user_),
        })
    };
    one.store_events.intake(vec![block("b"), block("c")]).await;
    secs(5).await;
    let came = a.events();
    assert_eq!(
        came[0],
        (
            "block.changed".to_owned(),
            json!({"user": "b", "blocked": true})
        )
    );
    let came = b.events();
    assert_eq!(came.len(), 1, "{came:?}");
    assert_eq!(
        (&came[0].1["user"], &came[0].1["status"]),
        (&json!("a"), &json!("offline"))
    );
    assert_eq!(
        c.events(),
        [],
        "who never saw the other sees nothing change"
    );
    one.presence.set(a.key, &a.user, state(Availability::Busy));
    two.presence.set(b.key, &b.user, state(Availability::Busy));
    secs(5).await;
    assert_eq!(b.seen(), [saw("b", "busy")]);
    assert_eq!(two.friends_of("b").await[0].1, json!({"status": "offline"}));
    a.events();
    let unblock = StoreEvent::new(StoreEventKind::Unblocked {
        by: user("a"),
        user: user("b"),
    });
    two.store_events.intake(vec![unblock]).await;
    secs(5).await;
    assert_eq!(b.seen(), [saw("a", "busy")], "still friends");
    let came = a.events();
    assert_eq!(came[0].1, json!({"user": "b", "blocked": false}));
    assert_eq!(came[1].1, json!({"user": "b", "status": "busy"}));
}

#[actix_rt::test]
async fn who_starts_while_the_store_is_away_gets_friends_when_it_is_back() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    let one = cluster.node("one").await;
    let _b = one.session("b", online()).await;
    cluster.store.away.store(true, Relaxed);
    let mut a = one.session("a", online()).await;
    secs(10).await;
    assert!(a.events().iter().all(|(name, _)| name == "presence"));
    cluster.store.away.store(false, Relaxed);
    secs(5).await;
    let mut came = a.events();
    came.retain(|(_, d)| d["user"] != "a");
    assert_eq!(
        came[0].1,
        json!({"user": {"id": "b", "name": "B"}, "state": "friend"})
    );
    assert_eq!(came[1].1, json!({"user": "b", "status": "online"}));
}

/// A delivery that is given up while it waits its turn was not taken in: the next one is.
#[actix_rt::test]
async fn an_event_counts_as_seen_when_it_has_happened() {
    let cluster = Cluster::new();
    let one = cluster.node("one").await;
    let revoked = StoreEvent::new(StoreEventKind::TokenRevoked {
        user: user("a"),
        jti: "jti".into(),
        exp: Timestamp::from_millis(i64::MAX),
    });
    let turn = one.store_events.turn.lock().await;
    let delivery = one.store_events.intake(vec![revoked.clone()]);
    let given_up = tokio::time::timeout(Duration::from_secs(1), delivery).await;
    assert!(given_up.is_err());
    drop(turn);
    one.store_events.intake(vec![revoked]).await;
    assert_eq!(*one.heard.closed.lock(), ["jti"]);
}

/// An outage so long that the store dropped what it had for this node.
#[actix_rt::test]
async fn who_missed_events_asks_the_store_again() {
    let cluster = Cluster::new();
    let one = cluster.node("one").await;
    let mut a = one.session("a", online()).await;
    let _b = one.session("b", online()).await;
    secs(5).await;
    a.events();
    cluster.befriend("a", "b");
    cluster.store.revoked.lock().push(Revocation::Token {
        jti: "j".into(),
        expires: Timestamp::from_millis(i64::MAX),
    });
    let missed = StoreEvent::new(StoreEventKind::Missed);
    one.store_events.intake(vec![missed]).await;
    secs(5).await;
    assert_eq!(*one.heard.closed.lock(), ["j"]);
    assert_eq!(a.events()[0].1["state"], "friend");
}

#[actix_rt::test]
async fn revocations_that_had_their_time_are_forgotten() {
    let cluster = Cluster::new();
    let one = cluster.node("one").await;
    let ended = |jti: &str, exp| {
        StoreEvent::new(StoreEventKind::TokenRevoked {
            user: user("a"),
            jti: jti.into(),
            exp: Timestamp::from_millis(exp),
        })
    };
    let events = vec![ended("old", 1), ended("new", i64::MAX)];
    one.store_events.intake(events).await;
    assert_eq!(one.revocations.len(), 2);
    secs(70).await;
    assert_eq!(one.revocations.len(), 1);
}

#[actix_rt::test]
async fn revocations_and_disconnects_reach_every_node() {
    let cluster = Cluster::new();
    cluster.befriend("a", "f");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let _a = two.session("a", online()).await;
    let mut f = two.session("f", online()).await;
    secs(5).await;
    f.events();
    let events = vec![
        StoreEvent::new(StoreEventKind::TokenRevoked {
            user: user("a"),
            jti: "jti".into(),
            exp: Timestamp::from_millis(i64::MAX),
        }),
        StoreEvent::new(StoreEventKind::ProfileChanged(Profile {
            user: user("a"),
            name: "Alma".into(),
            avatar_url: None,
            status_text: Some("hi".into()),
        })),
        StoreEvent::new(StoreEventKind::UserWithdrawn { user: user("a") }),
    ];
    one.store_events.intake(events).await;
    one.store_events.disconnect(&user("a"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    two.heard.closed.lock().sort();
    assert_eq!(*two.heard.closed.lock(), ["a", "disconnect a", "jti"]);
    let came = f.events();
    assert_eq!(came[0].0, "profile.changed");
    assert_eq!(came[0].1["user"]["name"], "Alma");
    assert_eq!(came[1].1, json!({"user": {"id": "a"}, "state": "none"}));
}
