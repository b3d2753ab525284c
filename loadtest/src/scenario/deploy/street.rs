//! Nodes behind balancers, and people who talk in rooms and come back whenever their socket is closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde_json::json;
use shared::id::RoomId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Deploy, cost::Cost, fault};
use crate::{
    Connector, Device, Line, Recorder,
    cluster::{Cluster, ClusterPlan, Program, ServerProcess},
    drive::read_logs,
    measure::{Figure, Progress},
    swarm::Fault,
    target::{Access, LIMITS_OFF, Process},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(3);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);
/// When nobody was moved for so long, everybody is where they belong.
const AT_REST: Duration = Duration::from_secs(2);
/// How many sends of one may be under way.
const WINDOW: usize = 4;

/// Nodes, balancers, and people.
pub(super) struct Street {
    cluster: Cluster,
    doors: Vec<Program>,
    recorder: Recorder,
    crowd: Arc<Crowd>,
    living: JoinSet<Result<Resident, Fault>>,
    people: usize,
    at_once: usize,
    rooms: usize,
}

/// What everybody who lives here shares.
#[derive(Default)]
struct Crowd {
    on_line: AtomicUsize,
    /// How often somebody came in.
    came_in: AtomicUsize,
    acked: AtomicUsize,
    stop: AtomicBool,
}

impl Street {
    /// Everything started, and everybody on line.
    pub(super) async fn settle(plan: &Deploy, progress: &Progress) -> Result<Self, Fault> {
        let settings = LIMITS_OFF
            .iter()
            .map(|&(n, v)| (n.to_owned(), v.to_owned()));
        // Who joins has their share at once: where it rises slowly people are moved for as long.
        let at_once = [("FIRESIDE_SLOW_START".to_owned(), "0s".to_owned())];
        let cluster = ClusterPlan {
            nodes: plan.nodes,
            settings: settings.chain(at_once).chain(plan.settings()?).collect(),
            programs: plan.programs.clone(),
            links: false,
            ..ClusterPlan::default()
        };
        let cluster = Cluster::start(&cluster).await.map_err(fault)?;
        let mut doors = Vec::new();
        for _ in 0..plan.doors.max(1) {
            let mut door = cluster.balancer().map_err(fault)?;
            door.start().await.map_err(fault)?;
            doors.push(door);
        }
        let mut street = Self {
            cluster,
            doors,
            recorder: Recorder::in_memory(),
            crowd: Arc::default(),
            living: JoinSet::new(),
            people: plan.people,
            at_once: plan.at_once.max(1),
            rooms: 0,
        };
        street.until_fit(plan.nodes).await?;
        street.move_in(plan, progress).await?;
        Ok(street)
    }

    async fn move_in(&mut self, plan: &Deploy, progress: &Progress) -> Result<(), Fault> {
        let access = Access::new(Cluster::jwt_secret(), Cluster::service_token())?;
        let users: Vec<String> = (0..plan.people).map(|n| format!("load-{n}")).collect();
        let tokens = access.tokens(&users)?;
        let entrance = Arc::new(Semaphore::new(self.at_once));
        let neighbours = plan.members.max(1);
        let making = users.chunks(neighbours).enumerate();
        let making = making.map(|(n, members)| self.make_room(n, members, access.service()));
        let rooms: Vec<RoomId> = stream::iter(making)
            .buffered(self.at_once)
            .try_collect()
            .await?;
        self.rooms = rooms.len();
        for (n, token) in tokens.iter().enumerate() {
            let door = &self.doors[n % self.doors.len()];
            let connector = Connector::new(door.address()).token(token);
            let first_of_room = n.is_multiple_of(neighbours);
            let resident = Resident {
                device: Device::new(&n.to_string(), connector, self.recorder.clone()),
                room: rooms[n / neighbours].clone(),
                reads: first_of_room.then(|| self.recorder.clone()),
                pace: plan.pace(),
                crowd: self.crowd.clone(),
            };
            self.living.spawn(resident.live(entrance.clone()));
        }
        let deadline = Instant::now() + PATIENCE;
        while self.on_line() < self.people {
            progress.count("people", self.on_line(), self.people);
            self.wait(deadline, "everybody to come in").await?;
        }
        Ok(())
    }

    async fn make_room(&self, n: usize, members: &[String], by: &str) -> Result<RoomId, Fault> {
        let body = json!({"kind": "group", "name": format!("room {n}"), "members": members});
        let rest = self.cluster.rest();
        let made = rest.ok(Method::POST, "/v1/server/rooms", Some(&body), Some(by));
        let made = made.await.map_err(fault)?;
        RoomId::parse(made["room"]["id"].as_str().unwrap_or_default()).map_err(fault)
    }

