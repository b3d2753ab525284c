//! One relay per worker thread: it knows which of the thread's sessions hear whom, pushes what
//! rooms publish into their outboxes, and flushes the ones it touched.
//!
//! A room encodes an event once and posts it once per worker that has listeners. Posts from one
//! thread arrive in order. An inbox has no hard bound, because what was acknowledged may not be
//! dropped; instead rooms stop taking sends while [`Relays::congested`], and each room adds at
//! most the batch it has in flight.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context as TaskContext, Poll},
};

use actix::{Actor, ActorFuture, AsyncContext as _, Context};
use dashmap::DashMap;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use shared::{
    id::{RoomId, UserId},
    protocol::codec::{EncodeError, Encoding, SharedEvent, encode_err, encode_ok},
};
use smallvec::SmallVec;

use super::{SessionKey, outbox::StateKey, sink::Sink};
use crate::{
    overload::{Overload, Source},
    room::{Reply, ReplyBody},
};

/// Posts in one inbox at which rooms stop taking sends.
pub const CONGESTED_AT: usize = 16 * 1024;
/// Posts handled before dirty sinks are flushed and sockets get their turn.
const TURN: usize = 512;

/// Whose sessions on this node hear something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who hears the room.
    Room(RoomId),
    /// Every session of these users.
    Users(SmallVec<[UserId; 2]>),
}

impl Audience {
    /// Every session of one user.
    pub fn user(user: &UserId) -> Self {
        Self::Users(smallvec::smallvec![user.clone()])
    }
}

/// The relays of all workers of a node.
#[derive(Debug, Clone)]
pub struct Relays(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inboxes: Vec<Inbox>,
    /// How many sinks of each worker hear a user or a room, and how many are about to
    /// (an enrolment under way counts one), so that a post goes only where somebody listens.
    users: DashMap<UserId, Counts>,
    rooms: DashMap<RoomId, Counts>,
    overload: Overload,
}

type Counts = SmallVec<[u32; 8]>;

#[derive(Debug, Default)]
struct Inbox {
    posts: Mutex<VecDeque<Post>>,
    len: AtomicUsize,
    waker: AtomicWaker,
}

#[derive(Debug)]
enum Post {
    Publish {
        audience: Audience,
        event: Arc<SharedEvent>,
    },
    Update {
        audience: Audience,
        key: StateKey,
        event: Arc<SharedEvent>,
        except: Option<UserId>,
    },
    Enroll {
        user: UserId,
        room: RoomId,
    },
    Withdraw {
        user: UserId,
        room: RoomId,
    },
    Forget {
        room: RoomId,
    },
    Reply {
        to: SessionKey,
        id: Option<u64>,
        reply: Reply,
    },
}

impl Relays {
    /// Relays for `workers` threads; each of them starts its own with [`Relay::start`].
    pub fn new(workers: usize, overload: Overload) -> Self {
        Self(Arc::new(Shared {
            inboxes: std::iter::repeat_with(Inbox::default)
                .take(workers)
                .collect(),
            users: DashMap::new(),
            rooms: DashMap::new(),
            overload,
        }))
    }

    /// Adds an event to the replayable stream of everybody in `audience`.
    pub fn publish(&self, audience: &Audience, event: &Arc<SharedEvent>) {
        self.to_listeners(audience, |audience| Post::Publish {
            audience,
            event: event.clone(),
        });
    }

    /// Tells everybody in `audience` but `except` the newest state of `key`.
    pub fn update(
        &self,
        audience: &Audience,
        key: &StateKey,
        event: &Arc<SharedEvent>,
        except: Option<&UserId>,
    ) {
        self.to_listeners(audience, |audience| Post::Update {
            audience,
            key: key.clone(),
            event: event.clone(),
            except: except.cloned(),
        });
    }

    /// The user's sessions on this node hear the room from here on.
    pub fn enroll(&self, user: &UserId, room: &RoomId) {
        let Some(at) = self.0.users.get(user).map(|counts| workers(&counts)) else {
            return;
        };
        for worker in at {
            // Counted now, not when handled: a publish that follows at once must find it.
            self.0.count(&self.0.rooms, room, worker, 1);
            self.post(
                worker,
                Post::Enroll {
                    user: user.clone(),
                    room: room.clone(),
                },
            );
        }
    }

