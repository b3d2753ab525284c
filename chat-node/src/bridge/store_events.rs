//! What happens in the store, made to happen here: graphs, presence, notices, revocations.
//!
//! Events come from store-api (over REST, or in process) and from other nodes, more than once:
//! what was seen is dropped. Each is news of how things stand, applied without asking back. They
//! are taken one after the other, so that one person's events keep their order.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    auth::Revocations,
    events::{self, FriendChange, Notice, Person, Profile, SeenEvents, StoreEvent, StoreEventKind},
    id::{Timestamp, UserId},
    protocol::{
        codec::SharedEvent,
        event::{self, Event, FriendState},
        room::UserRef,
    },
};
use smallvec::{SmallVec, smallvec};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Bridge, BusMessage, SessionControl, revoking::Revoking};
use crate::{
    bus::Topic,
    friends::{FriendCache, Refreshed},
    presence::Presence,
    revoked::RevokedSet,
    transport::relay::{Audience, Relays},
};

/// How many events are remembered, so that a second delivery is known.
const SEEN: usize = 16 * 1024;
/// How many events from other nodes may wait. Past that they are dropped, and every graph here is
/// read again instead.
const WAITING: usize = 1024;
/// How many graphs are read at once.
const READS: usize = 32;
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Pairs of whom the first does not have the second for a friend.
type Strangers<'a> = SmallVec<[(&'a UserId, &'a UserId); 2]>;

/// Takes in what happens in the store. Share it behind an [`Arc`].
pub struct StoreEvents {
    bridge: Arc<Bridge>,
    friends: Arc<FriendCache>,
    relays: Relays,
    presence: Presence,
    revoking: Revoking,
    seen: Mutex<SeenEvents>,
    /// Held while an event is made to happen.
    pub(super) turn: tokio::sync::Mutex<()>,
    waiting: mpsc::Sender<StoreEvent>,
    queue: Mutex<Option<mpsc::Receiver<StoreEvent>>>,
}

