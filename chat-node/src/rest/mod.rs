//! REST of a chat node: history, search and presence for people, and the server API for the game's
//! own backend.
//!
//! Whatever changes a room goes through [`Rooms`], as a WebSocket command does, with the same rules
//! and in the same order; what only reads asks [`Rooms::authorize`] first and then history. To
//! somebody who may not see a thing it is `not_found`.

mod caller;
mod messages;
mod pages;
mod presence;
mod refusal;
mod rooms;
mod routes;
mod search;
mod server_api;
mod settings;

use std::{fmt, sync::Arc};

use actix_web::web;
use shared::{
    auth::Auth,
    id::UserId,
    limits::{Limiter, Quota},
    problem::{self, Problem},
    protocol::command::Command,
    settings::Secret,
};

pub use self::{routes::openapi, settings::RestSettings};

use crate::{
    bridge::{Bridge, SessionControl, StoreEvents},
    friends::FriendCache,
    history::History,
    limits::{CommandClass, Limits},
    live::Live,
    presence::Presence,
    room::Rooms,
};

/// The longest body of a request.
const BODY_LIMIT: usize = 64 << 10;

/// Buckets kept of each kind before newcomers share.
const KEYS: usize = 100_000;

/// What the routes need of the node.
pub struct RestParts {
    /// The rooms.
    pub rooms: Rooms,
    /// What reads ask, once the caller may.
    pub history: Arc<dyn History>,
    /// Who is whose friend.
    pub friends: Arc<FriendCache>,
    /// Who is there.
    pub presence: Presence,
    /// What people may do how often, over either way in.
    pub limits: Arc<Limits>,
    /// Where events of the store go in.
    pub events: Arc<StoreEvents>,
    /// The sessions of this node.
    pub sessions: Arc<dyn SessionControl>,
    /// The other nodes.
    pub bridge: Arc<Bridge>,
    /// What there is to do right now.
    pub live: Live,
    /// Who judges tokens.
    pub auth: Auth,
    /// What services show to be let in to `/v1/server`; without it only tokens of the scope `server`
    /// are.
    pub service_token: Option<Secret>,
    /// What the operator decides.
    pub settings: RestSettings,
}

/// The routes of a node. Clones share the rate limits, so hand one to all workers.
#[derive(Clone)]
pub struct Rest(web::Data<Shared>);

/// What handlers find in the application's data.
struct Shared {
    parts: RestParts,
    requests: Limiter<UserId>,
    searches: Limiter<UserId>,
    services: Limiter<String>,
}

impl Rest {
    /// The routes of a node with these parts.
    pub fn new(parts: RestParts) -> Self {
        let limiter = |quota: Quota| Limiter::new(quota, KEYS);
        Self(web::Data::new(Shared {
            requests: limiter(parts.settings.rest_rate),
            searches: limiter(parts.settings.search_rate),
            services: Limiter::new(parts.settings.server_api_rate, KEYS),
            parts,
        }))
    }

    /// Mounts every route.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        config
            .app_data(self.0.clone())
            .configure(problem::extractors(BODY_LIMIT))
            .configure(routes::mount);
    }
}

impl Shared {
    /// Takes a person's command from the buckets that the WebSocket takes it from: whoever uses
    /// both ways in may not do more than over one.
    fn admit(&self, user: &UserId, command: &Command) -> Result<(), Problem> {
        let limits = &self.parts.limits;
        let class = CommandClass::of(command);
        let taken = limits.command(user, class).map_err(|refusal| refusal.error);
        let taken = taken.and_then(|()| match command {
            Command::MessageSend(send) => limits.room_send(&send.room),
            _ => Ok(()),
        });
        taken.map_err(refusal::of_error)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("settings", &self.0.parts.settings)
            .finish_non_exhaustive()
    }
}
