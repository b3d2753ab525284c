//! The cases the golden vectors are made of, from the types of the contract.

use std::{fmt::Debug, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::{
    codes::{AfterClose, CLOSES, ERRORS},
    id::{DeviceId, Epoch, NodeId, Nonce, RoomId, Seq, SessionId, Timestamp, UserId},
    protocol::{
        SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, VERSION,
        codec::{Encoding, Prefix, SharedEvent, encode_err, encode_ok},
        command::{
            Command, MessageEdit, MessageSend, Nothing, OPS, OfMember, OfMessage, OfRoom, OfUser,
            PresenceSet, React, Restrict, RoomCreate, RoomMembers, RoomRole, RoomSync, RoomUpdate,
            SessionAck, SessionRenew, SessionResume, SessionStart, Switch,
        },
        event::{Bye, EVENTS, Event, FriendState, Hello, Notice},
        presence::{Activity, ActivityKind, Party, PresenceView, Status},
        reply::{
            Appended, Empty, ErrorBody, Friend, Limits, Me, MembersReply, Pong, ReadReply, Renewed,
            Resumed, RoomReply, Started, Synced,
        },
        room::{
            Entry, EntryBody, Member, MemberAction, MemberChange, Message, MessageBody, Reaction,
            Role, RoomChange, RoomKind, RoomView, UserRef,
        },
    },
    trace::TraceContext,
};

/// One golden vector.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub(crate) struct Vector {
    /// What it shows.
    pub(crate) name: String,
    /// The object in JSON.
    pub(crate) json: Value,
    /// The same object's MessagePack bytes.
    pub(crate) msgpack: String,
}

/// A frame that is not right.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub(crate) struct Bad {
    /// What it shows.
    pub(crate) name: String,
    /// `json` or `msgpack`.
    pub(crate) encoding: String,
    /// The frame as text, when it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The frame's bytes.
    pub(crate) hex: String,
    /// The close code, when the frame cannot be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) close: Option<u16>,
    /// The error code of the reply, when only the command is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The id of that reply; none when the command has none that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
}

/// Where the files lie.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The files' names and contents.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    vec![
        (
            "commands.json",
            pretty(&commands().iter().map(|c| &c.0).collect::<Vec<_>>()),
        ),
        ("replies.json", pretty(&replies())),
        (
            "events.json",
            pretty(&events().iter().map(|e| &e.0).collect::<Vec<_>>()),
        ),
        ("bad.json", pretty(&bad())),
        ("codes.json", pretty(&codes())),
    ]
}

fn pretty(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// The bytes as hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn vector(name: &str, value: &impl Serialize) -> Vector {
    Vector {
        name: name.to_owned(),
        json: serde_json::to_value(value).unwrap(),
        msgpack: hex(&Encoding::MsgPack.encode(value).unwrap()),
    }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}
fn room() -> RoomId {
    RoomId::parse("r:01JD0000000000000000000001").unwrap()
}
fn epoch() -> Epoch {
    Epoch::parse("01JD0000000000000000000002").unwrap()
}
fn nonce() -> Nonce {
    Nonce::parse("01JD0000000000000000000003").unwrap()
}
fn sid() -> SessionId {
    SessionId::parse("s:00112233445566778899aabbccddeeff").unwrap()
}
fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + ms)
}
fn activity() -> Activity {
    Activity {
        kind: ActivityKind::Game,
        game: "Ember Keep".into(),
        state: Some("In the lobby".into()),
        details: Some("Ranked".into()),
        party: Some(Party {
            id: "p-7".into(),
            size: 2,
            max: 4,
        }),
        joinable: true,
        since: Some(at(-60_000)),
    }
}

