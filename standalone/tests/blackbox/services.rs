//! `store-api` and `chat-node` as programs of their own, joined over HTTP. The node knows no key but
//! those that the store publishes.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use loadtest::{Connector, WsClient, accounts::Rest};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    auth::SigningKey,
    codes::{CloseCode, ErrorCode},
    protocol::{command::SessionStart, event::FriendState, reply::Started},
};
use tempfile::TempDir;

use crate::{
    app::{ENCODINGS, free_port, friend_state, open_dm, program},
    eddsa::{issue, worthless},
};

const SERVICE_TOKEN: &str = "what our services show each other, 32 and more";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// One program, with a directory of its own.
struct Service {
    name: &'static str,
    address: String,
    admin: String,
    directory: TempDir,
    settings: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Service {
    fn new(name: &'static str, port: u16, settings: Vec<(&'static str, String)>) -> Self {
        Self {
            name,
            address: format!("127.0.0.1:{port}"),
            admin: format!("127.0.0.1:{}", free_port()),
            directory: tempfile::tempdir().unwrap(),
            settings,
            child: None,
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn boot(&mut self) {
        let path = self.directory.path().join("log");
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap()
        };
        let mut command = Command::new(program(self.name));
        command
            .args(["--listen", &self.address, "--admin-listen", &self.admin])
            .arg("--data-dir")
            .arg(self.data())
            .env_clear()
            .envs(self.settings.iter().cloned())
            .env("FIRESIDE_SERVICE_TOKEN", SERVICE_TOKEN)
            .env("FIRESIDE_JWT_ALGORITHM", "EdDSA")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log()))
            .stderr(Stdio::from(log()));
        self.child = Some(command.spawn().unwrap());
        let began = Instant::now();
        let admin = Rest::new(&format!("http://{}", self.admin)).unwrap();
        loop {
            let ready = admin.call(Method::GET, "/readyz", None, None).await;
            if ready.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {}", self.name, self.log());
            assert!(began.elapsed() < READY_WITHIN, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> String {
        let log = Path::new(self.directory.path()).join("log");
        std::fs::read_to_string(log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("-- log of {}:\n{}", self.name, self.log());
        }
    }
}

/// A store and a node that know of each other.
async fn both() -> (Service, Service) {
    let (store, node) = (free_port(), free_port());
    let setting = |name: &'static str, value: &str| (name, value.to_owned());
    let mut store = Service::new(
        "store-api",
        store,
        vec![
            ("FIRESIDE_NODES", format!("http://127.0.0.1:{node}")),
            setting("FIRESIDE_REGISTRATION_RATE", "100000/s"),
            setting("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "1024"),
        ],
    );
    let mut node = Service::new(
        "chat-node",
        node,
        vec![
            ("FIRESIDE_STORE_URL", store.origin()),
            (
                "FIRESIDE_JWKS_URL",
                format!("{}/.well-known/jwks.json", store.origin()),
            ),
            setting("FIRESIDE_UPGRADES_PER_ADDRESS", "100000/s"),
            setting("FIRESIDE_UPGRADES_PER_USER", "1000/s"),
            setting("FIRESIDE_LIMIT_STARTS", "1000/s"),
            setting("FIRESIDE_PRESENCE_GRACE", "200ms"),
            setting("FIRESIDE_PRESENCE_DAMPING", "50ms"),
        ],
    );
    store.boot().await;
    node.boot().await;
    (store, node)
}

async fn session(
    node: &Service,
    token: &str,
    encoding: shared::protocol::codec::Encoding,
) -> (WsClient, Started) {
    let connector = Connector::new(&node.address)
        .encoding(encoding)
        .token(token);
    let mut socket = connector.connect().await.unwrap();
    let started = socket.start(&SessionStart::default()).await.unwrap();
    (socket, started)
}

#[tokio::test]
async fn two_programs_are_one_product() {
    let (mut store, mut node) = both().await;
    let rest = Rest::new(&store.origin()).unwrap();
    for encoding in ENCODINGS {
        let name = |who: &str| format!("{who}{encoding:?}");
        let mut people = Vec::new();
        for who in ["alice", "bob"] {
            let email = format!("{}@example.org", name(who));
            people.push(rest.register(&name(who), &email).await.unwrap());
        }
        let [alice, bob] = <[_; 2]>::try_from(people).unwrap();
        let (mut a, started) = session(&node, &alice.access_token, encoding).await;
        assert!(started.friends.is_empty());
        let (mut b, _) = session(&node, &bob.access_token, encoding).await;
        // What happens in the store is told to live sessions.
        rest.befriend(&alice, &bob).await.unwrap();
        assert_eq!(friend_state(&mut a, &bob.id).await, FriendState::Outgoing);
        assert_eq!(friend_state(&mut a, &bob.id).await, FriendState::Friend);
        let dm = open_dm(&mut a, &bob.id).await;
        let ack = a.say(&dm, "n1", "over two programs").await.unwrap();
        b.entry(&dm, ack.seq.get()).await.unwrap();

        // The store falls: who is here talks on.
        store.kill();
        let ack = b.say(&dm, "n2", "still here").await.unwrap();
        a.entry(&dm, ack.seq.get()).await.unwrap();
        store.boot().await;

        // The node falls: the log stands, and friends are asked of the store again.
        node.kill();
        node.boot().await;
        let (mut a, started) = session(&node, &alice.access_token, encoding).await;
        assert_eq!(started.friends[0].id, bob.id);
        assert_eq!(started.friends[0].name, bob.name);
        assert_eq!(started.rooms[0].head, ack.seq);
        // A log-out in the store reaches the node.
        let path = "/v1/auth/logout";
        let token = Some(alice.access_token.as_str());
        rest.ok(Method::POST, path, Some(&json!({})), token)
            .await
            .unwrap();
        a.closed_with(CloseCode::Revoked).await.unwrap();
        let again = Connector::new(&node.address).token(&alice.access_token);
        assert_eq!(again.connect().await.unwrap_err().status(), Some(401));
        // Without friendship nothing is said any more.
        let (mut b, _) = session(&node, &bob.access_token, encoding).await;
        let path = format!("/v1/friends/{}", alice.id);
        let token = Some(bob.access_token.as_str());
        rest.call(Method::DELETE, &path, None, token).await.unwrap();
        assert_eq!(friend_state(&mut b, &alice.id).await, FriendState::None);
        let body = json!({"room": dm, "nonce": "n3", "text": "alas"});
        let refused = b.refused("message.send", &body).await.unwrap();
        assert_eq!(refused.code, ErrorCode::Forbidden);
    }
    for service in [&store, &node] {
        assert!(!service.log().contains("panicked at"), "{}", service.log());
    }
}

/// Keys come from the address that is configured, and from nowhere else.
#[tokio::test]
async fn the_node_believes_the_published_keys_only() {
    let (mut store, node) = both().await;
    let key = SigningKey::from_pem_file(&store.data().join("jwt.pem")).unwrap();
    let rest = Rest::new(&node.origin()).unwrap();
    let good = issue(&key, "guest");
    for encoding in ENCODINGS {
        let (mut socket, started) = session(&node, &good, encoding).await;
        assert_eq!(started.me.id.as_str(), "guest");
        socket.until_pong().await.unwrap();
    }
    for (name, token) in worthless(&key) {
        let connect = Connector::new(&node.address).token(&token).connect().await;
        assert_eq!(connect.unwrap_err().status(), Some(401), "{name}");
        let call = rest.call(Method::GET, "/v1/rooms", None, Some(&token));
        assert_eq!(call.await.unwrap().status, 401, "{name}");
    }
    // The keys at hand outlive their publisher.
    store.kill();
    let call = rest.call(Method::GET, "/v1/rooms", None, Some(&good));
    let answer = call.await.unwrap();
    assert_eq!((answer.status, &answer.body), (200, &json!({"items": []})));
    let value: Value = rest
        .ok(Method::GET, "/v1/openapi.json", None, None)
        .await
        .unwrap();
    assert!(value["paths"].is_object());
}
