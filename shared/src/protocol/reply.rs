//! What answers a command: `ok` with one of these, or `err` with an [`ErrorBody`].

use serde::{Deserialize, Serialize};

use super::{
    presence::PresenceView,
    room::{Entry, Member, RoomView},
};
use crate::{
    codes::ErrorCode,
    id::{Epoch, Seq, SessionId, Timestamp, UserId},
};

/// An `ok` with nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Empty {}

/// Answer to `session.start`: a snapshot with no hole before the first event that follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The session, for resuming it.
    pub sid: SessionId,
    /// The caller.
    pub me: Me,
    /// The caller's friends.
    pub friends: Vec<Friend>,
    /// The caller's rooms.
    pub rooms: Vec<RoomView>,
    /// What the server allows.
    pub limits: Limits,
}

/// The caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Me {
    /// The account.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The caller's own merged presence; here `invisible` shows as what it is.
    pub presence: PresenceView,
}

/// A friend, with the presence the caller may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Friend {
    /// The account.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The presence.
    pub presence: PresenceView,
}

/// What the server allows, so that a client need not find out by being refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest inbound frame, in bytes.
    pub max_frame_bytes: u32,
    /// Longest text, in characters.
    pub max_text_chars: u32,
    /// Largest `data`, in bytes of JSON.
    pub max_data_bytes: u32,
    /// How long a session outlives its socket, in ms.
    pub session_ttl_ms: u32,
    /// Most members of a group.
    pub max_group_members: u32,
}

/// Answer to `session.resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The session.
    pub sid: SessionId,
    /// How many events were replayed before this answer.
    pub replayed: u64,
}

/// Answer to `session.renew`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// When the session now expires.
    pub expires: Timestamp,
}

/// Answer to `ping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The server's clock.
    pub ts: Timestamp,
}

/// Answer to the ops that make or return a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RoomReply {
    /// The room as the caller sees it.
    pub room: RoomView,
    /// Where the entry stands that an op appended (`room.join`, `room.update`, …), beside `room`.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub appended: Option<Appended>,
}

/// Answer to `room.members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MembersReply {
    /// Members ordered by id.
    pub members: Vec<Member>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<UserId>,
}

/// Answer to an op that appended an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Appended {
    /// Where it stands. An op that changed nothing (a reaction already there) answers the
    /// current head.
    pub seq: Seq,
    /// When the node took it in.
    pub ts: Timestamp,
    /// The nonce was seen before: `seq` and `ts` are of the first.
    pub dup: bool,
}

/// Answer to `room.sync`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Synced {
    /// The log's identity.
    pub epoch: Epoch,
    /// The newest entry.
    pub head: Seq,
    /// Drop what you hold and load afresh: the log is another one than the caller's, or, when `first`
    /// is there too, all that the caller holds of it has expired, and some that the caller does not.
    #[serde(default, skip_serializing_if = "super::presence::is_false")]
    pub reset: bool,
    /// The first entry that is still kept, when that is not right after the asked position or before
    /// it: what stood between has expired, and is not missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Seq>,
    /// Entries after the asked position, ascending.
    pub entries: Vec<Entry>,
    /// There are more after these.
    pub more: bool,
}

/// Answer to `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReadReply {
    /// How far the caller has read now.
    pub seq: Seq,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// The stable code.
    pub code: ErrorCode,
    /// Whether the same command may succeed later, unchanged.
    pub retry: bool,
    /// When trying again may help, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// For a person.
    pub message: String,
}

impl ErrorBody {
    /// An error with the `retry` of its table row.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            retry: code.retry(),
            retry_after_ms: None,
            message: message.into(),
        }
    }

    /// The same, with a time after which to try again, in ms.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}
