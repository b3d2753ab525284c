//! The way to a room: a directory from its id to its actor, which is started when something is
//! asked of it and stopped when nothing was for a while.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::{Addr, ArbiterHandle, prelude::SendError};
use dashmap::{DashMap, Entry, mapref::one::RefMut};
use futures_util::future::join_all;
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::{
        codec::SharedEvent, command::Command, event::Event, reply::ErrorBody, room::RoomView,
    },
};
use tokio::sync::oneshot;

use super::{
    Access, Caller, Clock, Reply, ReplyTo, RoomCommand, RoomNews, RoomSettings,
    actor::RoomActor,
    ask::Ask,
    delivery::heard,
    live::{Gauges, Mail, Parts, Room, out_of_reach},
    room_of, rules,
    view::named,
};
use crate::{
    bridge::Bridge,
    friends::FriendCache,
    history::History,
    overload::Overload,
    transport::{
        outbox::StateKey,
        relay::{Audience, Relays},
    },
};

/// How often a room whose actor keeps dying before it takes its mail is started again for one
/// piece of mail.
const STARTS: usize = 3;

/// What rooms need of the node.
pub struct RoomsParts {
    /// The threads rooms live on, by `hash(room) % N`.
    pub arbiters: Vec<ArbiterHandle>,
    /// The relays of those threads.
    pub relays: Relays,
    /// Where logs are kept.
    pub history: Arc<dyn History>,
    /// Who is whose friend.
    pub friends: Arc<FriendCache>,
    /// The way to other nodes.
    pub bridge: Arc<Bridge>,
    /// What is shed now.
    pub overload: Overload,
    /// What the operator decides.
    pub settings: RoomSettings,
    /// What time it is.
    pub clock: Clock,
}

/// The rooms of a node. A clone is the same rooms.
#[derive(Clone)]
pub struct Rooms(Arc<Directory>);

pub(super) struct Directory {
    parts: Arc<Parts>,
    arbiters: Vec<ArbiterHandle>,
    edges: DashMap<RoomId, Edge>,
}

/// What leads to a room. All senders of a node share the one address: in actix every clone of an
/// address may overfill a mailbox by one.
struct Edge {
    /// `None`: the room rests, and only what was delivered of it is remembered.
    actor: Option<Addr<RoomActor>>,
    link: Arc<Link>,
    /// Other nodes' news of the room are subscribed to.
    up: bool,
    /// Looked at lately: not yet to be forgotten, although nobody hears it.
    fresh: bool,
}

/// What a room's actor and those who send to it share.
pub(super) struct Link {
    /// Mail on its way, counted while the directory entry is locked.
    pub(super) waiting: AtomicUsize,
    /// News were lost on the way: history has to be read.
    pub(super) doubt: AtomicBool,
    delivered: AtomicU64,
}

const NOTHING_DELIVERED: u64 = u64::MAX;

impl Link {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicUsize::new(0),
            doubt: AtomicBool::new(false),
            delivered: AtomicU64::new(NOTHING_DELIVERED),
        })
    }

    /// Remembers what the relays of this node were handed, for the actor after this one.
    pub(super) fn remember(&self, delivered: Option<Seq>) {
        let seq = delivered.map_or(NOTHING_DELIVERED, Seq::get);
        self.delivered.store(seq, Ordering::Release);
    }

    fn delivered(&self) -> Option<Seq> {
        let seq = self.delivered.load(Ordering::Acquire);
        (seq != NOTHING_DELIVERED).then(|| Seq::new(seq))
    }
}

impl Rooms {
    /// Rooms on these threads.
    pub fn start(parts: RoomsParts) -> Self {
        let idle = parts.settings.room_idle;
        let directory = Arc::new(Directory {
            arbiters: parts.arbiters,
            edges: DashMap::new(),
            parts: Arc::new(Parts {
                policy: parts.settings.policy(),
                history: parts.history,
                friends: parts.friends,
                bridge: parts.bridge,
                relays: parts.relays,
                overload: parts.overload,
                settings: parts.settings,
                clock: parts.clock,
                owed: Arc::default(),
                gauges: Gauges::new(),
            }),
        });
        if let Some(first) = directory.arbiters.first() {
            first.spawn(sweep(Arc::downgrade(&directory), idle / 2));
        }
        Self(directory)
    }

