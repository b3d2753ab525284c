//! What one viewer may see of one person: the only way from what is known to what is shown.

use std::sync::Arc;

use shared::{
    id::{Timestamp, UserId},
    protocol::presence::{PresenceView, Status},
};

use super::{Availability, DeviceState};
use crate::friends::Graph;

/// What is known of a person's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The store does not answer.
    Unknown,
    /// The truth.
    Is {
        /// The state over all devices; `None`: there is none.
        state: Option<DeviceState>,
        /// When the person last ceased to be visible.
        last_seen: Option<Timestamp>,
    },
}

/// How a viewer stands to a person, for presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The viewer is the person.
    Own,
    /// A friend.
    Open,
    /// In the same room, which the viewer has open, and no friend.
    Member,
    /// Blocked, whichever way, or nobody to the person.
    Hidden,
}

impl Relation {
    /// How `viewer`, whose graph is given, stands to `person` when they share no room.
    pub fn of_friends(viewer: &UserId, graph: &Graph, person: &UserId) -> Self {
        if viewer == person {
            Self::Own
        } else if graph.befriended(person) {
            Self::Open
        } else {
            Self::Hidden
        }
    }

    /// How they stand when they share a room: no friendship is needed, a block still hides.
    pub fn of_members(viewer: &UserId, graph: &Graph, person: &UserId) -> Self {
        if viewer == person {
            Self::Own
        } else if graph.befriended(person) {
            Self::Open
        } else if graph.unblocked(person) {
            Self::Member
        } else {
            Self::Hidden
        }
    }
}

/// What the viewer sees.
///
/// Invisible is offline to everybody else, down to the time last seen, which is of the moment the person
/// ceased to be visible. Who is hidden from sees an offline person of whom nothing is known; but when the
/// truth about everybody is unknown, it is unknown about that person too, or the difference would tell.
/// When somebody was last seen is for friends: a member who is away looks to those who have the room open
/// like one who hides from them.
pub fn project(relation: Relation, known: &Known) -> PresenceView {
    let (state, last_seen) = match known {
        Known::Unknown => return plain(Status::Unknown, None),
        Known::Is { state, last_seen } => (state, *last_seen),
    };
    match (relation, state) {
        (Relation::Hidden, _) | (Relation::Member, None) => plain(Status::Offline, None),
        (Relation::Own | Relation::Open, None) => plain(Status::Offline, last_seen),
        (Relation::Open | Relation::Member, Some(state))
            if state.availability == Availability::Invisible =>
        {
            project(
                relation,
                &Known::Is {
                    state: None,
                    last_seen,
                },
            )
        }
        (_, Some(state)) => PresenceView {
            status: state.availability.status(),
            activity: state
                .activity
                .as_ref()
                .map(|a| Arc::unwrap_or_clone(Arc::clone(a))),
            last_seen: None,
        },
    }
}

fn plain(status: Status, last_seen: Option<Timestamp>) -> PresenceView {
    PresenceView {
        status,
        activity: None,
        last_seen,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

    use super::*;
    use crate::presence::merge::tests::state;

    fn last_seen() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of(any::<i64>().prop_map(Timestamp::from_millis))
    }

    proptest! {
        #[test]
        fn invisible_is_offline_to_everybody_else(state in state(), last_seen in last_seen()) {
            let invisible = DeviceState { availability: Availability::Invisible, ..state };
            let there = Known::Is { state: Some(invisible), last_seen };
            let gone = Known::Is { state: None, last_seen };
            for relation in [Relation::Open, Relation::Member, Relation::Hidden] {
                prop_assert_eq!(project(relation, &there), project(relation, &gone));
            }
            prop_assert_eq!(project(Relation::Own, &there).status, Status::Invisible);
        }

        #[test]
        fn who_is_blocked_sees_nothing(a in state(), b in state(), x in last_seen(), y in last_seen()) {
            let hidden = a.clone();
            let seen = |state, last_seen| project(Relation::Hidden, &Known::Is { state, last_seen });
            prop_assert_eq!(seen(Some(a), x), seen(Some(b), y));
            prop_assert_eq!(seen(None, x), seen(None, None));
            // Nor can they tell from a room they have open that they are: others look so when gone.
            let gone = Known::Is { state: None, last_seen: x };
            prop_assert_eq!(project(Relation::Member, &gone), seen(Some(hidden), y));
        }

        #[test]
        fn a_friend_sees_what_is_there(state in state(), last_seen in last_seen()) {
            let there = Known::Is { state: Some(state.clone()), last_seen };
            let view = project(Relation::Open, &there);
            if state.availability != Availability::Invisible {
                prop_assert_eq!(&project(Relation::Member, &there), &view);
            }
            if state.availability != Availability::Invisible {
                prop_assert_eq!(view.status, state.availability.status());
                prop_assert_eq!(view.activity.as_ref(), state.activity.as_deref());
                prop_assert_eq!(view.last_seen, None);
            }
        }

        #[test]
        fn blocks_count_whichever_way_and_over_friendship(friend: bool, blocked: bool, by: bool) {
            let (viewer, person) = (UserId::parse("v").unwrap(), UserId::parse("p").unwrap());
            let mut graph = Graph::default();
            if friend {
                graph.friends.insert(person.clone(), "P");
            }
            if blocked {
                graph.blocked.insert(person.clone(), ());
            }
            if by {
                graph.blocked_by.insert(person.clone(), ());
            }
            let open = |is| if is { Relation::Open } else { Relation::Hidden };
            let clear = !blocked && !by;
            prop_assert_eq!(Relation::of_friends(&viewer, &graph, &person), open(friend && clear));
            let member = match (clear, friend) {
                (false, _) => Relation::Hidden,
                (true, true) => Relation::Open,
                (true, false) => Relation::Member,
            };
            prop_assert_eq!(Relation::of_members(&viewer, &graph, &person), member);
            prop_assert_eq!(Relation::of_friends(&viewer, &graph, &viewer), Relation::Own);
        }
    }

    #[test]
    fn unknown_is_never_offline() {
        for relation in [Relation::Own, Relation::Open, Relation::Hidden] {
            assert_eq!(project(relation, &Known::Unknown).status, Status::Unknown);
        }
    }
}
