//! A server that has no descriptors left waits for some, without spinning, and recovers.
//!
//! The server is this test binary again, in a process of its own whose limit can be lowered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use chat_node::{
    server::{Bound, ConnectionSettings, Server},
    upgrade::{UpgradeSettings, Upgrades},
};
use shared::{
    auth::{Auth, Revocations, SigningKey, TokenVerifier},
    settings::ByteSize,
};

const CHILD: &str = "FIRESIDE_TEST_FEW_DESCRIPTORS";

#[test]
fn out_of_descriptors_a_server_waits_and_recovers() {
    if std::env::var_os(CHILD).is_some() {
        serve();
        return;
    }
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 32; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg("out_of_descriptors_a_server_waits_and_recovers")
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(
            output.read_line(&mut line).unwrap() > 0,
            "the server did not start"
        );
        if let Some((_, address)) = line.split_once("serving on ") {
            break address.trim().parse::<SocketAddr>().unwrap();
        }
    };

    // The kernel takes all of these; the server has descriptors for some.
    let crowd: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let before = cpu(&child);
    // Two seconds pass: nobody answers the last one, who says nothing and waits in the queue.
    let mut last = crowd.last().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(last.read(&mut [0; 1]).is_err());
    let spent = cpu(&child).saturating_sub(before);
    assert!(spent < Duration::from_millis(300), "it spins: {spent:?}");

    drop(crowd);
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// Serves until the parent closes this process's input.
fn serve() {
    actix_rt::System::new().block_on(async {
        let settings = ConnectionSettings {
            max_connections: 1_000,
            max_connections_per_address: 0,
            max_handshakes: 1_000,
            handshake_timeout: Duration::from_secs(5),
            http_keep_alive: Duration::from_secs(5),
            socket_send_buffer: ByteSize::kib(64),
            trusted_proxies: Vec::new(),
        };
        let upgrade = UpgradeSettings {
            allowed_origins: Vec::new(),
            upgrades_per_address: "1/s".parse().unwrap(),
            upgrades_per_user: "1/s".parse().unwrap(),
            deflate: false,
        };
        let key = SigningKey::from_secret(&[7; 32]).unwrap();
        let auth = Auth {
            verifier: TokenVerifier::of_key(&key, "test"),
            revocations: Revocations::new(),
        };
        let upgrades = Upgrades::new(
            &upgrade,
            Vec::new(),
            auth,
            Box::new(|| None),
            Box::new(|_| {}),
        );
        let bound = Bound::bind(([127, 0, 0, 1], 0).into(), 1, 64 * 1024).unwrap();
        let worker = actix_rt::Arbiter::new();
        let threads = [worker.handle()];
        let server = Server::start(
            bound,
            &threads,
            &settings,
            Arc::new(upgrades),
            Arc::new(|_| {}),
        );
        let server = server.await.unwrap();
        println!("serving on {}", server.address());
        let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        parent.await.unwrap().unwrap();
    });
}

/// The processor time a process has used.
fn cpu(child: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux we run on.
    Duration::from_millis(ticks * 10)
}
