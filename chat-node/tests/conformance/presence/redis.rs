//! The presence store in Redis: the suite of every backend, and what only servers of their own
//! clock, crashes and reapers on many nodes bring.

use std::{collections::BTreeMap, time::Duration};

use ::redis::Script;
use async_trait::async_trait;
use chat_node::{
    presence::{
        Availability, HANDED_OVER_IN, LEASE_FOR, PresenceError, PresenceStore, RedisPresence, Seen,
        SeenTimes, Standing,
    },
    redis::{RedisLink, RedisSettings},
};
use loadtest::cluster::{RedisCluster, RedisServer};
use parking_lot::Mutex;
use shared::{
    id::{NodeId, Timestamp, UserId},
    settings::Secret,
};
use std::{collections::HashMap, sync::Arc};
use tokio::time::Instant;

use super::{PresenceFactory, at, conforms, playing, put, read, state, user};

/// A store of its own in some Redis, by the beginning of its keys.
struct Store {
    url: String,
    prefix: String,
    link: RedisLink,
    seen: Option<Arc<Noted>>,
}

/// When users were last seen, as history keeps it.
#[derive(Default)]
struct Noted {
    times: Mutex<HashMap<UserId, Timestamp>>,
    asked: Mutex<usize>,
}

#[async_trait]
impl SeenTimes for Noted {
    fn note(&self, seen: Vec<Seen>) {
        let mut times = self.times.lock();
        for Seen { user, at } in seen {
            match at {
                Some(at) => times.insert(user, at),
                None => times.remove(&user),
            };
        }
    }

    async fn recall(&self, users: Vec<UserId>) -> HashMap<UserId, Timestamp> {
        *self.asked.lock() += 1;
        let times = self.times.lock();
        let known = users.into_iter().filter_map(|user| {
            let at = *times.get(&user)?;
            Some((user, at))
        });
        known.collect()
    }
}

impl Store {
    async fn at(url: &str) -> Self {
        let prefix = format!("test-{}:", ulid::Ulid::new());
        let link = link(url, &prefix).await;
        Self {
            url: url.to_owned(),
            prefix,
            link,
            seen: None,
        }
    }

    fn handle(&self, name: &str, link: RedisLink) -> RedisPresence {
        let seen = self.seen.clone().map(|seen| seen as Arc<dyn SeenTimes>);
        RedisPresence::new(link, NodeId::parse(name).unwrap(), seen)
    }

    /// A node with a link of its own.
    async fn far_node(&self, name: &str) -> RedisPresence {
        self.handle(name, link(&self.url, &self.prefix).await)
    }

    async fn run<T: ::redis::FromRedisValue>(&self, script: &str, keys: &[&str], arg: i64) -> T {
        let script = Script::new(script);
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(format!("{}presence:{key}", self.prefix));
        }
        call.arg(arg);
        call.invoke_async(&mut self.link.clone()).await.unwrap()
    }

    /// Lets the time be over in which all hand over again.
    async fn hand_over(&self) {
        let earlier = "redis.call('HINCRBY', KEYS[1], 'born', '-' .. ARGV[1]) return 0";
        let micros = i64::try_from(HANDED_OVER_IN.as_micros()).unwrap();
        let _: i64 = self.run(earlier, &["{leases}:book"], micros).await;
    }
}

async fn link(url: &str, prefix: &str) -> RedisLink {
    let link = RedisLink::connect(&RedisSettings {
        redis_url: Some(Secret::new(url.to_owned())),
        redis_prefix: prefix.to_owned(),
        ..RedisSettings::default()
    });
    let link = link.unwrap();
    assert!(link.wait_up(Duration::from_secs(10)).await, "{url} is away");
    link
}

#[async_trait]
impl PresenceFactory for Store {
    type Node = RedisPresence;

    async fn node(&self, name: &str) -> RedisPresence {
        self.handle(name, self.link.clone())
    }

    /// The clock is that of Redis, and nobody sets it: what leases have left is taken from them.
    async fn pass(&self, time: Duration) {
        let earlier = "
            for _, life in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
              redis.call('ZINCRBY', KEYS[1], '-' .. ARGV[1], life)
            end
            return 0";
        let micros = i64::try_from(time.as_micros()).unwrap();
        let _: i64 = self.run(earlier, &["{leases}"], micros).await;
    }
}

#[tokio::test]
async fn redis_conforms() {
    let server = RedisServer::shared().await.unwrap();
    conforms(&Store::at(server.url()).await).await;
}

#[tokio::test]
async fn a_cluster_of_redis_conforms() {
    let cluster = RedisCluster::start(3, false).await.unwrap();
    conforms(&Store::at(&cluster.url().unwrap()).await).await;
}

