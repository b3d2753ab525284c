//! Graphs of the users who are online here, each read once for all of the user's devices, and kept up by events.
//!
//! A graph is **pinned** while the user has a session on this node: then the node hears the
//! user's topic, so events keep it true. Without a pin it is believed for a short time only, and
//! kept longer in case store-api is away when the user comes back.
//!
//! Those who start at the same time are asked for together ([`Rounds`]).
//!
//! A graph that is being read while an event changes it is read again: the event may be newer
//! than the answer. What could not be read, or was called in question, is read again by
//! [`FriendCache::refresh`], which says what changed so that sessions can be told. What events do is in `events`.
//!
//! Bounds: pinned graphs by the sessions of this node, others by `friends_max_unpinned`, names by `friends_max_names`.

use std::{
    collections::HashMap,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use shared::{
    id::{Timestamp, UserId},
    telemetry::Metric,
};
use tokio::{runtime::Handle, sync::Notify, time::Instant};

use super::{
    Friends, FriendsError, GRAPHS_AT_ONCE, Graph, NAMES_AT_ONCE, Revocation,
    names::{Look, Names},
};
use crate::{
    ids::{IdMap, SharedIdMap},
    rounds::Rounds,
};
use gate::{Gate, Passage};

pub use settings::FriendCacheSettings;

mod events;
mod gate;
mod settings;

/// How often an answer that events overtook is asked for again before it is taken as it is.
const ATTEMPTS: u32 = 4;

/// The friends port behind a cache. Share it behind an [`Arc`].
pub struct FriendCache {
    port: Arc<dyn Friends>,
    settings: FriendCacheSettings,
    asked_graphs: Rounds<UserId, Result<Graph, FriendsError>>,
    asked_names: Rounds<UserId, Result<Option<String>, FriendsError>>,
    graphs: SharedIdMap<UserId, Held>,
    pinned: AtomicUsize,
    names: Mutex<Names>,
    /// Users whose graph is to be read again, because it could not be or is in doubt; with how it
    /// read when that began, which is what their sessions know.
    wanted: Mutex<IdMap<UserId, Arc<Graph>>>,
    wanting: Notify,
}

/// A graph that was read again and reads differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// Whose it is.
    pub user: UserId,
    /// How it read before; empty when it was not known.
    pub before: Arc<Graph>,
    /// How it reads now.
    pub after: Arc<Graph>,
}

#[derive(Default)]
struct Held {
    pins: u32,
    graph: Option<Arc<Graph>>,
    /// When it was last known to be true; `None`: in doubt.
    read: Option<Instant>,
    /// Counts events and doubts, so that an answer from before one is not believed.
    generation: u64,
    /// The newest event applied.
    newest: Option<Timestamp>,
    /// Held while the graph is read, so that several who need it ask once; there while somebody does.
    gate: Option<Gate>,
}

impl FriendCache {
    /// A cache in front of `port`.
    pub fn new(port: Arc<dyn Friends>, settings: FriendCacheSettings) -> Self {
        Self {
            asked_graphs: Rounds::gathering(GRAPHS_AT_ONCE, {
                let port = Arc::clone(&port);
                move |users| read_graphs(Arc::clone(&port), users)
            }),
            asked_names: Rounds::new(NAMES_AT_ONCE, {
                let port = Arc::clone(&port);
                move |users| read_names(Arc::clone(&port), users)
            }),
            port,
            settings,
            graphs: SharedIdMap::default(),
            pinned: AtomicUsize::new(0),
            names: Mutex::new(Names::new(settings.friends_max_names)),
            wanted: Mutex::default(),
            wanting: Notify::new(),
        }
    }

    /// Pins the user's graph for one session and answers it. The bus topic of the user has to
    /// stand before, or an event may be missed.
    ///
    /// Never fails: when store-api is away it is the last one known, or an empty one, and
    /// [`FriendCache::refresh`] reads it when it can.
    pub async fn online(&self, user: &UserId) -> Arc<Graph> {
        {
            let mut held = self.graphs.entry(user.clone()).or_default();
            held.pins += 1;
            if held.pins == 1 {
                self.pinned.fetch_add(1, Relaxed);
                // Events before the pin went unheard.
                held.doubt();
            }
        }
        self.gauge();
        match self.load(user).await {
            Ok(graph) if self.is_true(user) => graph,
            answer => {
                self.want(user);
                answer.unwrap_or_default()
            }
        }
    }

