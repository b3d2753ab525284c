//! What a Redis does to a bus when it is killed, paused, cut off, failed over or resharded.
//!
//! Whoever reads again on `Restored` what was published before must miss nothing, whatever the
//! fault: [`Hearer`] is such a one.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use chat_node::{
    bus::{Bus as _, BusError, BusEvent, BusReceiver, Topic, redis::RedisBus},
    redis::{Dialer, RedisSettings},
};
use loadtest::cluster::{Direction, Flow, Proxy, RedisCluster, RedisSentinel, RedisServer};
use shared::{
    id::{NodeId, RoomId, UserId},
    settings::Secret,
};

use super::{super::next, PATIENCE, join};

/// Quick ones.
fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        redis_url: Some(Secret::new(url.to_owned())),
        redis_connect_timeout: Duration::from_millis(500),
        redis_timeout: Duration::from_millis(500),
        redis_silence: Duration::from_secs(2),
        ..RedisSettings::default()
    }
}

fn topic(n: u32) -> Topic {
    match n % 3 {
        0 => Topic::Nodes,
        1 => Topic::User(UserId::parse(&format!("u{}", n % 16)).unwrap()),
        _ => Topic::Room(RoomId::parse(&format!("r{}", n % 16)).unwrap()),
    }
}

fn topics() -> Vec<Topic> {
    let all: BTreeSet<Topic> = (0..48).map(topic).collect();
    all.into_iter().collect()
}

