//! A node without sessions: everything REST stands on, behind a real listener.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix_rt::Arbiter;
use async_trait::async_trait;
use chat_node::{
    Live,
    bridge::{Bridge, SessionControl, StoreEvents},
    bus::{BusReceiver, LocalBus},
    friends::{FriendCache, FriendCacheSettings, Friends, FriendsError, Graph, Revocation},
    history::{History, sqlite::SqliteHistory},
    limits::{LimitSettings, Limits},
    overload::Overload,
    presence::{LocalPresence, Presence, PresenceSettings},
    rest::{Rest, RestParts, RestSettings},
    room::{RoomSettings, Rooms, RoomsParts},
    server::{Bound, Configure, ConnectionSettings, Server},
    session::{Passage, Sessions},
    transport::relay::Relays,
    upgrade::{UpgradeSettings, Upgrades},
    worker::Worker,
};
use loadtest::accounts::{Answer, Rest as Client};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::Value;
use shared::{
    auth::{Auth, Revocations, SigningKey, TokenIssuer, TokenVerifier},
    id::{NodeId, Timestamp, UserId},
    settings::{ByteSize, Secret},
};
use tokio_util::sync::CancellationToken;

/// The service token of the rig.
pub(crate) const SERVICE: &str = "the-service-token-of-the-test";

