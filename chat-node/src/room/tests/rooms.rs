//! Batches, idleness, removal: what rooms do of themselves.

use std::time::Duration;

use shared::protocol::command::RoomUpdate;

use super::{
    node::{Setup, TestNode, eventually},
    *,
};
use crate::room::{ReplyTo, RoomCommand, RoomSettings};

#[actix_rt::test]
async fn a_burst_is_appended_in_few_batches_and_heard_in_order() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    let nonces: Vec<String> = (0..500).map(|n| format!("n{n}")).collect();
    let sends = nonces
        .iter()
        .map(|nonce| node.ask(by("a"), say(&room, nonce)));
    let mut seqs = Vec::new();
    for reply in futures_util::future::join_all(sends).await {
        seqs.push(appended(reply).seq.get());
    }
    assert_eq!(
        seqs,
        (4..504).collect::<Vec<_>>(),
        "in the order they were sent"
    );
    assert_eq!(b.seqs_until(503).await, seqs);
    node.rooms.drained().await;
    assert_eq!(node.rooms.owed(), 0);
}

/// Commands that look at what others in the same burst do are decided after those.
#[actix_rt::test]
async fn a_pipeline_is_decided_in_its_order() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let react = |on: bool| {
        let react = shared::protocol::command::React {
            room: room.clone(),
            seq: Seq::new(4),
            emoji: "x".into(),
        };
        if on {
            Command::ReactionAdd(react)
        } else {
            Command::ReactionRemove(react)
        }
    };
    let slow = Command::RoomUpdate(RoomUpdate {
        room: room.clone(),
        name: None,
        topic: None,
        slow_mode_ms: Some(1_000),
    });
    let pipeline = vec![
        (by("b"), say(&room, "n1")),
        (by("b"), say(&room, "n1")),
        (by("b"), react(true)),
        (by("b"), react(true)),
        (by("b"), react(false)),
        (by("a"), react(true)),
        (by("a"), slow),
        (by("b"), say(&room, "n2")),
        (by("b"), say(&room, "n1")),
        (by("a"), Command::RoomKick(of_member(&room, "b"))),
        (by("b"), react(false)),
        (by("a"), Command::RoomGet(of_room(&room))),
    ];
    let replies = pipeline
        .into_iter()
        .map(|(caller, command)| node.ask(caller, command));
    let replies = futures_util::future::join_all(replies).await;
    let told: Vec<String> = replies
        .into_iter()
        .map(|reply| match reply {
            Ok(ReplyBody::Appended(at)) => {
                format!("{}{}", at.seq, if at.dup { " dup" } else { "" })
            }
            Ok(ReplyBody::Room(room)) => {
                format!("room after {}", room.appended.map_or(0, |at| at.seq.get()))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => error.code.word().into(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "4",
            "4 dup",
            "5",
            "5 dup",
            "6",
            "7",
            "room after 8",
            "slow_mode",
            "4 dup",
            "room after 9",
            "not_found",
            "room after 0",
        ]
    );
}

#[actix_rt::test]
async fn a_full_mailbox_hands_the_command_back() {
    let settings = RoomSettings {
        room_mailbox: 16,
        ..RoomSettings::default()
    };
    let node = TestNode::with(Setup {
        settings,
        ..Setup::default()
    })
    .await;
    let room = node.room(RoomKind::Group, &[]).await.id;
    let mut handed_back = 0;
    for n in 0..10_000 {
        let command = RoomCommand {
            caller: by("a"),
            command: say(&room, &format!("n{n}")),
            reply: ReplyTo::Nobody,
        };
        if let Err(back) = node.rooms.send(command) {
            assert_eq!(back.command, say(&room, &format!("n{n}")));
            handed_back += 1;
        }
    }
    assert!(handed_back > 0, "10,000 commands fit nowhere");
    node.rooms.drained().await;
    assert_eq!(node.head(&room).await, 2 + 10_000 - handed_back);
}

/// A command that races with the stop finds either the old actor or a new one, never neither.
#[actix_rt::test]
async fn rooms_come_and_go_without_losing_a_command() {
    let settings = RoomSettings {
        room_idle: Duration::from_millis(2),
        ..RoomSettings::default()
    };
    let node = TestNode::with(Setup {
        settings,
        ..Setup::default()
    })
    .await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let mut b = node.listen("b").await;
    for n in 0..200_u64 {
        let sent = appended(node.ask(by("a"), say(&room, &format!("n{n}"))).await);
        assert_eq!(sent.seq.get(), 4 + n);
        tokio::time::sleep(Duration::from_micros(n * 37 % 4_000)).await;
    }
    assert_eq!(b.seqs_until(203).await, (4..204).collect::<Vec<_>>());
    eventually(|| async { node.rooms.live() == 0 }).await;
    for n in 0..50 {
        let nowhere = RoomId::parse(&format!("r:nowhere{n}")).unwrap();
        assert_eq!(
            code(node.ask(by("a"), say(&nowhere, "n")).await),
            ErrorCode::NotFound
        );
    }
    eventually(|| async { node.rooms.live() == 0 }).await;
}

#[actix_rt::test]
async fn slow_mode_outlives_the_room_s_actor() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let slow = Command::RoomUpdate(RoomUpdate {
        room: room.clone(),
        name: None,
        topic: None,
        slow_mode_ms: Some(60_000),
    });
    view(node.ask(by("a"), slow).await);
    appended(node.ask(by("b"), say(&room, "n1")).await);
    let restarted = TestNode::with(Setup {
        history: node.history.clone(),
        people: node.people.clone(),
        ..Setup::default()
    })
    .await;
    restarted.pass(20_000);
    let refused = refused(restarted.ask(by("b"), say(&room, "n2")).await);
    assert_eq!(refused.code, ErrorCode::SlowMode);
    assert_eq!(refused.retry_after_ms, Some(40_000));
}