    fn on_line(&self) -> usize {
        self.crowd.on_line.load(Relaxed)
    }

    /// Until everybody is on line and something more was said in each room, on average. Whether each of them is served
    /// shows at the end, when nobody may be left without an answer.
    pub(super) async fn talk(&mut self) -> Result<(), Fault> {
        let acked = |street: &Self| street.crowd.acked.load(Relaxed);
        let (before, deadline) = (acked(self), Instant::now() + PATIENCE);
        while self.on_line() < self.people || acked(self) < before + self.rooms {
            self.wait(deadline, "everybody to be served").await?;
        }
        Ok(())
    }

    /// SIGTERM, the next one in its place, and everybody where they belong.
    pub(super) async fn deploy(&mut self, node: usize) -> Result<(), Fault> {
        let program = &mut self.cluster.node_mut(node).program;
        let ended = program.terminate().await.map_err(fault)?;
        if !ended.success() {
            return Err(fault(
                program.process().failure(&format!("ended with {ended}")),
            ));
        }
        program.start().await.map_err(fault)?;
        self.until_fit(self.cluster.nodes().len()).await?;
        let mut before = self.moved().await;
        loop {
            sleep(AT_REST).await;
            let now = self.moved().await;
            if now == before {
                break;
            }
            before = now;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.on_line() < self.people {
            self.wait(deadline, "everybody to be back").await?;
        }
        Ok(())
    }

    /// kill -9, and everybody who was there on line again: what that took of everybody else.
    pub(super) async fn kill(&mut self, node: usize) -> Result<Vec<Figure>, Fault> {
        let came_in = |street: &Self| street.crowd.came_in.load(Relaxed);
        let before = came_in(self);
        let there = self.there(node).await;
        let cost = Cost::begin(self.programs_but(node)?)?;
        let program = &mut self.cluster.node_mut(node).program;
        program.process_mut().kill().map_err(fault)?;
        let deadline = Instant::now() + PATIENCE;
        while self.on_line() < self.people || came_in(self) < before + there {
            self.wait(deadline, "everybody to be back").await?;
        }
        let cost = cost.figures();
        self.until_fit(self.cluster.nodes().len() - 1).await?;
        cost
    }

    /// Everything that runs, but one node.
    fn programs_but(&self, node: usize) -> Result<Vec<(&'static str, Process)>, Fault> {
        let nodes = self.cluster.nodes().iter().enumerate();
        let nodes = nodes.filter(|(n, _)| *n != node);
        let nodes = nodes.map(|(_, node)| ("the nodes", node.program.process()));
        let doors = self
            .doors
            .iter()
            .map(|door| ("the balancers", door.process()));
        let mut processes: Vec<_> = nodes.chain(doors).collect();
        processes.push(("store-api", self.cluster.store().process()));
        if let Some(redis) = self.cluster.redis() {
            processes.push(("Redis", redis.process().map_err(fault)?));
        }
        let mongo = self.cluster.mongo().process().map_err(fault)?;
        processes.push(("the stand-in for MongoDB", mongo));
        let running = |(name, process): (_, &ServerProcess)| Some((name, process.usage()?));
        let mut running: Vec<_> = processes.into_iter().filter_map(running).collect();
        running.push(("the people", Process::of(std::process::id())));
        Ok(running)
    }

    /// Everybody stops, has their answers, has seen all there is, and every log is read: the record.
    pub(super) async fn end(mut self, progress: &Progress) -> Result<Vec<Line>, Fault> {
        self.crowd.stop.store(true, Relaxed);
        let mut residents = Vec::new();
        while let Some(resident) = self.living.join_next().await {
            residents.push(resident.map_err(fault)??);
            progress.count("people at rest", residents.len(), self.people);
        }
        // When nobody says anything any more.
        let entrance = Arc::new(Semaphore::new(self.at_once));
        let mut looking = JoinSet::new();
        for mut resident in residents {
            let entrance = entrance.clone();
            looking.spawn(async move {
                let _permit = resident.wait_to_look(entrance).await?;
                resident.look().await
            });
        }
        let mut looked = 0;
        while let Some(outcome) = looking.join_next().await {
            outcome.map_err(fault)??;
            looked += 1;
            progress.count("people who have looked", looked, self.people);
        }
        self.recorder.lines().map_err(fault)
    }

    /// Waits until every balancer has just so many nodes that are fit.
    async fn until_fit(&mut self, nodes: usize) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        for door in 0..self.doors.len() {
            loop {
                let live = self.doors[door].live().await.unwrap_or_default();
                let fit = live["nodes"].as_array().map_or(0, |nodes| {
                    nodes.iter().filter(|node| node["state"] == "fit").count()
                });
                if fit == nodes {
                    break;
                }
                self.wait(deadline, "nodes that are fit").await?;
            }
        }
        Ok(())
    }

