//! Stands between a client's socket and the HTTP/1.1 stack, and lets through only heads that can be
//! read in one way.
//!
//! It hands on one head at a time, then just as many bytes as that head's body has, so the stack never
//! sees a byte that was not judged. What is refused is not handed on at all: the stack is given a head
//! of ours in its place, and whoever answers requests finds the [`Flaw`] in [`Doorstep`], answers that,
//! and closes. So a refusal comes in its turn, as problem JSON, also behind other requests on the
//! connection.
//!
//! It keeps the time, too: for a head that has begun, between two, and for a client that takes nothing of its answer.

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use hyper::{Method, Request, header::UPGRADE};
use parking_lot::Mutex;
use shared::listener::Permit;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{
    Stream,
    head::{self, Flaw, Follows, Head},
};

/// What stands in for a head that is refused.
const IN_ITS_PLACE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// What is upgraded.
const SOCKET: &str = "/v1/ws";
/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// How much is read at once while a head is read.
const PIECE: usize = 2 << 10;
/// Where it is read to, which nobody has to clear before.
const NOTHING: [MaybeUninit<u8>; PIECE] = [const { MaybeUninit::uninit() }; PIECE];
/// From so much on, what a client says before its upgrade is answered is left where it is.
const EARLY: usize = 4 << 10;

/// What the sentry and whoever answers requests on the connection know of each other.
#[derive(Debug, Default)]
pub struct Doorstep {
    flaw: Mutex<Option<Flaw>>,
    under_way: AtomicUsize,
    served: AtomicUsize,
}

/// A request that is being answered; while there is one, the connection is not idle.
#[derive(Debug)]
pub struct UnderWay(Arc<Doorstep>);

impl Doorstep {
    /// What is wrong with the request that has just come, if it is none.
    pub fn flaw(&self) -> Option<Flaw> {
        self.flaw.lock().take()
    }

    /// A request is being answered from now on.
    pub fn answering(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Relaxed);
        self.served.fetch_add(1, Relaxed);
        UnderWay(self.clone())
    }

    /// Whether no request is being answered, and how many were.
    pub fn idle(&self) -> (bool, usize) {
        (self.under_way.load(Relaxed) == 0, self.served.load(Relaxed))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// The bounds of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Its length.
    pub length: usize,
    /// The time it may take to arrive.
    pub time: Duration,
    /// The time between two requests; also for how long a client may take nothing of an answer.
    pub between: Duration,
}

