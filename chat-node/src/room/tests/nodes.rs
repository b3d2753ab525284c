//! Two nodes that share one history and one bus.

use std::time::Duration;

use super::{
    node::{Setup, TestNode, eventually},
    *,
};
use crate::{
    bridge::BusMessage,
    bus::{BusEvent, BusReceiver, LocalBus},
    room::{RoomSettings, Rooms},
};

/// Hands what the bus brings to the rooms, but loses every `lose`th message (0: none).
async fn pump(mut bus: BusReceiver, own: shared::id::NodeId, rooms: Rooms, lose: usize) {
    let mut n = 0;
    while let Some(event) = bus.recv().await {
        match event {
            BusEvent::Message(_, envelope) if envelope.origin != own => {
                n += 1;
                if lose > 0 && n % lose == 0 {
                    continue;
                }
                if let Ok(BusMessage::Room(news)) = BusMessage::decode(&envelope.payload) {
                    rooms.hear(news);
                }
            }
            BusEvent::Restored => rooms.restored(),
            _ => {}
        }
    }
}

async fn two(lose: usize) -> [TestNode; 2] {
    two_that_look(Duration::from_secs(1), lose).await
}

/// As [`two`], that look every so often for what they were not told.
pub(super) async fn two_that_look(every: Duration, lose: usize) -> [TestNode; 2] {
    let bus = LocalBus::new();
    let settings = RoomSettings {
        room_reconcile: every,
        ..RoomSettings::default()
    };
    let first = Setup {
        bus: bus.clone(),
        settings: settings.clone(),
        ..Setup::default()
    };
    let (history, people) = (first.history.clone(), first.people.clone());
    let mut nodes = [
        TestNode::with(first).await,
        TestNode::with(Setup {
            history,
            people,
            bus,
            settings,
            name: "n2",
        })
        .await,
    ];
    for node in &mut nodes {
        let bus = node.bus.take().unwrap();
        actix_rt::spawn(pump(bus, node.id.clone(), node.rooms.clone(), lose));
    }
    nodes
}

async fn burst(node: &TestNode, who: &str, room: &RoomId) -> Vec<u64> {
    let nonces: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
    let sends = nonces
        .iter()
        .map(|nonce| node.ask(by(who), say(room, nonce)));
    let replies = futures_util::future::join_all(sends).await;
    replies
        .into_iter()
        .map(|reply| appended(reply).seq.get())
        .collect()
}

/// 400 sends, half on each node at once: no fork, no loss, and everybody hears all in order.
async fn race(lose: usize) {
    let [one, two] = two(lose).await;
    let room = one.room(RoomKind::Group, &["b", "c"]).await.id;
    let (mut b, mut c) = (one.listen("b").await, two.listen("c").await);
    let (mut seqs, others) = tokio::join!(burst(&one, "b", &room), burst(&two, "c", &room));
    seqs.extend(others);
    seqs.sort_unstable();
    let all: Vec<u64> = (5..405).collect();
    assert_eq!(seqs, all, "dense, and each once");
    // A quiet room leaves no hole behind its last message: the nodes are told to look.
    for node in [&one, &two] {
        node.rooms.restored();
    }
    for ear in [&mut b, &mut c] {
        assert_eq!(ear.seqs_until(404).await, all);
    }
}

#[actix_rt::test]
async fn two_nodes_write_one_log_and_both_deliver_all_of_it() {
    race(0).await;
}

#[actix_rt::test]
async fn a_bus_that_loses_messages_loses_no_message() {
    race(3).await;
}

#[actix_rt::test]
async fn who_is_invited_on_one_node_hears_it_on_another() {
    let [one, two] = two(0).await;
    let room = one.room(RoomKind::Group, &[]).await.id;
    let mut b = two.listen("b").await;
    view(
        one.ask(by("a"), Command::RoomInvite(of_member(&room, "b")))
            .await,
    );
    assert_eq!(b.event("room.added").await["room"]["id"], room.as_str());
    // Subscribing to the room's topic takes a moment; what falls into it is repaired.
    for n in 0..50 {
        appended(one.ask(by("a"), say(&room, &format!("n{n}"))).await);
        actix_rt::task::yield_now().await;
    }
    two.rooms.restored();
    let heard = b.seqs_until(53).await;
    assert!(
        heard.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{heard:?}"
    );
    view(
        one.ask(by("a"), Command::RoomKick(of_member(&room, "b")))
            .await,
    );
    b.event("room.removed").await;
    assert!(!two.relays.listeners(&room));
}

#[actix_rt::test]
async fn direct_messages_typing_and_read_markers_cross_nodes() {
    let [one, two] = two(0).await;
    let (mut a, mut b) = (one.listen("a").await, two.listen("b").await);
    let room = view(one.ask(by("a"), open_dm("b")).await).id;
    assert_eq!(b.event("room.added").await["room"]["id"], room.as_str());
    assert!(one.ask(by("a"), typing(&room, true)).await.is_ok());
    assert_eq!(b.event("typing").await["user"], "a");
    appended(one.ask(by("a"), say(&room, "n1")).await);
    assert_eq!(b.event("message.new").await["seq"], 4);
    appended(two.ask(by("b"), say(&room, "n2")).await);
    assert_eq!(a.event("message.new").await["seq"], 4);
    assert_eq!(a.event("message.new").await["seq"], 5);
    assert!(
        two.ask(by("b"), Command::Read(of_message(&room, 5)))
            .await
            .is_ok()
    );
    assert_eq!(a.event("read").await["user"], "b");
}