/// Every op, most of them in several shapes.
pub(crate) fn commands() -> Vec<(Vector, Command)> {
    #[derive(Serialize)]
    struct Frame<'a> {
        id: u64,
        #[serde(flatten)]
        command: &'a Command,
    }
    let of_member = OfMember {
        room: room(),
        user: user("bob"),
    };
    let of_message = OfMessage {
        room: room(),
        seq: Seq::new(412),
    };
    let restrict = Restrict {
        room: room(),
        user: user("bob"),
        until: Some(at(3_600_000)),
    };
    let of_room = OfRoom { room: room() };
    let react = React {
        room: room(),
        seq: Seq::new(412),
        emoji: "🔥".into(),
    };
    let cases: Vec<(&str, Command)> = vec![
        (
            "start with nothing said",
            Command::SessionStart(SessionStart::default()),
        ),
        (
            "start with everything said",
            Command::SessionStart(SessionStart {
                device: Some(DeviceId::parse("laptop.1").unwrap()),
                client: Some("vectors/1".into()),
                presence: Some(PresenceSet {
                    status: Status::Busy,
                    activity: Some(activity()),
                }),
            }),
        ),
        (
            "resume",
            Command::SessionResume(SessionResume {
                sid: sid(),
                s: 9031,
            }),
        ),
        (
            "acknowledge the stream",
            Command::SessionAck(SessionAck { s: 9031 }),
        ),
        (
            "renew",
            Command::SessionRenew(SessionRenew {
                token: "eyJhbGciOiJIUzI1NiJ9.e30.c2ln".into(),
            }),
        ),
        ("end", Command::SessionEnd(Nothing {})),
        ("ping", Command::Ping(Nothing {})),
        (
            "create a group",
            Command::RoomCreate(RoomCreate {
                kind: RoomKind::Group,
                name: "Raid night".into(),
                members: vec![user("bob"), user("carol")],
                topic: Some("Bring potions".into()),
            }),
        ),
        (
            "create a lobby",
            Command::RoomCreate(RoomCreate {
                kind: RoomKind::Lobby,
                name: "Match 7".into(),
                members: vec![],
                topic: None,
            }),
        ),
        (
            "open a direct-message room",
            Command::RoomOpenDm(OfUser { user: user("bob") }),
        ),
        ("get a room", Command::RoomGet(of_room.clone())),
        (
            "first page of members",
            Command::RoomMembers(RoomMembers {
                room: room(),
                after: None,
                limit: None,
            }),
        ),
        (
            "next page of members",
            Command::RoomMembers(RoomMembers {
                room: room(),
                after: Some(user("bob")),
                limit: Some(500),
            }),
        ),
        (
            "rename a room and slow it down",
            Command::RoomUpdate(RoomUpdate {
                room: room(),
                name: Some("Raid night II".into()),
                topic: Some(String::new()),
                slow_mode_ms: Some(5000),
            }),
        ),
        ("invite", Command::RoomInvite(of_member.clone())),
        ("join", Command::RoomJoin(of_room.clone())),
        ("leave", Command::RoomLeave(of_room)),
        ("kick", Command::RoomKick(of_member.clone())),
        ("ban for an hour", Command::RoomBan(restrict.clone())),
        (
            "ban for ever",
            Command::RoomBan(Restrict {
                until: None,
                ..restrict.clone()
            }),
        ),
        ("unban", Command::RoomUnban(of_member.clone())),
        ("mute for an hour", Command::RoomMute(restrict)),
        ("unmute", Command::RoomUnmute(of_member)),
        (
            "make somebody a moderator",
            Command::RoomRole(RoomRole {
                room: room(),
                user: user("bob"),
                role: Role::Moderator,
            }),
        ),
        (
            "sync after a position",
            Command::RoomSync(RoomSync {
                room: room(),
                epoch: Some(epoch()),
                after: Seq::new(410),
                limit: Some(100),
            }),
        ),
        (
            "sync from the beginning",
            Command::RoomSync(RoomSync {
                room: room(),
                epoch: None,
                after: Seq::ZERO,
                limit: None,
            }),
        ),
        (
            "the room is open on the screen",
            Command::RoomWatch(Switch {
                room: room(),
                on: true,
            }),
        ),
        (
            "send a line",
            Command::MessageSend(MessageSend {
                room: room(),
                nonce: nonce(),
                text: "gg".into(),
                reply_to: None,
                mentions: vec![],
                data: None,
                traceparent: None,
            }),
        ),
        (
            "send with everything",
            Command::MessageSend(MessageSend {
                room: room(),
                nonce: nonce(),
                text: "naïve — 日本語 🔥\nsecond line".into(),
                reply_to: Some(Seq::new(400)),
                mentions: vec![user("bob")],
                data: Some(json!({"loadout": [1, -2, 2.5, null, true, {"k": "v"}]})),
                traceparent: TraceContext::parse(
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                )
                .map(Box::new),
            }),
        ),
        (
            "edit",
            Command::MessageEdit(MessageEdit {
                room: room(),
                seq: Seq::new(412),
                text: "good game".into(),
                mentions: vec![user("bob")],
            }),
        ),
        ("delete", Command::MessageDelete(of_message.clone())),
        ("react", Command::ReactionAdd(react.clone())),
        ("take a reaction back", Command::ReactionRemove(react)),
        (
            "stop typing",
            Command::Typing(Switch {
                room: room(),
                on: false,
            }),
        ),
        ("read", Command::Read(of_message)),
        (
            "away",
            Command::PresenceSet(PresenceSet {
                status: Status::Away,
                activity: None,
            }),
        ),
        (
            "in a game",
            Command::PresenceSet(PresenceSet {
                status: Status::Online,
                activity: Some(activity()),
            }),
        ),
    ];
    let number = |(n, (name, command)): (usize, (&str, Command))| {
        let id = 1 + n as u64 * 37;
        let name = format!("{}: {name}", command.op());
        let frame = Frame {
            id,
            command: &command,
        };
        (vector(&name, &frame), command)
    };
    cases.into_iter().enumerate().map(number).collect()
}

