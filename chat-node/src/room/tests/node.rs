//! A node as these tests see it: its rooms, and people who listen on sockets.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use shared::{
    auth::Revocation,
    id::{NodeId, RoomId, Timestamp, UserId},
    protocol::{codec::Encoding, command::Command, room::RoomView},
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::{Caller, Reply, by, user, view};
use crate::{
    bridge::Bridge,
    bus::{BusReceiver, LocalBus},
    friends::{FriendCache, FriendCacheSettings, Friends, FriendsError, Graph},
    history::{History, sqlite::SqliteHistory},
    overload::Overload,
    presence::{LocalPresence, Presence, PresenceSettings},
    room::{RoomSettings, Rooms, RoomsParts},
    transport::{
        relay::{Relay, Relays},
        sink::Sink,
    },
    worker::Workers,
};

/// How long anything may take before a test gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// store-api as these tests need it: who is whose friend, in memory.
#[derive(Default)]
pub(super) struct People(Mutex<HashMap<UserId, Graph>>, AtomicBool);

impl People {
    pub(super) fn befriend(&self, a: &str, b: &str) {
        let mut graphs = self.0.lock();
        for (one, other) in [(a, b), (b, a)] {
            let graph = graphs.entry(user(one)).or_default();
            graph.friends.insert(user(other), other.to_uppercase());
        }
    }

    pub(super) fn part(&self, a: &str, b: &str) {
        let mut graphs = self.0.lock();
        for (one, other) in [(a, b), (b, a)] {
            graphs
                .entry(user(one))
                .or_default()
                .friends
                .remove(&user(other));
        }
    }

