//! Who sees whom, on one node and on several.

use shared::protocol::presence::PresenceView;

use super::*;

/// How a user sees themselves.
async fn own(presence: &Presence, user: &UserId) -> PresenceView {
    presence.snapshot(user, &Graph::default()).await.0
}

#[actix_rt::test]
async fn friends_see_each_other_on_one_node_and_on_two() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    cluster.befriend("a", "c");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut b = one.session("b", online()).await;
    let mut c = two.session("c", online()).await;
    let mut stranger = two.session("s", online()).await;
    secs(1).await;
    let a = one.session("a", state(Availability::Busy)).await;
    secs(1).await;
    for friend in [&mut b, &mut c] {
        assert_eq!(friend.seen().last(), Some(&saw("a", "busy")));
    }
    one.presence.disconnected(a.key, &a.user);
    secs(9).await;
    assert_eq!((b.seen(), c.seen()), (vec![], vec![]), "the grace");
    secs(3).await;
    for friend in [&mut b, &mut c] {
        assert_eq!(friend.seen(), [saw("a", "offline")]);
    }
    one.presence.resumed(a.key, &a.user);
    secs(3).await;
    for friend in [&mut b, &mut c] {
        assert_eq!(friend.seen(), [saw("a", "busy")]);
    }
    assert!(stranger.seen().iter().all(|(who, _)| who == "s"));
    let friends = two.friends_of("c").await;
    assert_eq!(friends, [("a".to_owned(), json!({"status": "busy"}))]);
}

#[actix_rt::test]
async fn invisible_looks_like_offline_everywhere_but_on_ones_own_devices() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut b = two.session("b", online()).await;
    let a = one.session("a", online()).await;
    let mut overlay = two.session("a", online()).await;
    secs(5).await;
    b.seen();
    overlay.seen();
    one.presence
        .set(a.key, &a.user, state(Availability::Invisible));
    secs(5).await;
    let told = b.events();
    assert_eq!(told.len(), 1, "{told:?}");
    let hidden = told[0].1.clone();
    assert_eq!(hidden["status"], "offline");
    assert_eq!(overlay.seen(), [saw("a", "invisible")]);
    assert_eq!(
        own(&one.presence, &a.user).await.status,
        shared::protocol::presence::Status::Invisible
    );
    // Whatever an invisible user does, goes unseen: also leaving, and coming back invisible.
    one.presence.set(
        a.key,
        &a.user,
        serde_json::from_value(
            json!({"availability": "invisible", "activity": {"kind": "game", "game": "chess"}}),
        )
        .unwrap(),
    );
    secs(5).await;
    assert_eq!(
        own(&two.presence, &a.user).await.activity.unwrap().game,
        "chess"
    );
    let before = two.friends_of("b").await;
    two.end(&overlay);
    one.end(&a);
    secs(30).await;
    assert_eq!(b.events(), []);
    assert_eq!(two.friends_of("b").await, before, "last_seen does not move");
    assert_eq!(before[0].1["last_seen"], hidden["last_seen"]);
    let _again = one.session("a", state(Availability::Invisible)).await;
    secs(5).await;
    assert_eq!(b.events(), []);
    let bulk = two.presence.bulk(&[user("a")]).await;
    assert_eq!(json!(bulk[0].1), before[0].1);
}

#[actix_rt::test]
async fn the_users_of_a_dead_node_go_offline_once_and_in_time() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    cluster.befriend("i", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let three = cluster.node("three").await;
    let mut b = two.session("b", online()).await;
    let a = one.session("a", online()).await;
    let i = one.session("i", state(Availability::Invisible)).await;
    secs(7).await;
    assert!(b.seen().contains(&saw("a", "online")));
    one.die();
    secs(30).await;
    assert_eq!(
        b.seen(),
        [saw("a", "offline")],
        "and nothing of the invisible one"
    );
    secs(60).await;
    assert_eq!(b.seen(), []);
    drop((a, i, three));
}

#[actix_rt::test]
async fn a_planned_end_is_told_at_once() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut b = two.session("b", online()).await;
    let _a = one.session("a", online()).await;
    secs(5).await;
    b.seen();
    one.stop.cancel();
    secs(1).await;
    assert_eq!(b.seen(), [saw("a", "offline")]);
}

