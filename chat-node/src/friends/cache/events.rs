//! What events change in the graphs that are cached.

use std::sync::Arc;

use dashmap::Entry;
use shared::{
    events::{FriendState, StoreEvent, StoreEventKind},
    id::{Timestamp, UserId},
};
use tokio::time::Instant;

use super::{FriendCache, Graph};

impl FriendCache {
    /// Changes the graphs cached here as an event says. Idempotent. An event older than one
    /// applied already is not a step back: the graph is read again instead.
    ///
    /// Answers who of those with a session here has the withdrawn or renamed user for a friend.
    pub fn apply(&self, event: &StoreEvent) -> Vec<UserId> {
        match &event.kind {
            StoreEventKind::FriendChanged(change) => {
                let sides = [(&change.a, &change.b), (&change.b, &change.a)];
                let friends = change.state == FriendState::Friend;
                for (one, other) in sides.into_iter().take(if change.only_a { 1 } else { 2 }) {
                    self.change(&one.id, event.ts, |graph| {
                        if friends {
                            graph.friends.insert(other.id.clone(), other.name.as_str());
                        } else {
                            graph.friends.remove(&other.id);
                        }
                    });
                }
                Vec::new()
            }
            StoreEventKind::Blocked { by, user } => {
                self.change(by, event.ts, |graph| {
                    graph.blocked.insert(user.clone(), ());
                });
                self.change(user, event.ts, |graph| {
                    graph.blocked_by.insert(by.clone(), ());
                });
                Vec::new()
            }
            StoreEventKind::Unblocked { by, user } => {
                self.change(by, event.ts, |graph| {
                    graph.blocked.remove(user);
                });
                self.change(user, event.ts, |graph| {
                    graph.blocked_by.remove(by);
                });
                Vec::new()
            }
            StoreEventKind::ProfileChanged(profile) => {
                let name = Some(profile.name.clone());
                self.names
                    .lock()
                    .put(profile.user.clone(), name, Instant::now());
                self.change_friends_of(&profile.user, |graph| {
                    graph
                        .friends
                        .insert(profile.user.clone(), profile.name.as_str());
                })
            }
            StoreEventKind::UserWithdrawn { user } => {
                self.change(user, event.ts, |graph| *graph = Graph::default());
                self.change_friends_of(user, |graph| {
                    graph.friends.remove(user);
                })
            }
            // About tokens or the shop, or of a kind that a newer store-api has: not about friends.
            StoreEventKind::TokenRevoked { .. }
            | StoreEventKind::UserTokensRevoked { .. }
            | StoreEventKind::Notice(_)
            | StoreEventKind::Missed
            | StoreEventKind::Unknown => Vec::new(),
        }
    }

    fn change(&self, user: &UserId, at: Timestamp, change: impl FnOnce(&mut Graph)) {
        let late = {
            let Entry::Occupied(mut held) = self.graphs.entry(user.clone()) else {
                return;
            };
            let held = held.get_mut();
            held.generation += 1;
            let late = held.newest.is_some_and(|newest| newest > at);
            if late {
                held.read = None;
            } else {
                held.newest = Some(at);
                if let Some(graph) = &mut held.graph {
                    change(Arc::make_mut(graph));
                }
            }
            late
        };
        if late {
            self.want(user);
        }
    }

    /// Changes every cached graph with `user` among the friends; answers the pinned ones' owners.
    /// A walk over all graphs, for what happens rarely.
    fn change_friends_of(&self, user: &UserId, change: impl Fn(&mut Graph)) -> Vec<UserId> {
        let mut pinned = Vec::new();
        for mut held in self.graphs.iter_mut() {
            let owner = held.key().clone();
            let Some(graph) = &mut held.graph else {
                continue;
            };
            if graph.friends.contains(user) {
                change(Arc::make_mut(graph));
                held.generation += 1;
                if held.pins > 0 {
                    pinned.push(owner);
                }
            }
        }
        pinned
    }
}
