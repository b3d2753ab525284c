//! One service through the ports of the other: the two never import each other.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use chat_node::{
    bridge::StoreEvents,
    friends::{Friends, FriendsError, Graph},
};
use shared::{auth::Revocation, events::StoreEvent, id::UserId};
use store_api::{DeliveryError, EventSink, Store, StoreError};

/// The store as chat-node's friends port.
pub(crate) struct StoreFriends(pub(crate) Store);

fn unavailable(error: &StoreError) -> FriendsError {
    FriendsError::Unavailable(error.to_string())
}

#[async_trait]
impl Friends for StoreFriends {
    async fn graph(&self, user: &UserId) -> Result<Graph, FriendsError> {
        let graph = self
            .0
            .friend_graph(user)
            .await
            .map_err(|e| unavailable(&e))?;
        Ok(Graph {
            friends: graph.friends.into_iter().collect(),
            blocked: graph.blocked.into_iter().collect(),
            blocked_by: graph.blocked_by.into_iter().collect(),
        })
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        let names = self.0.names(users).await.map_err(|e| unavailable(&e))?;
        Ok(names.into_iter().collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        self.0
            .active_revocations()
            .await
            .map_err(|e| unavailable(&e))
    }
}

/// The node as a target of the store's events.
pub(crate) struct NodeEvents(pub(crate) Arc<StoreEvents>);

#[async_trait]
impl EventSink for NodeEvents {
    async fn deliver(&self, events: &[StoreEvent]) -> Result<(), DeliveryError> {
        self.0.intake(events.to_vec()).await;
        Ok(())
    }
}
