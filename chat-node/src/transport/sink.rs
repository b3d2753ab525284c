//! The outbound side of one session: its place in the stream, its ring, its outbox and, while one
//! is attached, its socket.
//!
//! A sink lives on one worker thread, shared by the session's actor (which reads the socket and
//! answers) and the relay of that worker (which pushes what rooms publish). Both push into the
//! one outbox, so replies and events keep their order.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::{
        codec::{Encoding, SharedEvent},
        event::{Bye, Event},
    },
};
use tokio::net::TcpStream;

use super::{
    Agreed, Line, SessionKey,
    debt::{Answers, Debt},
    outbox::{Full, Outbox, Slices, StateKey},
    ring::{Lost, Ring},
    wheel::Due,
};

/// The most events kept while a session starts; more than that and the start fails.
const MAX_HELD: usize = 4096;

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Nothing waits.
    Done,
    /// The socket takes no more now; the session's actor waits until it does.
    Blocked,
    /// The socket is gone.
    Broken,
}

/// The outbound side of one session.
#[derive(Debug)]
pub struct Sink {
    key: SessionKey,
    user: UserId,
    stream: RefCell<Stream>,
    socket: RefCell<Option<TcpStream>>,
    /// How many sockets were attached so far.
    sockets: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    /// In the relay's list of sinks to flush.
    pub(super) dirty: Cell<bool>,
    /// Rooms the relay pushes from, and the sink's place among those who hear each: to leave a room
    /// of a hundred thousand takes no search. The relay's own book.
    pub(super) rooms: RefCell<Vec<(RoomId, u32)>>,
    /// Rooms the user went out of while the session starts: its list of rooms may be older.
    pub(super) left: RefCell<Vec<RoomId>>,
    /// Answers to this socket that others have in the making.
    owed: Cell<Answers>,
    /// The session waits until less is owed.
    held_back: Cell<bool>,
    /// The socket took something since it was last asked.
    moved: Cell<bool>,
    blocked: Cell<bool>,
    broken: Cell<bool>,
    overflowed: Cell<bool>,
    closing: Cell<bool>,
    due: Cell<bool>,
}

#[derive(Debug)]
struct Stream {
    ring: Ring,
    outbox: Outbox,
    held: Option<Vec<Arc<SharedEvent>>>,
}

impl Sink {
    /// A sink without a socket.
    pub fn new(key: SessionKey, user: UserId, agreed: impl Into<Agreed>) -> Rc<Self> {
        Rc::new(Self {
            key,
            user,
            stream: RefCell::new(Stream {
                ring: Ring::default(),
                outbox: Outbox::new(agreed),
                held: None,
            }),
            socket: RefCell::new(None),
            sockets: Cell::new(0),
            waker: RefCell::new(None),
            dirty: Cell::new(false),
            rooms: RefCell::new(Vec::new()),
            left: RefCell::new(Vec::new()),
            owed: Cell::default(),
            held_back: Cell::new(false),
            moved: Cell::new(false),
            blocked: Cell::new(false),
            broken: Cell::new(false),
            overflowed: Cell::new(false),
            closing: Cell::new(false),
            due: Cell::new(false),
        })
    }

    /// The session.
    pub fn key(&self) -> SessionKey {
        self.key
    }

    /// Where answers to commands of the present socket go.
    pub fn line(&self) -> Line {
        Line {
            session: self.key,
            socket: self.sockets.get(),
        }
    }

    /// Whose session it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The encoding of the socket, or of the last one.
    pub fn encoding(&self) -> Encoding {
        self.stream.borrow().outbox.encoding()
    }

    /// What was agreed on for the socket, or for the last one.
    pub fn agreed(&self) -> Agreed {
        self.stream.borrow().outbox.agreed()
    }

