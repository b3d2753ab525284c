//! Rooms of every kind, who may do what in them, and their logs.

use loadtest::WsClient;
use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::{RoomId, Timestamp, UserId},
    protocol::{
        codec::Encoding,
        event::FriendState,
        reply::{Appended, MembersReply, RoomReply, Synced},
        room::{EntryBody, Member, MemberAction, Role, RoomKind},
    },
};

use crate::app::{ENCODINGS, TestApp, friend_state, make_room, open_dm};

async fn act(socket: &mut WsClient, op: &str, room: &RoomId, user: &UserId) -> RoomReply {
    let body = json!({"room": room, "user": user});
    socket
        .command(op, &body)
        .await
        .unwrap_or_else(|e| panic!("{op}: {e}"))
}

async fn refusal(socket: &mut WsClient, op: &str, room: &RoomId, user: &UserId) -> ErrorCode {
    let body = json!({"room": room, "user": user});
    socket
        .refused(op, &body)
        .await
        .unwrap_or_else(|e| panic!("{op}: {e}"))
        .code
}

async fn members(socket: &mut WsClient, room: &RoomId) -> Vec<Member> {
    let mut all = Vec::new();
    let mut after = None::<UserId>;
    loop {
        let body = json!({"room": room, "after": after, "limit": 2});
        let page: MembersReply = socket.command("room.members", &body).await.unwrap();
        assert!(page.members.len() <= 2);
        all.extend(page.members);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn member_event(socket: &mut WsClient, room: &RoomId, action: MemberAction) -> Value {
    let wanted = serde_json::to_value(action).unwrap();
    let event = socket
        .event_where(&format!("{action:?}"), |e| {
            e.name == "room.member" && e.d["room"] == room.as_str() && e.d["action"] == wanted
        })
        .await
        .unwrap();
    event.d
}

#[tokio::test]
async fn a_direct_room_is_one_room_for_both() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let room = open_dm(&mut a, &bob.id).await;
        assert_eq!(room, RoomId::direct(&alice.id, &bob.id));
        assert_eq!(open_dm(&mut b, &alice.id).await, room);
        let body = json!({"room": room});
        let view: RoomReply = b.command("room.get", &body).await.unwrap();
        assert_eq!((view.room.kind, view.room.members), (RoomKind::Dm, 2));
        let peer = view.room.peer.unwrap();
        assert_eq!(
            (peer.id, peer.name),
            (alice.id.clone(), Some(alice.name.clone()))
        );
        for (op, body) in [
            ("room.leave", json!({"room": room})),
            ("room.update", json!({"room": room, "name": "x"})),
            ("room.kick", json!({"room": room, "user": alice.id})),
            ("room.invite", json!({"room": room, "user": alice.id})),
        ] {
            let refused = b.refused(op, &body).await.unwrap();
            assert!(
                matches!(refused.code, ErrorCode::Forbidden | ErrorCode::Invalid),
                "{op}: {refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn no_direct_room_with_oneself_a_stranger_or_nobody() {
    let app = TestApp::start().await;
    let alice = app.account("alice").await;
    let carol = app.account("carol").await;
    for encoding in ENCODINGS {
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let to_self = a.refused("room.open_dm", &json!({"user": alice.id})).await;
        assert!(matches!(
            to_self.unwrap().code,
            ErrorCode::Invalid | ErrorCode::Forbidden | ErrorCode::NotFound
        ));
        // Somebody who exists and somebody who does not read the same.
        let stranger = a
            .refused("room.open_dm", &json!({"user": carol.id}))
            .await
            .unwrap();
        let nobody = a
            .refused("room.open_dm", &json!({"user": "u:nobody"}))
            .await
            .unwrap();
        assert_eq!(stranger.code, nobody.code);
        assert!(matches!(
            stranger.code,
            ErrorCode::Forbidden | ErrorCode::NotFound
        ));
    }
}

#[tokio::test]
async fn a_group_is_made_by_invitation() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (alice, bob) = app.friends().await;
        let carol = app.account("carol").await;
        let (mut a, _) = app.session(&alice.access_token, encoding).await;
        let (mut b, _) = app.session(&bob.access_token, encoding).await;
        let (mut c, _) = app.session(&carol.access_token, encoding).await;
        let room = make_room(&mut a, "group", &[&bob.id]).await;
        assert_eq!(
            (room.kind, room.role, room.members),
            (RoomKind::Group, Role::Owner, 2)
        );
        let added = b.event("room.added").await.unwrap();
        assert_eq!(added.d["room"]["id"], room.id.as_str());
        assert_eq!(added.d["room"]["role"], "member");
        assert!(added.s.is_some());
        // By invitation: a stranger does not learn that it is there.
        let join = c
            .refused("room.join", &json!({"room": room.id}))
            .await
            .unwrap();
        assert_eq!(join.code, ErrorCode::NotFound);
        // Strangers are not brought in, neither at the start nor later.
        let body = json!({"kind": "group", "name": "g", "members": [carol.id]});
        assert_eq!(
            a.refused("room.create", &body).await.unwrap().code,
            ErrorCode::Forbidden
        );
        assert_eq!(
            refusal(&mut a, "room.invite", &room.id, &carol.id).await,
            ErrorCode::Forbidden
        );
        app.rest.befriend(&bob, &carol).await.unwrap();
        while friend_state(&mut b, &carol.id).await != FriendState::Friend {}
        let invited = act(&mut b, "room.invite", &room.id, &carol.id).await;
        assert!(invited.appended.is_some());
        assert_eq!(invited.room.members, 3);
        let added = c.event("room.added").await.unwrap();
        assert_eq!(added.d["room"]["id"], room.id.as_str());
        let join = loop {
            // The first joins are those the room began with.
            let join = member_event(&mut a, &room.id, MemberAction::Join).await;
            if join["member"] == carol.id.as_str() {
                break join;
            }
        };
        assert_eq!(join["user"], bob.id.as_str());
        // Who came in hears what follows and reads what went before.
        let ack = a.say(&room.id, "welcome", "welcome").await.unwrap();
        c.entry(&room.id, ack.seq.get()).await.unwrap();
        let sync = json!({"room": room.id, "after": 0});
        let log: Synced = c.command("room.sync", &sync).await.unwrap();
        let seqs: Vec<u64> = log.entries.iter().map(|e| e.seq.get()).collect();
        assert_eq!(seqs, (1..=log.head.get()).collect::<Vec<_>>());
        assert!(
            matches!(&log.entries[0].body, EntryBody::Room(r) if r.created == Some(RoomKind::Group))
        );
        assert_eq!(members(&mut c, &room.id).await.len(), 3);
    }
}

#[tokio::test]
async fn a_channel_is_open_and_does_not_count_unread() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut owner, _) = app.session(&app.stranger("owner"), encoding).await;
        let token = app.stranger("guest");
        let (mut guest, _) = app.session(&token, encoding).await;
        let room = make_room(&mut owner, "channel", &[]).await.id;
        let joined: RoomReply = guest
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(joined.room.kind, RoomKind::Channel);
        assert!(joined.appended.is_some());
        // Again changes nothing.
        let again: RoomReply = guest
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(again.room.members, 2);
        owner.say(&room, "n1", "hello").await.unwrap();
        let get: RoomReply = guest
            .command("room.get", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(get.room.unread, 0);
        let left: Appended = guest
            .command("room.leave", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(left.seq, get.room.head.next());
        guest.event("room.removed").await.unwrap();
        let after = guest
            .refused("room.get", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(after.code, ErrorCode::NotFound);
        // Nothing more of it arrives.
        owner.say(&room, "n2", "are you there?").await.unwrap();
        let seen = guest.until_pong().await.unwrap();
        assert!(
            !seen.iter().any(
                |s| matches!(s, loadtest::Seen::Event(e) if e.name == "message.new"
                && e.d["text"] == "are you there?")
            ),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn a_lobby_goes_some_time_after_its_last_member() {
    let app = TestApp::with(&[("FIRESIDE_LOBBY_LINGER", "200ms")]).await;
    let (mut owner, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    let (mut guest, _) = app.session(&app.stranger("guest"), Encoding::MsgPack).await;
    let room = make_room(&mut owner, "lobby", &[]).await.id;
    let _: RoomReply = guest
        .command("room.join", &json!({"room": room}))
        .await
        .unwrap();
    let _: Appended = owner
        .command("room.leave", &json!({"room": room}))
        .await
        .unwrap();
    // The room falls to who is left.
    let role = member_event(&mut guest, &room, MemberAction::Role).await;
    assert_eq!(role["role"], "owner");
    let _: Appended = guest
        .command("room.leave", &json!({"room": room}))
        .await
        .unwrap();
    let gone = async {
        loop {
            let joined = owner
                .command::<RoomReply>("room.join", &json!({"room": room}))
                .await;
            match joined {
                Ok(_) => {
                    // Too early: it was still there. Leave again and wait longer.
                    let leave = json!({"room": room});
                    let _: Appended = owner.command("room.leave", &leave).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
                }
                Err(error) => break error.code(),
            }
        }
    };
    let code = tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .unwrap();
    assert_eq!(code, Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn roles_decide_who_may_do_what() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let names = ["owner", "mod", "member", "other"];
        let ids = names.map(|n| UserId::parse(n).unwrap());
        let [mut owner, mut moderator, mut member, mut other] = {
            let mut sockets = Vec::new();
            for name in names {
                sockets.push(app.session(&app.stranger(name), encoding).await.0);
            }
            <[WsClient; 4]>::try_from(sockets).unwrap()
        };
        let room = make_room(&mut owner, "channel", &[]).await.id;
        for socket in [&mut moderator, &mut member, &mut other] {
            let _: RoomReply = socket
                .command("room.join", &json!({"room": room}))
                .await
                .unwrap();
        }
        let body = json!({"room": room, "user": ids[1], "role": "moderator"});
        // Only the owner gives roles.
        assert_eq!(
            member.refused("room.role", &body).await.unwrap().code,
            ErrorCode::Forbidden
        );
        let made: RoomReply = owner.command("room.role", &body).await.unwrap();
        assert!(made.appended.is_some());
        let event = member_event(&mut moderator, &room, MemberAction::Role).await;
        assert_eq!(event["role"], "moderator");
        // A member removes, silences and renames nothing.
        for op in [
            "room.kick",
            "room.ban",
            "room.mute",
            "room.unmute",
            "room.unban",
        ] {
            let code = refusal(&mut member, op, &room, &ids[3]).await;
            assert_eq!(code, ErrorCode::Forbidden, "{op}");
        }
        let rename = json!({"room": room, "name": "Mine"});
        for socket in [&mut member, &mut moderator] {
            let refused = socket.refused("room.update", &rename).await.unwrap();
            assert_eq!(refused.code, ErrorCode::Forbidden);
        }
        // A moderator does not touch the owner.
        for op in ["room.kick", "room.ban", "room.mute"] {
            let code = refusal(&mut moderator, op, &room, &ids[0]).await;
            assert_eq!(code, ErrorCode::Forbidden, "{op}");
        }
        // Kicked: gone, and may come back.
        act(&mut moderator, "room.kick", &room, &ids[3]).await;
        other.event("room.removed").await.unwrap();
        let get = other
            .refused("room.get", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(get.code, ErrorCode::NotFound);
        let _: RoomReply = other
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        // Banned: gone for good.
        act(&mut moderator, "room.ban", &room, &ids[3]).await;
        let back = other
            .refused("room.join", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(back.code, ErrorCode::Forbidden);
        act(&mut moderator, "room.unban", &room, &ids[3]).await;
        let _: RoomReply = other
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        // A ban may end by itself.
        let until = Timestamp::now().plus_millis(3_000);
        let ban = json!({"room": room, "user": ids[3], "until": until});
        let _: RoomReply = moderator.command("room.ban", &ban).await.unwrap();
        let back = other
            .refused("room.join", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(back.code, ErrorCode::Forbidden);
        tokio::time::sleep(std::time::Duration::from_millis(3_200)).await;
        let _: RoomReply = other
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        // The owner hands the room over and is a moderator then.
        let give = json!({"room": room, "user": ids[1], "role": "owner"});
        let given: RoomReply = owner.command("room.role", &give).await.unwrap();
        assert_eq!(given.room.role, Role::Moderator);
        let all = members(&mut other, &room).await;
        let role = |id: &UserId| all.iter().find(|m| m.id == *id).unwrap().role;
        assert_eq!(
            (role(&ids[0]), role(&ids[1])),
            (Role::Moderator, Role::Owner)
        );
        // Nobody who is not in is acted upon.
        let nobody = UserId::parse("nobody").unwrap();
        assert_eq!(
            refusal(&mut moderator, "room.kick", &room, &nobody).await,
            ErrorCode::NotFound
        );
        // All of it is in the log, dense.
        let sync = json!({"room": room, "after": 0, "limit": 500});
        let log: Synced = member.command("room.sync", &sync).await.unwrap();
        let seqs: Vec<u64> = log.entries.iter().map(|e| e.seq.get()).collect();
        assert_eq!(seqs, (1..=log.head.get()).collect::<Vec<_>>());
        let _: Value = owner.command("session.end", &json!({})).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_muted_listens_until_the_mute_ends() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut owner, _) = app.session(&app.stranger("owner"), encoding).await;
        let (mut loud, _) = app.session(&app.stranger("loud"), encoding).await;
        let loud_id = UserId::parse("loud").unwrap();
        let room = make_room(&mut owner, "channel", &[]).await.id;
        let _: RoomReply = loud
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        let until = Timestamp::now().plus_millis(3_000);
        let mute = json!({"room": room, "user": loud_id, "until": until});
        let _: RoomReply = owner.command("room.mute", &mute).await.unwrap();
        let say = json!({"room": room, "nonce": "n1", "text": "I"});
        let muted = loud.refused("message.send", &say).await.unwrap();
        assert_eq!(muted.code, ErrorCode::Muted);
        let view: RoomReply = loud
            .command("room.get", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(view.room.muted_until, Some(until));
        let ack = owner.say(&room, "n1", "quiet").await.unwrap();
        loud.entry(&room, ack.seq.get()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(3_200)).await;
        loud.say(&room, "n1", "again").await.unwrap();
        // For good, until somebody lifts it.
        act(&mut owner, "room.mute", &room, &loud_id).await;
        let view: RoomReply = loud
            .command("room.get", &json!({"room": room}))
            .await
            .unwrap();
        assert_eq!(view.room.muted_until, Some(Timestamp::FOREVER));
        let say = json!({"room": room, "nonce": "n2", "text": "II"});
        assert_eq!(
            loud.refused("message.send", &say).await.unwrap().code,
            ErrorCode::Muted
        );
        act(&mut owner, "room.unmute", &room, &loud_id).await;
        loud.say(&room, "n2", "II").await.unwrap();
    }
}

#[tokio::test]
async fn slow_mode_paces_members_and_not_moderators() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut owner, _) = app.session(&app.stranger("owner"), encoding).await;
        let (mut guest, _) = app.session(&app.stranger("guest"), encoding).await;
        let room = make_room(&mut owner, "channel", &[]).await.id;
        let _: RoomReply = guest
            .command("room.join", &json!({"room": room}))
            .await
            .unwrap();
        let body = json!({"room": room, "slow_mode_ms": 3000, "topic": "Slowly"});
        let updated: RoomReply = owner.command("room.update", &body).await.unwrap();
        assert_eq!(updated.room.slow_mode_ms, 3000);
        assert_eq!(updated.room.topic.as_deref(), Some("Slowly"));
        let event = guest.event("room.updated").await.unwrap();
        assert_eq!(event.d["slow_mode_ms"], 3000);
        guest.say(&room, "n1", "one").await.unwrap();
        let say = json!({"room": room, "nonce": "n2", "text": "two"});
        let slow = guest.refused("message.send", &say).await.unwrap();
        assert_eq!((slow.code, slow.retry), (ErrorCode::SlowMode, true));
        let wait = slow.retry_after_ms.unwrap();
        assert!((1..=3000).contains(&wait), "{wait}");
        // A retry of what was said already is no second message.
        assert!(guest.say(&room, "n1", "one").await.unwrap().dup);
        owner.say(&room, "n1", "one").await.unwrap();
        owner.say(&room, "n2", "two").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(wait + 50)).await;
        guest.say(&room, "n2", "two").await.unwrap();
    }
}

#[tokio::test]
async fn sync_gives_pages_and_tells_of_another_log() {
    let app = TestApp::start().await;
    for encoding in ENCODINGS {
        let (mut owner, _) = app.session(&app.stranger("owner"), encoding).await;
        let room = make_room(&mut owner, "channel", &[]).await;
        for n in 0..25 {
            owner.say(&room.id, &format!("n{n}"), "x").await.unwrap();
        }
        let mut after = 0;
        let mut seqs = Vec::new();
        loop {
            let body = json!({"room": room.id, "epoch": room.epoch, "after": after, "limit": 10});
            let page: Synced = owner.command("room.sync", &body).await.unwrap();
            assert!(!page.reset && page.entries.len() <= 10);
            assert_eq!(page.epoch, room.epoch);
            seqs.extend(page.entries.iter().map(|e| e.seq.get()));
            after = *seqs.last().unwrap();
            if !page.more {
                assert_eq!(page.head.get(), after);
                break;
            }
        }
        assert_eq!(seqs, (1..=after).collect::<Vec<_>>());
        let body = json!({"room": room.id, "epoch": room.epoch, "after": after});
        let page: Synced = owner.command("room.sync", &body).await.unwrap();
        assert!(page.entries.is_empty() && !page.more && !page.reset);
        // Another epoch, or a position the log never had: start over.
        for body in [
            json!({"room": room.id, "epoch": "another", "after": 3}),
            json!({"room": room.id, "epoch": room.epoch, "after": after + 1000}),
        ] {
            let page: Synced = owner.command("room.sync", &body).await.unwrap();
            assert!(page.reset, "{body}: {page:?}");
            assert_eq!(page.epoch, room.epoch);
        }
    }
}

#[tokio::test]
async fn names_topics_and_limits_are_checked() {
    let app = TestApp::start().await;
    let (mut owner, _) = app.session(&app.stranger("owner"), Encoding::Json).await;
    let room = make_room(&mut owner, "channel", &[]).await.id;
    for body in [
        json!({"room": room, "name": ""}),
        json!({"room": room, "name": "x".repeat(101)}),
        json!({"room": room, "topic": "x".repeat(501)}),
        json!({"room": room, "slow_mode_ms": 6 * 60 * 60 * 1000 + 1}),
    ] {
        let refused = owner.refused("room.update", &body).await.unwrap();
        assert_eq!(refused.code, ErrorCode::Invalid, "{body}");
    }
    let many: Vec<String> = (0..600).map(|n| format!("u{n}")).collect();
    let body = json!({"kind": "group", "name": "crowd", "members": many});
    let refused = owner.refused("room.create", &body).await.unwrap();
    assert!(matches!(
        refused.code,
        ErrorCode::Invalid | ErrorCode::TooLarge | ErrorCode::Conflict | ErrorCode::Forbidden
    ));
}