/// Both ends, on both nodes, at once: one room.
#[actix_rt::test]
async fn both_nodes_open_one_direct_message_room() {
    let [one, two] = two(0).await;
    for other in ["b", "c", "d"] {
        let (from_a, from_other) = tokio::join!(
            one.ask(by("a"), open_dm(other)),
            two.ask(by(other), open_dm("a"))
        );
        assert_eq!(view(from_a).id, view(from_other).id);
        let room = RoomId::direct(&user("a"), &user(other));
        let log = one.history.log(&room, Seq::ZERO, 9).await.unwrap();
        assert_eq!(log.len(), 3);
    }
}

/// Nobody tells the other node anything, and nothing follows that would show a hole.
#[actix_rt::test]
async fn what_nobody_told_is_found_in_history() {
    let [one, two] = two(1).await;
    let group = one.room(RoomKind::Group, &["b"]).await.id;
    let mut b = two.listen("b").await;
    let room = view(one.ask(by("a"), open_dm("b")).await).id;
    appended(one.ask(by("a"), say(&room, "n1")).await);
    appended(one.ask(by("a"), say(&group, "n1")).await);
    // By itself, within `room_reconcile`.
    let mut heard = [b.event("message.new").await, b.event("message.new").await];
    heard.sort_by_key(|event| event["room"].to_string());
    assert_eq!(heard[0]["room"], room.as_str());
    assert_eq!(heard[1]["room"], group.as_str());
    assert_eq!((&heard[0]["seq"], &heard[1]["seq"]), (&4.into(), &4.into()));
    // Once is enough.
    for n in 5..8 {
        appended(one.ask(by("a"), say(&room, &format!("n{n}"))).await);
        assert_eq!(b.event("message.new").await["seq"], n);
    }
}

/// The first that this node does with a room somebody else wrote to untold.
#[actix_rt::test]
async fn who_answers_a_message_nobody_told_of_hears_it_first() {
    let [one, two] = two(1).await;
    let room = view(one.ask(by("a"), open_dm("b")).await).id;
    let mut b = two.listen("b").await;
    appended(one.ask(by("a"), say(&room, "n1")).await);
    appended(two.ask(by("b"), say(&room, "n2")).await);
    assert!(b.seqs_until(5).await.ends_with(&[4, 5]));
}

/// Whoever was on a node that died before it told the others knows more than those: to them the log
/// is the one they know, and not a shorter one.
#[actix_rt::test]
async fn who_knows_more_than_the_node_is_not_told_to_begin_anew() {
    let [one, two] = two_that_look(Duration::from_hours(1), 1).await;
    let room = one.room(RoomKind::Group, &["b", "c"]).await;
    let (room, epoch) = (room.id, room.epoch);
    let _c = two.listen("c").await;
    assert!(two.rooms.authorize(&by("c"), &room).await.is_ok());
    for n in 5..=7 {
        let said = appended(one.ask(by("a"), say(&room, &format!("n{n}"))).await);
        assert_eq!(said.seq.get(), n);
    }
    let sync = |after| {
        Command::RoomSync(shared::protocol::command::RoomSync {
            room: room.clone(),
            epoch: Some(epoch.clone()),
            after: Seq::new(after),
            limit: None,
        })
    };
    let Ok(ReplyBody::Synced(known)) = two.ask(by("b"), sync(6)).await else {
        panic!("a page");
    };
    let seqs: Vec<u64> = known.entries.iter().map(|e| e.seq.get()).collect();
    assert_eq!((known.reset, known.head.get(), seqs), (false, 7, vec![7]));
    let Ok(ReplyBody::Synced(beyond)) = two.ask(by("b"), sync(8)).await else {
        panic!("a page");
    };
    assert!(beyond.reset, "nobody has said that");
}

#[actix_rt::test]
async fn an_invitation_that_was_lost_is_made_good() {
    let [one, two] = two(1).await;
    let mut b = two.listen("b").await;
    let room = one.room(RoomKind::Group, &["b"]).await.id;
    two.rooms.restored();
    assert_eq!(b.event("room.added").await["room"]["id"], room.as_str());
    appended(one.ask(by("a"), say(&room, "n1")).await);
    assert_eq!(b.event("message.new").await["seq"], 4);
}

/// A node on which nobody hears the room is not told who was put out.
#[actix_rt::test]
async fn who_was_put_out_elsewhere_sees_nothing_more() {
    let [one, two] = two(0).await;
    let room = one.room(RoomKind::Group, &["b"]).await.id;
    assert!(two.rooms.authorize(&by("b"), &room).await.is_ok());
    let kick = Command::RoomKick(of_member(&room, "b"));
    view(one.ask(by("a"), kick).await);
    eventually(|| async { two.rooms.authorize(&by("b"), &room).await.is_err() }).await;
}

/// The store moved on while somebody looked at a lobby that seemed deserted.
#[actix_rt::test]
async fn a_lobby_is_not_removed_under_who_came_in_elsewhere() {
    let [one, two] = two(1).await;
    let lobby = one.room(RoomKind::Lobby, &[]).await.id;
    view(two.ask(by("b"), Command::RoomJoin(of_room(&lobby))).await);
    assert!(
        one.ask(by("a"), Command::RoomLeave(of_room(&lobby)))
            .await
            .is_ok()
    );
    let head = Seq::new(one.head(&lobby).await);
    let stale = Seq::new(head.get() - 1);
    assert_eq!(one.history.remove(&lobby, stale).await, Ok(false));
    assert_eq!(one.head(&lobby).await, head.get());
}
