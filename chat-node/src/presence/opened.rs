//! Rooms that sessions have open, and their members as they are shown there.

use futures_util::future::join_all;
use shared::{
    codes::ErrorCode,
    id::{RoomId, UserId},
    protocol::reply::ErrorBody,
};

use super::{
    Known, Relation, project,
    service::Presence,
    watch::{MAX_WATCHED_MEMBERS, MAX_WATCHES, Refused},
};
use crate::transport::SessionKey;

/// A room that a session has just opened, whose members it has not been shown yet.
#[derive(Debug)]
pub struct Opened {
    members: Vec<UserId>,
    /// Those whose topic was not heard before.
    begun: Vec<UserId>,
}

impl Presence {
    /// The session has a room open that has these members: from now on it is shown how they
    /// change, until [`Presence::unwatch`] or its end. Called by the room in its turn, so that who
    /// comes and goes meanwhile is not mistaken; then [`Presence::show_members`].
    pub fn open(
        &self,
        session: SessionKey,
        viewer: &UserId,
        room: &RoomId,
        members: Vec<UserId>,
    ) -> Result<Opened, ErrorBody> {
        let inner = &self.0;
        if inner.teller.friends.graph(viewer).is_none() {
            let message = "it is not known who blocks whom";
            return Err(ErrorBody::new(ErrorCode::Unavailable, message));
        }
        let mut watches = inner.watches.lock();
        // Looked at under the lock that the end of a session takes last: none that has ended
        // leaves a watch behind.
        if !inner.roster(viewer).lock().has(session, viewer) {
            let message = "the session has ended";
            return Err(ErrorBody::new(ErrorCode::SessionLost, message));
        }
        let opened = watches.open(session, viewer, room, &members);
        let begun = opened.map_err(|refused| {
            let message = match refused {
                Refused::TooManyRooms => format!("at most {MAX_WATCHES} rooms open at once"),
                Refused::TooManyMembers => {
                    format!("presence is shown in rooms of up to {MAX_WATCHED_MEMBERS}")
                }
            };
            ErrorBody::new(ErrorCode::Conflict, message)
        })?;
        for user in &begun {
            inner.teller.bridge.need(user);
        }
        Ok(Opened { members, begun })
    }

    /// Shows the viewer how the members of a room just opened are.
    pub async fn show_members(&self, viewer: &UserId, opened: &Opened) {
        let Some(graph) = self.0.teller.friends.graph(viewer) else {
            return;
        };
        let bridge = &self.0.teller.bridge;
        join_all(opened.begun.iter().map(|user| bridge.heard(user))).await;
        let known = self.0.known(&opened.members).await;
        for (member, known) in opened.members.iter().zip(&known) {
            let relation = Relation::of_members(viewer, &graph, member);
            // Either may be out of the room by now.
            if relation != Relation::Own && self.watches(viewer, member) {
                let view = project(relation, known);
                self.0.owe_the_truth(viewer, std::slice::from_ref(&view));
                self.0.show(viewer, member, view);
            }
        }
    }

    /// The session no longer has the room open.
    pub fn unwatch(&self, session: SessionKey, room: &RoomId) {
        let ended = self.0.watches.lock().close(session, room);
        self.0.forget_topics(&ended);
    }

    /// Somebody came into a room: whoever has it open is shown how they are.
    pub fn joined(&self, room: &RoomId, user: &UserId) {
        let (begun, viewers) = {
            let mut watches = self.0.watches.lock();
            let begun = watches.joined(room, user);
            (begun, watches.viewers_in(room, user))
        };
        if viewers.is_empty() {
            return;
        }
        let (inner, user) = (self.0.clone(), user.clone());
        if begun {
            inner.teller.bridge.need(&user);
        }
        actix_rt::spawn(async move {
            if begun {
                inner.teller.bridge.heard(&user).await;
            }
            let known = inner.known(std::slice::from_ref(&user)).await;
            if let Some(known) = known.first() {
                if *known == Known::Unknown {
                    for viewer in &viewers {
                        inner.catch_up(viewer, None);
                    }
                }
                inner.teller.tell_viewers(&user, viewers, known, None);
            }
        });
    }

    /// Somebody went out of a room: neither sees nor is seen there any more.
    pub fn left(&self, room: &RoomId, user: &UserId) {
        let ended = self.0.watches.lock().left(room, user);
        self.0.forget_topics(&ended);
    }

    /// Whether the viewer has a room open with `user` in it.
    pub fn watches(&self, viewer: &UserId, user: &UserId) -> bool {
        self.0.watches.lock().sees(viewer, user)
    }
}