    /// Takes a socket: from here on pushes go out on it. Whatever waited for an older socket is
    /// dropped; the ring has what is to be replayed.
    pub fn attach(&self, socket: TcpStream, agreed: impl Into<Agreed>) {
        self.stream.borrow_mut().outbox = Outbox::new(agreed);
        *self.socket.borrow_mut() = Some(socket);
        self.sockets.set(self.sockets.get().wrapping_add(1));
        self.owed.take();
        self.held_back.set(false);
        self.blocked.set(false);
        self.broken.set(false);
        self.overflowed.set(false);
        self.closing.set(false);
        self.wake();
    }

    /// Gives the socket up, and whatever still waited for it.
    pub fn detach(&self) -> Option<(TcpStream, Outbox)> {
        let fresh = Outbox::new(self.agreed());
        let waited = std::mem::replace(&mut self.stream.borrow_mut().outbox, fresh);
        self.closing.set(false);
        self.blocked.set(false);
        let socket = self.socket.borrow_mut().take()?;
        Some((socket, waited))
    }

    /// Whether a socket is attached.
    pub fn attached(&self) -> bool {
        self.socket.borrow().is_some()
    }

    /// From here on events are kept, without a position, until [`Sink::release`].
    pub fn hold(&self) {
        self.stream.borrow_mut().held.get_or_insert_default();
    }

    /// Whether events are held: the session starts.
    pub(super) fn holds(&self) -> bool {
        self.stream.borrow().held.is_some()
    }

    /// Lets go what was held, except entries the snapshot already contains (`heads`).
    pub fn release(&self, heads: &HashMap<RoomId, Seq>) {
        let held = self.stream.borrow_mut().held.take().unwrap_or_default();
        self.left.take();
        // A room somebody came into meanwhile may be shown older than the snapshot has it: from
        // there on it goes by what was shown last.
        let mut shown: HashMap<&RoomId, Seq> = HashMap::new();
        for event in &held {
            if let Event::RoomAdded { room } | Event::RoomReset { room } = event.event() {
                shown.insert(&room.id, room.head);
            }
            let known = event.event().entry().is_some_and(|e| {
                let head = shown.get(&e.room).or_else(|| heads.get(&e.room));
                head.is_some_and(|head| e.entry.seq <= *head)
            });
            if !known {
                self.push_event(event);
            }
        }
    }

    /// What was held, to be put into [`Sink::go_on`]: nothing is held from here on.
    pub fn take_held(&self) -> Vec<Arc<SharedEvent>> {
        self.left.take();
        self.stream.borrow_mut().held.take().unwrap_or_default()
    }

    /// The stream of another sink goes on here, whose client has everything up to `s`: these follow it,
    /// and are queued. Answers how many there were.
    ///
    /// # Errors
    /// [`Lost`] when they are more than a ring holds.
    pub fn go_on(&self, s: u64, events: Vec<Arc<SharedEvent>>) -> Result<u64, Lost> {
        {
            let stream = &mut *self.stream.borrow_mut();
            let encoding = stream.outbox.encoding();
            stream.ring = Ring::after_position(s);
            for event in events {
                let bytes = event.tail(encoding).len();
                stream.ring.push(event, bytes);
            }
        }
        let count = self.events_after(s)?.len() as u64;
        if self.attached() {
            self.replay_after(s)?;
        }
        Ok(count)
    }

    /// The rooms it hears, direct-message rooms apart.
    pub fn rooms(&self) -> Vec<RoomId> {
        let rooms = self.rooms.borrow();
        rooms.iter().map(|(room, _)| room.clone()).collect()
    }

    /// Drops what was held: the session did not start.
    pub fn discard(&self) {
        self.stream.borrow_mut().held = None;
        self.left.take();
    }

    /// Adds an event to the replayable stream.
    pub fn push_event(&self, event: &Arc<SharedEvent>) {
        let s = {
            let stream = &mut *self.stream.borrow_mut();
            if let Some(held) = &mut stream.held {
                if held.len() < MAX_HELD {
                    held.push(event.clone());
                } else {
                    self.overflow();
                }
                return;
            }
            let bytes = event.encoded(stream.outbox.encoding()).len();
            let s = stream.ring.push(event.clone(), bytes);
            if !self.takes() || stream.outbox.push_event(s, event).is_ok() {
                return;
            }
            s
        };
        self.push(|outbox| outbox.push_event(s, event));
    }

