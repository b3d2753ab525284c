//! Commands on their way to rooms.

use shared::protocol::command::Command;

use super::actor::Session;
use crate::room::{Caller, ReplyTo, RoomCommand};

/// What became of a command for a room.
#[derive(Debug)]
pub(super) enum Delivery {
    /// The room will answer through the relay.
    Sent,
    /// Its mailbox is full.
    Full(Command),
}

impl Session {
    /// Hands a command to its room; never waits.
    pub(super) fn post(&self, id: Option<u64>, command: Command) -> Delivery {
        let sent = self.around.rooms.send(RoomCommand {
            caller: Caller {
                user: self.claims.sub.clone(),
                service: false,
            },
            command,
            reply: ReplyTo::Session(self.sink.line(), id),
        });
        match sent {
            Ok(()) => Delivery::Sent,
            Err(back) => Delivery::Full(back.command),
        }
    }
}
