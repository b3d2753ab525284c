//! What each op does, seen from outside.

use serde_json::json;
use shared::protocol::command::{MessageEdit, React, Restrict, RoomMembers, RoomSync, RoomUpdate};

use super::{node::TestNode, *};
use crate::{
    overload::Source,
    presence::DeviceState,
    room::{ReplyTo, RoomCommand},
};

#[actix_rt::test]
async fn a_room_is_made_and_its_members_hear_it() {
    let node = TestNode::start().await;
    let (mut a, mut b) = (node.listen("a").await, node.listen("b").await);
    let room = node.room(RoomKind::Group, &["b"]).await;
    assert_eq!((room.members, room.head.get(), room.unread), (2, 3, 0));
    for ear in [&mut a, &mut b] {
        assert_eq!(
            ear.event("room.added").await["room"]["id"],
            room.id.as_str()
        );
        assert_eq!(ear.seqs_until(3).await, [1, 2, 3]);
    }
    let sent = appended(node.ask(by("a"), say(&room.id, "n1")).await);
    assert_eq!((sent.seq.get(), sent.dup), (4, false));
    for ear in [&mut a, &mut b] {
        let message = ear.event("message.new").await;
        assert_eq!(message["text"], "text of n1");
        assert_eq!(message["seq"], 4);
    }
    let with_stranger = node.ask(by("b"), create(RoomKind::Group, &["c"])).await;
    assert_eq!(code(with_stranger), ErrorCode::Forbidden);
    for bad in [create(RoomKind::Dm, &[]), {
        let Command::RoomCreate(mut create) = create(RoomKind::Group, &[]) else {
            unreachable!()
        };
        create.name = " ".into();
        Command::RoomCreate(create)
    }] {
        assert_eq!(code(node.ask(by("a"), bad).await), ErrorCode::Invalid);
    }
}

#[actix_rt::test]
async fn answers_come_before_the_echo_and_in_the_session_s_stream() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &[]).await;
    let mut a = node.listen("a").await;
    let command = |nonce: &str, id| RoomCommand {
        caller: by("a"),
        command: say(&room.id, nonce),
        reply: ReplyTo::Session(debt(&a.sink, id)),
    };
    let (first, second) = (command("n1", Some(7)), command("n2", None));
    assert!(node.rooms.send(first).is_ok() && node.rooms.send(second).is_ok());
    assert_eq!(a.next().await["id"], 7);
    assert_eq!(a.event("message.new").await["nonce"], "n1");
    assert_eq!(
        a.event("message.new").await["nonce"],
        "n2",
        "no ok without an id"
    );
    let stray = RoomCommand {
        caller: by("a"),
        command: Command::Ping(shared::protocol::command::Nothing {}),
        reply: ReplyTo::Session(debt(&a.sink, None)),
    };
    assert!(node.rooms.send(stray).is_ok());
    assert_eq!(
        a.next().await["err"]["code"],
        "invalid",
        "an error needs none"
    );
}

#[actix_rt::test]
async fn both_ends_open_one_direct_message_room() {
    let node = TestNode::start().await;
    let (mut a, mut b) = (node.listen("a").await, node.listen("b").await);
    let (from_a, from_b) = tokio::join!(
        node.ask(by("a"), open_dm("b")),
        node.ask(by("b"), open_dm("a"))
    );
    let (from_a, from_b) = (view(from_a), view(from_b));
    assert_eq!(from_a.id, from_b.id);
    assert_eq!(from_a.peer.unwrap().name.as_deref(), Some("B"));
    assert_eq!(node.head(&from_a.id).await, 3);
    for ear in [&mut a, &mut b] {
        let added = ear.event("room.added").await;
        assert_eq!(added["room"]["kind"], "dm");
        assert_eq!(ear.seqs_until(3).await, [1, 2, 3]);
    }
    appended(node.ask(by("b"), say(&from_b.id, "n")).await);
    assert_eq!(a.event("message.new").await["user"], "b");
    assert_eq!(
        code(node.ask(by("b"), open_dm("c")).await),
        ErrorCode::Forbidden
    );
    assert_eq!(
        code(node.ask(by("b"), open_dm("b")).await),
        ErrorCode::Invalid
    );
    assert_eq!(
        code(node.ask(by("c"), say(&from_a.id, "x")).await),
        ErrorCode::NotFound
    );
}