#[tokio::test]
async fn racing_reapers_get_each_user_once() {
    const USERS: usize = 3000;
    let store = Store::at(RedisServer::shared().await.unwrap().url()).await;
    let dead = store.far_node("dead").await;
    let lease = dead.lease().await.unwrap().incarnation;
    let users: Vec<UserId> = (0..USERS).map(|n| user(&format!("u{n}"))).collect();
    for some in users.chunks(500) {
        let changes: Vec<_> = some
            .iter()
            .map(|user| (user.clone(), Some(playing("go"))))
            .collect();
        dead.put(lease, at(1), &changes).await.unwrap();
    }
    store.pass(LEASE_FOR).await;
    let mut reapers = Vec::new();
    for n in 0..4 {
        let node = store.far_node(&format!("reaper-{n}")).await;
        let lease = node.lease().await.unwrap().incarnation;
        reapers.push(tokio::spawn(async move {
            let mut all = Vec::new();
            // Whoever finds nothing to claim asks on while another is at it.
            for _ in 0..20 {
                let some = node.reap(lease, at(7)).await.unwrap();
                assert!(some.len() <= 2304, "{} at once", some.len());
                all.extend(some);
            }
            all
        }));
    }
    let mut reaped: BTreeMap<UserId, usize> = BTreeMap::new();
    for reaper in reapers {
        for one in reaper.await.unwrap() {
            assert_eq!(one.lost, Some(playing("go")));
            assert!(one.untold);
            assert_eq!(
                (one.standing.merged(), one.standing.last_seen),
                (None, Some(at(7)))
            );
            *reaped.entry(one.user).or_default() += 1;
        }
    }
    assert_eq!(reaped.len(), USERS);
    assert!(reaped.values().all(|times| *times == 1));
    let left = "return redis.call('ZCARD', KEYS[1]) + redis.call('HLEN', KEYS[2])";
    let left: i64 = store.run(left, &["{leases}", "{leases}:book"], 0).await;
    assert_eq!(
        left,
        2 + 4,
        "the last incarnation and the birth, the reapers' leases; no claim"
    );
}

/// kill -9, and back with nothing: nobody is called offline for it, and all of it is put again.
#[tokio::test]
async fn a_store_that_lost_everything_says_so_until_all_is_back() {
    let mut server = RedisServer::start().await.unwrap();
    let store = Store::at(server.url()).await;
    let (a, b) = (store.far_node("a").await, store.far_node("b").await);
    let la = a.lease().await.unwrap().incarnation;
    let lb = b.lease().await.unwrap().incarnation;
    put(&a, la, 1, "x", Some(playing("go"))).await;
    let before = put(&b, lb, 1, "y", Some(state(Availability::Busy))).await;
    server.kill().unwrap();
    let away = a.read(&[user("y")]).await;
    assert!(
        matches!(away, Err(PresenceError::Unavailable(_))),
        "{away:?}"
    );
    server.restart_empty().await.unwrap();
    let lost = until(async || match a.read(&[user("y")]).await {
        Err(PresenceError::Unavailable(_)) => None,
        answer => Some(answer),
    });
    assert_eq!(
        lost.await,
        Err(PresenceError::Expired),
        "no lease, no answer"
    );
    assert_eq!(a.renew(la).await, Err(PresenceError::Expired));
    let again = a.lease().await.unwrap();
    assert!(again.forgot && again.incarnation > la);
    let change = [(user("x"), Some(playing("go")))];
    let put_on = until(async || match b.put(lb, at(2), &change).await {
        Err(PresenceError::Unavailable(_)) => None,
        answer => Some(answer),
    });
    assert_eq!(put_on.await, Err(PresenceError::Expired));
    // This node is back, but the other has not said yet what it holds.
    let waits = a.read(&[user("y")]).await;
    assert!(
        matches!(waits, Err(PresenceError::Unavailable(_))),
        "{waits:?}"
    );
    let lb = b.lease().await.unwrap();
    assert!(lb.forgot);
    let after = put(&b, lb.incarnation, 3, "y", Some(state(Availability::Busy))).await;
    assert!(after.version > before.version, "versions never go back");
    until(async || store.link.ping().await.ok()).await;
    store.hand_over().await;
    assert_eq!(a.read(&[user("y")]).await, Ok(vec![after]));
    // A node that comes new knows of no loss.
    assert!(!store.far_node("c").await.lease().await.unwrap().forgot);
}

/// A command that timed out is executed when the server goes on, and must not undo the later one.
#[tokio::test]
async fn a_stalled_server_ends_with_what_was_put_last() {
    let server = RedisServer::start().await.unwrap();
    let store = Store::at(server.url()).await;
    let (a, b) = (store.far_node("a").await, store.far_node("b").await);
    let lease = a.lease().await.unwrap().incarnation;
    put(&a, lease, 1, "x", Some(state(Availability::Online))).await;
    server.pause().unwrap();
    let change = [(user("x"), Some(state(Availability::Busy)))];
    let stalled = a.put(lease, at(2), &change).await;
    assert!(
        matches!(stalled, Err(PresenceError::Unavailable(_))),
        "{stalled:?}"
    );
    server.resume().unwrap();
    let gone = until(async || a.put(lease, at(3), &[(user("x"), None)]).await.ok()).await;
    assert_eq!(gone[0].merged(), None);
    put(&b, b.lease().await.unwrap().incarnation, 4, "z", None).await;
    assert_eq!(read(&b, "x").await.merged(), None);
}

