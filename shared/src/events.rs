//! What the store tells chat nodes, so that what happens to accounts and friendships reaches live
//! sockets.
//!
//! Delivery is at least once, over HTTP or in process; the store sends what concerns one person in
//! order, but between nodes the order is not promised. A receiver drops an id it has seen (see
//! [`SeenEvents`]) and treats every event as news of a state, not as a step: each carries what holds
//! now, so that a late one at worst causes a look at the store.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use crate::auth::Revocation;
use crate::id::{Timestamp, UserId};

/// One thing that happened in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreEvent {
    /// The event's name, the same on every delivery.
    pub id: Ulid,
    /// When it happened.
    pub ts: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: StoreEventKind,
}

impl StoreEvent {
    /// A new event, happening now.
    pub fn new(kind: StoreEventKind) -> Self {
        Self {
            id: Ulid::new(),
            ts: Timestamp::now(),
            kind,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StoreEventKind {
    /// The friendship between two people changed.
    FriendChanged(FriendChange),
    /// `by` blocked `user`; a friendship or request between them is over, of which a
    /// [`Self::FriendChanged`] tells.
    Blocked {
        /// Who blocks.
        by: UserId,
        /// Who is blocked.
        user: UserId,
    },
    /// `by` no longer blocks `user`.
    Unblocked {
        /// Who blocked.
        by: UserId,
        /// Who was blocked.
        user: UserId,
    },
    /// A profile reads differently now.
    ProfileChanged(Profile),
    /// One access token was taken back.
    TokenRevoked {
        /// Whose it is.
        user: UserId,
        /// Its `jti`.
        jti: String,
        /// When it would have ended.
        exp: Timestamp,
    },
    /// All of a user's tokens up to a moment were taken back.
    UserTokensRevoked {
        /// Whose.
        user: UserId,
        /// Tokens issued at or before this, to the millisecond.
        issued_at_or_before: Timestamp,
    },
    /// An account is gone, and with it its friendships; its tokens are revoked.
    UserWithdrawn {
        /// Whose.
        user: UserId,
    },
    /// Somebody is told something of the shop.
    Notice(Notice),
    /// Events for this receiver were dropped, because it did not take them for too long: whatever it
    /// believes of people, it asks again.
    Missed,
    /// A kind that only a newer store knows. During a rolling update a node lets it pass instead of
    /// refusing the batch.
    #[serde(other)]
    Unknown,
}

/// A person, named so that a receiver need not ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The id.
    pub id: UserId,
    /// The display name.
    pub name: String,
}

/// The state of a friendship after it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FriendChange {
    /// One of the two.
    pub a: Person,
    /// The other.
    pub b: Person,
    /// What `a` sees of `b`; `b` sees the [mirror](FriendState::mirrored).
    pub state: FriendState,
    /// Only `a` hears of it, and nothing changed for `b`: `a` asks somebody who blocks them, and
    /// must not notice; or `a` blocked `b`, whose request stays as if nobody answered it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_a: bool,
}

/// What one person is to another, from the first one's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FriendState {
    /// Nothing (any more).
    None,
    /// Asked, and waits for an answer.
    Outgoing,
    /// Was asked, and may answer.
    Incoming,
    /// A friend.
    Friend,
}

impl FriendState {
    /// The same from the other side.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Outgoing => Self::Incoming,
            Self::Incoming => Self::Outgoing,
            same => same,
        }
    }
}

/// Something a person is told, which the store keeps for them: whoever hears it twice, or reads it
/// in the list of notices too, knows it by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Whom.
    pub user: UserId,
    /// Its name.
    pub notice: Ulid,
    /// What it is about, in a stable word.
    pub topic: String,
    /// The facts.
    pub data: Value,
}

/// What others see of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Whose it is.
    pub user: UserId,
    /// The display name.
    pub name: String,
    /// The picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// A line about themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
}

