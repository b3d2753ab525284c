//! An upgrade whose node takes its time: what becomes of those who leave meanwhile, of what they say meanwhile, and of a
//! balancer that is to end meanwhile.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::rig::{PATIENCE, balancer, hear, token};

const READY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const CONSENT: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Longer than a test: nobody but whoever is asked ends an upgrade.
const WAITS: &[(&str, &str)] = &[("FIRESIDE_UPGRADE_TIMEOUT", "5m")];

/// A node that says that it is ready, and gives every other request to the test.
struct Slow {
    address: String,
    asked: mpsc::UnboundedReceiver<TcpStream>,
}

impl Slow {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (give, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, give.clone()));
            }
        });
        Self { address, asked }
    }

    /// The next upgrade: the socket it came on.
    async fn asked(&mut self) -> TcpStream {
        let asked = timeout(PATIENCE, self.asked.recv()).await;
        asked.expect("the node is not asked").unwrap()
    }
}

async fn serve(mut socket: TcpStream, give: mpsc::UnboundedSender<TcpStream>) {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        if head.starts_with(b"GET /v1/ws ") {
            let _ = give.send(socket);
            return;
        }
        head.clear();
        if socket.write_all(READY).await.is_err() {
            return;
        }
    }
}

fn upgrade() -> String {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {}\r\n\r\n",
        token("ann")
    )
}

async fn says(socket: &mut TcpStream, other: &mut TcpStream, words: &[u8]) {
    socket.write_all(words).await.unwrap();
    hears(other, words).await;
}

async fn hears(socket: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    let read = timeout(PATIENCE, socket.read_exact(&mut heard)).await;
    read.expect("nothing is heard").unwrap();
    assert_eq!(heard, words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_not_asked_for_those_who_left() {
    let mut node = Slow::start().await;
    let door = balancer(&node.address, WAITS).await;
    for early in ["", "something"] {
        let mut client = TcpStream::connect(door.address()).await.unwrap();
        let said = format!("{}{early}", upgrade());
        client.write_all(said.as_bytes()).await.unwrap();
        let mut asked = node.asked().await;
        let live = door.live().await.unwrap();
        assert_eq!(live["nodes"][0]["tunnels"], 1, "{live:#}");
        drop(client);
        let read = timeout(PATIENCE, asked.read(&mut [0; 64])).await;
        let read = read.expect("the node still has somebody who left");
        assert_eq!(read.unwrap_or(0), 0);
        let since = Instant::now();
        while door.live().await.unwrap()["nodes"][0]["tunnels"] != 0 {
            assert!(since.elapsed() < PATIENCE, "a place is not given back");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let since = Instant::now();
    loop {
        let log = door.process().log();
        let left = log.lines().filter(|line| line.contains("status=499"));
        if left.count() == 2 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{log}");
        sleep(Duration::from_millis(20)).await;
    }
    // It is not the node's fault.
    let failures = door.metric("fireside_lb_backend_failures_total").await;
    assert!(failures.is_none_or(|failures| failures < 1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_before_the_answer_is_not_lost() {
    let mut node = Slow::start().await;
    let door = balancer(&node.address, WAITS).await;
    let mut client = TcpStream::connect(door.address()).await.unwrap();
    let said = format!("{}with the head, ", upgrade());
    client.write_all(said.as_bytes()).await.unwrap();
    let mut asked = node.asked().await;
    // More than the balancer takes before the answer.
    let later = "and later. ".repeat(3_000);
    let (mut hearing, mut saying) = client.split();
    let (said, ()) = tokio::join!(saying.write_all(later.as_bytes()), async {
        sleep(Duration::from_millis(200)).await;
        asked.write_all(CONSENT).await.unwrap();
        let words = format!("with the head, {later}");
        hears(&mut asked, words.as_bytes()).await;
    });
    said.unwrap();
    let mut answer = [0; 12];
    hearing.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_being_answered_outlives_the_end_of_the_door() {
    // The first request of a connection is upgraded by hand, a later one by the stack.
    for first in [true, false] {
        let mut node = Slow::start().await;
        let mut door = balancer(&node.address, WAITS).await;
        let mut client = TcpStream::connect(door.address()).await.unwrap();
        if !first {
            let page = b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n";
            client.write_all(page).await.unwrap();
            assert_eq!(hear(&mut client).await.status, 200);
        }
        client.write_all(upgrade().as_bytes()).await.unwrap();
        let mut asked = node.asked().await;
        let address = door.address().to_owned();
        let meanwhile = async {
            let since = Instant::now();
            while TcpStream::connect(&address).await.is_ok() {
                assert!(since.elapsed() < PATIENCE, "the door is not shut");
                sleep(Duration::from_millis(20)).await;
            }
            asked.write_all(CONSENT).await.unwrap();
            assert_eq!(hear(&mut client).await.status, 101, "first: {first}");
            says(&mut client, &mut asked, b"to the node").await;
            says(&mut asked, &mut client, b"to the client").await;
            drop((client, asked));
        };
        let (ended, ()) = tokio::join!(door.terminate(), meanwhile);
        assert!(ended.unwrap().success(), "first: {first}");
    }
}
