//! The bridge between nodes: what goes over the bus, and which topics this node hears.
//!
//! [`Bridge`] is the way out and the book of subscriptions; rooms, sessions and presence hold it.
//! [`BusMessage`] is everything nodes tell each other, in MessagePack; the bus itself knows bytes
//! and topics only. [`Inbound`] hands what is heard to rooms, sessions, presence and
//! [`StoreEvents`], which makes what happens in the store happen here.
//!
//! Everything published is a hint. Entries carry their seq, so a room that sees a hole reads
//! history; whatever else was lost is read again when the bus says that it was interrupted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use shared::{
    id::{NodeId, RoomId, Timestamp, UserId},
    telemetry::Metric,
};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, BusError, Topic},
    room::Rooms,
    session::Passage,
};

mod inbound;
mod message;
mod revoking;
mod store_events;
mod topics;

pub use inbound::Inbound;
pub use message::{BusMessage, PresenceNews, RoomNews, UnreadableMessage};
pub use store_events::StoreEvents;

use topics::Topics;

/// Rooms, as the bridge knows them. Neither call waits.
pub trait RoomListener: Send + Sync + 'static {
    /// Another node has news of a room. A hint: what is missing before it is read from history.
    fn hear(&self, news: RoomNews);

    /// Messages may have been lost: heads of live rooms are compared with history.
    fn restored(&self);
}

impl RoomListener for Rooms {
    fn hear(&self, news: RoomNews) {
        Self::hear(self, news);
    }

    fn restored(&self) {
        Self::restored(self);
    }
}

/// Sessions, as the bridge knows them. No call waits; each takes effect within a second.
pub trait SessionControl: Send + Sync + 'static {
    /// Ends the sessions that live on one token; they close with `revoked`.
    fn close_by_token(&self, jti: &str);

    /// Ends a user's sessions whose token was issued then or before; they close with `revoked`.
    fn close_by_user(&self, user: &UserId, issued_at_or_before: Timestamp);

    /// Ends the sessions of a user that had begun by then, at the wish of the game's backend.
    fn disconnect(&self, user: &UserId, begun_at_or_before: Timestamp);

    /// Another node says something of a session that moves.
    fn passage(&self, passage: Passage);

    /// Sends the sockets of a user away, because the user belongs on another node; answers how many. They
    /// close with `rebalance`.
    fn relocate(&self, user: &UserId) -> usize;
}

/// The way out to other nodes. Share it behind an [`Arc`].
pub struct Bridge {
    node: NodeId,
    bus: Arc<dyn Bus>,
    topics: Topics,
    linked: AtomicBool,
}

impl Bridge {
    /// The bridge of `node` over `bus`.
    pub fn new(node: NodeId, bus: Arc<dyn Bus>) -> Self {
        let topics = Topics::new(Arc::clone(&bus));
        Self {
            node,
            bus,
            topics,
            linked: AtomicBool::new(true),
        }
    }

    /// This node.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Whether there is no other node to tell; then a message need not even be made.
    pub fn alone(&self) -> bool {
        self.bus.alone()
    }

    /// Whether what the others say arrives here, as far as that is known.
    pub fn linked(&self) -> bool {
        self.linked.load(Ordering::Relaxed)
    }

    /// Tells the other nodes that hear `topic`. Never waits; a message that is lost is made good
    /// by whoever misses it. Costs nothing while this node is alone.
    pub fn publish(&self, topic: Topic, message: &BusMessage) {
        if self.bus.alone() {
            return;
        }
        if let Some(payload) = encoded(message) {
            count(&self.bus.publish(topic, payload));
        }
    }

    /// As [`Bridge::publish`], and waits to learn whether another node heard it: `false` when none did, for
    /// certain. Only if this node hears the topic itself.
    pub async fn publish_heard(&self, topic: Topic, message: &BusMessage) -> bool {
        if self.bus.alone() {
            return false;
        }
        let Some(payload) = encoded(message) else {
            return true;
        };
        let published = self.bus.publish_counted(topic, payload).await;
        count(&published);
        // One of them is this node.
        !matches!(published, Ok(Some(0 | 1)))
    }