/// A client's socket as the HTTP stack sees it.
#[derive(Debug)]
pub struct Sentry {
    stream: Stream,
    permit: Permit,
    doorstep: Arc<Doorstep>,
    limits: HeadLimits,
    buffer: BytesMut,
    /// How much of the buffer was judged and may be handed on.
    judged: usize,
    state: State,
    /// No head was read yet.
    fresh: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing of what it is told.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A head is wanted.
    Head,
    /// A body of which this much is still to come.
    Body(u64),
    /// Nothing more is judged.
    Raw,
    /// A head was refused, and nothing comes after it.
    Refused,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, or something that will be refused as such.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Sentry {
    /// Nothing was read of the socket yet.
    pub fn new(stream: Stream, permit: Permit, limits: HeadLimits) -> Self {
        Self {
            stream,
            permit,
            doorstep: Arc::default(),
            limits,
            buffer: BytesMut::new(),
            judged: 0,
            state: State::Head,
            fresh: true,
            timer: None,
            stalled: None,
        }
    }

    /// What it shares with whoever answers.
    pub fn doorstep(&self) -> &Arc<Doorstep> {
        &self.doorstep
    }

    /// Reads until the first head is whole, or known to be none. An error or an end in between says that
    /// there is nobody to answer.
    pub async fn first_head(&mut self) -> io::Result<Speaks> {
        std::future::poll_fn(|cx| {
            loop {
                let known = self.buffer.len().min(PREFACE.len());
                if known > 0 && self.buffer[..known] == PREFACE[..known] {
                    if known == PREFACE.len() {
                        self.state = State::Raw;
                        self.judged = self.buffer.len();
                        self.timer = None;
                        return Poll::Ready(Ok(Speaks::Http2));
                    }
                } else if known > 0 && self.judge() {
                    return Poll::Ready(Ok(Speaks::Http1));
                }
                if ready!(self.poll_more(cx))? == 0 {
                    if self.state == State::Refused {
                        return Poll::Ready(Ok(Speaks::Http1));
                    }
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await
    }

    /// The first head, if it asks to upgrade this connection: from then on the HTTP stack has nothing to do with it, and
    /// what came behind the head is the rest.
    pub fn upgrade(&mut self) -> Option<Request<()>> {
        if self.state != State::Raw {
            return None;
        }
        let read = std::mem::take(&mut self.buffer).freeze();
        let asked = head::request(&read).filter(|(_, request)| asks_for_a_socket(request));
        let Some((length, request)) = asked else {
            // It goes to the stack as it came.
            self.buffer = BytesMut::from(read);
            return None;
        };
        self.buffer.extend_from_slice(&read[length..]);
        self.judged = 0;
        Some(request)
    }

    /// Ready when a client has left who waits for the answer to an upgrade. What it says before that is kept, some of it.
    pub async fn left(&mut self) {
        std::future::poll_fn(|cx| {
            while self.buffer.len() < EARLY {
                let mut piece = NOTHING;
                let mut read = ReadBuf::uninit(&mut piece);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                    Ok(()) if !read.filled().is_empty() => {
                        self.buffer.extend_from_slice(read.filled());
                    }
                    Ok(()) | Err(_) => return Poll::Ready(()),
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// The bare socket, its place, and what was read of it and not handed on.
    pub fn into_parts(self) -> (Stream, Permit, BytesMut) {
        (self.stream, self.permit, self.buffer)
    }

    /// Judges what stands in the buffer. Whether there is something to hand on now.
    fn judge(&mut self) -> bool {
        match head::read(&self.buffer, self.limits.length) {
            Ok(Head::Partial) => false,
            Ok(Head::Whole(length, follows)) => {
                self.judged = length;
                self.fresh = false;
                self.timer = None;
                self.state = match follows {
                    Follows::Length(0) => State::Head,
                    Follows::Length(length) => State::Body(length),
                    Follows::Chunks | Follows::Upgrade => State::Raw,
                };
                if self.state == State::Raw {
                    self.judged = self.buffer.len();
                }
                true
            }
            Err(flaw) => {
                self.refuse(flaw);
                true
            }
        }
    }

    fn refuse(&mut self, flaw: Flaw) {
        *self.doorstep.flaw.lock() = Some(flaw);
        self.buffer = BytesMut::from(IN_ITS_PLACE);
        self.judged = self.buffer.len();
        self.state = State::Refused;
        self.timer = None;
    }

    fn arm(&mut self, time: Duration) {
        self.timer = Some(Box::pin(sleep(time)));
    }

    /// Reads more of a head. 0: there is no more, or no more time; in that case the state says whether
    /// something is to be answered.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let began = !self.buffer.is_empty();
        let mut piece = NOTHING;
        let mut read = ReadBuf::uninit(&mut piece);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => {
                let filled = read.filled();
                if !began && !filled.is_empty() {
                    // What came in the first piece may be the whole; if not, the time runs from then on.
                    self.timer = None;
                }
                self.buffer.extend_from_slice(filled);
                return Poll::Ready(Ok(filled.len()));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
        if self.timer.is_none() {
            self.arm(if began || self.fresh {
                self.limits.time
            } else {
                self.limits.between
            });
        }
        while let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
            if self.doorstep.idle().0 {
                break;
            }
            // The stack looks for the end of the connection while a request is answered.
            timer.as_mut().reset(Instant::now() + self.limits.between);
        }
        if began {
            self.refuse(Flaw::Slow);
        }
        Poll::Ready(Ok(0))
    }

    /// What became of something told to the client: an error when that waits for too long.
    fn poll_told<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let time = self.limits.between;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(time)));
        let over = timer.as_mut().poll(cx);
        over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn hand_on(&mut self, out: &mut ReadBuf<'_>) {
        let some = self.judged.min(out.remaining());
        out.put_slice(&self.buffer[..some]);
        self.buffer.advance(some);
        self.judged -= some;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

fn asks_for_a_socket(request: &Request<()>) -> bool {
    *request.method() == Method::GET
        && request.uri().path() == SOCKET
        && request.headers().contains_key(UPGRADE)
}

impl AsyncRead for Sentry {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.judged > 0 {
                this.hand_on(out);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Raw => return Pin::new(&mut this.stream).poll_read(cx, out),
                // The answer closes the connection.
                State::Refused => return Poll::Pending,
                State::Body(0) => this.state = State::Head,
                State::Body(left) => {
                    if !this.buffer.is_empty() {
                        let some = (this.buffer.len() as u64).min(left);
                        this.judged = some as usize;
                        this.state = State::Body(left - some);
                        continue;
                    }
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let most = most.min(out.remaining());
                    let mut part = ReadBuf::new(out.initialize_unfilled_to(most));
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
                    let read = part.filled().len();
                    out.advance(read);
                    this.state = State::Body(left - read as u64);
                    return Poll::Ready(Ok(()));
                }
                State::Head => {
                    if this.buffer.is_empty() || !this.judge() {
                        let more = ready!(this.poll_more(cx))?;
                        if more == 0 && this.judged == 0 {
                            return Poll::Ready(Ok(()));
                        }
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Sentry {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_told(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.poll_told(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.poll_told(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_told(cx, shut)
    }
}
