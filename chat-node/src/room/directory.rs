//! Where each room is: which thread, which actor, what was delivered of it. Actors are started when
//! something is sent to them and stopped when nothing was for a while.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Addr, ArbiterHandle, prelude::SendError};
use dashmap::{Entry, mapref::one::RefMut};
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::{codec::SharedEvent, event::Event},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    RoomNews,
    actor::RoomActor,
    ask::Ask,
    delivery::heard,
    live::{Mail, Parts, Room},
    reconcile, rules,
};
use crate::{
    ids::SharedIdMap,
    transport::{outbox::StateKey, relay::Audience},
};

/// How many deserted lobbies are woken at once after a start.
const WOKEN: u32 = 1_000;
/// How often a room whose actor keeps dying before it takes its mail is started again for one
/// piece of mail.
const STARTS: usize = 3;

pub(super) struct Directory {
    parts: Arc<Parts>,
    arbiters: Vec<ArbiterHandle>,
    edges: SharedIdMap<RoomId, Edge>,
    /// Asks for a look at what may have been missed.
    look: Arc<Notify>,
}

/// What leads to a room. All senders of a node share the one address: in actix every clone of an
/// address may overfill a mailbox by one.
struct Edge {
    /// `None`: the room rests, and only what was delivered of it is remembered.
    actor: Option<Addr<RoomActor>>,
    link: Arc<Link>,
    /// Other nodes' news of the room are subscribed to.
    up: bool,
    /// Until when it is kept although nobody hears it.
    kept: Instant,
}

/// What a room's actor and those who send to it share.
pub(super) struct Link {
    /// Mail on its way, counted while the directory entry is locked.
    pub(super) waiting: AtomicUsize,
    /// News were lost on the way: history has to be read.
    pub(super) doubt: AtomicBool,
    delivered: AtomicU64,
    /// Where it began: everything from there to what was delivered was, without a gap.
    began: AtomicU64,
}

/// How long a room is kept that was looked at lately. What was delivered of a direct-message room has
/// to be known for longer than a look reaches back, or it is delivered again.
const KEPT_FOR: Duration = Duration::from_mins(2);

const NOTHING_DELIVERED: u64 = u64::MAX;

impl Link {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicUsize::new(0),
            doubt: AtomicBool::new(false),
            delivered: AtomicU64::new(NOTHING_DELIVERED),
            began: AtomicU64::new(0),
        })
    }

    /// Remembers what the relays of this node were handed, for the actor after this one, and where
    /// this one began.
    pub(super) fn remember(&self, delivered: Option<Seq>, since: Seq) {
        let seq = delivered.map_or(NOTHING_DELIVERED, Seq::get);
        let before = self.delivered.load(Ordering::Acquire);
        // An actor that goes on where another ended begins where that one did; a log that is
        // shorter than it was is another one.
        if before == NOTHING_DELIVERED || seq < before {
            self.began.store(since.get().min(seq), Ordering::Release);
        }
        self.delivered.store(seq, Ordering::Release);
    }

    fn began(&self) -> Seq {
        Seq::new(self.began.load(Ordering::Acquire))
    }

    fn delivered(&self) -> Option<Seq> {
        let seq = self.delivered.load(Ordering::Acquire);
        (seq != NOTHING_DELIVERED).then(|| Seq::new(seq))
    }
}

