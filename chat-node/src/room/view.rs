//! Rooms as somebody sees them.

use shared::{
    id::{RoomId, UserId},
    protocol::{
        reply::{Appended, RoomReply},
        room::{Role, RoomView, UserRef},
    },
};

use super::{
    Caller, ReplyBody,
    ask::Answer,
    consult::out_of_reach,
    live::{Parts, Room},
    rules,
    state::RoomState,
};
use crate::history::HistoryError;

/// The rooms of `user` as history has them, with the names of the other ends.
pub(super) async fn named(
    parts: &Parts,
    user: &UserId,
    only: Option<&RoomId>,
) -> Result<Vec<RoomView>, HistoryError> {
    let mut views = parts.history.views(user, only).await?;
    let peers: Vec<UserId> = views
        .iter()
        .filter_map(|view| view.peer.as_ref().map(|peer| peer.id.clone()))
        .collect();
    if !peers.is_empty() {
        let names = parts.friends.names(&peers).await;
        for peer in views.iter_mut().filter_map(|view| view.peer.as_mut()) {
            peer.name = names.get(&peer.id).cloned();
        }
    }
    Ok(views)
}

impl Room {
    /// Answers with the room as the caller sees it, and where the caller's entry stands. The turn
    /// goes on meanwhile.
    pub(super) fn show(&self, caller: Caller, appended: Option<Appended>, answer: Answer) {
        let Some(state) = self.state() else {
            return answer.give(Err(rules::no_room()));
        };
        let reply = move |room| Ok(ReplyBody::Room(Box::new(RoomReply { room, appended })));
        let member = state.member(&caller.user).is_some();
        // Whoever appended something may be out again by the time the room is read.
        let outside = (caller.service || appended.is_some()).then(|| from_outside(state));
        match outside {
            Some(room) if !member => return answer.give(reply(room)),
            None if !member => return answer.give(Err(rules::no_room())),
            _ => {}
        }
        let (parts, id) = (self.parts.clone(), self.id.clone());
        actix_rt::spawn(async move {
            let views = named(&parts, &caller.user, Some(&id)).await;
            answer.give(match views {
                Ok(mut views) => views.pop().or(outside).map_or(Err(rules::no_room()), reply),
                Err(error) => Err(out_of_reach(error)),
            });
        });
    }
}

/// The room as somebody sees it who came in just now, as far as its state tells.
pub(super) fn newcomer(state: &RoomState, user: &UserId) -> Option<RoomView> {
    let member = state.member(user)?;
    let peer = state.peer(user).map(|peer| UserRef {
        id: peer.clone(),
        name: None,
    });
    Some(RoomView {
        read: member.read,
        role: member.role,
        peer,
        ..from_outside(state)
    })
}

/// The room as the server API sees it, which is in none.
fn from_outside(state: &RoomState) -> RoomView {
    RoomView {
        id: state.id().clone(),
        kind: state.kind(),
        name: state.name().map(Into::into),
        topic: state.topic().map(Into::into),
        epoch: state.epoch().clone(),
        head: state.head(),
        first: None,
        read: state.head(),
        unread: 0,
        mentions: 0,
        last: None,
        role: Role::Member,
        members: state.members().len() as u32,
        peer: None,
        slow_mode_ms: state.slow_mode_ms(),
        muted_until: None,
    }
}
