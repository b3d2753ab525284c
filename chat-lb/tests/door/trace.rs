//! One message followed from the door to whoever hears it.

use std::{collections::BTreeSet, process::Command, sync::Arc, time::Duration};

use loadtest::{
    WireError, WsClient,
    cluster::{Program, built},
};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    id::RoomId,
    protocol::{codec::Encoding, reply::Appended},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::{chat::House, rig::PATIENCE};

/// The step of a client that its requests come of.
const CLIENTS_SPAN: &str = "00f067aa0ba902b7";

/// A collector of OpenTelemetry as far as traces in JSON go: keeps the spans it is given.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

impl Collector {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let taking = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(taking.clone().take(stream));
            }
        });
        (collector, url)
    }

    async fn take(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|l| l.strip_prefix("content-length: "));
                let length: usize = length.unwrap().parse().unwrap();
                if body.len() >= length {
                    assert!(head.starts_with("post /v1/traces "), "{head}");
                    assert!(head.contains("content-type: application/json"), "{head}");
                    let request: Value = serde_json::from_str(&body[..length]).unwrap();
                    for resource in request["resourceSpans"].as_array().unwrap() {
                        for scope in resource["scopeSpans"].as_array().unwrap() {
                            let spans = scope["spans"].as_array().unwrap().iter().cloned();
                            self.0.lock().extend(spans);
                        }
                    }
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    bytes.clear();
                }
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }

    /// Waits for all the spans of a message that begins with this one. That comes of what the client did, and each
    /// of the others of another.
    async fn until_whole(&self, trace: &str, begins: &str) {
        let since = Instant::now();
        while self.names(trace).len() < 6 {
            assert!(since.elapsed() < PATIENCE, "{:?}", self.0.lock());
            sleep(Duration::from_millis(50)).await;
        }
        let (mut names, mut wanted) = (
            self.names(trace),
            vec!["bus", "delivery", "delivery", begins, "room", "store"],
        );
        names.sort();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        let spans = self.0.lock();
        let ids: BTreeSet<&str> = spans
            .iter()
            .map(|s| s["spanId"].as_str().unwrap())
            .collect();
        for span in spans.iter().filter(|span| span["traceId"] == trace) {
            let (name, parent) = (&span["name"], span["parentSpanId"].as_str().unwrap());
            // What a client did we are told of and do not see.
            let known = if name == begins {
                parent == CLIENTS_SPAN
            } else {
                ids.contains(parent)
            };
            assert!(known, "{span} comes of nothing");
            let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
            assert!(
                time("startTimeUnixNano") <= time("endTimeUnixNano"),
                "{span}"
            );
        }
    }

    /// Whether the session's span of a trace names the one of another that opened its WebSocket, which nobody wanted kept.
    fn is_linked(&self, trace: &str) {
        let spans = self.0.lock();
        let is_it = |span: &&Value| span["traceId"] == trace && span["name"] == "session";
        let session = spans.iter().find(is_it);
        let links = session.unwrap()["links"].as_array().unwrap();
        assert_eq!(links.len(), 1, "{session:?}");
        let opened = &links[0]["traceId"];
        assert!(opened.is_string() && *opened != trace, "{session:?}");
        let kept = spans.iter().any(|span| span["traceId"] == *opened);
        assert!(!kept, "{spans:?}");
    }

    /// The names of the spans of a trace.
    fn names(&self, trace: &str) -> Vec<String> {
        let spans = self.0.lock();
        let of_trace = spans.iter().filter(|span| span["traceId"] == trace);
        of_trace
            .map(|span| span["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// What `trace` prints, asked of all of them.
fn traced(what: &[&str], processes: &[&Program]) -> String {
    let output = Command::new(built("chat-lb").unwrap())
        .arg("trace")
        .args(what)
        .args(processes.iter().map(|program| program.admin_address()))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Who did which step, as the table says.
fn steps(table: &str) -> BTreeSet<(String, String)> {
    let rows = table.lines().map(|line| line.split_whitespace().collect());
    let rows = rows.filter(|row: &Vec<&str>| row.len() >= 5 && row[0].contains('.'));
    rows.map(|row| (row[2].to_owned(), format!("{} {}", row[3], row[4])))
        .collect()
}

/// Whether these are the steps of a message that two nodes have members of, begun like this.
fn whole(steps: &BTreeSet<(String, String)>, begins: &str) -> bool {
    let by = |name: &str| steps.iter().filter(|(step, _)| step == name).count();
    [begins, "room", "store", "bus"].map(by) == [1; 4] && by("delivery") == 2 && steps.len() == 6
}

/// Waits for an entry, and says what was heard instead.
async fn heard_by(socket: &mut WsClient, room: &RoomId, seq: u64, nodes: &[&Program]) {
    let since = Instant::now();
    while let Err(error) = socket.entry(room, seq).await {
        if since.elapsed() < PATIENCE && matches!(error, WireError::Silent(_)) {
            continue;
        }
        let heard = socket.drain(Duration::from_secs(1)).await;
        let now: Result<Value, _> = socket.command("room.get", &json!({"room": room})).await;
        for node in nodes {
            println!("{}", node.metrics().await);
        }
        panic!("{error}; heard {heard:#?}; the room {now:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_followed_from_the_door_over_two_nodes_to_whoever_hears_it() {
    let (collector, endpoint) = Collector::start().await;
    // So small a share that only what is asked for is followed.
    let house = House::build_with(&[
        ("FIRESIDE_TRACE_SHARE", "0.000000000001"),
        ("FIRESIDE_OTLP_ENDPOINT", &endpoint),
    ])
    .await;
    let [ann, bob] = house.apart("followed").await;
    house.rest.befriend(&ann, &bob).await.unwrap();
    let mut of_bob = house.session(&bob, Encoding::Json).await;
    let mut of_ann = house.session(&ann, Encoding::MsgPack).await;
    let token = Some(ann.access_token.as_str());
    let body = json!({"kind": "group", "name": "Raid", "members": [bob.id]});
    let made = house.rest.ok(Method::POST, "/v1/rooms", Some(&body), token);
    let made = made.await.unwrap();
    let room: RoomId = serde_json::from_value(made["room"]["id"].clone()).unwrap();

    let client = reqwest::Client::new();
    let say = async |trace: &str, flags: &str| {
        let url = format!("{}/v1/rooms/{room}/messages", house.door.origin());
        let answer = client
            .post(url)
            .bearer_auth(&ann.access_token)
            .header("idempotency-key", format!("{trace}-{flags}"))
            .header("traceparent", format!("00-{trace}-{CLIENTS_SPAN}-{flags}"))
            .json(&json!({"text": "well met"}))
            .send()
            .await
            .unwrap();
        let said: Value = answer.json().await.unwrap();
        said["seq"].as_u64().unwrap()
    };
    let nodes: Vec<&Program> = house.nodes().collect();
    let all = [&[&house.door][..], &nodes].concat();
    let room_id = room.to_string();
    // What is told between nodes may be lost, and is read from history then: without these steps.
    let since = Instant::now();
    let mut attempt = 0_u128;
    let (trace, table, other) = loop {
        attempt += 1;
        let trace = format!("{attempt:032x}");
        let followed = say(&trace, "01").await;
        let other = say(&trace, "00").await;
        heard_by(&mut of_bob, &room, other, &nodes).await;
        heard_by(&mut of_ann, &room, other, &nodes).await;
        let table = traced(&[&room_id, &followed.to_string()], &all);
        if whole(&steps(&table), "door") {
            break (trace, table, other);
        }
        assert!(since.elapsed() < PATIENCE, "{table}");
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(table.matches("trace ").count(), 1, "{table}");
    assert!(table.contains(&trace), "{table}");
    assert_eq!(steps(&traced(&[&trace], &all)), steps(&table));
    // Nobody asked for the other.
    let none = traced(&[&room_id, &other.to_string()], &all);
    assert!(none.contains("nobody remembers it"), "{none}");

    collector.until_whole(&trace, "door").await;

    // What is said over a WebSocket goes through the door unread, and begins with the session.
    let since = Instant::now();
    let trace = loop {
        attempt += 1;
        let trace = format!("{attempt:032x}");
        let body = json!({"room": room, "nonce": trace, "text": "hail",
            "traceparent": format!("00-{trace}-{CLIENTS_SPAN}-01")});
        let said: Appended = of_ann.command("message.send", &body).await.unwrap();
        heard_by(&mut of_bob, &room, said.seq.get(), &nodes).await;
        heard_by(&mut of_ann, &room, said.seq.get(), &nodes).await;
        let table = traced(&[&trace], &all);
        if whole(&steps(&table), "session") {
            // Where it came through the door is told beside that.
            let opened = table.lines().next_back().unwrap();
            let told = opened.starts_with("over a WebSocket that was opened ");
            assert!(told && opened.contains(": door, chat-lb "), "{table}");
            break trace;
        }
        assert!(since.elapsed() < PATIENCE, "{table}");
        sleep(Duration::from_millis(100)).await;
    };
    collector.until_whole(&trace, "session").await;
    collector.is_linked(&trace);
}
