//! The bridge between nodes: what goes over the bus, and which topics this node hears.
//!
//! [`Bridge`] is the way out and the book of subscriptions; rooms, sessions and presence hold it.
//! [`BusMessage`] is everything nodes tell each other, in MessagePack; the bus itself knows bytes
//! and topics only.
//!
//! Everything published is a hint. Entries carry their seq, so a room that sees a hole reads
//! history; whatever else was lost is read again when the bus says that it was interrupted.

use std::sync::Arc;

use shared::id::{NodeId, RoomId, UserId};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Topic};

mod message;
mod topics;

pub use message::{BusMessage, PresenceNews, RoomNews, UnreadableMessage};

use topics::Topics;

/// The way out to other nodes. Share it behind an [`Arc`].
pub struct Bridge {
    node: NodeId,
    bus: Arc<dyn Bus>,
    topics: Topics,
}

impl Bridge {
    /// The bridge of `node` over `bus`.
    pub fn new(node: NodeId, bus: Arc<dyn Bus>) -> Self {
        let topics = Topics::new(Arc::clone(&bus));
        Self { node, bus, topics }
    }

    /// This node.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Whether there is no other node to tell; then a message need not even be made.
    pub fn alone(&self) -> bool {
        self.bus.alone()
    }

    /// Tells the other nodes that hear `topic`. Never waits; a message that is lost is made good
    /// by whoever misses it. Costs nothing while this node is alone.
    pub fn publish(&self, topic: Topic, message: &BusMessage) {
        if self.bus.alone() {
            return;
        }
        let payload = match message.encode() {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "a message for the bus cannot be encoded");
                return;
            }
        };
        let outcome = match self.bus.publish(topic, payload) {
            Ok(()) => "ok",
            Err(BusError::Full) => "full",
            Err(BusError::Unavailable(_)) => "unavailable",
        };
        metrics::counter!("fireside_bus_published_total", "outcome" => outcome).increment(1);
    }

    /// A session of `user` is here: the user's topic is heard from the moment this returns. While
    /// the bus is out of reach it returns all the same after a short wait, and the topic is
    /// subscribed to when it can be. One [`Bridge::offline`] for each.
    pub async fn online(&self, user: &UserId) {
        self.topics.hear(Topic::User(user.clone())).await;
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
