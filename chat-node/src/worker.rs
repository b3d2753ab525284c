//! The worker threads of a node, and what lives on each.
//!
//! One actix arbiter per core. A session, its socket and its relay share one thread, so that
//! pushing into an outbox takes no lock; a room lives on the worker its id hashes to.

use std::{cell::RefCell, pin::pin, rc::Rc, task::Context};

use actix::{Arbiter, ArbiterHandle};
use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::transport::{
    relay::{Relay, Relays},
    wheel::Wheel,
};

/// What one read takes from a socket at most.
pub const SCRATCH: usize = 64 * 1024;

/// What lives on this thread.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Which of the node's workers this is.
    pub index: usize,
    /// The thread's relay.
    pub relay: Relay,
    /// The thread's timer wheel.
    pub wheel: Rc<Wheel>,
}

thread_local! {
    static CURRENT: RefCell<Option<Worker>> = const { RefCell::new(None) };
    static READ: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(SCRATCH));
}

impl Worker {
    /// Makes this thread the `index`th worker. Called inside its arbiter, once.
    pub fn enter(index: usize, relays: Relays) -> Self {
        let wheel = Wheel::new();
        actix_rt::spawn(wheel.clone().run());
        let worker = Self {
            index,
            relay: Relay::start(relays, index),
            wheel,
        };
        CURRENT.with_borrow_mut(|current| *current = Some(worker.clone()));
        worker
    }

    /// The worker this thread is; `None` on any other thread.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Lends the thread's read buffer: empty, with room for [`SCRATCH`] bytes. One buffer serves
    /// all connections of a thread, so an idle one holds none.
    pub fn with_scratch<R>(f: impl FnOnce(&mut BytesMut) -> R) -> R {
        READ.with_borrow_mut(|scratch| {
            scratch.clear();
            // Takes the whole buffer back when no message of an earlier read is alive.
            scratch.reserve(SCRATCH);
            f(scratch)
        })
    }
}

/// Has the present task polled again once everybody else on this thread who is ready has had a
/// turn and the sockets were looked at. A task that wakes itself comes first: tokio looks at sockets
/// only when nobody is ready, or after sixty tasks, and at what other threads have woken hardly
/// sooner, and sixty portions of a hot room's messages are many milliseconds.
pub fn step_back(cx: &mut Context<'_>) {
    // Hands the waker to the runtime, which keeps it until then; there is nothing to wait for.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// The worker threads of a node.
#[derive(Debug)]
pub struct Workers {
    arbiters: Vec<Arbiter>,
    relays: Relays,
}

impl Workers {
    /// Starts `count` threads, each with its relay and its wheel. Needs a running actix system.
    ///
    /// # Errors
    /// When a thread ends before it has begun.
    pub async fn start(count: usize, relays: Relays) -> std::io::Result<Self> {
        let mut arbiters = Vec::with_capacity(count);
        for index in 0..count {
            let arbiter = Arbiter::new();
            let (ready, started) = oneshot::channel();
            let relays = relays.clone();
            arbiter.spawn_fn(move || {
                Worker::enter(index, relays);
                let _ = ready.send(());
            });
            started.await.map_err(std::io::Error::other)?;
            arbiters.push(arbiter);
        }
        Ok(Self { arbiters, relays })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.arbiters.len()
    }

    /// The threads, to start actors on.
    pub fn handles(&self) -> Vec<ArbiterHandle> {
        self.arbiters.iter().map(Arbiter::handle).collect()
    }

    /// The relays of all workers.
    pub fn relays(&self) -> &Relays {
        &self.relays
    }

    /// Ends the threads.
    pub fn stop(&self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, io::Write as _, task::Poll};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Portions of a hot room's messages that came one after the other kept every other room's
    /// messages waiting in their sockets.
    #[actix_rt::test]
    async fn who_steps_back_comes_after_sockets_and_other_threads() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        let (turns, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (counted, enough) = (turns.clone(), done.clone());
        let busy = actix_rt::spawn(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            if enough.get() {
                return Poll::Ready(());
            }
            step_back(cx);
            Poll::Pending
        }));
        let (tell, told) = oneshot::channel();
        let before = turns.get();
        std::thread::spawn(move || tell.send(()).unwrap())
            .join()
            .unwrap();
        told.await.unwrap();
        let by_thread = turns.get() - before;
        let before = turns.get();
        client.write_all(b"x").unwrap();
        socket.read_u8().await.unwrap();
        let by_socket = turns.get() - before;
        done.set(true);
        busy.await.unwrap();
        // A task that wakes itself has sixty.
        assert!(by_thread < 10, "{by_thread} turns before another thread");
        assert!(by_socket < 10, "{by_socket} turns before the socket");
    }
}
