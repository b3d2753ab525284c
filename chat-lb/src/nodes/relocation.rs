//! Moves people to the node they belong to.
//!
//! When a node comes, or its share grows, some of those who have a socket elsewhere belong to it. Who
//! belongs where only a balancer can say: it knows the shares as they are right now, who is ejected and
//! who is full, and it is the one who will be asked where to, when they come back. So it asks the nodes to
//! let some go, so many a second, and each socket once: a node says `bye 4009` to it, and its session
//! goes on where the client is sent then.
//!
//! A balancer that ends has all its people let go in the same way, so that they come back through another.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use metrics::counter;
use serde_json::json;
use shared::{id::UserId, telemetry::Sparing};
use tokio::time::{Instant, sleep};

use super::{Backend, Pool, Service, Shares};

/// How often it is looked at who is astray, while somebody may be.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked at in any case: a node that was full may be no more.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// How often people are let go when the balancer ends.
const STEP: Duration = Duration::from_millis(250);
/// The most people of one request.
const AT_ONCE: usize = 500;

/// Asks nodes to let people go.
#[derive(Debug, Clone)]
pub struct Relocation {
    pool: Arc<Pool>,
    service: Service,
}

impl Relocation {
    /// For the people of this pool.
    pub fn new(pool: Arc<Pool>, service: Service) -> Self {
        Self { pool, service }
    }

    /// Moves up to so many people a second, for ever.
    pub async fn run(self, most: usize) {
        let lines = Sparing::new(Duration::from_secs(10));
        let mut looks = Looks::default();
        loop {
            sleep(LOOK).await;
            let shares = self.pool.shares();
            if !looks.due(&shares, Instant::now()) {
                continue;
            }
            let astray = self.pool.astray(most);
            let found: usize = astray.iter().map(|(_, users)| users.len()).sum();
            looks.looked(shares, found < most, Instant::now());
            for (node, users) in astray {
                self.ask(&node, users, &lines).await;
            }
        }
    }

    /// Lets everybody go within this time.
    pub async fn empty(&self, within: Duration) {
        let lines = Sparing::new(Duration::from_secs(10));
        empty(&self.pool, within, async |node, users| {
            self.ask(&node, users, &lines).await;
        })
        .await;
    }

    async fn ask(&self, node: &Backend, mut users: Vec<UserId>, lines: &Sparing) {
        // Of somebody with two sockets both are meant.
        users.sort_unstable();
        users.dedup();
        for users in users.chunks(AT_ONCE) {
            let body = json!({ "users": users });
            let asked = self.service.post(node, "/v1/server/relocate", &body);
            let outcome = match asked.await {
                Ok(()) => "asked",
                Err(why) => {
                    if let Some(more) = lines.due() {
                        let node = node.name();
                        tracing::warn!(node, why, more, "a node does not let people go");
                    }
                    "failed"
                }
            };
            counter!("fireside_lb_relocations_total", "outcome" => outcome)
                .increment(users.len() as u64);
        }
    }
}

/// Has everybody of the pool asked for within this time, in even steps: of those who are left as many as the
/// time that is left makes it.
async fn empty(pool: &Pool, within: Duration, ask: impl AsyncFn(Arc<Backend>, Vec<UserId>)) {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let steps = left.as_millis().div_ceil(STEP.as_millis()).max(1);
        let at_once = pool.unasked().div_ceil(steps as usize);
        let asked = pool.anybody(at_once).into_iter();
        join_all(asked.map(|(node, users)| ask(node, users))).await;
        if left.is_zero() {
            return;
        }
        sleep(left.min(STEP)).await;
    }
}

/// Whether it is worth looking who is astray: that takes a hash for everybody.
#[derive(Debug, Default)]
struct Looks {
    /// The shares with which nobody was left who is astray, and when that was.
    settled: Option<(Shares, Instant)>,
}

impl Looks {
    fn due(&self, shares: &Shares, now: Instant) -> bool {
        let settled = self.settled.as_ref();
        settled
            .is_none_or(|(before, at)| before != shares || now.duration_since(*at) >= LOOK_ANYWAY)
    }

    fn looked(&mut self, shares: Shares, all_found: bool, now: Instant) {
        self.settled = all_found.then_some((shares, now));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::nodes::{Place, PoolKind, Probe, Thresholds};

    const THRESHOLDS: Thresholds = Thresholds {
        up_after: 1,
        down_after: 1,
        gone_after: Duration::from_secs(5),
        eject_after: 5,
        eject_for: Duration::from_secs(10),
        slow_start: Duration::ZERO,
    };

    fn pool(names: &[&str]) -> (Pool, Vec<Arc<Backend>>) {
        let pool = Pool::new(PoolKind::Nodes, THRESHOLDS, 1.25);
        let place = |name: &&str| format!("{name}=127.0.0.1:9").parse().unwrap();
        let places: Vec<Place> = names.iter().map(place).collect();
        let backends = pool.replace(&places);
        for backend in &backends {
            backend.probed(Probe::Ready);
        }
        (pool, backends)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_are_asked_within_the_time() {
        const PEOPLE: usize = 100_000;
        let (pool, backends) = pool(&["a", "b", "c"]);
        let task = tokio::spawn(std::future::pending::<()>());
        let mut places = Vec::new();
        for n in 0..PEOPLE {
            let tunnels = backends[n % 3].tunnels();
            let place = tunnels.enter(&UserId::parse(&format!("u{n}")).unwrap());
            tunnels.attach(place.number(), task.abort_handle());
            places.push(place);
        }
        assert_eq!(pool.unasked(), PEOPLE);
        let within = Duration::from_millis(12_500);
        let steps = RefCell::new(Vec::<(Instant, usize)>::new());
        let since = Instant::now();
        empty(&pool, within, async |_, users| {
            // A node takes its time.
            sleep(Duration::from_millis(20)).await;
            steps.borrow_mut().push((Instant::now(), users.len()));
        })
        .await;
        assert_eq!(pool.unasked(), 0);
        let steps = steps.into_inner();
        assert_eq!(steps.iter().map(|(_, users)| users).sum::<usize>(), PEOPLE);
        let last = steps.iter().map(|(at, _)| *at).max().unwrap();
        assert!(last - since <= within, "{:?}", last - since);
        // In even steps, not all at the end.
        let half = steps.iter().filter(|(at, _)| *at - since <= within / 2);
        let early: usize = half.map(|(_, users)| users).sum();
        assert!((PEOPLE / 3..PEOPLE * 2 / 3).contains(&early), "{early}");
    }

    #[test]
    fn nobody_looks_while_nothing_changed() {
        let (pool, backends) = pool(&["a", "b"]);
        let (mut looks, start) = (Looks::default(), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        assert!(looks.due(&pool.shares(), start), "nobody has looked yet");
        // More were found than may be moved at once.
        looks.looked(pool.shares(), false, start);
        assert!(looks.due(&pool.shares(), after(1)));
        looks.looked(pool.shares(), true, after(1));
        assert!(!looks.due(&pool.shares(), after(2)));
        assert!(!looks.due(&pool.shares(), after(30)));
        assert!(looks.due(&pool.shares(), after(31)), "now and then anyway");
        // Somebody's share is another.
        backends[1].probed(Probe::Unready);
        assert!(looks.due(&pool.shares(), after(2)));
        looks.looked(pool.shares(), true, after(2));
        assert!(!looks.due(&pool.shares(), after(3)));
        backends[1].probed(Probe::Ready);
        assert!(looks.due(&pool.shares(), after(3)));
    }
}
