//! What a room knows, read from history: at its start, and whenever something is or may be missing.

use std::sync::Arc;

use shared::{
    id::{RoomId, Seq, UserId},
    protocol::{codec::SharedEvent, event::Event, room::Entry},
};

use super::{
    live::{Away, Parts, Room},
    place::{Known, Loaded},
    reconcile::MARGIN,
    view::named,
};
use crate::{
    history::{Cursor, HistoryError},
    transport::relay::Audience,
};

/// Entries read from the log at once.
const LOG_PAGE: u32 = 500;
/// Entries read at once when looking back for what happened lately.
const LOOK_BACK: u32 = 100;
/// How often, at most.
const LOOK_BACK_PAGES: usize = 10;

impl Room {
    /// Makes sure that the state has everything history has, as far as there is reason to doubt
    /// it, and that the relays were handed all of it.
    pub(super) async fn caught_up(&mut self) -> Result<(), Away> {
        if !self.place.is_doubtful() {
            return Ok(());
        }
        if self.away {
            return Err(Away);
        }
        self.catch_up().await.map_err(|error| {
            tracing::warn!(room = %self.id, %error, "cannot read what is missing");
            self.place.behind = true;
            self.away = true;
            Away
        })
    }

    /// Makes sure that everything up to `head` was delivered here; answers whether it was.
    pub(super) async fn reach(&mut self, head: Seq) -> bool {
        let has = |room: &Self| room.place.delivered.is_some_and(|seq| seq >= head);
        if !has(self) {
            self.place.behind = true;
            let _ = self.caught_up().await;
        }
        // Of a room that is gone there is nothing more to deliver.
        has(self) || self.absent()
    }

    async fn catch_up(&mut self) -> Result<(), HistoryError> {
        if matches!(self.place.known, Known::Absent) {
            self.place.known = Known::Nothing;
        }
        if matches!(self.place.known, Known::Nothing) {
            let loaded = self.load().await;
            if loaded.is_err() {
                // Half of it would do for deciding, and not for delivering.
                self.place.known = Known::Nothing;
            }
            if !loaded? {
                self.place.behind = false;
                return Ok(());
            }
        }
        while let Some(after) = self.place.missing_after() {
            let entries = self.parts.history.log(&self.id, after, LOG_PAGE).await?;
            let full = entries.len() == LOG_PAGE as usize;
            if !entries.is_empty() {
                self.parts.gauges.repairs.increment(1);
            }
            if let Some(first) = expired_between(&self.parts, &self.id, after, &entries).await? {
                if !self.go_on_from(first).await? {
                    return Ok(());
                }
                continue;
            }
            let untold = self.place.read(&entries);
            self.deliver(entries).await;
            self.tell(untold, Vec::new());
            if !full && !self.place.behind {
                break;
            }
        }
        Ok(())
    }

    /// What this node has not read is not kept any more: the state is read as it is by now, and those
    /// who are here hear on from the first entry that is kept. By the gap they know to ask, and are told.
    /// Answers whether there still is such a room.
    async fn go_on_from(&mut self, first: Seq) -> Result<bool, HistoryError> {
        tracing::info!(room = %self.id, %first, "what was missed has expired");
        let from = first.before();
        self.place.go_on_after(from);
        let Some(state) = self.state() else {
            return Ok(false);
        };
        if state.head() >= from {
            return Ok(true);
        }
        let here = |user: &&UserId| self.parts.relays.is_online(user);
        let before: Vec<UserId> = state.members().filter(here).cloned().collect();
        self.place.known = Known::Nothing;
        let loaded = self.load().await;
        if loaded.is_err() {
            self.place.known = Known::Nothing;
        }
        if !loaded? {
            return Ok(false);
        }
        self.tell_who_moved(&before).await;
        Ok(true)
    }

