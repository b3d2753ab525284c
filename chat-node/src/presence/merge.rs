//! Several devices, one presence.
//!
//! A join, separately of availability and of activity: it is commutative, associative and idempotent, so
//! that each node may merge its own devices first, and any order gives the same.
//!
//! - Availability: invisible over busy over online over away; away only if all are.
//! - Activity: a device in a game outranks one that is idle, whatever the availability of either.
//!   Of two games the one begun last; of two begun at once, whichever comes later in the order of their fields, so
//!   that every node decides alike.

use std::{cmp::Ordering, sync::Arc};

use shared::protocol::presence::Activity;

use super::DeviceState;

/// The merge of two states.
#[must_use]
pub fn merge(a: &DeviceState, b: &DeviceState) -> DeviceState {
    DeviceState {
        availability: a.availability.max(b.availability),
        activity: match (&a.activity, &b.activity) {
            (Some(x), Some(y)) if order(x, y).is_lt() => Some(Arc::clone(y)),
            (Some(x), _) => Some(Arc::clone(x)),
            (None, y) => y.clone(),
        },
    }
}

/// The merge of any number of states; of none, nothing: offline.
pub fn merged<'a>(states: impl IntoIterator<Item = &'a DeviceState>) -> Option<DeviceState> {
    states.into_iter().fold(None, |sum, state| {
        Some(sum.map_or_else(|| state.clone(), |sum| merge(&sum, state)))
    })
}

/// A total order, so that a tie is a tie of equals.
fn order(a: &Activity, b: &Activity) -> Ordering {
    fn key(a: &Activity) -> impl Ord {
        let party = a.party.as_ref().map(|p| (&p.id, p.size, p.max));
        let texts = (&a.game, &a.state, &a.details);
        (a.since, texts, party, a.joinable, a.kind as u8)
    }
    key(a).cmp(&key(b))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
    use shared::{
        id::Timestamp,
        protocol::presence::{ActivityKind, Party},
    };

    use super::*;
    use crate::presence::Availability;

    /// Any state; values are few, so that ties are many.
    pub(in crate::presence) fn state() -> impl Strategy<Value = DeviceState> {
        let availability = prop_oneof![
            Just(Availability::Away),
            Just(Availability::Online),
            Just(Availability::Busy),
            Just(Availability::Invisible),
        ];
        let activity = (
            "[ab]",
            prop::option::of("[xy]"),
            prop::option::of("[xy]"),
            prop::option::of(("[pq]", 1_u32..3)),
            any::<bool>(),
            prop::option::of(0_i64..3),
        )
            .prop_map(|(game, state, details, party, joinable, since)| {
                Arc::new(Activity {
                    kind: ActivityKind::Game,
                    game,
                    state,
                    details,
                    party: party.map(|(id, size)| Party { id, size, max: 4 }),
                    joinable,
                    since: since.map(Timestamp::from_millis),
                })
            });
        (availability, prop::option::of(activity)).prop_map(|(availability, activity)| {
            DeviceState {
                availability,
                activity,
            }
        })
    }

    proptest! {
        #[test]
        fn order_grouping_and_repetition_do_not_matter(a in state(), b in state(), c in state()) {
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
            prop_assert_eq!(merge(&a, &a), a.clone());
            prop_assert_eq!(merge(&merge(&a, &b), &b), merge(&a, &b));
        }

        #[test]
        fn the_rules_hold(states in prop::collection::vec(state(), 1..6)) {
            let sum = merged(&states).unwrap();
            let any = |what| states.iter().any(|s| s.availability == what);
            let expected = if any(Availability::Invisible) {
                Availability::Invisible
            } else if any(Availability::Busy) {
                Availability::Busy
            } else if any(Availability::Online) {
                Availability::Online
            } else {
                Availability::Away
            };
            prop_assert_eq!(sum.availability, expected);
            // Somebody in a game is in a game, in one that a device is in, and in the newest.
            let newest = states.iter().filter_map(|s| s.activity.as_ref().map(|a| a.since)).max();
            prop_assert_eq!(sum.activity.as_ref().map(|a| a.since), newest);
            if let Some(activity) = &sum.activity {
                assert!(states.iter().any(|s| s.activity.as_ref() == Some(activity)));
            }
        }
    }

    #[test]
    fn no_device_is_offline() {
        assert_eq!(merged([]), None);
    }
}
