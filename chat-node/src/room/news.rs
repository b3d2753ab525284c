//! What nodes tell each other of rooms. A hint, never the truth: whoever sees a hole reads
//! history.

use serde::{Deserialize, Serialize};
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::room::Entry,
    trace::TraceContext,
};
use smallvec::{SmallVec, smallvec};

use crate::bus::Topic;

/// An entry that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Which.
    pub seq: Seq,
    /// Where.
    pub context: TraceContext,
    /// When it was said to other nodes, in microseconds since 1970.
    pub at: u64,
}

/// News of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomNews {
    /// Entries that stand, ascending and without a hole among them.
    Entries {
        /// The room.
        room: RoomId,
        /// The two of a direct-message room.
        users: Option<[UserId; 2]>,
        /// The entries.
        entries: Vec<Entry>,
        /// Those of them that are followed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        followed: Vec<Followed>,
    },
    /// Somebody came in, whose sessions may be on nodes that do not hear the room yet.
    Added {
        /// Who.
        user: UserId,
        /// The room.
        room: RoomId,
        /// The entry that says so.
        seq: Seq,
    },
    /// Somebody types, or stopped.
    Typing {
        /// The room.
        room: RoomId,
        /// The two of a direct-message room.
        users: Option<[UserId; 2]>,
        /// Who types.
        user: UserId,
        /// Typing or not.
        on: bool,
        /// Members who may not see it: one blocked the other.
        hidden: Vec<UserId>,
    },
    /// Somebody has read up to an entry.
    Read {
        /// The room.
        room: RoomId,
        /// The two of a direct-message room.
        users: Option<[UserId; 2]>,
        /// Who.
        user: UserId,
        /// How far.
        seq: Seq,
        /// Only for the reader's own devices.
        own_only: bool,
        /// Members who may not see it: one blocked the other.
        #[serde(default)]
        hidden: Vec<UserId>,
    },
}

impl RoomNews {
    /// The room it is about.
    pub fn room(&self) -> &RoomId {
        match self {
            Self::Entries { room, .. }
            | Self::Added { room, .. }
            | Self::Typing { room, .. }
            | Self::Read { room, .. } => room,
        }
    }

    /// The topics it is published on.
    pub fn topics(&self) -> SmallVec<[Topic; 2]> {
        match self {
            Self::Added { user, .. }
            | Self::Read {
                user,
                own_only: true,
                ..
            } => smallvec![Topic::User(user.clone())],
            Self::Entries { room, users, .. }
            | Self::Typing { room, users, .. }
            | Self::Read { room, users, .. } => users.as_ref().map_or_else(
                || smallvec![Topic::Room(room.clone())],
                |pair| pair.iter().cloned().map(Topic::User).collect(),
            ),
        }
    }
}
