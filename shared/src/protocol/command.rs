//! What a client asks: one struct per op, and one table from the op's name to its struct.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::{
    codec::{RawBody, optional_object},
    presence::{Activity, Status},
    room::{Role, RoomKind},
};
use crate::{
    id::{DeviceId, Epoch, Nonce, RoomId, Seq, SessionId, Timestamp, UserId},
    trace::TraceContext,
};

/// Why a command could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No op of that name.
    #[error("there is no op \"{0}\"")]
    UnknownOp(String),
    /// What stands in place of the id is none. The error has to go without one.
    #[error("an id is an integer from 0 to 2^53 - 1")]
    BadId,
    /// `d` does not fit the op.
    #[error("{op}: {reason}")]
    BadBody {
        /// The op.
        op: &'static str,
        /// What does not fit.
        reason: String,
    },
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident($body:ident) = $op:literal;)*) => {
        /// A command, typed. It serializes as its `op` and `d`.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(tag = "op", content = "d")]
        pub enum Command {
            $($(#[$doc])* #[serde(rename = $op)] $variant($body),)*
        }

        /// Every op's name.
        pub const OPS: &[&str] = &[$($op,)*];

        impl Command {
            /// Reads the body of `op`.
            pub fn parse(op: &str, body: &RawBody<'_>) -> Result<Self, CommandError> {
                match op {
                    $($op => body
                        .parse::<$body>()
                        .map(Self::$variant)
                        .map_err(|reason| CommandError::BadBody { op: $op, reason }),)*
                    other => Err(CommandError::UnknownOp(other.chars().take(64).collect())),
                }
            }

            /// The op's name.
            pub fn op(&self) -> &'static str {
                match self { $(Self::$variant(_) => $op,)* }
            }
        }
    };
}

commands! {
    /// Begins a session.
    SessionStart(SessionStart) = "session.start";
    /// Takes a session up again.
    SessionResume(SessionResume) = "session.resume";
    /// Trims the replayable stream.
    SessionAck(SessionAck) = "session.ack";
    /// Extends the session with a newer token.
    SessionRenew(SessionRenew) = "session.renew";
    /// Ends the session.
    SessionEnd(Nothing) = "session.end";
    /// Asks for a sign of life.
    Ping(Nothing) = "ping";
    /// Makes a room.
    RoomCreate(RoomCreate) = "room.create";
    /// Opens the direct-message room with somebody.
    RoomOpenDm(OfUser) = "room.open_dm";
    /// A room as the caller sees it.
    RoomGet(OfRoom) = "room.get";
    /// A page of members.
    RoomMembers(RoomMembers) = "room.members";
    /// Changes a room's settings.
    RoomUpdate(RoomUpdate) = "room.update";
    /// Brings somebody in.
    RoomInvite(OfMember) = "room.invite";
    /// Comes in.
    RoomJoin(OfRoom) = "room.join";
    /// Goes out.
    RoomLeave(OfRoom) = "room.leave";
    /// Removes somebody.
    RoomKick(OfMember) = "room.kick";
    /// Removes somebody and keeps them out.
    RoomBan(Restrict) = "room.ban";
    /// Lifts a ban.
    RoomUnban(OfMember) = "room.unban";
    /// Silences somebody.
    RoomMute(Restrict) = "room.mute";
    /// Lifts a mute.
    RoomUnmute(OfMember) = "room.unmute";
    /// Gives somebody another role.
    RoomRole(RoomRole) = "room.role";
    /// Entries after a position.
    RoomSync(RoomSync) = "room.sync";
    /// The room is open on the screen, or no longer: presence of its members follows.
    RoomWatch(Switch) = "room.watch";
    /// Says something.
    MessageSend(MessageSend) = "message.send";
    /// Changes what was said.
    MessageEdit(MessageEdit) = "message.edit";
    /// Takes back what was said.
    MessageDelete(OfMessage) = "message.delete";
    /// Reacts.
    ReactionAdd(React) = "reaction.add";
    /// Takes a reaction back.
    ReactionRemove(React) = "reaction.remove";
    /// Is typing, or stopped.
    Typing(Switch) = "typing";
    /// Has read up to an entry.
    Read(OfMessage) = "read";
    /// Sets this device's presence.
    PresenceSet(PresenceSet) = "presence.set";
}

