//! Somebody who is sent events: listens on a socket of its own, reads requests by hand, and answers as
//! a test wants, or does not.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use shared::id::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request once it is read.
#[derive(Debug, Clone)]
pub enum How {
    Status(u16),
    /// Another status with a header.
    With(u16, &'static str, String),
    /// The connection stays open and silent.
    Hang,
    /// The connection is closed.
    Drop,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Letter {
    pub path: String,
    headers: BTreeMap<String, String>,
    raw: String,
    pub body: Value,
    /// Whether it was told to be taken.
    pub taken: bool,
}

type Rule = Arc<dyn Fn(&Letter) -> How + Send + Sync>;

/// Listens, until the test ends.
#[derive(Clone)]
pub struct Receiver {
    port: u16,
    heard: Arc<Heard>,
}

struct Heard {
    letters: Mutex<Vec<Letter>>,
    rule: Mutex<Rule>,
    connections: AtomicUsize,
}

impl Letter {
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub fn order(&self) -> &str {
        self.body["data"]["order"].as_str().unwrap_or_default()
    }

    /// Which of its signatures, if any, is of this secret; as a receiver looks at it.
    pub fn signed_with(&self, secret: &str) -> Option<usize> {
        let secret = secret.strip_prefix("whsec_").unwrap();
        let key = STANDARD.decode(secret).unwrap();
        let signatures = self.header("webhook-signature").split(' ');
        signatures.enumerate().find_map(|(place, signature)| {
            let given = STANDARD
                .decode(signature.strip_prefix("v1,").unwrap())
                .unwrap();
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            let signed = [self.id(), self.header("webhook-timestamp"), &self.raw].join(".");
            mac.update(signed.as_bytes());
            mac.verify_slice(&given).is_ok().then_some(place)
        })
    }

    /// Holds it to what every event has.
    #[track_caller]
    pub fn check(&self, secret: &str) {
        assert!(self.signed_with(secret).is_some(), "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        assert!(self.header("webhook-timestamp").parse::<i64>().unwrap() > 1_700_000_000);
        assert!(self.body["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Heard {
            letters: Mutex::default(),
            rule: Mutex::new(Arc::new(|_| How::Status(204))),
            connections: AtomicUsize::new(0),
        });
        let receiver = Self { port, heard };
        let heard = receiver.heard.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                heard.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket, heard.clone()));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Answers everything so from now on.
    pub fn answer(&self, how: How) {
        self.answer_by(move |_| how.clone());
    }

    /// Answers each as `rule` says.
    pub fn answer_by(&self, rule: impl Fn(&Letter) -> How + Send + Sync + 'static) {
        *self.heard.rule.lock().unwrap() = Arc::new(rule);
    }

    /// How often somebody has connected.
    pub fn connections(&self) -> usize {
        self.heard.connections.load(Ordering::Relaxed)
    }

    /// Every request so far, in order.
    pub fn letters(&self) -> Vec<Letter> {
        self.heard.letters.lock().unwrap().clone()
    }

    /// Each event once, in the order in which they came first.
    pub fn events(&self) -> Vec<Letter> {
        let mut seen = HashSet::new();
        let mut letters = self.letters();
        letters.retain(|letter| seen.insert(letter.id().to_owned()));
        letters
    }

    /// Waits until so many requests have come, one event or several.
    pub async fn wait_for(&self, how_many: usize) -> Vec<Letter> {
        let since = Instant::now();
        loop {
            let letters = self.letters();
            if letters.len() >= how_many {
                return letters;
            }
            let late = since.elapsed() > Duration::from_secs(30);
            assert!(!late, "{} of {how_many}: {letters:#?}", letters.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn serve(mut socket: TcpStream, heard: Arc<Heard>) {
    let mut buffer = Vec::new();
    while let Some(letter) = read(&mut socket, &mut buffer).await {
        let rule = heard.rule.lock().unwrap().clone();
        let how = rule(&letter);
        let taken = matches!(how, How::Status(200..300));
        let letter = Letter { taken, ..letter };
        heard.letters.lock().unwrap().push(letter);
        let answer = match how {
            How::Status(status) => format!("HTTP/1.1 {status} S\r\ncontent-length: 0\r\n\r\n"),
            How::With(status, name, value) => {
                format!("HTTP/1.1 {status} S\r\n{name}: {value}\r\ncontent-length: 0\r\n\r\n")
            }
            How::Hang => {
                let mut rest = [0; 64];
                while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                return;
            }
            How::Drop => return,
        };
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Letter> {
    loop {
        if let Some((letter, length)) = parse(buffer) {
            buffer.drain(..length);
            return Some(letter);
        }
        let mut chunk = [0; 4096];
        let read = socket.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}

fn parse(buffer: &[u8]) -> Option<(Letter, usize)> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&buffer[..head]).unwrap();
    let mut lines = text.split("\r\n");
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    let end = head + 4 + length;
    if buffer.len() < end {
        return None;
    }
    let raw = String::from_utf8(buffer[head + 4..end].to_vec()).unwrap();
    let letter = Letter {
        path,
        headers,
        body: serde_json::from_str(&raw).unwrap(),
        raw,
        taken: false,
    };
    Some((letter, end))
}

/// The second it is now.
pub fn now() -> i64 {
    Timestamp::now().as_millis() / 1000
}
