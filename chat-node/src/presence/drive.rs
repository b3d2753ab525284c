//! What goes on without being called: changes that are due are put and told, the lease is kept, expired
//! leases are reaped, and whoever is behind is shown what was missed.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream};
use shared::id::{Timestamp, UserId};
use tokio::time::Instant;

use super::{
    DeviceState, Incarnation, Lease, PresenceError, RENEW_EVERY, Reaped, Relation, Standing,
    other_than, project,
    roster::{Due, News, Settled},
    service::Inner,
};
use crate::{bridge::BusMessage, bus::Topic, overload::Shed};

/// The most changes of one round trip to the store.
const BATCH: usize = 256;
/// How many of a batch are told of at once.
const TELLS: usize = 32;
/// How many who are behind are shown what they missed at once.
const SHOWS: usize = 8;
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
                for (user, held) in &changes {
                    let since =
                        self.with_roster(user, |roster, _| roster.taken(user, held.as_ref()));
                    if since.is_some() {
                        self.catch_up(user, since);
                    }
                }
                self.taken.notify_waiters();
                // At once, because telling may ask store-api who the friends of a user are whose
                // node died; each user is in a batch once, and the next waits for this one.
                let settled = stream::iter(changes.into_iter().zip(standings));
                let settled = settled.map(|((user, held), standing)| async move {
                    let told = self.settle(lease, &user, held, &standing).await;
                    told.then_some(user)
                });
                let told: Vec<UserId> = settled
                    .buffer_unordered(TELLS)
                    .filter_map(std::future::ready)
                    .collect()
                    .await;
                store.told(lease, &told);
            }
            Err(error) => {
                tracing::warn!(%error, users = changes.len(), "presence waits for its store");
                for (user, _) in changes {
                    self.with_roster(&user, |roster, now| roster.failed(&user, now, RETRY));
                }
                if error == PresenceError::Expired {
                    self.doubted.notify_one();
                }
            }
        }
    }

    /// Tells of a change that the store took, if somebody has to be told; answers whether none has
    /// any more.
    async fn settle(
        &self,
        lease: Incarnation,
        user: &UserId,
        held: Option<DeviceState>,
        standing: &Standing,
    ) -> bool {
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
            return tell;
        };
        let viewers = self.watches.lock().viewers(user);
        metrics::counter!("fireside_presence_published_total").increment(1);
        let told = self.teller.tell(user, &news, standing, viewers).await;
        if !told {
            self.with_roster(user, |roster, now| roster.untold(user, news.before, now));
        }
        told
    }

    pub(super) async fn keep_lease(&self) {
        let mut lapsed = false;
        loop {
            let Lease {
                incarnation,
                forgot,
            } = match self.teller.store.lease().await {
                Ok(lease) => lease,
                Err(error) => {
                    tracing::warn!(%error, "no presence lease yet");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            if forgot {
                // Who died together with the store's memory is reaped by nobody: everybody is shown
                // what is left, when that is all there.
                for viewer in self.users() {
                    self.catch_up(&viewer, None);
                }
            }
            *self.lease.lock() = Some(incarnation);
            for roster in &self.rosters {
                let mut roster = roster.lock();
                if lapsed && !forgot {
                    // Somebody may have reaped it, and told that nobody is here.
                    roster.doubt_told();
                }
                roster.owe_all(Instant::now());
            }
            self.due.notify_one();
            self.hold_lease(incarnation).await;
            lapsed = true;
            *self.lease.lock() = None;
            tracing::warn!("the presence lease ran out; taking another");
        }
    }

    /// Renews the lease and reaps others', until it has run out.
    async fn hold_lease(&self, lease: Incarnation) {
        let mut away = false;
        loop {
            // As soon as the store is back: what it has lost waits for every node.
            let pause = if away { RETRY } else { RENEW_EVERY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.doubted.notified() => {}
            }
            match self.teller.store.renew(lease).await {
                Ok(()) => away = false,
                Err(PresenceError::Expired) => return,
                Err(error @ PresenceError::Unavailable(_)) => {
                    if !away {
                        tracing::warn!(%error, "the presence lease is not renewed");
                    }
                    away = true;
                    continue;
                }
            }
            self.reap(lease).await;
        }
    }

    async fn reap(&self, lease: Incarnation) {
        let mut died = false;
        loop {
            match self.teller.store.reap(lease, Timestamp::now()).await {
                Ok(reaped) if reaped.is_empty() => return,
                Ok(reaped) => {
                    if !std::mem::replace(&mut died, true) {
                        // It may have stored what it told nobody of.
                        self.teller.bridge.publish(Topic::Nodes, &BusMessage::Lost);
                    }
                    self.mourn(reaped);
                }
                Err(error) => {
                    tracing::warn!(%error, "expired leases wait");
                    return;
                }
            }
        }
    }

    /// Tells of users whose node died, by way of the roster, which tells again if it fails.
    fn mourn(&self, reaped: Vec<Reaped>) {
        metrics::counter!("fireside_presence_reaped_total").increment(reaped.len() as u64);
        for reaped in reaped {
            let (user, before) = (&reaped.user, reaped.before());
            if reaped.untold {
                self.with_roster(user, |roster, now| roster.owe_anyhow(user, now));
            } else if before != reaped.standing.merged() {
                self.with_roster(user, |roster, now| roster.owe(user, before, now));
            }
            // Of who is elsewhere with the same there is nothing to tell.
        }
    }

    /// This node goes: others are told of its users now, because nobody will later.
    pub(super) async fn tell_of_the_dead(&self, reaped: Vec<Reaped>) {
        if self.teller.bridge.alone() {
            return;
        }
        for reaped in reaped {
            let after = reaped.standing.merged();
            let before = if reaped.untold {
                other_than(after.as_ref())
            } else {
                reaped.before()
            };
            let news = News { before, after };
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
            let shown = stream::iter(behind).map(|(viewer, since)| async move {
                let shown = self.show_people(&viewer, since).await;
                (!shown).then_some((viewer, since))
            });
            let failed: Vec<_> = shown
                .buffer_unordered(SHOWS)
                .filter_map(std::future::ready)
                .collect()
                .await;
            if !failed.is_empty() {
                for (viewer, since) in failed {
                    self.catch_up(&viewer, since);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Shows a viewer their friends, who is in the rooms they have open, and how they stand themselves: another of
    /// their devices may have said so.
    async fn show_people(&self, viewer: &UserId, since: Option<Timestamp>) -> bool {
        let graph = self.teller.friends.graph(viewer);
        let (true, Some(graph)) = (self.teller.relays.is_online(viewer), graph) else {
            return true;
        };
        let mut people: HashSet<UserId> = graph.friends.ids().cloned().collect();
        let sessions = self.roster(viewer).lock().sessions(viewer);
        for session in sessions {
            people.extend(self.watches.lock().seen_from(session));
        }
        people.insert(viewer.clone());
        let people: Vec<UserId> = people.into_iter().collect();
        let standings = match self.teller.read(&people).await {
            Ok(standings) => standings,
            Err(error) => {
                self.doubt(&error);
                return false;
            }
        };
        for (person, standing) in people.iter().zip(standings) {
            let near = person == viewer || graph.friends.contains(person);
            let relation = if near {
                Relation::of_friends(viewer, &graph, person)
            } else {
                Relation::of_members(viewer, &graph, person)
            };
            // Members always, or that one who hides is shown would tell that they changed something.
            if since.is_none() || standing.changed >= since || !near {
                self.show(viewer, person, project(relation, &standing.known()));
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
