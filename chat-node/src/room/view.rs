//! Rooms as somebody sees them.

use shared::{
    id::{RoomId, UserId},
    protocol::{
        reply::{Appended, RoomReply},
        room::{Role, RoomView},
    },
};

use super::{
    Caller, Reply, ReplyBody,
    live::{Parts, Room, out_of_reach},
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
    /// Answers with the room as the caller sees it, and where the caller's entry stands.
    pub(super) async fn view(&self, caller: &Caller, appended: Option<Appended>) -> Reply {
        let state = self.state().ok_or_else(rules::no_room)?;
        let room = if state.member(&caller.user).is_some() {
            let views = named(&self.parts, &caller.user, Some(&self.id)).await;
            views
                .map_err(out_of_reach)?
                .pop()
                .ok_or_else(rules::no_room)?
        } else if caller.service {
            from_outside(state)
        } else {
            return Err(rules::no_room());
        };
        Ok(ReplyBody::Room(Box::new(RoomReply { room, appended })))
    }
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
