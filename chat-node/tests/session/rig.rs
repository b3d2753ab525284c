//! A whole node in this process, on port 0, with everything real but the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use chat_node::{
    bridge::Bridge,
    bus::LocalBus,
    friends::{FriendCache, FriendCacheSettings, Friends, FriendsError, Graph, Revocation},
    history::sqlite::SqliteHistory,
    limits::{LimitSettings, Limits},
    overload::Overload,
    presence::{LocalPresence, Presence, PresenceSettings, PresenceStore},
    room::{RoomSettings, Rooms, RoomsParts},
    server::{Bound, ConnectionSettings, Server},
    session::{SessionSettings, Sessions, Surroundings},
    transport::relay::Relays,
    upgrade::{UpgradeSettings, Upgrades},
    worker::Workers,
};
use loadtest::{Connector, WsClient};
use parking_lot::Mutex;
use shared::{
    auth::{Auth, Revocations, SigningKey, TokenIssuer, TokenVerifier},
    id::{NodeId, Timestamp, UserId},
    limits::Quota,
    protocol::{codec::Encoding, command::SessionStart, reply::Started},
    settings::ByteSize,
};
use tokio_util::sync::CancellationToken;

/// A running node.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) issuer: TokenIssuer,
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) people: Arc<People>,
    _workers: Workers,
    stop: CancellationToken,
}

/// Who is whose friend in a test: the store's place.
#[derive(Default)]
pub(crate) struct People(Mutex<HashMap<UserId, Graph>>);

impl People {
    pub(crate) fn befriend(&self, a: &UserId, b: &UserId) {
        let mut graphs = self.0.lock();
        for (one, other) in [(a, b), (b, a)] {
            let graph = graphs.entry(one.clone()).or_default();
            graph.friends.insert(other.clone(), other.to_string());
        }
    }
}

#[async_trait]
impl Friends for People {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        let graphs = self.0.lock();
        let graph = |user| graphs.get(user).cloned().unwrap_or_default();
        Ok(users.iter().map(graph).collect())
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        Ok(users
            .iter()
            .map(|user| (user.clone(), user.to_string()))
            .collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        Ok(Vec::new())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A token that ends so long from now.
pub(crate) fn token_for(name: &str, lifetime: Duration) -> String {
    let key = SigningKey::from_secret(&[7; 32]).unwrap();
    let issuer = TokenIssuer::new(&key, "test", lifetime);
    issuer.issue(&user(name), name).unwrap().token
}

/// What a test may want otherwise.
pub(crate) struct Options {
    pub(crate) session: SessionSettings,
    pub(crate) room_mailbox: usize,
    pub(crate) limit_commands: Quota,
    pub(crate) limit_flood: Quota,
    /// Where presence is kept.
    pub(crate) presence: Arc<dyn PresenceStore>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session: SessionSettings::default(),
            room_mailbox: 1024,
            limit_commands: plenty(),
            limit_flood: plenty(),
            presence: Arc::new(LocalPresence::new().node(node())),
        }
    }
}

/// The node's name.
pub(crate) fn node() -> NodeId {
    NodeId::parse("n1").unwrap()
}

fn plenty() -> Quota {
    "100000/s".parse().unwrap()
}

/// A node whose limits no test reaches by accident.
pub(crate) async fn rig() -> Rig {
    rig_with(Options::default()).await
}

