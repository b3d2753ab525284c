//! The table of back ends, and who is sent where.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use metrics::{counter, gauge};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use shared::{id::UserId, live::NodeFigures};

use super::{Fitness, Health, Place, Probe, Thresholds, Tunnels};
use crate::pin::{self, Key, Target};

/// What the back ends of a pool are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Chat nodes.
    Nodes,
    /// Store-apis.
    Stores,
}

impl PoolKind {
    /// The label in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Stores => "stores",
        }
    }
}

/// One back end.
#[derive(Debug)]
pub struct Backend {
    kind: PoolKind,
    name: String,
    address: String,
    key: Key,
    weight: AtomicU16,
    /// Whether discovery still names it.
    listed: AtomicBool,
    requests: AtomicUsize,
    health: Mutex<Health>,
    tunnels: Arc<Tunnels>,
    /// What it said last of what it has to do, if it answered.
    figures: Mutex<Option<NodeFigures>>,
}

/// A request under way to a back end; counted until it is dropped.
#[derive(Debug)]
pub struct Request(Arc<Backend>);

/// A back end as the live view shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendView {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// fit, ejected or down.
    pub state: &'static str,
    /// Its share as it is set.
    pub weight: u16,
    /// The part of it that it has reached, of 1.
    pub risen: f64,
    /// WebSockets there.
    pub tunnels: usize,
    /// Requests under way.
    pub requests: usize,
    /// How often it was ejected lately.
    pub ejections: u32,
    /// Whether discovery names it; if not, it is left when its last tunnel ends.
    pub listed: bool,
    /// What it has to do, of everybody who is there by whatever way; nothing of what is no chat node or does not
    /// say.
    #[serde(flatten)]
    pub figures: Option<NodeFigures>,
}

