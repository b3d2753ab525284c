//! A deploy: every node is told to end and is started again, behind a balancer and under load. Nobody
//! starts anew, misses, doubles or reorders anything, and no friend sees anybody come or go.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loadtest::{
    Connector, Device, Recorder,
    accounts::{Account, Rest},
    check,
    cluster::{Cluster, Program},
    drive::read_logs,
    record::{Happened, Line},
};
use reqwest::Method;
use serde_json::json;
use shared::{
    codes::CloseCode,
    id::{RoomId, Timestamp},
};
use tokio::{
    sync::{MutexGuard, mpsc},
    task::JoinSet,
    time::Instant,
};

use crate::{
    interruptions,
    steady::{Seen, Steady, never_acknowledged},
    town::{ENCODINGS, alone, keep, plan},
};

/// How many people, each with a device in each encoding; friends in pairs.
const PEOPLE: usize = 8;
/// How many rooms all of them share.
const ROOMS: usize = 2;
/// Between two sends of a device, on average.
const PACE: Duration = Duration::from_millis(200);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is waited for on a slow machine as long as it takes; nothing is decided by it.
const PATIENT: &[(&str, &str)] = &[
    ("FIRESIDE_HANDOVER_TIMEOUT", "30s"),
    ("FIRESIDE_SESSION_START_TIMEOUT", "40s"),
    ("FIRESIDE_SHUTDOWN_GRACE", "50s"),
    ("FIRESIDE_PRESENCE_GRACE", "40s"),
];
/// A balancer that knows at once.
const DOOR: &[(&str, &str)] = &[
    ("FIRESIDE_SLOW_START", "0s"),
    ("FIRESIDE_HEALTH_INTERVAL", "200ms"),
    ("FIRESIDE_DISCOVERY_INTERVAL", "500ms"),
];

/// Nodes behind a balancer, and people with devices there.
struct Street {
    cluster: Cluster,
    door: Program,
    recorder: Recorder,
    rooms: Vec<RoomId>,
    /// Who may read which rooms.
    readers: Vec<(String, Vec<RoomId>)>,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    living: JoinSet<Steady>,
    _alone: MutexGuard<'static, ()>,
}

impl Street {
    async fn build(settings: &[(&str, &str)]) -> Self {
        let alone = alone().await;
        let cluster = Cluster::start(&plan().set(settings)).await.unwrap();
        let mut door = cluster.balancer().unwrap();
        door.set(DOOR.iter().copied());
        door.start().await.unwrap();
        let mut street = Self {
            cluster,
            door,
            recorder: Recorder::in_memory(),
            rooms: Vec::new(),
            readers: Vec::new(),
            stop: Arc::default(),
            seen: Arc::default(),
            living: JoinSet::new(),
            _alone: alone,
        };
        street.until_fit(3).await;
        street.move_in().await;
        street
    }

    async fn move_in(&mut self) {
        let rest = self.cluster.rest();
        let mut accounts = Vec::new();
        for n in 0..PEOPLE {
            let name = format!("person{n}");
            let account = rest.register(&name, &format!("{name}@example.org")).await;
            accounts.push(account.unwrap());
        }
        let ids: Vec<_> = accounts.iter().map(|account| &account.id).collect();
        for n in 0..ROOMS {
            let body = json!({"kind": "channel", "name": format!("room {n}"), "members": ids});
            let service = Some(Cluster::service_token());
            let made = rest.ok(Method::POST, "/v1/server/rooms", Some(&body), service);
            let made = made.await.unwrap();
            let room = serde_json::from_value(made["room"]["id"].clone()).unwrap();
            self.rooms.push(room);
        }
        let shared = (accounts[0].access_token.clone(), self.rooms.clone());
        self.readers.push(shared);
        let (entered, mut inside) = mpsc::channel(PEOPLE * 2);
        for pair in accounts.chunks(2) {
            rest.befriend(&pair[0], &pair[1]).await.unwrap();
            let dm = open_dm(rest, pair).await;
            let private = (pair[0].access_token.clone(), vec![dm.clone()]);
            self.readers.push(private);
            for account in pair {
                for encoding in ENCODINGS {
                    let connector = Connector::new(self.door.address())
                        .token(&account.access_token)
                        .encoding(encoding);
                    let name = format!("{}-{encoding:?}", account.name);
                    let device = Device::new(&name, connector.clone(), self.recorder.clone());
                    let mut rooms = self.rooms.clone();
                    rooms.push(dm.clone());
                    let steady = Steady::new(device, vec![connector], rooms, PACE);
                    let (stop, seen) = (self.stop.clone(), self.seen.clone());
                    self.living.spawn(steady.live(entered.clone(), seen, stop));
                }
            }
        }
        drop(entered);
        while inside.recv().await.is_some() {}
    }

