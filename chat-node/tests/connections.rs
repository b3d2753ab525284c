//! The listener and the upgrade, over the wire: what a client gets before there is a session.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix_rt::Arbiter;
use actix_web::{HttpRequest, web};
use chat_node::{
    server::{Bound, Configure, ConnectionSettings, Server},
    upgrade::{UpgradeSettings, Upgraded, Upgrades},
};
use shared::{
    auth::{Auth, Revocations, SigningKey, TokenIssuer, TokenVerifier},
    id::UserId,
    limits::Quota,
    protocol::codec::Encoding,
    settings::ByteSize,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

struct Rig {
    server: Server,
    issuer: TokenIssuer,
    let_in: mpsc::Receiver<(Encoding, Vec<u8>, String)>,
    /// A slow request is being served.
    slow: Arc<AtomicBool>,
    _workers: Vec<Arbiter>,
}

fn settings() -> ConnectionSettings {
    ConnectionSettings {
        max_connections: 100,
        max_connections_per_address: 0,
        max_handshakes: 10,
        handshake_timeout: Duration::from_secs(5),
        http_keep_alive: Duration::from_secs(30),
        socket_send_buffer: ByteSize::kib(64),
        trusted_proxies: Vec::new(),
    }
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

async fn start(settings: ConnectionSettings, per_address: Quota) -> Rig {
    let key = SigningKey::from_secret(&[7; 32]).unwrap();
    let auth = Auth {
        verifier: TokenVerifier::of_key(&key, "test"),
        revocations: Revocations::new(),
    };
    let upgrade = UpgradeSettings {
        allowed_origins: Vec::new(),
        upgrades_per_address: per_address,
        upgrades_per_user: quota("100/s"),
        deflate: false,
    };
    let (tell, let_in) = mpsc::channel();
    let greet = move |upgraded: Upgraded| {
        let Upgraded {
            stream,
            unread,
            claims,
            agreed,
            ..
        } = upgraded;
        let _ = tell.send((agreed.encoding, unread.to_vec(), claims.sub.to_string()));
        drop(stream);
    };
    let upgrades = Upgrades::new(
        &upgrade,
        settings.trusted_proxies.clone(),
        auth,
        Box::new(|| None),
        Box::new(greet),
    );
    let slow = Arc::new(AtomicBool::new(false));
    let asked = slow.clone();
    let configure: Arc<Configure> = Arc::new(move |config| {
        let in_flight = asked.clone();
        config
            .route(
                "/peer",
                web::to(|request: HttpRequest| async move {
                    request.peer_addr().unwrap().ip().to_string()
                }),
            )
            .route(
                "/slow",
                web::to(move || {
                    in_flight.store(true, Ordering::Relaxed);
                    async {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        "done"
                    }
                }),
            );
    });
    let bound = Bound::bind(([127, 0, 0, 1], 0).into(), 2, 64 * 1024).unwrap();
    let workers: Vec<Arbiter> = (0..2).map(|_| Arbiter::new()).collect();
    let handles: Vec<_> = workers.iter().map(Arbiter::handle).collect();
    let server = Server::start(bound, &handles, &settings, Arc::new(upgrades), configure);
    Rig {
        server: server.await.unwrap(),
        issuer: TokenIssuer::new(&key, "test", Duration::from_mins(1)),
        let_in,
        slow,
        _workers: workers,
    }
}

impl Rig {
    async fn plain() -> Self {
        start(settings(), quota("100/s")).await
    }

    fn token(&self) -> String {
        let user = UserId::parse("u1").unwrap();
        self.issuer.issue(&user, "Ann").unwrap().token
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    /// Sends a request and reads until the server closes.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    fn handshake(&self, extra: &str) -> String {
        format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n",
            self.server.address()
        )
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1);
    code.and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {answer:?}"))
}

#[actix_rt::test]
async fn an_accepted_upgrade_hands_over_the_socket_and_what_was_read_too_far() {
    let rig = Rig::plain().await;
    let bearer = format!("Authorization: Bearer {}\r\n", rig.token());
    let offer = "Sec-WebSocket-Protocol: fireside.v1.msgpack, fireside.v1.json\r\n";
    let request = rig.handshake(&format!("{bearer}{offer}")) + "too far";
    let answer = rig.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(answer.contains("Sec-WebSocket-Protocol: fireside.v1.msgpack\r\n"));
    let (encoding, unread, user) = rig.let_in.recv().unwrap();
    assert_eq!((encoding, user.as_str()), (Encoding::MsgPack, "u1"));
    assert_eq!(unread, b"too far");

    // A browser's way; the token is not echoed.
    let token = rig.token();
    let offer = format!("Sec-WebSocket-Protocol: fireside.v1.json, bearer.{token}\r\n");
    let answer = rig.exchange(&rig.handshake(&offer)).await;
    assert!(answer.contains("Sec-WebSocket-Protocol: fireside.v1.json\r\n"));
    assert!(!answer.contains("bearer"));

    // Nothing offered: JSON, and nothing named.
    let answer = rig.exchange(&rig.handshake(&bearer)).await;
    assert_eq!(status(&answer), 101);
    assert!(!answer.contains("Sec-WebSocket-Protocol"));
}

#[actix_rt::test]
async fn a_refusal_is_an_http_answer_with_a_problem() {
    let rig = Rig::plain().await;
    let bearer = format!("Authorization: Bearer {}\r\n", rig.token());
    let good = rig.handshake(&bearer);
    let foreign = TokenIssuer::new(
        &SigningKey::from_secret(&[8; 32]).unwrap(),
        "test",
        Duration::from_mins(1),
    );
    let foreign = foreign.issue(&UserId::parse("u1").unwrap(), "x").unwrap();
    let service = rig
        .issuer
        .issue_service(&UserId::parse("game").unwrap(), Duration::from_mins(1))
        .unwrap();
    let cases = [
        ("no token", rig.handshake(""), 401),
        (
            "no token",
            rig.handshake("Authorization: Bearer a.b.c\r\n"),
            401,
        ),
        (
            "foreign key",
            rig.handshake(&format!("Authorization: Bearer {}\r\n", foreign.token)),
            401,
        ),
        (
            "a service's token",
            rig.handshake(&format!("Authorization: Bearer {}\r\n", service.token)),
            403,
        ),
        (
            "token in the URL",
            rig.handshake("")
                .replace("/v1/ws", &format!("/v1/ws?token={}", rig.token())),
            401,
        ),
        (
            "old version",
            good.replace("Version: 13", "Version: 8"),
            426,
        ),
        ("no key", good.replace("Sec-WebSocket-Key", "X"), 400),
        (
            "no connection",
            good.replace("Connection: Upgrade", "X: y"),
            426,
        ),
        ("post", good.replace("GET ", "POST "), 405),
        ("elsewhere", good.replace("/v1/ws", "/peer"), 404),
        (
            "unknown subprotocol",
            rig.handshake(&format!("{bearer}Sec-WebSocket-Protocol: chat\r\n")),
            400,
        ),
        (
            "another origin",
            rig.handshake(&format!("{bearer}Origin: https://evil.example\r\n")),
            403,
        ),
        (
            "connect",
            format!(
                "CONNECT evil.example:443 HTTP/1.1\r\nHost: {}\r\n\r\n",
                "evil.example:443"
            ),
            404,
        ),
        (
            "plain",
            "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            426,
        ),
    ];
    for (name, request, expected) in cases {
        let answer = rig.exchange(&request).await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        assert!(
            answer.contains("application/problem+json"),
            "{name}: {answer}"
        );
        match expected {
            426 => assert!(
                answer.to_lowercase().contains("sec-websocket-version: 13"),
                "{name}"
            ),
            401 => assert!(answer.to_lowercase().contains("www-authenticate"), "{name}"),
            405 => assert!(answer.to_lowercase().contains("allow: get"), "{name}"),
            _ => {}
        }
    }
    assert!(rig.let_in.try_recv().is_err(), "nobody was let in");
}

#[actix_rt::test]
async fn ordinary_requests_reach_the_application_whatever_they_offer() {
    let rig = Rig::plain().await;
    let answer = rig.exchange("GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.await.ends_with("\r\n\r\n127.0.0.1"));
    // What Java's HttpClient sends first.
    let h2c = "GET /peer HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
               Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n";
    let answer = rig.exchange(h2c).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert!(answer.ends_with("127.0.0.1"));
    // A second request on the same connection.
    let two = "GET /peer HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = rig.exchange(two).await;
    assert!(answer.contains("127.0.0.1HTTP/1.1 404"), "{answer}");
}

#[actix_rt::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let mut settings = settings();
    settings.handshake_timeout = Duration::from_millis(300);
    settings.max_handshakes = 1;
    let rig = start(settings, quota("100/s")).await;
    let mut slow = rig.connect().await;
    slow.write_all(b"GET /v1/ws HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    // It holds the only handshake place; others get theirs when its time is over.
    let other = rig.exchange("GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (slow, other) = tokio::join!(read_to_end(&mut slow), other);
    assert_eq!(status(&slow), 408);
    assert_eq!(status(&other), 200);
}

#[actix_rt::test]
async fn connections_past_the_limits_are_turned_away_and_places_come_back() {
    let mut few = settings();
    few.max_connections = 2;
    let rig = start(few, quota("100/s")).await;
    let (one, two) = (rig.connect().await, rig.connect().await);
    while rig.server.connections() < 2 {
        tokio::task::yield_now().await;
    }
    let answer = rig.exchange("GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&answer), 503);
    drop((one, two));
    while rig.server.connections() > 0 {
        tokio::task::yield_now().await;
    }

    let mut crowd = settings();
    crowd.max_connections_per_address = 1;
    let rig = start(crowd, quota("100/s")).await;
    let _one = rig.connect().await;
    while rig.server.connections() < 1 {
        tokio::task::yield_now().await;
    }
    let answer = rig.exchange("GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&answer), 429);
}

#[actix_rt::test]
async fn an_address_that_tries_too_often_is_told_when_to_come_back() {
    let once = Quota::new(NonZeroU32::MIN, Duration::from_mins(1), NonZeroU32::MIN);
    let rig = start(settings(), once).await;
    let good = rig.handshake(&format!("Authorization: Bearer {}\r\n", rig.token()));
    assert_eq!(status(&rig.exchange(&good).await), 101);
    let answer = rig.exchange(&good).await;
    assert_eq!(status(&answer), 429);
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
}

#[actix_rt::test]
async fn a_stop_lets_requests_in_flight_finish_and_takes_no_more() {
    let rig = Rig::plain().await;
    let address = rig.server.address();
    let mut idle = rig.connect().await;
    let mut busy = rig.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    idle.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).await.unwrap();
    while !rig.slow.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    assert!(rig.server.stop(Duration::from_secs(5)).await);
    assert!(read_to_end(&mut busy).await.ends_with("done"));
    read_to_end(&mut idle).await;
    assert!(TcpStream::connect(address).await.is_err());
}
