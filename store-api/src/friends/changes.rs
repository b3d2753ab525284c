//! What chat nodes are told of a change between two people.

use shared::{
    events::{FriendChange, FriendState, Person, StoreEventKind},
    id::UserId,
};

use super::relation::{Pair, Relation};
use crate::{entity::user, error::StoreError, store::stored_id};

/// The events that lead from `before` to `after`, seen from the one who acted.
///
/// A change of both sides is one event. Where a block hides one side from the other, the event is
/// for one side's ears alone.
pub(super) fn changes(
    me: &user::Model,
    them: &user::Model,
    before: Pair,
    after: Pair,
) -> Result<Vec<StoreEventKind>, StoreError> {
    let mut events = Vec::with_capacity(2);
    let (i_change, they_change) = (
        before.me.sees != after.me.sees,
        before.them.sees != after.them.sees,
    );
    if i_change {
        events.push(change(me, them, after.me.sees, !they_change)?);
    } else if they_change {
        events.push(change(them, me, after.them.sees, true)?);
    }
    if before.me.blocks != after.me.blocks {
        let (by, user) = (stored_id(&me.id)?, stored_id(&them.id)?);
        // First the block: who hears of the end of a friendship already knows why, and no presence
        // slips through between the two.
        let event = if after.me.blocks {
            StoreEventKind::Blocked { by, user }
        } else {
            StoreEventKind::Unblocked { by, user }
        };
        events.insert(0, event);
    }
    Ok(events)
}

/// What a friend, or somebody with a request, hears of a person who leaves for good.
pub(super) fn left(
    leaving: &user::Model,
    other: &UserId,
    other_name: &str,
) -> Result<StoreEventKind, StoreError> {
    Ok(StoreEventKind::FriendChanged(FriendChange {
        a: Person {
            id: other.clone(),
            name: other_name.to_owned(),
        },
        b: person(leaving)?,
        state: FriendState::None,
        only_a: false,
    }))
}

fn change(
    a: &user::Model,
    b: &user::Model,
    a_sees: Option<Relation>,
    only_a: bool,
) -> Result<StoreEventKind, StoreError> {
    let state = a_sees.map_or(FriendState::None, FriendState::from);
    Ok(StoreEventKind::FriendChanged(FriendChange {
        a: person(a)?,
        b: person(b)?,
        state,
        only_a,
    }))
}

fn person(row: &user::Model) -> Result<Person, StoreError> {
    Ok(Person {
        id: stored_id(&row.id)?,
        name: row.name.clone().unwrap_or_default(),
    })
}

impl From<Relation> for FriendState {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Friend => Self::Friend,
            Relation::Incoming => Self::Incoming,
            Relation::Outgoing => Self::Outgoing,
        }
    }
}
