//! Nodes in one process, with real relays and sockets: what friends see of each other, whatever
//! node they are on.

use std::{io::Read as _, rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shared::{
    auth::{Revocation, Revocations},
    events::{FriendChange, FriendState, Person, Profile, StoreEvent, StoreEventKind},
    protocol::codec::Encoding,
};

mod redis;

use super::*;
use crate::{
    bus::{LocalBus, LocalNode},
    friends::{FriendCache, FriendCacheSettings, Graph, memory::MemoryFriends},
    limits::{LimitSettings, Limits},
    overload::Overload,
    presence::{
        Availability, DeviceState, Incarnation, Lease, LocalPresence, Presence, PresenceError,
        PresenceSettings, PresenceStore, Reaped, RedisPresence, Standing,
    },
    redis::{RedisLink, RedisSettings},
    revoked::{RedisRevoked, RevokedSet},
    transport::{
        SessionKey,
        relay::{Relay, Relays},
        sink::Sink,
    },
};

/// What the nodes of one test share.
struct Cluster {
    bus: LocalBus,
    presence: LocalPresence,
    store: Arc<MemoryFriends>,
    /// Presence and revocations are in Redis, then.
    redis: Option<RedisSettings>,
    pace: PresenceSettings,
}

struct Node {
    relay: Relay,
    bus: Arc<LocalNode>,
    bridge: Arc<Bridge>,
    friends: Arc<FriendCache>,
    presence: Presence,
    store_events: Arc<StoreEvents>,
    revocations: Revocations,
    link: Arc<Link>,
    heard: Arc<Heard>,
    stop: CancellationToken,
    tasks: Vec<actix_rt::task::JoinHandle<()>>,
}

/// One node's way to the presence store, which can be cut.
struct Link {
    store: Arc<dyn PresenceStore>,
    cut: Mutex<bool>,
}

/// What rooms and sessions were told.
#[derive(Default)]
struct Heard {
    news: Mutex<Vec<RoomNews>>,
    restored: Mutex<u32>,
    closed: Mutex<Vec<String>>,
}

impl RoomListener for Heard {
    fn hear(&self, news: RoomNews) {
        self.news.lock().push(news);
    }

    fn restored(&self) {
        *self.restored.lock() += 1;
    }
}

impl SessionControl for Heard {
    fn close_by_token(&self, jti: &str) {
        self.closed.lock().push(jti.to_owned());
    }

    fn close_by_user(&self, user: &UserId, _: Timestamp) {
        self.closed.lock().push(user.to_string());
    }

    fn disconnect(&self, user: &UserId, _: Timestamp) {
        self.closed.lock().push(format!("disconnect {user}"));
    }
}

impl Link {
    fn up(&self) -> Result<(), PresenceError> {
        if *self.cut.lock() {
            return Err(PresenceError::Unavailable("cut".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl PresenceStore for Link {
    async fn lease(&self) -> Result<Lease, PresenceError> {
        self.up()?;
        self.store.lease().await
    }
    async fn renew(&self, lease: Incarnation) -> Result<(), PresenceError> {
        self.up()?;
        self.store.renew(lease).await
    }
    async fn put(
        &self,
        lease: Incarnation,
        at: Timestamp,
        changes: &[(UserId, Option<DeviceState>)],
    ) -> Result<Vec<Standing>, PresenceError> {
        self.up()?;
        self.store.put(lease, at, changes).await
    }
    async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        self.up()?;
        self.store.read(users).await
    }
    async fn reap(&self, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        self.up()?;
        self.store.reap(at).await
    }
    async fn release(
        &self,
        lease: Incarnation,
        at: Timestamp,
    ) -> Result<Vec<Reaped>, PresenceError> {
        self.up()?;
        self.store.release(lease, at).await
    }
}

impl Cluster {
    fn new() -> Self {
        tokio::time::pause();
        Self {
            bus: LocalBus::new(),
            presence: LocalPresence::new(),
            store: Arc::default(),
            redis: None,
            pace: PresenceSettings::default(),
        }
    }

    fn befriend(&self, a: &str, b: &str) {
        let mut graphs = self.store.graphs.lock();
        for (one, other) in [(a, b), (b, a)] {
            let graph: &mut Graph = graphs.entry(user(one)).or_default();
            graph.friends.insert(user(other), other.to_uppercase());
        }
    }

    async fn node(&self, name: &str) -> Node {
        let id = NodeId::parse(name).unwrap();
        let (bus, receiver) = self.bus.node(id.clone(), 1024);
        let bus = Arc::new(bus);
        let bridge = Arc::new(Bridge::new(id.clone(), Arc::clone(&bus) as Arc<dyn Bus>));
        let relay = Relay::start(Relays::new(1, Overload::default()), 0);
        let relays = relay.relays().clone();
        let port = Arc::clone(&self.store) as Arc<dyn crate::friends::Friends>;
        let friends = Arc::new(FriendCache::new(port, FriendCacheSettings::default()));
        let redis = self.redis.as_ref().map(|settings| {
            let link = RedisLink::connect(settings).unwrap();
            let revoked: Arc<dyn RevokedSet> = Arc::new(RedisRevoked::new(link.clone()));
            (link, revoked)
        });
        let store: Arc<dyn PresenceStore> = match &redis {
            Some((link, _)) => Arc::new(RedisPresence::new(link.clone(), id, None)),
            None => Arc::new(self.presence.node(id)),
        };
        let link = Arc::new(Link {
            store,
            cut: Mutex::new(false),
        });
        let presence = Presence::new(
            Arc::clone(&link) as Arc<dyn PresenceStore>,
            Arc::clone(&friends),
            Arc::clone(&bridge),
            relays.clone(),
            Overload::default(),
            self.pace,
        );
        let heard = Arc::new(Heard::default());
        let revocations = Revocations::new();
        let store_events = StoreEvents::new(
            Arc::clone(&bridge),
            Arc::clone(&friends),
            relays.clone(),
            presence.clone(),
            revocations.clone(),
            Arc::clone(&heard) as Arc<dyn SessionControl>,
        );
        let store_events = Arc::new(match redis {
            Some((_, revoked)) => store_events.sharing(revoked),
            None => store_events,
        });
        let inbound = Inbound {
            bridge: Arc::clone(&bridge),
            rooms: Arc::clone(&heard) as Arc<dyn RoomListener>,
            sessions: Arc::clone(&heard) as Arc<dyn SessionControl>,
            presence: presence.clone(),
            friends: Arc::clone(&friends),
            store_events: Arc::clone(&store_events),
            relays,
            limits: Arc::new(Limits::new(&limits())),
        };
        let stop = CancellationToken::new();
        let tasks = vec![
            actix_rt::spawn(inbound.run(receiver, stop.clone())),
            actix_rt::spawn(presence.clone().run(stop.clone())),
            actix_rt::spawn({
                let (bridge, stop) = (Arc::clone(&bridge), stop.clone());
                async move { bridge.run(stop).await }
            }),
            actix_rt::spawn({
                let (events, stop) = (Arc::clone(&store_events), stop.clone());
                async move { events.run(stop).await }
            }),
        ];
        let node = Node {
            relay,
            bus,
            bridge,
            friends,
            presence,
            store_events,
            revocations,
            link,
            heard,
            stop,
            tasks,
        };
        match &self.redis {
            Some(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            None => secs(1).await,
        }
        node
    }
}

/// A session, as sessions are: what it calls, in the order it does.
struct Session {
    user: UserId,
    key: SessionKey,
    sink: Rc<Sink>,
    socket: std::net::TcpStream,
}

impl Node {
    async fn session(&self, name: &str, state: DeviceState) -> Session {
        let user = user(name);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        socket.set_nonblocking(true).unwrap();
        let sink = Sink::new(self.relay.next_key(), user.clone(), Encoding::Json);
        sink.attach(accepted, Encoding::Json);
        self.relay.register(&sink);
        self.bridge.online(&user).await;
        let graph = self.friends.online(&user).await;
        self.presence.connected(sink.key(), &user, state);
        self.presence.snapshot(&user, &graph).await;
        Session {
            key: sink.key(),
            user,
            sink,
            socket,
        }
    }

    fn end(&self, session: &Session) {
        self.presence.ended(session.key, &session.user);
        self.friends.offline(&session.user);
        self.bridge.offline(&session.user);
        self.relay.remove(&session.sink);
    }

    /// Stops as kill -9 would: nothing more is said.
    fn die(self) {
        self.tasks
            .iter()
            .for_each(actix_rt::task::JoinHandle::abort);
    }

    async fn friends_of(&self, name: &str) -> Vec<(String, Value)> {
        let user = user(name);
        let graph = self.friends.load(&user).await.unwrap();
        let friends = self.presence.snapshot(&user, &graph).await;
        let view = |view| serde_json::to_value(view).unwrap();
        friends
            .into_iter()
            .map(|f| (f.id.to_string(), view(f.presence)))
            .collect()
    }
}

impl Session {
    /// Every event that came, as `[name, d]`.
    fn events(&mut self) -> Vec<(String, Value)> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = self.socket.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..n]);
        }
        let mut events = Vec::new();
        let mut rest = bytes.as_slice();
        while let [_, len, ..] = rest {
            let (len, at) = match len {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                n => (usize::from(*n), 2),
            };
            for line in rest[at..at + len].split(|b| *b == b'\n') {
                let event: Value = serde_json::from_slice(line).unwrap();
                events.push((event["ev"].as_str().unwrap().to_owned(), event["d"].clone()));
            }
            rest = &rest[at + len..];
        }
        events
    }

    /// Who was shown how, of what came since the last look.
    fn seen(&mut self) -> Vec<(String, String)> {
        let presences = self
            .events()
            .into_iter()
            .filter(|(name, _)| name == "presence");
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        presences
            .map(|(_, d)| (word(&d["user"]), word(&d["status"])))
            .collect()
    }
}

fn limits() -> LimitSettings {
    let much = || "1000/s burst 1000".parse().unwrap();
    LimitSettings {
        limit_sends: much(),
        limit_typing: much(),
        limit_presence: much(),
        limit_starts: much(),
        limit_commands: much(),
        limit_room_sends: much(),
        limit_flood: much(),
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn state(availability: Availability) -> DeviceState {
    DeviceState {
        availability,
        activity: None,
    }
}

fn online() -> DeviceState {
    DeviceState::default()
}

fn saw(user: &str, status: &str) -> (String, String) {
    (user.to_owned(), status.to_owned())
}

/// Lets time pass; it costs none.
async fn secs(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn friendship(a: &str, b: &str, state: FriendState) -> StoreEvent {
    let person = |name: &str| Person {
        id: user(name),
        name: name.to_uppercase(),
    };
    StoreEvent::new(StoreEventKind::FriendChanged(FriendChange {
        a: person(a),
        b: person(b),
        state,
        only_a: false,
    }))
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
        one.presence.own(&a.user).await.status,
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
        two.presence.own(&a.user).await.activity.unwrap().game,
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
        two.presence.own(&user("b")).await.status,
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
    // A session that is taken up again missed what was told meanwhile.
    one.presence.resumed(v.key, &v.user);
    secs(1).await;
    let mut seen = v.seen();
    seen.sort();
    let now = [saw("m", "busy"), saw("n", "busy"), saw("x", "offline")];
    assert_eq!(seen, now);
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
    let came = a.events();
    assert_eq!(came[0].1["state"], "friend");
    assert_eq!(came[1].1, json!({"user": "b", "status": "online"}));
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
