//! The presence of a node, as sessions and the bridge call it: what devices do, what other nodes
//! say. What goes on without being called is in [`super::drive`], how people are shown in [`super::views`]
//! and, in rooms that are open, in [`super::opened`].
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

use parking_lot::Mutex;
use shared::{
    id::{RoomId, Timestamp, UserId},
    protocol::presence::PresenceView,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    DeviceState, Incarnation, PresenceError, PresenceSettings, PresenceStore,
    roster::{Pace, Roster},
    tell::Teller,
    watch::Watches,
};
use crate::{
    bridge::{Bridge, PresenceNews},
    friends::FriendCache,
    overload::Overload,
    transport::{SessionKey, relay::Relays},
};

/// Rosters, each behind a lock of its own.
const SHARDS: usize = 16;
/// How far back a resumed session may have missed changes: as long as sessions outlive sockets,
/// and some.
const MISSED: Duration = Duration::from_secs(130);

/// The presence of this node's users. Clones share it.
#[derive(Clone)]
pub struct Presence(pub(super) Arc<Inner>);

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
        self.missed(user);
    }

    /// A user is shown what may have been missed while a session had no socket.
    pub fn missed(&self, user: &UserId) {
        let missed = i64::try_from(MISSED.as_millis()).unwrap_or(i64::MAX);
        self.0
            .catch_up(user, Some(Timestamp::now().plus_millis(-missed)));
    }

    /// What a session's device says of itself.
    pub fn device(&self, session: SessionKey, user: &UserId) -> Option<DeviceState> {
        self.0.roster(user).lock().device(session, user)
    }

    /// The rooms a session has open.
    pub fn opened(&self, session: SessionKey) -> Vec<RoomId> {
        self.0.watches.lock().opened(session)
    }

    /// Whether another node may have sessions of the user that count.
    pub async fn is_elsewhere(&self, user: &UserId) -> bool {
        let standings = self.0.teller.store.read(std::slice::from_ref(user)).await;
        standings.map_or(true, |standings| {
            let mut held = standings.iter().flat_map(|standing| &standing.held);
            held.any(|held| held.node != *self.0.teller.bridge.node())
        })
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

    /// Another node told of somebody.
    pub fn hear(&self, news: &PresenceNews) {
        let is_news = self
            .0
            .teller
            .newest(&news.user, news.version, !news.unshown);
        if news.to.is_none() {
            let (user, total, version) = (&news.user, news.state.as_ref(), news.version);
            let heard = self.0.with_roster(user, |roster, now| {
                let shows = !news.unshown;
                let heard = roster.heard(user, total, version, shows);
                if !heard && shows {
                    roster.overtook(user, total, version, now);
                }
                heard
            });
            if !heard {
                return;
            }
        }
        if let Some(friend) = news.to.as_ref().filter(|_| is_news.read_again) {
            return self.missed(friend);
        }
        let is_news = match news.to {
            Some(_) => is_news.to_friends,
            None => is_news.to_own,
        };
        if !is_news {
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

    pub(super) fn forget_topics(&self, users: &[UserId]) {
        for user in users {
            self.teller.bridge.offline(user);
        }
    }
}
