//! Telling of a change: to whom, and as each may see it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    id::{Timestamp, UserId},
    protocol::{codec::SharedEvent, event::Event, presence::PresenceView},
};
use smallvec::{SmallVec, smallvec};

use super::{Known, PresenceError, PresenceStore, Relation, Standing, project, roster::News};
use crate::{
    bridge::{Bridge, BusMessage, PresenceNews},
    bus::Topic,
    friends::{FriendCache, Graph},
    ids::IdMap,
    transport::{
        outbox::StateKey,
        relay::{Audience, Relays},
    },
};

/// Of how many users the newest version told here is remembered.
const MAX_VERSIONS: usize = 100_000;
/// For how long after a change what another node told before it may still be on its way, and how far the
/// clocks of nodes may differ.
const LATE: Duration = Duration::from_mins(1);
/// How often users are read again of whom something newer was told meanwhile.
const READ_AGAIN: usize = 3;

/// The ways to whoever is told.
pub(super) struct Teller {
    pub(super) store: Arc<dyn PresenceStore>,
    pub(super) friends: Arc<FriendCache>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) relays: Relays,
    pub(super) versions: Mutex<Versions>,
}

/// The newest versions that were told on this node, by user.
#[derive(Default)]
pub(super) struct Versions(IdMap<UserId, Newest>);

/// The newest versions that were told of one user.
///
/// What friends are shown is apart. Of a change that does not show (somebody who hides goes) friends are not told, and it says nothing against an
/// older one, which shows (that they hid) and is still on its way to them.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    /// To the user's own devices, and to those who watch a room.
    told: u64,
    /// To friends.
    shown: u64,
    /// To some friend here, as it was read.
    read: u64,
}

/// To whom something is news that was told of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IsNews {
    /// To the user's own devices, and to those who watch a room.
    pub(super) to_own: bool,
    /// To friends, to whom it shows.
    pub(super) to_friends: bool,
    /// It shows, but some friend here was shown something newer, as it was read. The others were not: each is to
    /// be shown how the user stands by now.
    pub(super) read_again: bool,
}

impl Versions {
    /// To whom nothing newer was told of a user; from now on, this was. `shows` says whether friends see a
    /// difference. What is told to one friend, and what is told to all, have one version, so equal is new.
    pub(super) fn newest(&mut self, user: &UserId, version: u64, shows: bool) -> IsNews {
        let newest = self.of_user(user);
        let shows_news = shows && version >= newest.shown;
        let news = IsNews {
            to_own: version >= newest.told,
            to_friends: shows_news && version >= newest.read,
            read_again: shows_news && version < newest.read,
        };
        newest.told = version.max(newest.told);
        if shows {
            newest.shown = version.max(newest.shown);
        }
        news
    }

    /// Somebody here is shown how these users stand. What was told of a change before that may arrive later, if it
    /// was lately.
    pub(super) fn read(&mut self, users: &[UserId], standings: &[Standing], now: Timestamp) {
        let since = now.plus_millis(-(LATE.as_millis() as i64));
        let lately = users
            .iter()
            .zip(standings)
            .filter(|(_, s)| s.changed >= Some(since));
        for (user, standing) in lately {
            let newest = self.of_user(user);
            newest.read = newest.read.max(standing.version);
        }
    }

    fn of_user(&mut self, user: &UserId) -> &mut Newest {
        if self.0.len() >= MAX_VERSIONS {
            // Order is lost for a moment, memory is not.
            self.0.clear();
        }
        self.0.entry(user.clone()).or_default()
    }

    /// The newest of each.
    pub(super) fn of(&self, users: &[UserId]) -> Vec<u64> {
        let newest = |user| self.0.get(user).map_or(0, |newest| newest.told);
        users.iter().map(newest).collect()
    }

    /// Whether something newer was told of one of the users than what was read of them, since the
    /// reading began with these `before`. What was told earlier the store had, and may have
    /// forgotten.
    pub(super) fn overtook(&self, users: &[UserId], before: &[u64], read: &[Standing]) -> bool {
        let versions = self.of(users).into_iter().zip(before).zip(read);
        let mut overtaken =
            versions.map(|((now, before), read)| now > *before && now > read.version);
        overtaken.any(|overtaken| overtaken)
    }
}

