//! Which topics are to be heard, by how many, and which are.
//!
//! One subscription or unsubscription is under way at a time; what comes up meanwhile makes the
//! next batch. So two that concern one topic cannot overtake each other, and a thousand users
//! who come at once cost a few round trips.
//!
//! What failed is tried again behind everything that did not: a master that stays away keeps nobody
//! waiting whose topics are another's. A topic that came to be heard late may have missed something,
//! whoever's batch it was in, and that is said.
//!
//! Bound: one entry a topic that somebody needs, and those left within the last [`LINGER`].

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    bus::{Bus, BusError, Topic},
    ids::IdMap,
};

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
    needed: IdMap<Topic, Need>,
    /// Topics whose subscription is not known to be as it should.
    unsettled: HashSet<Topic>,
    /// Those of them that were tried in vain; again when there are no others.
    failed: HashSet<Topic>,
}

#[derive(Default)]
struct Need {
    count: u32,
    stands: bool,
    /// It is heard later than it was needed.
    late: bool,
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
        book.unsettle(topic);
        false
    }

    /// Returns when a topic that is needed is heard, or patience has run out.
    pub(super) async fn stand(&self, topic: &Topic) {
        let settled = tokio::time::timeout(PATIENCE, self.settle_one(topic)).await;
        if !matches!(settled, Ok(true)) {
            tracing::warn!(?topic, "not subscribed yet; it is tried again");
            if let Some(need) = self.book.lock().needed.get_mut(topic) {
                need.late |= !need.stands;
            }
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
            book.unsettle(topic);
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
        if stands(self) {
            return true;
        }
        self.book.lock().unsettle(topic);
        self.batch(true).await;
        stands(self)
    }

    /// Does what is unsettled, once each; answers whether nothing is any more.
    async fn settle(&self) -> bool {
        let _turn = self.turn.lock().await;
        self.book.lock().retry();
        self.batch(true).await;
        self.batch(false).await;
        let book = self.book.lock();
        book.unsettled.is_empty() && book.failed.is_empty()
    }

    /// Returns when a topic is heard that somebody needed for a while in vain: what was said on it is
    /// lost.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Subscribes to (or leaves) what is unsettled and has not failed, `BATCH` at a time, until all of a
    /// batch fail. The turn is held. Whatever a cancelled call leaves behind stays unsettled: both
    /// calls are idempotent.
    async fn batch(&self, subscribe: bool) {
        loop {
            let topics = self.book.lock().next(subscribe);
            if topics.is_empty() {
                return;
            }
            let outcome = if subscribe {
                self.bus.subscribe(&topics).await
            } else {
                self.bus.unsubscribe(&topics).await
            };
            let mut failed: HashSet<Topic> = HashSet::new();
            if let Err(error) = &outcome {
                tracing::warn!(%error, topics = topics.len(), subscribe, "subscriptions wait");
                match error {
                    BusError::Partly { topics, .. } => failed.extend(topics.iter().cloned()),
                    BusError::Full | BusError::Unavailable(_) => {
                        failed.extend(topics.iter().cloned());
                    }
                }
            }
            let mut book = self.book.lock();
            let mut late = false;
            for topic in &topics {
                if failed.contains(topic) {
                    book.fail(topic);
                } else {
                    late |= book.done(topic, subscribe);
                }
            }
            metrics::gauge!("fireside_bus_topics").set(book.needed.len() as f64);
            drop(book);
            if late {
                self.doubted.notify_one();
            }
            if failed.len() == topics.len() {
                return;
            }
        }
    }
}

impl Book {
    /// What is to be subscribed to, or left, next.
    fn next(&mut self, subscribe: bool) -> Vec<Topic> {
        let topics: Vec<Topic> = self
            .unsettled
            .iter()
            .filter(|topic| is_needed(&self.needed, topic) == subscribe)
            .take(BATCH)
            .cloned()
            .collect();
        if !subscribe {
            // From here on a newcomer has to subscribe again, behind this turn.
            for topic in &topics {
                if let Some(need) = self.needed.get_mut(topic) {
                    need.stands = false;
                }
            }
        }
        topics
    }

    fn fail(&mut self, topic: &Topic) {
        if self.unsettled.remove(topic) {
            self.failed.insert(topic.clone());
        }
        if let Some(need) = self.needed.get_mut(topic) {
            need.late = true;
        }
    }

    /// The bus did it; answers whether a topic stands that somebody needed before.
    fn done(&mut self, topic: &Topic, subscribe: bool) -> bool {
        // Needs may have changed while the bus was busy; then it stays unsettled.
        let needed = is_needed(&self.needed, topic);
        let mut late = false;
        if let Some(need) = self.needed.get_mut(topic) {
            need.stands = subscribe;
            late = subscribe && needed && std::mem::take(&mut need.late);
        }
        if needed == subscribe {
            self.unsettled.remove(topic);
            if !needed {
                self.needed.remove(topic);
            }
        }
        late
    }