    /// The user's sessions on this node hear the room no longer.
    pub fn withdraw(&self, user: &UserId, room: &RoomId) {
        let Some(at) = self.0.users.get(user).map(|counts| workers(&counts)) else {
            return;
        };
        for worker in at {
            self.post(
                worker,
                Post::Withdraw {
                    user: user.clone(),
                    room: room.clone(),
                },
            );
        }
    }

    /// Nobody on this node hears the room any more.
    pub fn forget(&self, room: &RoomId) {
        let Some(at) = self.0.rooms.get(room).map(|counts| workers(&counts)) else {
            return;
        };
        for worker in at {
            self.post(worker, Post::Forget { room: room.clone() });
        }
    }

    /// Answers a command of a session, after whatever was published to it before.
    pub fn reply(&self, to: SessionKey, id: Option<u64>, reply: Reply) {
        if id.is_some() || reply.is_err() {
            self.post(to.worker(), Post::Reply { to, id, reply });
        }
    }

    /// Whether the user has a session on this node.
    pub fn is_online(&self, user: &UserId) -> bool {
        self.0.users.contains_key(user)
    }

    /// Whether some session on this node hears the room.
    pub fn listeners(&self, room: &RoomId) -> bool {
        self.0.rooms.contains_key(room)
    }

    /// Whether some worker is so far behind that rooms should take nothing more in.
    pub fn congested(&self) -> bool {
        self.0
            .inboxes
            .iter()
            .any(|inbox| inbox.len.load(Relaxed) >= CONGESTED_AT)
    }

    fn to_listeners(&self, audience: &Audience, post: impl Fn(Audience) -> Post) {
        let at: SmallVec<[usize; 8]> = match audience {
            Audience::Room(room) => match self.0.rooms.get(room) {
                Some(counts) => workers(&counts),
                None => return,
            },
            Audience::Users(users) => {
                let mut at = SmallVec::new();
                for user in users {
                    if let Some(counts) = self.0.users.get(user) {
                        at.extend(workers(&counts));
                    }
                }
                at.sort_unstable();
                at.dedup();
                at
            }
        };
        for worker in at {
            self.post(worker, post(audience.clone()));
        }
    }

    fn post(&self, worker: usize, post: Post) {
        let Some(inbox) = self.0.inboxes.get(worker) else {
            return;
        };
        let len = {
            let mut posts = inbox.posts.lock();
            posts.push_back(post);
            posts.len()
        };
        inbox.len.store(len, Relaxed);
        if len == 1 {
            inbox.waker.wake();
        }
        if len.is_multiple_of(256) {
            self.0.overload.report(Source::Relay, len, CONGESTED_AT);
        }
    }
}

impl Shared {
    fn count<K: Clone + Eq + std::hash::Hash>(
        &self,
        map: &DashMap<K, Counts>,
        key: &K,
        worker: usize,
        change: i32,
    ) {
        let all = self.inboxes.len();
        if change > 0 {
            let mut counts = map
                .entry(key.clone())
                .or_insert_with(|| SmallVec::from_elem(0, all));
            counts[worker] = counts[worker].saturating_add_signed(change);
        } else if let Some(mut counts) = map.get_mut(key) {
            counts[worker] = counts[worker].saturating_add_signed(change);
            let empty = counts.iter().all(|n| *n == 0);
            drop(counts);
            if empty {
                map.remove_if(key, |_, counts| counts.iter().all(|n| *n == 0));
            }
        }
    }
}

fn workers(counts: &Counts) -> SmallVec<[usize; 8]> {
    counts
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(worker, _)| worker)
        .collect()
}

/// The sessions of one worker thread and what they hear. Sessions of that thread call it
/// directly; everybody else posts through [`Relays`].
#[derive(Debug, Clone)]
pub struct Relay {
    relays: Relays,
    worker: usize,
    book: Rc<RefCell<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    sinks: HashMap<SessionKey, Rc<Sink>>,
    users: HashMap<UserId, SmallVec<[Rc<Sink>; 1]>>,
    rooms: HashMap<RoomId, Vec<Rc<Sink>>>,
    dirty: Vec<Rc<Sink>>,
}

