//! The bus port: what nodes tell each other. **A hint, never the truth**: delivery is at most
//! once, and whoever needs certainty compares seq with history.
//!
//! The bus knows bytes and topics, not rooms. Per topic and origin, messages arrive in the order
//! they were published; between topics there is no order. A node hears its own messages too
//! (which is how it probes the link), and ignores those it need not hear by their origin.
//!
//! Every backend passes `tests/conformance/bus.rs`.

use async_trait::async_trait;
use bytes::Bytes;
use shared::id::{NodeId, RoomId, UserId};
use tokio::sync::mpsc;

mod inbox;
mod local;
#[cfg(feature = "redis")]
pub mod redis;

pub use local::{LocalBus, LocalNode};

/// What a message is about, and so who hears it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Everything for one user: direct messages, friends' presence, read markers, notices.
    User(UserId),
    /// A room that is not a direct-message one.
    Room(RoomId),
    /// Every node.
    Nodes,
}

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Who published it.
    pub origin: NodeId,
    /// The content; `bridge` gives it meaning.
    pub payload: Bytes,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// A message on a topic subscribed to.
    Message(Topic, Envelope),
    /// The link broke: from here on messages may have been missed.
    Interrupted,
    /// Subscriptions stand again; what was missed must be read from history now.
    Restored,
}

/// Why a publish or subscribe did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The outbound queue is full.
    #[error("the bus has more to publish than it can")]
    Full,
    /// Out of reach.
    #[error("the bus is out of reach: {0}")]
    Unavailable(String),
    /// Of a subscription: not to these topics; the others stand.
    #[error("out of reach for {} topics: {reason}", topics.len())]
    Partly {
        /// Those.
        topics: Vec<Topic>,
        /// Why.
        reason: String,
    },
}

/// The receiving end of a node's bus: one per node, bounded by the backend. When it is full the
/// backend drops, and tells so by [`BusEvent::Interrupted`] and [`BusEvent::Restored`].
pub type BusReceiver = mpsc::Receiver<BusEvent>;

/// Messages between nodes.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Hands a message over; never waits. It may be lost all the same; a backend that knows that it
    /// lost some tells who hears the others too, by [`BusEvent::Interrupted`] and
    /// [`BusEvent::Restored`], as soon as it can.
    fn publish(&self, topic: Topic, payload: Bytes) -> Result<(), BusError>;

    /// As [`Bus::publish`], and answers how many nodes the message went to, this one among them if it
    /// hears the topic: a node whose link has broken is none of them. `None` from a backend that cannot know.
    async fn publish_counted(&self, topic: Topic, payload: Bytes) -> Result<Option<u64>, BusError> {
        self.publish(topic, payload).map(|()| None)
    }

    /// Hears these topics from now on; on return, what is published afterwards arrives.
    /// Idempotent. The backend keeps subscriptions over a broken link, and says
    /// [`BusEvent::Restored`] when they stand again; one that failed is not kept. Topics out of reach
    /// take none with them that are not ([`BusError::Partly`]).
    async fn subscribe(&self, topics: &[Topic]) -> Result<(), BusError>;

    /// Hears these topics no longer. Idempotent.
    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), BusError>;

    /// Whether the link stands, for readiness.
    async fn ping(&self) -> Result<(), BusError>;

    /// Whether no other node can hear: then nothing needs to be encoded and published. A
    /// backend that cannot know says no.
    fn alone(&self) -> bool {
        false
    }
}
