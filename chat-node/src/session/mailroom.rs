//! Commands on their way to rooms.

use std::time::Instant;

use shared::{
    protocol::command::Command,
    trace::{self, TraceContext},
};

use super::{actor::Session, seat::Seat};
use crate::{
    room::{Caller, MAX_SYNC_BYTES, ReplyTo, RoomCommand},
    transport::debt::Debt,
};

/// About the most bytes of a room as somebody sees it: its names, its topic, its newest message.
const ROOM_BYTES: u32 = 32 * 1024;
/// About the most bytes of what says only that something was done, or why it was not.
pub(super) const WORD_BYTES: u32 = 256;

/// What became of a command for a room.
#[derive(Debug)]
pub(super) enum Delivery {
    /// The room will answer through the relay.
    Sent,
    /// Its mailbox is full.
    Full(Command),
}

impl Session {
    /// Hands a command to its room; never waits. It `came` then, where messages are followed.
    pub(super) fn post(
        &self,
        id: Option<u64>,
        mut command: Command,
        came: Option<Instant>,
    ) -> Delivery {
        let followed = came.and_then(|came| Some((came, follow(&mut command)?)));
        let debt = self.debt(id, answer_bytes(&command));
        let sent = self.around.rooms.send(RoomCommand {
            caller: Caller {
                user: self.claims.sub.clone(),
                service: false,
            },
            command,
            reply: ReplyTo::Session(debt),
        });
        match sent {
            Ok(()) => {
                self.sink.owe(&debt);
                if let Some((came, (before, own))) = followed {
                    let over = self.seat.as_ref().and_then(Seat::opened);
                    trace::told_step(Some(before), own, "session", came, over);
                }
                Delivery::Sent
            }
            Err(back) => {
                let mut command = back.command;
                if let (Some((_, (before, _))), Command::MessageSend(send)) =
                    (followed, &mut command)
                {
                    // Its step is not over yet, and it is followed whenever it is.
                    send.traceparent = Some(Box::new(before));
                }
                Delivery::Full(command)
            }
        }
    }

    /// What whoever takes a command on owes the present socket.
    pub(super) fn debt(&self, id: Option<u64>, bytes: u32) -> Debt {
        Debt {
            to: self.sink.line(),
            id,
            bytes,
        }
    }
}

/// Of a message that is followed, the place in its trace where it came from, and that of its session, which its
/// room is told.
fn follow(command: &mut Command) -> Option<(TraceContext, TraceContext)> {
    let Command::MessageSend(send) = command else {
        return None;
    };
    let before = trace::follow(send.traceparent.as_deref().copied())?;
    let own = before.next();
    send.traceparent = Some(Box::new(own));
    Some((before, own))
}

/// About how many bytes the answer may have, while nobody knows yet how many it will.
fn answer_bytes(command: &Command) -> u32 {
    match command {
        Command::RoomSync(_) | Command::RoomMembers(_) => MAX_SYNC_BYTES as u32,
        Command::RoomCreate(_)
        | Command::RoomOpenDm(_)
        | Command::RoomGet(_)
        | Command::RoomUpdate(_)
        | Command::RoomInvite(_)
        | Command::RoomJoin(_)
        | Command::RoomKick(_)
        | Command::RoomBan(_)
        | Command::RoomUnban(_)
        | Command::RoomMute(_)
        | Command::RoomUnmute(_)
        | Command::RoomRole(_) => ROOM_BYTES,
        _ => WORD_BYTES,
    }
}