    /// To be done in the next batch.
    fn unsettle(&mut self, topic: &Topic) {
        self.failed.remove(topic);
        self.unsettled.insert(topic.clone());
    }

    /// Tries again what failed, when everything else was tried.
    fn retry(&mut self) {
        if self.unsettled.is_empty() {
            self.unsettled = std::mem::take(&mut self.failed);
        }
    }
}

fn is_needed(needed: &IdMap<Topic, Need>, topic: &Topic) -> bool {
    needed.get(topic).is_some_and(|need| need.count > 0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::id::{NodeId, UserId};

    use super::*;
    use crate::bus::{BusReceiver, LocalBus, LocalNode};

    /// A bus with a part that is away: the topics of odd numbers.
    struct Halved {
        node: LocalNode,
        away: Mutex<bool>,
        refused: Mutex<usize>,
    }

    fn odd(topic: &Topic) -> bool {
        matches!(topic, Topic::User(user) if user.as_str().ends_with(['1', '3', '5', '7', '9']))
    }

    #[async_trait::async_trait]
    impl Bus for Halved {
        fn publish(&self, topic: Topic, payload: Bytes) -> Result<(), BusError> {
            self.node.publish(topic, payload)
        }

        async fn subscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
            let away = *self.away.lock();
            let (dead, well): (Vec<Topic>, Vec<Topic>) =
                topics.iter().cloned().partition(|topic| away && odd(topic));
            self.node.subscribe(&well).await?;
            *self.refused.lock() += dead.len();
            let reason = "away".to_owned();
            match (dead.is_empty(), well.is_empty()) {
                (true, _) => Ok(()),
                (false, true) => Err(BusError::Unavailable(reason)),
                (false, false) => Err(BusError::Partly {
                    topics: dead,
                    reason,
                }),
            }
        }

        async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
            self.node.unsubscribe(topics).await
        }

        async fn ping(&self) -> Result<(), BusError> {
            Ok(())
        }
    }

    fn halved() -> (Arc<Halved>, Arc<Topics>) {
        let (node, _) = LocalBus::new().node(NodeId::parse("n").unwrap(), 4096);
        let bus = Arc::new(Halved {
            node,
            away: Mutex::new(true),
            refused: Mutex::default(),
        });
        (bus.clone(), Arc::new(Topics::new(bus)))
    }

    fn stands(topics: &Topics, n: usize) -> bool {
        let book = topics.book.lock();
        book.needed.get(&topic(n)).is_some_and(|need| need.stands)
    }

    /// A master of a Cluster that stays dead with more topics than go into one batch.
    #[tokio::test(start_paused = true)]
    async fn what_is_out_of_reach_keeps_nobody_else_waiting() {
        let (bus, topics) = halved();
        let keeper = tokio::spawn({
            let topics = Arc::clone(&topics);
            async move { topics.keep().await }
        });
        for n in 0..BATCH * 4 {
            topics.need(&topic(2 * n + 1));
        }
        tokio::time::sleep(RETRY * 20).await;
        let refused = *bus.refused.lock();
        assert!(refused <= BATCH * 24, "{refused}: a batch in a turn");
        // Whoever comes now, however they come.
        for n in 0..20 {
            topics.hear(topic(20 * n)).await;
            assert!(stands(&topics, 20 * n), "{n} waits");
            topics.need(&topic(20 * n + 2));
        }
        tokio::time::sleep(RETRY * 10).await;
        assert!((0..20).all(|n| stands(&topics, 20 * n + 2)));
        assert!(!stands(&topics, 1));
        *bus.away.lock() = false;
        tokio::time::sleep(RETRY * 20).await;
        assert!((0..BATCH * 4).all(|n| stands(&topics, 2 * n + 1)));
        topics.doubted().await;
        let book = topics.book.lock();
        assert!(book.unsettled.is_empty() && book.failed.is_empty());
        keeper.abort();
    }

    /// Seed 1316 of the simulation: who was heard too late was in the batch of somebody else who came,
    /// and nobody looked for what was missed.
    #[tokio::test(start_paused = true)]
    async fn a_topic_heard_late_is_doubted_whoever_subscribes() {
        let (bus, topics) = halved();
        topics.hear(topic(1)).await;
        topics.hear(topic(2)).await;
        assert!(!stands(&topics, 1) && stands(&topics, 2));
        let doubted = topics.doubted();
        let mut doubted = std::pin::pin!(doubted);
        let early = tokio::time::timeout(RETRY, &mut doubted).await;
        assert!(early.is_err(), "nothing is heard late yet");
        *bus.away.lock() = false;
        topics.hear(topic(3)).await;
        topics.hear(topic(1)).await;
        assert!(stands(&topics, 1));
        doubted.await;
    }

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