#[actix_rt::test]
async fn a_direct_message_needs_a_friend_and_does_not_tell_a_block() {
    let node = TestNode::start().await;
    let [with_b, with_c] = ["b", "c"].map(open_dm);
    let with_b = view(node.ask(by("a"), with_b).await).id;
    let with_c = view(node.ask(by("a"), with_c).await).id;
    appended(node.ask(by("a"), say(&with_b, "n1")).await);
    node.people.part("a", "b");
    node.people.block("c", "a");
    let unfriended = refused(node.ask(by("a"), say(&with_b, "n2")).await);
    let blocked = refused(node.ask(by("a"), say(&with_c, "n2")).await);
    assert_eq!(unfriended, blocked);
    assert_eq!(unfriended.code, ErrorCode::Forbidden);
    let again = appended(node.ask(by("a"), say(&with_b, "n1")).await);
    assert!(again.dup, "what was sent while they were friends stands");
    view(node.ask(by("a"), open_dm("b")).await);
    let new = refused(node.ask(by("a"), open_dm("z")).await);
    assert_eq!(new.code, ErrorCode::Forbidden);
}

/// The promise goes before every rule that came to hold meanwhile.
#[actix_rt::test]
async fn a_known_nonce_is_answered_whatever_happened_since() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b", "c"]).await.id;
    let first = appended(node.ask(by("b"), say(&room, "n1")).await);
    let again = |what: &'static str| {
        let (node, room) = (&node, &room);
        async move {
            let retry = appended(node.ask(by("b"), say(room, "n1")).await);
            assert_eq!(
                (retry.seq, retry.ts, retry.dup),
                (first.seq, first.ts, true),
                "{what}"
            );
        }
    };
    again("at once").await;
    let slow = Command::RoomUpdate(RoomUpdate {
        room: room.clone(),
        name: None,
        topic: None,
        slow_mode_ms: Some(60_000),
    });
    view(node.ask(by("a"), slow).await);
    assert_eq!(
        code(node.ask(by("b"), say(&room, "n2")).await),
        ErrorCode::SlowMode
    );
    again("in slow mode").await;
    let mute = Command::RoomMute(Restrict {
        room: room.clone(),
        user: user("b"),
        until: None,
    });
    view(node.ask(by("a"), mute).await);
    assert_eq!(
        code(node.ask(by("b"), say(&room, "n2")).await),
        ErrorCode::Muted
    );
    again("muted").await;
    view(
        node.ask(by("a"), Command::RoomKick(of_member(&room, "b")))
            .await,
    );
    assert_eq!(
        code(node.ask(by("b"), say(&room, "n2")).await),
        ErrorCode::NotFound
    );
    again("kicked").await;
    assert_eq!(
        code(node.ask(by("d"), say(&room, "n1")).await),
        ErrorCode::NotFound
    );
}

