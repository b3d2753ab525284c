//! What goes on without being called: changes that are due are put and told, the lease is kept, expired
//! leases are reaped, and whoever is behind is shown what was missed.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream};
use shared::id::{Timestamp, UserId};
use tokio::time::Instant;

use super::{
    DeviceState, Incarnation, PresenceError, RENEW_EVERY, Reaped, Relation, Standing, merge,
    project,
    roster::{Due, News, Settled},
    service::Inner,
};
use crate::overload::Shed;

/// The most changes of one round trip to the store.
const BATCH: usize = 256;
/// How many of a batch are told of at once.
const TELLS: usize = 32;
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn drive(&self) {
        loop {
            let lease = *self.lease.lock();
            let next = match lease {
                Some(_) => self.rosters.iter().filter_map(|r| r.lock().next()).min(),
                // Without a lease nothing can be put; taking one says that something is due.
                None => None,
            };
            match next {
                Some(at) if at <= Instant::now() => {}
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.due.notified() => continue,
                    }
                }
                None => {
                    self.due.notified().await;
                    continue;
                }
            }
            if let Some(lease) = lease {
                self.put_what_is_due(lease).await;
            }
        }
    }

    async fn put_what_is_due(&self, lease: Incarnation) {
        let now = Instant::now();
        let mut due: Vec<Due> = Vec::new();
        for roster in &self.rosters {
            due.extend(roster.lock().due(now, BATCH - due.len()));
            if due.len() == BATCH {
                break;
            }
        }
        self.gauge();
        if due.is_empty() {
            return;
        }
        let changes: Vec<_> = due.into_iter().map(|due| (due.user, due.held)).collect();
        let store = &self.teller.store;
        let outcome = store.put(lease, Timestamp::now(), &changes).await;
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        metrics::counter!("fireside_presence_puts_total", "outcome" => label)
            .increment(changes.len() as u64);
        match outcome {
            Ok(standings) => {
                // At once, because telling may ask store-api who the friends of a user are whose
                // node died; each user is in a batch once, and the next waits for this one.
                stream::iter(changes.into_iter().zip(standings))
                    .for_each_concurrent(TELLS, |((user, held), standing)| async move {
                        self.settle(lease, &user, held, &standing).await;
                    })
                    .await;
            }
            Err(error) => {
                tracing::warn!(%error, users = changes.len(), "presence waits for its store");
                for (user, _) in changes {
                    self.with_roster(&user, |roster, now| roster.failed(&user, now, RETRY));
                }
                if error == PresenceError::Expired {
                    self.lapsed.notify_one();
                }
            }
        }
    }

    async fn settle(
        &self,
        lease: Incarnation,
        user: &UserId,
        held: Option<DeviceState>,
        standing: &Standing,
    ) {
        let tell = self.overload.allows(Shed::Presence);
        if !tell {
            metrics::counter!("fireside_presence_shed_total").increment(1);
        }
        let settled = Settled {
            held,
            elsewhere: standing.elsewhere(self.teller.bridge.node(), lease),
            total: standing.merged(),
            version: standing.version,
            tell,
        };
        let news = self.with_roster(user, |roster, now| roster.settled(user, settled, now));
        let Some(news) = news else {
            return;
        };
        let viewers = self.watches.lock().viewers(user);
        metrics::counter!("fireside_presence_published_total").increment(1);
        if !self.teller.tell(user, &news, standing, viewers).await {
            self.with_roster(user, |roster, now| roster.untold(user, news.before, now));
        }
    }

    pub(super) async fn keep_lease(&self) {
        loop {
            let lease = match self.teller.store.lease().await {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::warn!(%error, "no presence lease yet");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            *self.lease.lock() = Some(lease);
            for roster in &self.rosters {
                roster.lock().owe_all(Instant::now());
            }
            self.due.notify_one();
            self.hold_lease(lease).await;
            *self.lease.lock() = None;
            tracing::warn!("the presence lease ran out; taking another");
        }
    }

    /// Renews the lease and reaps others', until it has run out.
    async fn hold_lease(&self, lease: Incarnation) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                () = self.lapsed.notified() => return,
            }
            match self.teller.store.renew(lease).await {
                Ok(()) => {}
                Err(PresenceError::Expired) => return,
                Err(error @ PresenceError::Unavailable(_)) => {
                    tracing::warn!(%error, "the presence lease is not renewed");
                    continue;
                }
            }
            match self.teller.store.reap(Timestamp::now()).await {
                Ok(reaped) => self.mourn(reaped),
                Err(error) => tracing::warn!(%error, "expired leases wait"),
            }
        }
    }

    /// Tells of users whose node died, by way of the roster, which tells again if it fails.
    fn mourn(&self, reaped: Vec<Reaped>) {
        metrics::counter!("fireside_presence_reaped_total").increment(reaped.len() as u64);
        for Reaped {
            user,
            lost,
            standing,
        } in reaped
        {
            let before = standing
                .merged()
                .map_or(lost.clone(), |rest| merge(&rest, &lost));
            self.with_roster(&user, |roster, now| roster.owe(&user, Some(before), now));
        }
    }

    /// This node goes: others are told of its users now, because nobody will later.
    pub(super) async fn tell_of_the_dead(&self, reaped: Vec<Reaped>) {
        if self.teller.bridge.alone() {
            return;
        }
        for reaped in reaped {
            let after = reaped.standing.merged();
            let before = after
                .as_ref()
                .map_or(reaped.lost.clone(), |rest| merge(rest, &reaped.lost));
            let news = News {
                before: Some(before),
                after,
            };
            let nobody = HashSet::new();
            self.teller
                .tell(&reaped.user, &news, &reaped.standing, nobody)
                .await;
        }
    }

    pub(super) async fn show_what_was_missed(&self) {
        loop {
            let behind: Vec<_> = {
                let mut behind = self.behind.lock();
                let some: Vec<UserId> = behind.keys().take(BATCH).cloned().collect();
                some.into_iter()
                    .filter_map(|user| behind.remove_entry(&user))
                    .collect()
            };
            if behind.is_empty() {
                self.lagging.notified().await;
                continue;
            }
            for (viewer, since) in behind {
                if !self.show_friends(&viewer, since).await {
                    tokio::time::sleep(RETRY).await;
                    self.catch_up(&viewer, since);
                }
            }
        }
    }

    async fn show_friends(&self, viewer: &UserId, since: Option<Timestamp>) -> bool {
        let graph = self.teller.friends.graph(viewer);
        let (true, Some(graph)) = (self.teller.relays.is_online(viewer), graph) else {
            return true;
        };
        let friends: Vec<UserId> = graph.friends.keys().cloned().collect();
        let Ok(standings) = self.teller.store.read(&friends).await else {
            return false;
        };
        for (friend, standing) in friends.iter().zip(standings) {
            if since.is_none() || standing.changed >= since {
                let relation = Relation::of_friends(viewer, &graph, friend);
                self.show(viewer, friend, project(relation, &standing.known()));
            }
        }
        true
    }

    fn gauge(&self) {
        let sizes = self.rosters.iter().map(|roster| roster.lock().len());
        let (users, queued) = sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        metrics::gauge!("fireside_presence_users").set(users as f64);
        metrics::gauge!("fireside_presence_queued").set(queued as f64);
        metrics::gauge!("fireside_presence_watched_rooms").set(self.watches.lock().len() as f64);
        metrics::gauge!("fireside_presence_behind").set(self.behind.lock().len() as f64);
    }
}
