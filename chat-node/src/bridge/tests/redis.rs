//! The same nodes with presence and revocations in Redis, in real time: what its crashes, and those
//! of nodes, look like to friends. The bus stands all the while, so that nothing is repaired for its sake.

use loadtest::cluster::RedisServer;
use shared::settings::Secret;
use tokio::time::{Instant, timeout};

use super::*;
use crate::presence::{HANDED_OVER_IN, LEASE_FOR};

const GRACE: Duration = Duration::from_millis(1500);
const DAMPING: Duration = Duration::from_millis(100);
/// By when the people of a dead node are offline.
const DEAD_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    fn on(server: &RedisServer) -> Self {
        let settings = RedisSettings {
            redis_url: Some(Secret::new(server.url().to_owned())),
            redis_prefix: format!("test-{}:", ulid::Ulid::new()),
            ..RedisSettings::default()
        };
        Self {
            bus: LocalBus::new(),
            presence: LocalPresence::new(),
            store: Arc::default(),
            redis: Some(settings),
            pace: PresenceSettings {
                presence_grace: GRACE,
                presence_damping: DAMPING,
            },
        }
    }

    /// Has a node's lease run out as if it had stood still for so long.
    async fn expire(&self, node: &str) {
        let settings = self.redis.as_ref().unwrap();
        let link = RedisLink::connect(settings).unwrap();
        assert!(link.wait_up(Duration::from_secs(10)).await);
        let earlier = ::redis::Script::new(
            "for _, life in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
               if string.sub(life, 1, #ARGV[1]) == ARGV[1] then
                 redis.call('ZINCRBY', KEYS[1], '-' .. ARGV[2], life)
               end
             end",
        );
        let mut call = earlier.prepare_invoke();
        call.key(format!("{}presence:{{leases}}", settings.redis_prefix));
        call.arg(format!("{node}/"))
            .arg(LEASE_FOR.as_micros().to_string());
        let _: () = call.invoke_async(&mut link.clone()).await.unwrap();
    }
}

impl Session {
    /// Waits until somebody is shown so; answers all that was shown meanwhile.
    async fn until(&mut self, shown: (String, String)) -> Vec<(String, String)> {
        self.until_all(DEAD_WITHIN, &[shown]).await
    }