fn message_body() -> MessageBody {
    MessageBody {
        unreadable: false,
        nonce: nonce(),
        text: "naïve — 日本語 🔥".into(),
        reply_to: Some(Seq::new(400)),
        mentions: vec![user("bob")],
        data: Some(json!({"k": [1, null]})),
    }
}

fn message() -> Message {
    Message {
        unreadable: false,
        seq: Seq::new(412),
        user: user("alice"),
        ts: at(123),
        nonce: nonce(),
        text: "good game".into(),
        reply_to: Some(Seq::new(400)),
        mentions: vec![user("bob")],
        data: Some(json!({"k": "v"})),
        edited_ts: Some(at(500)),
        deleted: false,
        reactions: vec![Reaction {
            emoji: "🔥".into(),
            count: 2,
            users: vec![user("bob"), user("carol")],
        }],
    }
}

fn tombstone() -> Message {
    Message {
        unreadable: false,
        text: String::new(),
        reply_to: None,
        mentions: vec![],
        data: None,
        edited_ts: None,
        deleted: true,
        reactions: vec![],
        ..message()
    }
}

fn group() -> RoomView {
    RoomView {
        id: room(),
        kind: RoomKind::Group,
        name: Some("Raid night".into()),
        topic: Some("Bring potions".into()),
        epoch: epoch(),
        head: Seq::new(412),
        first: Some(Seq::new(398)),
        read: Seq::new(400),
        unread: 7,
        mentions: 1,
        last: Some(message()),
        role: Role::Owner,
        members: 3,
        peer: None,
        slow_mode_ms: 5000,
        muted_until: Some(at(60_000)),
    }
}

fn direct() -> RoomView {
    RoomView {
        id: RoomId::direct(&user("alice"), &user("bob")),
        kind: RoomKind::Dm,
        name: None,
        topic: None,
        epoch: epoch(),
        head: Seq::new(1),
        first: None,
        read: Seq::ZERO,
        unread: 0,
        mentions: 0,
        last: Some(tombstone()),
        role: Role::Member,
        members: 2,
        peer: Some(UserRef {
            id: user("bob"),
            name: Some("Bob".into()),
        }),
        slow_mode_ms: 0,
        muted_until: None,
    }
}

fn offline() -> PresenceView {
    PresenceView {
        status: Status::Offline,
        activity: None,
        last_seen: Some(at(-5000)),
    }
}

fn playing() -> PresenceView {
    PresenceView {
        status: Status::Online,
        activity: Some(activity()),
        last_seen: None,
    }
}

