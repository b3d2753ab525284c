//! The session actor: a thin shell that moves bytes between the socket and the parts that decide.
//!
//! One future per session ([`Io`]) does everything there is to do, in one order: deadlines that
//! have come, commands that had to wait, the socket's bytes, what waits to be written. It is woken
//! by the socket, by the wheel, by the relay when a sink blocks or breaks, and by control messages;
//! it holds no timer and, while idle, no buffer.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext as _, ActorFuture, AsyncContext as _, Context};
use bytes::BytesMut;
use metrics::counter;
use shared::{
    auth::Claims,
    codes::CloseCode,
    id::Timestamp,
    protocol::event::{Event, Hello},
};

use super::{
    Surroundings, clock::Clock, commands::Asked, directory::Handle, residence::Residence,
    seat::Seat,
};
use crate::{
    transport::{
        framing::{Inbound, Incoming},
        sink::{Flush, Sink},
        wheel,
    },
    upgrade::Upgraded,
    worker::{Worker, step_back},
};

/// How many reads of a full buffer a socket has in one turn.
const READS: usize = 8;

/// A logical session, with the socket it has at the moment, if any. A fresh socket is greeted by a
/// session of its own that has not begun; if it resumes another, that one takes the socket over
/// and this one ends.
pub(super) struct Session {
    pub(super) around: Arc<Surroundings>,
    pub(super) worker: Worker,
    pub(super) sink: Rc<Sink>,
    pub(super) inbound: Inbound,
    pub(super) clock: Clock,
    pub(super) phase: Phase,
    pub(super) claims: Box<Claims>,
    pub(super) seat: Option<Seat>,
    /// Commands that were read and have to wait; while there are any, the socket is not read.
    pub(super) pending: VecDeque<Asked>,
    /// The first of them waits for its next try.
    pub(super) resting: bool,
    /// Requests to others under way.
    pub(super) in_flight: u8,
    pub(super) socket: Socket,
    /// The entry in the directory, once begun.
    pub(super) handle: Option<Arc<Handle>>,
    /// What its being here means to others, once begun.
    pub(super) residence: Option<Residence>,
}

/// How far a session is.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// Waits for a start or a resume.
    #[default]
    Greeting,
    /// Makes its snapshot.
    Starting,
    /// Gives its socket to the session it resumes.
    Handing(Handover),
    /// Runs, with or without a socket.
    Live,
    /// Was given to another node, which has not said yet that it goes on there.
    Departed,
    /// Is over; goes when its socket has gone.
    Ended,
}

/// A resume that waits for the bytes read so far.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) id: Option<u64>,
    pub(super) s: u64,
    pub(super) to: Arc<Handle>,
}

/// What is known of the present socket.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// `inbound` may hold whole messages that were not looked at, because one before had to wait.
    pub(super) unprocessed: bool,
    /// The client has said its close, or has gone.
    pub(super) peer_closed: bool,
    /// After a violation what comes in cannot be understood, only thrown away.
    pub(super) deaf: bool,
}

impl Session {
    /// Greets a socket that was let in. Runs on the worker whose socket it is.
    pub(super) fn greet(around: &Arc<Surroundings>, upgraded: Upgraded) {
        let Some(worker) = Worker::current() else {
            tracing::error!("a socket was let in on a thread that is no worker");
            return;
        };
        let Upgraded {
            stream,
            mut unread,
            permit,
            claims,
            agreed,
            opened,
            ..
        } = upgraded;
        let sink = Sink::new(worker.relay.next_key(), claims.sub.clone(), agreed);
        let settings = &around.settings;
        let mut inbound = Inbound::new(settings.max_frame.as_usize(), agreed.deflate);
        let unprocessed = !unread.is_empty();
        inbound.keep(&mut unread);
        let clock = Clock::greeting(worker.wheel.now(), settings, expires_in(&claims));
        sink.attach(stream, agreed);
        sink.push_ephemeral(Event::Hello(Hello {
            protocol: shared::protocol::VERSION,
            heartbeat_ms: settings.heartbeat.as_millis() as u32,
            max_frame_bytes: settings.max_frame.as_usize() as u32,
            node: around.node.clone(),
        }));
        let session = Self {
            around: around.clone(),
            worker,
            sink,
            inbound,
            clock,
            phase: Phase::Greeting,
            claims: Box::new(claims),
            seat: Some(Seat::new(permit, opened)),
            pending: VecDeque::new(),
            resting: false,
            in_flight: 0,
            socket: Socket {
                unprocessed,
                ..Socket::default()
            },
            handle: None,
            residence: None,
        };
        Actor::start(session);
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>, ctx: &mut Context<Self>) -> Poll<()> {
        self.sink.register(cx.waker());
        if self.sink.goes_on() {
            // To have read is a sign of life, and any other waits in a socket that was not read.
            self.clock.heard(self.worker.wheel.now());
        }
        if self.sink.take_due() {
            self.tick();
        }
        self.work(ctx);
        self.read(cx, ctx);
        if self.sink.overflowed() && !self.sink.closing() {
            self.close(CloseCode::TooSlow, None);
        }
        let owed_enough = self.sink.owes_enough();
        self.write(cx);
        if self.sink.owes_enough() {
            self.sink.hold_back();
        } else if owed_enough {
            // Some of it has gone already: on with what waited for that.
            cx.waker().wake_by_ref();
        }
        if matches!(self.phase, Phase::Handing(_)) {
            self.hand_over(ctx);
        }
        if matches!(self.phase, Phase::Ended) && !self.sink.attached() {
            ctx.stop();
            return Poll::Ready(());
        }
        if let Some(at) = self
            .clock
            .arm(self.worker.wheel.now(), &self.around.settings)
        {
            let due = Rc::downgrade(&self.sink) as Weak<dyn wheel::Due>;
            self.worker.wheel.wake_at(at, due);
        }
        Poll::Pending
    }

