//! Which topics are to be heard, by how many, and which are.
//!
//! One subscription or unsubscription is under way at a time; what comes up meanwhile makes the
//! next batch. So two that concern one topic cannot overtake each other, and a thousand users
//! who come at once cost a few round trips.
//!
//! Bound: one entry a topic that somebody needs, and those left within the last [`LINGER`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::bus::{Bus, Topic};

/// The most topics of one call to the bus.
const BATCH: usize = 500;
/// How long someone who needs a topic waits for a bus that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a topic is still heard after nobody needs it: users reload pages.
const LINGER: Duration = Duration::from_millis(500);

pub(super) struct Topics {
    bus: Arc<dyn Bus>,
    book: Mutex<Book>,
    /// Held by whoever talks to the bus.
    turn: tokio::sync::Mutex<()>,
    left: Notify,
    /// What was said on topics that are heard may have been lost.
    doubted: Notify,
}

#[derive(Default)]
struct Book {
    needed: HashMap<Topic, Need>,
    /// Topics whose subscription is not known to be as it should.
    unsettled: HashSet<Topic>,
}

#[derive(Default)]
struct Need {
    count: u32,
    stands: bool,
}

impl Topics {
    pub(super) fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            bus,
            book: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            left: Notify::new(),
            doubted: Notify::new(),
        }
    }

    /// Needs a topic; returns when it is heard, or patience has run out.
    pub(super) async fn hear(&self, topic: Topic) {
        if !self.count(&topic) {
            self.stand(&topic).await;
        }
    }

    /// Needs a topic from now on, without waiting until it is heard: it will be soon, and
    /// [`Topics::stand`] waits for it.
    pub(super) fn need(&self, topic: &Topic) {
        if !self.count(topic) {
            self.left.notify_one();
        }
    }

    /// Counts one more who needs the topic; answers whether it is heard already.
    fn count(&self, topic: &Topic) -> bool {
        let mut book = self.book.lock();
        let need = book.needed.entry(topic.clone()).or_default();
        need.count += 1;
        if need.stands {
            return true;
        }
        book.unsettled.insert(topic.clone());
        false
    }

    /// Returns when a topic that is needed is heard, or patience has run out.
    pub(super) async fn stand(&self, topic: &Topic) {
        let settled = tokio::time::timeout(PATIENCE, self.settle_one(topic)).await;
        if !matches!(settled, Ok(true)) {
            tracing::warn!(?topic, "not subscribed yet; it is tried again");
            self.left.notify_one();
        }
    }

    /// Needs a topic no longer.
    pub(super) fn leave(&self, topic: &Topic) {
        let mut book = self.book.lock();
        let Some(need) = book.needed.get_mut(topic) else {
            return;
        };
        need.count = need.count.saturating_sub(1);
        if need.count == 0 {
            book.unsettled.insert(topic.clone());
            drop(book);
            self.left.notify_one();
        }
    }

    /// Leaves what nobody needs and tries again what failed, for ever.
    pub(super) async fn keep(&self) {
        loop {
            self.left.notified().await;
            tokio::time::sleep(LINGER).await;
            while !self.settle().await {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn settle_one(&self, topic: &Topic) -> bool {
        let stands = |topics: &Self| {
            let book = topics.book.lock();
            book.needed.get(topic).is_none_or(|need| need.stands)
        };
        let _turn = self.turn.lock().await;
        // Another's batch may have had it with it.
        stands(self) || (self.batch(true).await && stands(self))
    }

    async fn settle(&self) -> bool {
        let _turn = self.turn.lock().await;
        let late = self.wanting();
        let heard = self.batch(true).await;
        if late && heard {
            self.doubted.notify_one();
        }
        heard && self.batch(false).await
    }

    /// Returns when a topic is heard that somebody needed for a while in vain: what was said on it is
    /// lost.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Whether somebody needs a topic that is not heard.
    fn wanting(&self) -> bool {
        let book = self.book.lock();
        let mut unsettled = book.unsettled.iter();
        unsettled.any(|topic| is_needed(&book.needed, topic))
    }

    /// Subscribes to (or leaves) everything unsettled, `BATCH` at a time. The turn is held.
    /// Whatever a cancelled call leaves behind stays unsettled: both calls are idempotent.
    async fn batch(&self, subscribe: bool) -> bool {
        loop {
            let topics: Vec<Topic> = {
                let mut guard = self.book.lock();
                let book = &mut *guard;
                let topics: Vec<Topic> = book
                    .unsettled
                    .iter()
                    .filter(|topic| is_needed(&book.needed, topic) == subscribe)
                    .take(BATCH)
                    .cloned()
                    .collect();
                if !subscribe {
                    // From here on a newcomer has to subscribe again, behind this turn.
                    for topic in &topics {
                        if let Some(need) = book.needed.get_mut(topic) {
                            need.stands = false;
                        }
                    }
                }
                topics
            };
            if topics.is_empty() {
                return true;
            }
            let outcome = if subscribe {
                self.bus.subscribe(&topics).await
            } else {
                self.bus.unsubscribe(&topics).await
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, topics = topics.len(), subscribe, "subscriptions wait");
                return false;
            }
            let mut guard = self.book.lock();
            let book = &mut *guard;
            for topic in topics {
                // Needs may have changed while the bus was busy; then it stays unsettled.
                let needed = is_needed(&book.needed, &topic);
                if let Some(need) = book.needed.get_mut(&topic) {
                    need.stands = subscribe;
                }
                if needed == subscribe {
                    book.unsettled.remove(&topic);
                    if !needed {
                        book.needed.remove(&topic);
                    }
                }
            }
            metrics::gauge!("fireside_bus_topics").set(book.needed.len() as f64);
        }
    }
}

fn is_needed(needed: &HashMap<Topic, Need>, topic: &Topic) -> bool {
    needed.get(topic).is_some_and(|need| need.count > 0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::id::{NodeId, UserId};

    use super::*;
    use crate::bus::{BusReceiver, LocalBus, LocalNode};

    fn topic(n: usize) -> Topic {
        Topic::User(UserId::parse(&format!("u{n}")).unwrap())
    }

    fn setup() -> (Arc<LocalNode>, BusReceiver, Arc<Topics>) {
        let (node, heard) = LocalBus::new().node(NodeId::parse("n").unwrap(), 4096);
        let node = Arc::new(node);
        let topics = Topics::new(Arc::clone(&node) as Arc<dyn Bus>);
        (node, heard, Arc::new(topics))
    }

    fn hears(node: &LocalNode, heard: &mut BusReceiver, topic: Topic) -> bool {
        node.publish(topic, Bytes::new()).unwrap();
        heard.try_recv().is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_heard_while_anybody_needs_it() {
        let (node, mut heard, topics) = setup();
        let keeper = tokio::spawn({
            let topics = Arc::clone(&topics);
            async move { topics.keep().await }
        });
        topics.hear(topic(1)).await;
        topics.hear(topic(1)).await;
        topics.leave(&topic(1));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(hears(&node, &mut heard, topic(1)));
        topics.leave(&topic(1));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!hears(&node, &mut heard, topic(1)));
        assert!(topics.book.lock().needed.is_empty() && topics.book.lock().unsettled.is_empty());
        // Too many leaves do not make a debt.
        topics.leave(&topic(1));
        topics.hear(topic(1)).await;
        assert!(hears(&node, &mut heard, topic(1)));
        keeper.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn coming_back_at_once_keeps_the_topic() {
        let (node, mut heard, topics) = setup();
        let keeper = tokio::spawn({
            let topics = Arc::clone(&topics);
            async move { topics.keep().await }
        });
        for n in 0..200 {
            topics.hear(topic(n % 7)).await;
            topics.leave(&topic(n % 7));
            topics.hear(topic(n % 7)).await;
            assert!(hears(&node, &mut heard, topic(n % 7)));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(hears(&node, &mut heard, topic(n % 7)));
            topics.leave(&topic(n % 7));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!((0..7).all(|n| !hears(&node, &mut heard, topic(n))));
        keeper.abort();
    }
}