/// The answer to every op, and every error.
pub(crate) fn replies() -> Vec<Vector> {
    let mut all = Vec::new();
    let mut id = 0;
    let mut next = || {
        id += 1;
        id
    };
    let started = Started {
        sid: sid(),
        me: Me {
            id: user("alice"),
            name: "Alice".into(),
            presence: PresenceView {
                status: Status::Invisible,
                activity: None,
                last_seen: None,
            },
        },
        friends: vec![
            Friend {
                id: user("bob"),
                name: "Bob".into(),
                presence: playing(),
            },
            Friend {
                id: user("carol"),
                name: "Carol".into(),
                presence: offline(),
            },
            Friend {
                id: user("dave"),
                name: "Dave".into(),
                presence: PresenceView {
                    status: Status::Unknown,
                    activity: None,
                    last_seen: None,
                },
            },
        ],
        rooms: vec![group(), direct()],
        limits: Limits {
            max_frame_bytes: 16_384,
            max_text_chars: 4000,
            max_data_bytes: 4096,
            session_ttl_ms: 120_000,
            max_group_members: 500,
        },
    };
    all.push(ok("session.start", next(), &started));
    let resumed = Resumed {
        sid: sid(),
        replayed: 12,
    };
    all.push(ok("session.resume", next(), &resumed));
    all.push(ok(
        "session.renew",
        next(),
        &Renewed {
            expires: at(900_000),
        },
    ));
    all.push(ok("ping", next(), &Pong { ts: at(0) }));
    for op in OPS.iter().filter(|op| answers_empty(op)) {
        all.push(ok(op, next(), &Empty {}));
    }
    let appended = Appended {
        seq: Seq::new(412),
        ts: at(123),
        dup: false,
    };
    for op in OPS.iter().filter(|op| answers_room(op)) {
        let room = match *op {
            "room.open_dm" => direct(),
            _ => group(),
        };
        let appended = appends_beside(op).then_some(appended);
        all.push(ok(op, next(), &RoomReply { room, appended }));
    }
    for op in OPS.iter().filter(|op| answers_appended(op)) {
        all.push(ok(op, next(), &appended));
    }
    let dup = Appended {
        dup: true,
        ..appended
    };
    all.push(ok("message.send (again)", next(), &dup));
    let members = MembersReply {
        members: vec![
            Member {
                id: user("alice"),
                name: Some("Alice".into()),
                role: Role::Owner,
                read: Some(Seq::new(400)),
                muted_until: None,
            },
            Member {
                id: user("bob"),
                name: None,
                role: Role::Member,
                read: None,
                muted_until: Some(at(60_000)),
            },
        ],
        next: Some(user("bob")),
    };
    all.push(ok("room.members", next(), &members));
    let synced = Synced {
        epoch: epoch(),
        head: Seq::new(412),
        reset: false,
        first: None,
        entries: entries().into_iter().map(|(_, entry)| entry).collect(),
        more: true,
    };
    all.push(ok("room.sync", next(), &synced));
    let reset = Synced {
        reset: true,
        entries: vec![],
        more: false,
        ..synced
    };
    all.push(ok("room.sync (reset)", next(), &reset));
    let expired = Synced {
        first: Some(Seq::new(398)),
        ..reset
    };
    all.push(ok("room.sync (expired)", next(), &expired));
    all.push(ok("read", next(), &ReadReply { seq: Seq::new(412) }));
    for row in ERRORS {
        let mut body = ErrorBody::new(row.code, format!("why it is {}", row.word));
        if row.retry {
            body = body.retry_after(800);
        }
        all.push(err(row.word, Some(next()), &body));
    }
    let body = ErrorBody::new(shared::codes::ErrorCode::Invalid, "a command without an id");
    all.push(err("to a command without an id", None, &body));
    all
}

/// Ops whose `ok` has nothing to say.
pub(crate) fn answers_empty(op: &str) -> bool {
    matches!(
        op,
        "session.ack" | "session.end" | "room.watch" | "typing" | "presence.set"
    )
}

/// Ops that make or return a room.
pub(crate) fn answers_room(op: &str) -> bool {
    matches!(op, "room.create" | "room.open_dm" | "room.get") || appends_beside(op)
}

/// Of those, the ones that say beside the room which entry they appended.
pub(crate) fn appends_beside(op: &str) -> bool {
    matches!(
        op,
        "room.join"
            | "room.update"
            | "room.invite"
            | "room.kick"
            | "room.ban"
            | "room.unban"
            | "room.mute"
            | "room.unmute"
            | "room.role"
    )
}

/// Ops that append an entry.
pub(crate) fn answers_appended(op: &str) -> bool {
    matches!(
        op,
        "room.leave"
            | "message.send"
            | "message.edit"
            | "message.delete"
            | "reaction.add"
            | "reaction.remove"
    )
}

fn ok<T>(op: &str, id: u64, body: &T) -> Vector
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        #[derive(serde::Deserialize)]
        struct Reply<T> {
            id: u64,
            ok: T,
        }
        let bytes = encode_ok(encoding, id, body).unwrap();
        let back: Reply<T> = encoding.decode(&bytes).unwrap();
        assert_eq!((back.id, &back.ok), (id, body), "{op}");
        let again = encode_ok(encoding, id, &back.ok).unwrap();
        assert_eq!(again, bytes, "{op}");
    }
    let json = encode_ok(Encoding::Json, id, body).unwrap();
    let msgpack = encode_ok(Encoding::MsgPack, id, body).unwrap();
    Vector {
        name: format!("ok: {op}"),
        json: serde_json::from_slice(&json).unwrap(),
        msgpack: hex(&msgpack),
    }
}