    async fn until_all(
        &mut self,
        time: Duration,
        shown: &[(String, String)],
    ) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let waiting = timeout(time, async {
            loop {
                all.extend(self.seen());
                if shown.iter().all(|one| all.contains(one)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let came = waiting.await.is_ok();
        assert!(came, "{shown:?} did not come: {all:?}");
        all
    }
}

fn of<'a>(shown: &'a [(String, String)], who: &str) -> Vec<&'a str> {
    let of = shown.iter().filter(|(user, _)| user == who);
    of.map(|(_, status)| status.as_str()).collect()
}

#[actix_rt::test]
async fn who_moves_to_another_node_inside_the_grace_is_not_seen_to_go() {
    let cluster = Cluster::on(RedisServer::shared().await.unwrap());
    cluster.befriend("a", "b");
    cluster.befriend("a", "c");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let three = cluster.node("three").await;
    let mut b = two.session("b", online()).await;
    let mut c = three.session("c", online()).await;
    let a = one.session("a", online()).await;
    b.until(saw("a", "online")).await;
    c.until(saw("a", "online")).await;
    assert_eq!(
        three.friends_of("c").await[0].1,
        json!({"status": "online"})
    );
    // The socket is gone, and the user comes to another node.
    one.presence.disconnected(a.key, &a.user);
    tokio::time::sleep(GRACE / 3).await;
    let again = two.session("a", online()).await;
    tokio::time::sleep(GRACE * 2).await;
    one.end(&a);
    tokio::time::sleep(GRACE).await;
    assert_eq!(of(&b.seen(), "a"), [""; 0], "no flicker");
    assert_eq!(of(&c.seen(), "a"), [""; 0], "no flicker");
    two.presence
        .set(again.key, &again.user, state(Availability::Busy));
    b.until(saw("a", "busy")).await;
    c.until(saw("a", "busy")).await;
    two.end(&again);
    let told = c.until(saw("a", "offline")).await;
    assert_eq!(of(&told, "a"), ["offline"]);
}

#[actix_rt::test]
async fn a_dead_nodes_people_go_offline_and_a_slow_nodes_people_come_back() {
    let cluster = Cluster::on(RedisServer::shared().await.unwrap());
    cluster.befriend("a", "b");
    cluster.befriend("i", "b");
    cluster.befriend("s", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let slow = cluster.node("slow").await;
    let mut b = two.session("b", online()).await;
    let a = one.session("a", online()).await;
    let i = one.session("i", state(Availability::Invisible)).await;
    let s = slow.session("s", online()).await;
    b.until(saw("a", "online")).await;
    one.die();
    cluster.expire("one").await;
    let told = b.until(saw("a", "offline")).await;
    assert_eq!(of(&told, "a"), ["offline"], "once");
    assert_eq!(of(&told, "i"), [""; 0], "nothing of who was invisible");
    // This one only stood still, for so long that it was given up.
    *slow.link.cut.lock() = true;
    cluster.expire("slow").await;
    b.until(saw("s", "offline")).await;
    *slow.link.cut.lock() = false;
    let back = b
        .until_all(Duration::from_secs(10), &[saw("s", "online")])
        .await;
    assert_eq!(of(&back, "a"), [""; 0]);
    drop((a, i, s));
}

/// kill -9 of Redis, back with nothing, while one node dies too.
#[actix_rt::test]
async fn an_empty_redis_is_filled_again_and_nobody_flickers() {
    let mut server = RedisServer::start().await.unwrap();
    let cluster = Cluster::on(&server);
    for friend in ["a", "d", "n"] {
        cluster.befriend(friend, "b");
    }
    cluster.befriend("a", "n");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let three = cluster.node("three").await;
    let mut b = two.session("b", online()).await;
    let mut a = one.session("a", state(Availability::Busy)).await;
    let d = three.session("d", online()).await;
    let stays = two.session("x", online()).await;
    let there = [saw("a", "busy"), saw("d", "online")];
    b.until_all(DEAD_WITHIN, &there).await;
    tokio::time::sleep(DAMPING * 3).await;
    b.seen();
    a.seen();
    server.kill().unwrap();
    three.die();
    // Who comes while nobody knows anything sees that.
    let mut n = one.session("n", online()).await;
    assert_eq!(one.friends_of("n").await[0].1, json!({"status": "unknown"}));
    assert_eq!(
        two.presence.bulk(&[user("a")]).await[0].1.status,
        shared::protocol::presence::Status::Unknown
    );
    let room = RoomId::parse("r").unwrap();
    let members = ["n", "x"].map(user).to_vec();
    let opened = one.presence.open(n.key, &n.user, &room, members).unwrap();
    one.presence.show_members(&n.user, &opened).await;
    n.until(saw("x", "unknown")).await;
    server.restart_empty().await.unwrap();
    let back = Instant::now();
    let truth = [saw("d", "offline"), saw("n", "online")];
    let told = b.until_all(Duration::from_secs(10), &truth).await;
    assert!(
        of(&told, "a").iter().all(|status| *status == "busy"),
        "{told:?}"
    );
    let truth = [saw("a", "busy"), saw("x", "online")];
    n.until_all(Duration::from_secs(10), &truth).await;
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(two.friends_of("b").await[0].1, json!({"status": "busy"}));
    // And then all is quiet.
    tokio::time::sleep(HANDED_OVER_IN).await;
    let told = [a.seen(), b.seen()].concat();
    assert!(
        told.iter().all(|(_, status)| status != "unknown"),
        "{told:?}"
    );
    assert!(!told.contains(&saw("a", "offline")), "{told:?}");
    drop((d, stays));
}

#[actix_rt::test]
async fn a_stalled_redis_changes_nothing() {
    let server = RedisServer::start().await.unwrap();
    let cluster = Cluster::on(&server);
    cluster.befriend("a", "b");
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let mut b = two.session("b", online()).await;
    let a = one.session("a", online()).await;
    b.until(saw("a", "online")).await;
    server.pause().unwrap();
    one.presence.set(a.key, &a.user, state(Availability::Busy));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(of(&b.seen(), "a"), [""; 0]);
    server.resume().unwrap();
    let told = b
        .until_all(Duration::from_secs(10), &[saw("a", "busy")])
        .await;
    assert!(
        of(&told, "a").iter().all(|status| *status == "busy"),
        "{told:?}"
    );
}

/// Cut off from the bus and from store-api, a node learns from the set what is revoked; so does one that starts.
#[actix_rt::test]
async fn what_is_revoked_is_read_by_who_did_not_hear_it() {
    let mut server = RedisServer::start().await.unwrap();
    let mut cluster = Cluster::on(&server);
    cluster.store.away.store(true, Relaxed);
    let one = cluster.node("one").await;
    // Another bus: nothing of what the first says arrives.
    cluster.bus = LocalBus::new();
    let two = cluster.node("two").await;
    let revoked = |jti: &str| {
        StoreEvent::new(StoreEventKind::TokenRevoked {
            user: user("a"),
            jti: jti.into(),
            exp: Timestamp::now().plus_millis(3_600_000),
        })
    };
    one.store_events.intake(vec![revoked("j1")]).await;
    one.store_events.disconnect(&user("d"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    // As when its bus is restored.
    two.store_events.reread_revocations();
    let closed = async |node: &Node, what: &str| {
        let closed = timeout(Duration::from_secs(10), async {
            while !node.heard.closed.lock().iter().any(|closed| closed == what) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(closed.await.is_ok(), "{what} is not closed");
    };
    closed(&two, "j1").await;
    closed(&two, "disconnect d").await;
    let three = cluster.node("three").await;
    closed(&three, "j1").await;
    assert_eq!(three.revocations.len(), 1);
    // What Redis loses is put there again by who knows it.
    server.kill().unwrap();
    one.store_events.intake(vec![revoked("j2")]).await;
    server.restart_empty().await.unwrap();
    one.store_events.reread_revocations();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let four = cluster.node("four").await;
    closed(&four, "j1").await;
    closed(&four, "j2").await;
}
