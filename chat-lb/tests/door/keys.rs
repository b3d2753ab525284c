//! The keys of tokens, replaced while the balancer runs: in a file, and at an address.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use loadtest::cluster::Program;
use parking_lot::Mutex;
use shared::{
    auth::{Jwks, SigningKey, TokenIssuer},
    id::UserId,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

use crate::{
    recorded::Recorded,
    rig::{PATIENCE, balancer, say, token},
};

const READS: &str = "fireside_key_reads_total";

fn key() -> SigningKey {
    let folder = tempfile::tempdir().unwrap();
    SigningKey::load_or_generate_ed25519(folder.path()).unwrap()
}

fn document(keys: &[&SigningKey]) -> String {
    serde_json::to_string(&Jwks::publish(keys.iter().copied())).unwrap()
}

fn publish(file: &Path, keys: &[&SigningKey]) {
    std::fs::write(file, document(keys)).unwrap();
}

/// The status of a request with a token of this key.
async fn asks(door: &Program, key: &SigningKey) -> u16 {
    let issuer = TokenIssuer::new(key, "fireside", Duration::from_mins(5));
    let issued = issuer.issue(&UserId::parse("ann").unwrap(), "Ann").unwrap();
    asks_with(door, &issued.token).await
}

async fn asks_with(door: &Program, token: &str) -> u16 {
    let request = format!(
        "GET /v1/rooms HTTP/1.1\r\nHost: chat.example\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    say(door.address(), request.as_bytes()).await.status
}

/// SIGHUP, until something came of it.
async fn hang_up(door: &Program) {
    let reads = async || door.metric(READS).await.unwrap_or_default();
    let before = reads().await;
    door.process().hang_up().unwrap();
    let since = Instant::now();
    while reads().await <= before {
        assert!(since.elapsed() < PATIENCE, "the keys are not read again");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_has_the_keys_of_a_file_read_again() {
    let (old, new) = (key(), key());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    publish(&file, &[&old]);
    let node = Recorded::start().await;
    let path = file.display().to_string();
    let settings = [
        ("FIRESIDE_JWT_ALGORITHM", "EdDSA"),
        ("FIRESIDE_JWKS_FILE", path.as_str()),
    ];
    let door = balancer(node.address(), &settings).await;
    assert_eq!(
        (asks(&door, &old).await, asks(&door, &new).await),
        (200, 401)
    );
    publish(&file, &[&old, &new]);
    hang_up(&door).await;
    assert_eq!(
        (asks(&door, &old).await, asks(&door, &new).await),
        (200, 200)
    );
    publish(&file, &[&new]);
    hang_up(&door).await;
    assert_eq!(
        (asks(&door, &old).await, asks(&door, &new).await),
        (401, 200)
    );
    // What cannot be used leaves those in force.
    std::fs::write(&file, "no keys").unwrap();
    hang_up(&door).await;
    assert_eq!(
        (asks(&door, &old).await, asks(&door, &new).await),
        (401, 200)
    );
    let metrics = door.metrics().await;
    let refused = "fireside_key_reads_total{outcome=\"refused\"}";
    assert!(metrics.contains(refused), "{metrics}");
    assert!(node.requests().len() >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_an_address_are_fetched_on_a_hangup_and_seldom_for_strangers() {
    let (old, new) = (key(), key());
    let published = Arc::new(Mutex::new(document(&[&old])));
    let fetched = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let (document_now, count) = (published.clone(), fetched.clone());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            count.fetch_add(1, Relaxed);
            let body = document_now.lock().clone();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    let node = Recorded::start().await;
    let settings = [
        ("FIRESIDE_JWT_ALGORITHM", "EdDSA"),
        ("FIRESIDE_JWKS_URL", url.as_str()),
    ];
    let door = balancer(node.address(), &settings).await;
    assert_eq!(asks(&door, &old).await, 200);
    let before = fetched.load(Relaxed);
    for _ in 0..20 {
        assert_eq!(asks(&door, &new).await, 401);
    }
    let more = fetched.load(Relaxed) - before;
    assert!(more <= 2, "20 strangers made {more} requests");
    *published.lock() = document(&[&new]);
    hang_up(&door).await;
    assert_eq!(
        (asks(&door, &old).await, asks(&door, &new).await),
        (401, 200)
    );
}

/// A program that has nothing to read again goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_ends_nobody() {
    let node = Recorded::start().await;
    let door = balancer(node.address(), &[]).await;
    door.process().hang_up().unwrap();
    let since = Instant::now();
    while !door.process().log().contains("SIGHUP") {
        assert!(since.elapsed() < PATIENCE, "{}", door.process().log());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asks_with(&door, &token("ann")).await, 200);
}