    /// Whether the socket's bytes may be looked at now.
    fn reads(&self) -> bool {
        let free = match self.phase {
            Phase::Greeting | Phase::Live => self.pending.is_empty() && !self.sink.owes_enough(),
            // Somebody else's turn; or nothing left to do but hear the client's close.
            Phase::Starting | Phase::Handing(_) | Phase::Departed => false,
            Phase::Ended => true,
        };
        (free || self.sink.closing()) && self.sink.attached() && !self.socket.peer_closed
    }

    /// Reads until the socket has no more, something has to wait, or its turn is over.
    fn read(&mut self, cx: &mut TaskContext<'_>, ctx: &mut Context<Self>) {
        for _ in 0..READS {
            if !self.reads() {
                return;
            }
            let more = Worker::with_scratch(|scratch| {
                self.inbound.unread(scratch);
                if !std::mem::take(&mut self.socket.unprocessed) {
                    match self.sink.poll_read(cx, scratch) {
                        Poll::Ready(Ok(n)) if n > 0 => self.clock.heard(self.worker.wheel.now()),
                        Poll::Ready(_) => {
                            self.socket.peer_closed = true;
                            return false;
                        }
                        Poll::Pending => {
                            self.inbound.keep(scratch);
                            return false;
                        }
                    }
                }
                self.messages(scratch, ctx);
                true
            });
            if !more {
                return;
            }
        }
        // A socket that never runs dry lets the others of its thread have theirs.
        step_back(cx);
    }

    fn messages(&mut self, scratch: &mut BytesMut, ctx: &mut Context<Self>) {
        while !self.socket.deaf && self.reads() {
            match self.inbound.next(scratch) {
                Ok(None) => break,
                Ok(Some(message)) => self.take(message, ctx),
                Err(violation) => {
                    self.socket.deaf = true;
                    self.close_by_rfc(violation.code(), &violation.to_string());
                }
            }
        }
        if self.socket.deaf {
            scratch.clear();
            return;
        }
        self.socket.unprocessed = !scratch.is_empty() && !self.reads();
        self.inbound.keep(scratch);
    }

    fn take(&mut self, message: Incoming, ctx: &mut Context<Self>) {
        if let Incoming::Close(code) = message {
            if !self.sink.closing() {
                self.close_by_rfc(code.unwrap_or(1000), "");
            }
            self.socket.peer_closed = true;
            return;
        }
        if self.sink.closing() {
            return;
        }
        match message {
            Incoming::Text(frame) => self.frame(&frame, true, ctx),
            Incoming::Binary(frame) => self.frame(&frame, false, ctx),
            Incoming::Ping(_) | Incoming::Pong if !self.takes_signal() => {}
            Incoming::Ping(payload) => self.sink.push_pong(&payload),
            Incoming::Pong | Incoming::Close(_) => {}
        }
    }

    /// Writes what waits, and lets go of a socket that is broken or done with.
    fn write(&mut self, cx: &mut TaskContext<'_>) {
        if !self.sink.attached() {
            return;
        }
        let done = match self.sink.poll_flush(cx) {
            Poll::Pending => self.socket.peer_closed && !self.sink.closing(),
            Poll::Ready(Flush::Broken) => true,
            Poll::Ready(_) => self.socket.peer_closed,
        };
        if done {
            self.lose_socket();
        }
    }
}

/// How long the token lasts from now.
pub(super) fn expires_in(claims: &Claims) -> Duration {
    let left = claims.expires_at().as_millis() - Timestamp::now().as_millis();
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Io);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            counter!("fireside_session_panics_total").increment(1);
        }
        self.end();
    }
}

struct Io;

impl ActorFuture<Session> for Io {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        // A fault in handling one client's bytes ends that client's session and nothing else.
        if let Ok(poll) = catch_unwind(AssertUnwindSafe(|| session.poll(cx, ctx))) {
            return poll;
        }
        counter!("fireside_session_panics_total").increment(1);
        tracing::error!(user = %session.claims.sub, "a session panicked and was ended");
        session.close(CloseCode::Internal, None);
        session.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
