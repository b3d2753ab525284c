//! One service through the ports of the other: the two never import each other.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use chat_node::{
    bridge::StoreEvents,
    friends::{Friends, FriendsError, Graph},
};
use shared::{auth::Revocation, events::StoreEvent, id::UserId};
use store_api::{DeliveryError, EventSink, FriendGraph, Store, StoreError};
use tokio::sync::{mpsc, oneshot};

/// The most friend graphs read at once.
const GRAPHS_AT_ONCE: usize = 64;

/// The store as chat-node's friends port.
///
/// Whoever asks for a graph while others are read waits, and is read with all who wait then: when
/// thousands of sessions start at once, that is one question in place of many.
pub(crate) struct StoreFriends {
    store: Store,
    asks: mpsc::Sender<Ask>,
}

struct Ask {
    user: UserId,
    answer: oneshot::Sender<Result<Graph, FriendsError>>,
}

impl StoreFriends {
    /// Begins to answer, on the runtime this is called on.
    pub(crate) fn new(store: Store) -> Self {
        let (asks, asked) = mpsc::channel(GRAPHS_AT_ONCE);
        tokio::spawn(read_graphs(store.clone(), asked));
        Self { store, asks }
    }
}

async fn read_graphs(store: Store, mut asked: mpsc::Receiver<Ask>) {
    let mut asks = Vec::with_capacity(GRAPHS_AT_ONCE);
    while asked.recv_many(&mut asks, GRAPHS_AT_ONCE).await > 0 {
        let users: Vec<UserId> = asks.iter().map(|ask| ask.user.clone()).collect();
        match store.friend_graphs(&users).await {
            Ok(graphs) => {
                for (ask, graph) in asks.drain(..).zip(graphs) {
                    // Whoever asked may have gone.
                    let _ = ask.answer.send(Ok(as_the_node_has_it(graph)));
                }
            }
            Err(error) => {
                for ask in asks.drain(..) {
                    let _ = ask.answer.send(Err(unavailable(&error)));
                }
            }
        }
    }
}

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
    async fn graph(&self, user: &UserId) -> Result<Graph, FriendsError> {
        let gone = || FriendsError::Unavailable("the store has ended".into());
        let (answer, answered) = oneshot::channel();
        let user = user.clone();
        self.asks
            .send(Ask { user, answer })
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, FriendsError> {
        let names = self.store.names(users).await.map_err(|e| unavailable(&e))?;
        Ok(names.into_iter().collect())
    }

    async fn revocations(&self) -> Result<Vec<Revocation>, FriendsError> {
        self.store
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