impl Teller {
    /// Tells the user's friends who are online, the `viewers` who have a room open with the user
    /// in it, and the user's own devices. Each hears of it only if what they may see has changed.
    /// `false` when it is not known who the friends are.
    pub(super) async fn tell(
        &self,
        user: &UserId,
        news: &News,
        standing: &Standing,
        viewers: HashSet<UserId>,
    ) -> bool {
        let was = |state: &Option<_>| Known::Is {
            state: state.clone(),
            last_seen: standing.last_seen,
        };
        let (before, after) = (was(&news.before), was(&news.after));
        let open = project(Relation::Open, &after);
        let graph = if project(Relation::Open, &before) == open {
            None
        } else {
            let Some(graph) = self.graph(user).await else {
                return false;
            };
            Some(graph)
        };
        // Another node may have told something newer meanwhile, and what it told before is not to
        // come over this.
        let is_news = self.newest(user, standing.version, graph.is_some());
        let mut shown = is_news.to_friends.then_some((open, after.clone()));
        if is_news.read_again {
            let now = self.store.read(std::slice::from_ref(user)).await;
            let now = now.ok().and_then(|mut standings| standings.pop());
            shown = now.map(|now| (project(Relation::Open, &now.known()), now.known()));
        }
        if let (Some(graph), Some((open, after))) = (&graph, shown) {
            let here = friends(graph).filter(|friend| self.relays.is_online(friend));
            self.push(here.cloned().collect(), user, open);
            self.tell_viewers(user, viewers, &after, Some(graph));
        }
        let own = project(Relation::Own, &after);
        if is_news.to_own && project(Relation::Own, &before) != own {
            self.push(smallvec![user.clone()], user, own);
        }
        if !self.bridge.alone() {
            if let Some(graph) = &graph {
                self.tell_friends_elsewhere(user, graph, standing).await;
            }
            let topic = Topic::User(user.clone());
            let news = PresenceNews {
                unshown: graph.is_none(),
                ..Self::news(user, None, standing)
            };
            self.bridge.publish(topic, &BusMessage::Presence(news));
        }
        true
    }

    /// Tells sessions here what another node told of a user: one friend's, or (to nobody in particular) the user's own and the viewers'.
    pub(super) fn pass_on(&self, news: &PresenceNews, viewers: HashSet<UserId>) {
        let known = Known::Is {
            state: news.state.clone(),
            last_seen: news.last_seen,
        };
        let open = project(Relation::Open, &known);
        if let Some(friend) = &news.to {
            // The friendship may have ended since, and its end may have come here first.
            let graph = self.friends.graph(friend);
            if graph.is_some_and(|graph| !graph.befriended(&news.user)) {
                return;
            }
            self.push(smallvec![friend.clone()], &news.user, open);
            return;
        }
        let own = smallvec![news.user.clone()];
        self.push(own, &news.user, project(Relation::Own, &known));
        self.tell_viewers(&news.user, viewers, &known, None);
    }

    /// Sends sessions of `viewers` here how `user` is.
    pub(super) fn push(&self, viewers: SmallVec<[UserId; 2]>, user: &UserId, view: PresenceView) {
        if viewers.is_empty() {
            return;
        }
        metrics::counter!("fireside_presence_told_total").increment(viewers.len() as u64);
        let event = Event::Presence {
            user: user.clone(),
            status: view.status,
            activity: view.activity,
            last_seen: view.last_seen,
        };
        let event = Arc::new(SharedEvent::new(event));
        let key = StateKey::Presence(user.clone());
        self.relays
            .update(&Audience::Users(viewers), &key, &event, None);
    }

    /// As [`Versions::newest`].
    pub(super) fn newest(&self, user: &UserId, version: u64, shows: bool) -> IsNews {
        self.versions.lock().newest(user, version, shows)
    }

