//! Where a node is with the log of a room: what it knows of it, how far it was delivered, and what may be
//! missing. Pure: the room's actor reads and tells as this says, and so do the schedules of
//! `room::tests::schedules`.
//!
//! Entries come from three sides: this node's own appends, what other nodes say, and the log. Whatever
//! the side, [`Place::take`] lets through what follows on what was delivered, once and in order; a hole
//! makes it [`Place::behind`], and then the log is read from [`Place::missing_after`] on.

use shared::{id::Seq, protocol::room::Entry};

use super::state::RoomState;
use crate::history::RoomRecord;

/// What is known of the room.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// There is none.
    Absent,
    /// This, and history may have more only if another node wrote it.
    State(Box<RoomState>),
}

/// A node's place in the log of a room.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) known: Known,
    /// Everything up to here went to the relays of this node; `None`: whatever stands when the
    /// room is loaded is no news.
    pub(super) delivered: Option<Seq>,
    /// Where delivering began; of what came before, another may have told.
    pub(super) since: Seq,
    /// Something appended after this, whose outcome was not known, may stand and be told to nobody.
    pub(super) untold: Option<Seq>,
    /// History may have more than the state: nothing is decided before it was read.
    pub(super) behind: bool,
}

/// What a room that was loaded means for those who hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// Delivering goes on where it was.
    GoesOn,
    /// It begins; [`Place::begin`] says where.
    Begins,
    /// The log ends before what was delivered: it is another one.
    Lost,
}

impl Place {
    /// Nothing is known, but that everything up to `delivered` was delivered.
    pub(super) fn new(delivered: Option<Seq>) -> Self {
        Self {
            known: Known::Nothing,
            since: delivered.unwrap_or_default(),
            delivered,
            untold: None,
            behind: false,
        }
    }

    pub(super) fn state(&self) -> Option<&RoomState> {
        match &self.known {
            Known::State(state) => Some(state),
            Known::Nothing | Known::Absent => None,
        }
    }

    /// Whether history has to be read before anything is decided.
    pub(super) fn is_doubtful(&self) -> bool {
        self.behind || matches!(self.known, Known::Nothing)
    }

    /// Applies entries that stand, as far as they follow on the state, and answers with those to be
    /// delivered: what follows on what was.
    pub(super) fn take(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut fresh = Vec::with_capacity(entries.len());
        for entry in entries {
            let Known::State(state) = &mut self.known else {
                return fresh;
            };
            if entry.seq == state.head().next() {
                state.apply(&entry);
            } else if entry.seq > state.head() {
                self.behind = true;
                break;
            }
            let next = self.delivered.unwrap_or_default().next();
            if entry.seq < next {
                continue;
            }
            if entry.seq > next {
                self.behind = true;
                break;
            }
            self.delivered = Some(entry.seq);
            fresh.push(entry);
        }
        fresh
    }

    /// Delivering begins after `from`, if it has not begun.
    pub(super) fn begin(&mut self, from: Seq) {
        if self.delivered.is_none() {
            self.delivered = Some(from);
            self.since = from;
        }
    }

    /// Whether it is open where delivering begins: history, by the time it is read, would be too
    /// late.
    pub(super) fn may_begin(&self) -> bool {
        self.delivered.is_none() && matches!(self.known, Known::Nothing)
    }

    /// Whether somebody who has everything up to `head` is delivered whatever comes after it.
    pub(super) fn covers(&self, head: Seq) -> bool {
        self.since <= head
    }

    /// Another node says something of a room that was not there.
    pub(super) fn heard(&mut self) {
        if matches!(self.known, Known::Absent) {
            self.known = Known::Nothing;
            self.delivered = Some(Seq::ZERO);
        }
    }

    /// The room as history has it.
    pub(super) fn load(&mut self, record: RoomRecord) -> Loaded {
        let head = record.head;
        self.known = Known::State(Box::new(RoomState::load(record)));
        match self.delivered {
            None => Loaded::Begins,
            Some(delivered) if delivered > head => Loaded::Lost,
            Some(_) => Loaded::GoesOn,
        }
    }

    /// After which entry the log has to be read, if it has to be.
    pub(super) fn missing_after(&mut self) -> Option<Seq> {
        let head = self.state()?.head();
        let delivered = self.delivered?;
        if !self.behind && delivered >= head {
            return None;
        }
        self.behind = false;
        Some(head.min(delivered))
    }

    /// What was read of the log goes to [`Place::take`]; answers which of it the other nodes have to
    /// be told: what this one may have appended without knowing. Some of it may be others' own: they
    /// drop what they know.
    pub(super) fn read(&mut self, entries: &[Entry]) -> Vec<Entry> {
        let Some(from) = self.untold else {
            return Vec::new();
        };
        let untold: Vec<Entry> = entries.iter().filter(|e| e.seq > from).cloned().collect();
        if !untold.is_empty() {
            // Whatever of it was still on its way has lost the race for its place by now.
            self.untold = None;
        }
        untold
    }

    /// Nothing up to `from` is kept any more: delivering goes on after it.
    pub(super) fn go_on_after(&mut self, from: Seq) {
        self.behind = true;
        if self.delivered.is_none_or(|delivered| delivered < from) {
            self.delivered = Some(from);
            self.since = self.since.max(from);
        }
    }

    /// An append at `head` has no known outcome: it is read, delivered and told before anything
    /// else is decided.
    pub(super) fn unsure(&mut self, head: Seq) {
        self.behind = true;
        self.untold = Some(self.untold.map_or(head, |untold| untold.min(head)));
    }

    /// An append found the log at `theirs`.
    pub(super) fn outrun(&mut self, theirs: Seq) {
        self.behind = true;
        if self.state().is_some_and(|state| theirs < state.head()) {
            // The log is shorter than what was delivered: it was lost or removed.
            self.known = Known::Nothing;
        }
    }

    /// The room was made here, perhaps: nothing of it was delivered yet, or told.
    pub(super) fn founded(&mut self) {
        self.known = Known::Nothing;
        self.delivered = Some(Seq::ZERO);
        self.untold = Some(Seq::ZERO);
        self.behind = true;
    }
}
