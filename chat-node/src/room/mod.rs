//! Rooms: the pure state, the thin actor around it, and the way to reach one.
//!
//! A command goes in through [`Rooms`], to the room's actor; the actor asks its state what the
//! command comes to, appends what has to be durable, answers, and hands the entry to the relays.
//! Rooms never see sockets, and sessions never touch history or bus.

use shared::{
    id::UserId,
    protocol::{
        command::Command,
        reply::{Appended, Empty, ErrorBody, MembersReply, ReadReply, RoomReply, Synced},
    },
};
use tokio::sync::oneshot;

use crate::transport::SessionKey;

/// Who asks something of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user on whose behalf; for the server API, the user to act as ("system" by default).
    pub user: UserId,
    /// The game's own backend: membership, roles, mutes, slow mode do not bind it.
    pub service: bool,
}

/// A command on its way to a room.
#[derive(Debug)]
pub struct RoomCommand {
    /// Who asks.
    pub caller: Caller,
    /// What is asked; only commands that name a room.
    pub command: Command,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// Where a command's answer goes.
#[derive(Debug)]
pub enum ReplyTo {
    /// To a session on some worker, under the command's id; through the relay of that worker,
    /// so that answers and events share one outbox and keep their order. Without an id only an
    /// error is answered.
    Session(SessionKey, Option<u64>),
    /// To a caller that waits.
    Caller(oneshot::Sender<Reply>),
    /// To nobody.
    Nobody,
}

/// A command's answer.
pub type Reply = Result<ReplyBody, ErrorBody>;

/// What an `ok` carries.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyBody {
    /// Nothing to say.
    Empty(Empty),
    /// An entry was appended.
    Appended(Appended),
    /// A room as the caller sees it.
    Room(Box<RoomReply>),
    /// Members.
    Members(MembersReply),
    /// Entries.
    Synced(Synced),
    /// A read marker.
    Read(ReadReply),
}
