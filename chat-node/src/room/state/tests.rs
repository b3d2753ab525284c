//! The rules of a room, table by table, and what holds whatever happens.

use proptest::prelude::*;
use shared::{
    codes::ErrorCode,
    id::Nonce,
    protocol::{
        command::{
            MessageEdit, MessageSend, OfMember, OfMessage, OfRoom, React, Restrict, RoomRole,
            RoomUpdate, Switch,
        },
        room::{Entry, MemberAction, MessageBody, Reaction, RoomChange},
    },
};

use super::*;
use crate::history::{History as _, NewEntry, retention::Keep, sqlite::SqliteHistory};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const POLICY: Policy = Policy {
    dm_friends_only: true,
    invite_friends_only: true,
    keep: RetentionSettings::FOREVER,
};
const FRIENDS: Facts = Facts {
    tie: Some(Tie {
        friends: true,
        unblocked: true,
    }),
    reacted: None,
    read: None,
};

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn id() -> RoomId {
    RoomId::parse("r:1").unwrap()
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

fn created(kind: RoomKind) -> EntryBody {
    EntryBody::Room(RoomChange {
        created: Some(kind),
        name: (kind != RoomKind::Dm).then(|| "Room".into()),
        ..RoomChange::default()
    })
}

fn append(state: &mut RoomState, who: &str, body: EntryBody, ts: Timestamp) -> Entry {
    let entry = Entry {
        seq: state.head().next(),
        user: user(who),
        ts,
        body,
    };
    state.apply(&entry);
    entry
}

fn join(state: &mut RoomState, name: &str, role: Role) {
    append(
        state,
        name,
        change(MemberAction::Join, &user(name)).role(role).entry(),
        NOW,
    );
}

/// Owner `o`, moderators `x` and `y`, members `a` and `b`; `s` is a stranger.
fn room(kind: RoomKind) -> RoomState {
    let mut state = RoomState::unborn(id(), Epoch::generate());
    append(&mut state, "o", created(kind), NOW);
    join(&mut state, "o", Role::Owner);
    join(&mut state, "x", Role::Moderator);
    join(&mut state, "y", Role::Moderator);
    join(&mut state, "a", Role::Member);
    join(&mut state, "b", Role::Member);
    state
}

fn dm() -> RoomState {
    let mut state = RoomState::unborn(id(), Epoch::generate());
    append(&mut state, "a", created(RoomKind::Dm), NOW);
    join(&mut state, "a", Role::Member);
    join(&mut state, "b", Role::Member);
    state
}

fn text(text: &str) -> EntryBody {
    EntryBody::Message(MessageBody {
        unreadable: false,
        nonce: Nonce::generate(),
        text: text.into(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
    })
}

fn send(text: &str) -> MessageSend {
    MessageSend {
        room: id(),
        nonce: Nonce::parse("n").unwrap(),
        text: text.into(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
        traceparent: None,
    }
}

fn of_member(name: &str) -> OfMember {
    OfMember {
        room: id(),
        user: user(name),
    }
}

fn restrict(name: &str, until: Option<Timestamp>) -> Restrict {
    Restrict {
        room: id(),
        user: user(name),
        until,
    }
}

fn role(name: &str, role: Role) -> Command {
    Command::RoomRole(RoomRole {
        room: id(),
        user: user(name),
        role,
    })
}

fn decide(state: &RoomState, caller: &Caller, command: &Command) -> Decision {
    state.decide(caller, command, FRIENDS, POLICY, NOW)
}

fn code(decision: &Decision) -> Option<ErrorCode> {
    match decision {
        Decision::Refuse(error) | Decision::RefuseNewSend(error) => Some(error.code),
        _ => None,
    }
}

fn does(state: &mut RoomState, who: &str, command: &Command) {
    match decide(state, &by(who), command) {
        Decision::Append(bodies) => {
            for body in bodies {
                append(state, who, body, NOW);
            }
        }
        Decision::Already => {}
        other => panic!("{who}: {command:?} came to {other:?}"),
    }
}

fn edit(seq: u64) -> Command {
    Command::MessageEdit(MessageEdit {
        room: id(),
        seq: Seq::new(seq),
        text: "better".into(),
        mentions: Vec::new(),
    })
}

fn delete(seq: u64) -> Command {
    Command::MessageDelete(OfMessage {
        room: id(),
        seq: Seq::new(seq),
    })
}

fn react(seq: u64, emoji: &str) -> React {
    React {
        room: id(),
        seq: Seq::new(seq),
        emoji: emoji.into(),
    }
}

fn on_open_room() -> OfRoom {
    OfRoom { room: id() }
}

type Made = fn(&str) -> Command;

#[test]
fn who_may_act_on_whom() {
    use ErrorCode::{Forbidden, NotFound};
    let kick: Made = |name| Command::RoomKick(of_member(name));
    let ban: Made = |name| Command::RoomBan(restrict(name, None));
    let mute: Made = |name| Command::RoomMute(restrict(name, None));
    let promote: Made = |name| role(name, Role::Moderator);
    let update: Made = |_| {
        Command::RoomUpdate(RoomUpdate {
            room: id(),
            name: Some("Other".into()),
            topic: None,
            slow_mode_ms: None,
        })
    };
    let rows: &[(&str, Made, &str, Option<ErrorCode>)] = &[
        ("o", kick, "x", None),
        ("o", kick, "a", None),
        ("o", kick, "s", Some(NotFound)),
        ("x", kick, "a", None),
        ("x", kick, "y", Some(Forbidden)),
        ("x", kick, "x", Some(Forbidden)),
        ("x", kick, "o", Some(Forbidden)),
        ("a", kick, "b", Some(Forbidden)),
        ("s", kick, "a", Some(NotFound)),
        ("o", ban, "x", None),
        ("x", ban, "a", None),
        ("x", ban, "s", None),
        ("x", ban, "y", Some(Forbidden)),
        ("a", ban, "s", Some(Forbidden)),
        ("s", ban, "a", Some(NotFound)),
        ("o", mute, "y", None),
        ("x", mute, "b", None),
        ("x", mute, "o", Some(Forbidden)),
        ("x", mute, "s", Some(NotFound)),
        ("a", mute, "b", Some(Forbidden)),
        ("o", promote, "a", None),
        ("o", promote, "s", Some(NotFound)),
        ("x", promote, "a", Some(Forbidden)),
        ("a", promote, "a", Some(Forbidden)),
        ("o", update, "", None),
        ("x", update, "", Some(Forbidden)),
        ("a", update, "", Some(Forbidden)),
        ("s", update, "", Some(NotFound)),
    ];
    for kind in [RoomKind::Group, RoomKind::Lobby, RoomKind::Channel] {
        let state = room(kind);
        for (who, made, whom, expected) in rows {
            let command = made(whom);
            let decision = decide(&state, &by(who), &command);
            assert_eq!(code(&decision), *expected, "{kind:?} {who} {command:?}");
            let appended = matches!(decision, Decision::Append(_));
            assert_eq!(appended, expected.is_none(), "{kind:?} {who} {command:?}");
        }
        // The game's backend needs no membership, and outranks everybody.
        for whom in ["o", "x", "a"] {
            for made in [kick, ban, mute] {
                let decision = decide(&state, &service(), &made(whom));
                assert!(
                    matches!(decision, Decision::Append(_)),
                    "{whom}: {decision:?}"
                );
            }
        }
    }
}

#[test]
fn a_direct_message_room_has_no_rank_and_no_door() {
    let state = dm();
    let commands = [
        Command::RoomKick(of_member("b")),
        Command::RoomBan(restrict("b", None)),
        Command::RoomMute(restrict("b", None)),
        Command::RoomInvite(of_member("s")),
        Command::RoomLeave(on_open_room()),
        role("b", Role::Owner),
        Command::RoomUpdate(RoomUpdate {
            room: id(),
            name: Some("x".into()),
            topic: None,
            slow_mode_ms: None,
        }),
    ];
    for command in commands {
        let decision = decide(&state, &by("a"), &command);
        assert_eq!(code(&decision), Some(ErrorCode::Forbidden), "{command:?}");
    }
    let stranger = decide(&state, &by("s"), &Command::RoomJoin(on_open_room()));
    assert_eq!(code(&stranger), Some(ErrorCode::NotFound));
}

#[test]
fn strangers_cannot_tell_a_room_from_none() {
    for kind in [RoomKind::Dm, RoomKind::Group, RoomKind::Channel] {
        let mut state = if kind == RoomKind::Dm {
            dm()
        } else {
            room(kind)
        };
        append(&mut state, "a", text("hi"), NOW);
        let at = state.head().get();
        let commands = [
            Command::RoomGet(on_open_room()),
            Command::RoomWatch(Switch {
                room: id(),
                on: true,
            }),
            Command::Typing(Switch {
                room: id(),
                on: true,
            }),
            Command::Read(OfMessage {
                room: id(),
                seq: Seq::new(1),
            }),
            Command::RoomLeave(on_open_room()),
            Command::MessageSend(send(&"x".repeat(5_000))),
            Command::ReactionAdd(react(at, "")),
            edit(at),
            delete(at),
        ];
        for command in commands {
            let decision = decide(&state, &by("s"), &command);
            let (Decision::Refuse(error) | Decision::RefuseNewSend(error)) = decision else {
                panic!("{command:?} came to {decision:?}");
            };
            assert_eq!(error, rules::no_room(), "{command:?}");
        }
    }
}

#[test]
fn bans_keep_out_until_they_end() {
    let until = Some(NOW.plus_millis(10));
    let mut state = room(RoomKind::Channel);
    does(&mut state, "x", &Command::RoomBan(restrict("a", until)));
    assert!(state.member(&user("a")).is_none());
    let join = Command::RoomJoin(on_open_room());
    assert_eq!(
        code(&decide(&state, &by("a"), &join)),
        Some(ErrorCode::Forbidden)
    );
    let invite = Command::RoomInvite(of_member("a"));
    assert_eq!(
        code(&decide(&state, &by("b"), &invite)),
        Some(ErrorCode::Forbidden)
    );
    let later = state.decide(&by("a"), &join, FRIENDS, POLICY, NOW.plus_millis(10));
    assert!(matches!(later, Decision::Append(_)));
    assert_eq!(
        decide(&state, &by("x"), &Command::RoomBan(restrict("a", until))),
        Decision::Already
    );
    does(&mut state, "x", &Command::RoomUnban(of_member("a")));
    assert!(matches!(
        decide(&state, &by("a"), &join),
        Decision::Append(_)
    ));
    assert_eq!(
        decide(&state, &by("x"), &Command::RoomUnban(of_member("a"))),
        Decision::Already
    );
    let past = Command::RoomBan(restrict("a", Some(NOW)));
    assert_eq!(
        code(&decide(&state, &by("x"), &past)),
        Some(ErrorCode::Invalid)
    );
}

#[test]
fn mutes_silence_until_they_end() {
    let mut state = room(RoomKind::Group);
    append(&mut state, "a", text("hi"), NOW);
    let at = state.head().get();
    does(
        &mut state,
        "x",
        &Command::RoomMute(restrict("a", Some(NOW.plus_millis(500)))),
    );
    for command in [
        Command::MessageSend(send("hi")),
        Command::ReactionAdd(react(at, "x")),
        Command::Typing(Switch {
            room: id(),
            on: true,
        }),
        edit(at),
    ] {
        let decision = decide(&state, &by("a"), &command);
        let (Decision::Refuse(error) | Decision::RefuseNewSend(error)) = &decision else {
            panic!("{command:?} came to {decision:?}");
        };
        assert_eq!(
            (error.code, error.retry_after_ms),
            (ErrorCode::Muted, Some(500))
        );
        let later = state.decide(&by("a"), &command, FRIENDS, POLICY, NOW.plus_millis(500));
        assert_eq!(code(&later), None, "{command:?}");
    }
    assert!(matches!(
        decide(&state, &by("a"), &delete(at)),
        Decision::Append(_)
    ));
    does(&mut state, "x", &Command::RoomUnmute(of_member("a")));
    assert_eq!(
        decide(&state, &by("a"), &Command::MessageSend(send("hi"))),
        Decision::Say
    );
}

#[test]
fn slow_mode_paces_members_and_spares_moderators() {
    let mut state = room(RoomKind::Group);
    does(
        &mut state,
        "o",
        &Command::RoomUpdate(RoomUpdate {
            room: id(),
            name: None,
            topic: None,
            slow_mode_ms: Some(1_000),
        }),
    );
    let say = Command::MessageSend(send("hi"));
    for who in ["a", "x"] {
        assert_eq!(decide(&state, &by(who), &say), Decision::Say);
        append(&mut state, who, text("hi"), NOW);
    }
    let again = state.decide(&by("a"), &say, FRIENDS, POLICY, NOW.plus_millis(400));
    let Decision::RefuseNewSend(error) = again else {
        panic!("{again:?}");
    };
    assert_eq!(
        (error.code, error.retry_after_ms),
        (ErrorCode::SlowMode, Some(600))
    );
    assert_eq!(decide(&state, &by("x"), &say), Decision::Say);
    assert_eq!(
        decide(&state, &by("b"), &say),
        Decision::Say,
        "each member's own pace"
    );
    let later = state.decide(&by("a"), &say, FRIENDS, POLICY, NOW.plus_millis(1_000));
    assert_eq!(later, Decision::Say);
}

type Bend = fn(&mut MessageSend);

#[test]
fn messages_are_checked() {
    let mut state = room(RoomKind::Group);
    append(&mut state, "a", text("hi"), NOW);
    let said = state.head();
    let rows: &[(Bend, Option<ErrorCode>)] = &[
        (|_| {}, None),
        (|m| m.text.clear(), Some(ErrorCode::Invalid)),
        (|m| m.text = "x".repeat(4_001), Some(ErrorCode::TooLarge)),
        (
            |m| m.data = Some("x".repeat(5_000).into()),
            Some(ErrorCode::TooLarge),
        ),
        (|m| m.mentions = vec![user("a"), user("o")], None),
        (|m| m.mentions = vec![user("s")], Some(ErrorCode::Invalid)),
        (
            |m| m.mentions = vec![user("a"); 51],
            Some(ErrorCode::Invalid),
        ),
    ];
    for (bend, expected) in rows {
        let mut message = send("hi");
        bend(&mut message);
        let decision = decide(&state, &by("a"), &Command::MessageSend(message));
        assert_eq!(code(&decision), *expected, "{decision:?}");
    }
    let mut only_data = send("");
    only_data.data = Some(1.into());
    assert_eq!(
        decide(&state, &by("a"), &Command::MessageSend(only_data)),
        Decision::Say
    );

    let mut reply = send("hi");
    reply.reply_to = Some(said);
    let reply_to = |reply: &MessageSend, state: &RoomState| {
        decide(state, &by("a"), &Command::MessageSend(reply.clone()))
    };
    assert_eq!(reply_to(&reply, &state), Decision::Say);
    reply.reply_to = Some(Seq::new(1));
    let question = Question::Message(Seq::new(1));
    assert_eq!(reply_to(&reply, &state), Decision::Consult(question));
    assert!(state.learn(Seq::new(1), None));
    assert_eq!(code(&reply_to(&reply, &state)), Some(ErrorCode::NotFound));
    assert!(
        !state.learn(Seq::new(99), None),
        "nothing is known of what is to come"
    );
}

#[test]
fn editing_and_taking_back() {
    use ErrorCode::{Forbidden, NotFound};
    let mut state = room(RoomKind::Group);
    let mut said = |who: &str| append(&mut state, who, text("hi"), NOW).seq.get();
    let (of_o, of_x, of_y, of_a) = (said("o"), said("x"), said("y"), said("a"));
    let of_gone = said("b");
    does(&mut state, "b", &Command::RoomLeave(on_open_room()));
    let rows = [
        ("a", edit(of_a), None),
        ("x", edit(of_a), Some(Forbidden)),
        ("o", edit(of_a), Some(Forbidden)),
        ("a", delete(of_a), None),
        ("a", delete(of_x), Some(Forbidden)),
        ("x", delete(of_a), None),
        ("x", delete(of_gone), None),
        ("x", delete(of_x), None),
        ("x", delete(of_y), Some(Forbidden)),
        ("x", delete(of_o), Some(Forbidden)),
        ("o", delete(of_x), None),
    ];
    for (who, command, expected) in rows {
        let decision = decide(&state, &by(who), &command);
        assert_eq!(code(&decision), expected, "{who} {command:?}");
    }
    does(&mut state, "x", &delete(of_a));
    assert_eq!(code(&decide(&state, &by("a"), &edit(of_a))), Some(NotFound));
    assert_eq!(decide(&state, &by("a"), &delete(of_a)), Decision::Already);
    let reaction = Command::ReactionAdd(react(of_a, "x"));
    assert_eq!(code(&decide(&state, &by("a"), &reaction)), Some(NotFound));
}

#[test]
fn reactions_are_idempotent_and_bounded() {
    let mut state = room(RoomKind::Group);
    let at = append(&mut state, "a", text("hi"), NOW).seq.get();
    let add = Command::ReactionAdd(react(at, "x"));
    let remove = Command::ReactionRemove(react(at, "x"));
    assert_eq!(decide(&state, &by("a"), &remove), Decision::Already);
    does(&mut state, "a", &add);
    assert_eq!(decide(&state, &by("a"), &add), Decision::Already);
    does(&mut state, "a", &remove);
    for n in 0..rules::MAX_EMOJI {
        does(
            &mut state,
            "a",
            &Command::ReactionAdd(react(at, &format!("e{n}"))),
        );
    }
    assert_eq!(
        code(&decide(&state, &by("b"), &add)),
        Some(ErrorCode::Conflict)
    );
    let known = Command::ReactionAdd(react(at, "e0"));
    assert!(matches!(
        decide(&state, &by("b"), &known),
        Decision::Append(_)
    ));
}

#[test]
fn history_is_asked_where_a_message_names_only_the_first_who_reacted() {
    let mut state = room(RoomKind::Group);
    append(
        &mut state,
        "a",
        EntryBody::Delete { target: Seq::ZERO },
        NOW,
    );
    let seq = state.head();
    let message = Message {
        unreadable: false,
        seq,
        user: user("a"),
        ts: NOW,
        nonce: Nonce::generate(),
        text: "hi".into(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
        edited_ts: None,
        deleted: false,
        reactions: vec![Reaction {
            emoji: "x".into(),
            count: 2,
            users: vec![user("o")],
        }],
    };
    assert!(state.learn(seq, Some(&message)));
    let add = Command::ReactionAdd(react(seq.get(), "x"));
    assert_eq!(decide(&state, &by("o"), &add), Decision::Already);
    assert_eq!(
        decide(&state, &by("a"), &add),
        Decision::Consult(Question::Reacted(seq))
    );
    let with = |stands| Facts {
        reacted: Some(stands),
        ..FRIENDS
    };
    assert_eq!(
        state.decide(&by("a"), &add, with(true), POLICY, NOW),
        Decision::Already
    );
    assert!(matches!(
        state.decide(&by("a"), &add, with(false), POLICY, NOW),
        Decision::Append(_)
    ));
}

#[test]
fn a_direct_message_takes_friendship_and_a_block_cannot_be_told() {
    let state = dm();
    let say = Command::MessageSend(send("hi"));
    let with = |friends, unblocked| Facts {
        tie: Some(Tie { friends, unblocked }),
        ..Facts::default()
    };
    let unknown = state.decide(&by("a"), &say, Facts::default(), POLICY, NOW);
    assert_eq!(unknown, Decision::Consult(Question::Tie(user("b"))));
    let unfriended = state.decide(&by("a"), &say, with(false, true), POLICY, NOW);
    let blocked = state.decide(&by("a"), &say, with(false, false), POLICY, NOW);
    assert_eq!(code(&unfriended), Some(ErrorCode::Forbidden));
    assert_eq!(unfriended, blocked);
    let anybody = Policy {
        dm_friends_only: false,
        ..POLICY
    };
    let open = |facts| state.decide(&by("a"), &say, facts, anybody, NOW);
    assert_eq!(open(with(false, true)), Decision::Say);
    assert_eq!(code(&open(with(true, false))), Some(ErrorCode::Forbidden));
}

/// What is remembered may have expired; history is asked about it, and believed.
#[test]
fn what_is_older_than_is_kept_is_not_answered_from_memory() {
    let mut state = room(RoomKind::Group);
    let seq = append(&mut state, "a", text("hi"), NOW).seq;
    let hour = std::time::Duration::from_hours(1);
    let policy = Policy {
        keep: RetentionSettings {
            history_keep_group: Keep::of(hour),
            ..RetentionSettings::FOREVER
        },
        ..POLICY
    };
    let later = NOW.plus_millis(3_600_001);
    let delete = Command::MessageDelete(OfMessage { room: id(), seq });
    let read = Facts {
        read: Some(seq),
        ..FRIENDS
    };
    let decide =
        |state: &RoomState, facts, now| state.decide(&by("a"), &delete, facts, policy, now);
    assert!(matches!(decide(&state, FRIENDS, NOW), Decision::Append(_)));
    let ask = Decision::Consult(Question::Message(seq));
    assert_eq!(decide(&state, FRIENDS, later), ask);
    assert!(matches!(decide(&state, read, later), Decision::Append(_)));
    state.learn(seq, None);
    assert_eq!(
        code(&decide(&state, read, later)),
        Some(ErrorCode::NotFound)
    );
}

#[test]
fn invitations_are_for_friends_and_rooms_have_an_end() {
    let mut state = room(RoomKind::Group);
    let invite = Command::RoomInvite(of_member("s"));
    let with = |friends, unblocked| Facts {
        tie: Some(Tie { friends, unblocked }),
        ..Facts::default()
    };
    let strangers = state.decide(&by("a"), &invite, with(false, true), POLICY, NOW);
    let blocked = state.decide(&by("a"), &invite, with(true, false), POLICY, NOW);
    assert_eq!(code(&strangers), Some(ErrorCode::Forbidden));
    assert_eq!(strangers, blocked);
    assert!(matches!(
        state.decide(&service(), &invite, Facts::default(), POLICY, NOW),
        Decision::Append(_)
    ));
    assert_eq!(
        decide(&state, &by("a"), &Command::RoomInvite(of_member("b"))),
        Decision::Already
    );
    let members = state.members().len();
    for n in members..rules::max_members(RoomKind::Group) {
        join(&mut state, &format!("m{n}"), Role::Member);
    }
    assert_eq!(
        code(&decide(&state, &by("a"), &invite)),
        Some(ErrorCode::Conflict)
    );
}

#[test]
fn a_room_falls_to_the_senior_moderator_then_to_the_senior_member() {
    let mut state = room(RoomKind::Group);
    let owner = |state: &RoomState| {
        let mut owners = state.members.iter().filter(|(_, m)| m.role == Role::Owner);
        let owner = owners.next().map(|(user, _)| user.as_str().to_owned());
        assert!(owners.next().is_none());
        owner
    };
    for (leaving, heir) in [
        ("o", Some("x")),
        ("x", Some("y")),
        ("y", Some("a")),
        ("b", Some("a")),
        ("a", None),
    ] {
        does(&mut state, leaving, &Command::RoomLeave(on_open_room()));
        assert_eq!(owner(&state).as_deref(), heir, "after {leaving}");
    }
}

/// Only the game's backend can remove an owner; a room without one could never be run again.
#[test]
fn an_owner_who_is_removed_leaves_the_room_to_an_heir() {
    for removal in [
        Command::RoomKick(of_member("o")),
        Command::RoomBan(restrict("o", None)),
    ] {
        let state = room(RoomKind::Group);
        let decision = decide(&state, &service(), &removal);
        let Decision::Append(entries) = &decision else {
            panic!("{removal:?} came to {decision:?}");
        };
        let EntryBody::Member(heir) = &entries[1] else {
            panic!("{entries:?}");
        };
        let expected = (MemberAction::Role, user("x"), Some(Role::Owner));
        assert_eq!((heir.action, heir.member.clone(), heir.role), expected);
    }
}

#[test]
fn making_somebody_owner_steps_down() {
    let mut state = room(RoomKind::Group);
    does(&mut state, "o", &role("a", Role::Owner));
    assert_eq!(state.member(&user("o")).unwrap().role, Role::Moderator);
    assert_eq!(state.member(&user("a")).unwrap().role, Role::Owner);
    let down = decide(&state, &by("a"), &role("a", Role::Member));
    assert_eq!(code(&down), Some(ErrorCode::Invalid));
}

#[test]
fn settings_keep_to_their_bounds_and_log_only_what_differs() {
    let mut state = room(RoomKind::Group);
    let update = |name: Option<&str>, topic: Option<&str>, slow_mode_ms| {
        Command::RoomUpdate(RoomUpdate {
            room: id(),
            name: name.map(Into::into),
            topic: topic.map(Into::into),
            slow_mode_ms,
        })
    };
    for bad in [
        update(Some(""), None, None),
        update(Some(&"x".repeat(101)), None, None),
        update(None, Some(&"x".repeat(501)), None),
        update(None, None, Some(rules::MAX_SLOW_MODE_MS + 1)),
    ] {
        assert_eq!(
            code(&decide(&state, &by("o"), &bad)),
            Some(ErrorCode::Invalid),
            "{bad:?}"
        );
    }
    let same = update(Some("Room"), Some(""), Some(0));
    assert_eq!(decide(&state, &by("o"), &same), Decision::Already);
    does(&mut state, "o", &update(Some("Room"), Some("raids"), None));
    assert_eq!((state.name(), state.topic()), (Some("Room"), Some("raids")));
}

#[test]
fn read_markers_only_go_forward_and_not_past_the_head() {
    let mut state = room(RoomKind::Group);
    assert!(!state.mark_read(&user("b"), Seq::new(1)));
    append(&mut state, "a", text("hi"), NOW);
    assert!(state.mark_read(&user("b"), Seq::new(999)));
    assert_eq!(state.member(&user("b")).unwrap().read, state.head());
    assert!(!state.mark_read(&user("s"), Seq::new(1)));
}

#[test]
fn members_come_in_pages() {
    let state = room(RoomKind::Group);
    let page = state.member_page(None, 2);
    let ids = |page: &[Member]| {
        page.iter()
            .map(|m| m.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&page), ["a", "b"]);
    assert_eq!(
        ids(&state.member_page(Some(&user("b")), 9)),
        ["o", "x", "y"]
    );
}

fn arbitrary_command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["o", "x", "y", "a", "b", "s", "t"]);
    let until = prop::option::of((-5_i64..50).prop_map(|ms| NOW.plus_millis(ms)));
    let seq = || 0_u64..40;
    prop_oneof![
        4 => Just(Command::MessageSend(send("hi"))),
        1 => (name(), seq()).prop_map(|(name, seq)| {
            let mut message = send("hi");
            message.mentions = vec![user(name)];
            message.reply_to = Some(Seq::new(seq));
            Command::MessageSend(message)
        }),
        1 => name().prop_map(|name| Command::RoomInvite(of_member(name))),
        2 => Just(Command::RoomJoin(on_open_room())),
        1 => Just(Command::RoomLeave(on_open_room())),
        1 => name().prop_map(|name| Command::RoomKick(of_member(name))),
        1 => (name(), until.clone())
            .prop_map(|(name, until)| Command::RoomBan(restrict(name, until))),
        1 => name().prop_map(|name| Command::RoomUnban(of_member(name))),
        1 => (name(), until).prop_map(|(name, until)| Command::RoomMute(restrict(name, until))),
        1 => name().prop_map(|name| Command::RoomUnmute(of_member(name))),
        2 => (name(), prop::sample::select(vec![Role::Member, Role::Moderator, Role::Owner]))
            .prop_map(|(name, to)| role(name, to)),
        1 => seq().prop_map(edit),
        1 => seq().prop_map(delete),
        2 => (seq(), prop::sample::select(vec!["x", "y"]), any::<bool>()).prop_map(
            |(seq, emoji, on)| if on {
                Command::ReactionAdd(react(seq, emoji))
            } else {
                Command::ReactionRemove(react(seq, emoji))
            }
        ),
        1 => (0_u32..20).prop_map(|ms| Command::RoomUpdate(RoomUpdate {
            room: id(),
            name: None,
            topic: Some(format!("{ms}")),
            slow_mode_ms: Some(ms),
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is asked by whomever: the state is what its log says, seq is dense, nobody who is
    /// out, banned or muted gets a word in, and nobody shares the throne.
    #[test]
    fn the_log_tells_the_whole_state(
        kind in prop::sample::select(vec![RoomKind::Group, RoomKind::Lobby, RoomKind::Channel]),
        steps in prop::collection::vec(
            (
                prop::sample::select(PEOPLE.to_vec()),
                any::<bool>(),
                arbitrary_command(),
                0_i64..10,
            ),
            1..80,
        ),
    ) {
        let mut state = RoomState::unborn(id(), Epoch::generate());
        let mut log = Vec::new();
        log.push(append(&mut state, "o", created(kind), NOW));
        for (name, role) in [("o", Role::Owner), ("x", Role::Moderator), ("a", Role::Member)] {
            let body = change(MemberAction::Join, &user(name)).role(role).entry();
            log.push(append(&mut state, "o", body, NOW));
        }
        let mut now = NOW;
        for (who, friends, command, wait) in steps {
            now = now.plus_millis(wait);
            let tie = Tie { friends, unblocked: true };
            let facts = Facts { tie: Some(tie), reacted: Some(false), read: None };
            let mut decision = state.decide(&by(who), &command, facts, POLICY, now);
            if let Decision::Consult(Question::Message(seq)) = decision {
                if !state.learn(seq, None) {
                    continue;
                }
                // Both remember the same, for the comparison below.
                decision = state.decide(&by(who), &command, facts, POLICY, now);
            }
            let speaks = matches!(decision, Decision::Say) || matches!(
                &decision,
                Decision::Append(bodies)
                    if matches!(bodies[0], EntryBody::Edit { .. } | EntryBody::Reaction { on: true, .. })
            );
            if speaks {
                let member = state.member(&user(who));
                prop_assert!(member.is_some(), "{who} is not in");
                let muted = member.and_then(|m| m.muted);
                prop_assert!(muted.is_none_or(|muted| muted.shown() <= now));
                prop_assert!(
                    state.bans.get(&user(who)).is_none_or(|until| until.is_some_and(|u| u <= now))
                );
            }
            let bodies = match decision {
                Decision::Say => smallvec![text("hi")],
                Decision::Append(bodies) => bodies,
                _ => SmallVec::new(),
            };
            for body in bodies {
                log.push(append(&mut state, who, body, now));
                let owners = state.members.values().filter(|m| m.role == Role::Owner).count();
                prop_assert!(owners <= 1);
            }
            prop_assert!(state.members.len() <= rules::max_members(kind));
        }
        for (index, entry) in log.iter().enumerate() {
            prop_assert_eq!(entry.seq.get(), index as u64 + 1);
        }
        let mut rebuilt = RoomState::unborn(id(), state.epoch().clone());
        for entry in &log {
            rebuilt.apply(entry);
        }
        // What was learnt from history beside the log is memory, not state.
        rebuilt.targets = Targets::default();
        state.targets = Targets::default();
        prop_assert_eq!(&rebuilt, &state);
    }

    /// History folds the same log to the same room: who is in, with what role, muted, banned,
    /// whose the room would be next; and knows the same messages.
    #[test]
    fn history_and_the_state_agree(
        kind in prop::sample::select(vec![RoomKind::Group, RoomKind::Channel]),
        steps in prop::collection::vec(
            (prop::sample::select(PEOPLE.to_vec()), arbitrary_command()),
            1..60,
        ),
    ) {
        let agreed = actix_rt::System::new().block_on(agree(kind, steps));
        prop_assert_eq!(agreed, Ok(()));
    }
}

const PEOPLE: [&str; 7] = ["o", "x", "y", "a", "b", "s", "t"];

async fn agree(kind: RoomKind, steps: Vec<(&str, Command)>) -> Result<(), String> {
    let history = SqliteHistory::in_memory().map_err(|e| e.to_string())?;
    let mut bodies = vec![("o", created(kind))];
    for (name, role) in [
        ("o", Role::Owner),
        ("x", Role::Moderator),
        ("a", Role::Member),
    ] {
        bodies.push((
            name,
            change(MemberAction::Join, &user(name)).role(role).entry(),
        ));
    }
    let mut state = RoomState::unborn(id(), Epoch::generate());
    let store = async |state: &mut RoomState, bodies: Vec<(&str, EntryBody)>| {
        let new = |(who, body): &(&str, EntryBody)| NewEntry {
            user: user(who),
            ts: NOW,
            body: body.clone(),
        };
        let entries = bodies.iter().map(new).collect();
        let outcomes = history.append(&id(), state.head(), entries).await;
        let outcomes = outcomes.map_err(|e| e.to_string())?;
        for ((who, body), outcome) in bodies.into_iter().zip(outcomes) {
            let entry = append(state, who, body, NOW);
            if (outcome.seq, outcome.dup) != (entry.seq, false) {
                return Err(format!("{outcome:?} for {entry:?}"));
            }
        }
        Ok(())
    };
    store(&mut state, bodies).await?;
    for (who, command) in steps {
        let mut facts = FRIENDS;
        let decision = loop {
            match state.decide(&by(who), &command, facts, POLICY, NOW) {
                Decision::Consult(Question::Message(seq)) => {
                    let found = history.messages(&id(), &[seq]).await;
                    let found = found.map_err(|e| e.to_string())?;
                    if !state.learn(seq, found.first()) {
                        break Decision::Already;
                    }
                }
                Decision::Consult(_) => facts.reacted = Some(false),
                decision => break decision,
            }
        };
        let bodies = match decision {
            Decision::Say => vec![(who, text("hi"))],
            Decision::Append(bodies) => bodies.into_iter().map(|body| (who, body)).collect(),
            _ => continue,
        };
        store(&mut state, bodies).await?;
    }
    let record = history.room(&id()).await.map_err(|e| e.to_string())?;
    let loaded = RoomState::load(record.ok_or("the room is gone")?);
    for name in PEOPLE {
        let mine = state.member(&user(name));
        let theirs = loaded.member(&user(name));
        let shape = |m: &Membership| (m.role, m.read, m.muted);
        if mine.map(shape) != theirs.map(shape) {
            return Err(format!("{name}: {mine:?} here, {theirs:?} in history"));
        }
        if loaded.heir(&user(name)) != state.heir(&user(name)) {
            return Err(format!("after {name} history would have another owner"));
        }
    }
    if loaded.bans != state.bans {
        return Err(format!(
            "{:?} here, {:?} in history",
            state.bans, loaded.bans
        ));
    }
    let settings = |s: &RoomState| {
        (
            s.kind,
            s.name.clone(),
            s.topic.clone(),
            s.slow_mode_ms,
            s.head,
        )
    };
    if settings(&loaded) != settings(&state) {
        return Err(format!("{loaded:?} in history"));
    }
    for seq in 1..=state.head().get() {
        let seq = Seq::new(seq);
        let found = history
            .messages(&id(), &[seq])
            .await
            .map_err(|e| e.to_string())?;
        let mut afresh = Targets::default();
        afresh.learn(seq, found.first());
        let mine = state.targets.get(seq).ok().flatten();
        if mine != afresh.get(seq).ok().flatten() {
            return Err(format!("{seq}: {mine:?} here, {found:?} in history"));
        }
    }
    Ok(())
}