    /// Gives one pin up: once for every [`FriendCache::online`].
    pub fn offline(&self, user: &UserId) {
        let mut wanted = self.wanted.lock();
        if let Some(mut held) = self.graphs.get_mut(user)
            && held.pins > 0
        {
            held.pins -= 1;
            if held.pins == 0 {
                self.pinned.fetch_sub(1, Relaxed);
                // True until now; from here on it only ages.
                held.read = held.read.map(|_| Instant::now());
                // Other devices of the user would still want it.
                wanted.remove(user);
            }
        }
        drop(wanted);
        self.evict();
        self.gauge();
    }

    /// The graph as it is cached, whatever its age.
    pub fn graph(&self, user: &UserId) -> Option<Arc<Graph>> {
        self.graphs.get(user)?.graph.clone()
    }

    /// The graph, read if it is not cached or too old. When store-api is away an old one will do.
    pub async fn load(&self, user: &UserId) -> Result<Arc<Graph>, FriendsError> {
        if let Some(graph) = self.believed(user) {
            return Ok(graph);
        }
        let gate = {
            let mut held = self.graphs.entry(user.clone()).or_default();
            Passage::of(self, user, held.gate.get_or_insert_default())
        };
        let reading = gate.lock().await;
        // Whoever held the gate may have read it.
        if let Some(graph) = self.believed(user) {
            return Ok(graph);
        }
        let answer = self.read(user).await;
        drop(reading);
        drop(gate);
        self.evict();
        match answer {
            Ok(graph) => Ok(graph),
            Err(error) => self.graph(user).ok_or(error),
        }
    }

    /// Names by id; those nobody knows are left out. When store-api is away, old ones will do.
    pub async fn names(&self, users: &[UserId]) -> HashMap<UserId, String> {
        let now = Instant::now();
        let mut found = HashMap::with_capacity(users.len());
        let mut missing = Vec::new();
        {
            let mut names = self.names.lock();
            for user in users {
                match names.look(user, now) {
                    Look::Fresh(name) => found.extend(name.map(|name| (user.clone(), name))),
                    Look::Stale(name) => {
                        found.extend(name.map(|name| (user.clone(), name)));
                        missing.push(user.clone());
                    }
                    Look::Missing => missing.push(user.clone()),
                }
            }
        }
        if missing.is_empty() {
            return found;
        }
        let runtime = Handle::current();
        let asked = missing.iter().map(|user| {
            let name = self.asked_names.ask(&runtime, user.clone());
            async move { name.await.unwrap_or_else(|| Err(unanswered())) }
        });
        let answers = join_all(asked).await;
        let mut names = self.names.lock();
        for (user, answer) in missing.into_iter().zip(answers) {
            if let Ok(name) = answer {
                names.put(user.clone(), name.clone(), now);
                match name {
                    Some(name) => drop(found.insert(user, name)),
                    // A stale name that is nobody's any more.
                    None => drop(found.remove(&user)),
                }
            }
        }
        metrics::gauge!("fireside_friends_names").set(names.len() as f64);
        found
    }