/// An op without a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Nothing {}

/// Body of `session.start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct SessionStart {
    /// The device, so that its older session gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The client's name and version, for logs; up to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The device's presence from the start.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_object"
    )]
    pub presence: Option<PresenceSet>,
}

/// Body of `session.resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionResume {
    /// The session.
    pub sid: SessionId,
    /// The last event the client has.
    pub s: u64,
}

/// Body of `session.ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAck {
    /// The last event the client has and need not be replayed.
    pub s: u64,
}

/// Body of `session.renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRenew {
    /// A newer access token of the same user.
    pub token: String,
}

/// Body of `room.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomCreate {
    /// `group`, `lobby` or `channel`.
    pub kind: RoomKind,
    /// The name, 1–100 characters.
    pub name: String,
    /// Who else is in from the start; friends of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<UserId>,
    /// The topic, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// A body that names a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfUser {
    /// The user.
    pub user: UserId,
}

/// A body that names a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRoom {
    /// The room.
    pub room: RoomId,
}

/// A body that names a room and a user in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfMember {
    /// The room.
    pub room: RoomId,
    /// The user.
    pub user: UserId,
}

/// A body that names an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfMessage {
    /// The room.
    pub room: RoomId,
    /// The entry.
    pub seq: Seq,
}

/// Body of `room.members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMembers {
    /// The room.
    pub room: RoomId,
    /// The last member of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserId>,
    /// 1–500; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Body of `room.update`. Absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomUpdate {
    /// The room.
    pub room: RoomId,
    /// The name, 1–100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The topic, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The least time between two messages of one member, in ms, up to 6 h; 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_mode_ms: Option<u32>,
}

/// Body of `room.ban` and `room.mute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrict {
    /// The room.
    pub room: RoomId,
    /// The user.
    pub user: UserId,
    /// When it ends; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Body of `room.role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRole {
    /// The room.
    pub room: RoomId,
    /// The user.
    pub user: UserId,
    /// The role from now on. Making somebody owner makes the caller a moderator.
    pub role: Role,
}

/// Body of `room.sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSync {
    /// The room.
    pub room: RoomId,
    /// The epoch of what the client holds; absent when it holds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The last entry the client holds without a hole before it.
    #[serde(default)]
    pub after: Seq,
    /// 1–500; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Body of `typing` and `room.watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The room.
    pub room: RoomId,
    /// On or off.
    pub on: bool,
}

/// Body of `message.send`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageSend {
    /// The room.
    pub room: RoomId,
    /// The client's name for this send: unique per sender and room.
    pub nonce: Nonce,
    /// 1–4,000 characters; may be empty when `data` is there.
    #[serde(default)]
    pub text: String,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
    /// Members it mentions, up to 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// Up to 4 KiB of JSON of the client's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The trace that it is a part of, for a server that follows messages (W3C trace context). What is none is
    /// ignored.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::trace::lenient"
    )]
    pub traceparent: Option<Box<TraceContext>>,
}

/// Body of `message.edit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEdit {
    /// The room.
    pub room: RoomId,
    /// The message.
    pub seq: Seq,
    /// The new text.
    pub text: String,
    /// Members the new text mentions, up to 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
}

/// Body of `reaction.add` and `reaction.remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct React {
    /// The room.
    pub room: RoomId,
    /// The message.
    pub seq: Seq,
    /// The emoji, 1–32 bytes.
    pub emoji: String,
}

/// Body of `presence.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceSet {
    /// `online`, `away`, `busy` or `invisible`.
    #[serde(deserialize_with = "settable")]
    pub status: Status,
    /// What the person is doing on this device; absent: nothing.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_object"
    )]
    pub activity: Option<Activity>,
}

/// A status that a device may set: not every one that a person may have.
fn settable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    const SETTABLE: &[&str] = &["online", "away", "busy", "invisible"];
    let status = String::deserialize(deserializer)?;
    match status.as_str() {
        "online" => Ok(Status::Online),
        "away" => Ok(Status::Away),
        "busy" => Ok(Status::Busy),
        "invisible" => Ok(Status::Invisible),
        other => Err(D::Error::unknown_variant(other, SETTABLE)),
    }
}
