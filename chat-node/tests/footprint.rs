//! Where the bytes of an idle session go: what the heap grows by for each of some hundred sessions
//! in one state more, and for each of the parts alone.
//!
//! ```sh
//! cargo test --workspace --test footprint -- --nocapture        # prints the table
//! FOOTPRINT_SESSIONS=1600 cargo test …      # of more, among whom what all share is spread thinner
//! ```
//!
//! The clients are this test binary again, in processes of their own: their heap is not counted.
//! SQLite's is not either, it is C's.

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
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use chat_node::{
    overload::Overload,
    presence::DeviceState,
    room::Caller,
    transport::{
        framing::Inbound,
        outbox::Outbox,
        relay::{Relay, Relays},
        ring::Ring,
        sink::Sink,
    },
};
use loadtest::swarm::{Arrival, Crowd, Swarm};
use shared::{
    id::{RoomId, UserId},
    protocol::{
        codec::Encoding,
        command::{Command as Asked, RoomCreate},
        room::RoomKind,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CHILD: &str = "FOOTPRINT_CLIENTS";
const TEST: &str = "an_idle_session_is_small_and_its_parts_are_known";
/// Friends of each, and members of the three rooms that each is in.
const FRIENDS: usize = 10;
/// In the names of those who are counted.
const KIND: &str = "count";
const ROOMS: [usize; 3] = [10, 50, 500];
/// The most heap that a session with its friends and rooms may hold, in bytes.
const MOST: usize = 6 * 1024;

#[test]
fn an_idle_session_is_small_and_its_parts_are_known() {
    if let Some(task) = asked(CHILD) {
        clients(&task);
        return;
    }
    let sessions =
        asked("FOOTPRINT_SESSIONS").map_or(150, |text| text.parse().expect("a number of sessions"));
    actix_rt::System::new().block_on(measure(sessions));
}

/// What the one who runs this test wants, or its own parent: no setting of a server's.
#[allow(clippy::disallowed_methods, reason = "a test has no other options")]
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Bytes of the heap that are in use.
fn live() -> isize {
    let stats = HEAP.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

/// As long as real ones.
fn name(kind: &str, n: usize) -> String {
    format!("01JZ8Q4M2V7N5{kind}{n:08}")
}

/// Each state on a node of its own: the maps of all hold as many sessions, so what one state takes
/// more than another is its own, and not their doubling.
async fn measure(sessions: usize) {
    let mut table = Table {
        rows: Vec::new(),
        sessions,
    };
    let mut total = 0;
    for (state, row) in [
        (State::Greeted, "connection, token, actor and mailbox"),
        (State::Started, "… started: directory, presence, friends"),
        (State::InRooms, "… in three rooms"),
        (State::WithFriends, "… with ten friends, all online"),
    ] {
        let rig = node().await;
        if state >= State::InRooms {
            settle(&rig, sessions).await;
        }
        if state >= State::WithFriends {
            befriend(&rig, sessions);
        }
        let address = rig.server.address().to_string();
        // The first few make what all share.
        let first = Wave::start(&address, "first", State::Started, 10).await;
        let before = live();
        let wave = Wave::start(&address, KIND, state, sessions).await;
        total = table.add(row, live() - before, total);
        wave.end();
        first.end();
    }
    let rig = node().await;
    befriend(&rig, sessions);
    parts(&rig, &mut table).await;
    table.print();
    let fits = total > 0 && total < MOST as isize;
    assert!(fits, "{total} bytes a session");
}

async fn node() -> rig::Rig {
    let mut options = rig::Options::default();
    options.session.greeting_timeout = Duration::from_mins(5);
    rig::rig_with(options).await
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Greeted,
    Started,
    InRooms,
    WithFriends,
}

/// Makes rooms of which everybody is in three.
async fn settle(rig: &rig::Rig, sessions: usize) {
    let people: Vec<UserId> = (0..sessions).map(|n| rig::user(&name(KIND, n))).collect();
    for size in ROOMS {
        for members in people.chunks(size.min(499)) {
            let caller = Caller {
                user: rig::user("system"),
                service: true,
            };
            let create = RoomCreate {
                kind: RoomKind::Group,
                name: "a room".into(),
                members: members.to_vec(),
                topic: None,
            };
            let asked = Asked::RoomCreate(create);
            rig.surroundings.rooms.ask(caller, asked).await.unwrap();
        }
    }
}

fn befriend(rig: &rig::Rig, people: usize) {
    for n in 0..people {
        for step in 1..=FRIENDS / 2 {
            let (a, b) = (name(KIND, n), name(KIND, (n + step) % people));
            rig.people.befriend(&rig::user(&a), &rig::user(&b));
        }
    }
}

/// The parts a session has elsewhere, each by the calls that a start makes.
async fn parts(rig: &rig::Rig, table: &mut Table) {
    let users: Vec<UserId> = (0..table.sessions)
        .map(|n| rig::user(&name(KIND, n)))
        .collect();
    let relay = Relay::start(Relays::new(1, Overload::default()), 0);
    let mut sinks: Vec<Rc<Sink>> = Vec::with_capacity(users.len());

    let before = live();
    for user in &users {
        let sink = Sink::new(relay.next_key(), user.clone(), Encoding::Json);
        relay.register(&sink);
        sinks.push(sink);
    }
    table.add("part: the sink, known to the relay", live() - before, 0);

    let before = live();
    for (n, sink) in sinks.iter().enumerate() {
        let rooms =
            ROOMS.map(|size| RoomId::parse(&name("rooms", size * 10_000 + n / size)).unwrap());
        relay.subscribe(sink, rooms);
    }
    table.add("part: subscriptions to three rooms", live() - before, 0);

    let before = live();
    for user in &users {
        rig.surroundings.bridge.online(user).await;
    }
    table.add("part: the user's topic on the bus", live() - before, 0);

    let before = live();
    for (user, sink) in users.iter().zip(&sinks) {
        let presence = &rig.surroundings.presence;
        presence.connected(sink.key(), user, DeviceState::default());
    }
    table.add("part: the roster of presence", live() - before, 0);

    let before = live();
    for user in &users {
        rig.surroundings.friends.online(user).await;
    }
    table.add(
        "part: the cache of friends and their names",
        live() - before,
        0,
    );

    for (row, size) in [
        ("size of a sink", size_of::<Sink>()),
        ("… of which its outbox", size_of::<Outbox>()),
        ("… and its ring, which holds nothing yet", size_of::<Ring>()),
        ("size of the inbound side", size_of::<Inbound>()),
    ] {
        table.rows.push((row, size as isize, None));
    }
}

/// What each adds, in bytes a session.
struct Table {
    rows: Vec<(&'static str, isize, Option<isize>)>,
    sessions: usize,
}

impl Table {
    /// A row; `before` is what a session had without it. Returns what one has with it.
    fn add(&mut self, row: &'static str, grown: isize, before: isize) -> isize {
        let each = grown / self.sessions as isize;
        self.rows
            .push((row, each - before, (before != 0).then_some(each)));
        each
    }

    fn print(&self) {
        println!("bytes of heap a session, of {}\n", self.sessions);
        println!("| | more | in all |\n|---|---|---|");
        for (row, more, all) in &self.rows {
            let all = all.map_or_else(String::new, |all| all.to_string());
            println!("| {row} | {more} | {all} |");
        }
    }
}

/// Sessions held by another process.
struct Wave {
    child: Child,
    /// Open until it ends: it has more to say then.
    _output: BufReader<ChildStdout>,
}

impl Wave {
    async fn start(address: &str, kind: &str, state: State, sessions: usize) -> Self {
        let what = match state {
            State::Greeted => "greeted",
            _ => "started",
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(CHILD, format!("{address} {kind} {what} {sessions}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let ready = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains("all are in") {
                line.clear();
                let read = output.read_line(&mut line).unwrap();
                assert!(read > 0, "the clients did not get in");
            }
            output
        });
        Self {
            child,
            _output: ready.await.unwrap(),
        }
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Holds sessions until the parent closes this process's input.
fn clients(task: &str) {
    let words: Vec<&str> = task.split(' ').collect();
    let [address, kind, what, sessions] = words[..] else {
        panic!("{task}");
    };
    let (addresses, sessions) = ([address.parse().unwrap()], sessions.parse().unwrap());
    let tokens = (0..sessions).map(|n| rig::token_for(&name(kind, n), Duration::from_mins(10)));
    let (mut crowd, mut swarm);
    if what == "started" {
        crowd = Crowd::new(&addresses, Encoding::Json).unwrap();
        crowd.join(tokens, |_, _| ()).unwrap();
    } else {
        swarm = Swarm::new(&addresses, Encoding::Json).unwrap();
        let (mut greeted, since) = (0, Instant::now());
        for token in tokens {
            let who = swarm.dial(&token).unwrap();
            while greeted <= who {
                assert!(since.elapsed() < Duration::from_mins(1), "no hello");
                let told = |_, arrival: Arrival<'_>| {
                    greeted += usize::from(matches!(arrival, Arrival::Message(_)));
                };
                swarm.poll(Duration::from_secs(1), told).unwrap();
            }
        }
    }
    println!("all are in");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
