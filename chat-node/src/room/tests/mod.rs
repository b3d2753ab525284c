//! Rooms on real threads, over real SQLite history, real relays and real sockets.

mod expiry;
mod faults;
mod node;
mod nodes;
mod ops;
mod rooms;
mod schedules;

use shared::{
    codes::ErrorCode,
    id::{Nonce, RoomId, Seq, UserId},
    protocol::{
        command::{Command, MessageSend, OfMember, OfMessage, OfRoom, OfUser, RoomCreate, Switch},
        reply::{Appended, ErrorBody},
        room::{RoomKind, RoomView},
    },
};

use super::{Caller, Reply, ReplyBody};
use crate::transport::{debt::Debt, sink::Sink};

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn by(name: &str) -> Caller {
    Caller {
        user: user(name),
        service: false,
    }
}

fn service() -> Caller {
    Caller {
        user: user("system"),
        service: true,
    }
}

fn debt(sink: &Sink, id: Option<u64>) -> Debt {
    Debt {
        to: sink.line(),
        id,
        bytes: 100,
    }
}

fn create(kind: RoomKind, members: &[&str]) -> Command {
    Command::RoomCreate(RoomCreate {
        kind,
        name: "Raid".into(),
        members: members.iter().map(|name| user(name)).collect(),
        topic: None,
    })
}

fn open_dm(with: &str) -> Command {
    Command::RoomOpenDm(OfUser { user: user(with) })
}

fn say(room: &RoomId, nonce: &str) -> Command {
    Command::MessageSend(MessageSend {
        room: room.clone(),
        nonce: Nonce::parse(nonce).unwrap(),
        text: format!("text of {nonce}"),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
        traceparent: None,
    })
}

fn of_room(room: &RoomId) -> OfRoom {
    OfRoom { room: room.clone() }
}

fn of_member(room: &RoomId, name: &str) -> OfMember {
    OfMember {
        room: room.clone(),
        user: user(name),
    }
}

fn of_message(room: &RoomId, seq: u64) -> OfMessage {
    OfMessage {
        room: room.clone(),
        seq: Seq::new(seq),
    }
}

fn typing(room: &RoomId, on: bool) -> Command {
    Command::Typing(Switch {
        room: room.clone(),
        on,
    })
}

fn view(reply: Reply) -> RoomView {
    match reply {
        Ok(ReplyBody::Room(reply)) => reply.room,
        other => panic!("not a room: {other:?}"),
    }
}

fn appended(reply: Reply) -> Appended {
    match reply {
        Ok(ReplyBody::Appended(appended)) => appended,
        other => panic!("nothing appended: {other:?}"),
    }
}

fn refused(reply: Reply) -> ErrorBody {
    match reply {
        Err(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}

fn code(reply: Reply) -> ErrorCode {
    refused(reply).code
}
