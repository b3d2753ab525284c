//! One service through the ports of the other: the two never import each other.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use chat_node::{
    bridge::StoreEvents,
    friends::{Friends, FriendsError, Graph},
};
use shared::{auth::Revocation, events::StoreEvent, id::UserId};
use store_api::{DeliveryError, EventSink, FriendGraph, Store, StoreError};

/// The store as chat-node's friends port.
pub(crate) struct StoreFriends(pub(crate) Store);

fn as_the_node_has_it(graph: FriendGraph) -> Graph {
    Graph {
        friends: graph.friends.into_iter().collect(),
        blocked: graph.blocked.into_iter().collect(),
        blocked_by: graph.blocked_by.into_iter().collect(),
    }
}

fn unavailable(error: &StoreError) -> FriendsError {
    FriendsError::Unavailable(error.to_string())
}

#[async_trait]
impl Friends for StoreFriends {
    async fn graphs(&self, users: &[UserId]) -> Result<Vec<Graph>, FriendsError> {
        let graphs = self.0.friend_graphs(users).await;
        let graphs = graphs.map_err(|error| unavailable(&error))?;
        Ok(graphs.into_iter().map(as_the_node_has_it).collect())
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
