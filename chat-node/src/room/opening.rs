//! How rooms come about: made by somebody with friends in it from the start, or, between two
//! people, opened by either.

use std::collections::BTreeSet;

use shared::{
    codes::ErrorCode,
    id::{Seq, Timestamp, UserId},
    protocol::{
        command::{Command, RoomCreate},
        reply::ErrorBody,
        room::{Entry, EntryBody, MemberAction, Role, RoomChange, RoomKind},
    },
};

use super::{
    Caller,
    ask::Ask,
    consult::out_of_reach,
    live::{Away, Mail, Room, outcome_unknown},
    place::Known,
    rules,
    state::{RoomState, change},
};
use crate::history::{AppendError, NewEntry};

impl Room {
    /// Makes the room, or answers it when it is there already.
    pub(super) async fn open(&mut self, ask: Ask) {
        if self.state().is_some() {
            if let Command::RoomOpenDm(_) = ask.command {
                return self.show(ask.caller, None, ask.answer);
            }
            let error = ErrorBody::new(ErrorCode::Conflict, "the room is there already");
            return ask.answer.give(Err(error));
        }
        let bodies = match &ask.command {
            Command::RoomCreate(create) => self.creation(&ask.caller, create).await,
            Command::RoomOpenDm(with) => self.direct(&ask.caller, &with.user).await,
            _ => Err(rules::no_room()),
        };
        match bodies {
            Ok(bodies) => self.begin(ask, bodies).await,
            Err(error) => ask.answer.give(Err(error)),
        }
    }

    async fn creation(
        &self,
        caller: &Caller,
        create: &RoomCreate,
    ) -> Result<Vec<EntryBody>, ErrorBody> {
        let others = first_members(caller, create)?;
        if !caller.service && !others.is_empty() {
            let graph = self.parts.graph(&caller.user).await?;
            let friends_only = self.parts.policy.invite_friends_only;
            let stranger = others.iter().find(|other| {
                !graph.unblocked(other) || (friends_only && !graph.friends.contains(other))
            });
            if let Some(stranger) = stranger {
                // The same words whether they are strangers or one blocked the other.
                return Err(rules::forbidden(format!("you cannot invite {stranger}")));
            }
        }
        Ok(founding(caller, create, others))
    }

    async fn direct(&self, caller: &Caller, peer: &UserId) -> Result<Vec<EntryBody>, ErrorBody> {
        if *peer == caller.user {
            return Err(rules::invalid("that is yourself"));
        }
        if !caller.service {
            let tie = self.tie(&caller.user, peer).await?;
            let friends_only = self.parts.policy.dm_friends_only;
            let known = friends_only || tie.friends || {
                let names = self.parts.friends.names(std::slice::from_ref(peer)).await;
                names.contains_key(peer)
            };
            if !tie.allows(friends_only) || !known {
                return Err(rules::forbidden("you cannot write to this person"));
            }
        }
        let join = |user| change(MemberAction::Join, user).role(Role::Member).entry();
        let created = RoomChange {
            created: Some(RoomKind::Dm),
            ..RoomChange::default()
        };
        Ok(vec![
            EntryBody::Room(created),
            join(&caller.user),
            join(peer),
        ])
    }

    /// Appends the first entries.
    async fn begin(&mut self, ask: Ask, bodies: Vec<EntryBody>) {
        let ts = self.now();
        let entries = new_entries(&ask.caller.user, ts, &bodies);
        match self
            .parts
            .history
            .append(&self.id, Seq::ZERO, entries)
            .await
        {
            Ok(_) => {
                self.place.founded();
                if let Err(Away) = self.begun(&ask.caller.user, ts, bodies).await {
                    return ask.answer.give(Err(rules::unavailable()));
                }
                self.show(ask.caller, None, ask.answer);
            }
            Err(AppendError::Conflict { .. } | AppendError::NotCreated) => {
                // The other end was faster.
                self.place.known = Known::Nothing;
                self.queue.push_front(Mail::Ask(ask));
            }
            Err(AppendError::Busy) => ask.answer.give(Err(rules::busy())),
            Err(AppendError::Unavailable(error)) => {
                outcome_unknown(&self.id, &error);
                // If the room stands after all, those who are in are told of it.
                self.place.founded();
                ask.answer.give(Err(rules::unavailable()));
            }
        }
    }

    /// Takes up the state of a room just made, and delivers its first entries.
    async fn begun(
        &mut self,
        user: &UserId,
        ts: Timestamp,
        bodies: Vec<EntryBody>,
    ) -> Result<(), Away> {
        let record = self
            .parts
            .history
            .room(&self.id)
            .await
            .map_err(out_of_reach);
        let Ok(Some(record)) = record else {
            return self.caught_up().await;
        };
        let state = RoomState::unborn(record.id, record.epoch);
        self.place.known = Known::State(Box::new(state));
        self.place.behind = false;
        self.place.untold = None;
        let entries = bodies.into_iter().zip(1..).map(|(body, seq)| Entry {
            seq: Seq::new(seq),
            user: user.clone(),
            ts,
            body,
        });
        self.deliver_own(entries.collect(), Vec::new()).await;
        Ok(())
    }
}

/// Who besides the caller is in from the start, once each.
fn first_members<'a>(
    caller: &Caller,
    create: &'a RoomCreate,
) -> Result<BTreeSet<&'a UserId>, ErrorBody> {
    if create.kind == RoomKind::Dm {
        return Err(rules::invalid(
            "a direct-message room is opened, not created",
        ));
    }
    rules::check_name(&create.name)?;
    if let Some(topic) = &create.topic {
        rules::check_topic(topic)?;
    }
    let others: BTreeSet<&UserId> = create
        .members
        .iter()
        .filter(|user| **user != caller.user)
        .collect();
    if others.len() > rules::MAX_FIRST_MEMBERS {
        let message = format!("at most {} people at once", rules::MAX_FIRST_MEMBERS);
        return Err(rules::invalid(message));
    }
    Ok(others)
}

/// The first entries of a room that `caller` makes. The server API, acting for nobody, is no
/// member: such a room has no owner until the server API names one.
fn founding(caller: &Caller, create: &RoomCreate, others: BTreeSet<&UserId>) -> Vec<EntryBody> {
    let mut bodies = Vec::with_capacity(others.len() + 2);
    bodies.push(EntryBody::Room(RoomChange {
        created: Some(create.kind),
        name: Some(create.name.clone()),
        topic: create.topic.clone(),
        ..RoomChange::default()
    }));
    if !(caller.service && caller.user.as_str() == rules::SYSTEM) {
        let owner = change(MemberAction::Join, &caller.user).role(Role::Owner);
        bodies.push(owner.entry());
    }
    for user in others {
        bodies.push(change(MemberAction::Join, user).role(Role::Member).entry());
    }
    bodies
}

fn new_entries(user: &UserId, ts: Timestamp, bodies: &[EntryBody]) -> Vec<NewEntry> {
    bodies
        .iter()
        .map(|body| NewEntry {
            user: user.clone(),
            ts,
            body: body.clone(),
        })
        .collect()
}
