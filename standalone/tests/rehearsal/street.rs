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
    Device, Recorder, check,
    cluster::{Cluster, ClusterPlan, Network, Program},
    drive::read_logs,
};
use shared::id::Timestamp;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    interruptions::{self, Interruptions},
    people::{DEVICES, ROOMS, STEADY_DEVICES, STEADY_NAME, people},
    recovery,
    resident::Resident,
    steady::{Seen, Steady, never_acknowledged},
};

/// How many balancers.
const DOORS: usize = 2;
/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// When nobody moved for so long, everybody is where they belong.
const AT_REST: Duration = Duration::from_secs(2);
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
    // What is waited for on a slow machine as long as it takes: nothing is decided by it.
    ("FIRESIDE_SHUTDOWN_GRACE", "24s"),
    ("FIRESIDE_PRESENCE_GRACE", "1m"),
    ("FIRESIDE_HANDOVER_TIMEOUT", "20s"),
    ("FIRESIDE_SESSION_START_TIMEOUT", "1m"),
    ("FIRESIDE_CONNECT_TIMEOUT", "5s"),
    ("FIRESIDE_UPGRADE_TIMEOUT", "20s"),
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
    steady: JoinSet<Steady>,
    seen: Arc<Seen>,
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
            steady: JoinSet::new(),
            seen: Arc::default(),
        };
        for node in 0..nodes {
            street.cluster.node_mut(node).program.spawn().unwrap();
            street.serving.insert(node);
        }
        street.until_fit().await;
        let (living, steady) = people(&street.doors, &street.recorder).await;
        for resident in living {
            street.living.spawn(resident.live(street.stop.clone()));
        }
        // Everybody is waited for below.
        let (entered, _) = mpsc::channel(1);
        for one in steady {
            let (seen, stop) = (street.seen.clone(), street.stop.clone());
            street.steady.spawn(one.live(entered.clone(), seen, stop));
        }
        street.served(Timestamp::now()).await;
        street.seen.until_all_on_line(STEADY_DEVICES).await;
        street
    }

    /// Waits until everybody is served, and tells what it cost those who stay by themselves.
    pub(crate) async fn end(&self, stage: &Stage) -> Interruptions {
        self.served(Timestamp::now()).await;
        let steady = |name: &str| name.starts_with(STEADY_NAME);
        let felt = self
            .recorder
            .look(|lines| interruptions::of(lines, stage.began, steady));
        let took = Timestamp::now().as_millis() - stage.began.as_millis();
        println!("{} ({took} ms): {felt}", stage.name);
        felt
    }

    /// The same of something that nobody is to notice: every session goes on, and no friend sees anybody come or go.
    pub(crate) async fn end_unnoticed(&self, stage: &Stage) -> Interruptions {
        let felt = self.end(stage).await;
        let name = stage.name;
        if (felt.lost, felt.started) != (0, 0) {
            println!("{}", self.moves().await);
        }
        assert_eq!((felt.lost, felt.started), (0, 0), "{name}: {felt}");
        let changes = self.seen.take();
        assert!(changes.is_empty(), "{name}: friends saw {changes:?}");
        felt
    }

    /// What nodes say of sessions that were to move.
    async fn moves(&self) -> String {
        let mut text = String::new();
        for node in self.cluster.nodes() {
            let metrics = node.program.metrics().await;
            let of_moves = |line: &&str| {
                line.starts_with("fireside_sessions_sought_total")
                    || line.starts_with("fireside_sessions_departed_total")
            };
            for line in metrics.lines().filter(of_moves) {
                text.extend([node.program.address(), ": ", line, "\n"]);
            }
        }
        text
    }

    /// Waits until everybody who belongs elsewhere was moved there.
    pub(crate) async fn at_rest(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            let mut now = Vec::new();
            for door in &self.doors {
                let live = door.live().await.unwrap_or_default();
                let nodes = live["nodes"].as_array().cloned().unwrap_or_default();
                now.extend(nodes.iter().map(|node| node["tunnels"].clone()));
            }
            if now == before {
                return;
            }
            before = now;
            assert!(Instant::now() < deadline, "{before:?}");
            tokio::time::sleep(AT_REST).await;
        }
    }

    /// A balancer is taken away, as a deploy does: its people come back through the other. Then it is there again.
    pub(crate) async fn replace_door(&mut self, door: usize) {
        let ended = self.doors[door].terminate().await.unwrap();
        assert!(matches!(ended.code(), Some(0 | 1)), "door {door}: {ended}");
        self.doors[door].start().await.unwrap();
        self.until_fit().await;
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
                .look(|lines| recovery::of(lines, since, DEVICES));
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
        let mut steady = Vec::new();
        while let Some(one) = self.steady.join_next().await {
            steady.push(one.unwrap());
        }
        for resident in &mut residents {
            resident.be_answered().await;
        }
        for one in &mut steady {
            one.be_answered().await;
        }
        for resident in &mut residents {
            resident.settle().await;
        }
        for one in &mut steady {
            one.settle(&self.seen).await;
        }
        let steady = steady.iter().map(|one| (one.doors.clone(), &one.rooms));
        let residents = residents.iter().map(|one| {
            let doors = (0..DOORS).map(|door| one.connector(door));
            (doors.collect::<Vec<_>>(), &one.rooms)
        });
        for (n, (doors, rooms)) in residents.chain(steady).enumerate() {
            for connector in doors {
                // What all share once, direct rooms by each of the two.
                let shared = if n == 0 { 0 } else { ROOMS };
                let name = format!("reader-{n}-at-{}", connector.address);
                let mut reader = Device::new(&name, connector, Recorder::in_memory());
                reader.reconnect(PATIENCE).await.unwrap();
                read_logs(&mut reader, &rooms[shared..], &self.recorder)
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
        assert_eq!(verdict.seen.clients, DEVICES);
        let left = never_acknowledged(&lines);
        assert!(left.is_empty(), "no try brought an answer: {left:?}");
        assert!(
            verdict.seen.acks > 100 && verdict.seen.resumes > 0,
            "{verdict}"
        );
    }
}
