//! Entries to the relays, in order and without a hole: what another node's message shows to be
//! missing, or what a failed append left in doubt, is read from history before anything newer.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::{
    id::{Seq, UserId},
    protocol::{
        codec::SharedEvent,
        event::Event,
        room::{Entry, EntryBody, MemberAction, RoomView},
    },
    trace,
};

use super::{
    Followed, RoomNews,
    live::{Mail, Room},
    place::Known,
    state::RoomState,
    view::{named, newcomer},
};
use crate::transport::relay::Audience;

impl Room {
    /// Whose sessions hear the room.
    pub(super) fn audience(&self) -> Audience {
        match self.state().and_then(RoomState::pair) {
            Some(pair) => Audience::Users(pair.into()),
            None => Audience::Room(self.id.clone()),
        }
    }

    /// Delivers what this node appended, and tells the other nodes.
    pub(super) async fn deliver_own(&mut self, entries: Vec<Entry>, mut followed: Vec<Followed>) {
        let (began, before) = (Instant::now(), self.place.delivered);
        let alone = self.parts.bridge.alone();
        let news = if alone { Vec::new() } else { entries.clone() };
        self.deliver(entries).await;
        self.delivered(&followed, before, began);
        if alone {
            return;
        }
        for entry in &mut followed {
            entry.at = trace::now_micros();
        }
        self.tell(news, followed);
    }

    /// Tells the other nodes what stands.
    pub(super) fn tell(&self, entries: Vec<Entry>, followed: Vec<Followed>) {
        if entries.is_empty() || self.parts.bridge.alone() {
            return;
        }
        let added: Vec<(UserId, Seq)> = entries
            .iter()
            .filter_map(|entry| admits(&entry.body).map(|user| (user.clone(), entry.seq)))
            .collect();
        self.parts.tell(RoomNews::Entries {
            room: self.id.clone(),
            users: self.state().and_then(RoomState::pair),
            entries,
            followed,
        });
        for (user, seq) in added {
            self.parts.tell(RoomNews::Added {
                user,
                room: self.id.clone(),
                seq,
            });
        }
    }

    /// Hands entries to the relays of this node, and applies those the state does not have yet.
    /// They begin at most one after what was delivered; what was delivered already is skipped.
    pub(super) async fn deliver(&mut self, entries: Vec<Entry>) {
        let fresh = self.place.take(entries);
        if fresh.is_empty() {
            return;
        }
        let views = self.views_of_added(&fresh).await;
        // A room begins with those who are in from the start: they hear its first entries too.
        let founders = if fresh[0].seq == Seq::ZERO.next() {
            let in_still = fresh.iter().take_while(|e| expels(&e.body).is_none());
            in_still.count()
        } else {
            0
        };
        for user in fresh[..founders].iter().filter_map(|e| admits(&e.body)) {
            self.welcome(user, views.get(user));
        }
        let audience = self.audience();
        for (n, entry) in fresh.into_iter().enumerate() {
            if let Some(user) = admits(&entry.body) {
                // Somebody may have come in, gone out and come in again since this was read last.
                if n >= founders {
                    self.welcome(user, views.get(user));
                }
                self.parts.presence.joined(&self.id, user);
            }
            let expelled = expels(&entry.body).cloned();
            let event = Event::of_entry(self.id.clone(), entry);
            self.parts
                .relays
                .publish(&audience, &Arc::new(SharedEvent::new(event)));
            if let Some(user) = expelled {
                self.see_off(&user);
            }
        }
    }

    /// Tells of what is followed and was delivered since. What was before, such as by way of the other topic
    /// of two people, was told of then.
    fn delivered(&self, followed: &[Followed], before: Option<Seq>, began: Instant) {
        for entry in followed {
            let until = self.place.delivered;
            if before.is_none_or(|b| entry.seq > b) && until.is_some_and(|d| entry.seq <= d) {
                let of = Some((&self.id, entry.seq));
                trace::step(entry.context, "delivery", began, of);
            }
        }
    }

    /// Lets somebody who came in hear the room from here on. Whoever is out again by now (no view)
    /// hears nothing of it: entries of a room that nobody told them of would be entries with a hole
    /// before them.
    fn welcome(&self, user: &UserId, view: Option<&RoomView>) {
        let relays = &self.parts.relays;
        let Some(room) = view.filter(|_| relays.is_online(user)).cloned() else {
            return;
        };
        if self.state().is_some_and(|state| state.pair().is_none()) {
            relays.enroll(user, &self.id);
        }
        let event = Arc::new(SharedEvent::new(Event::RoomAdded { room }));
        relays.publish(&Audience::user(user), &event);
    }

    /// Tells those here whose coming or going can be read no more, having compared with who was in
    /// before.
    pub(super) async fn tell_who_moved(&self, before: &[UserId]) {
        let Some(state) = self.state() else {
            return;
        };
        let relays = &self.parts.relays;
        let gone = before.iter().filter(|user| state.member(user).is_none());
        gone.for_each(|user| self.see_off(user));
        let new = state
            .members()
            .filter(|user| relays.is_online(user) && before.binary_search(user).is_err());
        for user in new {
            let view = self.view_of_added(user).await;
            self.welcome(user, view.as_ref());
            self.parts.presence.joined(&self.id, user);
        }
    }

