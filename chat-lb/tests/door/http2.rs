//! What is refused in HTTP/2, written frame by frame: no client would write it.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    recorded::Recorded,
    rig::{PATIENCE, balancer, token},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a request came to.
#[derive(Debug, PartialEq)]
enum Came {
    /// A refusal of ours: its status and code.
    Refused(u64, String),
    /// Another answer.
    Answered,
    /// The stream was reset, or the connection ended.
    Broken,
}

fn refused(status: u64, code: &str) -> Came {
    Came::Refused(status, code.to_owned())
}

/// A frame: of the one stream, or of the connection where its kind is.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&u32::from(kind != SETTINGS).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Header fields as literals under new names, which nobody indexes (RFC 7541, section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                block.push(text.len() as u8);
            } else {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A request's own fields before these.
fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let own = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "chat.example"),
        (":path", path),
    ];
    fields(&[&own[..], more].concat())
}

/// The only frame of a request.
fn bare(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, block)
}

/// A request and its body, whole.
fn with_body(block: &[u8], body: &[u8]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, block);
    [head, frame(DATA, END_STREAM, body)].concat()
}

/// Says this on a connection of its own, and hears what becomes of the stream.
async fn say(address: &str, frames: &[u8]) -> Came {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let begin = [PREFACE, &frame(SETTINGS, 0, &[])[..], frames].concat();
    // It may be refused before it was read whole.
    let _ = socket.write_all(&begin).await;
    let mut body = Vec::new();
    let heard = async {
        loop {
            let mut head = [0; 9];
            if socket.read_exact(&mut head).await.is_err() {
                return Came::Broken;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if socket.read_exact(&mut payload).await.is_err() {
                return Came::Broken;
            }
            let (kind, ends) = (head[3], head[4] & END_STREAM != 0);
            match kind {
                RESET | GO_AWAY => return Came::Broken,
                DATA => body.extend_from_slice(&payload),
                _ => {}
            }
            if ends && matches!(kind, DATA | HEADERS) {
                let said: Value = serde_json::from_slice(&body).unwrap_or_default();
                return match (said["status"].as_u64(), said["code"].as_str()) {
                    (Some(status), Some(code)) => refused(status, code),
                    _ => Came::Answered,
                };
            }
        }
    };
    timeout(PATIENCE, heard).await.unwrap()
}

/// Says each of these and wants it to come to that; then that nothing came through.
async fn refuses(settings: &[(&str, &str)], cases: Vec<(&str, Vec<u8>, Came)>) {
    let node = Recorded::start().await;
    let door = balancer(node.address(), settings).await;
    for (what, frames, wanted) in cases {
        assert_eq!(say(door.address(), &frames).await, wanted, "{what}");
    }
    // Something good goes through, or there would be no telling that nothing else did.
    let token = format!("Bearer {}", token("ann"));
    let good = request("GET", "/v1/rooms?limit=2", &[("authorization", &token)]);
    assert_eq!(say(door.address(), &bare(&good)).await, Came::Answered);
    let came = node.requests();
    assert_eq!(came.len(), 1, "{came:#?}");
    let line = "GET /v1/rooms?limit=2 HTTP/1.1\r\n";
    assert!(came[0].starts_with(line), "{}", came[0]);
    assert!(
        came[0].contains("\r\nhost: chat.example\r\n"),
        "{}",
        came[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_could_be_read_in_two_ways_behind_the_door() {
    let token = format!("Bearer {}", token("ann"));
    let auth = ("authorization", token.as_str());
    let inner = b"GET /v1/internal/names HTTP/1.1\r\nHost: a\r\n\r\n";
    let get = |more: (&str, &str)| bare(&request("GET", "/v1/rooms", &[auth, more]));
    let post = |more: &[(&str, &str)], body: &[u8]| {
        with_body(
            &request("POST", "/v1/rooms", &[&[auth], more].concat()),
            body,
        )
    };
    let to = |path: &str| bare(&request("GET", path, &[auth]));
    let of = |all: &[(&str, &str)]| bare(&fields(&[all, &[auth]].concat()));
    let invalid = || refused(400, "invalid");
    let mut cases = vec![
        // What concerns one connection alone is nothing in HTTP/2.
        (
            "chunks",
            post(&[("transfer-encoding", "chunked")], inner),
            Came::Broken,
        ),
        ("an upgrade", get(("upgrade", "websocket")), Came::Broken),
        (
            "a connection's",
            get(("connection", "keep-alive")),
            Came::Broken,
        ),
        ("keep-alive", get(("keep-alive", "timeout=5")), Came::Broken),
        (
            "a proxy's",
            get(("proxy-connection", "keep-alive")),
            Came::Broken,
        ),
        ("te", get(("te", "chunked")), Came::Broken),
        // Lines in disguise.
        (
            "a line in a value",
            get(("x", "a\r\nTransfer-Encoding: chunked")),
            Came::Broken,
        ),
        ("a line feed", get(("x", "a\nb: c")), Came::Broken),
        ("a zero", get(("x", "a\0b")), Came::Broken),
        (
            "a line in a name",
            get(("x: a\r\nhost", "evil")),
            Came::Broken,
        ),
        ("a colon in a name", get(("x:y", "a")), Came::Broken),
        (
            "a name in capitals",
            get(("Transfer-Encoding", "chunked")),
            Came::Broken,
        ),
        ("a name that is none", get(("", "a")), Came::Broken),
        (
            "a line in a path",
            to("/v1/rooms HTTP/1.1\r\nHost: evil\r\n\r\n"),
            Came::Broken,
        ),
        ("a blank in a path", to("/v1/rooms HTTP/1.1"), Came::Broken),
        // Lengths that are not those of the body.
        (
            "too short",
            post(&[("content-length", "4")], b"hello"),
            Came::Broken,
        ),
        (
            "too long",
            post(&[("content-length", "6")], b"hello"),
            Came::Broken,
        ),
        ("no body", get(("content-length", "5")), Came::Broken),
        (
            "a sign",
            post(&[("content-length", "+5")], b"hello"),
            Came::Broken,
        ),
        (
            "two lengths",
            post(
                &[("content-length", "5"), ("content-length", "0")],
                b"hello",
            ),
            Came::Broken,
        ),
        (
            "one length twice",
            post(
                &[("content-length", "5"), ("content-length", "5")],
                b"hello",
            ),
            invalid(),
        ),
        (
            "a body that is declared",
            with_body(
                &request("GET", "/v1/rooms", &[auth, ("content-length", "5")]),
                b"hello",
            ),
            invalid(),
        ),
        (
            "a body that is not",
            with_body(&request("GET", "/v1/rooms", &[auth]), inner),
            invalid(),
        ),
        // Whom it is for.
        ("another host", get(("host", "evil.example")), invalid()),
        (
            "no host",
            of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/v1/rooms"),
            ]),
            invalid(),
        ),
        (
            "two hosts",
            of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/v1/rooms"),
                ("host", "chat.example"),
                ("host", "evil.example"),
            ]),
            invalid(),
        ),
        (
            "a name and a secret",
            of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "ann:secret@chat.example"),
                (":path", "/v1/rooms"),
            ]),
            invalid(),
        ),
        ("dots", to("/v1/rooms/../internal/names"), invalid()),
        (
            "dots in disguise",
            to("/v1/rooms/%2e%2e/internal/names"),
            invalid(),
        ),
        (
            "a slash in disguise",
            to("/v1/rooms%2f..%2finternal"),
            invalid(),
        ),
        ("two slashes", to("/v1//internal/names"), invalid()),
        (
            "a method that is none",
            bare(&request("TRACE", "/v1/rooms", &[auth])),
            refused(405, "invalid"),
        ),
        // Fields that say what a request is, where and as they may not be.
        (
            "two paths",
            of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "chat.example"),
                (":path", "/"),
                (":path", "/v1/rooms"),
            ]),
            Came::Broken,
        ),
        (
            "a path too late",
            of(&[
                (":method", "GET"),
                (":scheme", "http"),
                ("x", "a"),
                (":path", "/v1/rooms"),
            ]),
            Came::Broken,
        ),
        (
            "no path",
            of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "chat.example"),
            ]),
            Came::Broken,
        ),
        ("an answer's", get((":status", "200")), Came::Broken),
        (
            "a WebSocket",
            of(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "chat.example"),
                (":path", "/v1/ws"),
            ]),
            Came::Broken,
        ),
    ];
    for path in ["/v1/internal/names", "/v1/%69nternal/names", "/readyz"] {
        cases.push((path, to(path), refused(404, "not_found")));
    }
    refuses(&[], cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_or_too_slow() {
    let token = format!("Bearer {}", token("ann"));
    let auth = ("authorization", token.as_str());
    let long = "a".repeat(10 << 10);
    let path = format!("/v1/rooms?{long}");
    let many = [&[auth][..], &[("x", "a"); 200]].concat();
    let post = request("POST", "/v1/rooms", &[auth]);
    let begun = frame(HEADERS, END_HEADERS, &post);
    // A head that never ends.
    let endless: Vec<u8> = (0..20_000)
        .flat_map(|_| frame(CONTINUATION, 0, &fields(&[("x", "a")])))
        .collect();
    let endless = [frame(HEADERS, END_STREAM, &post), endless].concat();
    let cases = vec![
        (
            "a path",
            bare(&request("GET", &path, &[auth])),
            refused(414, "too_large"),
        ),
        (
            "fields",
            bare(&request("GET", "/v1/rooms", &many)),
            refused(431, "too_large"),
        ),
        (
            "a body",
            with_body(&post, &[b'a'; 2000]),
            refused(413, "too_large"),
        ),
        (
            "a body that is declared",
            frame(
                HEADERS,
                END_HEADERS,
                &request("POST", "/v1/rooms", &[auth, ("content-length", "3000")]),
            ),
            refused(413, "too_large"),
        ),
        ("no body", begun.clone(), refused(408, "invalid")),
        (
            "half a body",
            [begun, frame(DATA, 0, b"{")].concat(),
            refused(408, "invalid"),
        ),
        ("a head without end", endless, Came::Broken),
    ];
    let settings = [
        ("FIRESIDE_BODY_TIMEOUT", "500ms"),
        ("FIRESIDE_MAX_BODY", "1KiB"),
    ];
    refuses(&settings, cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn games_with_tokens() {
    let good = format!("Bearer {}", token("ann"));
    let nobody = |more: &[(&str, &str)]| bare(&request("GET", "/v1/rooms", more));
    let unknown = || refused(401, "unauthenticated");
    let cases = vec![
        ("none", nobody(&[]), unknown()),
        (
            "another's",
            nobody(&[("authorization", "Bearer x.y.z")]),
            unknown(),
        ),
        (
            "two",
            nobody(&[("authorization", &good), ("authorization", "Bearer x.y.z")]),
            unknown(),
        ),
        ("in a cookie", nobody(&[("cookie", &good)]), unknown()),
    ];
    refuses(&[], cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_no_window_is_let_go_of() {
    let node = Recorded::start().await;
    let settings = [("FIRESIDE_HTTP_KEEP_ALIVE", "1s")];
    let door = balancer(node.address(), &settings).await;
    let token = format!("Bearer {}", token("ann"));
    let asked = bare(&request("GET", "/v1/rooms", &[("authorization", &token)]));
    // SETTINGS_INITIAL_WINDOW_SIZE: none, and one byte of the two that there are.
    for window in [0, 1] {
        let mut socket = TcpStream::connect(door.address()).await.unwrap();
        let mine = frame(SETTINGS, 0, &[0, 4, 0, 0, 0, window]);
        let begin = [PREFACE, &mine[..], &asked].concat();
        socket.write_all(&begin).await.unwrap();
        let mut heard = Vec::new();
        let ended = timeout(PATIENCE, socket.read_to_end(&mut heard)).await;
        assert!(
            ended.is_ok(),
            "it holds a stream, with a window of {window}"
        );
        assert!(!heard.is_empty());
    }
    assert_eq!(node.requests().len(), 2);
    // Whoever takes what they are told is served as before.
    assert_eq!(say(door.address(), &asked).await, Came::Answered);
}