/// Publishes numbers at a steady pace, whatever becomes of them.
struct Speaker {
    bus: Arc<RedisBus>,
    _heard: BusReceiver,
    published: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Speaker {
    async fn start(settings: &RedisSettings) -> Self {
        let (bus, heard) = join(settings, "speaker", 64).await;
        let (bus, published) = (Arc::new(bus), Arc::new(AtomicU32::new(0)));
        let task = tokio::spawn({
            let (bus, published) = (Arc::clone(&bus), Arc::clone(&published));
            async move {
                loop {
                    // Stored first, then published: as a room does.
                    let n = published.fetch_add(1, Ordering::SeqCst);
                    let _ = bus.publish(topic(n), Bytes::copy_from_slice(&n.to_be_bytes()));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        Self {
            bus,
            _heard: heard,
            published,
            task,
        }
    }
}

/// Hears, and on `Restored` reads again all that was published before.
struct Hearer {
    bus: RedisBus,
    heard: BusReceiver,
    published: Arc<AtomicU32>,
    known: BTreeSet<u32>,
    /// By topic, the last one heard.
    last: HashMap<Topic, u32>,
    interrupted: bool,
    restored: usize,
    by_bus: usize,
}

impl Hearer {
    async fn start(settings: &RedisSettings, speaker: &Speaker) -> Self {
        let (bus, heard) = join(settings, "hearer", 4096).await;
        bus.subscribe(&topics()).await.unwrap();
        Self {
            bus,
            heard,
            published: Arc::clone(&speaker.published),
            // What came before the subscription is none of the bus's business.
            known: (0..=speaker.published.load(Ordering::SeqCst)).collect(),
            last: HashMap::new(),
            interrupted: false,
            restored: 0,
            by_bus: 0,
        }
    }

    fn hear(&mut self, event: BusEvent) {
        match event {
            BusEvent::Message(topic, envelope) => {
                let n = u32::from_be_bytes(envelope.payload[..].try_into().unwrap());
                if let Some(before) = self.last.insert(topic, n) {
                    assert!(before < n, "{n} came after {before}");
                }
                self.by_bus += 1;
                self.known.insert(n);
            }
            BusEvent::Interrupted => {
                assert!(!self.interrupted, "interrupted twice");
                self.interrupted = true;
            }
            BusEvent::Restored => {
                assert!(self.interrupted, "restored out of nothing");
                self.interrupted = false;
                self.restored += 1;
                self.known.extend(0..self.published.load(Ordering::SeqCst));
            }
        }
    }

    /// Hears until `done`; fails after a while.
    async fn hear_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !done(self) {
            assert!(since.elapsed() < PATIENCE, "never: {what}");
            let heard = tokio::time::timeout(Duration::from_millis(50), self.heard.recv());
            if let Ok(event) = heard.await {
                self.hear(event.unwrap());
            }
        }
    }

    async fn hear_for(&mut self, time: Duration) {
        let since = Instant::now();
        self.hear_until("time passes", |_| since.elapsed() >= time)
            .await;
    }

    /// Waits until messages come over the bus again.
    async fn flows_again(&mut self) {
        let before = self.by_bus;
        self.hear_until("messages come again", |h| h.by_bus > before + 100)
            .await;
    }

    async fn restored_after(&mut self, before: usize) {
        self.hear_until("restored", |h| h.restored > before && !h.interrupted)
            .await;
    }

    /// After the fault: everything published is known, from the bus or by a repair.
    async fn misses_nothing(mut self, speaker: &Speaker) {
        speaker.task.abort();
        self.hear_for(Duration::from_millis(100)).await;
        let all = speaker.published.load(Ordering::SeqCst);
        let missing = |h: &Self| -> Vec<u32> {
            let unknown = (0..all).filter(|n| !h.known.contains(n));
            unknown.collect()
        };
        let since = Instant::now();
        while !missing(&self).is_empty() {
            let missing = missing(&self);
            let shown = &missing[..missing.len().min(20)];
            let late = since.elapsed() > Duration::from_secs(15);
            assert!(!late, "of {all}, {} missed: {shown:?}", missing.len());
            self.hear_for(Duration::from_millis(100)).await;
        }
        assert!(!self.interrupted);
        self.bus.ping().await.unwrap();
        speaker.bus.ping().await.unwrap();
    }
}

/// Both ends over one link, which has carried something.
async fn talk(settings: &RedisSettings) -> (Speaker, Hearer) {
    let speaker = Speaker::start(settings).await;
    let mut hearer = Hearer::start(settings, &speaker).await;
    hearer.flows_again().await;
    (speaker, hearer)
}

#[tokio::test]
async fn redis_is_killed_and_comes_back_empty() {
    let mut server = RedisServer::start().await.unwrap();
    let (speaker, mut hearer) = talk(&settings(server.url())).await;
    for _ in 0..2 {
        let before = hearer.restored;
        server.kill().unwrap();
        hearer.hear_until("told at once", |h| h.interrupted).await;
        assert!(hearer.bus.ping().await.is_err());
        let new = [Topic::Room(RoomId::parse("new").unwrap())];
        let refused = hearer.bus.subscribe(&new).await;
        assert!(matches!(refused, Err(BusError::Unavailable(_))));
        hearer.hear_for(Duration::from_millis(300)).await;
        server.restart_empty().await.unwrap();
        hearer.restored_after(before).await;
        hearer.flows_again().await;
    }
    hearer.misses_nothing(&speaker).await;
}

/// Shorter than anybody waits, and longer: no connection is closed in either case.
#[tokio::test]
async fn redis_is_paused() {
    let server = RedisServer::start().await.unwrap();
    let (speaker, mut hearer) = talk(&settings(server.url())).await;
    for pause in [Duration::from_millis(200), Duration::from_secs(3)] {
        server.pause().unwrap();
        hearer.hear_for(pause).await;
        server.resume().unwrap();
        hearer.flows_again().await;
    }
    assert!(hearer.restored > 0, "3 s is longer than the time-out");
    hearer.misses_nothing(&speaker).await;
}

#[tokio::test]
async fn the_link_of_one_who_hears_is_half_open_and_cut() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::to(server.port().unwrap()).await.unwrap();
    let speaker = Speaker::start(&settings(server.url())).await;
    let through = settings(&format!("redis://127.0.0.1:{}", proxy.port()));
    let mut hearer = Hearer::start(&through, &speaker).await;
    hearer.flows_again().await;
    proxy.half_open();
    hearer
        .hear_until("the silence is noticed", |h| h.interrupted)
        .await;
    proxy.heal().await;
    hearer.restored_after(0).await;
    hearer.flows_again().await;
    proxy.cut().await;
    hearer
        .hear_until("the cut is noticed", |h| h.interrupted)
        .await;
    proxy.heal().await;
    hearer.flows_again().await;
    hearer.misses_nothing(&speaker).await;
}

/// Who hears has a whole link and cannot know: the speaker says so when it is back.
#[tokio::test]
async fn the_link_of_one_who_speaks_is_half_open() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::to(server.port().unwrap()).await.unwrap();
    let through = settings(&format!("redis://127.0.0.1:{}", proxy.port()));
    let speaker = Speaker::start(&through).await;
    let mut hearer = Hearer::start(&settings(server.url()), &speaker).await;
    hearer.flows_again().await;
    let before = hearer.restored;
    proxy.half_open();
    hearer.hear_for(Duration::from_millis(1_500)).await;
    assert_eq!(hearer.restored, before, "its own link is whole");
    proxy.heal().await;
    hearer.restored_after(before).await;
    hearer.flows_again().await;
    hearer.misses_nothing(&speaker).await;
}

#[tokio::test]
async fn the_link_of_one_who_speaks_is_held() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::to(server.port().unwrap()).await.unwrap();
    let through = settings(&format!("redis://127.0.0.1:{}", proxy.port()));
    let speaker = Speaker::start(&through).await;
    let mut hearer = Hearer::start(&settings(server.url()), &speaker).await;
    for hold in [300, 1_200] {
        hearer.flows_again().await;
        proxy.flow(Direction::ToServer, Flow::Hold);
        hearer.hear_for(Duration::from_millis(hold)).await;
        proxy.heal().await;
    }
    hearer.flows_again().await;
    hearer.misses_nothing(&speaker).await;
}

/// What was written on a connection that was given up arrives after all, when the next one is in
/// use: too late to be in order.
#[tokio::test]
async fn what_was_said_over_a_link_given_up_comes_late() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::to(server.port().unwrap()).await.unwrap();
    let through = settings(&format!("redis://127.0.0.1:{}", proxy.port()));
    let speaker = Speaker::start(&through).await;
    let mut hearer = Hearer::start(&settings(server.url()), &speaker).await;
    hearer.flows_again().await;
    let late = Duration::from_secs(3);
    proxy.flow(Direction::ToServer, Flow::Delay(late));
    hearer.hear_for(Duration::from_millis(700)).await;
    proxy.heal().await;
    hearer.flows_again().await;
    // Redis has read it by then, and `hear` saw to the order.
    hearer.hear_for(late).await;
    hearer.misses_nothing(&speaker).await;
}

