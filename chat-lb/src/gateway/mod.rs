//! The gateway: who gets through, and to whom.
//!
//! The checks go from cheap to dear, and nobody behind us is touched before all of them: the head
//! ([`crate::door`]), the path, the origin, the address's bucket, the token, the user's bucket, the body.

mod answer;
mod arrival;
mod cors;
mod counted;
mod forward;
mod handshake;
mod headers;
mod limits;
mod reach;
mod route;
mod settings;
mod socket;
mod trace;
mod worker;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hyper::{HeaderMap, header::AUTHORIZATION};
use shared::{
    auth::{Claims, TokenError, bearer},
    codes::ErrorCode,
    network::Network,
    origin::Origin,
    problem::Problem,
    telemetry::Metric,
};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use answer::Body;
pub use limits::SocketPlace;
pub use route::{Route, plain};
pub use settings::GatewaySettings;
pub use socket::Opened;
pub use trace::Trace;
pub use worker::Worker;

use crate::{
    door::{DoorSettings, Doorstep},
    nodes::Pool,
    token::{Caller, Tokens},
};
use limits::Limits;

/// The longest body of a request to a node, or of nobody who is known: it is held here while it
/// arrives.
const SMALL_BODY: usize = 256 << 10;
/// So many longer ones may be held at once; more are refused as `busy`.
const LARGE_BODIES: usize = 64;

/// The metrics of this module, besides those of every HTTP service.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "fireside_lb_refused_total",
        "Requests and upgrades that the balancer refused itself, by the code of the refusal",
    )
    .by(&["code"]),
    Metric::counter("fireside_lb_upgrades_total", "WebSockets opened"),
    Metric::counter(
        "fireside_lb_fall_overs_total",
        "Upgrades given to the next node: full, it takes nobody; failed, it does not answer",
    )
    .by(&["reason"]),
];

/// What the gateway is made of.
pub struct GatewayParts {
    /// The chat nodes.
    pub nodes: Arc<Pool>,
    /// The store-apis.
    pub stores: Arc<Pool>,
    /// Who judges tokens.
    pub tokens: Tokens,
    /// Proxies before us whose word is believed.
    pub proxies: Vec<Network>,
    /// The bounds of a request.
    pub door: DoorSettings,
    /// Who gets through and how often.
    pub settings: GatewaySettings,
}

/// The gateway, which all workers share.
#[derive(Debug)]
pub struct Gateway {
    nodes: Arc<Pool>,
    stores: Arc<Pool>,
    tokens: Tokens,
    proxies: Vec<Network>,
    door: DoorSettings,
    settings: GatewaySettings,
    limits: Limits,
    large_bodies: Semaphore,
    counts: Counts,
}

/// What went through so far, for the live view.
#[derive(Debug, Default)]
pub struct Counts {
    requests: AtomicU64,
    upgrades: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    /// Requests, upgrades among them; upgrades; and what was refused here.
    pub fn now(&self) -> [u64; 3] {
        [&self.requests, &self.upgrades, &self.refused].map(|count| count.load(Relaxed))
    }
}

/// Whoever is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// The address it comes from.
    pub address: IpAddr,
    /// Whether over TLS.
    pub secure: bool,
    /// What stands at the door.
    pub doorstep: Arc<Doorstep>,
}

impl Gateway {
    /// Serves with these parts.
    pub fn new(parts: GatewayParts) -> Self {
        Self {
            limits: Limits::new(&parts.settings),
            nodes: parts.nodes,
            stores: parts.stores,
            tokens: parts.tokens,
            proxies: parts.proxies,
            door: parts.door,
            settings: parts.settings,
            large_bodies: Semaphore::new(LARGE_BODIES),
            counts: Counts::default(),
        }
    }

    /// What went through so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A place for one more large body.
    fn large_body(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.large_bodies.try_acquire().map_err(|_| {
            let said = "too many large requests at once";
            Problem::new(ErrorCode::Busy, said).retry_after(self.limits.later())
        })
    }

    fn allowed(&self) -> &[Origin] {
        &self.settings.allowed_origins
    }

    /// For the store, which shows some things to everybody: whether it is somebody who is known. A token
    /// that does not hold is refused, also where none is needed.
    async fn anybody(&self, headers: &HeaderMap) -> Result<bool, Problem> {
        let token = match bearer(authorization(headers)?) {
            Ok(token) => token,
            Err(TokenError::Missing) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match self.tokens.of_store(token).await? {
            Caller::Person(claims) => self.limits.request_of(&claims.sub)?,
            // Of the latter only the store can say whether it holds.
            Caller::Service | Caller::StoreService => {}
        }
        Ok(true)
    }

    async fn person(&self, headers: &HeaderMap) -> Result<Claims, Problem> {
        let token = bearer(authorization(headers)?)?;
        let claims = self.tokens.person(token).await?;
        self.limits.request_of(&claims.sub)?;
        Ok(claims)
    }
}

/// The value of `Authorization`. Two of them are refused rather than guessed about.
fn authorization(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values
        .next()
        .map(|value| value.to_str().unwrap_or_default());
    if values.next().is_some() {
        return Err(TokenError::Malformed(
            "two tokens in one request".to_owned(),
        ));
    }
    Ok(first)
}