#[actix_rt::test]
async fn what_is_said_is_changed_taken_back_and_reacted_to() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    let seq = appended(node.ask(by("a"), say(&room, "n")).await).seq;
    let react = |emoji: &str| React {
        room: room.clone(),
        seq,
        emoji: emoji.into(),
    };
    let added = appended(node.ask(by("b"), Command::ReactionAdd(react("x"))).await);
    let twice = appended(node.ask(by("b"), Command::ReactionAdd(react("x"))).await);
    assert_eq!((twice.seq, twice.dup), (added.seq, true));
    assert_eq!(b.event("reaction.changed").await["target"], seq.get());
    let edit = Command::MessageEdit(MessageEdit {
        room: room.clone(),
        seq,
        text: "better".into(),
        mentions: vec![user("b")],
    });
    assert_eq!(
        code(node.ask(by("b"), edit.clone()).await),
        ErrorCode::Forbidden
    );
    appended(node.ask(by("a"), edit.clone()).await);
    assert_eq!(b.event("message.edited").await["text"], "better");
    appended(
        node.ask(
            by("a"),
            Command::MessageDelete(of_message(&room, seq.get())),
        )
        .await,
    );
    assert_eq!(b.event("message.deleted").await["target"], seq.get());
    assert_eq!(code(node.ask(by("a"), edit).await), ErrorCode::NotFound);
    let nothing = Command::MessageDelete(of_message(&room, 1));
    assert_eq!(code(node.ask(by("a"), nothing).await), ErrorCode::NotFound);
    let beyond = Command::MessageDelete(of_message(&room, 999));
    assert_eq!(code(node.ask(by("a"), beyond).await), ErrorCode::NotFound);
}

#[actix_rt::test]
async fn who_leaves_or_is_thrown_out_hears_it_and_nothing_more() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b", "c"]).await.id;
    let (mut b, mut c) = (node.listen("b").await, node.listen("c").await);
    view(
        node.ask(by("a"), Command::RoomKick(of_member(&room, "b")))
            .await,
    );
    assert_eq!(b.event("room.member").await["action"], "kick");
    assert_eq!(b.event("room.removed").await["room"], room.as_str());
    appended(node.ask(by("a"), say(&room, "n1")).await);
    appended(node.ask(by("c"), Command::RoomLeave(of_room(&room))).await);
    assert_eq!(c.event("message.new").await["nonce"], "n1");
    c.event("room.removed").await;
    assert!(!node.relays.listeners(&room));
    view(
        node.ask(by("a"), Command::RoomInvite(of_member(&room, "b")))
            .await,
    );
    let back = b.next().await;
    assert_eq!(
        back["ev"], "room.added",
        "between the two it heard nothing: {back}"
    );
    assert_eq!(b.event("room.member").await["action"], "join");
    appended(node.ask(by("a"), say(&room, "n2")).await);
    assert_eq!(b.event("message.new").await["nonce"], "n2");
}

#[actix_rt::test]
async fn anybody_comes_into_a_channel_and_nobody_finds_a_group() {
    let node = TestNode::start().await;
    let channel = node.room(RoomKind::Channel, &[]).await.id;
    let group = node.room(RoomKind::Group, &[]).await.id;
    let join = |room: &RoomId| Command::RoomJoin(of_room(room));
    let get = |room: &RoomId| Command::RoomGet(of_room(room));
    assert_eq!(
        code(node.ask(by("z"), get(&channel)).await),
        ErrorCode::NotFound
    );
    let mut z = node.listen("z").await;
    assert_eq!(view(node.ask(by("z"), join(&channel)).await).members, 2);
    z.event("room.added").await;
    view(node.ask(by("z"), join(&channel)).await);
    view(node.ask(by("z"), get(&channel)).await);
    let at_group = refused(node.ask(by("z"), join(&group)).await);
    let nowhere = RoomId::parse("r:nowhere").unwrap();
    assert_eq!(at_group, refused(node.ask(by("z"), join(&nowhere)).await));
    assert_eq!(at_group.code, ErrorCode::NotFound);
    let access = node.rooms.authorize(&by("z"), &channel).await.unwrap();
    assert_eq!((access.kind, access.members), (RoomKind::Channel, 2));
    assert!(node.rooms.authorize(&by("z"), &group).await.is_err());
    assert_eq!(
        node.rooms.authorize(&service(), &group).await.unwrap().role,
        None
    );
}

