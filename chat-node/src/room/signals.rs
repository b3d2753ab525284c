//! Typing and read markers: passed on and soon forgotten, or kept beside the log.

use std::sync::Arc;

use shared::{
    id::{Seq, UserId},
    protocol::{codec::SharedEvent, command::Switch, event::Event, reply::ReadReply},
};

use super::{
    Caller, ReplyBody, RoomNews, ask::Answer, consult::out_of_reach, live::Room, place::Known,
    rules, state::RoomState,
};
use crate::{
    overload::Shed,
    transport::{outbox::StateKey, relay::Audience},
};

impl Room {
    pub(super) fn types(&mut self, caller: &Caller, typing: &Switch) {
        let now = self.now();
        let Some(state) = self.state() else {
            return;
        };
        let seen = state.members().len() <= rules::MAX_TYPING_MEMBERS;
        if !seen || !self.parts.overload.allows(Shed::Typing) {
            return;
        }
        // Whoever is there unseen is not seen typing. Nor to stop: what was shown before expires.
        if self.parts.presence.is_unseen(&caller.user)
            || !self.typing.set(&caller.user, typing.on, now)
        {
            return;
        }
        // Whom it is to be hidden from is not known: then it is shown to nobody.
        let Some(hidden) = self.hidden_from(&caller.user) else {
            return;
        };
        self.show_typing(&caller.user, typing.on, &hidden);
        if !self.parts.bridge.alone() {
            self.parts.tell(RoomNews::Typing {
                room: self.id.clone(),
                users: self.state().and_then(RoomState::pair),
                user: caller.user.clone(),
                on: typing.on,
                hidden,
            });
        }
    }

    /// Members who may not see what `user` is doing, nor `user` what they do: one blocked the
    /// other. `None` when nobody can say.
    pub(super) fn hidden_from(&self, user: &UserId) -> Option<Vec<UserId>> {
        let (state, graph) = (self.state()?, self.parts.friends.graph(user)?);
        let apart = graph.blocked.ids().chain(graph.blocked_by.ids());
        let members = apart.filter(|other| state.member(other).is_some());
        Some(members.cloned().collect())
    }

    /// Everybody in the room but those `hidden`.
    fn audience_without(&self, hidden: &[UserId]) -> Audience {
        match self.state() {
            Some(state) if !hidden.is_empty() => {
                let seen = state.members().filter(|member| !hidden.contains(*member));
                Audience::Users(seen.cloned().collect())
            }
            _ => self.audience(),
        }
    }

    pub(super) fn show_typing(&self, user: &UserId, on: bool, hidden: &[UserId]) {
        let audience = self.audience_without(hidden);
        let event = Arc::new(SharedEvent::new(Event::Typing {
            room: self.id.clone(),
            user: user.clone(),
            on,
        }));
        let key = StateKey::Typing(self.id.clone(), user.clone());
        self.parts
            .relays
            .update(&audience, &key, &event, Some(user));
    }

    /// Moves a read marker, tells whom it concerns, and answers once history has it. It is told
    /// at once: a marker that a crash takes back is moved again by the next.
    pub(super) fn read(&mut self, caller: &Caller, seq: Seq, answer: Answer) {
        let Known::State(state) = &mut self.place.known else {
            return answer.give(Err(rules::no_room()));
        };
        let user = &caller.user;
        let moved = state.mark_read(user, seq);
        let read = state.member(user).map(|m| m.read).unwrap_or_default();
        if !moved && !self.unstored.lock().contains(user) {
            return answer.give(Ok(ReplyBody::Read(ReadReply { seq: read })));
        }
        if moved {
            let hidden = self.hidden_from(user);
            let own_only = self.state().is_none_or(|s| !rules::shows_reads(s.kind()))
                || !self.parts.overload.allows(Shed::Receipts)
                || hidden.is_none();
            let hidden = hidden.unwrap_or_default();
            self.show_read(user, read, own_only, &hidden);
            if !self.parts.bridge.alone() {
                self.parts.tell(RoomNews::Read {
                    room: self.id.clone(),
                    users: self.state().and_then(RoomState::pair),
                    user: user.clone(),
                    seq: read,
                    own_only,
                    hidden,
                });
            }
        }
        let (parts, unstored) = (self.parts.clone(), self.unstored.clone());
        let (id, user) = (self.id.clone(), user.clone());
        actix_rt::spawn(async move {
            let stored = parts.history.mark_read(&id, &user, read).await;
            answer.give(match stored {
                Ok(_) => {
                    unstored.lock().remove(&user);
                    Ok(ReplyBody::Read(ReadReply { seq: read }))
                }
                Err(error) => {
                    unstored.lock().insert(user);
                    Err(out_of_reach(error))
                }
            });
        });
    }

    pub(super) fn show_read(&self, user: &UserId, seq: Seq, own_only: bool, hidden: &[UserId]) {
        let audience = if own_only {
            Audience::user(user)
        } else {
            self.audience_without(hidden)
        };
        let event = Arc::new(SharedEvent::new(Event::Read {
            room: self.id.clone(),
            user: user.clone(),
            seq,
        }));
        self.parts.relays.publish(&audience, &event);
    }
}
