//! The real `fireside`, started on free ports with a data directory of its own.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use loadtest::{Connector, WsClient, accounts::Account, accounts::Rest};
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
use tempfile::TempDir;

/// Both encodings: what is shown for one must hold for the other.
pub(crate) const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];
/// The secret that tokens are signed with, so that tests can make tokens of their own.
pub(crate) const SECRET: &str = "a secret of the black-box tests, longer than 32 bytes";

/// How long the server may take to get ready; a debug build on a busy machine is slow.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Limits by address would count all tests' clients as one.
const SETTINGS: &[(&str, &str)] = &[
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

/// One running product.
pub(crate) struct TestApp {
    /// `http://host:port` of everything a client reaches.
    pub(crate) origin: String,
    /// The same without the scheme.
    pub(crate) address: String,
    /// REST there.
    pub(crate) rest: Rest,
    admin: String,
    data: TempDir,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    ports: (u16, u16),
}

impl TestApp {
    /// With the settings of the tests.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further settings, as variables of the environment.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let ports = (free_port(), free_port());
        let address = format!("127.0.0.1:{}", ports.0);
        let origin = format!("http://{address}");
        let all = SETTINGS.iter().chain(settings);
        let mut app = Self {
            rest: Rest::new(&origin).unwrap(),
            origin,
            address,
            admin: format!("http://127.0.0.1:{}", ports.1),
            data: tempfile::tempdir().unwrap(),
            settings: all
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            child: None,
            ports,
        };
        app.boot().await;
        app
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn boot(&mut self) {
        let began = Instant::now();
        self.spawn();
        let admin = Rest::new(&self.admin).unwrap();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("fireside ended with {status}:\n{}", self.log());
            }
            let ready = admin
                .call(reqwest::Method::GET, "/readyz", None, None)
                .await;
            if ready.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(began.elapsed() < READY_WITHIN, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(&mut self) {
        let open = || {
            let log = File::options()
                .create(true)
                .append(true)
                .open(self.log_file());
            Stdio::from(log.unwrap())
        };
        let child = Command::new(env!("CARGO_BIN_EXE_fireside"))
            .args(["--listen", &self.address])
            .args(["--admin-listen", &self.admin["http://".len()..]])
            .arg("--data-dir")
            .arg(self.data_dir())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "it had ended before: {}",
            self.log()
        );
    }

    /// SIGTERM, and how the process ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        tokio::task::spawn_blocking(move || child.wait().unwrap())
            .await
            .unwrap()
    }

    /// Where the process keeps its databases and keys.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// What the process wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.data.path().join("fireside.log")
    }

    /// Registers an account under a name of its own.
    pub(crate) async fn account(&self, name: &str) -> Account {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}{n}");
        let email = format!("{name}@example.org");
        self.rest.register(&name, &email).await.unwrap()
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
        Connector::new(&self.address)
            .token(token)
            .encoding(encoding)
    }

    /// A socket with a session.
    pub(crate) async fn session(&self, token: &str, encoding: Encoding) -> (WsClient, Started) {
        self.session_as(token, encoding, &SessionStart::default())
            .await
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

    /// The value of a metric, added up over its labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = reqwest::get(format!("{}/metrics", self.admin))
            .await
            .unwrap();
        let text = text.text().await.unwrap();
        let of_name = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let values: Vec<f64> = text
            .lines()
            .filter(of_name)
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Memory of the process that is in RAM, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
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

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let start = log.len().saturating_sub(4000);
            let start = (start..log.len()).find(|i| log.is_char_boundary(*i));
            eprintln!(
                "-- log of fireside on {}:\n{}",
                self.ports.0,
                &log[start.unwrap_or(0)..]
            );
        }
    }
}

/// A port nobody listens on, below those the system gives to connections of its own: the server
/// has to come back to it after a restart.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id() % 1000) as u16 * 16;
        let port = 12_000 + (start + n) % 18_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
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

/// Another program of the workspace, of the same build as `fireside`. Cargo builds those of all
/// packages when it tests the workspace, and only this one's when it tests this package: then it
/// is asked to.
pub(crate) fn program(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fireside")).with_file_name(name);
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "-p", name]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    assert!(program.exists(), "cargo build -p {name}");
    program
}
