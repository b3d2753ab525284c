//! What the server sends on its own.
//!
//! An event with an `s` stands in the session's replayable stream; one without is ephemeral.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    presence::{Activity, Status},
    room::{Entry, EntryBody, RoomView, UserRef},
};
use crate::id::{NodeId, RoomId, Seq, Timestamp, UserId};

/// An event: its name is `ev` on the wire, its content `d`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ev", content = "d")]
pub enum Event {
    /// First on every socket.
    #[serde(rename = "hello")]
    Hello(Hello),
    /// Last before a close, whenever the socket is writable.
    #[serde(rename = "bye")]
    Bye(Bye),
    /// A message entry.
    #[serde(rename = "message.new")]
    MessageNew(RoomEntry),
    /// An edit entry.
    #[serde(rename = "message.edited")]
    MessageEdited(RoomEntry),
    /// A delete entry.
    #[serde(rename = "message.deleted")]
    MessageDeleted(RoomEntry),
    /// A reaction entry.
    #[serde(rename = "reaction.changed")]
    ReactionChanged(RoomEntry),
    /// A member entry.
    #[serde(rename = "room.member")]
    RoomMember(RoomEntry),
    /// A room entry.
    #[serde(rename = "room.updated")]
    RoomUpdated(RoomEntry),
    /// The caller belongs to a room that was not among the caller's before.
    #[serde(rename = "room.added")]
    RoomAdded {
        /// The room as the caller sees it.
        room: RoomView,
    },
    /// The caller no longer belongs to a room, or it is gone.
    #[serde(rename = "room.removed")]
    RoomRemoved {
        /// The room.
        room: RoomId,
    },
    /// A room's log was lost or skipped ahead: drop what you hold and load afresh.
    #[serde(rename = "room.reset")]
    RoomReset {
        /// The room, with its new epoch and head.
        room: RoomView,
    },
    /// Somebody has read a room up to an entry.
    #[serde(rename = "read")]
    Read {
        /// The room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// How far.
        seq: Seq,
    },
    /// Somebody is typing, or stopped. Ephemeral.
    #[serde(rename = "typing")]
    Typing {
        /// The room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// Typing or not; a client forgets `true` after 8 s.
        on: bool,
    },
    /// A friend's presence changed. Ephemeral: only the newest counts.
    #[serde(rename = "presence")]
    Presence {
        /// Who.
        user: UserId,
        /// The status as the caller may see it.
        status: Status,
        /// What the person is doing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activity: Option<Activity>,
        /// When the person was last seen, while offline and known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_seen: Option<Timestamp>,
    },
    /// How the caller stands to another person changed.
    #[serde(rename = "friend.changed")]
    FriendChanged {
        /// The other.
        user: UserRef,
        /// How they stand now.
        state: FriendState,
    },
    /// The caller blocked or unblocked somebody. Never sent to the other.
    #[serde(rename = "block.changed")]
    BlockChanged {
        /// The other.
        user: UserId,
        /// Blocked or not.
        blocked: bool,
    },
    /// The caller's or a friend's profile changed.
    #[serde(rename = "profile.changed")]
    ProfileChanged {
        /// Who, with the new name.
        user: UserRef,
        /// The avatar.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        avatar_url: Option<String>,
        /// The status text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status_text: Option<String>,
    },
    /// The caller is told something of the shop. It is kept in the list of notices too, under the
    /// same id: a client shows each id once.
    #[serde(rename = "notice")]
    Notice(Notice),
}

/// Every event's name.
pub const EVENTS: &[&str] = &[
    "hello",
    "bye",
    "message.new",
    "message.edited",
    "message.deleted",
    "reaction.changed",
    "room.member",
    "room.updated",
    "room.added",
    "room.removed",
    "room.reset",
    "read",
    "typing",
    "presence",
    "friend.changed",
    "block.changed",
    "profile.changed",
    "notice",
];

/// Something the caller is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its name, the same on every device and every delivery.
    pub id: String,
    /// What it is about, in a stable word.
    pub topic: String,
    /// When it happened.
    pub ts: Timestamp,
    /// The facts.
    pub data: Value,
}

/// First on every socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub protocol: u32,
    /// How often the server pings, in ms.
    pub heartbeat_ms: u32,
    /// Longest inbound frame, in bytes.
    pub max_frame_bytes: u32,
    /// The node that answers.
    pub node: NodeId,
}

/// Last before a close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// The close code that follows.
    pub code: u16,
    /// Its word.
    pub reason: String,
    /// Whether the session may be resumed.
    pub resume: bool,
    /// How long to wait before connecting again, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// An entry with the room it stands in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomEntry {
    /// The room.
    pub room: RoomId,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

/// How two people stand to each other, from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FriendState {
    /// Nothing.
    None,
    /// The caller asked and waits.
    Outgoing,
    /// The other asked and waits.
    Incoming,
    /// Friends.
    Friend,
}

impl Event {
    /// The event that tells of an entry.
    pub fn of_entry(room: RoomId, entry: Entry) -> Self {
        let wrap = match &entry.body {
            EntryBody::Message(_) => Self::MessageNew,
            EntryBody::Edit { .. } => Self::MessageEdited,
            EntryBody::Delete { .. } => Self::MessageDeleted,
            EntryBody::Reaction { .. } => Self::ReactionChanged,
            EntryBody::Member(_) => Self::RoomMember,
            EntryBody::Room(_) => Self::RoomUpdated,
        };
        wrap(RoomEntry { room, entry })
    }

    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Bye(_) => "bye",
            Self::MessageNew(_) => "message.new",
            Self::MessageEdited(_) => "message.edited",
            Self::MessageDeleted(_) => "message.deleted",
            Self::ReactionChanged(_) => "reaction.changed",
            Self::RoomMember(_) => "room.member",
            Self::RoomUpdated(_) => "room.updated",
            Self::RoomAdded { .. } => "room.added",
            Self::RoomRemoved { .. } => "room.removed",
            Self::RoomReset { .. } => "room.reset",
            Self::Read { .. } => "read",
            Self::Typing { .. } => "typing",
            Self::Presence { .. } => "presence",
            Self::FriendChanged { .. } => "friend.changed",
            Self::BlockChanged { .. } => "block.changed",
            Self::ProfileChanged { .. } => "profile.changed",
            Self::Notice(_) => "notice",
        }
    }

    /// Whether it stands outside the replayable stream.
    pub fn ephemeral(&self) -> bool {
        matches!(
            self,
            Self::Hello(_) | Self::Bye(_) | Self::Typing { .. } | Self::Presence { .. }
        )
    }

    /// The entry it tells of, when it tells of one.
    pub fn entry(&self) -> Option<&RoomEntry> {
        match self {
            Self::MessageNew(e)
            | Self::MessageEdited(e)
            | Self::MessageDeleted(e)
            | Self::ReactionChanged(e)
            | Self::RoomMember(e)
            | Self::RoomUpdated(e) => Some(e),
            _ => None,
        }
    }
}