/// The process ends within the delay, and nobody ever asks for the lobby again.
#[actix_rt::test]
async fn a_lobby_whose_delay_was_cut_short_goes_after_the_next_start() {
    let setup = Setup::default();
    let history = setup.history.clone();
    let node = TestNode::with(setup).await;
    let lobby = node.room(RoomKind::Lobby, &[]).await.id;
    let inhabited = node.room(RoomKind::Lobby, &[]).await.id;
    assert!(
        node.ask(by("a"), Command::RoomLeave(of_room(&lobby)))
            .await
            .is_ok()
    );
    drop(node);
    let _next = TestNode::with(Setup {
        history: history.clone(),
        settings: RoomSettings {
            lobby_linger: Duration::from_millis(30),
            ..RoomSettings::default()
        },
        ..Setup::default()
    })
    .await;
    eventually(|| async { history.room(&lobby).await.unwrap().is_none() }).await;
    assert!(history.room(&inhabited).await.unwrap().is_some());
}

#[actix_rt::test]
async fn a_lobby_goes_some_time_after_its_last_member() {
    let settings = RoomSettings {
        lobby_linger: Duration::from_millis(30),
        ..RoomSettings::default()
    };
    let node = TestNode::with(Setup {
        settings,
        ..Setup::default()
    })
    .await;
    let lobby = node.room(RoomKind::Lobby, &[]).await.id;
    let leave = || Command::RoomLeave(of_room(&lobby));
    let join = || Command::RoomJoin(of_room(&lobby));
    appended(node.ask(by("a"), leave()).await);
    view(node.ask(by("b"), join()).await);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(
        node.history.room(&lobby).await.unwrap().is_some(),
        "somebody came in time"
    );
    appended(node.ask(by("b"), leave()).await);
    eventually(|| async { node.history.room(&lobby).await.unwrap().is_none() }).await;
    assert_eq!(code(node.ask(by("b"), join()).await), ErrorCode::NotFound);
    let group = node.room(RoomKind::Group, &[]).await.id;
    appended(node.ask(by("a"), Command::RoomLeave(of_room(&group))).await);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(
        node.history.room(&group).await.unwrap().is_some(),
        "only lobbies go"
    );
}

/// Names, friends of somebody who is not here, what others missed: a room waits for none of it.
#[actix_rt::test]
async fn a_store_that_hangs_keeps_nobody_from_speaking() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let _a = node.listen("a").await;
    let with_b = view(node.ask(by("a"), open_dm("b")).await).id;
    node.people.hang();
    let members = Command::RoomMembers(shared::protocol::command::RoomMembers {
        room: room.clone(),
        after: None,
        limit: None,
    });
    let waits = [
        (by("a"), members),
        (by("b"), Command::RoomInvite(of_member(&room, "a2"))),
    ];
    for (caller, command) in waits {
        let command = RoomCommand {
            caller,
            command,
            reply: ReplyTo::Nobody,
        };
        assert!(node.rooms.send(command).is_ok());
    }
    appended(node.ask(by("b"), say(&room, "n1")).await);
    // Who is here talks on with what is known.
    appended(node.ask(by("a"), say(&with_b, "n1")).await);
    eventually(|| async { node.rooms.owed() == 2 }).await;
}