impl Backend {
    fn new(kind: PoolKind, place: &Place, health: Health) -> Self {
        Self {
            kind,
            name: place.name.clone(),
            address: place.address.clone(),
            key: Key::of(&place.name),
            weight: AtomicU16::new(place.weight),
            listed: AtomicBool::new(true),
            requests: AtomicUsize::new(0),
            health: Mutex::new(health),
            tunnels: Arc::default(),
            figures: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The tunnels that lead there.
    pub fn tunnels(&self) -> &Arc<Tunnels> {
        &self.tunnels
    }

    /// Counts a request under way there.
    pub fn request(self: &Arc<Self>) -> Request {
        self.requests.fetch_add(1, Relaxed);
        Request(self.clone())
    }

    /// A prober's finding. What is gone takes its tunnels along.
    pub fn probed(&self, probe: Probe) {
        let now = Instant::now();
        let (before, after, gone) = {
            let mut health = self.health.lock();
            let before = health.fitness(now);
            health.probed(probe, now);
            (before, health.fitness(now), health.is_gone(now))
        };
        let word = state_word(after);
        if word != state_word(before) {
            tracing::info!(pool = self.kind.word(), name = self.name, state = word, found = ?probe, "a back end changed");
        }
        if gone {
            let cut = self.tunnels.cut();
            if cut > 0 {
                tracing::warn!(
                    name = self.name,
                    cut,
                    "the node is gone: its tunnels are cut"
                );
            }
        }
    }

    /// What a client asked for failed there: no connection, or no answer.
    pub fn failed(&self) {
        counter!("fireside_lb_backend_failures_total", "pool" => self.kind.word()).increment(1);
        let now = Instant::now();
        let mut health = self.health.lock();
        let before = health.ejections();
        health.failed(now);
        if health.ejections() > before {
            tracing::warn!(
                pool = self.kind.word(),
                name = self.name,
                "a back end failed too often: it is ejected"
            );
        }
    }

    /// What a client asked for was answered there.
    pub fn worked(&self) {
        self.health.lock().worked();
    }

    /// What it has to do, in its own words; nothing where it does not say.
    pub fn says(&self, figures: Option<NodeFigures>) {
        *self.figures.lock() = figures;
    }

    /// Whether it is left: named no more, and nobody there.
    pub fn is_left(&self) -> bool {
        !self.listed.load(Relaxed) && self.tunnels.is_empty()
    }

    fn view(&self, now: Instant) -> BackendView {
        let (fitness, ejections) = {
            let health = self.health.lock();
            (health.fitness(now), health.ejections())
        };
        BackendView {
            name: self.name.clone(),
            address: self.address.clone(),
            state: state_word(fitness),
            weight: self.weight.load(Relaxed),
            risen: if let Fitness::Fit(part) = fitness {
                part
            } else {
                0.0
            },
            tunnels: self.tunnels.len(),
            requests: self.requests.load(Relaxed),
            ejections,
            listed: self.listed.load(Relaxed),
            figures: *self.figures.lock(),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

fn state_word(fitness: Fitness) -> &'static str {
    match fitness {
        Fitness::Fit(_) => "fit",
        Fitness::Ejected => "ejected",
        Fitness::Down => "down",
    }
}

/// The shares of the back ends of a pool at some time, to be compared with those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares(Vec<(Key, u64)>);

/// The back ends of one kind.
#[derive(Debug)]
pub struct Pool {
    kind: PoolKind,
    thresholds: Thresholds,
    load_bound: f64,
    table: RwLock<Arc<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    listed: Vec<Arc<Backend>>,
    /// No longer named, tunnels still open.
    leaving: Vec<Arc<Backend>>,
}

impl Table {
    /// Those that are named, as placement sees them: with the wanted part of their weight.
    fn targets(&self, now: Instant, wanted: fn(Fitness) -> f64) -> Vec<Target> {
        let target = |backend: &Arc<Backend>| Target {
            key: backend.key,
            weight: wanted(backend.health.lock().fitness(now))
                * f64::from(backend.weight.load(Relaxed)),
            load: backend.tunnels.len(),
        };
        self.listed.iter().map(target).collect()
    }
}

fn part_of_the_fit(fitness: Fitness) -> f64 {
    match fitness {
        Fitness::Fit(part) => part,
        Fitness::Ejected | Fitness::Down => 0.0,
    }
}

impl Pool {
    /// Nobody is known yet.
    pub fn new(kind: PoolKind, thresholds: Thresholds, load_bound: f64) -> Self {
        Self {
            kind,
            thresholds,
            load_bound,
            table: RwLock::default(),
        }
    }

    /// What it holds.
    pub fn kind(&self) -> PoolKind {
        self.kind
    }

    /// These are the back ends from now on. Answers those that are new, which want a prober each.
    pub fn replace(&self, places: &[Place]) -> Vec<Arc<Backend>> {
        let now = Instant::now();
        let mut table = self.table.write();
        let joins = !table.listed.is_empty();
        let mut fresh = Vec::new();
        let listed: Vec<Arc<Backend>> = places
            .iter()
            .map(|place| {
                let known =
                    table.listed.iter().chain(&table.leaving).find(|backend| {
                        backend.name == place.name && backend.address == place.address
                    });
                if let Some(known) = known {
                    known.weight.store(place.weight, Relaxed);
                    // Named again first, then looked at: one that had nobody left is asked no more.
                    let listed = known.listed.swap(true, Relaxed);
                    if listed || !known.tunnels.is_empty() {
                        return known.clone();
                    }
                }
                let health = Health::new(self.thresholds, joins, now);
                let backend = Arc::new(Backend::new(self.kind, place, health));
                fresh.push(backend.clone());
                backend
            })
            .collect();
        let leaving: Vec<Arc<Backend>> = table
            .listed
            .iter()
            .chain(&table.leaving)
            .filter(|backend| !listed.iter().any(|stays| Arc::ptr_eq(stays, backend)))
            .filter(|backend| {
                backend.listed.store(false, Relaxed);
                !backend.tunnels.is_empty()
            })
            .cloned()
            .collect();
        *table = Arc::new(Table { listed, leaving });
        fresh
    }

    /// The user's node and those next in line, for a request: by rank.
    pub fn of_user(&self, user: Key) -> Vec<Arc<Backend>> {
        self.order(|targets| pin::ranked(user, targets))
    }

    /// The same for a new socket: a node with too many of them stands behind.
    pub fn for_connect(&self, user: Key) -> Vec<Arc<Backend>> {
        self.order(|targets| pin::for_connect(user, targets, self.load_bound))
    }

    /// Whoever has the least to do for its weight first.
    pub fn by_load(&self) -> Vec<Arc<Backend>> {
        // Who is asked when all are idle differs from time to time.
        let turn = Key::of(&rand::random::<u64>().to_string());
        let requests = |backend: &Backend| backend.requests.load(Relaxed) as f64;
        let mut order = self.order(|targets| pin::ranked(turn, targets));
        let now = Instant::now();
        let fit = |backend: &Backend| matches!(backend.health.lock().fitness(now), Fitness::Fit(_));
        order.sort_by(|a, b| {
            let load = |backend: &Backend| {
                (requests(backend) + 1.0) / f64::from(backend.weight.load(Relaxed).max(1))
            };
            fit(b).cmp(&fit(a)).then(load(a).total_cmp(&load(b)))
        });
        order
    }

    /// How many WebSockets there are.
    pub fn tunnels(&self) -> usize {
        let table = self.table.read().clone();
        let all = table.listed.iter().chain(&table.leaving);
        all.map(|backend| backend.tunnels.len()).sum()
    }

    /// How many sockets nobody was asked yet to let go.
    pub fn unasked(&self) -> usize {
        let table = self.table.read().clone();
        let all = table.listed.iter().chain(&table.leaving);
        all.map(|backend| backend.tunnels.unasked()).sum()
    }

    /// Who has which share right now: where somebody belongs follows from nothing else.
    pub fn shares(&self) -> Shares {
        let table = self.table.read().clone();
        let targets = table.targets(Instant::now(), part_of_the_fit);
        let share = |target: &Target| (target.key, target.weight.to_bits());
        Shares(targets.iter().map(share).collect())
    }

    /// Up to so many sockets that are where they do not belong, by the nodes where they are: they would be
    /// sent to another that is fit and not full. Each is answered once, by its user.
    pub fn astray(&self, most: usize) -> Vec<(Arc<Backend>, Vec<UserId>)> {
        let table = self.table.read().clone();
        let targets = table.targets(Instant::now(), part_of_the_fit);
        let full: Vec<bool> = (0..targets.len())
            .map(|place| pin::is_full(&targets, place, self.load_bound))
            .collect();
        let mut left = most;
        let mut astray = Vec::new();
        // One that is not fit sends people away by itself, or they are cut.
        for (at, backend) in table.listed.iter().enumerate() {
            if left == 0 || targets[at].weight <= 0.0 {
                continue;
            }
            let users = backend.tunnels.choose(left, |user| {
                let belongs = pin::first(Key::of(user.as_str()), &targets);
                belongs.is_some_and(|place| place != at && !full[place])
            });
            left -= users.len();
            if !users.is_empty() {
                astray.push((backend.clone(), users));
            }
        }
        astray
    }

    /// Up to so many sockets, by the nodes where they are, of each its share. Each is answered once, by its user.
    pub fn anybody(&self, most: usize) -> Vec<(Arc<Backend>, Vec<UserId>)> {
        let table = self.table.read().clone();
        let all = table.listed.iter().chain(&table.leaving);
        let there: Vec<usize> = all.clone().map(|b| b.tunnels.unasked()).collect();
        let everybody = there.iter().sum::<usize>().max(1);
        let mut left = most;
        let chosen = all.zip(there).map(|(backend, there)| {
            let share = (most * there).div_ceil(everybody).min(left);
            let users = backend.tunnels.choose(share, |_| true);
            left -= users.len();
            (backend.clone(), users)
        });
        chosen.filter(|(_, users)| !users.is_empty()).collect()
    }

    /// Everybody, those that are leaving too.
    pub fn everybody(&self) -> Vec<Arc<Backend>> {
        let table = self.table.read().clone();
        table.listed.iter().chain(&table.leaving).cloned().collect()
    }

    /// The same as the live view shows them.
    pub fn view(&self) -> Vec<BackendView> {
        let now = Instant::now();
        let all = self.everybody();
        all.iter().map(|backend| backend.view(now)).collect()
    }

    /// Sets the gauges; says whether anybody is fit or at least answers.
    pub fn report(&self) -> bool {
        let views = self.view();
        let count = |state| views.iter().filter(|view| view.state == state).count();
        for state in ["fit", "ejected", "down"] {
            gauge!("fireside_lb_backends", "pool" => self.kind.word(), "state" => state)
                .set(count(state) as f64);
        }
        count("fit") + count("ejected") > 0
    }

    /// Those who are fit in an order, and behind them in the same order those who are ejected: better
    /// one that fails now and then than nobody.
    fn order(&self, by: impl Fn(&[Target]) -> Vec<usize>) -> Vec<Arc<Backend>> {
        let table = self.table.read().clone();
        let now = Instant::now();
        let mut order = by(&table.targets(now, part_of_the_fit));
        // Nearly always that is everybody.
        if order.len() < table.listed.len() {
            order.extend(by(&table.targets(now, |fitness| {
                f64::from(u8::from(fitness == Fitness::Ejected))
            })));
        }
        let order = order.into_iter();
        order.map(|place| table.listed[place].clone()).collect()
    }
}

#[cfg(test)]
mod tests;