#[actix_rt::test]
async fn typing_is_told_sparingly_and_not_to_everybody() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b", "c"]).await.id;
    node.people.block("c", "a");
    let (mut a, mut b, mut c) = (
        node.listen("a").await,
        node.listen("b").await,
        node.listen("c").await,
    );
    for _ in 0..3 {
        assert!(node.ask(by("a"), typing(&room, true)).await.is_ok());
    }
    let told = b.event("typing").await;
    assert_eq!((&told["user"], &told["on"]), (&json!("a"), &json!(true)));
    assert_eq!(
        code(node.ask(by("z"), typing(&room, true)).await),
        ErrorCode::NotFound
    );
    node.overload.report(Source::Relay, || 60, 100);
    node.pass(5_000);
    assert!(
        node.ask(by("a"), typing(&room, true)).await.is_ok(),
        "shed, not refused"
    );
    node.overload.report(Source::Relay, || 0, 100);
    appended(node.ask(by("a"), say(&room, "n")).await);
    for ear in [&mut a, &mut b, &mut c] {
        assert_eq!(
            ear.next().await["ev"],
            "message.new",
            "no second notice before it"
        );
    }
}

#[actix_rt::test]
async fn read_markers_go_forward_and_to_those_they_concern() {
    let node = TestNode::start().await;
    let group = node.room(RoomKind::Group, &["b"]).await.id;
    let channel = node.room(RoomKind::Channel, &["b"]).await.id;
    for room in [&group, &channel] {
        appended(node.ask(by("a"), say(room, "n")).await);
    }
    let (mut a, mut b) = (node.listen("a").await, node.listen("b").await);
    let read = |room: &RoomId, seq| Command::Read(of_message(room, seq));
    for (seq, expected) in [(4, 4), (2, 4), (999, 4)] {
        let Ok(ReplyBody::Read(answer)) = node.ask(by("b"), read(&group, seq)).await else {
            panic!("no read marker");
        };
        assert_eq!(answer.seq.get(), expected);
    }
    assert!(node.ask(by("b"), read(&channel, 4)).await.is_ok());
    let views = node.rooms.views(&user("b"), Some(&group)).await.unwrap();
    assert_eq!((views[0].read.get(), views[0].unread), (4, 0));
    assert_eq!(b.event("read").await["room"], group.as_str());
    assert_eq!(b.event("read").await["room"], channel.as_str());
    assert_eq!(a.event("read").await["user"], "b");
    appended(node.ask(by("a"), say(&group, "n2")).await);
    let next = a.next().await;
    assert_eq!(
        next["ev"], "message.new",
        "in a channel others are not told: {next}"
    );
    node.overload.report(Source::Relay, || 85, 100);
    assert!(node.ask(by("b"), read(&group, 5)).await.is_ok());
    assert_eq!(b.event("read").await["seq"], 5);
    node.overload.report(Source::Relay, || 0, 100);
    appended(node.ask(by("a"), say(&group, "n3")).await);
    assert_eq!(
        a.next().await["ev"],
        "message.new",
        "receipts are shed under load"
    );
}

/// Who is blocked learns from a read marker neither that somebody is there nor when.
#[actix_rt::test]
async fn read_markers_are_hidden_between_those_who_blocked() {
    let node = TestNode::start().await;
    node.people.block("b", "a");
    let room = node.room(RoomKind::Group, &["c", "d"]).await.id;
    let invite = |who: &str| Command::RoomInvite(of_member(&room, who));
    view(node.ask(service(), invite("b")).await);
    let at = appended(node.ask(by("a"), say(&room, "n")).await).seq.get();
    let (mut a, mut b, mut c) = (
        node.listen("a").await,
        node.listen("b").await,
        node.listen("c").await,
    );
    let read = Command::Read(of_message(&room, at));
    assert!(node.ask(by("b"), read.clone()).await.is_ok());
    assert_eq!(c.event("read").await["user"], "b");
    assert_eq!(b.event("read").await["user"], "b", "on the other devices");
    assert!(node.ask(by("d"), read).await.is_ok());
    assert_eq!(a.event("read").await["user"], "d", "not b's");
    let page = RoomMembers {
        room: room.clone(),
        after: None,
        limit: None,
    };
    let mut reads = Vec::new();
    for who in ["a", "b", "c"] {
        let members = Command::RoomMembers(page.clone());
        let Ok(ReplyBody::Members(reply)) = node.ask(by(who), members).await else {
            panic!("no members");
        };
        let seen = reply.members.into_iter().filter(|m| m.read.is_some());
        reads.push(seen.map(|m| m.id.to_string()).collect::<String>());
    }
    assert_eq!(reads, ["acd", "bcd", "abcd"]);
}