    /// Hands a command to its room; never waits. The answer comes by [`RoomCommand::reply`].
    ///
    /// # Errors
    /// The command, when the room's mailbox is full: stop reading from whoever sent it and try
    /// again.
    #[expect(
        clippy::result_large_err,
        reason = "a box would cost every send, not the rare refusal"
    )]
    pub fn send(&self, command: RoomCommand) -> Result<(), RoomCommand> {
        let parts = &self.0.parts;
        let (room, unborn) = if let Command::RoomCreate(_) = command.command {
            (RoomId::generate(), true)
        } else if let Some(room) = room_of(&command.caller, &command.command) {
            (room, false)
        } else {
            let error = rules::invalid(format!("{} is for no room", command.command.op()));
            Ask::new(command, &parts.relays, &parts.owed)
                .answer
                .give(Err(error));
            return Ok(());
        };
        let ask = Ask::new(command, &parts.relays, &parts.owed);
        match self.0.post(&room, Mail::Ask(ask), unborn) {
            Err(Mail::Ask(ask)) => Err(ask.give_back()),
            _ => Ok(()),
        }
    }

    /// Hands a command to its room and waits for the answer: `busy` when the room's mailbox is
    /// full, `unavailable` when the room died with the command.
    pub async fn ask(&self, caller: Caller, command: Command) -> Reply {
        let (to, answer) = oneshot::channel();
        let command = RoomCommand {
            caller,
            command,
            reply: ReplyTo::Caller(to),
        };
        if self.send(command).is_err() {
            return Err(rules::busy());
        }
        answer.await.unwrap_or_else(|_| Err(rules::unavailable()))
    }

    /// What the caller may see of a room.
    ///
    /// # Errors
    /// `not_found` for strangers, whether there is such a room or not.
    pub async fn authorize(&self, caller: &Caller, room: &RoomId) -> Result<Access, ErrorBody> {
        let (to, answer) = oneshot::channel();
        self.inquire(room, Mail::Authorize(caller.clone(), to), answer)
            .await
    }

    /// The members whose presence the caller sees while the room is open on the screen, up to 500.
    ///
    /// # Errors
    /// `not_found` for strangers.
    pub async fn watchable(
        &self,
        caller: &Caller,
        room: &RoomId,
    ) -> Result<Vec<UserId>, ErrorBody> {
        let (to, answer) = oneshot::channel();
        self.inquire(room, Mail::Watchable(caller.clone(), to), answer)
            .await
    }

    async fn inquire<T>(
        &self,
        room: &RoomId,
        mail: Mail,
        answer: oneshot::Receiver<Result<T, ErrorBody>>,
    ) -> Result<T, ErrorBody> {
        if self.0.post(room, mail, false).is_err() {
            return Err(rules::busy());
        }
        answer.await.unwrap_or_else(|_| Err(rules::unavailable()))
    }

    /// The rooms `user` belongs to, direct-message rooms apart: a session subscribes to them
    /// before it asks for [`Rooms::views`].
    pub async fn memberships(&self, user: &UserId) -> Result<Vec<RoomId>, ErrorBody> {
        let rooms = self.0.parts.history.memberships(user).await;
        let rooms = rooms.map_err(out_of_reach)?;
        if !self.0.parts.bridge.alone() {
            let unheard = rooms.iter().filter(|room| self.0.follow(room));
            join_all(unheard.map(|room| self.0.parts.bridge.room_up(room))).await;
        }
        Ok(rooms)
    }

    /// The rooms `user` belongs to as that user sees them, or only `only`; with names.
    pub async fn views(
        &self,
        user: &UserId,
        only: Option<&RoomId>,
    ) -> Result<Vec<RoomView>, ErrorBody> {
        let views = named(&self.0.parts, user, only).await;
        let views = views.map_err(out_of_reach)?;
        if !self.0.parts.bridge.alone() {
            // What the view has need not be delivered; what comes after it must be.
            for view in views.iter().filter(|view| view.peer.is_none()) {
                self.0.begin_after(&view.id, view.head);
            }
        }
        Ok(views)
    }

    /// Takes in what another node said of a room.
    pub fn hear(&self, news: RoomNews) {
        self.0.hear(news);
    }

    /// The bus may have lost messages: every room somebody here hears is compared with history.
    pub fn restored(&self) {
        let rooms: Vec<RoomId> = self.0.edges.iter().map(|edge| edge.key().clone()).collect();
        for room in rooms {
            self.0.doubt(&room);
        }
    }

    /// How many commands were taken in and are not answered yet.
    pub fn owed(&self) -> usize {
        self.0.parts.owed.count()
    }

    /// Waits until every command taken in is answered.
    pub async fn drained(&self) {
        self.0.parts.owed.none().await;
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms")
            .field("known", &self.0.edges.len())
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// Sends to a room, starting its actor if it has none. `Err`: its mailbox is full.
    #[expect(
        clippy::result_large_err,
        reason = "a box would cost every send, not the rare refusal"
    )]
    fn post(self: &Arc<Self>, room: &RoomId, mut mail: Mail, unborn: bool) -> Result<(), Mail> {
        for _ in 0..STARTS {
            if let Some(edge) = self.edges.get(room)
                && let Some(actor) = &edge.actor
            {
                edge.link.waiting.fetch_add(1, Ordering::AcqRel);
                match actor.try_send(mail) {
                    Ok(()) => return Ok(()),
                    Err(SendError::Full(back)) => {
                        edge.link.waiting.fetch_sub(1, Ordering::AcqRel);
                        metrics::counter!("fireside_room_mailbox_full_total").increment(1);
                        return Err(back);
                    }
                    Err(SendError::Closed(back)) => mail = back,
                }
            }
            self.start(room, unborn);
        }
        // Answered by being dropped: the thread is going away, or the room dies as it starts.
        tracing::error!(%room, "a room cannot be started");
        drop(mail);
        Ok(())
    }

    /// Starts a room's actor, unless it has a living one by now.
    fn start(self: &Arc<Self>, room: &RoomId, unborn: bool) {
        let worker = self.worker_of(room);
        let Some(arbiter) = self.arbiters.get(worker) else {
            return;
        };
        let mut edge = self.edge(room);
        if edge.actor.as_ref().is_some_and(Addr::connected) {
            return;
        }
        if edge.actor.is_some() {
            metrics::counter!("fireside_room_deaths_total").increment(1);
            metrics::gauge!("fireside_rooms_live").decrement(1.0);
            tracing::error!(%room, "a room died; it starts afresh from history");
        }
        // The mail of a dead actor died with it.
        let link = Link::new();
        link.remember(edge.link.delivered());
        let parts = self.parts.clone();
        let started = if unborn {
            Room::unborn(parts, room.clone())
        } else {
            Room::new(parts, room.clone(), link.delivered())
        };
        metrics::gauge!("fireside_rooms_live").increment(1.0);
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
        metrics::gauge!("fireside_rooms_live").decrement(1.0);
        link.remember(room.delivered);
        let kept = !self.parts.bridge.alone() && !room.absent() && heard(room);
        if kept {
            edge.actor = None;
            edge.fresh = true;
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
        edge.fresh = true;
        !std::mem::replace(&mut edge.up, true)
    }

    /// Everything up to `head` need not be delivered, unless something before it is still to be.
    fn begin_after(&self, room: &RoomId, head: Seq) {
        let edge = self.edge(room);
        if edge.actor.is_none() && edge.link.delivered().is_none() {
            edge.link.remember(Some(head));
        }
    }

    fn edge(&self, room: &RoomId) -> RefMut<'_, RoomId, Edge> {
        self.edges.entry(room.clone()).or_insert_with(|| Edge {
            actor: None,
            link: Link::new(),
            up: false,
            fresh: true,
        })
    }

    fn hear(self: &Arc<Self>, news: RoomNews) {
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
                ..
            } if !live => {
                let audience = if own_only {
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

    fn doubt(self: &Arc<Self>, room: &RoomId) {
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
            if std::mem::take(&mut edge.fresh) || self.parts.relays.listeners(room) {
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
        metrics::gauge!("fireside_room_answers_owed").set(self.parts.owed.count() as f64);
    }
}

fn audience(room: RoomId, users: Option<[UserId; 2]>) -> Audience {
    users.map_or(Audience::Room(room), |pair| Audience::Users(pair.into()))
}

async fn sweep(directory: Weak<Directory>, every: std::time::Duration) {
    loop {
        tokio::time::sleep(every).await;
        match directory.upgrade() {
            Some(directory) => directory.sweep(),
            None => return,
        }
    }
}