    /// How users stand: not as they stood before what was told here while the store was asked, or that
    /// would come over it.
    pub(super) async fn read(&self, users: &[UserId]) -> Result<Vec<Standing>, PresenceError> {
        for _ in 0..READ_AGAIN {
            let before = self.versions.lock().of(users);
            let standings = self.store.read(users).await?;
            if !self.versions.lock().overtook(users, &before, &standings) {
                return Ok(self.remembered(users, standings));
            }
        }
        let standings = self.store.read(users).await?;
        Ok(self.remembered(users, standings))
    }

    /// What was read, which somebody is shown.
    fn remembered(&self, users: &[UserId], standings: Vec<Standing>) -> Vec<Standing> {
        // Nobody tells late of what only this node changes.
        if !self.bridge.alone() {
            let mut versions = self.versions.lock();
            versions.read(users, &standings, Timestamp::now());
        }
        standings
    }

    async fn tell_friends_elsewhere(&self, user: &UserId, graph: &Graph, standing: &Standing) {
        let friends: Vec<UserId> = friends(graph).cloned().collect();
        // When the store does not say who is online elsewhere, everybody might be.
        let standings = self.store.read(&friends).await.ok();
        for (n, friend) in friends.iter().enumerate() {
            let elsewhere = standings.as_ref().is_none_or(|standings| {
                let held = standings.get(n).map(|standing| &standing.held);
                held.is_none_or(|held| held.iter().any(|h| h.node != *self.bridge.node()))
            });
            if elsewhere {
                self.publish(user, friend, standing);
            }
        }
    }

    /// Tells friends, where else they are, how the user here is, if that changed after `since`.
    pub(super) async fn tell_elsewhere(
        &self,
        user: &UserId,
        friends: &[UserId],
        since: Option<Timestamp>,
    ) -> Result<(), PresenceError> {
        if friends.is_empty() || self.bridge.alone() || !self.relays.is_online(user) {
            return Ok(());
        }
        let standings = self.store.read(std::slice::from_ref(user)).await?;
        for standing in standings.iter().filter(|s| s.changed > since) {
            for friend in friends {
                self.publish(user, friend, standing);
            }
        }
        Ok(())
    }

    /// Tells a friend's sessions on other nodes.
    fn publish(&self, user: &UserId, friend: &UserId, standing: &Standing) {
        let news = Self::news(user, Some(friend), standing);
        let topic = Topic::User(friend.clone());
        self.bridge.publish(topic, &BusMessage::Presence(news));
    }

    /// Tells those of `viewers` who may see it how `user` is, but friends who were `told` already.
    pub(super) fn tell_viewers(
        &self,
        user: &UserId,
        viewers: HashSet<UserId>,
        known: &Known,
        told: Option<&Graph>,
    ) {
        let (mut friends, mut members) = (SmallVec::new(), SmallVec::new());
        for viewer in viewers {
            if told.is_some_and(|graph| graph.befriended(&viewer)) {
                continue;
            }
            // Who blocks whom is read from the viewer's side; a viewer without a graph sees nothing.
            let Some(graph) = self.friends.graph(&viewer) else {
                continue;
            };
            match Relation::of_members(&viewer, &graph, user) {
                Relation::Open => friends.push(viewer),
                Relation::Member => members.push(viewer),
                Relation::Own | Relation::Hidden => {}
            }
        }
        self.push(friends, user, project(Relation::Open, known));
        self.push(members, user, project(Relation::Member, known));
    }

    async fn graph(&self, user: &UserId) -> Option<Arc<Graph>> {
        // The graph of somebody here is kept up by events: no need to wait for store-api.
        let cached = self
            .relays
            .is_online(user)
            .then(|| self.friends.graph(user));
        match cached.flatten() {
            Some(graph) => Some(graph),
            None => self.friends.load(user).await.ok(),
        }
    }

    fn news(user: &UserId, to: Option<&UserId>, standing: &Standing) -> PresenceNews {
        PresenceNews {
            user: user.clone(),
            to: to.cloned(),
            state: standing.merged(),
            last_seen: standing.last_seen,
            version: standing.version,
            unshown: false,
        }
    }
}

/// Who is told of the user whose graph this is.
fn friends(graph: &Graph) -> impl Iterator<Item = &UserId> {
    let friends = graph.friends.ids();
    friends.filter(|friend| graph.unblocked(friend))
}
