//! Rooms: the pure state, the thin actor around it, and the way to reach one.
//!
//! A command goes in through [`Rooms`], to the room's actor; the actor asks its state what the
//! command comes to, appends what has to be durable, answers, and hands the entry to the relays.
//! Rooms never see sockets, and sessions never touch history or bus.
//!
//! - `state`: the pure state; [`rules`]: limits and the permission table it goes by.
//! - `live`: a room at work: decides, appends in batches (`batch`) and answers (`ask`). Around it
//!   `delivery` (entries to the relays, in order), `repair` (what is missing, from history), `lookup`
//!   and `signals` (what leaves no entry), `opening` (how rooms come about), `view` (how they look).
//! - `turns`: when nodes that append to one room let each other go first.
//! - `reconcile`: what nobody told this node of, found in history.
//! - `actor`: gives it a thread and a bounded mailbox; `directory`: where each is; `rooms`: the way in.
//! - [`news`]: what nodes tell each other of rooms.

use std::sync::Arc;

use shared::{
    id::{Epoch, RoomId, Seq, Timestamp, UserId},
    protocol::{
        command::Command,
        reply::{Appended, Empty, ErrorBody, MembersReply, ReadReply, RoomReply, Synced},
        room::{Role, RoomKind},
    },
};
use tokio::sync::oneshot;

use crate::transport::debt::Debt;

mod actor;
mod ask;
mod batch;
mod consult;
mod delivery;
mod directory;
mod gauges;
mod live;
mod lookup;
pub mod news;
mod opening;
mod place;
mod reconcile;
mod repair;
mod rooms;
pub mod rules;
mod settings;
mod signals;
pub mod state;
#[cfg(test)]
mod tests;
mod turns;
mod typing;
mod view;

pub use gauges::METRICS;
pub use lookup::MAX_SYNC_BYTES;
pub use news::{Followed, RoomNews};
pub use rooms::{Rooms, RoomsParts};
pub use settings::RoomSettings;

/// Tells the time; injected, so that tests can say what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

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
    /// What is asked; only commands that name or make a room.
    pub command: Command,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// Where a command's answer goes.
#[derive(Debug)]
pub enum ReplyTo {
    /// To the socket it came on, under the command's id; through the relay of the session's
    /// worker, so that answers and events share one outbox and keep their order. Without an id
    /// only an error is answered.
    Session(Debt),
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

/// What somebody may see of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The room's kind.
    pub kind: RoomKind,
    /// The caller's role; `None` for a server API caller who is no member.
    pub role: Option<Role>,
    /// The identity of the room's log.
    pub epoch: Epoch,
    /// The newest entry.
    pub head: Seq,
    /// How many members it has.
    pub members: u32,
}

/// The room a command is for; `None` when it is for no room that exists already.
pub fn room_of(caller: &Caller, command: &Command) -> Option<RoomId> {
    let room = match command {
        Command::RoomOpenDm(with) => return Some(RoomId::direct(&caller.user, &with.user)),
        Command::RoomGet(c) | Command::RoomJoin(c) | Command::RoomLeave(c) => &c.room,
        Command::RoomMembers(c) => &c.room,
        Command::RoomUpdate(c) => &c.room,
        Command::RoomInvite(c)
        | Command::RoomKick(c)
        | Command::RoomUnban(c)
        | Command::RoomUnmute(c) => &c.room,
        Command::RoomBan(c) | Command::RoomMute(c) => &c.room,
        Command::RoomRole(c) => &c.room,
        Command::RoomSync(c) => &c.room,
        Command::RoomWatch(c) | Command::Typing(c) => &c.room,
        Command::MessageSend(c) => &c.room,
        Command::MessageEdit(c) => &c.room,
        Command::MessageDelete(c) | Command::Read(c) => &c.room,
        Command::ReactionAdd(c) | Command::ReactionRemove(c) => &c.room,
        Command::SessionStart(_)
        | Command::SessionResume(_)
        | Command::SessionAck(_)
        | Command::SessionRenew(_)
        | Command::SessionEnd(_)
        | Command::Ping(_)
        | Command::RoomCreate(_)
        | Command::PresenceSet(_) => return None,
    };
    Some(room.clone())
}
