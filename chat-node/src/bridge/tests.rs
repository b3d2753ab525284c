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

mod presence;
mod redis;
mod store;

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

    fn passage(&self, passage: crate::session::Passage) {
        self.closed.lock().push(format!("passage {}", passage.sid));
    }

    fn relocate(&self, user: &UserId) -> usize {
        self.closed.lock().push(format!("relocate {user}"));
        1
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
    fn told(&self, lease: Incarnation, users: &[UserId]) {
        self.store.told(lease, users);
    }

    async fn reap(&self, lease: Incarnation, at: Timestamp) -> Result<Vec<Reaped>, PresenceError> {
        self.up()?;
        self.store.reap(lease, at).await
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
        let (_, friends) = self.presence.snapshot(&user, &graph).await;
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
