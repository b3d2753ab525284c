//! Wiring: how the parts of a node are put together.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use actix_web::web::ServiceConfig;
use shared::{
    auth::{Auth, Revocations, SigningKey, TokenVerifier},
    id::{NodeId, Timestamp},
    lifecycle::{Check, Lifecycle, Phase},
};
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::backends::{Backends, Closing};
#[cfg(feature = "cluster")]
pub use self::backends::{Cluster, Stopped};
use crate::{
    bridge::{Bridge, Inbound, StoreEvents},
    friends::{FriendCache, Friends},
    history::{History, retention},
    limits::Limits,
    live::Live,
    overload::{Overload, Shed},
    presence::Presence,
    rest::{Rest, RestParts},
    room::{Rooms, RoomsParts},
    server::{Bound, Server},
    session::{Sessions, Surroundings},
    settings::NodeSettings,
    transport::relay::Relays,
    upgrade::Upgrades,
    worker::Workers,
};

#[cfg(feature = "redis")]
mod announce;
mod backends;

/// How often what readiness depends on is asked.
const PROBE: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long presence has to give its lease back.
const PARTING: Duration = Duration::from_secs(2);
/// How long before the end of its grace a drain stops waiting for sessions to be fetched.
const MARGIN: Duration = Duration::from_secs(3);
/// How long clients that come during a drain are told to wait.
const COME_BACK: Duration = Duration::from_secs(2);

/// What a node needs of the program it runs in.
pub struct NodeParts {
    /// What the operator decides.
    pub settings: NodeSettings,
    /// Where history is kept, and what joins this node to others.
    pub storage: Storage,
    /// Who is whose friend.
    pub friends: Arc<dyn Friends>,
    /// Judges tokens.
    pub auth: Auth,
    /// Of the process.
    pub lifecycle: Lifecycle,
}

/// Where a node keeps history.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In a file of this directory; the node is alone.
    Embedded(PathBuf),
    /// Where other nodes keep theirs.
    #[cfg(feature = "cluster")]
    Shared(Box<Cluster>),
}

/// What judges tokens that `key` signed in the name of `issuer`.
pub fn auth(key: &SigningKey, issuer: &str) -> Auth {
    Auth {
        verifier: TokenVerifier::of_key(key, issuer),
        revocations: Revocations::new(),
    }
}

/// A chat node at work.
pub struct Node {
    settings: NodeSettings,
    lifecycle: Lifecycle,
    workers: Workers,
    rooms: Rooms,
    surroundings: Arc<Surroundings>,
    live: Live,
    events: Arc<StoreEvents>,
    rest: Rest,
    server: Mutex<Option<Server>>,
    presence_runs: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    closing: Closing,
}

impl Node {
    /// Opens history and starts the threads. Serves nobody before [`Node::serve`].
    pub async fn start(parts: NodeParts) -> anyhow::Result<Self> {
        let NodeParts {
            settings,
            storage,
            friends,
            auth,
            lifecycle,
        } = parts;
        let id = match &settings.node_id {
            Some(id) => id.clone(),
            None => NodeId::parse(&format!("node-{}", ulid::Ulid::new()))?,
        };
        let stop = CancellationToken::new();
        let overload = Overload::default();
        let relays = Relays::new(settings.worker_count(), overload.clone());
        let workers = Workers::start(settings.worker_count(), relays.clone()).await?;

        let Backends {
            history,
            bus,
            heard,
            presence,
            revoked,
            #[cfg(feature = "redis")]
            register,
            closing,
        } = match storage {
            Storage::Embedded(dir) => Backends::embedded(&id, &dir, &settings.history, &overload)?,
            #[cfg(feature = "cluster")]
            Storage::Shared(cluster) => {
                Backends::shared(&id, &cluster, &overload, &lifecycle).await?
            }
        };
        #[cfg(feature = "redis")]
        if let (Some(register), Some(place)) = (register, settings.advertised()) {
            let (lifecycle, stop) = (lifecycle.clone(), stop.clone());
            actix_rt::spawn(announce::announce(
                register,
                id.clone(),
                place,
                lifecycle,
                stop,
            ));
        }
        let bridge = Arc::new(Bridge::new(id.clone(), bus));
        let friends = Arc::new(FriendCache::new(friends, settings.friends));
        let presence = Presence::new(
            presence,
            friends.clone(),
            bridge.clone(),
            relays.clone(),
            overload.clone(),
            settings.presence,
        );
        let rooms = Rooms::start(RoomsParts {
            arbiters: workers.handles(),
            relays: relays.clone(),
            history: history.clone(),
            friends: friends.clone(),
            bridge: bridge.clone(),
            presence: presence.clone(),
            overload: overload.clone(),
            settings: settings.rooms.clone(),
            clock: Arc::new(Timestamp::now),
        });
        let sessions = Sessions::new(settings.sessions.max_sessions_per_user);
        let limits = Arc::new(Limits::new(&settings.limits));
        let events = StoreEvents::new(
            bridge.clone(),
            friends.clone(),
            relays.clone(),
            presence.clone(),
            auth.revocations.clone(),
            Arc::new(sessions.clone()),
        );
        let events = Arc::new(match revoked {
            Some(revoked) => events.sharing(revoked),
            None => events,
        });
        let inbound = Inbound {
            bridge: bridge.clone(),
            rooms: Arc::new(rooms.clone()),
            sessions: Arc::new(sessions.clone()),
            presence: presence.clone(),
            friends: friends.clone(),
            store_events: events.clone(),
            relays,
            limits: limits.clone(),
        };
        actix_rt::spawn(inbound.run(heard, stop.clone()));
        let presence_runs = actix_rt::spawn(presence.clone().run(stop.clone()));
        actix_rt::spawn({
            let (bridge, stop) = (bridge.clone(), stop.clone());
            async move { bridge.run(stop).await }
        });
        actix_rt::spawn({
            let (events, stop) = (events.clone(), stop.clone());
            async move { events.run(stop).await }
        });
        actix_rt::spawn({
            let (limits, stop) = (limits.clone(), stop.clone());
            async move { limits.run(stop).await }
        });
        actix_rt::spawn(retention::run(
            history.clone(),
            settings.rooms.retention,
            Arc::new(Timestamp::now),
            stop.clone(),
        ));
        let checks = (lifecycle.check("history"), lifecycle.check("bus"));
        actix_rt::spawn(probe(history.clone(), bridge.clone(), checks, stop.clone()));

        let live = Live::new(sessions.clone(), rooms.clone(), overload.clone());
        let rest = Rest::new(RestParts {
            rooms: rooms.clone(),
            history: history.clone(),
            friends: friends.clone(),
            presence: presence.clone(),
            limits: limits.clone(),
            events: events.clone(),
            sessions: Arc::new(sessions.clone()),
            bridge: bridge.clone(),
            live: live.clone(),
            auth: auth.clone(),
            service_token: settings.service_token.clone(),
            settings: settings.rest.clone(),
        });
        let surroundings = Arc::new(Surroundings {
            node: id,
            settings: settings.sessions.clone(),
            auth,
            sessions,
            rooms: rooms.clone(),
            friends,
            bridge,
            presence,
            limits,
            overload,
        });
        Ok(Self {
            settings,
            lifecycle,
            workers,
            rooms,
            surroundings,
            live,
            events,
            rest,
            server: Mutex::new(None),
            presence_runs: Mutex::new(Some(presence_runs)),
            stop,
            closing,
        })
    }

