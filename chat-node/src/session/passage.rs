//! What nodes say to each other when a session moves: on the user's topic, because that reaches
//! exactly the nodes that have the user, whoever they are.
//!
//! ```text
//! new node                                old node
//!   Sought  ──────────────────────────────▶  has it, and could replay: Found
//!   holds the user's rooms, reads heads
//!   Wanted {heads} ───────────────────────▶  delivers that far, freezes it
//!          ◀──────────────────── Given, Given, …, Complete {luggage}
//!   goes on with it, has it in presence
//!   Taken   ──────────────────────────────▶  lets go of it
//! ```
//!
//! Messages may be lost. Then the new node gives up after `handover_timeout`, its client starts anew,
//! and the old node lets go of what nobody fetched.

use serde::{Deserialize, Serialize};
use shared::id::{DeviceId, RoomId, Seq, SessionId, Timestamp, UserId};

use crate::presence::DeviceState;

/// About the most bytes of events in one message.
pub(super) const PIECE: usize = 64 * 1024;

/// A word about the passage of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Whose session.
    pub user: UserId,
    /// Which.
    pub sid: SessionId,
    /// Made by who asks for it: tells several attempts apart.
    pub claim: u64,
    /// What is said.
    pub step: Step,
}

/// What is said of a session on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Who has it? Its client has everything up to `s`.
    Sought {
        /// The position.
        s: u64,
    },
    /// It is here, and can go on from there.
    Found,
    /// It is here, and cannot go on from there or move now.
    Refused,
    /// Give it away.
    Wanted {
        /// The position.
        s: u64,
        /// How far whoever asks has the user's rooms: what comes after that it delivers itself.
        heads: Vec<(RoomId, Seq)>,
    },
    /// Some of the events after the position, in order.
    Given {
        /// Which piece, from 0.
        piece: u32,
        /// Each in JSON.
        events: Vec<String>,
    },
    /// That was all.
    Complete {
        /// How many pieces there were.
        pieces: u32,
        /// What else it takes to go on.
        luggage: Box<Luggage>,
    },
    /// It goes on where it was wanted.
    Taken,
}

/// What a session is besides its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Luggage {
    /// The device it was started from, if it said so.
    pub device: Option<DeviceId>,
    /// When it began.
    pub begun: Timestamp,
    /// What the device says of itself.
    pub state: DeviceState,
    /// The rooms it heard.
    pub rooms: Vec<RoomId>,
    /// The rooms it has open.
    pub open: Vec<RoomId>,
}

impl Step {
    /// Whether the node that has the session is told; otherwise the one that wants it.
    pub(super) fn is_for_who_has_it(&self) -> bool {
        matches!(
            self,
            Self::Sought { .. } | Self::Wanted { .. } | Self::Taken
        )
    }
}
