//! A socket that stands where a node would, and keeps every byte that comes: what this says is that
//! nothing did.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What a recorder answers to everything but the question whether it is ready.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";

/// The socket.
pub(crate) struct Recorded {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Recorded {
    /// Listens.
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// Listens there.
    pub(crate) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(keep(socket, kept.clone()));
            }
        });
        Self { address, heads }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Every request that came, head and body, but for what the balancer asks by itself.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn keep(mut socket: TcpStream, kept: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match socket.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => break,
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() < length {
            continue;
        }
        let asked = ["GET /readyz ", "GET /v1/server/live "];
        let of_somebody = head.contains("x-forwarded-proto: ");
        if of_somebody || !asked.iter().any(|asks| head.starts_with(asks)) {
            kept.lock().unwrap().push(text.clone());
        }
        bytes.clear();
        if socket.write_all(ANSWER).await.is_err() {
            return;
        }
    }
    // Not a whole request, and yet something came.
    if !bytes.is_empty() {
        let rest = String::from_utf8_lossy(&bytes).into_owned();
        kept.lock().unwrap().push(rest);
    }
}
