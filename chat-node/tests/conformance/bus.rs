//! What every backend of the bus port has to do. A backend runs all of it by
//! [`conforms`] with a factory of its own.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chat_node::bus::{Bus, BusEvent, BusReceiver, LocalBus, LocalNode, Topic};
use shared::id::{NodeId, RoomId, UserId};

#[cfg(feature = "redis")]
mod redis;

/// A bus that nodes join, and a link that can be broken.
#[async_trait]
pub(crate) trait BusFactory {
    /// The backend's handle.
    type Node: Bus;

    /// A node on the same bus as all the others of this factory.
    async fn node(&self, name: &str) -> (Self::Node, BusReceiver);

    /// Breaks the link of `node` and mends it.
    async fn interrupt(&self, node: &Self::Node);
}

/// Runs the suite, each part on topics of its own.
pub(crate) async fn conforms<F: BusFactory>(factory: &F) {
    keeps_the_order_of_a_topic_and_origin(factory).await;
    delivers_what_follows_a_subscription_and_only_that(factory).await;
    hears_its_own(factory).await;
    subscribing_and_unsubscribing_are_idempotent(factory).await;
    says_to_how_many_a_message_went(factory).await;
    tells_of_an_interruption_and_stands_again(factory).await;
}

async fn keeps_the_order_of_a_topic_and_origin<F: BusFactory>(factory: &F) {
    let (a, _a) = factory.node("order-a").await;
    let (b, _b) = factory.node("order-b").await;
    let (c, mut heard) = factory.node("order-c").await;
    let topics = [user("order"), room("order")];
    c.subscribe(&topics).await.unwrap();
    for n in 0..200_u32 {
        let (origin, tag) = if n % 3 == 0 { (&b, b'b') } else { (&a, b'a') };
        let topic = topics[usize::from(n % 2 == 0)].clone();
        origin.publish(topic, tagged(tag, n)).unwrap();
    }
    let mut last = std::collections::HashMap::new();
    for _ in 0..200 {
        let (topic, origin, payload) = message(&mut heard).await;
        let n = u32::from_be_bytes(payload[1..5].try_into().unwrap());
        assert_eq!(
            origin.as_str().as_bytes()[6],
            payload[0],
            "the origin is who published"
        );
        if let Some(before) = last.insert((topic, origin), n) {
            assert!(before < n, "{n} came after {before}");
        }
    }
    assert_silent(&mut heard).await;
}

async fn delivers_what_follows_a_subscription_and_only_that<F: BusFactory>(factory: &F) {
    let (a, _a) = factory.node("visible-a").await;
    let (b, mut heard) = factory.node("visible-b").await;
    a.publish(user("visible"), tagged(0, 0)).unwrap();
    settle(&a).await;
    b.subscribe(&[user("visible")]).await.unwrap();
    a.publish(user("visible"), tagged(0, 1)).unwrap();
    // The same letters under another kind of topic are another topic.
    a.publish(room("visible"), tagged(0, 2)).unwrap();
    a.publish(user("visible-2"), tagged(0, 3)).unwrap();
    assert_eq!(message(&mut heard).await.2, tagged(0, 1));
    b.unsubscribe(&[user("visible")]).await.unwrap();
    a.publish(user("visible"), tagged(0, 4)).unwrap();
    assert_silent(&mut heard).await;
}

async fn hears_its_own<F: BusFactory>(factory: &F) {
    let (a, mut heard) = factory.node("own-a").await;
    a.subscribe(&[Topic::Nodes]).await.unwrap();
    a.publish(Topic::Nodes, tagged(0, 7)).unwrap();
    let (topic, origin, payload) = message(&mut heard).await;
    assert_eq!((topic, origin.as_str()), (Topic::Nodes, "own-a"));
    assert_eq!(payload, tagged(0, 7));
    a.unsubscribe(&[Topic::Nodes]).await.unwrap();
    a.ping().await.unwrap();
}

