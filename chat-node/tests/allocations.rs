//! How often the heap is asked for memory on a message's way, from socket to sockets.
//!
//! ```sh
//! cargo test --workspace --test allocations -- --nocapture        # prints the table
//! ```
//!
//! The clients are this test binary again, in a process of their own: their allocations are not
//! counted. `SQLite`'s are not either, they are C's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the rig has more than this test needs"
)]
#[path = "session/rig.rs"]
mod rig;

use std::{
    alloc::System,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use chat_node::room::{Caller, ReplyBody};
use loadtest::swarm::Crowd;
use serde_json::json;
use shared::{
    id::RoomId,
    protocol::{
        codec::Encoding,
        command::{Command as Asked, RoomCreate},
        room::RoomKind,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CHILD: &str = "ALLOCATIONS_CLIENTS";
const TEST: &str = "a_delivery_asks_for_no_memory";
/// Members of the large room; the small one has one.
const MEMBERS: usize = 101;
/// Messages that are counted, each said when the one before has been heard by everybody.
const MESSAGES: usize = 200;
/// The most times a message may ask for memory, of which somebody hears.
const A_MESSAGE: f64 = 60.0;
/// The same for each who hears it besides: now and then a queue grows.
const A_DELIVERY: f64 = 0.1;

#[test]
fn a_delivery_asks_for_no_memory() {
    if let Some(task) = asked(CHILD) {
        clients(&task);
        return;
    }
    actix_rt::System::new().block_on(measure());
}

/// What this test's own parent wants: no setting of a server's.
#[allow(clippy::disallowed_methods, reason = "a test has no other options")]
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn name(n: usize) -> String {
    format!("01JZ8Q4M2V7N5{n:08}")
}

async fn measure() {
    let rig = rig::rig_with(rig::Options::default()).await;
    println!("| | a message | each further delivery |\n|---|---|---|");
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let mut clients = Clients::start(&rig, encoding).await;
        let one = clients.count(&room(&rig, 1).await).await;
        let many = clients.count(&room(&rig, MEMBERS).await).await;
        clients.end();
        let each = (many - one) / (MEMBERS - 1) as f64;
        println!("| {} | {one:.1} | {each:.3} |", encoding.subprotocol());
        assert!(one < A_MESSAGE, "{one} allocations a message");
        assert!(each < A_DELIVERY, "{each} allocations a delivery");
    }
}

/// A room of the first so many.
async fn room(rig: &rig::Rig, members: usize) -> RoomId {
    let caller = Caller {
        user: rig::user("system"),
        service: true,
    };
    let create = RoomCreate {
        kind: RoomKind::Group,
        name: "a room".into(),
        members: (0..members).map(|n| rig::user(&name(n))).collect(),
        topic: None,
    };
    let asked = Asked::RoomCreate(create);
    match rig.surroundings.rooms.ask(caller, asked).await.unwrap() {
        ReplyBody::Room(reply) => reply.room.id,
        other => panic!("no room: {other:?}"),
    }
}

/// Sessions held by another process, one of whom talks when told to.
struct Clients {
    child: Child,
    /// Taken while somebody waits for an answer.
    pipes: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Clients {
    async fn start(rig: &rig::Rig, encoding: Encoding) -> Self {
        let address = rig.server.address();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(CHILD, format!("{address} {}", encoding.subprotocol()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipes = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        let mut clients = Self {
            child,
            pipes: Some(pipes),
        };
        clients.wait("all are in").await;
        clients
    }

    /// How often memory was asked for, by message, once everything has its size.
    async fn count(&mut self, room: &RoomId) -> f64 {
        self.talk(room).await;
        let before = HEAP.stats().allocations;
        self.talk(room).await;
        (HEAP.stats().allocations - before) as f64 / MESSAGES as f64
    }

    async fn talk(&mut self, room: &RoomId) {
        let (input, _) = self.pipes.as_mut().unwrap();
        writeln!(input, "{room}").unwrap();
        self.wait("all is said").await;
    }

    async fn wait(&mut self, what: &'static str) {
        let (input, mut output) = self.pipes.take().unwrap();
        let told = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains(what) {
                line.clear();
                let read = output.read_line(&mut line).unwrap();
                assert!(read > 0, "the clients ended before {what}");
            }
            output
        });
        self.pipes = Some((input, told.await.unwrap()));
    }

    fn end(mut self) {
        let (input, _output) = self.pipes.take().unwrap();
        drop(input);
        assert!(self.child.wait().unwrap().success());
    }
}

fn clients(task: &str) {
    let (address, encoding) = task.split_once(' ').unwrap();
    let encodings = [Encoding::Json, Encoding::MsgPack].into_iter();
    let encoding = encodings.into_iter().find(|e| e.subprotocol() == encoding);
    let mut crowd = Crowd::new(&[address.parse().unwrap()], encoding.unwrap()).unwrap();
    let tokens = (0..MEMBERS).map(|n| rig::token_for(&name(n), Duration::from_mins(10)));
    crowd.join(tokens, |_, _| ()).unwrap();
    println!("all are in");
    let mut said = 0;
    for line in std::io::stdin().lines() {
        let room = line.unwrap();
        let mut members = None;
        for _ in 0..MESSAGES {
            said += 1;
            let text = format!("the message of number {said}, of some sixty bytes or a few more");
            let d = json!({"room": room, "nonce": format!("n{said}"), "text": text});
            crowd.send(0, said, "message.send", &d).unwrap();
            // The first tells how many hear it: it is waited for longer.
            let (mut heard, mut acknowledged) = (0, false);
            while !acknowledged || members.is_none_or(|members| heard < members) {
                let mut tell = |_: usize, told: &loadtest::swarm::message::Told<'_>| {
                    heard += usize::from(told.ev.as_deref() == Some("message.new"));
                    acknowledged |= told.id == Some(said) && told.ok.is_some();
                };
                let more = crowd.poll(Duration::from_millis(500), &mut tell).unwrap();
                if !more && acknowledged && members.is_none() {
                    members = Some(heard);
                }
            }
        }
        println!("all is said");
    }
}