impl StoreEvents {
    /// An intake in front of these.
    pub fn new(
        bridge: Arc<Bridge>,
        friends: Arc<FriendCache>,
        relays: Relays,
        presence: Presence,
        revocations: Revocations,
        sessions: Arc<dyn SessionControl>,
    ) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING);
        let revoking = Revoking::new(revocations, sessions, Arc::clone(&friends));
        Self {
            bridge,
            friends,
            relays,
            presence,
            revoking,
            seen: Mutex::new(SeenEvents::new(SEEN)),
            turn: tokio::sync::Mutex::new(()),
            waiting,
            queue: Mutex::new(Some(queue)),
        }
    }

    /// Shares with other nodes what is revoked.
    #[must_use]
    pub fn sharing(mut self, set: Arc<dyn RevokedSet>) -> Self {
        self.revoking.share_in(set);
        self
    }

    /// Ends the sessions of a user, on every node.
    pub fn disconnect(&self, user: &UserId) {
        let at = self.revoking.disconnect(user);
        let message = BusMessage::Disconnect {
            user: user.clone(),
            at,
        };
        self.bridge.publish(Topic::User(user.clone()), &message);
    }

    /// Takes events in from store-api, makes them happen here and tells the other nodes. Those
    /// seen before are left out. When it returns they need not be delivered again; whoever stops
    /// waiting before that (a request is given up) delivers them again, so none counts as seen
    /// before its turn.
    pub async fn intake(&self, events: Vec<StoreEvent>) {
        for event in events {
            let _turn = self.turn.lock().await;
            if !self.seen.lock().first_time(event.id) {
                continue;
            }
            self.tell_nodes(&event);
            self.apply(&event).await;
        }
    }

    /// Another node took an event in.
    pub fn heard(&self, event: StoreEvent) {
        if !self.seen.lock().first_time(event.id) {
            return;
        }
        if self.waiting.try_send(event).is_err() {
            metrics::counter!("fireside_store_events_dropped_total").increment(1);
            self.missed();
        }
    }

    /// Events were missed: what they would have changed is asked of store-api again.
    fn missed(&self) {
        self.friends.doubt_all();
        self.reread_revocations();
    }

    /// Events may have been missed: what is revoked is asked again.
    pub fn reread_revocations(&self) {
        self.revoking.doubt();
    }

    /// Reads what is revoked, makes what other nodes heard happen here, and reads graphs again that are in
    /// doubt, until `stop`. Runs once.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(mut queue) = self.queue.lock().take() else {
            return;
        };
        let queued = async {
            while let Some(event) = queue.recv().await {
                let _turn = self.turn.lock().await;
                self.apply(&event).await;
            }
        };
        tokio::select! {
            () = queued => {}
            () = self.keep_graphs() => {}
            () = self.revoking.run() => {}
            () = stop.cancelled() => {}
        }
    }

    /// The turn is held. What must not be missed is done before the first wait.
    async fn apply(&self, event: &StoreEvent) {
        metrics::counter!("fireside_store_events_total").increment(1);
        if let Some(revocation) = event.revocation() {
            self.revoking.revoke(revocation);
        }
        match &event.kind {
            StoreEventKind::FriendChanged(change) => self.friendship(event, change).await,
            StoreEventKind::Blocked { by, user } => self.block(event, by, user).await,
            StoreEventKind::Unblocked { by, user } => self.unblock(event, by, user).await,
            StoreEventKind::ProfileChanged(profile) => self.profile(event, profile),
            StoreEventKind::UserWithdrawn { user } => self.withdrawal(event, user),
            StoreEventKind::Missed => self.missed(),
            StoreEventKind::TokenRevoked { .. }
            | StoreEventKind::UserTokensRevoked { .. }
            | StoreEventKind::Unknown => {}
            StoreEventKind::Notice(notice) => self.notice(event, notice),
        }
    }

    fn tell_nodes(&self, event: &StoreEvent) {
        if self.bridge.alone() {
            return;
        }
        let message = BusMessage::Store(event.clone());
        match &event.kind {
            // Of a kind that a newer store-api has: whoever knows it gets it from there.
            StoreEventKind::Unknown => {}
            StoreEventKind::Notice(notice) => {
                let topic = Topic::User(notice.user.clone());
                self.bridge.publish(topic, &message);
            }
            StoreEventKind::FriendChanged(change) if change.only_a => {
                let topic = Topic::User(change.a.id.clone());
                self.bridge.publish(topic, &message);
            }
            StoreEventKind::FriendChanged(_)
            | StoreEventKind::Blocked { .. }
            | StoreEventKind::Unblocked { .. } => {
                for user in event.kind.users() {
                    self.bridge.publish(Topic::User(user.clone()), &message);
                }
            }
            // Friends of theirs may be anywhere, and a token presented anywhere.
            StoreEventKind::Missed
            | StoreEventKind::ProfileChanged(_)
            | StoreEventKind::UserWithdrawn { .. }
            | StoreEventKind::TokenRevoked { .. }
            | StoreEventKind::UserTokensRevoked { .. } => {
                self.bridge.publish(Topic::Nodes, &message);
            }
        }
    }

    async fn friendship(&self, event: &StoreEvent, change: &FriendChange) {
        let strangers = self.strangers(&change.a.id, &change.b.id);
        self.friends.apply(event);
        self.tell_of_friend(&change.a.id, &change.b, change.state);
        if change.only_a {
            return;
        }
        self.tell_of_friend(&change.b.id, &change.a, change.state.mirrored());
        // An ex-friend is shown nothing more; the friend list without the person says enough.
        if change.state == events::FriendState::Friend {
            self.introduce(strangers, event.ts).await;
        }
    }

    async fn block(&self, event: &StoreEvent, by: &UserId, user: &UserId) {
        // Who did not see the other before must not learn of the block by seeing them go.
        let pairs = [(user, by), (by, user)].map(|(viewer, person)| {
            let graph = self.friends.graph(viewer).unwrap_or_default();
            let watched = self.presence.watches(viewer, person) && graph.unblocked(person);
            (viewer, person, graph.befriended(person) || watched)
        });
        self.friends.apply(event);
        self.tell_of_block(by, user, true);
        for (viewer, person, saw) in pairs {
            if saw {
                self.presence.conceal(viewer, person).await;
            }
        }
    }

    async fn unblock(&self, event: &StoreEvent, by: &UserId, user: &UserId) {
        let strangers = self.strangers(by, user);
        self.friends.apply(event);
        self.tell_of_block(by, user, false);
        self.introduce(strangers, event.ts).await;
    }

    fn profile(&self, event: &StoreEvent, profile: &Profile) {
        let friends = self.friends.apply(event).into_iter().filter(|friend| {
            let graph = self.friends.graph(friend);
            graph.is_some_and(|graph| graph.unblocked(&profile.user))
        });
        let mut audience: SmallVec<[UserId; 2]> = smallvec![profile.user.clone()];
        audience.extend(friends);
        let event = Event::ProfileChanged {
            user: UserRef {
                id: profile.user.clone(),
                name: Some(profile.name.clone()),
            },
            avatar_url: profile.avatar_url.clone(),
            status_text: profile.status_text.clone(),
        };
        self.publish(&Audience::Users(audience), event);
    }

    fn withdrawal(&self, event: &StoreEvent, user: &UserId) {
        let friends = self.friends.apply(event);
        let gone = UserRef {
            id: user.clone(),
            name: None,
        };
        let event = Event::FriendChanged {
            user: gone,
            state: FriendState::None,
        };
        self.publish(&Audience::Users(friends.into()), event);
    }

    fn notice(&self, event: &StoreEvent, notice: &Notice) {
        let told = Event::Notice(event::Notice {
            id: notice.notice.to_string(),
            topic: notice.topic.clone(),
            ts: event.ts,
            data: notice.data.clone(),
        });
        self.publish(&Audience::user(&notice.user), told);
    }

    /// Whoever of the two does not have the other for a friend here yet, and the other. The event
    /// may come after sessions that began with that friend, and were shown how the friend is.
    fn strangers<'a>(&self, a: &'a UserId, b: &'a UserId) -> Strangers<'a> {
        let stranger = |(one, other): &(&UserId, &UserId)| {
            let graph = self.friends.graph(one);
            graph.is_none_or(|graph| !graph.befriended(other))
        };
        [(a, b), (b, a)].into_iter().filter(stranger).collect()
    }

    /// Each sees how the other is, if they are friends now and nobody blocks; `at` is since when.
    async fn introduce(&self, strangers: Strangers<'_>, at: Timestamp) {
        for (one, other) in strangers {
            let graph = self.friends.graph(one).unwrap_or_default();
            if graph.befriended(other) {
                let others = std::slice::from_ref(other);
                self.presence.reveal(one, others).await;
                self.presence.show_elsewhere(one, others, Some(at)).await;
            }
        }
    }

    fn tell_of_friend(&self, to: &UserId, other: &Person, state: events::FriendState) {
        let user = UserRef {
            id: other.id.clone(),
            name: Some(other.name.clone()),
        };
        let state = match state {
            events::FriendState::None => FriendState::None,
            events::FriendState::Outgoing => FriendState::Outgoing,
            events::FriendState::Incoming => FriendState::Incoming,
            events::FriendState::Friend => FriendState::Friend,
        };
        self.publish(&Audience::user(to), Event::FriendChanged { user, state });
    }

    fn tell_of_block(&self, by: &UserId, user: &UserId, blocked: bool) {
        let user = user.clone();
        self.publish(&Audience::user(by), Event::BlockChanged { user, blocked });
    }

    fn publish(&self, audience: &Audience, event: Event) {
        self.relays
            .publish(audience, &Arc::new(SharedEvent::new(event)));
    }

    async fn keep_graphs(&self) {
        loop {
            let refreshed = self.friends.refresh(READS).await;
            let nothing = refreshed.is_empty();
            for refreshed in refreshed {
                let _turn = self.turn.lock().await;
                self.tell_difference(&refreshed).await;
            }
            metrics::gauge!("fireside_friends_in_doubt").set(self.friends.in_doubt() as f64);
            if nothing && self.friends.in_doubt() > 0 {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// A graph was read again and reads differently: the user's sessions hear what they missed.
    async fn tell_difference(&self, refreshed: &Refreshed) {
        let Refreshed {
            user,
            before,
            after,
        } = refreshed;
        let person = |id: &UserId, name: &str| Person {
            id: id.clone(),
            name: name.to_owned(),
        };
        let mut new = Vec::new();
        for (id, name) in after.friends.iter() {
            if !before.friends.contains(id) {
                self.tell_of_friend(user, &person(id, name), events::FriendState::Friend);
                new.push(id.clone());
            }
        }
        for (id, name) in before.friends.iter() {
            if !after.friends.contains(id) {
                self.tell_of_friend(user, &person(id, name), events::FriendState::None);
            }
        }
        for id in after
            .blocked
            .ids()
            .filter(|id| !before.blocked.contains(id))
        {
            self.tell_of_block(user, id, true);
        }
        for id in before
            .blocked
            .ids()
            .filter(|id| !after.blocked.contains(id))
        {
            self.tell_of_block(user, id, false);
        }
        self.presence.reveal(user, &new).await;
        self.presence.show_elsewhere(user, &new, None).await;
        let hidden = |id: &&UserId| before.befriended(id) && !after.unblocked(id);
        for id in before.friends.ids().filter(hidden) {
            self.presence.conceal(user, id).await;
        }
    }
}