async fn subscribing_and_unsubscribing_are_idempotent<F: BusFactory>(factory: &F) {
    let (a, mut heard) = factory.node("twice-a").await;
    let topic = room("twice");
    a.subscribe(&[topic.clone(), topic.clone()]).await.unwrap();
    a.subscribe(std::slice::from_ref(&topic)).await.unwrap();
    a.publish(topic.clone(), tagged(0, 1)).unwrap();
    assert_eq!(message(&mut heard).await.2, tagged(0, 1));
    assert_silent(&mut heard).await;
    a.unsubscribe(std::slice::from_ref(&topic)).await.unwrap();
    a.unsubscribe(&[topic.clone(), room("never")])
        .await
        .unwrap();
    a.publish(topic, tagged(0, 2)).unwrap();
    assert_silent(&mut heard).await;
}

async fn says_to_how_many_a_message_went<F: BusFactory>(factory: &F) {
    let (a, _a) = factory.node("count-a").await;
    let (b, mut heard) = factory.node("count-b").await;
    let topic = user("count");
    let publish = async |n| a.publish_counted(topic.clone(), tagged(0, n)).await;
    settle(&a).await;
    assert_eq!(publish(0).await, Ok(Some(0)));
    b.subscribe(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(publish(1).await, Ok(Some(1)));
    a.subscribe(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(publish(2).await, Ok(Some(2)));
    for n in [1, 2] {
        assert_eq!(message(&mut heard).await.2, tagged(0, n));
    }
    b.unsubscribe(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(publish(3).await, Ok(Some(1)));
    assert_silent(&mut heard).await;
}

async fn tells_of_an_interruption_and_stands_again<F: BusFactory>(factory: &F) {
    let (a, _a) = factory.node("broken-a").await;
    let (b, mut heard) = factory.node("broken-b").await;
    b.subscribe(&[user("broken")]).await.unwrap();
    factory.interrupt(&b).await;
    assert_eq!(next(&mut heard).await, BusEvent::Interrupted);
    assert_eq!(next(&mut heard).await, BusEvent::Restored);
    a.publish(user("broken"), tagged(0, 1)).unwrap();
    assert_eq!(
        message(&mut heard).await.2,
        tagged(0, 1),
        "subscriptions outlive the link"
    );
}

fn user(name: &str) -> Topic {
    Topic::User(UserId::parse(name).unwrap())
}

fn room(name: &str) -> Topic {
    Topic::Room(RoomId::parse(name).unwrap())
}

fn tagged(tag: u8, n: u32) -> Bytes {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&n.to_be_bytes());
    Bytes::from(bytes)
}

async fn next(heard: &mut BusReceiver) -> BusEvent {
    tokio::time::timeout(Duration::from_secs(10), heard.recv())
        .await
        .expect("nothing came for 10 s")
        .expect("the receiver is open")
}

async fn message(heard: &mut BusReceiver) -> (Topic, NodeId, Bytes) {
    match next(heard).await {
        BusEvent::Message(topic, envelope) => (topic, envelope.origin, envelope.payload),
        other => panic!("a message, not {other:?}"),
    }
}

/// What was published has left the node: a round trip came after it.
async fn settle<B: Bus>(node: &B) {
    node.ping().await.unwrap();
}

async fn assert_silent(heard: &mut BusReceiver) {
    let came = tokio::time::timeout(Duration::from_millis(100), heard.recv()).await;
    assert!(came.is_err(), "nothing should come, not {came:?}");
}

struct Local(LocalBus);

#[async_trait]
impl BusFactory for Local {
    type Node = LocalNode;

    async fn node(&self, name: &str) -> (LocalNode, BusReceiver) {
        self.0.node(NodeId::parse(name).unwrap(), 1024)
    }

    async fn interrupt(&self, node: &LocalNode) {
        node.interrupt();
    }
}

// Paused: waiting for silence takes no time where nothing but memory is waited for.
#[tokio::test(start_paused = true)]
async fn the_local_bus_conforms() {
    conforms(&Local(LocalBus::new())).await;
}