    /// Loads the state; answers whether there is such a room. When the log is not the one that
    /// was delivered from, everybody here is told to start afresh.
    async fn load(&mut self) -> Result<bool, HistoryError> {
        let Some(record) = self.parts.history.room(&self.id).await? else {
            if self.place.delivered.take().is_some() {
                let event = Event::RoomRemoved {
                    room: self.id.clone(),
                };
                let event = Arc::new(SharedEvent::new(event));
                self.parts
                    .relays
                    .publish(&Audience::Room(self.id.clone()), &event);
                self.parts.relays.forget(&self.id);
            }
            self.place.known = Known::Absent;
            return Ok(false);
        };
        let head = record.head;
        let loaded = self.place.load(record);
        self.look_back().await?;
        match loaded {
            Loaded::Begins => {
                let from = self.known_to_all(head).await?;
                self.place.begin(from);
            }
            Loaded::Lost => {
                self.reset().await?;
                self.place.delivered = Some(head);
            }
            Loaded::GoesOn => {}
        }
        Ok(true)
    }

    /// Up to where everybody here knows the log of a room that is loaded for the first time. Of a
    /// direct-message room others may have written to untold, that is not its head: what is so
    /// new that no look has found it yet is told, perhaps again.
    async fn known_to_all(&self, head: Seq) -> Result<Seq, HistoryError> {
        let direct = self.state().is_some_and(|state| state.pair().is_some());
        if self.parts.bridge.alone() || !direct {
            return Ok(head);
        }
        let lately = self.now().plus_millis(-(MARGIN.as_millis() as i64));
        let from = Seq::new(head.get().saturating_sub(u64::from(LOOK_BACK)));
        let entries = self.parts.history.log(&self.id, from, LOOK_BACK).await?;
        let first = entries.iter().find(|entry| entry.ts >= lately);
        Ok(first.map_or(head, |entry| Seq::new(entry.seq.get() - 1)))
    }

    /// Tells everybody here who is in that the log is another one.
    async fn reset(&self) -> Result<(), HistoryError> {
        tracing::error!(room = %self.id, "the log of a room was lost; its members start afresh");
        let Some(state) = self.state() else {
            return Ok(());
        };
        let here = state
            .members()
            .filter(|user| self.parts.relays.is_online(user));
        for user in here {
            for room in named(&self.parts, user, Some(&self.id)).await? {
                let event = Arc::new(SharedEvent::new(Event::RoomReset { room }));
                self.parts.relays.publish(&Audience::user(user), &event);
            }
        }
        Ok(())
    }

    /// Reads who spoke within slow mode's time, so that a restart lets nobody speak early.
    async fn look_back(&mut self) -> Result<(), HistoryError> {
        let now = self.now();
        let Known::State(state) = &mut self.place.known else {
            return Ok(());
        };
        if state.slow_mode_ms() == 0 {
            return Ok(());
        }
        let since = now.plus_millis(-i64::from(state.slow_mode_ms()));
        let mut at = Cursor::Newest;
        for _ in 0..LOOK_BACK_PAGES {
            let page = self.parts.history.page(&self.id, at, LOOK_BACK).await?;
            for message in &page.items {
                state.recall(&message.user, message.ts);
            }
            match page.items.first() {
                Some(oldest) if oldest.ts > since && page.has_before => {
                    at = Cursor::Before(oldest.seq);
                }
                _ => break,
            }
        }
        Ok(())
    }
}

/// Whether `entries`, read after a position, begin later because what stood between has expired: then
/// where they begin.
///
/// # Errors
/// What stood between is missing, or history does not answer.
pub(super) async fn expired_between(
    parts: &Parts,
    room: &RoomId,
    after: Seq,
    entries: &[Entry],
) -> Result<Option<Seq>, HistoryError> {
    let Some(begin) = entries.first().map(|entry| entry.seq) else {
        return Ok(None);
    };
    if begin == after.next() {
        return Ok(None);
    }
    // It never goes back: if it is at the first of these, or beyond by now, nothing is missing.
    if parts.history.first(room).await? < begin {
        return Err(HistoryError::Unavailable("the log has a hole".into()));
    }
    Ok(Some(begin))
}
