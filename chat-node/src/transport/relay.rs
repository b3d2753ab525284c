//! One relay per worker thread: it knows which of the thread's sessions hear whom, pushes what
//! rooms publish into their outboxes, and flushes the ones it touched.
//!
//! A room encodes an event once and posts it once per worker that has listeners. Posts from one
//! thread arrive in order. An inbox has no hard bound, because what was acknowledged may not be
//! dropped; instead rooms stop taking sends while [`Relays::congested`], and each room adds at
//! most the batch it has in flight.

mod posts;

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use actix::{Actor, ActorFuture, AsyncContext as _, Context};
use shared::{
    id::{RoomId, UserId},
    protocol::codec::{EncodeError, Encoding, encode_err, encode_ok},
};
use smallvec::SmallVec;

use self::posts::Post;
pub use self::posts::{Audience, CONGESTED_AT, Relays};
use super::{SessionKey, sink::Sink};
use crate::{
    ids::IdMap,
    room::{Reply, ReplyBody},
    worker::step_back,
};

/// Posts handled before dirty sinks are flushed and sockets get their turn.
const TURN: usize = 512;
/// Sinks flushed before others on this thread get their turn. A write costs several microseconds,
/// so a large room's thousand would keep everybody else waiting for as many milliseconds.
const FLUSHES: usize = 64;
/// Audiences up to this size are flushed before larger ones: a quiet room does not queue behind a
/// hot one.
const SMALL: usize = 16;

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
    sinks: IdMap<SessionKey, Rc<Sink>>,
    users: IdMap<UserId, SmallVec<[Rc<Sink>; 1]>>,
    rooms: IdMap<RoomId, Vec<Rc<Sink>>>,
    dirty: Dirty,
}

/// Sinks to be flushed, each in one of the lists.
#[derive(Debug, Default)]
struct Dirty {
    /// Touched by a small audience.
    soon: VecDeque<Rc<Sink>>,
    /// Touched by a large one.
    later: VecDeque<Rc<Sink>>,
}

impl Dirty {
    fn mark(&mut self, sink: &Rc<Sink>, small: bool) {
        if !sink.dirty.replace(true) {
            let list = if small {
                &mut self.soon
            } else {
                &mut self.later
            };
            list.push_back(sink.clone());
        }
    }

    fn next(&mut self) -> Option<Rc<Sink>> {
        let sink = self.soon.pop_front().or_else(|| self.later.pop_front())?;
        sink.dirty.set(false);
        Some(sink)
    }

