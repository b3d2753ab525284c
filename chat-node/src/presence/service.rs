//! The presence of a node: sessions call it, and three loops do the rest (changes that are due, the
//! lease, viewers who are behind).
//!
//! Calls from sessions take a lock for the time of a map look-up and never wait. Queues: one entry
//! for a user to whom something is due, one for a viewer who is behind; both maps by user, so
//! bounded by the users online here (and those whom a dead node leaves behind, until told of).

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use shared::{
    codes::ErrorCode,
    id::{RoomId, Timestamp, UserId},
    protocol::{
        presence::{PresenceView, Status},
        reply::{ErrorBody, Friend},
    },
    settings::{Report, Settings},
    telemetry::Metric,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    DeviceState, Incarnation, Known, PresenceError, PresenceStore, RENEW_EVERY, Reaped, Relation,
    Standing, merge, project,
    roster::{Due, Pace, Roster, Settled},
    tell::Teller,
    watch::{MAX_WATCHED_MEMBERS, MAX_WATCHES, Refused, Watches},
};
use crate::{
    bridge::{Bridge, PresenceNews},
    friends::{FriendCache, Graph},
    overload::{Overload, Shed},
    transport::{SessionKey, relay::Relays},
};

/// Rosters, each behind a lock of its own.
const SHARDS: usize = 16;
/// The most changes of one round trip to the store.
const BATCH: usize = 256;
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How far back a resumed session may have missed changes: as long as sessions outlive sockets,
/// and some.
const MISSED: Duration = Duration::from_secs(130);
/// Of how many users told of by other nodes the newest version is remembered.
const MAX_VERSIONS: usize = 100_000;

/// How quickly presence is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct PresenceSettings {
    /// How long a user still counts as there after the connection is gone
    #[arg(long, value_parser = shared::settings::duration, default_value = "10s")]
    pub presence_grace: Duration,
    /// The least time between two publications about one user; the newest wins
    #[arg(long, value_parser = shared::settings::duration, default_value = "2s")]
    pub presence_damping: Duration,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        Self {
            presence_grace: Duration::from_secs(10),
            presence_damping: Duration::from_secs(2),
        }
    }
}

impl Settings for PresenceSettings {
    fn validate(&self, report: &mut Report) {
        let short = self.presence_grace <= Duration::from_mins(2);
        report.require(short, "presence_grace", "is at most 2m, as sessions are");
        let short = self.presence_damping <= Duration::from_mins(1);
        report.require(short, "presence_damping", "is at most 1m");
    }
}

/// The metrics of presence.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        "fireside_presence_users",
        "Users with a device here, or of whom something is yet to be told",
    ),
    Metric::gauge(
        "fireside_presence_queued",
        "Users to whom something is due at some time",
    ),
    Metric::gauge(
        "fireside_presence_behind",
        "Users to be shown their friends anew",
    ),
    Metric::gauge(
        "fireside_presence_watched_rooms",
        "Rooms open on some screen, whose members' presence is shown",
    ),
    Metric::counter(
        "fireside_presence_puts_total",
        "States handed to the presence store",
    )
    .by(&["outcome"]),
    Metric::counter("fireside_presence_published_total", "Changes told of"),
    Metric::counter(
        "fireside_presence_told_total",
        "Users on this node told of a change",
    ),
    Metric::counter(
        "fireside_presence_shed_total",
        "Changes not told because of load; the newest is told later",
    ),
    Metric::counter(
        "fireside_presence_reaped_total",
        "Users found on an expired lease",
    ),
];

/// The presence of this node's users. Clones share it.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    teller: Teller,
    overload: Overload,
    hasher: RandomState,
    rosters: Vec<Mutex<Roster>>,
    watches: Mutex<Watches>,
    lease: Mutex<Option<Incarnation>>,
    /// Viewers to be shown their friends anew: those who changed since then, or all.
    behind: Mutex<HashMap<UserId, Option<Timestamp>>>,
    /// The newest version that another node told, by user.
    versions: Mutex<HashMap<UserId, u64>>,
    /// Something is due earlier than before, or the lease stands.
    due: Notify,
    lapsed: Notify,
    lagging: Notify,
}