fn err(name: &str, id: Option<u64>, body: &ErrorBody) -> Vector {
    let json = encode_err(Encoding::Json, id, body).unwrap();
    let msgpack = encode_err(Encoding::MsgPack, id, body).unwrap();
    for (encoding, bytes) in [(Encoding::Json, &json), (Encoding::MsgPack, &msgpack)] {
        let value: Value = encoding.decode(bytes).unwrap();
        let back: ErrorBody = serde_json::from_value(value["err"].clone()).unwrap();
        assert_eq!(back, *body);
    }
    Vector {
        name: format!("err: {name}"),
        json: serde_json::from_slice(&json).unwrap(),
        msgpack: hex(&msgpack),
    }
}

/// Every kind of entry and every action of a member.
pub(crate) fn entries() -> Vec<(&'static str, Entry)> {
    let plain = MessageBody {
        unreadable: false,
        nonce: nonce(),
        text: "gg".into(),
        reply_to: None,
        mentions: vec![],
        data: None,
    };
    let member = |action, role, until| {
        EntryBody::Member(MemberChange {
            action,
            member: user("bob"),
            role,
            until,
        })
    };
    let target = Seq::new(412);
    let bodies = vec![
        (
            "the room was made",
            EntryBody::Room(RoomChange {
                unreadable: false,
                created: Some(RoomKind::Group),
                name: Some("Raid night".into()),
                topic: None,
                slow_mode_ms: None,
            }),
        ),
        (
            "the room's settings changed",
            EntryBody::Room(RoomChange {
                unreadable: false,
                created: None,
                name: Some("Raid night II".into()),
                topic: Some("Bring potions".into()),
                slow_mode_ms: Some(5000),
            }),
        ),
        (
            "somebody came",
            member(MemberAction::Join, Some(Role::Member), None),
        ),
        ("somebody left", member(MemberAction::Leave, None, None)),
        (
            "somebody was kicked",
            member(MemberAction::Kick, None, None),
        ),
        (
            "somebody was banned",
            member(MemberAction::Ban, None, Some(at(1))),
        ),
        ("a ban was lifted", member(MemberAction::Unban, None, None)),
        ("somebody was muted", member(MemberAction::Mute, None, None)),
        (
            "a mute was lifted",
            member(MemberAction::Unmute, None, None),
        ),
        (
            "somebody holds another role",
            member(MemberAction::Role, Some(Role::Moderator), None),
        ),
        ("a line", EntryBody::Message(plain)),
        (
            "a message with everything",
            EntryBody::Message(message_body()),
        ),
        (
            "an edit",
            EntryBody::Edit {
                target,
                text: "good game".into(),
                mentions: vec![user("bob")],
            },
        ),
        ("a delete", EntryBody::Delete { target }),
        (
            "a reaction",
            EntryBody::Reaction {
                target,
                emoji: "🔥".into(),
                on: true,
            },
        ),
        (
            "a reaction taken back",
            EntryBody::Reaction {
                target,
                emoji: "🔥".into(),
                on: false,
            },
        ),
    ];
    let number = |(n, (name, body)): (usize, (&'static str, EntryBody))| {
        let entry = Entry {
            seq: Seq::new(401 + n as u64),
            user: user("alice"),
            ts: at(n as i64),
            body,
        };
        (name, entry)
    };
    bodies.into_iter().enumerate().map(number).collect()
}

/// Every event, with its position when it has one.
pub(crate) fn events() -> Vec<(Vector, Event, Option<u64>)> {
    let user_ref = UserRef {
        id: user("bob"),
        name: Some("Bob".into()),
    };
    let mut all: Vec<(String, Event)> = vec![(
        "first on every socket".into(),
        Event::Hello(Hello {
            protocol: VERSION,
            heartbeat_ms: 25_000,
            max_frame_bytes: 16_384,
            node: NodeId::parse("node-1").unwrap(),
        }),
    )];
    for (code, word, after) in CLOSES {
        let bye = Bye {
            code: code.code(),
            reason: (*word).to_owned(),
            resume: code.resumable(),
            delay_ms: matches!(after, AfterClose::Wait | AfterClose::Resume).then_some(1500),
        };
        all.push((format!("before {}", code.code()), Event::Bye(bye)));
    }
    for (name, entry) in entries() {
        all.push((name.into(), Event::of_entry(room(), entry)));
    }
    all.extend([
        ("a new room".into(), Event::RoomAdded { room: direct() }),
        (
            "no longer a member".into(),
            Event::RoomRemoved { room: room() },
        ),
        (
            "the log is another one".into(),
            Event::RoomReset { room: group() },
        ),
        (
            "a read marker".into(),
            Event::Read {
                room: room(),
                user: user("bob"),
                seq: Seq::new(412),
            },
        ),
        (
            "somebody types".into(),
            Event::Typing {
                room: room(),
                user: user("bob"),
                on: true,
            },
        ),
        (
            "a friend plays".into(),
            Event::Presence {
                user: user("bob"),
                status: Status::Online,
                activity: Some(activity()),
                last_seen: None,
            },
        ),
        (
            "a friend went".into(),
            Event::Presence {
                user: user("bob"),
                status: Status::Offline,
                activity: None,
                last_seen: Some(at(0)),
            },
        ),
        (
            "blocked".into(),
            Event::BlockChanged {
                user: user("bob"),
                blocked: true,
            },
        ),
        (
            "another profile".into(),
            Event::ProfileChanged {
                user: user_ref.clone(),
                avatar_url: Some("https://example.org/a.png".into()),
                status_text: Some("brb".into()),
            },
        ),
        (
            "a gift".into(),
            Event::Notice(Notice {
                id: "01J0000000000000000000000N".into(),
                topic: "gift_received".into(),
                ts: at(7),
                data: json!({"gift": "01J0000000000000000000000G", "from": {"id": "bob", "name": "Bob"},
                    "games": [{"id": "01J0000000000000000000000S", "title": "Star of Dawn"}], "message": "for you"}),
            }),
        ),
    ]);
    for state in [
        FriendState::None,
        FriendState::Outgoing,
        FriendState::Incoming,
        FriendState::Friend,
    ] {
        let user = user_ref.clone();
        all.push((format!("{state:?}"), Event::FriendChanged { user, state }));
    }
    let positions = [1, 127, 128, 9031, 70_000, 5_000_000_000];
    all.into_iter()
        .enumerate()
        .map(|(n, (name, event))| {
            let s = (!event.ephemeral()).then(|| positions[n % positions.len()]);
            let name = format!("{}: {name}", event.name());
            (event_vector(&name, event.clone(), s), event, s)
        })
        .collect()
}

fn event_vector(name: &str, event: Event, s: Option<u64>) -> Vector {
    let shared = SharedEvent::new(event);
    let bytes = |encoding| {
        let mut bytes = Prefix::new(encoding, s).as_bytes().to_vec();
        bytes.extend_from_slice(&shared.tail(encoding));
        bytes
    };
    Vector {
        name: name.to_owned(),
        json: serde_json::from_slice(&bytes(Encoding::Json)).unwrap(),
        msgpack: hex(&bytes(Encoding::MsgPack)),
    }
}

/// Frames a server must answer with an error or close on.
pub(crate) fn bad() -> Vec<Bad> {
    let mut all = Vec::new();
    let undecodable_json: &[(&str, &str)] = &[
        ("nothing", ""),
        ("white space alone", " \n "),
        ("not JSON", "hello"),
        ("a number", "7"),
        ("an array", "[]"),
        ("an array in place of the object", "[1,\"ping\",{}]"),
        ("cut off", "{\"id\":1,\"op\":\"pi"),
        (
            "a right command and a cut-off one",
            "{\"id\":1,\"op\":\"ping\"}\n{\"id\":2",
        ),
        ("text after the command", "{\"id\":1,\"op\":\"ping\"} x"),
        ("a lone surrogate in a key", "{\"\\ud800\":1}"),
        ("null", "null"),
    ];
    for (name, text) in undecodable_json {
        all.push(json_bad(name, text, Err(4400)));
    }
    let deep = format!("{{\"id\":1,\"op\":\"ping\",\"d\":{}}}", "[".repeat(200));
    all.push(json_bad("nested without end", &deep, Err(4400)));
    let many = "{\"op\":\"ping\"}\n".repeat(257);
    all.push(json_bad("257 commands in one frame", &many, Err(4400)));
    let refused_json: &[(&str, &str)] = &[
        ("an unknown op", "{\"id\":1,\"op\":\"no.such\"}"),
        ("no op", "{\"id\":1}"),
        ("an op that is no string", "{\"id\":1,\"op\":5}"),
        (
            "a body of another type",
            "{\"id\":1,\"op\":\"read\",\"d\":7}",
        ),
        (
            "no body where one is needed",
            "{\"id\":1,\"op\":\"room.get\"}",
        ),
        (
            "a missing field",
            "{\"id\":1,\"op\":\"read\",\"d\":{\"room\":\"r\"}}",
        ),
        (
            "a field of another type",
            "{\"id\":1,\"op\":\"read\",\"d\":{\"room\":\"r\",\"seq\":\"1\"}}",
        ),
        (
            "a negative seq",
            "{\"id\":1,\"op\":\"read\",\"d\":{\"room\":\"r\",\"seq\":-1}}",
        ),
        (
            "a fractional seq",
            "{\"id\":1,\"op\":\"read\",\"d\":{\"room\":\"r\",\"seq\":1.5}}",
        ),
        (
            "an id with a space",
            "{\"id\":1,\"op\":\"room.get\",\"d\":{\"room\":\"a b\"}}",
        ),
        (
            "an empty id",
            "{\"id\":1,\"op\":\"room.get\",\"d\":{\"room\":\"\"}}",
        ),
        (
            "a status that is none",
            "{\"id\":1,\"op\":\"presence.set\",\"d\":{\"status\":\"bored\"}}",
        ),
        (
            "a status that nobody sets",
            "{\"id\":1,\"op\":\"presence.set\",\"d\":{\"status\":\"offline\"}}",
        ),
        (
            "an array in place of the body",
            "{\"id\":1,\"op\":\"typing\",\"d\":[\"r\",true]}",
        ),
        (
            "an empty array in place of the body",
            "{\"id\":1,\"op\":\"ping\",\"d\":[]}",
        ),
        (
            "an array in place of an object in the body",
            "{\"id\":1,\"op\":\"presence.set\",\"d\":{\"status\":\"busy\",\"activity\":[\"game\",\"chess\"]}}",
        ),
    ];
    for (name, text) in refused_json {
        all.push(json_bad(name, text, Ok("invalid")));
    }
    let ids: &[(&str, &str)] = &[
        ("an id with a fraction", "1.0"),
        ("an id with an exponent", "1e2"),
        ("a negative id", "-1"),
        ("an id of 2^53", "9007199254740992"),
        ("an id that is a string", "\"1\""),
        ("an id that is true", "true"),
        ("an id that is an array", "[1]"),
    ];
    for (name, id) in ids {
        let text = format!("{{\"id\":{id},\"op\":\"ping\"}}");
        all.push(Bad {
            id: None,
            ..json_bad(name, &text, Ok("invalid"))
        });
    }
    let long = format!(
        "{{\"id\":1,\"op\":\"room.get\",\"d\":{{\"room\":\"{}\"}}}}",
        "x".repeat(65)
    );
    all.push(json_bad("an id of 65 characters", &long, Ok("invalid")));

    let undecodable: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("nil", b"\xc0"),
        ("an integer", b"\x07"),
        ("an array", b"\x93\x01\xa4ping\x80"),
        ("cut off", b"\x82\xa2id\x01\xa2op\xa4pi"),
        (
            "a right command and a cut-off one",
            b"\x82\xa2id\x01\xa2op\xa4ping\x82\xa2id",
        ),
        ("the reserved marker", b"\x81\xa2op\xc1"),
        (
            "a string of four gigabytes",
            b"\x81\xa2op\xdb\xff\xff\xff\xff",
        ),
        (
            "a map of four thousand million pairs",
            b"\xdf\xff\xff\xff\xff",
        ),
        (
            "an array of four thousand million items",
            b"\x82\xa2op\xa4ping\xa1d\xdd\xff\xff\xff\xff",
        ),
        (
            "a binary of four gigabytes",
            b"\x81\xa1d\xc6\xff\xff\xff\xff",
        ),
        (
            "an extension of four gigabytes",
            b"\x81\xa1d\xc9\xff\xff\xff\xff\x01",
        ),
    ];
    for (name, bytes) in undecodable {
        all.push(packed_bad(name, bytes, Err(4400)));
    }
    let mut deep = b"\x82\xa2op\xa4ping\xa1d".to_vec();
    deep.extend([0x91; 200]);
    deep.push(0xc0);
    all.push(packed_bad("nested too deep", &deep, Err(4400)));
    all.push(packed_bad(
        "257 commands in one frame",
        &b"\x81\xa2op\xa4ping".repeat(257),
        Err(4400),
    ));
    let refused: &[(&str, Value)] = &[
        ("an unknown op", json!({"id": 1, "op": "no.such"})),
        ("no op", json!({"id": 1})),
        ("an op that is no string", json!({"id": 1, "op": 5})),
        (
            "a body of another type",
            json!({"id": 1, "op": "read", "d": 7}),
        ),
        (
            "no body where one is needed",
            json!({"id": 1, "op": "room.get", "d": null}),
        ),
        (
            "a missing field",
            json!({"id": 1, "op": "read", "d": {"room": "r"}}),
        ),
        (
            "a field of another type",
            json!({"id": 1, "op": "read", "d": {"room": "r", "seq": "1"}}),
        ),
        (
            "a negative seq",
            json!({"id": 1, "op": "read", "d": {"room": "r", "seq": -1}}),
        ),
        (
            "an id with a space",
            json!({"id": 1, "op": "room.get", "d": {"room": "a b"}}),
        ),
        (
            "a status that nobody sets",
            json!({"id": 1, "op": "presence.set", "d": {"status": "offline"}}),
        ),
        (
            "an array in place of the body",
            json!({"id": 1, "op": "typing", "d": ["r", true]}),
        ),
        (
            "an empty array in place of the body",
            json!({"id": 1, "op": "ping", "d": []}),
        ),
        (
            "an array in place of an object in the body",
            json!({"id": 1, "op": "presence.set", "d": {"status": "busy", "activity": ["game", "chess"]}}),
        ),
    ];
    for (name, value) in refused {
        let bytes = Encoding::MsgPack.encode(value).unwrap();
        all.push(packed_bad(name, &bytes, Ok("invalid")));
    }
    let ids: &[(&str, Value)] = &[
        ("an id with a fraction", json!(1.0)),
        ("a negative id", json!(-1)),
        ("an id of 2^53", json!(1_u64 << 53)),
        ("an id that is a string", json!("1")),
        ("an id that is true", json!(true)),
        ("an id that is an array", json!([1])),
    ];
    for (name, id) in ids {
        let value = json!({"id": id, "op": "ping"});
        let bytes = Encoding::MsgPack.encode(&value).unwrap();
        all.push(Bad {
            id: None,
            ..packed_bad(name, &bytes, Ok("invalid"))
        });
    }
    all.push(packed_bad(
        "a body with numbers in place of names",
        b"\x83\xa2id\x01\xa2op\xa6typing\xa1d\x82\x00\xa1r\x01\xc3",
        Ok("invalid"),
    ));
    let not_utf8 = b"\x83\xa2id\x01\xa2op\xa8room.get\xa1d\x81\xa4room\xa2\xff\xfe";
    all.push(packed_bad(
        "an id that is not UTF-8",
        not_utf8,
        Ok("invalid"),
    ));
    all
}

