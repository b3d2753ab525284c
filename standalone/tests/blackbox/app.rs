//! The real `fireside`, started on free ports with a data directory of its own.

use std::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use loadtest::{Connector, WsClient, accounts::Account};
use shared::{
    auth::{SigningKey, TokenIssuer},
    id::{RoomId, UserId},
    protocol::{
        codec::Encoding,
        command::SessionStart,
        event::FriendState,
        reply::{RoomReply, Started},
        room::RoomView,
    },
};

use crate::server::Server;

/// Both encodings: what is shown for one must hold for the other.
pub(crate) const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];
/// The secret that tokens are signed with, so that tests can make tokens of their own.
pub(crate) const SECRET: &str = "a secret of the black-box tests, longer than 32 bytes";

/// Limits by address would count all tests' clients as one.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("FIRESIDE_JWT_SECRET", SECRET),
    ("FIRESIDE_LOG", "info,access=warn"),
    ("FIRESIDE_REGISTRATION_RATE", "100000/s"),
    ("FIRESIDE_LOGIN_ADDRESS_RATE", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_ADDRESS", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_USER", "1000/s"),
    ("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "5000"),
    ("FIRESIDE_LIMIT_STARTS", "1000/s"),
    ("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "1024"),
];

/// One running product: the process, and what a test does with it.
pub(crate) struct TestApp(Server);

impl Deref for TestApp {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl DerefMut for TestApp {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.0
    }
}

impl TestApp {
    /// With the settings of the tests.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further settings, as variables of the environment.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self(Server::start(&[SETTINGS, settings].concat()).await)
    }

    /// Registers an account under a name of its own.
    pub(crate) async fn account(&self, name: &str) -> Account {
        account(self, name).await
    }

    /// Two accounts that are friends.
    pub(crate) async fn friends(&self) -> (Account, Account) {
        let (a, b) = (self.account("alice").await, self.account("bob").await);
        self.rest.befriend(&a, &b).await.unwrap();
        (a, b)
    }

    /// A token for a person the store never heard of: enough for open rooms, and cheap.
    pub(crate) fn stranger(&self, id: &str) -> String {
        self.issue(id, Duration::from_hours(1))
    }

    /// A token of that lifetime.
    #[allow(clippy::unused_self, reason = "tokens are made for an app")]
    pub(crate) fn issue(&self, id: &str, lifetime: Duration) -> String {
        let key = SigningKey::from_secret(SECRET.as_bytes()).unwrap();
        let user = UserId::parse(id).unwrap();
        let issuer = TokenIssuer::new(&key, "fireside", lifetime);
        issuer.issue(&user, id).unwrap().token
    }

    /// A service token of the game's own backend.
    #[allow(clippy::unused_self, reason = "tokens are made for an app")]
    pub(crate) fn service(&self) -> String {
        let key = SigningKey::from_secret(SECRET.as_bytes()).unwrap();
        let issuer = TokenIssuer::new(&key, "fireside", Duration::from_mins(5));
        issuer
            .issue_service(&UserId::parse("game").unwrap(), Duration::from_mins(5))
            .unwrap()
            .token
    }

    /// How to connect with a token.
    pub(crate) fn connector(&self, token: &str, encoding: Encoding) -> Connector {
        connector(self, token, encoding)
    }

    /// A socket with a session.
    pub(crate) async fn session(&self, token: &str, encoding: Encoding) -> (WsClient, Started) {
        session(self, token, encoding).await
    }

    /// A socket with a session that was started so.
    pub(crate) async fn session_as(
        &self,
        token: &str,
        encoding: Encoding,
        start: &SessionStart,
    ) -> (WsClient, Started) {
        let mut socket = self.connector(token, encoding).connect().await.unwrap();
        let started = socket.start(start).await.unwrap();
        (socket, started)
    }

    /// Holds that the server serves a newcomer and that nothing in it panicked.
    pub(crate) async fn is_well(&self) {
        let token = self.stranger("well-wisher");
        for encoding in ENCODINGS {
            let (mut socket, _) = self.session(&token, encoding).await;
            socket.until_pong().await.unwrap();
        }
        let log = self.log();
        assert!(!log.contains("panicked at"), "{log}");
        let panics = self.metric("fireside_session_panics_total").await;
        assert!(panics.unwrap_or(0.0) < 1.0, "{panics:?} panics");
    }
}

/// Registers an account there under a name of its own.
pub(crate) async fn account(server: &Server, name: &str) -> Account {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{name}{n}");
    let email = format!("{name}@example.org");
    server.rest.register(&name, &email).await.unwrap()
}

/// How to connect there with a token.
pub(crate) fn connector(server: &Server, token: &str, encoding: Encoding) -> Connector {
    Connector::new(server.address_of(token))
        .token(token)
        .encoding(encoding)
}

/// A socket there with a session.
pub(crate) async fn session(
    server: &Server,
    token: &str,
    encoding: Encoding,
) -> (WsClient, Started) {
    let connector = connector(server, token, encoding);
    let mut socket = connector.connect().await.unwrap();
    let started = socket.start(&SessionStart::default()).await.unwrap();
    (socket, started)
}

/// A room made by `owner`.
pub(crate) async fn make_room(owner: &mut WsClient, kind: &str, members: &[&UserId]) -> RoomView {
    let body = serde_json::json!({"kind": kind, "name": "A room", "members": members});
    let made: RoomReply = owner.command("room.create", &body).await.unwrap();
    made.room
}

/// The direct-message room of the caller and `peer`.
pub(crate) async fn open_dm(socket: &mut WsClient, peer: &UserId) -> RoomId {
    let body = serde_json::json!({"user": peer});
    let opened: RoomReply = socket.command("room.open_dm", &body).await.unwrap();
    opened.room.id
}

/// Waits for `friend.changed` to that state.
pub(crate) async fn friend_state(socket: &mut WsClient, other: &UserId) -> FriendState {
    let event = socket
        .event_where("friend.changed", |e| {
            e.name == "friend.changed" && e.d["user"]["id"] == other.as_str()
        })
        .await
        .unwrap();
    serde_json::from_value(event.d["state"].clone()).unwrap()
}