    /// From now on store-api takes every question and answers none.
    pub(super) fn hang(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    async fn wait(&self) {
        if self.1.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn block(&self, by: &str, whom: &str) {
        let mut graphs = self.0.lock();
        graphs
            .entry(user(by))
            .or_default()
            .blocked
            .insert(user(whom), ());
        graphs
            .entry(user(whom))
            .or_default()
            .blocked_by
            .insert(user(by), ());
    }
}

#[async_trait]
impl Friends for People {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        self.wait().await;
        let graphs = self.0.lock();
        let graph = |user| graphs.get(user).cloned().unwrap_or_default();
        Ok(users.iter().map(graph).collect())
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        self.wait().await;
        let name = |user: &UserId| (user.clone(), user.as_str().to_uppercase());
        Ok(users.iter().map(name).collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        Ok(Vec::new())
    }
}

/// A node: two threads for rooms, the test's own for sessions.
pub(super) struct TestNode {
    pub(super) rooms: Rooms,
    pub(super) relays: Relays,
    pub(super) history: Arc<dyn History>,
    pub(super) people: Arc<People>,
    pub(super) overload: Overload,
    pub(super) bridge: Arc<Bridge>,
    /// It does not run, so it shows everybody as offline.
    pub(super) presence: Presence,
    pub(super) bus: Option<BusReceiver>,
    pub(super) id: NodeId,
    relay: Relay,
    friends: Arc<FriendCache>,
    clock: Arc<AtomicI64>,
    workers: Workers,
}

pub(super) struct Setup {
    pub(super) history: Arc<dyn History>,
    pub(super) people: Arc<People>,
    pub(super) settings: RoomSettings,
    pub(super) bus: LocalBus,
    pub(super) name: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        let people = People::default();
        for other in ["b", "c", "d"] {
            people.befriend("a", other);
        }
        Self {
            history: Arc::new(SqliteHistory::in_memory().unwrap()),
            people: Arc::new(people),
            settings: RoomSettings::default(),
            bus: LocalBus::new(),
            name: "n1",
        }
    }
}

impl TestNode {
    /// `a` is a friend of `b`, `c` and `d`, who are strangers to each other.
    pub(super) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(super) async fn with(setup: Setup) -> Self {
        let overload = Overload::default();
        let relays = Relays::new(3, overload.clone());
        let workers = Workers::start(2, relays.clone()).await.unwrap();
        let relay = Relay::start(relays.clone(), 2);
        let id = NodeId::parse(setup.name).unwrap();
        let (bus, receiver) = setup.bus.node(id.clone(), 1024);
        let bridge = Arc::new(Bridge::new(id.clone(), Arc::new(bus)));
        let clock = Arc::new(AtomicI64::new(1_000_000));
        let friends = FriendCacheSettings {
            friends_unpinned_for: Duration::ZERO,
            ..FriendCacheSettings::default()
        };
        let friends = Arc::new(FriendCache::new(setup.people.clone(), friends));
        let presence = Presence::new(
            Arc::new(LocalPresence::new().node(id.clone())),
            friends.clone(),
            bridge.clone(),
            relays.clone(),
            overload.clone(),
            PresenceSettings::default(),
        );
        let now = clock.clone();
        let rooms = Rooms::start(RoomsParts {
            arbiters: workers.handles(),
            relays: relays.clone(),
            history: setup.history.clone(),
            friends: friends.clone(),
            bridge: bridge.clone(),
            presence: presence.clone(),
            overload: overload.clone(),
            settings: setup.settings,
            clock: Arc::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed))),
        });
        Self {
            rooms,
            relays,
            history: setup.history,
            people: setup.people,
            overload,
            bridge,
            presence,
            bus: Some(receiver),
            id,
            relay,
            friends,
            clock,
            workers,
        }
    }

    pub(super) fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::Relaxed))
    }

    pub(super) async fn ask(&self, caller: Caller, command: Command) -> Reply {
        tokio::time::timeout(PATIENCE, self.rooms.ask(caller, command))
            .await
            .expect("nobody waits for ever")
    }

    /// A room that `a` makes.
    pub(super) async fn room(
        &self,
        kind: shared::protocol::room::RoomKind,
        members: &[&str],
    ) -> RoomView {
        view(self.ask(by("a"), super::create(kind, members)).await)
    }

    /// A session of `name`, started as sessions are.
    pub(super) async fn listen(&self, name: &str) -> Ear {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let sink = Sink::new(self.relay.next_key(), user(name), Encoding::Json);
        sink.attach(accepted.unwrap().0, Encoding::Json);
        self.bridge.online(&user(name)).await;
        self.friends.online(&user(name)).await;
        self.relay.register(&sink);
        let rooms = self.rooms.memberships(&user(name)).await.unwrap();
        self.relay.subscribe(&sink, rooms);
        self.rooms.begin(&user(name)).await.unwrap();
        Ear {
            sink,
            client: client.unwrap(),
            bytes: Vec::new(),
            heard: VecDeque::new(),
        }
    }

    pub(super) async fn head(&self, room: &RoomId) -> u64 {
        self.history.room(room).await.unwrap().unwrap().head.get()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

/// Somebody who listens.
pub(super) struct Ear {
    pub(super) sink: Rc<Sink>,
    client: TcpStream,
    bytes: Vec<u8>,
    heard: VecDeque<Value>,
}

impl Ear {
    /// The next thing heard: an event or an answer.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            if let Some(value) = self.heard.pop_front() {
                return value;
            }
            let n = tokio::time::timeout(PATIENCE, self.client.read_buf(&mut self.bytes))
                .await
                .expect("something is heard")
                .unwrap();
            assert!(n > 0, "the socket was closed");
            self.cut();
        }
    }

    /// The next event of this name; others are skipped.
    pub(super) async fn event(&mut self, name: &str) -> Value {
        loop {
            let value = self.next().await;
            if value["ev"] == name {
                return value["d"].clone();
            }
        }
    }

    /// The seqs of entries heard until one is `last`.
    pub(super) async fn seqs_until(&mut self, last: u64) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.last() != Some(&last) {
            let value = self.next().await;
            let entry = value["d"].get("kind").is_some();
            if let Some(seq) = value["d"]["seq"].as_u64().filter(|_| entry) {
                seqs.push(seq);
            }
        }
        seqs
    }

    /// Cuts whole frames (never fragmented or masked by a server) into their objects.
    fn cut(&mut self) {
        loop {
            let (head, len) = match self.bytes.get(1) {
                None => return,
                Some(126) if self.bytes.len() < 4 => return,
                Some(126) => (
                    4,
                    usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])),
                ),
                Some(127) if self.bytes.len() < 10 => return,
                Some(127) => {
                    let mut len = [0; 8];
                    len.copy_from_slice(&self.bytes[2..10]);
                    (10, u64::from_be_bytes(len) as usize)
                }
                Some(len) => (2, usize::from(*len)),
            };
            if self.bytes.len() < head + len {
                return;
            }
            let frame: Vec<u8> = self.bytes.drain(..head + len).skip(head).collect();
            for line in frame
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                self.heard.push_back(serde_json::from_slice(line).unwrap());
            }
        }
    }
}

/// Waits until something holds.
pub(super) async fn eventually<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "it never came to hold");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
