//! The backends of a node: what keeps its history, what joins it to others. The only place of the
//! crate that names them.

#[cfg(feature = "cluster")]
use std::time::Duration;
use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
#[cfg(feature = "cluster")]
use shared::lifecycle::{Lifecycle, Phase};
#[cfg(feature = "redis")]
use shared::nodes::NodeRegister;
use shared::{id::NodeId, settings::private_file};

#[cfg(feature = "cluster")]
use crate::{
    bus::redis::RedisBus,
    history::mongodb::{MongoHistory, MongoSettings},
    presence::RedisPresence,
    redis::{Backoff, RedisLink, RedisSettings},
    revoked::RedisRevoked,
};
use crate::{
    bus::{Bus, BusReceiver, LocalBus},
    history::{
        History,
        sqlite::{SqliteHistory, SqliteSettings},
    },
    overload::Overload,
    presence::{LocalPresence, PresenceStore},
    revoked::RevokedSet,
};

/// Between two tries to open history, at first and later on.
#[cfg(feature = "cluster")]
const AGAIN_SOONEST: Duration = Duration::from_millis(250);
#[cfg(feature = "cluster")]
const AGAIN_LATEST: Duration = Duration::from_secs(5);

/// The node was told to end before everything it needs was there.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("told to end before MongoDB was there")]
pub struct Stopped;

/// What the bus may hold for this node.
const BUS_CAPACITY: usize = 8192;

/// What a node works on.
pub(super) struct Backends {
    pub(super) history: Arc<dyn History>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) heard: BusReceiver,
    pub(super) presence: Arc<dyn PresenceStore>,
    /// Where nodes share what is revoked, if there are others.
    pub(super) revoked: Option<Arc<dyn RevokedSet>>,
    /// Where nodes tell balancers of themselves, if there is such a place.
    #[cfg(feature = "redis")]
    pub(super) register: Option<NodeRegister>,
    pub(super) closing: Closing,
}

/// What has to be ended in an orderly manner.
pub(super) enum Closing {
    /// History in a file.
    File {
        history: Arc<SqliteHistory>,
        /// Held for as long as the node lives.
        _claim: File,
    },
    #[cfg(feature = "cluster")]
    Shared(Arc<MongoHistory>),
}

/// Where a node finds what it shares with others.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The history of all.
    pub mongodb: MongoSettings,
    /// What joins them.
    pub redis: RedisSettings,
}

impl Backends {
    /// Everything in this process, and in one file of its data directory.
    pub(super) fn embedded(
        node: &NodeId,
        data_dir: &Path,
        settings: &SqliteSettings,
        overload: &Overload,
    ) -> anyhow::Result<Self> {
        let claim = claim(data_dir)?;
        let path = data_dir.join("history.db");
        // It holds what everybody said to each other.
        private_file(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let history = Arc::new(SqliteHistory::open(&path, settings)?);
        history.report_to(overload);
        let (bus, heard) = LocalBus::new().node(node.clone(), BUS_CAPACITY);
        let presence = LocalPresence::remembering(history.clone()).node(node.clone());
        Ok(Self {
            history: history.clone(),
            bus: Arc::new(bus),
            heard,
            presence: Arc::new(presence),
            revoked: None,
            #[cfg(feature = "redis")]
            register: None,
            closing: Closing::File {
                history,
                _claim: claim,
            },
        })
    }

    /// History in MongoDB, bus, presence and what is revoked in Redis, shared with all nodes that are told the
    /// same. What is out of reach is tried on: this returns when MongoDB is there, or the node is
    /// told to end before ([`Stopped`]).
    #[cfg(feature = "cluster")]
    pub(super) async fn shared(
        node: &NodeId,
        cluster: &Cluster,
        overload: &Overload,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let history = Arc::new(open(&cluster.mongodb, lifecycle).await?);
        history.report_to(overload);
        let (bus, heard) = RedisBus::connect(&cluster.redis, node.clone(), BUS_CAPACITY)?;
        let link = RedisLink::connect(&cluster.redis)?;
        // Presence would complain that there is no link yet.
        link.wait_up(cluster.redis.redis_connect_timeout).await;
        let revoked = RedisRevoked::new(link.clone());
        let register = NodeRegister::new(link.clone());
        let presence = RedisPresence::new(link, node.clone(), Some(history.clone()));
        Ok(Self {
            history: history.clone(),
            bus: Arc::new(bus),
            heard,
            presence: Arc::new(presence),
            revoked: Some(Arc::new(revoked)),
            register: Some(register),
            closing: Closing::Shared(history),
        })
    }
}

/// Opens history as soon as MongoDB is there. Until then readiness and the log say what is in the way.
#[cfg(feature = "cluster")]
async fn open(settings: &MongoSettings, lifecycle: &Lifecycle) -> anyhow::Result<MongoHistory> {
    let check = lifecycle.check("history");
    let mut pauses = Backoff::new(AGAIN_SOONEST, AGAIN_LATEST);
    loop {
        match MongoHistory::open(settings).await {
            Err(error) if error.may_pass() => {
                let again_in = pauses.next_wait();
                tracing::warn!(%error, ?again_in, "the node waits for MongoDB");
                check.fail(error.to_string());
                tokio::select! {
                    () = tokio::time::sleep(again_in) => {}
                    () = lifecycle.reached(Phase::Draining) => bail!(Stopped),
                }
            }
            opened => return Ok(opened?),
        }
    }
}

impl Closing {
    /// Writes what waits to be written. Nothing is asked of the backends afterwards.
    pub(super) async fn close(&self) {
        let close: Box<dyn FnOnce() + Send> = match self {
            Self::File { history, .. } => {
                let history = history.clone();
                Box::new(move || history.close())
            }
            #[cfg(feature = "cluster")]
            Self::Shared(history) => {
                let history = history.clone();
                Box::new(move || history.close())
            }
        };
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("history did not close");
        }
    }
}

/// Claims a data directory for one node: two on one history would not hear each other's messages.
/// The claim ends with the process, however it ends.
fn claim(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("node.lock");
    let file = private_file(&path)
        .and_then(|()| File::open(&path))
        .with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "the data directory {} is used by another process; stop that one, or give this one a \
             directory of its own (--data-dir)",
            data_dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