    /// Every revocation in force; not cached.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        self.port.revocations().await
    }

    /// Calls every graph in question: the bus may have lost events. They are read again by
    /// [`FriendCache::refresh`] where a session depends on them.
    pub fn doubt_all(&self) {
        let mut wanted = self.wanted.lock();
        for mut held in self.graphs.iter_mut() {
            held.doubt();
            if held.pins > 0 {
                let graph = held.graph.clone().unwrap_or_default();
                wanted.entry(held.key().clone()).or_insert(graph);
            }
        }
        drop(wanted);
        self.wanting.notify_one();
    }

    /// Waits until some graph is to be read again, and reads up to `limit` of them. Answers those
    /// that changed; those that could not be read stay for the next call.
    pub async fn refresh(&self, limit: usize) -> Vec<Refreshed> {
        let users: Vec<UserId> = loop {
            let users: Vec<UserId> = self.wanted.lock().keys().take(limit).cloned().collect();
            if !users.is_empty() {
                break users;
            }
            self.wanting.notified().await;
        };
        let reads = users.iter().map(|user| async move {
            let gate = self
                .graphs
                .get_mut(user)
                .map(|mut held| Passage::of(self, user, held.gate.get_or_insert_default()));
            let Some(gate) = gate else {
                self.wanted.lock().remove(user);
                return None;
            };
            let _reading = gate.lock().await;
            let after = match self.believed(user) {
                Some(graph) => graph,
                None => self.read(user).await.ok()?,
            };
            let before = self.wanted.lock().remove(user)?;
            let user = user.clone();
            (before != after).then_some(Refreshed {
                user,
                before,
                after,
            })
        });
        let reads = futures_util::future::join_all(reads).await;
        reads.into_iter().flatten().collect()
    }

    /// How many graphs wait to be read again.
    pub fn in_doubt(&self) -> usize {
        self.wanted.lock().len()
    }

    /// The graph if it needs no reading.
    fn believed(&self, user: &UserId) -> Option<Arc<Graph>> {
        let held = self.graphs.get(user)?;
        let age = held.read?.elapsed();
        let believed = held.pins > 0 || age < self.settings.friends_unpinned_for;
        believed.then(|| held.graph.clone()).flatten()
    }

    fn is_true(&self, user: &UserId) -> bool {
        self.believed(user).is_some()
    }

    /// Reads a graph into the cache. The gate is held.
    async fn read(&self, user: &UserId) -> Result<Arc<Graph>, FriendsError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let asked = self.graphs.entry(user.clone()).or_default().generation;
            let runtime = Handle::current();
            let answer = self.asked_graphs.ask(&runtime, user.clone());
            let answer = answer.await.unwrap_or_else(|| Err(unanswered()));
            let outcome = if answer.is_ok() { "ok" } else { "failed" };
            metrics::counter!("fireside_friends_reads_total", "outcome" => outcome).increment(1);
            let mut graph = answer?;
            // A friend who is known here is held by one id, whoever's friend that is.
            let known = |friend: &UserId| self.graphs.get(friend).map(|held| held.key().clone());
            graph.friends.share(known);
            let graph = Arc::new(graph);
            let mut held = self.graphs.entry(user.clone()).or_default();
            if held.generation == asked {
                held.graph = Some(Arc::clone(&graph));
                held.read = Some(Instant::now());
                return Ok(graph);
            }
            if attempt == ATTEMPTS {
                held.graph = Some(Arc::clone(&graph));
                drop(held);
                self.want(user);
                return Ok(graph);
            }
        }
    }

    fn want(&self, user: &UserId) {
        let Some(held) = self.graphs.get(user).filter(|held| held.pins > 0) else {
            return;
        };
        let graph = held.graph.clone().unwrap_or_default();
        drop(held);
        self.wanted.lock().entry(user.clone()).or_insert(graph);
        self.wanting.notify_one();
    }

    fn evict(&self) {
        let unpinned = |cache: &Self| {
            cache
                .graphs
                .len()
                .saturating_sub(cache.pinned.load(Relaxed))
        };
        if unpinned(self) <= self.settings.friends_max_unpinned {
            return;
        }
        let fresh = self.settings.friends_unpinned_for;
        let kept = |held: &Held| held.pins > 0 || held.gate.is_some();
        self.graphs
            .retain(|_, held| kept(held) || held.read.is_some_and(|read| read.elapsed() < fresh));
        if unpinned(self) > self.settings.friends_max_unpinned {
            self.graphs.retain(|_, held| kept(held));
        }
    }

    fn gauge(&self) {
        metrics::gauge!("fireside_friends_graphs").set(self.graphs.len() as f64);
    }
}

async fn read_graphs(
    port: Arc<dyn Friends>,
    users: Vec<UserId>,
) -> Vec<Result<Graph, FriendsError>> {
    match port.graphs(&users).await {
        Ok(graphs) => graphs.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); users.len()],
    }
}

async fn read_names(
    port: Arc<dyn Friends>,
    users: Vec<UserId>,
) -> Vec<Result<Option<String>, FriendsError>> {
    match port.names(&users).await {
        // Two who see the same person ask in one round.
        Ok(names) => users
            .iter()
            .map(|user| Ok(names.get(user).cloned()))
            .collect(),
        Err(error) => vec![Err(error); users.len()],
    }
}

/// The round ended without an answer.
fn unanswered() -> FriendsError {
    FriendsError::Unavailable("the question was not answered".to_owned())
}

impl Held {
    fn doubt(&mut self) {
        self.read = None;
        self.generation += 1;
    }
}

/// The metrics of the cache.
pub const METRICS: &[Metric] = &[
    Metric::gauge("fireside_friends_graphs", "Friend graphs cached"),
    Metric::gauge("fireside_friends_names", "Names cached"),
    Metric::gauge(
        "fireside_friends_in_doubt",
        "Graphs of users online here that wait to be read again",
    ),
    Metric::counter("fireside_friends_reads_total", "Graphs read from store-api").by(&["outcome"]),
];

#[cfg(test)]
mod tests;