pub(crate) struct Rig {
    pub(crate) history: Arc<dyn History>,
    pub(crate) presence: Presence,
    pub(crate) auth: Auth,
    pub(crate) people: Arc<People>,
    pub(crate) sessions: Arc<Ended>,
    pub(crate) issuer: TokenIssuer,
    client: Client,
    stop: CancellationToken,
    _server: Server,
    _bus: BusReceiver,
    _worker: Arbiter,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the sessions of the node were told to end.
#[derive(Default)]
pub(crate) struct Ended(Mutex<Vec<String>>);

impl Ended {
    pub(crate) fn told(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl SessionControl for Ended {
    fn close_by_token(&self, jti: &str) {
        self.0.lock().push(format!("token {jti}"));
    }

    fn close_by_user(&self, user: &UserId, _: Timestamp) {
        self.0.lock().push(format!("revoked {user}"));
    }

    fn disconnect(&self, user: &UserId, _: Timestamp) {
        self.0.lock().push(format!("disconnected {user}"));
    }

    fn passage(&self, passage: Passage) {
        self.0.lock().push(format!("passage {}", passage.sid));
    }

    fn relocate(&self, user: &UserId) -> usize {
        self.0.lock().push(format!("relocated {user}"));
        1
    }
}

/// What store-api would say: who is whose friend, and whether it can be reached.
#[derive(Default)]
pub(crate) struct People {
    friends: Mutex<HashSet<(UserId, UserId)>>,
}

impl People {
    pub(crate) fn befriend(&self, a: &str, b: &str) {
        let mut friends = self.friends.lock();
        friends.insert((user(a), user(b)));
        friends.insert((user(b), user(a)));
    }
}

#[async_trait]
impl Friends for People {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        let friends = self.friends.lock();
        let graph = |user| {
            let of = friends.iter().filter(|(a, _)| a == user);
            Graph {
                friends: of.map(|(_, b)| (b.clone(), b.to_string())).collect(),
                ..Graph::default()
            }
        };
        Ok(users.iter().map(graph).collect())
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        Ok(users.iter().map(|u| (u.clone(), u.to_string())).collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        Ok(Vec::new())
    }
}

/// Limits under which every user may send so often, and the rest as good as freely.
pub(crate) fn limits(sends: &str) -> LimitSettings {
    let free = || "1000/s".parse().unwrap();
    LimitSettings {
        limit_sends: sends.parse().unwrap(),
        limit_typing: free(),
        limit_presence: free(),
        limit_starts: free(),
        limit_commands: free(),
        limit_room_sends: free(),
        limit_flood: free(),
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(RestSettings {
            rest_rate: "1000/s".parse().unwrap(),
            search_rate: "1000/s".parse().unwrap(),
            server_api_rate: "1000/s".parse().unwrap(),
        })
        .await
    }

    pub(crate) async fn with(settings: RestSettings) -> Self {
        Self::limited(settings, limits("1000/s")).await
    }

    pub(crate) async fn limited(settings: RestSettings, limits: LimitSettings) -> Self {
        let key = SigningKey::from_secret(&[7; 32]).unwrap();
        let auth = Auth {
            verifier: TokenVerifier::of_key(&key, "test"),
            revocations: Revocations::new(),
        };
        let worker = Arbiter::new();
        let overload = Overload::default();
        let relays = Relays::new(1, overload.clone());
        let (of_worker, of_events) = (relays.clone(), relays.clone());
        worker.spawn_fn(move || {
            Worker::enter(0, of_worker);
        });

        let node = NodeId::parse("node-1").unwrap();
        let (bus, receiver) = LocalBus::new().node(node.clone(), 64);
        let bridge = Arc::new(Bridge::new(node.clone(), Arc::new(bus)));
        let people = Arc::new(People::default());
        let port: Arc<dyn Friends> = people.clone();
        let friends = Arc::new(FriendCache::new(
            port,
            FriendCacheSettings {
                friends_unpinned_for: Duration::ZERO,
                ..FriendCacheSettings::default()
            },
        ));
        let history: Arc<dyn History> = Arc::new(SqliteHistory::in_memory().unwrap());
        let presence = Presence::new(
            Arc::new(LocalPresence::new().node(node)),
            friends.clone(),
            bridge.clone(),
            relays.clone(),
            overload.clone(),
            PresenceSettings::default(),
        );
        let stop = CancellationToken::new();
        actix_rt::spawn(presence.clone().run(stop.clone()));
        let rooms = Rooms::start(RoomsParts {
            arbiters: vec![worker.handle()],
            relays,
            history: history.clone(),
            friends: friends.clone(),
            bridge: bridge.clone(),
            presence: presence.clone(),
            overload: overload.clone(),
            settings: RoomSettings::default(),
            clock: Arc::new(Timestamp::now),
        });
        let sessions = Arc::new(Ended::default());
        let control: Arc<dyn SessionControl> = sessions.clone();
        let events = Arc::new(StoreEvents::new(
            bridge.clone(),
            friends.clone(),
            of_events,
            presence.clone(),
            auth.revocations.clone(),
            control,
        ));
        let live = Live::new(Sessions::new(1), rooms.clone(), overload);
        let rest = Rest::new(RestParts {
            rooms,
            history: history.clone(),
            friends,
            presence: presence.clone(),
            limits: Arc::new(Limits::new(&limits)),
            events,
            sessions: sessions.clone(),
            bridge,
            live,
            auth: auth.clone(),
            service_token: Some(Secret::new(SERVICE.to_owned())),
            settings,
        });
        let server = serve(rest, auth.clone(), &worker).await;
        let client = Client::new(&format!("http://{}", server.address())).unwrap();
        Self {
            history,
            presence,
            auth,
            people,
            sessions,
            issuer: TokenIssuer::new(&key, "test", Duration::from_mins(1)),
            client,
            stop,
            _server: server,
            _bus: receiver,
            _worker: worker,
        }
    }

    pub(crate) fn token(&self, who: &str) -> String {
        self.issuer.issue(&user(who), who).unwrap().token
    }

    /// A request of `who`, or of the service when that is [`SERVICE`].
    pub(crate) async fn call(
        &self,
        who: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.call_with(who, method, path, body, &[]).await
    }

    pub(crate) async fn call_with(
        &self,
        who: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let token = if who == SERVICE {
            SERVICE.to_owned()
        } else {
            self.token(who)
        };
        let authorization = format!("Bearer {token}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.bare(method, path, body, &all).await
    }

    /// A request with just these headers.
    pub(crate) async fn bare(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let answer = self.client.call_with(method, path, body.as_ref(), headers);
        let answer = answer.await.unwrap();
        if answer.status >= 400 {
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json"),
                "{answer:?}"
            );
            assert_eq!(answer.body["status"], answer.status, "{answer:?}");
        }
        answer
    }

    pub(crate) async fn get(&self, who: &str, path: &str) -> Answer {
        self.call(who, Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, who: &str, path: &str, body: Value) -> Answer {
        self.call(who, Method::POST, path, Some(body)).await
    }

    /// Says something under a nonce.
    pub(crate) async fn say(&self, who: &str, room: &str, nonce: &str, text: &str) -> Answer {
        let base = if who == SERVICE {
            "/v1/server/rooms"
        } else {
            "/v1/rooms"
        };
        let body = serde_json::json!({ "text": text });
        let key = [("idempotency-key", nonce)];
        let path = format!("{base}/{room}/messages");
        self.call_with(who, Method::POST, &path, Some(body), &key)
            .await
    }

    /// A group of friends, the first of them its owner.
    pub(crate) async fn group(&self, members: &[&str]) -> String {
        for other in &members[1..] {
            self.people.befriend(members[0], other);
        }
        let body = serde_json::json!({"kind": "group", "name": "g", "members": members[1..]});
        let made = self.post(members[0], "/v1/rooms", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body["room"]["id"].as_str().unwrap().to_owned()
    }
}

async fn serve(rest: Rest, auth: Auth, worker: &Arbiter) -> Server {
    let settings = ConnectionSettings {
        max_connections: 100,
        max_connections_per_address: 0,
        max_handshakes: 10,
        handshake_timeout: Duration::from_secs(5),
        http_keep_alive: Duration::from_secs(30),
        socket_send_buffer: ByteSize::kib(64),
        trusted_proxies: Vec::new(),
    };
    let upgrade = UpgradeSettings {
        allowed_origins: Vec::new(),
        upgrades_per_address: "100/s".parse().unwrap(),
        upgrades_per_user: "100/s".parse().unwrap(),
        deflate: false,
    };
    let upgrades = Upgrades::new(
        &upgrade,
        Vec::new(),
        auth,
        Box::new(|| None),
        Box::new(drop),
    );
    let bound = Bound::bind(([127, 0, 0, 1], 0).into(), 1, 64 * 1024).unwrap();
    let configure: Arc<Configure> = Arc::new(move |config| rest.configure(config));
    Server::start(
        bound,
        &[worker.handle()],
        &settings,
        Arc::new(upgrades),
        configure,
    )
    .await
    .unwrap()
}