    /// Puts the newest state of `key`; a detached session has no use for it.
    pub fn put_state(&self, key: StateKey, event: Arc<SharedEvent>) {
        let mut stream = self.stream.borrow_mut();
        if self.takes() && stream.held.is_none() {
            stream.outbox.put_state(key, event);
        }
    }

    /// Queues an encoded reply.
    pub fn push_reply(&self, reply: Bytes) {
        if self.takes() {
            self.stream.borrow_mut().outbox.push_reply(reply);
        }
    }

    /// A command of the present socket is in others' hands.
    pub fn owe(&self, debt: &Debt) {
        let mut owed = self.owed.get();
        owed.add(debt.bytes as usize);
        self.owed.set(owed);
    }

    /// Its answer is here.
    pub(super) fn settle(&self, debt: &Debt) {
        let mut owed = self.owed.get();
        owed.remove(debt.bytes as usize);
        self.owed.set(owed);
    }

    /// Whether the client has to read before more is done for it.
    pub fn owes_enough(&self) -> bool {
        let waiting = self.stream.borrow().outbox.answers();
        waiting.enough_with(self.owed.get()) && self.takes()
    }

    /// The session does nothing more for its client and wants to be woken when less is owed.
    pub fn hold_back(&self) {
        self.held_back.set(true);
    }

    /// Whether the session is held back.
    pub fn held_back(&self) -> bool {
        self.held_back.get()
    }

    /// Whether it was, and need not be any more.
    pub fn goes_on(&self) -> bool {
        let paid = self.held_back.get() && !self.owes_enough();
        self.held_back.set(self.held_back.get() && !paid);
        paid
    }

    /// Queues `hello`, `bye` and their like: outside the stream, but not replaceable.
    pub fn push_ephemeral(&self, event: Event) {
        let event = SharedEvent::new(event);
        self.push(|outbox| outbox.push_ephemeral(&event));
    }

    /// Queues a ping.
    pub fn push_ping(&self) {
        self.push(|outbox| outbox.push_control(0x9, b""));
    }

    /// Queues a pong with a ping's payload.
    pub fn push_pong(&self, payload: &[u8]) {
        self.push(|outbox| outbox.push_control(0xa, payload));
    }

    /// The last things this socket gets: what waited (unless it overflowed: a reader that far
    /// behind will have it replayed), a `bye`, a close frame. Later pushes only reach the ring.
    pub fn close(&self, code: u16, reason: &str, bye: Option<Bye>) {
        if !self.takes() && !self.overflowed.get() {
            return;
        }
        if self.overflowed.get() {
            self.abandon();
        }
        self.closing.set(true);
        let outbox = &mut self.stream.borrow_mut().outbox;
        outbox.push_close(code, reason, bye);
    }

    /// Drops what waits for a socket that does not take it.
    pub fn abandon(&self) {
        self.stream.borrow_mut().outbox.abandon();
    }

    /// Whether [`Sink::close`] was called on this socket.
    pub fn closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether the reliable lane ran over: the session closes the socket with 4008.
    pub fn overflowed(&self) -> bool {
        self.overflowed.get()
    }

    /// Trims the ring: the client has everything up to `s`.
    pub fn ack(&self, s: u64) {
        self.stream.borrow_mut().ring.ack(s);
    }

    /// Position of the newest event of the stream.
    pub fn last(&self) -> u64 {
        self.stream.borrow().ring.last()
    }

    /// Queues every event after `s` again, whole or not at all; answers how many.
    pub fn replay_after(&self, s: u64) -> Result<u64, Lost> {
        let Stream { ring, outbox, .. } = &mut *self.stream.borrow_mut();
        let events = ring.after(s)?;
        let count = events.len() as u64;
        for (s, event) in events {
            outbox.push_replayed(s, event);
        }
        Ok(count)
    }