impl Presence {
    /// Presence over `store`. Nothing is told before [`Presence::run`].
    pub fn new(
        store: Arc<dyn PresenceStore>,
        friends: Arc<FriendCache>,
        bridge: Arc<Bridge>,
        relays: Relays,
        overload: Overload,
        settings: PresenceSettings,
    ) -> Self {
        let pace = Pace {
            grace: settings.presence_grace,
            damping: settings.presence_damping,
        };
        let rosters = std::iter::repeat_with(|| Mutex::new(Roster::new(pace)));
        Self(Arc::new(Inner {
            teller: Teller {
                store,
                friends,
                bridge,
                relays,
            },
            overload,
            hasher: RandomState::new(),
            rosters: rosters.take(SHARDS).collect(),
            watches: Mutex::default(),
            lease: Mutex::default(),
            behind: Mutex::default(),
            versions: Mutex::default(),
            due: Notify::new(),
            lapsed: Notify::new(),
            lagging: Notify::new(),
        }))
    }

    /// A session started, with this state of its device.
    pub fn connected(&self, session: SessionKey, user: &UserId, state: DeviceState) {
        let state = state.begun(None, Timestamp::now());
        self.0.with_roster(user, |roster, now| {
            roster.connected(session, user, state, now);
        });
    }

    /// A session was taken up again: its device is as it was, and is shown what it missed.
    pub fn resumed(&self, session: SessionKey, user: &UserId) {
        self.0
            .with_roster(user, |roster, now| roster.resumed(session, user, now));
        let missed = i64::try_from(MISSED.as_millis()).unwrap_or(i64::MAX);
        self.0
            .catch_up(user, Some(Timestamp::now().plus_millis(-missed)));
    }

    /// A device's state changed.
    pub fn set(&self, session: SessionKey, user: &UserId, state: DeviceState) {
        self.0.with_roster(user, |roster, now| {
            roster.set(session, user, now, |before| {
                state.begun(Some(before), Timestamp::now())
            });
        });
    }

    /// A session's socket is gone; the session lives on, and counts for the grace.
    pub fn disconnected(&self, session: SessionKey, user: &UserId) {
        self.0
            .with_roster(user, |roster, now| roster.disconnected(session, user, now));
    }

    /// A session is gone, and what it had open.
    pub fn ended(&self, session: SessionKey, user: &UserId) {
        self.0
            .with_roster(user, |roster, now| roster.ended(session, user, now));
        let ended = self.0.watches.lock().end(session);
        self.0.forget_topics(&ended);
    }

    /// The user's own presence, with invisible as what it is.
    pub async fn own(&self, user: &UserId) -> PresenceView {
        let store = &self.0.teller.store;
        let standings = store.read(std::slice::from_ref(user)).await;
        let held = self.0.roster(user).lock().held(user);
        let known = match (standings.ok().and_then(|mut all| all.pop()), held) {
            // What is held here may be on its way to the store.
            (Some(standing), held) => {
                let elsewhere = match *self.0.lease.lock() {
                    Some(lease) => standing.elsewhere(self.0.teller.bridge.node(), lease),
                    None => standing.merged(),
                };
                let state = match (held, elsewhere) {
                    (Some(a), Some(b)) => Some(merge(&a, &b)),
                    (a, b) => a.or(b),
                };
                Known::Is {
                    state,
                    last_seen: standing.last_seen,
                }
            }
            (None, Some(held)) => Known::Is {
                state: Some(held),
                last_seen: None,
            },
            (None, None) => Known::Unknown,
        };
        project(Relation::Own, &known)
    }

    /// The user's friends by name, as the user may see them. When the store does not answer they are
    /// `unknown`, and told of when it does.
    pub async fn snapshot(&self, user: &UserId, graph: &Graph) -> Vec<Friend> {
        let ids: Vec<UserId> = graph.friends.keys().cloned().collect();
        let views = self.views(user, graph, &ids).await;
        if views.iter().any(|view| view.status == Status::Unknown) {
            self.0.catch_up(user, None);
        }
        let friends = graph.friends.iter().zip(views);
        let mut friends: Vec<Friend> = friends
            .map(|((id, name), presence)| Friend {
                id: id.clone(),
                name: name.clone(),
                presence,
            })
            .collect();
        friends.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        friends
    }

    /// Those of `users` who are the viewer's friends (or the viewer), as the viewer may see them.
    pub async fn seen_by(
        &self,
        viewer: &UserId,
        graph: &Graph,
        users: &[UserId],
    ) -> Vec<(UserId, PresenceView)> {
        let visible = |user: &&UserId| *user == viewer || graph.friends.contains_key(*user);
        let users: Vec<UserId> = users.iter().filter(visible).cloned().collect();
        let views = self.views(viewer, graph, &users).await;
        users.into_iter().zip(views).collect()
    }