#[tokio::test]
async fn a_master_behind_sentinel_is_killed_and_another_promoted() {
    let mut redis = RedisSentinel::start().await.unwrap();
    let (speaker, mut hearer) = talk(&settings(&redis.url())).await;
    let before = hearer.restored;
    let old = redis.master_port().await.unwrap();
    redis.master_mut().await.unwrap().kill().unwrap();
    hearer.hear_until("told at once", |h| h.interrupted).await;
    let promoted = redis.until_promoted(old);
    let wait = hearer.hear_for(Duration::from_secs(1));
    let new = tokio::join!(promoted, wait).0.unwrap();
    assert_ne!(new, old);
    hearer.restored_after(before).await;
    hearer.flows_again().await;
    redis.server_mut(old).unwrap().restart().await.unwrap();
    hearer.hear_for(Duration::from_secs(1)).await;
    hearer.flows_again().await;
    hearer.misses_nothing(&speaker).await;
}

/// The old master lives on and is demoted: who stays with it is heard by nobody.
#[tokio::test]
async fn a_master_behind_sentinel_is_paused_until_another_is_promoted() {
    let mut redis = RedisSentinel::start().await.unwrap();
    let (speaker, mut hearer) = talk(&settings(&redis.url())).await;
    let before = hearer.restored;
    let old = redis.master_port().await.unwrap();
    redis.master_mut().await.unwrap().pause().unwrap();
    let promoted = redis.until_promoted(old);
    let wait = hearer.hear_for(Duration::from_secs(2));
    tokio::join!(promoted, wait).0.unwrap();
    redis.server_mut(old).unwrap().resume().unwrap();
    hearer.restored_after(before).await;
    hearer.flows_again().await;
    hearer.misses_nothing(&speaker).await;
}

#[tokio::test]
async fn a_master_of_a_cluster_is_lost_and_its_replica_takes_over() {
    let mut cluster = RedisCluster::start(3, true).await.unwrap();
    let (speaker, mut hearer) = talk(&settings(&cluster.url().unwrap())).await;
    let before = hearer.restored;
    cluster.master_mut(1).unwrap().kill().unwrap();
    hearer.hear_until("told at once", |h| h.interrupted).await;
    hearer.restored_after(before).await;
    hearer.flows_again().await;
    cluster.master_mut(1).unwrap().restart().await.unwrap();
    hearer.hear_for(Duration::from_secs(1)).await;
    hearer.flows_again().await;
    hearer.misses_nothing(&speaker).await;
}

#[tokio::test]
async fn slots_of_a_cluster_move_to_another_master() {
    let cluster = RedisCluster::start(2, false).await.unwrap();
    let (speaker, mut hearer) = talk(&settings(&cluster.url().unwrap())).await;
    for channel in ["fireside:nodes", "u1", "r2", "r5"] {
        let before = hearer.restored;
        let slot = slot_of(&cluster, channel).await;
        // Wherever it is, it is somewhere else afterwards.
        let to = usize::from(slot < 8_192);
        cluster.move_slot(slot, to).await.unwrap();
        hearer.restored_after(before).await;
        hearer.flows_again().await;
    }
    hearer.misses_nothing(&speaker).await;
}