#[actix_rt::test]
async fn what_is_not_known_is_unknown_and_told_when_it_is() {
    let cluster = Cluster::new();
    cluster.befriend("a", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let _a = one.session("a", online()).await;
    secs(5).await;
    *two.link.cut.lock() = true;
    let mut b = two.session("b", online()).await;
    assert_eq!(two.friends_of("b").await[0].1, json!({"status": "unknown"}));
    assert_eq!(
        own(&two.presence, &user("b")).await.status,
        shared::protocol::presence::Status::Online
    );
    assert_eq!(
        two.presence.bulk(&[user("a")]).await[0].1.status,
        shared::protocol::presence::Status::Unknown
    );
    secs(60).await;
    assert_eq!(b.seen(), []);
    assert_eq!(one.friends_of("a").await[0].1["status"], "offline");
    *two.link.cut.lock() = false;
    secs(10).await;
    let seen = b.seen();
    assert!(
        seen.contains(&saw("a", "online")) && seen.contains(&saw("b", "online")),
        "{seen:?}"
    );
    assert_eq!(
        one.friends_of("a").await[0].1["status"],
        "online",
        "handed over anew after the lease ran out"
    );
}

#[actix_rt::test]
async fn members_of_an_open_room_are_shown_without_friendship() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut v = one.session("v", online()).await;
    let m = two.session("m", online()).await;
    let x = two.session("x", online()).await;
    secs(5).await;
    v.events();
    let event = StoreEvent::new(StoreEventKind::Blocked {
        by: user("x"),
        user: user("v"),
    });
    one.store_events.intake(vec![event]).await;
    let room = RoomId::parse("r").unwrap();
    let members = ["v", "m", "x"].map(user).to_vec();
    let opened = one.presence.open(v.key, &v.user, &room, members).unwrap();
    one.presence.show_members(&v.user, &opened).await;
    secs(1).await;
    assert_eq!(v.seen(), [saw("m", "online"), saw("x", "offline")]);
    two.presence.set(m.key, &m.user, state(Availability::Busy));
    two.presence.set(x.key, &x.user, state(Availability::Busy));
    secs(5).await;
    assert_eq!(v.seen(), [saw("m", "busy")]);
    // News of rooms on a topic that is heard for presence alone concerns nobody here.
    let gone = RoomNews::Added {
        user: user("m"),
        room: room.clone(),
        seq: shared::id::Seq::new(1),
    };
    two.bridge
        .publish(Topic::User(user("m")), &BusMessage::Room(gone));
    secs(1).await;
    assert_eq!(*one.heard.news.lock(), []);
    let mut n = two.session("n", online()).await;
    secs(5).await;
    one.presence.joined(&room, &user("n"));
    secs(1).await;
    assert_eq!(v.seen(), [saw("n", "online")]);
    two.presence.set(n.key, &n.user, state(Availability::Busy));
    secs(5).await;
    assert_eq!(v.seen(), [saw("n", "busy")]);
    // A session that is taken up again missed what was told meanwhile, of its own user too.
    one.presence.resumed(v.key, &v.user);
    secs(1).await;
    let mut seen = v.seen();
    seen.sort();
    let now = [
        ("m", "busy"),
        ("n", "busy"),
        ("v", "online"),
        ("x", "offline"),
    ];
    assert_eq!(seen, now.map(|(who, status)| saw(who, status)));
    one.presence.left(&room, &user("n"));
    two.presence.set(n.key, &n.user, state(Availability::Away));
    secs(5).await;
    assert_eq!(v.seen(), []);
    assert!(n.seen().iter().all(|(who, _)| who == "n"));
    one.presence.unwatch(v.key, &room);
    two.presence.set(m.key, &m.user, state(Availability::Away));
    secs(5).await;
    assert_eq!(v.seen(), []);
}

#[actix_rt::test]
async fn what_was_missed_while_the_bus_was_broken_is_made_good() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut a = one.session("a", online()).await;
    let _b = two.session("b", online()).await;
    secs(5).await;
    a.events();
    // Became friends, and the event never came.
    cluster.befriend("a", "b");
    cluster.store.revoked.lock().push(Revocation::Token {
        jti: "j".into(),
        expires: Timestamp::from_millis(i64::MAX),
    });
    one.bus.interrupt();
    secs(5).await;
    assert_eq!(*one.heard.restored.lock(), 1);
    assert_eq!(*one.heard.closed.lock(), ["j"]);
    let mut came = a.events();
    // Everybody is shown everything anew, how they themselves stand among it.
    came.retain(|(_, event)| event["user"] != "a");
    assert_eq!(came[0].1["state"], "friend");
    assert_eq!(came[1].1, json!({"user": "b", "status": "online"}));
}