    /// Users as a friend would see them, for the game's backend.
    pub async fn bulk(&self, users: &[UserId]) -> Vec<(UserId, PresenceView)> {
        let known = self.0.known(users).await;
        let views = known.iter().map(|known| project(Relation::Open, known));
        users.iter().cloned().zip(views).collect()
    }

    /// The session has a room open that has these members: it is shown how they are, now and as
    /// it changes, until [`Presence::unwatch`] or its end.
    pub async fn watch(
        &self,
        session: SessionKey,
        viewer: &UserId,
        room: &RoomId,
        members: &[UserId],
    ) -> Result<(), ErrorBody> {
        let Some(graph) = self.0.teller.friends.graph(viewer) else {
            let message = "it is not known who blocks whom";
            return Err(ErrorBody::new(ErrorCode::Unavailable, message));
        };
        let opened = self.0.watches.lock().open(session, viewer, room, members);
        let begun = opened.map_err(|refused| {
            let message = match refused {
                Refused::TooManyRooms => format!("at most {MAX_WATCHES} rooms open at once"),
                Refused::TooManyMembers => {
                    format!("presence is shown in rooms of up to {MAX_WATCHED_MEMBERS}")
                }
            };
            ErrorBody::new(ErrorCode::TooLarge, message)
        })?;
        let bridge = &self.0.teller.bridge;
        futures_util::future::join_all(begun.iter().map(|user| bridge.online(user))).await;
        let known = self.0.known(members).await;
        for (member, known) in members.iter().zip(&known) {
            let relation = Relation::of_members(viewer, &graph, member);
            if relation != Relation::Own {
                self.0.show(viewer, member, project(relation, known));
            }
        }
        Ok(())
    }

    /// The session no longer has the room open.
    pub fn unwatch(&self, session: SessionKey, room: &RoomId) {
        let ended = self.0.watches.lock().close(session, room);
        self.0.forget_topics(&ended);
    }

    /// Somebody came into a room; whoever has it open sees them from the next change on.
    pub async fn joined(&self, room: &RoomId, user: &UserId) {
        let begun = self.0.watches.lock().joined(room, user);
        if begun {
            self.0.teller.bridge.online(user).await;
        }
    }

    /// Somebody went out of a room: neither sees nor is seen there any more.
    pub fn left(&self, room: &RoomId, user: &UserId) {
        let ended = self.0.watches.lock().left(room, user);
        self.0.forget_topics(&ended);
    }

    /// Shows the viewer's sessions here how these are: they became friends.
    pub async fn reveal(&self, viewer: &UserId, users: &[UserId]) {
        if !self.0.teller.relays.is_online(viewer) {
            return;
        }
        let graph = self.0.teller.friends.graph(viewer).unwrap_or_default();
        let views = self.views(viewer, &graph, users).await;
        for (user, view) in users.iter().zip(views) {
            self.0.show(viewer, user, view);
        }
    }

    /// Shows the viewer's sessions here that `user` went offline, unless that is what they see
    /// already: of a block, nothing else tells.
    pub async fn conceal(&self, viewer: &UserId, user: &UserId) {
        if !self.0.teller.relays.is_online(viewer) {
            return;
        }
        let known = self.0.known(std::slice::from_ref(user)).await;
        let visible = known.first().map(|known| project(Relation::Open, known));
        if visible.is_some_and(|view| view.status != Status::Offline) {
            let offline = PresenceView {
                status: Status::Offline,
                activity: None,
                last_seen: Some(Timestamp::now()),
            };
            self.0.show(viewer, user, offline);
        }
    }

    /// Whether the viewer has a room open with `user` in it.
    pub fn watches(&self, viewer: &UserId, user: &UserId) -> bool {
        self.0.watches.lock().sees(viewer, user)
    }

    /// Another node told of somebody.
    pub fn hear(&self, news: &PresenceNews) {
        if !self.0.newest(news) {
            return;
        }
        if news.to.is_none() {
            let mut roster = self.0.roster(&news.user).lock();
            if !roster.heard(&news.user, news.state.as_ref(), news.version) {
                return;
            }
        }
        let viewers = self.0.watches.lock().viewers(&news.user);
        self.0.teller.pass_on(news, viewers);
    }