impl StoreEventKind {
    /// Whom it concerns: the users whose sessions hear of it or whose cached friends it changes.
    pub fn users(&self) -> Vec<&UserId> {
        match self {
            Self::FriendChanged(change) => vec![&change.a.id, &change.b.id],
            Self::Blocked { by, user } | Self::Unblocked { by, user } => vec![by, user],
            Self::ProfileChanged(profile) => vec![&profile.user],
            Self::TokenRevoked { user, .. }
            | Self::UserTokensRevoked { user, .. }
            | Self::Notice(Notice { user, .. })
            | Self::UserWithdrawn { user } => vec![user],
            Self::Missed | Self::Unknown => Vec::new(),
        }
    }
}

impl StoreEvent {
    /// The revocation it implies, if any. A withdrawn account's tokens end with it.
    pub fn revocation(&self) -> Option<Revocation> {
        match &self.kind {
            StoreEventKind::TokenRevoked { jti, exp, .. } => Some(Revocation::Token {
                jti: jti.clone(),
                expires: *exp,
            }),
            StoreEventKind::UserTokensRevoked {
                user,
                issued_at_or_before,
            } => Some(Revocation::User {
                user: user.clone(),
                issued_at_or_before: *issued_at_or_before,
            }),
            StoreEventKind::UserWithdrawn { user } => Some(Revocation::User {
                user: user.clone(),
                issued_at_or_before: self.ts,
            }),
            _ => None,
        }
    }
}

/// Remembers the newest event ids, to drop second deliveries. Bound: the number given; the oldest
/// is forgotten first.
#[derive(Debug)]
pub struct SeenEvents {
    order: VecDeque<Ulid>,
    known: HashSet<Ulid>,
    capacity: usize,
}

impl SeenEvents {
    /// Remembers this many, at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            order: VecDeque::new(),
            known: HashSet::new(),
            capacity: capacity.max(1),
        }
    }

    /// Whether this id comes for the first time, as far as is remembered.
    pub fn first_time(&mut self, id: Ulid) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    #[test]
    fn the_shape_on_the_wire() {
        let person = |id: &str| Person {
            id: user(id),
            name: id.to_uppercase(),
        };
        let change = FriendChange {
            a: person("a"),
            b: person("b"),
            state: FriendState::Outgoing,
            only_a: false,
        };
        let event = StoreEvent {
            id: Ulid::from_parts(1, 2),
            ts: Timestamp::from_millis(3),
            kind: StoreEventKind::FriendChanged(change),
        };
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(
            value,
            json!({"id": Ulid::from_parts(1, 2).to_string(), "ts": 3, "kind": "friend_changed",
                   "a": {"id": "a", "name": "A"}, "b": {"id": "b", "name": "B"}, "state": "outgoing"})
        );
        assert_eq!(serde_json::from_value::<StoreEvent>(value).unwrap(), event);
        assert_eq!(event.kind.users(), [&user("a"), &user("b")]);
    }

    #[test]
    fn a_kind_of_the_future_passes() {
        let text = r#"{"id":"00000000010000000000000002","ts":3,"kind":"badge","of":"a"}"#;
        let event: StoreEvent = serde_json::from_str(text).unwrap();
        assert_eq!(event.kind, StoreEventKind::Unknown);
        assert!(event.kind.users().is_empty() && event.revocation().is_none());
    }

    #[test]
    fn mirrors_are_mutual() {
        for state in [
            FriendState::None,
            FriendState::Outgoing,
            FriendState::Incoming,
            FriendState::Friend,
        ] {
            assert_eq!(state.mirrored().mirrored(), state);
        }
        assert_eq!(FriendState::Outgoing.mirrored(), FriendState::Incoming);
    }

    #[test]
    fn a_withdrawal_revokes() {
        let event = StoreEvent::new(StoreEventKind::UserWithdrawn { user: user("a") });
        let expected = Revocation::User {
            user: user("a"),
            issued_at_or_before: event.ts,
        };
        assert_eq!(event.revocation(), Some(expected));
    }

    #[test]
    fn second_deliveries_are_known_and_memory_is_bounded() {
        let mut seen = SeenEvents::new(2);
        let [a, b, c] = [1, 2, 3].map(|n| Ulid::from_parts(n, 0));
        assert!(seen.first_time(a) && seen.first_time(b) && !seen.first_time(a));
        assert!(seen.first_time(c));
        assert!(seen.first_time(a), "the oldest is forgotten first");
        assert_eq!(seen.known.len(), 2);
    }
}