    /// Waits until the balancer has so many nodes that are fit.
    async fn until_fit(&self, nodes: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let live = self.door.live().await.unwrap_or_default();
            let fit = live["nodes"].as_array().map_or(0, |nodes| {
                nodes.iter().filter(|node| node["state"] == "fit").count()
            });
            if fit == nodes {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{fit} of {nodes} are fit: {live}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many sockets each node has.
    async fn sockets(&self) -> BTreeMap<String, u64> {
        let live = self.door.live().await.unwrap_or_default();
        let nodes = live["nodes"].as_array().cloned().unwrap_or_default();
        let sockets = nodes.iter().filter_map(|node| {
            let name = node["name"].as_str()?.to_owned();
            Some((name, node["tunnels"].as_u64()?))
        });
        sockets.collect()
    }

    /// The node with the most of them.
    async fn busiest(&self) -> usize {
        let sockets = self.sockets().await;
        let (name, _) = sockets.iter().max_by_key(|(_, count)| **count).unwrap();
        name.strip_prefix("node-").unwrap().parse().unwrap()
    }

    /// Waits until every node has so many sockets.
    async fn until_home(&self, homes: &BTreeMap<String, u64>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sockets = self.sockets().await;
            if sockets == *homes {
                return;
            }
            assert!(Instant::now() < deadline, "{sockets:?} and not {homes:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until everybody has so many sends acknowledged and more.
    async fn talk(&self, sends: usize) {
        let deadline = Instant::now() + PATIENCE;
        let acked = || {
            self.recorder.look(|lines| {
                let mut acked: BTreeMap<String, usize> = BTreeMap::new();
                for line in lines {
                    if matches!(line.what, Happened::Acked { .. }) {
                        *acked.entry(line.c.clone()).or_default() += 1;
                    }
                }
                acked
            })
        };
        let before = acked();
        loop {
            let now = acked();
            let least = now
                .iter()
                .map(|(name, count)| count - before.get(name).unwrap_or(&0))
                .min();
            if now.len() == PEOPLE * 2 && least >= Some(sends) {
                return;
            }
            assert!(Instant::now() < deadline, "somebody is not served: {now:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it: everybody has their answers and has seen everything; the record is judged.
    async fn judge(mut self) -> Vec<Line> {
        self.stop.store(true, Ordering::Relaxed);
        let mut people = Vec::new();
        while let Some(steady) = self.living.join_next().await {
            people.push(steady.unwrap());
        }
        // What is said last is appended when its sender is answered: nobody has seen all before.
        for steady in &mut people {
            steady.be_answered().await;
        }
        for steady in &mut people {
            steady.settle(&self.seen).await;
        }
        for (n, (token, rooms)) in self.readers.iter().enumerate() {
            let node = &self.cluster.nodes()[n % 3];
            let connector = Connector::new(node.program.address()).token(token);
            let name = format!("reader-{n}");
            let mut reader = Device::new(&name, connector, Recorder::in_memory());
            reader.connect().await.unwrap();
            read_logs(&mut reader, rooms, &self.recorder).await.unwrap();
        }
        let lines = self.recorder.lines().unwrap();
        let verdict = check(&lines);
        if !verdict.holds() {
            keep(&lines);
        }
        assert!(verdict.holds(), "{verdict}");
        println!("{verdict}");
        assert_eq!(never_acknowledged(&lines), Vec::<&_>::new());
        for node in self.cluster.nodes() {
            let log = node.program.process().log();
            assert!(!log.contains("panicked at"), "{log}");
        }
        lines
    }
}

/// The direct room of two friends, once the nodes have heard that they are.
async fn open_dm(rest: &Rest, pair: &[Account]) -> RoomId {
    let body = json!({"kind": "dm", "members": [pair[1].id]});
    let deadline = Instant::now() + PATIENCE;
    loop {
        let token = Some(pair[0].access_token.as_str());
        match rest.ok(Method::POST, "/v1/rooms", Some(&body), token).await {
            Ok(made) => return serde_json::from_value(made["room"]["id"].clone()).unwrap(),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn count(lines: &[Line], of: impl Fn(&Happened) -> bool) -> usize {
    lines.iter().filter(|line| of(&line.what)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_is_noticed_by_nobody() {
    let mut street = Street::build(PATIENT).await;
    street.talk(3).await;
    // A user belongs to the same node as long as the nodes are the same.
    let homes = street.sockets().await;
    // From here on nobody comes or goes.
    street.seen.until_all_on_line(PEOPLE * 2).await;
    let seen = street.seen.clone();
    let began = Instant::now();
    for node in 0..3 {
        let program = &mut street.cluster.node_mut(node).program;
        let ended = program.terminate().await.unwrap();
        assert!(ended.success(), "{ended}: {}", program.process().log());
        program.start().await.unwrap();
        street.until_fit(3).await;
        // Those who belong there are moved back.
        street.until_home(&homes).await;
        street.talk(2).await;
    }
    let rolled = began.elapsed();
    let lines = street.judge().await;
    let felt = interruptions::of(&lines, Timestamp::from_millis(0), |_| true);
    println!("a rolling deploy of 3 nodes in {rolled:?}: {felt}");
    let began = PEOPLE * 2;
    assert_eq!((felt.lost, felt.started), (0, began), "everybody resumes");
    let closed_with = |of: CloseCode| {
        count(
            &lines,
            |what| matches!(what, Happened::Closed { code: Some(code) } if *code == of.code()),
        )
    };
    // Everybody's node went and came back.
    let (drained, moved) = (
        closed_with(CloseCode::Draining),
        closed_with(CloseCode::Rebalance),
    );
    println!("{drained} sent away, {moved} moved home");
    assert!(drained >= PEOPLE * 2 && moved >= PEOPLE * 2);
    let changes = seen.take();
    assert!(changes.is_empty(), "friends saw: {changes:?}");
}

/// A node that is killed while it hands over: whoever it still has starts anew, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_while_it_hands_over_loses_nothing() {
    let settings = [("FIRESIDE_HANDOVER_TIMEOUT", "1s")];
    let mut street = Street::build(&settings).await;
    street.talk(3).await;
    let busiest = street.busiest().await;
    let node = &mut street.cluster.node_mut(busiest).program;
    node.process().ask_to_end().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.metric("fireside_sessions_departed_total").await < Some(1.0) {
        assert!(Instant::now() < deadline, "nobody moves");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.process_mut().kill().unwrap();
    street.until_fit(2).await;
    street.talk(2).await;
    street
        .cluster
        .node_mut(busiest)
        .program
        .start()
        .await
        .unwrap();
    street.until_fit(3).await;
    street.talk(2).await;
    let lines = street.judge().await;
    let felt = interruptions::of(&lines, Timestamp::from_millis(0), |_| true);
    println!("killed on its way down: {felt}");
}