impl Relay {
    /// Starts the relay of this thread, the `worker`th of its node.
    pub fn start(relays: Relays, worker: usize) -> Self {
        let relay = Self {
            relays,
            worker,
            book: Rc::default(),
        };
        RelayActor {
            relay: relay.clone(),
        }
        .start();
        relay
    }

    /// The relays of all workers.
    pub fn relays(&self) -> &Relays {
        &self.relays
    }

    /// A key for a new session of this thread.
    pub fn next_key(&self) -> SessionKey {
        let mut book = self.book.borrow_mut();
        book.next += 1;
        SessionKey::new(self.worker as u16, book.next)
    }

    /// The session hears everything for its user from here on, and enrolments reach it.
    pub fn register(&self, sink: &Rc<Sink>) {
        let book = &mut *self.book.borrow_mut();
        book.sinks.insert(sink.key(), sink.clone());
        book.users
            .entry(sink.user().clone())
            .or_default()
            .push(sink.clone());
        let shared = &self.relays.0;
        shared.count(&shared.users, sink.user(), self.worker, 1);
    }

    /// The session hears these rooms from here on.
    pub fn subscribe(&self, sink: &Rc<Sink>, rooms: impl IntoIterator<Item = RoomId>) {
        for room in rooms {
            self.join(sink, &room);
        }
    }

    /// The session hears nothing any more.
    pub fn remove(&self, sink: &Rc<Sink>) {
        let rooms: Vec<RoomId> = sink.rooms.borrow().clone();
        for room in rooms {
            self.part(sink, &room);
        }
        let book = &mut *self.book.borrow_mut();
        if book.sinks.remove(&sink.key()).is_none() {
            return;
        }
        if let Some(sinks) = book.users.get_mut(sink.user()) {
            sinks.retain(|s| !Rc::ptr_eq(s, sink));
            if sinks.is_empty() {
                book.users.remove(sink.user());
            }
        }
        let shared = &self.relays.0;
        shared.count(&shared.users, sink.user(), self.worker, -1);
    }

    fn join(&self, sink: &Rc<Sink>, room: &RoomId) {
        if sink.rooms.borrow().contains(room) {
            return;
        }
        let book = &mut *self.book.borrow_mut();
        // The key that stands in the book already is shared, not one string per session.
        let room = book
            .rooms
            .get_key_value(room)
            .map_or_else(|| room.clone(), |(r, _)| r.clone());
        sink.rooms.borrow_mut().push(room.clone());
        let shared = &self.relays.0;
        shared.count(&shared.rooms, &room, self.worker, 1);
        book.rooms.entry(room).or_default().push(sink.clone());
    }

    fn part(&self, sink: &Rc<Sink>, room: &RoomId) {
        let known = {
            let mut rooms = sink.rooms.borrow_mut();
            let at = rooms.iter().position(|r| r == room);
            at.map(|at| rooms.swap_remove(at)).is_some()
        };
        if !known {
            return;
        }
        let book = &mut *self.book.borrow_mut();
        if let Some(sinks) = book.rooms.get_mut(room) {
            if let Some(at) = sinks.iter().position(|s| Rc::ptr_eq(s, sink)) {
                sinks.swap_remove(at);
            }
            if sinks.is_empty() {
                book.rooms.remove(room);
            }
        }
        let shared = &self.relays.0;
        shared.count(&shared.rooms, room, self.worker, -1);
    }

