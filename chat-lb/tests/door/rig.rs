//! A balancer of a test's own, and a bare socket to it.

use std::time::Duration;

use loadtest::cluster::{Cluster, Program};
use serde_json::Value;
use shared::{
    auth::{SigningKey, TokenIssuer},
    id::UserId,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A balancer that is started, before these back ends.
pub(crate) async fn balancer(nodes: &str, settings: &[(&str, &str)]) -> Program {
    let mut program = unopened(nodes, settings);
    program.start().await.unwrap();
    program
}

/// The same before it is started.
pub(crate) fn unopened(nodes: &str, settings: &[(&str, &str)]) -> Program {
    let mut program = Program::new("chat-lb").unwrap();
    program.set([
        ("FIRESIDE_LOG", "info,chat_lb=debug"),
        ("FIRESIDE_JWT_SECRET", Cluster::jwt_secret()),
        ("FIRESIDE_SERVICE_TOKEN", Cluster::service_token()),
        ("FIRESIDE_NODES", nodes),
        ("FIRESIDE_STORES", nodes),
        ("FIRESIDE_WORKERS", "1"),
        // Nobody before us is believed: the tests are clients, though they come from here.
        ("FIRESIDE_TRUSTED_PROXIES", "192.0.2.1"),
    ]);
    program.set(settings.iter().copied());
    program
}

/// A token that the balancer believes.
pub(crate) fn token(user: &str) -> String {
    issued(
        user,
        Cluster::jwt_secret(),
        "fireside",
        Duration::from_mins(5),
    )
}

/// A token of anybody's making.
pub(crate) fn issued(user: &str, secret: &str, issuer: &str, lifetime: Duration) -> String {
    let key = SigningKey::from_secret(secret.as_bytes()).unwrap();
    let issuer = TokenIssuer::new(&key, issuer, lifetime);
    issuer
        .issue(&UserId::parse(user).unwrap(), user)
        .unwrap()
        .token
}

/// What came back on a bare socket until it ended, or said all it had to.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Heard {
    /// The stable word of a refusal.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// Writes this and hears one answer.
pub(crate) async fn say(address: &str, bytes: &[u8]) -> Heard {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // It may be refused before it was read whole.
    let _ = socket.write_all(bytes).await;
    hear(&mut socket).await
}

/// Hears one answer with its body, if it has one.
pub(crate) async fn hear(socket: &mut TcpStream) -> Heard {
    let mut bytes = Vec::new();
    let heard = async {
        loop {
            if let Some(heard) = whole(&bytes) {
                return heard;
            }
            let mut piece = [0; 4096];
            let read = socket.read(&mut piece).await.unwrap_or(0);
            assert!(
                read > 0,
                "no whole answer: {}",
                String::from_utf8_lossy(&bytes)
            );
            bytes.extend_from_slice(&piece[..read]);
        }
    };
    timeout(PATIENCE, heard).await.unwrap()
}

fn whole(bytes: &[u8]) -> Option<Heard> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    (body.len() >= length).then(|| Heard {
        status,
        body: serde_json::from_str(body).unwrap_or_default(),
        head,
    })
}