    fn is_empty(&self) -> bool {
        self.soon.is_empty() && self.later.is_empty()
    }
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
        self.relays.count_user(sink.user(), self.worker, 1);
    }

    /// The session hears these rooms from here on, but those its user went out of since it began
    /// to hold: the list was read before that.
    pub fn subscribe(&self, sink: &Rc<Sink>, rooms: impl IntoIterator<Item = RoomId>) {
        for room in rooms {
            if !sink.left.borrow().contains(&room) {
                self.join(sink, &room);
            }
        }
    }

    /// The session hears nothing any more.
    pub fn remove(&self, sink: &Rc<Sink>) {
        let rooms = sink.rooms.borrow().clone();
        for (room, _) in rooms {
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
        self.relays.count_user(sink.user(), self.worker, -1);
    }

    fn join(&self, sink: &Rc<Sink>, room: &RoomId) {
        if sink.rooms.borrow().iter().any(|(r, _)| r == room) {
            return;
        }
        let book = &mut *self.book.borrow_mut();
        // The key that stands in the book already is shared, not one string per session.
        let room = book
            .rooms
            .get_key_value(room)
            .map_or_else(|| room.clone(), |(r, _)| r.clone());
        self.relays.count_room(&room, self.worker, 1);
        let sinks = book.rooms.entry(room.clone()).or_default();
        sink.rooms.borrow_mut().push((room, sinks.len() as u32));
        sinks.push(sink.clone());
    }

    fn part(&self, sink: &Rc<Sink>, room: &RoomId) {
        let place = {
            let mut rooms = sink.rooms.borrow_mut();
            let at = rooms.iter().position(|(r, _)| r == room);
            at.map(|at| rooms.swap_remove(at).1 as usize)
        };
        let Some(place) = place else {
            if sink.holds() {
                sink.left.borrow_mut().push(room.clone());
            }
            return;
        };
        let book = &mut *self.book.borrow_mut();
        if let Some(sinks) = book.rooms.get_mut(room) {
            sinks.swap_remove(place);
            if let Some(moved) = sinks.get(place) {
                let mut rooms = moved.rooms.borrow_mut();
                if let Some((_, at)) = rooms.iter_mut().find(|(r, _)| r == room) {
                    *at = place as u32;
                }
            }
            if sinks.is_empty() {
                book.rooms.remove(room);
            }
        }
        self.relays.count_room(room, self.worker, -1);
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
                    sink.left.borrow_mut().retain(|left| *left != room);
                    self.join(&sink, &room);
                }
                // The one that was counted when this was posted.
                self.relays.count_room(&room, self.worker, -1);
            }
            Post::Withdraw { user, room } => {
                for sink in self.of_user(&user) {
                    self.part(&sink, &room);
                }
            }
            Post::Passed(to) => {
                let _ = to.send(());
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
            Post::Reply { debt, reply } => {
                let sink = self.book.borrow().sinks.get(&debt.to.session).cloned();
                if let Some(sink) = sink.filter(|sink| sink.line() == debt.to) {
                    sink.settle(&debt);
                    match encode_reply(sink.encoding(), debt.id, &reply) {
                        Ok(Some(bytes)) => sink.push_reply(bytes),
                        Ok(None) => {}
                        Err(error) => tracing::error!(%error, "a reply cannot be encoded"),
                    }
                    self.book.borrow_mut().dirty.mark(&sink, true);
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
        let mut one = |sink: &Rc<Sink>, small| {
            push(sink);
            dirty.mark(sink, small);
        };
        match audience {
            Audience::Room(room) => {
                let Some(sinks) = rooms.get(room) else { return };
                let small = sinks.len() <= SMALL;
                for sink in sinks {
                    one(sink, small);
                }
            }
            Audience::Users(of) => {
                let small = of.len() <= SMALL;
                of.iter()
                    .filter_map(|user| users.get(user))
                    .flatten()
                    .for_each(|sink| one(sink, small));
            }
        }
    }

    /// Handles up to a turn of posts and flushes some of the sinks they touched; answers whether
    /// anything is left to do. The relay's actor calls it whenever there is.
    pub fn turn(&self) -> bool {
        let (posts, more) = self.relays.take(self.worker, TURN);
        for post in posts {
            self.handle(post);
        }
        for _ in 0..FLUSHES {
            let Some(sink) = self.book.borrow_mut().dirty.next() else {
                break;
            };
            sink.flush();
        }
        more || !self.book.borrow().dirty.is_empty()
    }
}

fn encode_reply(
    encoding: Encoding,
    id: Option<u64>,
    reply: &Reply,
) -> Result<Option<bytes::Bytes>, EncodeError> {
    let body = match (reply, id) {
        (Err(error), id) => return encode_err(encoding, id, error).map(Some),
        (Ok(_), None) => return Ok(None),
        (Ok(body), Some(id)) => (body, id),
    };
    let bytes = match body {
        (ReplyBody::Empty(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Appended(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Room(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Members(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Synced(ok), id) => encode_ok(encoding, id, ok),
        (ReplyBody::Read(ok), id) => encode_ok(encoding, id, ok),
    };
    bytes.map(Some)
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
        relay.relays.wake_on_post(relay.worker, cx.waker());
        if relay.turn() {
            // Sockets of this worker get their turn before the next one.
            step_back(cx);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
