//! The friends port: what a node asks of store-api.
//!
//! The graph belongs to store-api. A node reads it here and keeps it for users who are online
//! (the cache), told of changes by events; when store-api is away, chat goes on with what is cached.

use std::collections::HashMap;

use async_trait::async_trait;
use shared::id::UserId;

mod cache;
mod graph;
#[cfg(feature = "http-client")]
mod http;
#[cfg(test)]
pub(crate) mod memory;
mod names;

pub use cache::{FriendCache, FriendCacheSettings, METRICS, Refreshed};
pub use graph::{ById, Graph};
#[cfg(feature = "http-client")]
pub use http::{HttpFriends, HttpFriendsError};
pub use shared::auth::Revocation;

/// The most graphs asked for at once. Somebody may have a thousand friends.
pub const GRAPHS_AT_ONCE: usize = 64;
/// The most names asked for at once: with ids of 64 characters, well below what a store-api takes.
pub const NAMES_AT_ONCE: usize = 200;

/// Who is whose friend, and what people are called.
#[async_trait]
pub trait Friends: Send + Sync + 'static {
    /// The friends and blocks of users, in their order. A user store-api does not know has none. Up to
    /// [`GRAPHS_AT_ONCE`] users; what cannot be read of one takes all with it.
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError>;

    /// Names by id; ids that are not known are left out. Up to [`NAMES_AT_ONCE`] at once.
    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError>;

    /// Every revocation still in force: read once at start, then kept up by events.
    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError>;
}

/// Why a question to store-api has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FriendsError {
    /// Out of reach.
    #[error("store-api is out of reach: {0}")]
    Unavailable(String),
}