    /// What it has to do right now.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Where events of the store come in.
    pub fn events(&self) -> &Arc<StoreEvents> {
        &self.events
    }

    /// Serves on `address`: WebSockets, REST, and whatever `more` mounts. Answers where.
    pub async fn serve(
        &self,
        address: SocketAddr,
        more: impl Fn(&mut ServiceConfig) + Send + Sync + 'static,
    ) -> anyhow::Result<SocketAddr> {
        let connections = &self.settings.connections;
        let send_buffer = connections.socket_send_buffer.as_usize();
        let bound = Bound::bind(address, self.workers.count(), send_buffer)?;
        let address = bound.address();
        let (lifecycle, overload) = (self.lifecycle.clone(), self.surroundings.overload.clone());
        let surroundings = self.surroundings.clone();
        let upgrades = Arc::new(Upgrades::new(
            &self.settings.upgrades,
            connections.trusted_proxies.clone(),
            surroundings.auth.clone(),
            Box::new(move || {
                let away = lifecycle.phase() >= Phase::Draining;
                (away || !overload.allows(Shed::Sends)).then_some(COME_BACK)
            }),
            Box::new(move |upgraded| surroundings.greet(upgraded)),
        ));
        let rest = self.rest.clone();
        let configure = Arc::new(move |app: &mut ServiceConfig| {
            rest.configure(app);
            more(app);
        });
        let handles = self.workers.handles();
        let server = Server::start(bound, &handles, connections, upgrades, configure).await?;
        *self.server.lock().await = Some(server);
        Ok(address)
    }

    /// Moves sessions away and lets what is under way finish, for up to `grace`.
    pub async fn drain(&self, grace: Duration) {
        let sessions = &self.surroundings.sessions;
        let server = self.server.lock().await.take();
        if self.surroundings.bridge.alone() {
            // Sessions first: whoever is told to come back must find nobody home here.
            let http = async {
                if let Some(server) = server {
                    server.stop(grace).await;
                }
            };
            tokio::join!(http, sessions.drain(grace / 2, true));
        } else {
            let cut = Instant::now() + grace.saturating_sub(MARGIN.min(grace / 4));
            sessions.drain(grace / 2, false).await;
            // Others fetch them. Whoever does not come for as long as friends would not notice is not
            // waited for.
            let until = cut.min(Instant::now() + self.settings.presence.presence_grace);
            if timeout_at(until, sessions.gone()).await.is_err() {
                let left = sessions.len();
                tracing::info!(left, "sessions were not fetched by another node");
            }
            // Until now a balancer was told that nobody is taken in; to find nobody here it would take
            // for a failure.
            if let Some(server) = server {
                server.stop(MARGIN.min(grace / 4)).await;
            }
        }
        self.rooms.drained().await;
    }

    /// Closes history and ends the threads. Nothing is asked of the node afterwards.
    pub async fn close(&self) {
        self.stop.cancel();
        // Presence has it noted when those who are here now were last seen.
        if let Some(runs) = self.presence_runs.lock().await.take()
            && tokio::time::timeout(PARTING, runs).await.is_err()
        {
            tracing::warn!("presence did not part in time");
        }
        self.closing.close().await;
        self.workers.stop();
    }
}

/// Tells readiness what history and the bus answer.
async fn probe(
    history: Arc<dyn History>,
    bridge: Arc<Bridge>,
    (history_check, bus_check): (Check, Check),
    stop: CancellationToken,
) {
    loop {
        match tokio::time::timeout(PATIENCE, history.ping()).await {
            Ok(Ok(())) => history_check.pass(),
            Ok(Err(error)) => history_check.fail(error.to_string()),
            Err(_) => history_check.fail("does not answer"),
        }
        match tokio::time::timeout(PATIENCE, bridge.ping()).await {
            Ok(Ok(())) => bus_check.pass(),
            Ok(Err(error)) => bus_check.fail(error.to_string()),
            Err(_) => bus_check.fail("does not answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(PROBE) => {}
            () = stop.cancelled() => return,
        }
    }
}
