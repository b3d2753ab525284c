//! Finding out which back ends there are.

use std::{collections::BTreeSet, io, sync::Arc, time::Instant};

use metrics::counter;
use shared::{nodes::NodeRegister, telemetry::Sparing};
use tokio::time::{Duration, sleep, timeout};

use super::{DiscoverySettings, HealthSettings, Place, Pool, Roll, probe};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a pool's back ends are named.
#[derive(Clone)]
pub enum Source {
    /// By the operator.
    Static(Vec<Place>),
    /// By DNS: every address of a name.
    Dns(Place),
    /// By themselves, in Redis.
    Register(NodeRegister),
}

impl Source {
    /// Where chat nodes are named; `register` where they announce themselves.
    pub fn of_nodes(settings: &DiscoverySettings, register: Option<NodeRegister>) -> Self {
        match (&settings.nodes_dns, register) {
            (_, Some(register)) if settings.nodes_from_redis => Self::Register(register),
            (Some(name), _) => Self::Dns(name.clone()),
            _ => Self::Static(settings.nodes.clone()),
        }
    }

    /// Where store-apis are named.
    pub fn of_stores(settings: &DiscoverySettings) -> Self {
        match &settings.stores_dns {
            Some(name) => Self::Dns(name.clone()),
            None => Self::Static(settings.stores.clone()),
        }
    }

    async fn look(&self) -> io::Result<Vec<Place>> {
        match self {
            Self::Static(places) => Ok(places.clone()),
            Self::Dns(name) => {
                let found = tokio::net::lookup_host(&name.address).await?;
                // The same address may be there for several kinds of sockets.
                let found: BTreeSet<String> = found.map(|address| address.to_string()).collect();
                let place = |address: String| Place {
                    name: address.clone(),
                    address,
                    weight: name.weight,
                };
                Ok(found.into_iter().map(place).collect())
            }
            Self::Register(register) => {
                let found = register.list().await.map_err(io::Error::other)?;
                let place = |entry: shared::nodes::NodeEntry| Place {
                    name: entry.id.to_string(),
                    address: entry.address,
                    weight: entry.weight,
                };
                Ok(found.into_iter().map(place).collect())
            }
        }
    }
}

/// Keeps a pool what its source says it is, for ever. Every back end that comes is asked for its
/// health from then on. Run it on an actix system.
pub async fn follow(
    pool: Arc<Pool>,
    source: Source,
    discovery: DiscoverySettings,
    health: HealthSettings,
) {
    let lines = Sparing::new(Duration::from_secs(10));
    let mut roll = Roll::default();
    loop {
        let found = timeout(PATIENCE, source.look()).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let found = found.unwrap_or_else(|error| {
            counter!("fireside_lb_discovery_errors_total", "pool" => pool.kind().word())
                .increment(1);
            if let Some(more) = lines.due() {
                let pool = pool.kind().word();
                tracing::warn!(pool, %error, more, "who there is cannot be learned; those known stay");
            }
            Vec::new()
        });
        for backend in pool.replace(&roll.update(found, Instant::now())) {
            let (name, address) = (backend.name(), backend.address());
            tracing::info!(
                pool = pool.kind().word(),
                name,
                address,
                "a back end is known"
            );
            actix_rt::spawn(probe::keep_asking(backend, health.clone()));
        }
        sleep(discovery.discovery_interval).await;
    }
}
