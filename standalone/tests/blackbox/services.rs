//! The two services as two programs, joined over HTTP: what `fireside` does in one process they do
//! in two, and each gets on while the other is dead.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use loadtest::{WsClient, accounts::Account};
use reqwest::Method;
use serde_json::json;
use shared::{
    auth::SigningKey,
    codes::CloseCode,
    id::{RoomId, UserId},
    protocol::{codec::Encoding, event::FriendState, reply::Started},
};
use tokio::time::Instant;

use crate::{
    app::{ENCODINGS, SETTINGS, account, connector, friend_state, open_dm, session},
    eddsa::{issue, worthless},
    server::Server,
};

const SERVICE_TOKEN: &str = "a service token of the black-box tests";
/// How long a revocation may take to reach a live socket.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// How long a node may take to find the keys that were not there at first.
const KEYS_WITHIN: Duration = Duration::from_secs(5);

/// A store-api and a chat-node that know each other.
struct Services {
    store: Server,
    chat: Server,
}

impl Services {
    async fn start() -> Self {
        let mut services = Self::new(&[]);
        services.store.boot().await;
        services.chat.boot().await;
        services
    }

    /// Both with these settings besides, and not started yet.
    fn new(settings: &[(&str, &str)]) -> Self {
        let (mut store, mut chat) = (Server::new("store-api"), Server::new("chat-node"));
        for server in [&mut store, &mut chat] {
            server.set(SETTINGS);
            server.set(&[("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN)]);
            server.set(settings);
        }
        store.set(&[("FIRESIDE_NODES", &chat.origin)]);
        chat.set(&[("FIRESIDE_STORE_URL", &store.origin)]);
        Self { store, chat }
    }

    async fn account(&self, name: &str) -> Account {
        account(&self.store, name).await
    }

    async fn session(&self, who: &Account, encoding: Encoding) -> (WsClient, Started) {
        session(&self.chat, &who.access_token, encoding).await
    }

    async fn logout(&self, who: &Account) {
        let token = Some(who.access_token.as_str());
        let out = self
            .store
            .rest
            .ok(Method::POST, "/v1/auth/logout", None, token);
        out.await.unwrap();
    }

    /// Two friends on line, and the room of the two.
    async fn pair(&self) -> (Online, Online, RoomId) {
        let (anna, bert) = (self.account("anna").await, self.account("bert").await);
        let (mut a, _) = self.session(&anna, ENCODINGS[0]).await;
        let (mut b, _) = self.session(&bert, ENCODINGS[1]).await;
        self.store.rest.befriend(&anna, &bert).await.unwrap();
        become_state(&mut a, &bert.id, FriendState::Friend).await;
        become_state(&mut b, &anna.id, FriendState::Friend).await;
        let room = open_dm(&mut a, &bert.id).await;
        (Online(anna, a), Online(bert, b), room)
    }

    /// What the room says now, over REST.
    async fn texts(&self, room: &RoomId, who: &Account) -> Vec<String> {
        let path = format!("/v1/rooms/{room}/messages?limit=100");
        let token = Some(who.access_token.as_str());
        let page = self.chat.rest.ok(Method::GET, &path, None, token);
        let page = page.await.unwrap();
        let items = page["items"].as_array().unwrap();
        let texts = items.iter().filter_map(|item| item["text"].as_str());
        texts.map(str::to_owned).collect()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for server in [&self.store, &self.chat] {
            let well = !server.log().contains("panicked at");
            assert!(well || std::thread::panicking(), "{}", server.log());
        }
    }
}

/// Somebody with a session.
struct Online(Account, WsClient);

/// Waits until the two are that to each other, whatever they were in between.
async fn become_state(socket: &mut WsClient, other: &UserId, state: FriendState) {
    while friend_state(socket, other).await != state {}
}

/// One says it, the other hears it.
async fn talk(room: &RoomId, from: &mut Online, to: &mut Online, text: &str) {
    // The text is its own nonce.
    let nonce = text.replace(' ', "-");
    let ack = from.1.say(room, &nonce, text).await.unwrap();
    assert!(!ack.dup);
    let heard = to.1.entry(room, ack.seq.get()).await.unwrap();
    let heard = serde_json::to_value(&heard).unwrap();
    assert!(heard.to_string().contains(text), "{heard}");
}

#[tokio::test]
async fn what_happens_at_one_reaches_the_sockets_of_the_other() {
    let services = Services::start().await;
    let (mut anna, mut bert, room) = services.pair().await;
    // They see each other from the moment they are friends.
    let online = |who: &UserId| {
        let who = who.clone();
        move |e: &loadtest::client::SeenEvent| {
            e.name == "presence" && e.d["user"] == who.as_str() && e.d["status"] == "online"
        }
    };
    let other = online(&anna.0.id);
    bert.1.event_where("presence", other).await.unwrap();
    talk(&room, &mut anna, &mut bert, "hello").await;
    talk(&room, &mut bert, &mut anna, "hello yourself").await;

    // A profile, and a block, which the blocked never hears of.
    let profile = json!({"status_text": "brb"});
    let token = Some(bert.0.access_token.as_str());
    let change = services
        .store
        .rest
        .ok(Method::PATCH, "/v1/me", Some(&profile), token);
    change.await.unwrap();
    let event = anna.1.event("profile.changed").await.unwrap();
    assert_eq!(event.d["status_text"], "brb");
    let path = format!("/v1/blocks/{}", anna.0.id);
    let block = services.store.rest.ok(Method::PUT, &path, None, token);
    block.await.unwrap();
    let event = bert.1.event("block.changed").await.unwrap();
    assert_eq!(event.d["blocked"], true);
    become_state(&mut anna.1, &bert.0.id, FriendState::None).await;
    let say = json!({"room": room, "nonce": "n", "text": "still there?"});
    anna.1.refused("message.send", &say).await.unwrap();
}

#[tokio::test]
async fn a_revocation_closes_the_socket_within_a_second() {
    let services = Services::start().await;
    let phone = services.account("anna").await;
    for encoding in ENCODINGS {
        let laptop = services.store.rest.login(&phone).await.unwrap();
        let (mut on_phone, _) = services.session(&phone, encoding).await;
        let (mut on_laptop, _) = services.session(&laptop, encoding).await;
        services.logout(&laptop).await;
        let answered = Instant::now();
        on_laptop.closed_with(CloseCode::Revoked).await.unwrap();
        let took = answered.elapsed();
        assert!(took < REVOKED_WITHIN, "{took:?}");
        let refused = connector(&services.chat, &laptop.access_token, encoding);
        assert_eq!(refused.connect().await.unwrap_err().status(), Some(401));
        on_phone.until_pong().await.unwrap();
    }
}

#[tokio::test]
async fn chat_goes_on_while_store_api_is_dead() {
    let mut services = Services::start().await;
    let (mut anna, mut bert, room) = services.pair().await;
    talk(&room, &mut anna, &mut bert, "before").await;

    services.store.kill();
    talk(&room, &mut anna, &mut bert, "while it is dead").await;
    talk(&room, &mut bert, &mut anna, "we talk on").await;
    // Another device of somebody who is here is told of the friends that are known.
    let (_, started) = services.session(&anna.0, ENCODINGS[1]).await;
    let friends: Vec<&UserId> = started.friends.iter().map(|friend| &friend.id).collect();
    assert_eq!(friends, [&bert.0.id]);
    assert_eq!(services.texts(&room, &bert.0).await.len(), 3);
    let path = format!("/v1/friends/{}", anna.0.id);
    let token = Some(bert.0.access_token.as_str());
    let store = services.store.rest.clone();
    let part = || store.ok(Method::DELETE, &path, None, token);
    part().await.unwrap_err();

    services.store.boot().await;
    part().await.unwrap();
    become_state(&mut anna.1, &bert.0.id, FriendState::None).await;
    become_state(&mut bert.1, &anna.0.id, FriendState::None).await;
    let say = json!({"room": room, "nonce": "n", "text": "still there?"});
    anna.1.refused("message.send", &say).await.unwrap();
    store.befriend(&anna.0, &bert.0).await.unwrap();
    become_state(&mut anna.1, &bert.0.id, FriendState::Friend).await;
    become_state(&mut bert.1, &anna.0.id, FriendState::Friend).await;
    talk(&room, &mut anna, &mut bert, "friends again").await;
}

#[tokio::test]
async fn what_was_said_and_done_outlives_chat_node() {
    let mut services = Services::start().await;
    let (mut anna, mut bert, room) = services.pair().await;
    for text in ["one", "two", "three"] {
        talk(&room, &mut anna, &mut bert, text).await;
    }
    let laptop = services.store.rest.login(&bert.0).await.unwrap();

    services.chat.kill();
    // The store goes on: a new friend, and a log-in that ends, while nobody is told.
    let cara = services.account("cara").await;
    services.store.rest.befriend(&cara, &anna.0).await.unwrap();
    services.logout(&laptop).await;
    services.chat.boot().await;

    assert_eq!(
        services.texts(&room, &anna.0).await,
        ["one", "two", "three"]
    );
    let (mut a, started) = services.session(&anna.0, ENCODINGS[1]).await;
    let mut friends: Vec<&UserId> = started.friends.iter().map(|friend| &friend.id).collect();
    let mut expected = [&bert.0.id, &cara.id];
    friends.sort();
    expected.sort();
    assert_eq!(friends, expected);
    let again = a.say(&room, "two", "two").await.unwrap();
    assert!(again.dup, "a retry after the crash finds the first");
    let (b, _) = services.session(&bert.0, ENCODINGS[0]).await;
    let (mut anna, mut bert) = (Online(anna.0, a), Online(bert.0, b));
    talk(&room, &mut anna, &mut bert, "four").await;

    // What was revoked meanwhile the node learns as it starts.
    let revoked = connector(&services.chat, &laptop.access_token, ENCODINGS[0]);
    let began = Instant::now();
    while revoked
        .connect()
        .await
        .err()
        .and_then(|error| error.status())
        != Some(401)
    {
        assert!(began.elapsed() < REVOKED_WITHIN, "it is believed still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_they_keep_is_for_their_owner_only() {
    let services = Services::start().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for server in [&services.store, &services.chat] {
        let dir = server.data_dir();
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        let files: Vec<_> = fs::read_dir(&dir).unwrap().collect();
        assert!(!files.is_empty());
        for file in files {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        for secret in [SERVICE_TOKEN, "a secret of the black-box tests"] {
            assert!(!server.log().contains(secret), "a secret in the log");
        }
    }
}

#[test]
fn what_a_program_lacks_is_said_before_it_starts() {
    let said = |name: &'static str, settings: &[(&str, &str)]| {
        let mut server = Server::new(name);
        server.set(settings);
        let output = server.output();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let bare = said("chat-node", &[("FIRESIDE_STORE_URL", "store:8104")]);
    for setting in ["jwt_secret", "service_token", "store_url"] {
        assert!(bare.contains(setting), "{bare}");
    }
    let keyless = said("chat-node", &[("FIRESIDE_JWT_ALGORITHM", "EdDSA")]);
    assert!(keyless.contains("jwks_url"), "{keyless}");
    let loud = said("fireside", &[("FIRESIDE_LOG", "info,access=loud")]);
    assert!(loud.contains("`log`"), "{loud}");
}

/// Keys come from the address that is configured, and from nowhere else.
#[tokio::test]
async fn the_node_believes_the_published_keys_only() {
    // The secret of the other tests is none here.
    let eddsa = [
        ("FIRESIDE_JWT_SECRET", ""),
        ("FIRESIDE_JWT_ALGORITHM", "EdDSA"),
    ];
    let mut services = Services::new(&eddsa);
    let keys = format!("{}/.well-known/jwks.json", services.store.origin);
    services.chat.set(&[("FIRESIDE_JWKS_URL", &keys)]);
    // In the wrong order: the node's first look for keys finds nobody.
    services.chat.boot().await;
    services.store.boot().await;
    let anna = services.account("anna").await;
    let first = connector(&services.chat, &anna.access_token, ENCODINGS[0]);
    let began = Instant::now();
    while let Err(error) = first.connect().await {
        assert_eq!(error.status(), Some(401));
        assert!(began.elapsed() < KEYS_WITHIN, "no keys yet");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let key = services.store.data_dir().join("jwt.pem");
    let key = SigningKey::from_pem_file(&key).unwrap();
    let good = issue(&key, "guest");
    for encoding in ENCODINGS {
        let (mut socket, started) = session(&services.chat, &good, encoding).await;
        assert_eq!(started.me.id.as_str(), "guest");
        socket.until_pong().await.unwrap();
    }
    let rest = services.chat.rest.clone();
    for (name, token) in worthless(&key) {
        let connector = connector(&services.chat, &token, ENCODINGS[0]);
        assert_eq!(
            connector.connect().await.unwrap_err().status(),
            Some(401),
            "{name}"
        );
        let call = rest.call(Method::GET, "/v1/rooms", None, Some(&token));
        assert_eq!(call.await.unwrap().status, 401, "{name}");
    }
    let (mut a, _) = services.session(&anna, ENCODINGS[1]).await;
    services.logout(&anna).await;
    a.closed_with(CloseCode::Revoked).await.unwrap();
    // The keys at hand outlive their publisher.
    services.store.kill();
    let call = rest.call(Method::GET, "/v1/rooms", None, Some(&good));
    let answer = call.await.unwrap();
    assert_eq!((answer.status, &answer.body), (200, &json!({"items": []})));
}
