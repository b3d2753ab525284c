//! One master: what is to be published and changed there, and the tasks that see to it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use ::redis::{Cmd, Value, cmd};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Hub, MAX_QUEUED_BYTES,
    channel::Channel,
    envelope::{OrderMark, encode},
    health::ShardId,
    losses::count_lost,
    out_of_reach, publisher, subscriber,
};
use crate::{
    bus::{BusError, Topic},
    redis::RedisHost,
};

/// How many changes of subscriptions may wait for their turn; who comes then waits as well.
const CHANGES: usize = 16;

/// One master, as this node deals with it.
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) host: RedisHost,
    outgoing: mpsc::Sender<Outgoing>,
    changes: mpsc::Sender<Request>,
    /// The receiving ends, until the tasks take them.
    ends: Mutex<Option<(mpsc::Receiver<Outgoing>, mpsc::Receiver<Request>)>>,
    /// Bytes that wait to be published.
    queued: AtomicUsize,
    /// Which connection is published on; 0 while there is none.
    connection: AtomicU64,
    /// To look at the subscription connection now: its sibling broke.
    pub(super) suspected: Notify,
    stop: CancellationToken,
}

/// Something to write on the publishing connection.
pub(super) enum Outgoing {
    /// A message of the bus.
    Message {
        /// The command.
        command: Cmd,
        /// Its size in the queue.
        bytes: usize,
        /// The connection that its order mark names.
        connection: u64,
    },
    /// A message to oneself, which may be lost without harm.
    Probe(Cmd),
    /// Something whose answer somebody waits for.
    Confirmed(Cmd, oneshot::Sender<Result<Value, BusError>>),
}

/// Other subscriptions.
pub(super) enum Change {
    Subscribe(Vec<(Channel, Topic)>),
    Unsubscribe(Vec<Channel>),
}

/// A change, and who waits for it.
pub(super) struct Request {
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<Result<(), BusError>>,
}

impl Shard {
    pub(super) fn new(hub: &Hub, host: RedisHost) -> Arc<Self> {
        let id = 1 + hub.shards_made.fetch_add(1, Ordering::Relaxed);
        Self::with(id, host, hub.queue, hub.stop.child_token())
    }

    fn with(id: ShardId, host: RedisHost, queue: usize, stop: CancellationToken) -> Arc<Self> {
        let (outgoing, to_publish) = mpsc::channel(queue);
        let (changes, to_change) = mpsc::channel(CHANGES);
        Arc::new(Self {
            id,
            host,
            outgoing,
            changes,
            ends: Mutex::new(Some((to_publish, to_change))),
            queued: AtomicUsize::new(0),
            connection: AtomicU64::new(0),
            suspected: Notify::new(),
            stop,
        })
    }

    /// One that nothing runs for.
    #[cfg(test)]
    pub(super) fn unconnected(id: ShardId, host: RedisHost) -> Arc<Self> {
        Self::with(id, host, 4, CancellationToken::new())
    }

    /// Starts its tasks, unless they run.
    pub(super) fn start(self: &Arc<Self>, hub: &Arc<Hub>) {
        let Some((outgoing, changes)) = self.ends.lock().take() else {
            return;
        };
        let publisher = publisher::run(Arc::clone(hub), Arc::clone(self), outgoing);
        let subscriber = subscriber::run(Arc::clone(hub), Arc::clone(self), changes);
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(publisher).await });
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(subscriber).await });
    }

    pub(super) fn stop(&self) {
        self.connection.store(0, Ordering::Release);
        self.stop.cancel();
    }

    /// Queues a message; never waits.
    pub(super) fn publish(
        &self,
        hub: &Hub,
        channel: &Channel,
        payload: &[u8],
    ) -> Result<(), BusError> {
        let connection = self.connection.load(Ordering::Acquire);
        if connection == 0 {
            count_lost("broken", 1);
            return Err(out_of_reach());
        }
        let mark = OrderMark {
            process: hub.process,
            connection,
        };
        let command = publication(hub, channel, &encode(&hub.node, mark, payload));
        let bytes = payload.len() + channel.len();
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let message = Outgoing::Message {
            command,
            bytes,
            connection,
        };
        if queued > MAX_QUEUED_BYTES || self.outgoing.try_send(message).is_err() {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            count_lost("full", 1);
            return Err(BusError::Full);
        }
        Ok(())
    }

    /// Publishes and waits for the answer: how many it went to.
    pub(super) async fn publish_counted(
        &self,
        hub: &Hub,
        channel: &Channel,
        payload: &[u8],
    ) -> Result<u64, BusError> {
        let mark = OrderMark {
            process: hub.process,
            connection: self.connection.load(Ordering::Acquire),
        };
        let command = publication(hub, channel, &encode(&hub.node, mark, payload));
        match self.answer(command).await? {
            Value::Int(count) => Ok(count.unsigned_abs()),
            _ => Err(BusError::Unavailable("Redis does not say to whom".into())),
        }
    }

    /// Publishes without a word when it cannot.
    pub(super) fn probe(&self, command: Cmd) {
        let _ = self.outgoing.try_send(Outgoing::Probe(command));
    }

    /// A round trip behind everything published before.
    pub(super) async fn ping(&self) -> Result<(), BusError> {
        self.confirm(cmd("PING")).await
    }

    /// Writes a command in its turn, and waits until it is answered.
    pub(super) async fn confirm(&self, command: Cmd) -> Result<(), BusError> {
        self.answer(command).await.map(drop)
    }

    /// Writes a command in its turn, and waits for the answer.
    async fn answer(&self, command: Cmd) -> Result<Value, BusError> {
        if !self.publishes() {
            return Err(out_of_reach());
        }
        let (done, answer) = oneshot::channel();
        let outgoing = Outgoing::Confirmed(command, done);
        let sent = self.outgoing.send(outgoing).await;
        sent.map_err(|_| out_of_reach())?;
        answer.await.unwrap_or_else(|_| Err(out_of_reach()))
    }

    /// Changes subscriptions, and waits until Redis has confirmed it.
    pub(super) async fn change(&self, change: Change) -> Result<(), BusError> {
        let (done, answer) = oneshot::channel();
        let request = Request { change, done };
        let sent = self.changes.send(request).await;
        sent.map_err(|_| out_of_reach())?;
        answer.await.unwrap_or_else(|_| Err(out_of_reach()))
    }

    /// Whether there is a connection to publish on.
    pub(super) fn publishes(&self) -> bool {
        self.connection.load(Ordering::Acquire) != 0
    }

    /// This is the connection from now on; 0: none.
    pub(super) fn publish_on(&self, connection: u64) {
        self.connection.store(connection, Ordering::Release);
    }

    /// A message has left the queue.
    pub(super) fn taken(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The command that publishes a frame.
pub(super) fn publication(hub: &Hub, channel: &Channel, frame: &[u8]) -> Cmd {
    let name = if hub.sharded() { "SPUBLISH" } else { "PUBLISH" };
    let mut command = Cmd::with_capacity(3, name.len() + channel.len() + frame.len());
    command.arg(name).arg(&**channel).arg(frame);
    command
}
