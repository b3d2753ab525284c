//! The presence of a node, as sessions, rooms and the bridge call it; what goes on without being
//! called is in [`super::drive`].
//!
//! Calls from sessions take a lock for the time of a map look-up and never wait. Queues: one entry
//! for a user to whom something is due, one for a viewer who is behind; both maps by user, so
//! bounded by the users online here (and those whom a dead node leaves behind, until told of).

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use shared::{
    codes::ErrorCode,
    id::{RoomId, Timestamp, UserId},
    protocol::{
        presence::{PresenceView, Status},
        reply::{ErrorBody, Friend},
    },
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    DeviceState, Incarnation, Known, PresenceError, PresenceSettings, PresenceStore, Relation,
    Standing, merge, project,
    roster::{Pace, Roster},
    tell::Teller,
    watch::{MAX_WATCHED_MEMBERS, MAX_WATCHES, Refused, Watches},
};
use crate::{
    bridge::{Bridge, PresenceNews},
    friends::{FriendCache, Graph},
    overload::Overload,
    transport::{SessionKey, relay::Relays},
};

/// Rosters, each behind a lock of its own.
const SHARDS: usize = 16;
/// How far back a resumed session may have missed changes: as long as sessions outlive sockets,
/// and some.
const MISSED: Duration = Duration::from_secs(130);
/// How long a session that starts waits for the store to know of it.
const NOTICED_IN: Duration = Duration::from_millis(500);

/// A room that a session has just opened, whose members it has not been shown yet.
#[derive(Debug)]
pub struct Opened {
    members: Vec<UserId>,
    /// Those whose topic was not heard before.
    begun: Vec<UserId>,
}

/// The presence of this node's users. Clones share it.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

