//! The bus within one process: no link, so nothing is lost but what a full receiver refuses.
//!
//! One [`LocalBus`] is the hub; every node has a handle and a receiver of its own. One node is the
//! standalone server; several make a cluster in one process, which tests use.
//!
//! A publisher never waits: what a full receiver cannot take is dropped and made good by its inbox.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use shared::id::NodeId;

use super::{Bus, BusError, BusEvent, BusReceiver, Envelope, Topic, inbox::Inbox};
use crate::ids::IdMap;

/// The hub that the nodes of one process share. Clones are the same hub.
#[derive(Clone, Default)]
pub struct LocalBus {
    hub: Arc<Hub>,
}

/// One node's handle.
pub struct LocalNode {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
}

#[derive(Default)]
struct Hub {
    topics: RwLock<IdMap<Topic, Vec<Arc<Subscriber>>>>,
    nodes: Mutex<Vec<Weak<Subscriber>>>,
}

struct Subscriber {
    node: NodeId,
    inbox: Inbox,
}

impl LocalBus {
    /// A hub without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle for `node`, and its receiver, which holds up to `capacity` messages.
    pub fn node(&self, node: NodeId, capacity: usize) -> (LocalNode, BusReceiver) {
        let (inbox, receiver) = Inbox::new(capacity);
        let subscriber = Arc::new(Subscriber { node, inbox });
        let mut nodes = self.hub.nodes.lock();
        nodes.retain(|other| other.strong_count() > 0);
        nodes.push(Arc::downgrade(&subscriber));
        let hub = Arc::clone(&self.hub);
        (LocalNode { hub, subscriber }, receiver)
    }
}

impl LocalNode {
    /// Answers how many it was offered to.
    fn offer(&self, topic: &Topic, payload: &Bytes) -> u64 {
        let topics = self.hub.topics.read();
        let subscribers = topics.get(topic).map_or(&[][..], Vec::as_slice);
        for subscriber in subscribers {
            let envelope = Envelope {
                origin: self.subscriber.node.clone(),
                payload: payload.clone(),
            };
            subscriber
                .inbox
                .offer(BusEvent::Message(topic.clone(), envelope));
        }
        subscribers.len() as u64
    }

    /// Breaks and mends this node's link, as a network would: for tests of what repairs itself.
    pub fn interrupt(&self) {
        self.subscriber.inbox.blink();
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        self.hub.topics.write().retain(|_, subscribers| {
            subscribers.retain(|other| !Arc::ptr_eq(other, &self.subscriber));
            !subscribers.is_empty()
        });
    }
}

#[async_trait]
impl Bus for LocalNode {
    fn publish(&self, topic: Topic, payload: Bytes) -> Result<(), BusError> {
        self.offer(&topic, &payload);
        Ok(())
    }

    async fn publish_counted(&self, topic: Topic, payload: Bytes) -> Result<Option<u64>, BusError> {
        Ok(Some(self.offer(&topic, &payload)))
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
        let mut hub = self.hub.topics.write();
        for topic in topics {
            let subscribers = hub.entry(topic.clone()).or_default();
            if !subscribers
                .iter()
                .any(|other| Arc::ptr_eq(other, &self.subscriber))
            {
                subscribers.push(Arc::clone(&self.subscriber));
            }
        }
        Ok(())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
        let mut hub = self.hub.topics.write();
        for topic in topics {
            let Some(subscribers) = hub.get_mut(topic) else {
                continue;
            };
            subscribers.retain(|other| !Arc::ptr_eq(other, &self.subscriber));
            if subscribers.is_empty() {
                hub.remove(topic);
            }
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(())
    }

    fn alone(&self) -> bool {
        let nodes = self.hub.nodes.lock();
        nodes.iter().filter(|node| node.strong_count() > 0).count() <= 1
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_full_receiver_is_told_once_and_hears_again_when_it_has_read() {
        let bus = LocalBus::new();
        let (a, _a) = bus.node(node("a"), 8);
        let (b, mut heard) = bus.node(node("b"), 2);
        b.subscribe(&[Topic::Nodes]).await.unwrap();
        for n in 0..5_u8 {
            a.publish(Topic::Nodes, Bytes::copy_from_slice(&[n]))
                .unwrap();
        }
        let mut got = Vec::new();
        while let Ok(event) = heard.try_recv() {
            got.push(match event {
                BusEvent::Message(_, envelope) => i32::from(envelope.payload[0]),
                BusEvent::Interrupted => -1,
                BusEvent::Restored => -2,
            });
        }
        assert_eq!(got, [0, 1, -1, -2]);
        a.publish(Topic::Nodes, Bytes::from_static(b"x")).unwrap();
        assert!(matches!(heard.try_recv(), Ok(BusEvent::Message(..))));
    }

    proptest! {
        /// Whoever repairs on every `Restored` misses nothing: no drop comes after the last one.
        #[test]
        fn every_drop_is_followed_by_a_repair(
            capacity in 1_usize..4,
            publishes in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let bus = LocalBus::new();
            let (a, mut heard) = bus.node(node("a"), capacity);
            let subscribed = a.subscribe(&[Topic::Nodes]).now_or_never();
            prop_assert_eq!(subscribed, Some(Ok(())));
            let mut missing = std::collections::BTreeSet::new();
            let read = |heard: &mut BusReceiver, missing: &mut std::collections::BTreeSet<u8>| {
                match heard.try_recv() {
                    Ok(BusEvent::Message(_, envelope)) => {
                        missing.remove(&envelope.payload[0]);
                        true
                    }
                    // The repair reads all that was ever published.
                    Ok(BusEvent::Restored) => {
                        missing.clear();
                        true
                    }
                    Ok(BusEvent::Interrupted) => true,
                    Err(_) => false,
                }
            };
            for (n, publish) in publishes.into_iter().enumerate() {
                if publish {
                    missing.insert(n as u8);
                    a.publish(Topic::Nodes, Bytes::copy_from_slice(&[n as u8])).unwrap();
                } else {
                    read(&mut heard, &mut missing);
                }
            }
            while read(&mut heard, &mut missing) {}
            prop_assert!(missing.is_empty(), "never heard, never repaired: {:?}", missing);
        }
    }

    #[tokio::test]
    async fn a_node_knows_when_it_is_alone() {
        let bus = LocalBus::new();
        let (a, _a) = bus.node(node("a"), 1);
        assert!(a.alone());
        let (b, _b) = bus.node(node("b"), 1);
        assert!(!a.alone() && !b.alone());
        drop(b);
        assert!(a.alone());
    }
}