    /// How many people are on a node, by all balancers.
    async fn there(&self, node: usize) -> usize {
        let address = self.cluster.nodes()[node].program.address();
        let mut there = 0;
        for door in &self.doors {
            let live = door.live().await.unwrap_or_default();
            let nodes = live["nodes"].as_array().into_iter().flatten();
            let tunnels = nodes
                .filter(|node| node["address"] == address)
                .filter_map(|node| node["tunnels"].as_u64());
            there += tunnels.sum::<u64>() as usize;
        }
        there
    }

    /// How many people the balancers have had moved.
    async fn moved(&self) -> Vec<Option<f64>> {
        let mut moved = Vec::new();
        for door in &self.doors {
            moved.push(door.metric("fireside_lb_relocations_total").await);
        }
        moved
    }

    /// A moment; a fault when it was the last, or somebody has given up.
    async fn wait(&mut self, deadline: Instant, what: &str) -> Result<(), Fault> {
        if let Some(ended) = self.living.try_join_next() {
            ended.map_err(fault)??;
        }
        if Instant::now() > deadline {
            let (on_line, people) = (self.on_line(), self.people);
            let what = format!("waited {PATIENCE:?} for {what}; {on_line} of {people} are on line");
            return Err(Fault::Target(what));
        }
        sleep(LOOK).await;
        Ok(())
    }
}

/// Somebody who talks.
struct Resident {
    device: Device,
    room: RoomId,
    /// Where the room's log goes; one of its members reads it.
    reads: Option<Recorder>,
    pace: Duration,
    crowd: Arc<Crowd>,
}

impl Resident {
    async fn live(mut self, entrance: Arc<Semaphore>) -> Result<Self, Fault> {
        let permit = entrance.acquire_owned().await.map_err(fault)?;
        self.come_in().await?;
        drop(permit);
        let mut said = 0;
        let mut next = self.pause();
        while !self.crowd.stop.load(Relaxed) {
            if !self.device.on_line() {
                self.crowd.on_line.fetch_sub(1, Relaxed);
                self.come_in().await?;
            }
            if Instant::now() >= next && self.device.unanswered() < WINDOW {
                let text = format!("{} says {said}", self.device.name());
                // What the socket did not survive is said again on the next one.
                let _ = self.device.send(&self.room, &text).await;
                said += 1;
                next = self.pause();
            }
            let acked = self.device.acked();
            // Looks up now and then, whether it is over.
            let soon = Instant::now() + Duration::from_secs(1);
            let full = self.device.unanswered() >= WINDOW;
            let until = if full { soon } else { next.min(soon) };
            if self.device.on_line() && self.device.step(until).await.is_err() {
                self.device.drop_socket();
            }
            self.crowd
                .acked
                .fetch_add(self.device.acked() - acked, Relaxed);
        }
        self.device.settle(PATIENCE).await.map_err(fault)?;
        Ok(self)
    }

    /// One of the places of those who look. Whoever waits for it reads on, or their node would take them for gone.
    async fn wait_to_look(
        &mut self,
        entrance: Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, Fault> {
        loop {
            if let Ok(permit) = entrance.clone().try_acquire_owned() {
                return Ok(permit);
            }
            if !self.device.on_line() {
                self.device.reconnect(PATIENCE).await.map_err(fault)?;
            }
            let soon = Instant::now() + Duration::from_millis(500);
            if self.device.step(soon).await.is_err() {
                self.device.drop_socket();
            }
        }
    }

    /// Sees all there is.
    async fn look(mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        // Somebody may still be moved.
        while let Err(error) = self.try_to_look().await {
            if Instant::now() > deadline {
                return Err(fault(error));
            }
            self.device.drop_socket();
        }
        Ok(())
    }

    async fn try_to_look(&mut self) -> anyhow::Result<()> {
        self.device.catch_up().await?;
        if let Some(recorder) = &self.reads {
            let rooms = std::slice::from_ref(&self.room);
            read_logs(&mut self.device, rooms, recorder).await?;
        }
        Ok(())
    }

    async fn come_in(&mut self) -> Result<(), Fault> {
        self.device.reconnect(PATIENCE).await.map_err(fault)?;
        self.crowd.on_line.fetch_add(1, Relaxed);
        self.crowd.came_in.fetch_add(1, Relaxed);
        Ok(())
    }

    fn pause(&self) -> Instant {
        Instant::now() + self.pace.mul_f64(rand::random_range(0.5..1.5))
    }
}