    fn see_off(&self, user: &UserId) {
        self.parts.presence.left(&self.id, user);
        let relays = &self.parts.relays;
        relays.withdraw(user, &self.id);
        let event = Event::RoomRemoved {
            room: self.id.clone(),
        };
        relays.publish(&Audience::user(user), &Arc::new(SharedEvent::new(event)));
    }

    /// The room as those see it who came in with these entries and have a session here.
    async fn views_of_added(&self, entries: &[Entry]) -> HashMap<UserId, RoomView> {
        let online = |user: &&UserId| self.parts.relays.is_online(user);
        let added: Vec<UserId> = entries
            .iter()
            .filter_map(|entry| admits(&entry.body))
            .filter(online)
            .cloned()
            .collect();
        let views = added.iter().map(|user| async move {
            let view = self.view_of_added(user).await;
            view.map(|view| (user.clone(), view))
        });
        join_all(views).await.into_iter().flatten().collect()
    }

    /// The room as somebody sees it who came in; while history cannot be read, as far as it is known
    /// here: whoever is told nothing would hear a room they do not know.
    async fn view_of_added(&self, user: &UserId) -> Option<RoomView> {
        match named(&self.parts, user, Some(&self.id)).await {
            Ok(mut views) => views.pop(),
            Err(error) => {
                tracing::warn!(%user, room = %self.id, %error, "cannot read how a room looks");
                self.state().and_then(|state| newcomer(state, user))
            }
        }
    }

    /// Whoever is here, or is told something, says where delivering begins. Where history is by the
    /// time it is read would be too late: what comes until then would be delivered to nobody.
    pub(super) fn begin_where_told(&mut self) {
        self.queue.extend(self.later.drain(..).map(Mail::News));
        if !self.place.may_begin() {
            return;
        }
        let told = self.queue.iter().filter_map(|mail| match mail {
            Mail::Begin(head, _) => Some(*head),
            // In a room of two, something may have been lost before it.
            Mail::News(RoomNews::Entries {
                users: None,
                entries,
                ..
            }) => {
                let first = entries.first()?;
                Some(Seq::new(first.seq.get().saturating_sub(1)))
            }
            _ => None,
        });
        if let Some(from) = told.min() {
            self.place.begin(from);
        }
    }

    /// Takes in what another node said.
    pub(super) async fn hear(&mut self, news: RoomNews) {
        match news {
            RoomNews::Entries {
                entries, followed, ..
            } => {
                let (began, before) = (Instant::now(), self.place.delivered);
                let mut followed = followed;
                for entry in &mut followed {
                    let took = Duration::from_micros(trace::now_micros().saturating_sub(entry.at));
                    let of = Some((&self.id, entry.seq));
                    entry.context = trace::step_at(entry.context, "bus", entry.at, took, of);
                }
                self.place.heard();
                self.turns.heard(began.into());
                // What is next in the log is delivered whether history answers now or not.
                if matches!(self.place.known, Known::Nothing) && self.caught_up().await.is_err() {
                    return;
                }
                self.deliver(entries).await;
                let _ = self.caught_up().await;
                self.delivered(&followed, before, began);
            }
            RoomNews::Added { user, seq, .. } => {
                // Told already, if this room heard the entry itself.
                if seq > self.place.since
                    && self
                        .place
                        .delivered
                        .is_some_and(|delivered| delivered >= seq)
                {
                    return;
                }
                let from_log = self
                    .place
                    .delivered
                    .is_some_and(|delivered| delivered < seq);
                self.place.behind |= from_log || self.state().is_none_or(|s| s.head() < seq);
                if self.caught_up().await.is_err() {
                    if !from_log {
                        let room = self.id.clone();
                        self.later.push(RoomNews::Added { user, room, seq });
                    }
                    return;
                }
                if from_log || !self.parts.relays.is_online(&user) {
                    return;
                }
                if self
                    .state()
                    .is_none_or(|state| state.member(&user).is_none())
                {
                    return;
                }
                let view = self.view_of_added(&user).await;
                self.welcome(&user, view.as_ref());
            }
            RoomNews::Typing {
                user, on, hidden, ..
            } => {
                if self.caught_up().await.is_ok() {
                    self.show_typing(&user, on, &hidden);
                }
            }
            RoomNews::Read {
                user,
                seq,
                own_only,
                hidden,
                ..
            } => {
                if let Known::State(state) = &mut self.place.known {
                    state.mark_read(&user, seq);
                    self.show_read(&user, seq, own_only, &hidden);
                }
            }
        }
    }
}

/// Whether entries of such a room are worth keeping a watermark for: somebody here hears it.
pub(super) fn heard(room: &Room) -> bool {
    let relays = &room.parts.relays;
    relays.listeners(&room.id)
        || room
            .state()
            .and_then(RoomState::pair)
            .is_some_and(|pair| pair.iter().any(|user| relays.is_online(user)))
}

/// Whether an entry takes a member out.
fn expels(body: &EntryBody) -> Option<&UserId> {
    match body {
        EntryBody::Member(change) if takes_out(change.action) => Some(&change.member),
        _ => None,
    }
}

/// Whether an entry brings a member in.
fn admits(body: &EntryBody) -> Option<&UserId> {
    match body {
        EntryBody::Member(change) if change.action == MemberAction::Join => Some(&change.member),
        _ => None,
    }
}

fn takes_out(action: MemberAction) -> bool {
    matches!(
        action,
        MemberAction::Leave | MemberAction::Kick | MemberAction::Ban
    )
}