#[actix_rt::test]
async fn a_client_reads_what_it_missed_and_starts_afresh_when_it_must() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &[]).await;
    for n in 0..10 {
        appended(node.ask(by("a"), say(&room.id, &format!("n{n}"))).await);
    }
    let sync = |epoch, after, limit| {
        let command = Command::RoomSync(RoomSync {
            room: room.id.clone(),
            epoch,
            after: Seq::new(after),
            limit,
        });
        let node = &node;
        async move {
            match node.ask(by("a"), command).await {
                Ok(ReplyBody::Synced(synced)) => Ok(synced),
                Ok(other) => panic!("not synced: {other:?}"),
                Err(error) => Err(error),
            }
        }
    };
    let page = sync(Some(room.epoch.clone()), 2, Some(4)).await.unwrap();
    let seqs: Vec<u64> = page.entries.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(
        (seqs, page.more, page.head.get()),
        (vec![3, 4, 5, 6], true, 12)
    );
    let rest = sync(None, 6, None).await.unwrap();
    assert_eq!(
        (rest.entries.len(), rest.more, rest.reset),
        (6, false, false)
    );
    let other = shared::id::Epoch::generate();
    assert!(sync(Some(other), 3, None).await.unwrap().reset);
    assert!(
        sync(Some(room.epoch.clone()), 99, None)
            .await
            .unwrap()
            .reset
    );
    assert_eq!(
        sync(None, 0, Some(501)).await.unwrap_err().code,
        ErrorCode::Invalid
    );
}

/// A page of five hundred long messages would be megabytes, and close the socket it is for.
#[actix_rt::test]
async fn a_page_of_long_messages_is_cut_short() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &[]).await.id;
    for n in 0..100 {
        let mut command = say(&room, &format!("n{n}"));
        if let Command::MessageSend(send) = &mut command {
            send.text = "x".repeat(4_000);
        }
        appended(node.ask(by("a"), command).await);
    }
    let (mut after, mut pages) = (Seq::ZERO, 0);
    loop {
        let sync = Command::RoomSync(RoomSync {
            room: room.clone(),
            epoch: None,
            after,
            limit: Some(500),
        });
        let Ok(ReplyBody::Synced(page)) = node.ask(by("a"), sync).await else {
            panic!("not synced");
        };
        assert_eq!(page.entries[0].seq, after.next(), "pages meet");
        assert!(page.entries.len() < 50);
        after = page.entries.last().unwrap().seq;
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!((after.get(), pages), (102, 3));
}

#[actix_rt::test]
async fn members_come_in_pages_with_names() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b", "c", "d"]).await.id;
    let page = |after: Option<UserId>| RoomMembers {
        room: room.clone(),
        after,
        limit: Some(3),
    };
    let Ok(ReplyBody::Members(first)) = node.ask(by("a"), Command::RoomMembers(page(None))).await
    else {
        panic!("no members");
    };
    assert_eq!(first.members[1].name.as_deref(), Some("B"));
    assert_eq!(first.next, Some(user("c")));
    let Ok(ReplyBody::Members(last)) = node
        .ask(by("a"), Command::RoomMembers(page(first.next)))
        .await
    else {
        panic!("no members");
    };
    assert_eq!((last.members.len(), last.next), (1, None));
}