    fn handle(&self, post: Post) {
        match post {
            Post::Publish { audience, event } => {
                self.each(&audience, |sink| sink.push_event(&event));
            }
            Post::Update {
                audience,
                key,
                event,
                except,
            } => self.each(&audience, |sink| {
                if except.as_ref() != Some(sink.user()) {
                    sink.put_state(key.clone(), event.clone());
                }
            }),
            Post::Enroll { user, room } => {
                for sink in self.of_user(&user) {
                    self.join(&sink, &room);
                }
                // The one that was counted when this was posted.
                let shared = &self.relays.0;
                shared.count(&shared.rooms, &room, self.worker, -1);
            }
            Post::Withdraw { user, room } => {
                for sink in self.of_user(&user) {
                    self.part(&sink, &room);
                }
            }
            Post::Forget { room } => {
                let sinks = self
                    .book
                    .borrow()
                    .rooms
                    .get(&room)
                    .cloned()
                    .unwrap_or_default();
                for sink in sinks {
                    self.part(&sink, &room);
                }
            }
            Post::Reply { to, id, reply } => {
                let sink = self.book.borrow().sinks.get(&to).cloned();
                if let Some(sink) = sink {
                    match encode_reply(sink.encoding(), id, &reply) {
                        Ok(bytes) => sink.push_reply(bytes),
                        Err(error) => tracing::error!(%error, "a reply cannot be encoded"),
                    }
                    mark(&mut self.book.borrow_mut().dirty, &sink);
                }
            }
        }
    }

    fn of_user(&self, user: &UserId) -> SmallVec<[Rc<Sink>; 1]> {
        self.book
            .borrow()
            .users
            .get(user)
            .cloned()
            .unwrap_or_default()
    }

    fn each(&self, audience: &Audience, mut push: impl FnMut(&Rc<Sink>)) {
        let Book {
            users,
            rooms,
            dirty,
            ..
        } = &mut *self.book.borrow_mut();
        let mut one = |sink: &Rc<Sink>| {
            push(sink);
            mark(dirty, sink);
        };
        match audience {
            Audience::Room(room) => rooms.get(room).into_iter().flatten().for_each(&mut one),
            Audience::Users(of) => {
                of.iter()
                    .filter_map(|user| users.get(user))
                    .flatten()
                    .for_each(&mut one);
            }
        }
    }

    /// Handles up to a turn of posts; answers whether more wait.
    fn turn(&self) -> bool {
        let inbox = &self.relays.0.inboxes[self.worker];
        let (posts, left) = {
            let mut waiting = inbox.posts.lock();
            let taken = waiting.len().min(TURN);
            let posts: Vec<Post> = waiting.drain(..taken).collect();
            if waiting.is_empty() && waiting.capacity() > TURN {
                *waiting = VecDeque::new();
            }
            (posts, waiting.len())
        };
        inbox.len.store(left, Relaxed);
        if posts.len() == TURN || left == 0 {
            self.relays
                .0
                .overload
                .report(Source::Relay, left, CONGESTED_AT);
        }
        for post in posts {
            self.handle(post);
        }
        let dirty = std::mem::take(&mut self.book.borrow_mut().dirty);
        for sink in &dirty {
            sink.dirty.set(false);
            sink.flush();
        }
        left > 0
    }
}

fn mark(dirty: &mut Vec<Rc<Sink>>, sink: &Rc<Sink>) {
    if !sink.dirty.replace(true) {
        dirty.push(sink.clone());
    }
}

fn encode_reply(
    encoding: Encoding,
    id: Option<u64>,
    reply: &Reply,
) -> Result<bytes::Bytes, EncodeError> {
    let body = match (reply, id) {
        (Err(error), id) => return encode_err(encoding, id, error),
        (Ok(_), None) => return Ok(bytes::Bytes::new()),
        (Ok(body), Some(id)) => (body, id),
    };
    match body {
        (ReplyBody::Empty(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Appended(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Room(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Members(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Synced(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Read(ok), id) => encode_ok(encoding, id, ok),
    }
}

/// The actor that empties this worker's inbox.
struct RelayActor {
    relay: Relay,
}

impl Actor for RelayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Drain);
    }
}

struct Drain;

impl ActorFuture<RelayActor> for Drain {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut RelayActor,
        _: &mut Context<RelayActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let relay = &actor.relay;
        relay.relays.0.inboxes[relay.worker]
            .waker
            .register(cx.waker());
        if relay.turn() {
            // Sockets of this worker get their turn before the next one.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