/// A put that its lease outlived in name only: after the lease was given back nothing comes late.
#[tokio::test]
async fn what_was_released_is_held_no_more_by_what_comes_late() {
    let store = Store::at(RedisServer::shared().await.unwrap().url()).await;
    let (a, b) = (store.far_node("a").await, store.far_node("b").await);
    let lease = a.lease().await.unwrap().incarnation;
    let users: Vec<UserId> = (0..200).map(|n| user(&format!("u{n}"))).collect();
    let changes: Vec<_> = users
        .iter()
        .map(|user| (user.clone(), Some(playing("go"))))
        .collect();
    // Both at once, as when a node stops in the middle of a put.
    let (_, released) = tokio::join!(a.put(lease, at(1), &changes), a.release(lease, at(2)));
    released.unwrap();
    store.pass(LEASE_FOR).await;
    let lb = b.lease().await.unwrap().incarnation;
    b.reap(lb, at(3)).await.unwrap();
    let standings = b.read(&users).await.unwrap();
    assert!(standings.iter().all(|standing| standing.held.is_empty()));
}

#[tokio::test]
async fn when_users_were_last_seen_is_known_when_redis_forgot() {
    let mut store = Store::at(RedisServer::shared().await.unwrap().url()).await;
    let noted = Arc::new(Noted::default());
    store.seen = Some(Arc::clone(&noted));
    let a = store.far_node("a").await;
    let lease = a.lease().await.unwrap().incarnation;
    put(&a, lease, 1, "went", Some(playing("go"))).await;
    put(&a, lease, 5, "went", None).await;
    put(&a, lease, 6, "hidden", Some(playing("go"))).await;
    put(&a, lease, 7, "hidden", Some(state(Availability::Invisible))).await;
    put(&a, lease, 8, "there", Some(playing("go"))).await;
    let times = noted.times.lock().clone();
    assert_eq!(
        times,
        HashMap::from([(user("went"), at(5)), (user("hidden"), at(7))])
    );
    // As after a day, or a loss.
    let forget = "
        for _, name in ipairs({'went', 'hidden'}) do
          redis.call('UNLINK', KEYS[1] .. 'user:{' .. name .. '}')
        end
        return 0";
    let _: i64 = store.run(forget, &[""], 0).await;
    let seen = |standings: Vec<Standing>| -> Vec<_> {
        standings
            .into_iter()
            .map(|standing| standing.last_seen)
            .collect()
    };
    let users = ["went", "hidden", "there", "never"].map(user);
    let known = [Some(at(5)), Some(at(7)), None, None];
    assert_eq!(seen(a.read(&users).await.unwrap()), known);
    let asked = *noted.asked.lock();
    assert_eq!(seen(a.read(&users).await.unwrap()), known);
    assert_eq!(*noted.asked.lock(), asked, "not asked twice in a while");
    let back = put(&a, lease, 9, "hidden", Some(state(Availability::Invisible))).await;
    assert_eq!(back.last_seen, Some(at(7)), "unseen, it does not move");
}

#[tokio::test]
async fn nothing_stays_for_ever() {
    let store = Store::at(RedisServer::shared().await.unwrap().url()).await;
    let a = store.far_node("a").await;
    let lease = a.lease().await.unwrap().incarnation;
    let changes: Vec<_> = (0..50)
        .map(|n| (user(&format!("u{n}")), Some(playing("go"))))
        .collect();
    a.put(lease, at(1), &changes).await.unwrap();
    a.put(lease, at(2), &[(user("u0"), None)]).await.unwrap();
    let keys = format!("{}*", store.prefix);
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg(keys)
        .query_async(&mut store.link.clone())
        .await
        .unwrap();
    assert_eq!(keys.len(), 50 + 4, "{keys:?}");
    let time_to_live = async |key: &str| -> i64 {
        ::redis::cmd("PTTL")
            .arg(key)
            .query_async(&mut store.link.clone())
            .await
            .unwrap()
    };
    for key in &keys {
        let left = time_to_live(key).await;
        assert!(left > 0, "{key} has {left} ms");
        let _: i64 = ::redis::cmd("PEXPIRE")
            .arg(key)
            .arg(3_600_000)
            .query_async(&mut store.link.clone())
            .await
            .unwrap();
    }
    // What is in use is touched in turn.
    for _ in 0..60 {
        a.renew(lease).await.unwrap();
    }
    for key in &keys {
        let kept = time_to_live(key).await > 3_600_000;
        assert_eq!(kept, !key.contains("{u0}"), "{key}");
    }
}

/// Asks until there is an answer.
async fn until<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "nothing came of it in 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
