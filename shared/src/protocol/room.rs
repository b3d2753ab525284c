//! Rooms, the entries of their logs, and messages as they now read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::presence::is_false;
use crate::id::{Epoch, Nonce, RoomId, Seq, Timestamp, UserId};

/// What sort of room it is; it decides who may come in and what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    /// Two people; the id is a function of the pair.
    Dm,
    /// By invitation, up to 500.
    Group,
    /// Short-lived; removed after its last member leaves, plus a delay.
    Lobby,
    /// Open and large, up to 100,000; no unread counts.
    Channel,
}

/// What a member may do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    Default,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Talks.
    #[default]
    Member,
    /// Also kicks, bans, mutes members and deletes their messages.
    Moderator,
    /// Also changes the room and its roles.
    Owner,
}

/// One durable change of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Entry {
    /// Its position: dense, from 1.
    pub seq: Seq,
    /// Who made it.
    pub user: UserId,
    /// When the node took it in.
    pub ts: Timestamp,
    /// What changed.
    #[serde(flatten)]
    pub body: EntryBody,
}

/// The kinds of entry and what each carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntryBody {
    /// Somebody said something.
    Message(MessageBody),
    /// A message reads differently now.
    Edit {
        /// The message.
        target: Seq,
        /// The new text.
        text: String,
        /// Who is mentioned in the new text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<UserId>,
    },
    /// A message was taken back; a tombstone stays.
    Delete {
        /// The message.
        target: Seq,
    },
    /// A reaction was added or removed.
    Reaction {
        /// The message.
        target: Seq,
        /// The emoji, up to 32 bytes.
        emoji: String,
        /// `true` when added.
        on: bool,
    },
    /// Who belongs to the room, or may do what in it, changed.
    Member(MemberChange),
    /// The room was made, or its settings changed.
    Room(RoomChange),
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MessageBody {
    /// The sender's name for this send.
    pub nonce: Nonce,
    /// Up to 4,000 characters.
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
    /// The server can no longer read what was said: the rest is empty.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unreadable: bool,
}

/// A change of membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemberChange {
    /// What happened.
    pub action: MemberAction,
    /// To whom. The entry's `user` is who did it.
    pub member: UserId,
    /// The role held from now on (`join`, `role`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// When a ban or mute ends; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What may happen to a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberAction {
    /// Came in, by invitation or alone.
    Join,
    /// Left.
    Leave,
    /// Was removed; may come back.
    Kick,
    /// Was removed and may not come back until the ban ends.
    Ban,
    /// The ban was lifted.
    Unban,
    /// May not speak until the mute ends.
    Mute,
    /// May speak again.
    Unmute,
    /// Holds another role.
    Role,
}

/// The making of a room, or a change of its settings. Absent fields stay as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, Default)]
pub struct RoomChange {
    /// Set on the first entry of a log only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<RoomKind>,
    /// The name, 1–100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The topic, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The least time between two messages of one member, in ms; 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_mode_ms: Option<u32>,
    /// The server can no longer read what changed, in the room or to a message or a member: this
    /// keeps its place in the log, and changes nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unreadable: bool,
}

/// A message as it now reads: edits, reactions and deletion folded in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Message {
    /// Its position.
    pub seq: Seq,
    /// Its author.
    pub user: UserId,
    /// When it was sent.
    pub ts: Timestamp,
    /// The author's name for the send.
    pub nonce: Nonce,
    /// The text; empty when deleted.
    pub text: String,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
    /// Whom it mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// The client's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// When it was last edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_ts: Option<Timestamp>,
    /// A tombstone: the text, mentions, data and reactions are gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// The server can no longer read what was said: text, mentions and data are empty.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unreadable: bool,
    /// Reactions, in the order each emoji first came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
}

/// Who reacted with one emoji.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// How many.
    pub count: u32,
    /// Who, the first 100.
    pub users: Vec<UserId>,
}

/// A room as one member sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RoomView {
    /// The room.
    pub id: RoomId,
    /// Its kind.
    pub kind: RoomKind,
    /// Its name; absent for a direct-message room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The identity of its log.
    pub epoch: Epoch,
    /// The newest entry.
    pub head: Seq,
    /// The first entry that is still kept: all before it have expired. Absent while nothing has, and
    /// in what somebody sees who is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Seq>,
    /// How far the caller has read.
    pub read: Seq,
    /// Messages of others after `read` that are not deleted; 0 in channels.
    pub unread: u64,
    /// Those of them that mention the caller.
    pub mentions: u64,
    /// The newest message, as it now reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Message>,
    /// The caller's role.
    pub role: Role,
    /// How many members it has.
    pub members: u32,
    /// The other person of a direct-message room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<UserRef>,
    /// The least time between two messages of one member, in ms; 0 is off.
    #[serde(default)]
    pub slow_mode_ms: u32,
    /// Until when the caller is muted; [`Timestamp::FOREVER`] for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
}

/// A person by id and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserRef {
    /// The account.
    pub id: UserId,
    /// The name, when the server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Member {
    /// The account.
    pub id: UserId,
    /// The name, when the server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The role.
    pub role: Role,
    /// How far the member has read (dm and group).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Seq>,
    /// Until when the member is muted; [`Timestamp::FOREVER`] for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
}
