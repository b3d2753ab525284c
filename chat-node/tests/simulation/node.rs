//! A node of a schedule: its rooms with their actors, its relay, its bridge, all as they are in
//! production. Only the store, the bus and store-api are not.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::Arbiter;
use async_trait::async_trait;
use chat_node::{
    bridge::{Bridge, Inbound, SessionControl, StoreEvents},
    friends::{FriendCache, FriendCacheSettings, Friends, FriendsError, Graph, Revocation},
    limits::{LimitSettings, Limits},
    overload::Overload,
    presence::{Presence, PresenceSettings},
    room::{RoomSettings, Rooms, RoomsParts},
    transport::relay::{Relay, Relays},
};
use shared::{
    auth::Revocations,
    id::{NodeId, UserId},
    limits::Quota,
};
use tokio_util::sync::CancellationToken;

use crate::{
    lease::Leased,
    link::Link,
    world::{World, now},
};

/// Everybody is everybody's friend.
struct Acquainted(Vec<UserId>);

#[async_trait]
impl Friends for Acquainted {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        let graph = |user| {
            let others = self.0.iter().filter(|other| *other != user);
            let friends = others.map(|other| (other.clone(), other.to_string()));
            Graph {
                friends: friends.collect(),
                ..Graph::default()
            }
        };
        Ok(users.iter().map(graph).collect())
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        let names = users.iter().map(|user| (user.clone(), user.to_string()));
        Ok(names.collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        Ok(Vec::new())
    }
}

/// Nobody's sessions are ended from outside in a schedule.
struct Undisturbed;

impl SessionControl for Undisturbed {
    fn close_by_token(&self, _: &str) {}

    fn close_by_user(&self, _: &UserId, _: shared::id::Timestamp) {}

    fn disconnect(&self, _: &UserId, _: shared::id::Timestamp) {}

    fn passage(&self, _: chat_node::session::Passage) {}

    fn relocate(&self, _: &UserId) -> usize {
        0
    }
}

/// Nobody is limited in a schedule.
fn free() -> LimitSettings {
    let free = || Quota::new(NonZeroU32::MAX, Duration::from_secs(1), NonZeroU32::MAX);
    LimitSettings {
        limit_sends: free(),
        limit_typing: free(),
        limit_presence: free(),
        limit_starts: free(),
        limit_commands: free(),
        limit_room_sends: free(),
        limit_flood: free(),
    }
}

/// One life of a node.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) rooms: Rooms,
    pub(crate) relay: Relay,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) friends: Arc<FriendCache>,
    pub(crate) presence: Presence,
    pub(crate) link: Arc<Link>,
    stop: CancellationToken,
}

impl Node {
    pub(crate) fn start(index: usize, world: &World) -> Self {
        let id = NodeId::parse(&format!("n{index}")).expect("a node's id");
        let link = Arc::new(Link {
            store: world.store.clone(),
            dice: world.dice.clone(),
            node: index,
            faults: world.plan.faults,
            plant: world.plant,
            dead: AtomicBool::new(false),
            away: AtomicU64::new(0),
            calm: world.calm.clone(),
        });
        let (station, heard) = world.wire.join(index, id.clone());
        let bridge = Arc::new(Bridge::new(id.clone(), Arc::new(station)));
        let overload = Overload::default();
        let relays = Relays::new(1, overload.clone());
        let relay = Relay::start(relays.clone(), 0);
        let people = Arc::new(Acquainted(world.users.clone()));
        let friends = Arc::new(FriendCache::new(people, FriendCacheSettings::default()));
        let presence = Presence::new(
            Arc::new(Leased {
                store: world.presence.node(id),
                link: link.clone(),
            }),
            friends.clone(),
            bridge.clone(),
            relays.clone(),
            overload.clone(),
            PresenceSettings::default(),
        );
        let rooms = Rooms::start(RoomsParts {
            arbiters: vec![Arbiter::current()],
            relays: relays.clone(),
            history: link.clone(),
            friends: friends.clone(),
            bridge: bridge.clone(),
            presence: presence.clone(),
            overload,
            settings: RoomSettings {
                lobby_linger: Duration::from_millis(50),
                ..RoomSettings::default()
            },
            clock: Arc::new(now),
        });
        let stop = CancellationToken::new();
        let sessions = Arc::new(Undisturbed);
        let store_events = Arc::new(StoreEvents::new(
            bridge.clone(),
            friends.clone(),
            relays.clone(),
            presence.clone(),
            Revocations::new(),
            sessions.clone(),
        ));
        let inbound = Inbound {
            bridge: bridge.clone(),
            rooms: Arc::new(rooms.clone()),
            sessions,
            presence: presence.clone(),
            friends: friends.clone(),
            store_events,
            relays,
            limits: Arc::new(Limits::new(&free())),
        };
        actix_rt::spawn(inbound.run(heard, stop.clone()));
        if world.plan.presence {
            actix_rt::spawn(presence.clone().run(stop.clone()));
        }
        let (keeper, until) = (bridge.clone(), stop.clone());
        actix_rt::spawn(async move { keeper.run(until).await });
        Self {
            index,
            rooms,
            relay,
            bridge,
            friends,
            presence,
            link,
            stop,
        }
    }

    pub(crate) fn alive(&self) -> bool {
        !self.link.dead.load(Relaxed)
    }

    /// Dies: nothing it still does reaches anybody.
    pub(crate) fn die(&self) {
        self.link.dead.store(true, Relaxed);
        self.stop.cancel();
    }
}