impl Directory {
    /// The directory of a node; it looks after itself, `every` so often.
    pub(super) fn start(arbiters: Vec<ArbiterHandle>, every: Duration, parts: Parts) -> Arc<Self> {
        let directory = Arc::new(Self {
            parts: Arc::new(parts),
            arbiters,
            edges: SharedIdMap::default(),
            look: Arc::default(),
        });
        if let Some(first) = directory.arbiters.first() {
            first.spawn(sweep(Arc::downgrade(&directory), every));
            first.spawn(wake_deserted(Arc::downgrade(&directory)));
            let every = directory.parts.settings.room_reconcile;
            let look = directory.look.clone();
            first.spawn(reconcile::run(Arc::downgrade(&directory), look, every));
        }
        directory
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// How many rooms are in memory.
    pub(super) fn live(&self) -> usize {
        self.edges
            .iter()
            .filter(|edge| edge.actor.is_some())
            .count()
    }

    /// Sends to a room, starting its actor if it has none. `Err`: its mailbox is full.
    #[expect(
        clippy::result_large_err,
        reason = "a box would cost every send, not the rare refusal"
    )]
    pub(super) fn post(
        self: &Arc<Self>,
        room: &RoomId,
        mut mail: Mail,
        unborn: bool,
    ) -> Result<(), Mail> {
        for _ in 0..STARTS {
            if let Some(edge) = self.edges.get(room)
                && let Some(actor) = &edge.actor
            {
                edge.link.waiting.fetch_add(1, Ordering::AcqRel);
                match actor.try_send(mail) {
                    Ok(()) => return Ok(()),
                    Err(SendError::Full(back)) => {
                        edge.link.waiting.fetch_sub(1, Ordering::AcqRel);
                        self.parts.gauges.full.increment(1);
                        return Err(back);
                    }
                    Err(SendError::Closed(back)) => mail = back,
                }
            }
            self.wake(room, unborn);
        }
        // Answered by being dropped: the thread is going away, or the room dies as it starts.
        tracing::error!(%room, "a room cannot be started");
        drop(mail);
        Ok(())
    }

    /// Sends to a room once it is known who is whose friend.
    pub(super) fn post_acquainted(self: &Arc<Self>, room: RoomId, ask: Ask) {
        let Some(arbiter) = self.arbiters.get(self.worker_of(&room)) else {
            return;
        };
        let directory = self.clone();
        arbiter.spawn(async move {
            // What cannot be known the room finds out for itself.
            let _ = directory.parts.friends.load(&ask.caller.user).await;
            if let Err(Mail::Ask(ask)) = directory.post(&room, Mail::Ask(ask), false) {
                ask.answer.give(Err(rules::busy()));
            }
        });
    }

    /// Starts a room's actor, unless it has a living one by now.
    fn wake(self: &Arc<Self>, room: &RoomId, unborn: bool) {
        let worker = self.worker_of(room);
        let Some(arbiter) = self.arbiters.get(worker) else {
            return;
        };
        let mut edge = self.edge(room);
        if edge.actor.as_ref().is_some_and(Addr::connected) {
            return;
        }
        if edge.actor.is_some() {
            self.parts.gauges.deaths.increment(1);
            self.parts.gauges.live.decrement(1.0);
            tracing::error!(%room, "a room died; it starts afresh from history");
        }
        // The mail of a dead actor died with it.
        let link = Link::new();
        link.remember(edge.link.delivered(), edge.link.began());
        let parts = self.parts.clone();
        let started = if unborn {
            Room::unborn(parts, room.clone())
        } else {
            Room::new(parts, room.clone(), link.delivered())
        };
        self.parts.gauges.live.increment(1.0);
        edge.actor = Some(RoomActor::start(
            started,
            self.clone(),
            link.clone(),
            arbiter,
        ));
        edge.link = link;
    }

    fn worker_of(&self, room: &RoomId) -> usize {
        use std::hash::BuildHasher as _;
        let hash = self.edges.hasher().hash_one(room);
        // The upper bits: the lower ones choose the shard of the directory.
        (hash >> 32) as usize % self.arbiters.len().max(1)
    }

    /// Lets a room's actor go; `false` when something is on its way to it.
    pub(super) fn retire(&self, room: &Room, link: &Arc<Link>) -> bool {
        let Entry::Occupied(mut entry) = self.edges.entry(room.id.clone()) else {
            return true;
        };
        let edge = entry.get_mut();
        if !Arc::ptr_eq(&edge.link, link) {
            return true;
        }
        if link.waiting.load(Ordering::Acquire) > 0 {
            return false;
        }
        self.parts.gauges.live.decrement(1.0);
        link.remember(room.place.delivered, room.place.since);
        let kept = !self.parts.bridge.alone() && !room.absent() && heard(room);
        if kept {
            edge.actor = None;
            edge.kept = Instant::now() + KEPT_FOR;
        } else {
            if edge.up {
                self.parts.bridge.room_down(&room.id);
            }
            entry.remove();
        }
        true
    }

    /// Keeps what is known of a room, because somebody here hears it; answers whether the bus has
    /// to be told, by [`Bridge::room_up`].
    pub(super) fn follow(&self, room: &RoomId) -> bool {
        let mut edge = self.edge(room);
        edge.kept = Instant::now() + KEPT_FOR;
        !std::mem::replace(&mut edge.up, true)
    }

    /// Somebody who begins to hear the room has everything up to `head`; answers whether whatever
    /// comes after it is delivered here. Otherwise delivering began later: then a newer view has it.
    /// Others may lack what this one has: then that is read.
    pub(super) async fn begin_after(self: &Arc<Self>, room: &RoomId, head: Seq) -> bool {
        let (resting, delivered) = {
            let edge = self.edge(room);
            let delivered = edge.link.delivered();
            if delivered.is_some() && edge.link.began() > head {
                return false;
            }
            (edge.actor.is_none(), delivered)
        };
        if resting || delivered.is_some() {
            if self.lacks(room, head, head) {
                self.doubt(room);
            }
            return true;
        }
        // It is about to find out where history is, and would begin there.
        let (to, answer) = oneshot::channel();
        self.post(room, Mail::Begin(head, to), false).is_ok() && answer.await.unwrap_or(false)
    }

    /// Whether a room whose head is `head` has more than was delivered of it here; one of which
    /// nothing is known here yet is taken to be delivered up to `from`. An actor at work finds out
    /// for itself.
    pub(super) fn lacks(&self, room: &RoomId, from: Seq, head: Seq) -> bool {
        let edge = self.edge(room);
        let resting = edge.actor.is_none();
        match edge.link.delivered() {
            None if resting => {
                edge.link.remember(Some(from), from);
                from < head
            }
            Some(delivered) => resting && delivered < head,
            None => false,
        }
    }

    /// What was delivered of a room, if that is known.
    pub(super) fn delivered(&self, room: &RoomId) -> Option<Seq> {
        self.edges.get(room)?.link.delivered()
    }

    /// Every room somebody here hears, or that is in memory.
    pub(super) fn known_rooms(&self) -> Vec<RoomId> {
        self.edges.iter().map(|edge| edge.key().clone()).collect()
    }

    fn edge(&self, room: &RoomId) -> RefMut<'_, RoomId, Edge> {
        self.edges.entry(room.clone()).or_insert_with(|| Edge {
            actor: None,
            link: Link::new(),
            up: false,
            kept: Instant::now() + KEPT_FOR,
        })
    }

    pub(super) fn hear(self: &Arc<Self>, news: RoomNews) {
        let room = news.room().clone();
        let live = self
            .edges
            .get(&room)
            .is_some_and(|edge| edge.actor.is_some());
        if !live && !self.concerns(&news) {
            return;
        }
        match news {
            RoomNews::Typing {
                users,
                user,
                on,
                hidden,
                ..
            } if !live => {
                // Whom to hide it from only the room's state can tell; it is not worth loading it.
                if hidden.is_empty() {
                    let event = Event::Typing {
                        room: room.clone(),
                        user: user.clone(),
                        on,
                    };
                    let key = StateKey::Typing(room.clone(), user.clone());
                    let event = Arc::new(SharedEvent::new(event));
                    let audience = audience(room, users);
                    self.parts
                        .relays
                        .update(&audience, &key, &event, Some(&user));
                }
            }
            RoomNews::Read {
                users,
                user,
                seq,
                own_only,
                hidden,
                ..
            } if !live => {
                // As above; the reader's own devices hear of it in any case.
                let audience = if own_only || !hidden.is_empty() {
                    Audience::user(&user)
                } else {
                    audience(room.clone(), users)
                };
                let event = Event::Read { room, user, seq };
                self.parts
                    .relays
                    .publish(&audience, &Arc::new(SharedEvent::new(event)));
            }
            news => {
                let entries = !matches!(news, RoomNews::Typing { .. } | RoomNews::Read { .. });
                if self.post(&room, Mail::News(news), false).is_err() && entries {
                    self.mark_doubt(&room);
                }
            }
        }
    }

    /// Whether somebody here hears of it.
    fn concerns(&self, news: &RoomNews) -> bool {
        let relays = &self.parts.relays;
        match news {
            RoomNews::Added { user, .. }
            | RoomNews::Read {
                user,
                own_only: true,
                ..
            } => relays.is_online(user),
            RoomNews::Entries { room, users, .. }
            | RoomNews::Typing { room, users, .. }
            | RoomNews::Read { room, users, .. } => match users {
                Some(pair) => pair.iter().any(|user| relays.is_online(user)),
                None => relays.listeners(room),
            },
        }
    }

    /// Hints may have been lost: what history has and nobody here heard of is looked for, soon.
    pub(super) fn look_soon(&self) {
        self.look.notify_one();
    }

    /// A room's next turn compares it with history.
    pub(super) fn doubt(self: &Arc<Self>, room: &RoomId) {
        if self.post(room, Mail::Doubt, false).is_err() {
            self.mark_doubt(room);
        }
    }

    /// For when not even that fits into the mailbox: the next turn will know.
    fn mark_doubt(&self, room: &RoomId) {
        if let Some(edge) = self.edges.get(room) {
            edge.link.doubt.store(true, Ordering::Release);
        }
    }

    /// Forgets resting rooms that nobody hears, and wakes those that died: what they stored and
    /// did not deliver is delivered.
    fn sweep(self: &Arc<Self>) {
        let mut dead = Vec::new();
        self.edges.retain(|room, edge| {
            if let Some(actor) = &edge.actor {
                if !actor.connected() {
                    dead.push(room.clone());
                }
                return true;
            }
            if Instant::now() < edge.kept || self.parts.relays.listeners(room) {
                return true;
            }
            if edge.up {
                self.parts.bridge.room_down(room);
            }
            false
        });
        for room in dead {
            self.doubt(&room);
        }
        self.parts.gauges.owed.set(self.parts.owed.count() as f64);
    }
}

fn audience(room: RoomId, users: Option<[UserId; 2]>) -> Audience {
    users.map_or(Audience::Room(room), |pair| Audience::Users(pair.into()))
}

/// Wakes the lobbies that everybody had left when a crash cut their delay short: each removes itself
/// when it has passed again.
async fn wake_deserted(directory: Weak<Directory>) {
    loop {
        let Some(directory) = directory.upgrade() else {
            return;
        };
        let pause = directory.parts.settings.lobby_linger + Duration::from_secs(1);
        match directory.parts.history.deserted_lobbies(WOKEN).await {
            Ok(lobbies) => {
                for lobby in &lobbies {
                    directory.doubt(lobby);
                }
                if lobbies.len() < WOKEN as usize {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "deserted lobbies wait"),
        }
        drop(directory);
        tokio::time::sleep(pause).await;
    }
}

async fn sweep(directory: Weak<Directory>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match directory.upgrade() {
            Some(directory) => directory.sweep(),
            None => return,
        }
    }
}