    /// Every event after `s` with its position, as a replay would have it.
    ///
    /// # Errors
    /// [`Lost`] when the ring does not hold all of them any more.
    pub fn events_after(&self, s: u64) -> Result<Vec<(u64, Arc<SharedEvent>)>, Lost> {
        let stream = self.stream.borrow();
        let events = stream.ring.after(s)?;
        Ok(events.map(|(s, event)| (s, event.clone())).collect())
    }

    /// Whether everything after `s` could be replayed.
    pub fn replayable(&self, s: u64) -> bool {
        self.stream.borrow().ring.after(s).is_ok()
    }

    /// Writes what waits, one vectored write at a time, until nothing does or the socket blocks.
    pub fn flush(&self) -> Flush {
        let flush = self.write();
        if self.held_back.get() && !self.owes_enough() {
            self.wake();
        }
        flush
    }

    fn write(&self) -> Flush {
        let socket = self.socket.borrow();
        let Some(socket) = socket.as_ref() else {
            return Flush::Done;
        };
        if self.broken.get() {
            return Flush::Broken;
        }
        let outbox = &mut self.stream.borrow_mut().outbox;
        while !outbox.is_empty() {
            let mut slices = Slices::new();
            outbox.fill(&mut slices);
            let written = socket.try_write_vectored(&slices);
            drop(slices);
            match written {
                Ok(n) => {
                    self.moved.set(true);
                    outbox.consume(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.blocked.replace(true) {
                        self.wake();
                    }
                    return Flush::Blocked;
                }
                Err(_) => {
                    self.broken.set(true);
                    self.wake();
                    return Flush::Broken;
                }
            }
        }
        self.blocked.set(false);
        Flush::Done
    }

    /// Flushes as the session's actor does: waiting for the socket when it is blocked.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Flush> {
        loop {
            let flush = self.flush();
            if flush != Flush::Blocked {
                return Poll::Ready(flush);
            }
            let socket = self.socket.borrow();
            let Some(socket) = socket.as_ref() else {
                return Poll::Ready(Flush::Done);
            };
            if ready!(socket.poll_write_ready(cx)).is_err() {
                self.broken.set(true);
            }
        }
    }

    /// Appends what the socket has to `scratch`; `Ready(Ok(0))` is its end. Without a socket
    /// there is nothing to wait for: `Pending`, until [`Sink::attach`] wakes the session.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        scratch: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket.borrow();
        let Some(socket) = socket.as_ref() else {
            return Poll::Pending;
        };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_read_buf(scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Whom to wake when there is something for the session's actor to do.
    pub fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Wakes the session's actor.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether the socket took something since the last call.
    pub fn take_moved(&self) -> bool {
        self.moved.replace(false)
    }

    /// Whether the wheel woke the session since the last call.
    pub fn take_due(&self) -> bool {
        self.due.replace(false)
    }

    /// Bytes that wait for the socket.
    pub fn waiting(&self) -> usize {
        self.stream.borrow().outbox.bytes()
    }

    /// Whether pushes go to a socket.
    fn takes(&self) -> bool {
        !self.closing.get() && !self.overflowed.get() && self.attached()
    }

    fn push(&self, push: impl Fn(&mut Outbox) -> Result<(), Full>) {
        let fits = || push(&mut self.stream.borrow_mut().outbox).is_ok();
        if !self.takes() || fits() {
            return;
        }
        // More may have come in one turn than an outbox holds. That is no fault of the reader's,
        // unless the socket takes nothing either.
        self.flush();
        if !fits() {
            self.overflow();
        }
    }

    fn overflow(&self) {
        if !self.overflowed.replace(true) {
            metrics::counter!("fireside_outbox_overflows_total").increment(1);
            self.wake();
        }
    }
}

impl Due for Sink {
    fn due(&self) {
        self.due.set(true);
        self.wake();
    }
}
