//! The worker threads of a node, and what lives on each.
//!
//! One actix arbiter per core. A session, its socket and its relay share one thread, so that
//! pushing into an outbox takes no lock; a room lives on the worker its id hashes to.

use std::{cell::RefCell, rc::Rc};

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