pub(super) struct Inner {
    pub(super) teller: Teller,
    pub(super) overload: Overload,
    hasher: RandomState,
    pub(super) rosters: Vec<Mutex<Roster>>,
    pub(super) watches: Mutex<Watches>,
    pub(super) lease: Mutex<Option<Incarnation>>,
    /// Viewers to be shown their friends anew: those who changed since then, or all.
    pub(super) behind: Mutex<HashMap<UserId, Option<Timestamp>>>,
    /// Something is due earlier than before, or the lease stands.
    pub(super) due: Notify,
    /// The lease may be lost.
    pub(super) doubted: Notify,
    pub(super) lagging: Notify,
    /// The store took some changes.
    pub(super) taken: Notify,
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
                versions: Mutex::default(),
            },
            overload,
            hasher: RandomState::new(),
            rosters: rosters.take(SHARDS).collect(),
            watches: Mutex::default(),
            lease: Mutex::default(),
            behind: Mutex::default(),
            due: Notify::new(),
            doubted: Notify::new(),
            lagging: Notify::new(),
            taken: Notify::new(),
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

    /// Whether others are not to notice that the user is here: a device says so, or what they were
    /// told last does not show it.
    pub fn is_unseen(&self, user: &UserId) -> bool {
        self.0.roster(user).lock().unseen(user)
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
    /// `unknown`, and told of when it does. What changes from here on is told.
    pub async fn snapshot(&self, user: &UserId, graph: &Graph) -> Vec<Friend> {
        self.0.be_noticed(user).await;
        let ids: Vec<UserId> = graph.friends.keys().cloned().collect();
        let views = self.views(user, graph, &ids).await;
        self.0.owe_the_truth(user, &views);
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

    /// The session has a room open that has these members: from now on it is shown how they
    /// change, until [`Presence::unwatch`] or its end. Called by the room in its turn, so that who
    /// comes and goes meanwhile is not mistaken; then [`Presence::show_members`].
    pub fn open(
        &self,
        session: SessionKey,
        viewer: &UserId,
        room: &RoomId,
        members: Vec<UserId>,
    ) -> Result<Opened, ErrorBody> {
        let inner = &self.0;
        if inner.teller.friends.graph(viewer).is_none() {
            let message = "it is not known who blocks whom";
            return Err(ErrorBody::new(ErrorCode::Unavailable, message));
        }
        let mut watches = inner.watches.lock();
        // Looked at under the lock that the end of a session takes last: none that has ended
        // leaves a watch behind.
        if !inner.roster(viewer).lock().has(session, viewer) {
            let message = "the session has ended";
            return Err(ErrorBody::new(ErrorCode::SessionLost, message));
        }
        let opened = watches.open(session, viewer, room, &members);
        let begun = opened.map_err(|refused| {
            let message = match refused {
                Refused::TooManyRooms => format!("at most {MAX_WATCHES} rooms open at once"),
                Refused::TooManyMembers => {
                    format!("presence is shown in rooms of up to {MAX_WATCHED_MEMBERS}")
                }
            };
            ErrorBody::new(ErrorCode::Conflict, message)
        })?;
        for user in &begun {
            inner.teller.bridge.need(user);
        }
        Ok(Opened { members, begun })
    }

    /// Shows the viewer how the members of a room just opened are.
    pub async fn show_members(&self, viewer: &UserId, opened: &Opened) {
        let Some(graph) = self.0.teller.friends.graph(viewer) else {
            return;
        };
        let bridge = &self.0.teller.bridge;
        join_all(opened.begun.iter().map(|user| bridge.heard(user))).await;
        let known = self.0.known(&opened.members).await;
        for (member, known) in opened.members.iter().zip(&known) {
            let relation = Relation::of_members(viewer, &graph, member);
            // Either may be out of the room by now.
            if relation != Relation::Own && self.watches(viewer, member) {
                let view = project(relation, known);
                self.0.owe_the_truth(viewer, std::slice::from_ref(&view));
                self.0.show(viewer, member, view);
            }
        }
    }

    /// The session no longer has the room open.
    pub fn unwatch(&self, session: SessionKey, room: &RoomId) {
        let ended = self.0.watches.lock().close(session, room);
        self.0.forget_topics(&ended);
    }

    /// Somebody came into a room: whoever has it open is shown how they are.
    pub fn joined(&self, room: &RoomId, user: &UserId) {
        let (begun, viewers) = {
            let mut watches = self.0.watches.lock();
            let begun = watches.joined(room, user);
            (begun, watches.viewers_in(room, user))
        };
        if viewers.is_empty() {
            return;
        }
        let (inner, user) = (self.0.clone(), user.clone());
        if begun {
            inner.teller.bridge.need(&user);
        }
        actix_rt::spawn(async move {
            if begun {
                inner.teller.bridge.heard(&user).await;
            }
            let known = inner.known(std::slice::from_ref(&user)).await;
            if let Some(known) = known.first() {
                if *known == Known::Unknown {
                    for viewer in &viewers {
                        inner.catch_up(viewer, None);
                    }
                }
                inner.teller.tell_viewers(&user, viewers, known, None);
            }
        });
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
        self.0.owe_the_truth(viewer, &views);
        for (user, view) in users.iter().zip(views) {
            self.0.show(viewer, user, view);
        }
    }

    /// Shows `viewers`, where else they are, how the user here is, if that changed after `since`:
    /// they became friends, and while only their nodes knew it they were not told.
    pub async fn show_elsewhere(
        &self,
        user: &UserId,
        viewers: &[UserId],
        since: Option<Timestamp>,
    ) {
        let told = self.0.teller.tell_elsewhere(user, viewers, since).await;
        if let Err(error) = told {
            self.0.doubt(&error);
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
                last_seen: None,
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
        let newest = self.0.teller.newest(&news.user, news.version);
        if news.to.is_none() {
            let (user, total, version) = (&news.user, news.state.as_ref(), news.version);
            let heard = self.0.with_roster(user, |roster, now| {
                let heard = roster.heard(user, total, version);
                if !heard {
                    roster.overtook(user, total, version, now);
                }
                heard
            });
            if !heard {
                return;
            }
        }
        if !newest {
            return;
        }
        let viewers = self.0.watches.lock().viewers(&news.user);
        self.0.teller.pass_on(news, viewers);
    }

    /// The bus lost something: everybody here is shown their friends anew.
    pub fn doubt_all(&self, online: impl IntoIterator<Item = UserId>) {
        for roster in &self.0.rosters {
            roster.lock().doubt_heard(Instant::now());
        }
        self.0.due.notify_one();
        for user in online {
            self.0.catch_up(&user, None);
        }
    }

    /// The users with a session here.
    pub fn users(&self) -> Vec<UserId> {
        self.0.users()
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
    pub(super) fn roster(&self, user: &UserId) -> &Mutex<Roster> {
        let n = self.hasher.hash_one(user) as usize % self.rosters.len();
        &self.rosters[n]
    }

    /// Changes a roster, and wakes the driver if something is due earlier than before.
    pub(super) fn with_roster<T>(
        &self,
        user: &UserId,
        change: impl FnOnce(&mut Roster, Instant) -> T,
    ) -> T {
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
                self.doubt(&error);
                vec![Known::Unknown; users.len()]
            }
        }
    }

    /// Waits until the store knows that the user is here: other nodes tell of their changes only
    /// those of whom it does. If that takes too long, what is missed meanwhile is shown afterwards.
    async fn be_noticed(&self, user: &UserId) {
        if self.teller.bridge.alone() {
            return;
        }
        let noticed = async {
            loop {
                let mut taken = std::pin::pin!(self.taken.notified());
                taken.as_mut().enable();
                if self.roster(user).lock().is_noticed(user) {
                    return;
                }
                taken.await;
            }
        };
        if tokio::time::timeout(NOTICED_IN, noticed).await.is_err() {
            self.roster(user)
                .lock()
                .falls_behind(user, Timestamp::now());
        }
    }

    /// The users with a session here.
    pub(super) fn users(&self) -> Vec<UserId> {
        let rosters = self.rosters.iter();
        rosters.flat_map(|roster| roster.lock().users()).collect()
    }

    /// The store may have lost this node's lease: it is looked after now.
    pub(super) fn doubt(&self, error: &PresenceError) {
        if *error == PresenceError::Expired {
            self.doubted.notify_one();
        }
    }

    /// Whoever was shown `unknown` is shown what is true when that is known.
    fn owe_the_truth(&self, viewer: &UserId, views: &[PresenceView]) {
        if views.iter().any(|view| view.status == Status::Unknown) {
            self.catch_up(viewer, None);
        }
    }

    pub(super) fn show(&self, viewer: &UserId, user: &UserId, view: PresenceView) {
        let viewers = smallvec::smallvec![viewer.clone()];
        self.teller.push(viewers, user, view);
    }

    pub(super) fn catch_up(&self, viewer: &UserId, since: Option<Timestamp>) {
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
}