/// Who has the room open sees who is in, whoever came and went since; who is out sees nobody.
#[actix_rt::test]
async fn an_open_room_shows_who_is_in() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b", "c"]).await.id;
    let (mut a, b, z) = (
        node.listen("a").await,
        node.listen("b").await,
        node.listen("z").await,
    );
    for (name, ear) in [("a", &a), ("b", &b), ("z", &z)] {
        let key = ear.sink.key();
        node.presence
            .connected(key, &user(name), DeviceState::default());
        let opened = node.rooms.open(&by(name), key, &room).await;
        match opened {
            Ok(opened) => node.presence.show_members(&user(name), &opened).await,
            Err(error) => assert_eq!((name, error.code), ("z", ErrorCode::NotFound)),
        }
    }
    let sees = |viewer: &str, member: &str| node.presence.watches(&user(viewer), &user(member));
    assert!(sees("a", "b") && sees("b", "c") && !sees("z", "a"));
    for member in ["b", "c"] {
        assert_eq!(a.event("presence").await["user"], member);
    }
    let invite = Command::RoomInvite(of_member(&room, "d"));
    view(node.ask(by("a"), invite).await);
    assert_eq!(a.event("presence").await["user"], "d", "shown as it comes");
    assert!(sees("a", "d") && sees("b", "d"));
    view(
        node.ask(by("a"), Command::RoomKick(of_member(&room, "b")))
            .await,
    );
    assert!(!sees("b", "a") && !sees("b", "d") && !sees("a", "b"));
    assert!(sees("a", "c"));
}

/// The race: the session ends while its room is being opened.
#[actix_rt::test]
async fn a_session_that_has_ended_leaves_no_room_open() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let ear = node.listen("a").await;
    let key = ear.sink.key();
    let a = user("a");
    node.presence.connected(key, &a, DeviceState::default());
    node.presence.ended(key, &a);
    assert!(node.rooms.open(&by("a"), key, &room).await.is_err());
    assert!(!node.presence.watches(&a, &user("b")));
}

#[actix_rt::test]
async fn the_game_s_backend_needs_no_membership() {
    let node = TestNode::start().await;
    let room = view(
        node.ask(service(), create(RoomKind::Lobby, &["b", "c"]))
            .await,
    );
    assert_eq!(room.members, 2, "it is no member of what it makes");
    let mut b = node.listen("b").await;
    appended(node.ask(service(), say(&room.id, "n1")).await);
    assert_eq!(b.event("message.new").await["user"], "system");
    view(
        node.ask(service(), Command::RoomKick(of_member(&room.id, "c")))
            .await,
    );
    let ban = Command::RoomBan(Restrict {
        room: room.id.clone(),
        user: user("c"),
        until: Some(node.now().plus_millis(1_000)),
    });
    view(node.ask(service(), ban).await);
    let join = Command::RoomJoin(of_room(&room.id));
    assert_eq!(
        code(node.ask(by("c"), join.clone()).await),
        ErrorCode::Forbidden
    );
    node.pass(1_000);
    view(node.ask(by("c"), join).await);
    let owner = Command::RoomRole(shared::protocol::command::RoomRole {
        room: room.id.clone(),
        user: user("b"),
        role: shared::protocol::room::Role::Owner,
    });
    view(node.ask(service(), owner).await);
    let access = node.rooms.authorize(&by("b"), &room.id).await.unwrap();
    assert_eq!(access.role, Some(shared::protocol::room::Role::Owner));
}

#[actix_rt::test]
async fn under_overload_sends_are_refused_before_they_are_stored() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &[]).await.id;
    node.overload.report(Source::History, || 99, 100);
    let busy = refused(node.ask(by("a"), say(&room, "n")).await);
    assert!(busy.code == ErrorCode::Busy && busy.retry && busy.retry_after_ms.is_some());
    assert!(
        node.ask(by("a"), Command::RoomGet(of_room(&room)))
            .await
            .is_ok()
    );
    node.overload.report(Source::History, || 0, 100);
    assert!(!appended(node.ask(by("a"), say(&room, "n")).await).dup);
}
