//! People behind two balancers, and what is done to what serves them.

use std::{
    collections::BTreeSet,
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
    cluster::{Cluster, ClusterPlan, Network, Program},
    drive::read_logs,
};
use reqwest::Method;
use serde_json::json;
use shared::{
    id::{RoomId, Timestamp},
    protocol::{codec::Encoding, command::SessionStart, reply::RoomReply},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    interruptions, recovery,
    resident::{Papers, Resident},
};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::MsgPack];
/// How many balancers.
const DOORS: usize = 2;
/// How many people; each has a device in each encoding.
const PEOPLE: usize = 6;
/// How many rooms all of them share.
const ROOMS: usize = 3;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// How much of a record a failure shows of each.
const LAST: usize = 40;

const SETTINGS: &[(&str, &str)] = &[
    ("FIRESIDE_LOG", "info,access=warn"),
    ("FIRESIDE_WORKERS", "1"),
    // All clients come from one address, by way of the balancers'.
    ("FIRESIDE_TRUSTED_PROXIES", "10.77.0.0/24"),
    ("FIRESIDE_REGISTRATION_RATE", "100000/s"),
    ("FIRESIDE_LOGIN_ADDRESS_RATE", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_ADDRESS", "100000/s"),
    ("FIRESIDE_UPGRADES_PER_USER", "1000/s"),
    ("FIRESIDE_MAX_CONNECTIONS_PER_ADDRESS", "5000"),
    ("FIRESIDE_LIMIT_STARTS", "1000/s"),
    ("FIRESIDE_PASSWORD_HASH_MEMORY_KIB", "1024"),
    ("FIRESIDE_ROOM_RECONCILE", "3s"),
    ("FIRESIDE_REDIS_SILENCE", "6s"),
    ("FIRESIDE_SHUTDOWN_GRACE", "12s"),
    // Who joins has their share at once, or a short rehearsal would not meet them.
    ("FIRESIDE_SLOW_START", "0s"),
];

/// Everything that serves, and people who chat.
pub(crate) struct Street {
    cluster: Cluster,
    doors: Vec<Program>,
    /// The nodes that are meant to serve.
    serving: BTreeSet<usize>,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    living: JoinSet<Resident>,
}

/// Something that is done to it.
pub(crate) struct Stage {
    name: &'static str,
    began: Timestamp,
}

impl Stage {
    /// Now.
    pub(crate) fn begin(name: &'static str) -> Self {
        Self {
            name,
            began: Timestamp::now(),
        }
    }
}

impl Street {
    /// Places for `most` nodes, of which `nodes` serve, and everybody on line and talking.
    pub(crate) async fn settle(network: Network, nodes: usize, most: usize) -> Self {
        let plan = ClusterPlan {
            nodes: most,
            links: false,
            network: Some(network),
            ..ClusterPlan::default()
        };
        let mut cluster = Cluster::prepare(&plan.set(SETTINGS)).await.unwrap();
        cluster.store_mut().start().await.unwrap();
        let mut doors = Vec::new();
        for _ in 0..DOORS {
            let mut door = cluster.balancer_in_place().await.unwrap();
            door.spawn().unwrap();
            doors.push(door);
        }
        let mut street = Self {
            cluster,
            doors,
            serving: BTreeSet::new(),
            recorder: Recorder::in_memory(),
            stop: Arc::new(AtomicBool::new(false)),
            living: JoinSet::new(),
        };
        for node in 0..nodes {
            street.cluster.node_mut(node).program.spawn().unwrap();
            street.serving.insert(node);
        }
        street.until_fit().await;
        for resident in street.people().await {
            street.living.spawn(resident.live(street.stop.clone()));
        }
        street.served(Timestamp::now()).await;
        street
    }

    /// Waits until everybody is served, and tells what it cost them.
    pub(crate) async fn end(&self, stage: Stage) {
        self.served(Timestamp::now()).await;
        let cost = self
            .recorder
            .look(|lines| interruptions::of(lines, stage.began));
        let took = Timestamp::now().as_millis() - stage.began.as_millis();
        println!("{} ({took} ms): {cost}", stage.name);
    }

    /// A node is added.
    pub(crate) async fn join(&mut self, node: usize) {
        self.cluster.node_mut(node).program.start().await.unwrap();
        self.serving.insert(node);
        self.until_fit().await;
    }

    /// A node is taken away, as a deploy or a scale does: SIGTERM, and time to drain.
    pub(crate) async fn leave(&mut self, node: usize) {
        self.serving.remove(&node);
        let program = &mut self.cluster.node_mut(node).program;
        let ended = program.terminate().await.unwrap();
        // 1: the machine was too busy for the drain, which was cut at its deadline.
        assert!(matches!(ended.code(), Some(0 | 1)), "{node}: {ended}");
        if !ended.success() {
            println!("the drain of node {node} was cut");
        }
        self.until_fit().await;
    }

    /// A node dies.
    pub(crate) async fn kill(&mut self, node: usize) {
        self.serving.remove(&node);
        let program = &mut self.cluster.node_mut(node).program;
        program.process_mut().kill().unwrap();
        self.until_fit().await;
    }

    /// A node hears nobody and is heard by nobody, until everybody is served without it; then it is back.
    pub(crate) async fn cut_off(&mut self, node: usize) {
        let since = Timestamp::now();
        let place = self.cluster.nodes()[node].program.place().clone();
        place.cut().unwrap();
        self.serving.remove(&node);
        self.until_fit().await;
        let took = self.served(since).await;
        println!("everybody served without the node that was cut off after {took:?}");
        place.heal().unwrap();
        self.serving.insert(node);
        self.until_fit().await;
    }

    /// A balancer dies; those who came through it know of the other.
    pub(crate) async fn kill_door(&mut self) {
        self.doors[0].process_mut().kill().unwrap();
        self.served(Timestamp::now()).await;
        self.doors[0].start().await.unwrap();
        self.until_fit().await;
    }

    /// Waits until every balancer gives people to the nodes that serve and to no other.
    async fn until_fit(&self) {
        let deadline = Instant::now() + PATIENCE;
        let wanted: BTreeSet<String> = self.serving.iter().map(|n| format!("node-{n}")).collect();
        for door in &self.doors {
            loop {
                let live = door.live().await.unwrap_or_default();
                let nodes = live["nodes"].as_array().cloned().unwrap_or_default();
                let fit = nodes.iter().filter(|node| node["state"] == "fit");
                let fit: BTreeSet<String> = fit
                    .filter_map(|node| node["name"].as_str().map(str::to_owned))
                    .collect();
                if fit == wanted {
                    break;
                }
                let said = format!("fit are {fit:?}, wanted {wanted:?}: {live:#}");
                assert!(Instant::now() < deadline, "{said}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until everybody has something acknowledged and hears others, all said after that time,
    /// and answers how long after it that was.
    async fn served(&self, since: Timestamp) -> Duration {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waits = self
                .recorder
                .look(|lines| recovery::of(lines, since, PEOPLE * ENCODINGS.len()));
            match waits {
                Ok(took) => return took,
                Err(who) => {
                    let said = || format!("not served again: {who:?}\n{}", self.last_of(&who));
                    assert!(Instant::now() < deadline, "{}", said());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What happened to these last.
    fn last_of(&self, who: &[String]) -> String {
        self.recorder.look(|lines| {
            let mut text = String::new();
            for name in who {
                let of = lines.iter().filter(|line| line.c == *name);
                let last: Vec<_> = of.rev().take(LAST).collect();
                for line in last.into_iter().rev() {
                    let line = serde_json::to_string(line).unwrap_or_default();
                    text.push_str(&line);
                    text.push('\n');
                }
            }
            text
        })
    }

    /// Ends it: everybody gets their answers and sees everything, the same logs are read through each
    /// balancer, and the record is judged.
    pub(crate) async fn judge(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut residents = Vec::new();
        while let Some(resident) = self.living.join_next().await {
            residents.push(resident.unwrap());
        }
        for resident in &mut residents {
            resident.be_answered().await;
        }
        for resident in &mut residents {
            resident.settle().await;
        }
        for (n, resident) in residents.iter().enumerate() {
            for door in 0..DOORS {
                // What all share once, direct rooms by each of the two.
                let shared = if n == 0 { 0 } else { ROOMS };
                let name = format!("reader-{n}-{door}");
                let connector = resident.connector(door);
                let mut reader = Device::new(&name, connector, Recorder::in_memory());
                reader.reconnect(PATIENCE).await.unwrap();
                read_logs(&mut reader, &resident.rooms[shared..], &self.recorder)
                    .await
                    .unwrap();
            }
        }
        let lines = self.recorder.lines().unwrap();
        let verdict = check(&lines);
        let nodes = self.cluster.nodes().iter().map(|node| &node.program);
        for program in nodes.chain(&self.doors).chain([self.cluster.store()]) {
            let log = program.process().log();
            assert!(!log.contains("panicked at"), "{log}");
        }
        println!("{verdict}");
        assert!(verdict.holds(), "{verdict}");
        assert_eq!(verdict.seen.clients, PEOPLE * ENCODINGS.len());
        assert!(
            verdict.seen.acks > 100 && verdict.seen.resumes > 0,
            "{verdict}"
        );
    }

    /// Accounts, friendships and rooms, all made through the first balancer; each device knows both.
    async fn people(&self) -> Vec<Resident> {
        let rest = Rest::new(self.doors[0].origin()).unwrap();
        let mut accounts = Vec::new();
        for n in 0..PEOPLE {
            let email = format!("person{n}@example.org");
            let account = rest.register(&format!("person{n}"), &email).await;
            accounts.push(account.unwrap());
        }
        let ids: Vec<_> = accounts.iter().map(|account| &account.id).collect();
        let service = Some(Cluster::service_token());
        let mut shared: Vec<RoomId> = Vec::new();
        for n in 0..ROOMS {
            let body = json!({"kind": "group", "name": format!("room {n}"), "members": ids});
            let made = rest.ok(Method::POST, "/v1/server/rooms", Some(&body), service);
            let made = made.await.unwrap();
            shared.push(serde_json::from_value(made["room"]["id"].clone()).unwrap());
        }
        let doors: Vec<String> = (self.doors.iter())
            .map(|door| door.address().to_owned())
            .collect();
        let mut residents = Vec::new();
        for (n, pair) in accounts.chunks(2).enumerate() {
            rest.befriend(&pair[0], &pair[1]).await.unwrap();
            let dm = open_dm(&doors[0], pair).await;
            for (m, account) in pair.iter().enumerate() {
                for (d, encoding) in ENCODINGS.into_iter().enumerate() {
                    let mut doors = doors.clone();
                    doors.rotate_left((n + d) % DOORS);
                    let mut rooms = shared.clone();
                    rooms.push(dm.clone());
                    let papers = Papers {
                        name: format!("{}-{encoding:?}", account.name),
                        token: account.access_token.clone(),
                        encoding,
                        nodes: doors,
                        rooms,
                        square: None,
                        // The balancer finds out what is dead; whoever gives up early on a busy machine begins anew for ever.
                        patience: Duration::from_secs(20),
                        seed: (n * 4 + m * 2 + d) as u64,
                    };
                    residents.push(Resident::new(papers, &self.recorder));
                }
            }
        }
        residents
    }
}

/// The direct room of two friends, once the node has heard that they are.
async fn open_dm(address: &str, pair: &[Account]) -> RoomId {
    let connector = Connector::new(address).token(&pair[0].access_token);
    let mut socket = connector.connect().await.unwrap();
    socket.start(&SessionStart::default()).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body = json!({"user": pair[1].id});
        match socket.command::<RoomReply>("room.open_dm", &body).await {
            Ok(opened) => return opened.room.id,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