    /// The bus lost something: everybody here is shown their friends anew.
    pub fn doubt_all(&self, online: impl IntoIterator<Item = UserId>) {
        for user in online {
            self.0.catch_up(&user, None);
        }
    }

    /// The users with a session here.
    pub fn users(&self) -> Vec<UserId> {
        let rosters = self.0.rosters.iter();
        rosters.flat_map(|roster| roster.lock().users()).collect()
    }

    /// Does what is due, keeps the lease and reaps others', until `stop`; then gives it back.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.0.drive() => {}
            () = self.0.keep_lease() => {}
            () = self.0.show_what_was_missed() => {}
            () = stop.cancelled() => {}
        }
        let lease = self.0.lease.lock().take();
        if let Some(lease) = lease {
            let released = self.0.teller.store.release(lease, Timestamp::now()).await;
            self.0.tell_of_the_dead(released.unwrap_or_default()).await;
        }
    }

    async fn views(&self, viewer: &UserId, graph: &Graph, users: &[UserId]) -> Vec<PresenceView> {
        let known = self.0.known(users).await;
        let views = users.iter().zip(&known).map(|(user, known)| {
            let relation = Relation::of_friends(viewer, graph, user);
            project(relation, known)
        });
        views.collect()
    }
}

impl Inner {
    fn roster(&self, user: &UserId) -> &Mutex<Roster> {
        let n = self.hasher.hash_one(user) as usize % self.rosters.len();
        &self.rosters[n]
    }

    /// Changes a roster, and wakes the driver if something is due earlier than before.
    fn with_roster<T>(&self, user: &UserId, change: impl FnOnce(&mut Roster, Instant) -> T) -> T {
        let mut roster = self.roster(user).lock();
        let before = roster.next();
        let result = change(&mut roster, Instant::now());
        let after = roster.next();
        drop(roster);
        if after.is_some() && before.is_none_or(|before| after < Some(before)) {
            self.due.notify_one();
        }
        result
    }

    async fn known(&self, users: &[UserId]) -> Vec<Known> {
        match self.teller.store.read(users).await {
            Ok(standings) => standings.iter().map(Standing::known).collect(),
            Err(error) => {
                tracing::debug!(%error, "presence is unknown");
                vec![Known::Unknown; users.len()]
            }
        }
    }

    fn show(&self, viewer: &UserId, user: &UserId, view: PresenceView) {
        let viewers = smallvec::smallvec![viewer.clone()];
        self.teller.push(viewers, user, view);
    }

    fn catch_up(&self, viewer: &UserId, since: Option<Timestamp>) {
        let mut behind = self.behind.lock();
        let entry = behind.entry(viewer.clone()).or_insert(since);
        // The one that reaches further back; `None` reaches back to the beginning.
        *entry = (*entry).min(since);
        drop(behind);
        self.lagging.notify_one();
    }

    fn forget_topics(&self, users: &[UserId]) {
        for user in users {
            self.teller.bridge.offline(user);
        }
    }

    /// Whether nothing newer was heard of the user. What is told to one friend and what is told
    /// to all have one version, so equal is new.
    fn newest(&self, news: &PresenceNews) -> bool {
        let mut versions = self.versions.lock();
        if versions.len() >= MAX_VERSIONS {
            // Order is lost for a moment, memory is not.
            versions.clear();
        }
        let newest = versions.entry(news.user.clone()).or_default();
        let new = news.version >= *newest;
        *newest = news.version.max(*newest);
        new
    }

    async fn drive(&self) {
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
                for ((user, held), standing) in changes.into_iter().zip(standings) {
                    self.settle(lease, &user, held, &standing).await;
                }
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

    async fn keep_lease(&self) {
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
    async fn tell_of_the_dead(&self, reaped: Vec<Reaped>) {
        if self.teller.bridge.alone() {
            return;
        }
        for reaped in reaped {
            let after = reaped.standing.merged();
            let before = after
                .as_ref()
                .map_or(reaped.lost.clone(), |rest| merge(rest, &reaped.lost));
            let news = super::roster::News {
                before: Some(before),
                after,
            };
            let nobody = HashSet::new();
            self.teller
                .tell(&reaped.user, &news, &reaped.standing, nobody)
                .await;
        }
    }

    async fn show_what_was_missed(&self) {
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
