//! People with two devices each, friends in pairs, who talk in rooms and to each other while the
//! servers beneath them fail.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest::{
    Device, Recorder, Verdict, check,
    cluster::{Cluster, ClusterPlan},
    drive::read_logs,
    record::Line,
};
use reqwest::Method;
use serde_json::json;
use shared::{
    id::{RoomId, Timestamp},
    protocol::codec::Encoding,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinSet,
    time::Instant,
};

use crate::{
    recovery,
    resident::{Papers, Resident},
};

/// Both encodings: what is shown for one must hold for the other.
pub(crate) const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];
/// How many people; each has a device in each encoding.
const PEOPLE: usize = 6;
/// How many rooms all of them share.
const ROOMS: usize = 3;
/// The pause between two acts of a resident, on average.
const PACE: Duration = Duration::from_millis(300);
/// How long everybody may take to be served again.
const RECOVERED_WITHIN: Duration = Duration::from_mins(1);

/// Limits by address would count all clients as one; what waits for half a minute in production is
/// waited for in every test.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("FIRESIDE_LOG", "info,access=warn"),
    ("FIRESIDE_WORKERS", "1"),
    ("FIRESIDE_REGISTRATION_RATE", "100000/s"),
    ("FIRESIDE_LOGIN_ADDRESS_RATE", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_ADDRESS", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_USER", "1000/s"),
    ("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "5000"),
    ("FIRESIDE_LIMIT_STARTS", "1000/s"),
    ("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "1024"),
    ("FIRESIDE_ROOM_RECONCILE", "3s"),
    ("FIRESIDE_REDIS_SILENCE", "6s"),
];

/// A cluster with people in it.
pub(crate) struct Town {
    pub(crate) cluster: Cluster,
    pub(crate) recorder: Recorder,
    stop: Arc<AtomicBool>,
    living: JoinSet<Resident>,
    _alone: MutexGuard<'static, ()>,
}

/// Waits for the other clusters to be gone: the machine is small.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

/// The plan of a cluster for these tests.
pub(crate) fn plan() -> ClusterPlan {
    ClusterPlan::default().set(SETTINGS)
}

impl Town {
    /// Three nodes, and everybody on line and talking.
    pub(crate) async fn settle(seed: u64) -> Self {
        Self::settle_in(&plan(), seed).await
    }

    /// The same in another cluster.
    pub(crate) async fn settle_in(plan: &ClusterPlan, seed: u64) -> Self {
        let alone = alone().await;
        let cluster = Cluster::start(plan).await.unwrap();
        let recorder = Recorder::in_memory();
        let residents = people(&cluster, &recorder, seed).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut living = JoinSet::new();
        for resident in residents {
            living.spawn(resident.live(stop.clone()));
        }
        let town = Self {
            cluster,
            recorder,
            stop,
            living,
            _alone: alone,
        };
        town.recovered(Timestamp::now()).await;
        town
    }

    /// Lets them live for a while.
    pub(crate) async fn go_on(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until everybody has something acknowledged and hears others, all said after that time,
    /// and answers how long after it that was.
    pub(crate) async fn recovered(&self, since: Timestamp) -> Duration {
        let deadline = Instant::now() + RECOVERED_WITHIN;
        loop {
            let waits = self
                .recorder
                .look(|lines| recovery::of(lines, since, PEOPLE * 2));
            match waits {
                Ok(took) => return took,
                Err(who) => assert!(Instant::now() < deadline, "not served again: {who:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends it: everybody gets their answers and sees everything, each node reads the same logs,
    /// and the record is judged.
    pub(crate) async fn judge(mut self) -> Verdict {
        self.stop.store(true, Ordering::Relaxed);
        let mut residents = Vec::new();
        while let Some(resident) = self.living.join_next().await {
            residents.push(resident.unwrap());
        }
        residents.sort_by(|a, b| a.device.name().cmp(b.device.name()));
        // What is said last is appended when its sender is answered: nobody has seen all before.
        for resident in &mut residents {
            resident.be_answered().await;
        }
        for resident in &mut residents {
            resident.settle().await;
        }
        let nodes = self.cluster.nodes().len();
        for (n, resident) in residents.iter().enumerate() {
            for node in 0..nodes {
                // What all share once by each node, direct rooms by each of the two.
                let shared = if n == 0 { 0 } else { ROOMS };
                let name = format!("reader-{n}-{node}");
                let connector = resident.connector(node);
                let mut reader = Device::new(&name, connector, Recorder::in_memory());
                reader.connect().await.unwrap();
                read_logs(&mut reader, &resident.rooms[shared..], &self.recorder)
                    .await
                    .unwrap();
            }
        }
        let lines = self.recorder.lines().unwrap();
        let verdict = check(&lines);
        if !verdict.holds() {
            keep(&lines);
        }
        let log: String = self
            .cluster
            .nodes()
            .iter()
            .map(|node| node.program.process().log())
            .collect();
        assert!(!log.contains("panicked at"), "{log}");
        assert!(verdict.holds(), "{verdict}");
        println!("{verdict}");
        assert_eq!(verdict.seen.clients, PEOPLE * 2);
        assert!(
            verdict.seen.acks > 100 && verdict.seen.acts > 5,
            "{verdict}"
        );
        verdict
    }
}

/// Writes a record that breaks the promise to where it can be looked at.
pub(crate) fn keep(lines: &[Line]) {
    let name = format!("record-{}.jsonl", Timestamp::now().as_millis());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text: Vec<String> = lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    println!("the record is {}", path.display());
}

/// Accounts, friendships and rooms; two devices each, on different nodes.
async fn people(cluster: &Cluster, recorder: &Recorder, seed: u64) -> Vec<Resident> {
    let rest = cluster.rest();
    let mut accounts = Vec::new();
    for n in 0..PEOPLE {
        let email = format!("person{n}@example.org");
        let account = rest.register(&format!("person{n}"), &email).await;
        accounts.push(account.unwrap());
    }
    let ids: Vec<_> = accounts.iter().map(|account| &account.id).collect();
    let service = Some(Cluster::service_token());
    let mut shared: Vec<RoomId> = Vec::new();
    for n in 0..=ROOMS {
        // The last is the square, where others come and go.
        let members = if n < ROOMS { &ids[..] } else { &ids[..1] };
        let body = json!({"kind": "channel", "name": format!("room {n}"), "members": members});
        let made = rest.ok(Method::POST, "/v1/server/rooms", Some(&body), service);
        let made = made.await.unwrap();
        shared.push(serde_json::from_value(made["room"]["id"].clone()).unwrap());
    }
    let square = shared.pop().unwrap();
    let addresses: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| node.program.address().to_owned())
        .collect();
    let mut residents = Vec::new();
    for (n, pair) in accounts.chunks(2).enumerate() {
        rest.befriend(&pair[0], &pair[1]).await.unwrap();
        let dm = open_dm(&addresses[n % addresses.len()], pair).await;
        for (m, account) in pair.iter().enumerate() {
            for (d, encoding) in ENCODINGS.into_iter().enumerate() {
                let mut nodes = addresses.clone();
                // By the user, and the second device elsewhere than the first.
                nodes.rotate_left((cluster.node_of(&account.id) + d) % addresses.len());
                let mut rooms = shared.clone();
                let visitor = n + m > 0;
                if !visitor {
                    rooms.push(square.clone());
                }
                rooms.push(dm.clone());
                let papers = Papers {
                    name: format!("{}-{encoding:?}", account.name),
                    token: account.access_token.clone(),
                    encoding,
                    nodes,
                    rooms,
                    square: visitor.then(|| square.clone()),
                    pace: PACE,
                    patience: Duration::from_secs(5),
                    seed: seed.wrapping_add((n * 4 + m * 2 + d) as u64),
                };
                residents.push(Resident::new(papers, recorder));
            }
        }
    }
    residents
}

/// The direct room of two friends, once the node has heard that they are.
async fn open_dm(address: &str, pair: &[loadtest::accounts::Account]) -> RoomId {
    use loadtest::Connector;
    use shared::protocol::{command::SessionStart, reply::RoomReply};

    let connector = Connector::new(address).token(&pair[0].access_token);
    let mut socket = connector.connect().await.unwrap();
    socket.start(&SessionStart::default()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let body = json!({"user": pair[1].id});
        match socket.command::<RoomReply>("room.open_dm", &body).await {
            Ok(opened) => return opened.room.id,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