async fn slot_of(cluster: &RedisCluster, key: &str) -> u16 {
    let dialer = Dialer::new(&settings(&cluster.url().unwrap())).unwrap();
    let shards = dialer.shards(&[]).await.unwrap();
    let any = shards.keys().next().unwrap();
    let mut any = dialer.open(any, None).await.unwrap();
    let mut ask = redis::cmd("CLUSTER");
    ask.arg("KEYSLOT").arg(key);
    ask.query_async(&mut any).await.unwrap()
}

#[tokio::test]
async fn a_full_queue_refuses_and_everybody_is_told() {
    let server = RedisServer::start().await.unwrap();
    let small = RedisSettings {
        redis_publish_queue: 16,
        ..settings(server.url())
    };
    let (a, _a) = join(&small, "a", 64).await;
    let (b, mut heard) = join(&small, "b", 4096).await;
    b.subscribe(&[Topic::Nodes]).await.unwrap();
    // Nothing else runs on this thread meanwhile, so nothing leaves the queue.
    let published: Vec<_> = (0..40_u8)
        .map(|n| a.publish(Topic::Nodes, Bytes::copy_from_slice(&[n])))
        .collect();
    let taken = published.iter().filter(|p| p.is_ok()).count();
    // A probe of its own may wait there as well.
    assert!((14..=16).contains(&taken), "{taken}");
    let refused = published[taken..].iter();
    assert!(refused.clone().all(|p| *p == Err(BusError::Full)));
    let mut messages = Vec::new();
    loop {
        match next(&mut heard).await {
            BusEvent::Message(_, envelope) => messages.push(envelope.payload[0]),
            BusEvent::Interrupted => {}
            BusEvent::Restored => break,
        }
    }
    assert_eq!(messages, (0..taken as u8).collect::<Vec<u8>>());
}

/// How long it takes is printed; what must hold is that all of them are heard again.
#[tokio::test]
async fn ten_thousand_topics_are_subscribed_to_again() {
    let mut server = RedisServer::start().await.unwrap();
    let patient = RedisSettings {
        redis_timeout: Duration::from_secs(10),
        ..settings(server.url())
    };
    let (bus, mut heard) = join(&patient, "many", 32_768).await;
    let topics: Vec<Topic> = (0..10_000)
        .map(|n| Topic::User(UserId::parse(&format!("u{n}")).unwrap()))
        .collect();
    let since = Instant::now();
    bus.subscribe(&topics).await.unwrap();
    println!("10,000 topics subscribed in {:?}", since.elapsed());
    server.kill().unwrap();
    assert_eq!(next(&mut heard).await, BusEvent::Interrupted);
    server.restart_empty().await.unwrap();
    let since = Instant::now();
    assert_eq!(next(&mut heard).await, BusEvent::Restored);
    println!("10,000 topics subscribed again in {:?}", since.elapsed());
    while bus.ping().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for topic in &topics {
        bus.publish(topic.clone(), Bytes::new()).unwrap();
    }
    let mut missing: BTreeSet<Topic> = topics.into_iter().collect();
    while !missing.is_empty() {
        if let BusEvent::Message(topic, _) = next(&mut heard).await {
            assert!(missing.remove(&topic));
        }
    }
}

#[tokio::test]
async fn a_bus_starts_without_redis_and_ends_when_it_is_dropped() {
    let mut server = RedisServer::start().await.unwrap();
    server.kill().unwrap();
    let node = NodeId::parse("early").unwrap();
    let (bus, mut heard) = RedisBus::connect(&settings(server.url()), node, 16).unwrap();
    assert!(bus.ping().await.is_err());
    assert!(bus.publish(Topic::Nodes, Bytes::new()).is_err());
    assert!(bus.subscribe(&[Topic::Nodes]).await.is_err());
    bus.unsubscribe(&[Topic::Nodes]).await.unwrap();
    server.restart().await.unwrap();
    let since = Instant::now();
    while bus.ping().await.is_err() {
        assert!(since.elapsed() < PATIENCE, "it does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bus.subscribe(&[Topic::Nodes]).await.unwrap();
    bus.publish(Topic::Nodes, Bytes::from_static(b"x")).unwrap();
    let first = next(&mut heard).await;
    assert!(
        matches!(first, BusEvent::Message(Topic::Nodes, _)),
        "{first:?}"
    );
    drop(bus);
    let since = Instant::now();
    while heard.recv().await.is_some() {
        assert!(since.elapsed() < PATIENCE, "its tasks live on");
    }
}
