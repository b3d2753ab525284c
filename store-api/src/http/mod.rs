//! REST: thin handlers that read a request, ask the [`Store`] and spell the answer.

use std::{sync::Arc, time::Duration};

use actix_web::web::{self, Bytes};
use shared::{network::Network, settings::Secret};

use limits::Limits;
pub use limits::RateLimits;
pub use routes::openapi;

use crate::{
    catalogue::{GamePage, Kept},
    store::Store,
};

mod audit;
mod auth;
mod caller;
mod campaigns;
mod catalogue;
mod coupons;
mod drops;
mod email;
mod friends;
mod gifts;
mod guest_book;
mod identities;
mod imports;
mod internal;
mod limits;
mod me;
mod money;
mod notices;
mod operators;
mod orders;
mod payment_window;
mod payments;
mod privacy;
mod publishers;
mod queues;
mod recovery;
mod refusal;
mod reviews;
mod routes;
mod searches;
mod shelf;
mod users;
mod visits;
mod wallet;
mod webhooks;

/// The longest body of a request.
const BODY_LIMIT: usize = 16 << 10;
/// The longest body that says a game.
const GAME_LIMIT: usize = 64 << 10;
/// The longest body that says many games.
const IMPORT_LIMIT: usize = 2 << 20;

/// What the routes need besides the store.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// How often is too often.
    pub rate_limits: RateLimits,
    /// What services show to be let in to `/v1/internal`; without it only tokens of the scope
    /// `server` are.
    pub service_token: Option<Secret>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// How long an answer about the catalogue is given again.
    pub catalogue_kept: Duration,
}

/// The routes of a store. Clones share the rate limits, so hand one to all workers.
#[derive(Clone)]
pub struct Routes {
    http: web::Data<Http>,
}

/// What handlers find in the application's data.
struct Http {
    store: Store,
    limits: Limits,
    service_token: Option<Secret>,
    trusted_proxies: Vec<Network>,
    /// Lists of games, as they are sent.
    lists: Arc<Kept<Bytes>>,
    /// Games, as anybody sees them.
    games: Arc<Kept<Arc<GamePage>>>,
}

impl Routes {
    /// The routes of `store`.
    pub fn new(store: Store, options: HttpOptions) -> Self {
        Self {
            http: web::Data::new(Http {
                store,
                limits: Limits::new(&options.rate_limits),
                service_token: options.service_token,
                trusted_proxies: options.trusted_proxies,
                lists: Kept::new(options.catalogue_kept),
                games: Kept::new(options.catalogue_kept),
            }),
        }
    }

    /// Mounts the routes: `App::new().configure(|config| routes.configure(config))`.
    ///
    /// They bound their own bodies. How paths and queries are refused is the application's, which
    /// may serve more than the store: it calls [`shared::problem::extractors`].
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        config.app_data(self.http.clone());
        routes::mount(config);
        routes::mount_keys(config);
    }
}