fn json_bad(name: &str, text: &str, outcome: Result<&str, u16>) -> Bad {
    Bad {
        name: name.to_owned(),
        encoding: "json".into(),
        text: Some(text.to_owned()),
        hex: hex(text.as_bytes()),
        close: outcome.err(),
        error: outcome.ok().map(str::to_owned),
        id: outcome.ok().map(|_| 1),
    }
}

fn packed_bad(name: &str, bytes: &[u8], outcome: Result<&str, u16>) -> Bad {
    Bad {
        name: name.to_owned(),
        encoding: "msgpack".into(),
        text: None,
        hex: hex(bytes),
        close: outcome.err(),
        error: outcome.ok().map(str::to_owned),
        id: outcome.ok().map(|_| 1),
    }
}

/// The table of codes, ops and events, for clients in other languages to check theirs against.
pub(crate) fn codes() -> Value {
    let errors: Vec<Value> = ERRORS
        .iter()
        .map(|row| json!({"code": row.word, "retry": row.retry, "status": row.status}))
        .collect();
    let closes: Vec<Value> = CLOSES
        .iter()
        .map(|(code, word, after)| {
            let after = match after {
                AfterClose::Resume => "resume",
                AfterClose::Renew => "renew",
                AfterClose::Wait => "wait",
                AfterClose::Stop => "stop",
            };
            json!({
                "code": code.code(), "reason": word, "after": after, "resume": code.resumable(),
            })
        })
        .collect();
    let ephemeral = |name: &str| {
        events()
            .iter()
            .any(|(_, event, _)| event.name() == name && event.ephemeral())
    };
    let events: Vec<Value> = EVENTS
        .iter()
        .map(|name| json!({"name": name, "ephemeral": ephemeral(name)}))
        .collect();
    json!({
        "protocol": VERSION,
        "subprotocols": {"json": SUBPROTOCOL_JSON, "msgpack": SUBPROTOCOL_MSGPACK},
        "ops": OPS,
        "events": events,
        "errors": errors,
        "closes": closes,
    })
}