    /// The link broke, or stands again.
    fn link(&self, stands: bool) {
        self.linked.store(stands, Ordering::Relaxed);
    }

    /// Returns when something may have been lost that the bus knows nothing of.
    async fn doubted(&self) {
        self.topics.doubted().await;
    }

    /// A session of `user` is here: the user's topic is heard from the moment this returns. While
    /// the bus is out of reach it returns all the same after a short wait, and the topic is
    /// subscribed to when it can be. One [`Bridge::offline`] for each.
    pub async fn online(&self, user: &UserId) {
        self.topics.hear(Topic::User(user.clone())).await;
    }

    /// As [`Bridge::online`], but does not wait; [`Bridge::heard`] does.
    pub fn need(&self, user: &UserId) {
        self.topics.need(&Topic::User(user.clone()));
    }

    /// Waits until the topic of a user who is needed is heard, for a short time at most.
    pub async fn heard(&self, user: &UserId) {
        self.topics.stand(&Topic::User(user.clone())).await;
    }

    /// A session of `user` has ended.
    pub fn offline(&self, user: &UserId) {
        self.topics.leave(&Topic::User(user.clone()));
    }

    /// A room is live here: as [`Bridge::online`]. One [`Bridge::room_down`] for each.
    pub async fn room_up(&self, room: &RoomId) {
        self.topics.hear(Topic::Room(room.clone())).await;
    }

    /// A room is no longer live here.
    pub fn room_down(&self, room: &RoomId) {
        self.topics.leave(&Topic::Room(room.clone()));
    }

    /// Whether the link stands.
    pub async fn ping(&self) -> Result<(), BusError> {
        self.bus.ping().await
    }

    /// Hears what every node hears, leaves topics nobody needs, and tries again what failed,
    /// until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        self.topics.hear(Topic::Nodes).await;
        tokio::select! {
            () = self.topics.keep() => {}
            () = stop.cancelled() => {}
        }
    }
}

fn encoded(message: &BusMessage) -> Option<Bytes> {
    let payload = message.encode();
    payload
        .inspect_err(|error| tracing::error!(%error, "a message for the bus cannot be encoded"))
        .ok()
}

fn count<T>(published: &Result<T, BusError>) {
    let outcome = match published {
        Ok(_) => "ok",
        Err(BusError::Full) => "full",
        Err(BusError::Unavailable(_) | BusError::Partly { .. }) => "unavailable",
    };
    metrics::counter!("fireside_bus_published_total", "outcome" => outcome).increment(1);
}

/// The metrics of the bus and the bridge.
pub const METRICS: &[Metric] = &[
    Metric::counter("fireside_bus_published_total", "Messages handed to the bus").by(&["outcome"]),
    Metric::counter(
        "fireside_bus_heard_total",
        "Messages heard from other nodes",
    )
    .by(&["kind"]),
    Metric::counter(
        "fireside_bus_dropped_total",
        "Messages a full receiver of this process refused; repaired from history",
    ),
    Metric::counter(
        "fireside_bus_interruptions_total",
        "Times the bus said that messages may have been lost",
    ),
    Metric::gauge(
        "fireside_bus_waiting",
        "Messages from other nodes that wait to be taken",
    ),
    Metric::gauge("fireside_bus_topics", "Topics this node hears"),
    Metric::gauge(
        "fireside_revocations",
        "Revocations that may still deny a token, as of the last minute",
    ),
    Metric::gauge(
        "fireside_revocations_unshared",
        "Revocations known here that other nodes cannot read yet",
    ),
    Metric::counter(
        "fireside_store_events_total",
        "Events of the store made to happen here",
    ),
    Metric::counter(
        "fireside_store_events_dropped_total",
        "Events heard from nodes that could not wait; everything is read again",
    ),
];

#[cfg(test)]
mod tests;