pub(crate) async fn rig_with(options: Options) -> Rig {
    let Options {
        session: settings,
        room_mailbox,
        limit_commands,
        limit_flood,
        presence,
    } = options;
    let limits = LimitSettings {
        limit_sends: plenty(),
        limit_typing: plenty(),
        limit_presence: plenty(),
        limit_starts: plenty(),
        limit_commands,
        limit_room_sends: plenty(),
        limit_flood,
    };
    let key = SigningKey::from_secret(&[7; 32]).unwrap();
    let auth = Auth {
        verifier: TokenVerifier::of_key(&key, "test"),
        revocations: Revocations::new(),
    };
    let node = node();
    let overload = Overload::default();
    let relays = Relays::new(2, overload.clone());
    let workers = Workers::start(2, relays.clone()).await.unwrap();
    let (bus, _) = LocalBus::new().node(node.clone(), 1024);
    let bridge = Arc::new(Bridge::new(node.clone(), Arc::new(bus)));
    let people = Arc::new(People::default());
    let friends = Arc::new(FriendCache::new(
        people.clone(),
        FriendCacheSettings::default(),
    ));
    let presence = Presence::new(
        presence,
        friends.clone(),
        bridge.clone(),
        relays.clone(),
        overload.clone(),
        PresenceSettings {
            presence_grace: Duration::from_millis(500),
            presence_damping: Duration::from_millis(100),
        },
    );
    let stop = CancellationToken::new();
    actix_rt::spawn(presence.clone().run(stop.clone()));
    let rooms = Rooms::start(RoomsParts {
        arbiters: workers.handles(),
        relays,
        history: Arc::new(SqliteHistory::in_memory().unwrap()),
        friends: friends.clone(),
        bridge: bridge.clone(),
        presence: presence.clone(),
        overload: overload.clone(),
        settings: RoomSettings {
            room_mailbox,
            ..RoomSettings::default()
        },
        clock: Arc::new(Timestamp::now),
    });
    let surroundings = Arc::new(Surroundings {
        node,
        sessions: Sessions::new(settings.max_sessions_per_user),
        settings,
        auth: auth.clone(),
        rooms,
        friends,
        bridge,
        presence,
        limits: Arc::new(Limits::new(&limits)),
        overload,
    });
    let connections = ConnectionSettings {
        max_connections: 10_000,
        max_connections_per_address: 0,
        max_handshakes: 100,
        handshake_timeout: Duration::from_secs(5),
        http_keep_alive: Duration::from_secs(30),
        socket_send_buffer: ByteSize::kib(64),
        trusted_proxies: Vec::new(),
    };
    let upgrade = UpgradeSettings {
        allowed_origins: Vec::new(),
        upgrades_per_address: plenty(),
        upgrades_per_user: plenty(),
        deflate: false,
    };
    let greeter = surroundings.clone();
    let upgrades = Upgrades::new(
        &upgrade,
        Vec::new(),
        auth,
        Box::new(|| None),
        Box::new(move |upgraded| greeter.greet(upgraded)),
    );
    let bound = Bound::bind(([127, 0, 0, 1], 0).into(), 2, 64 * 1024).unwrap();
    let threads = workers.handles();
    let server = Server::start(
        bound,
        &threads,
        &connections,
        Arc::new(upgrades),
        Arc::new(|_| {}),
    );
    Rig {
        server: server.await.unwrap(),
        issuer: TokenIssuer::new(&key, "test", Duration::from_mins(10)),
        surroundings,
        people,
        _workers: workers,
        stop,
    }
}

impl Rig {
    pub(crate) fn token(&self, name: &str) -> String {
        self.issuer.issue(&user(name), name).unwrap().token
    }

    pub(crate) fn connector(&self, token: &str, encoding: Encoding) -> Connector {
        let address = self.server.address().to_string();
        Connector::new(&address).token(token).encoding(encoding)
    }

    /// A socket, before `hello`.
    pub(crate) async fn socket(&self, name: &str) -> WsClient {
        self.socket_with(&self.token(name), Encoding::Json).await
    }

    pub(crate) async fn socket_with(&self, token: &str, encoding: Encoding) -> WsClient {
        self.connector(token, encoding).connect().await.unwrap()
    }

    /// A running session.
    pub(crate) async fn start(&self, name: &str) -> (WsClient, Started) {
        let mut client = self.socket(name).await;
        let started = client.start(&SessionStart::default()).await.unwrap();
        (client, started)
    }
}
