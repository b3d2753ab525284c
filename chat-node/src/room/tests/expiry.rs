//! What has expired, as rooms and those who are in them meet it.

use std::time::Duration;

use shared::{
    id::Timestamp,
    protocol::{
        command::{MessageEdit, React, RoomSync},
        reply::Synced,
    },
};

use super::{
    node::{Setup, TestNode, eventually},
    nodes::two_that_look,
    *,
};
use crate::{
    history::retention::{Keep, RetentionSettings},
    room::RoomSettings,
};

const HOUR: i64 = 3_600_000;

async fn expire(node: &TestNode, room: &RoomId, before: Timestamp) {
    while node.history.expire(room, before).await.unwrap().more {}
}

async fn sync(node: &TestNode, who: &str, room: &RoomId, after: u64) -> Synced {
    let sync = Command::RoomSync(RoomSync {
        room: room.clone(),
        epoch: None,
        after: Seq::new(after),
        limit: Some(3),
    });
    match node.ask(by(who), sync).await {
        Ok(ReplyBody::Synced(synced)) => synced,
        other => panic!("not synced: {other:?}"),
    }
}

fn seqs(synced: &Synced) -> Vec<u64> {
    synced.entries.iter().map(|entry| entry.seq.get()).collect()
}

/// The room remembers the message; that does not make it stand.
#[actix_rt::test]
async fn nothing_is_done_to_a_message_that_has_expired() {
    let kept = RetentionSettings {
        history_keep_group: Keep::of(Duration::from_hours(1)),
        ..RetentionSettings::FOREVER
    };
    let node = TestNode::with(Setup {
        settings: RoomSettings {
            retention: kept,
            ..RoomSettings::default()
        },
        ..Setup::default()
    })
    .await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    let old = appended(node.ask(by("a"), say(&room, "n1")).await).seq;
    node.pass(HOUR + 1);
    let react = |emoji: &str, seq| {
        Command::ReactionAdd(React {
            room: room.clone(),
            seq,
            emoji: emoji.into(),
        })
    };
    // No sweep has come by yet.
    appended(node.ask(by("b"), react("a", old)).await);
    let new = appended(node.ask(by("a"), say(&room, "n2")).await).seq;
    expire(&node, &room, node.now().plus_millis(-HOUR)).await;
    let head = node.head(&room).await;

    let reply = Command::MessageSend(MessageSend {
        reply_to: Some(old),
        ..match say(&room, "n3") {
            Command::MessageSend(send) => send,
            other => panic!("{other:?}"),
        }
    });
    let edit = Command::MessageEdit(MessageEdit {
        room: room.clone(),
        seq: old,
        text: "other".into(),
        mentions: Vec::new(),
    });
    let delete = Command::MessageDelete(of_message(&room, old.get()));
    for command in [reply, edit, delete, react("b", old)] {
        assert_eq!(code(node.ask(by("a"), command).await), ErrorCode::NotFound);
    }
    assert_eq!(node.head(&room).await, head, "nothing was appended");
    appended(node.ask(by("a"), react("b", new)).await);
    // Its nonce is free again: it is another message.
    let again = appended(node.ask(by("a"), say(&room, "n1")).await);
    assert_eq!((again.seq.get(), again.dup), (head + 2, false));
}

#[actix_rt::test]
async fn a_sync_says_that_what_lies_between_has_expired() {
    let node = TestNode::start().await;
    let room = node.room(RoomKind::Group, &["b"]).await.id;
    appended(node.ask(by("a"), say(&room, "n1")).await);
    appended(node.ask(by("a"), say(&room, "n2")).await);
    node.pass(1);
    let first = appended(node.ask(by("a"), say(&room, "n3")).await).seq;
    appended(node.ask(by("a"), say(&room, "n4")).await);
    assert_eq!(sync(&node, "b", &room, 0).await.first, None);
    expire(&node, &room, node.now()).await;

    // Who holds something of it holds nothing that is kept.
    for after in [1, first.get() - 2] {
        let synced = sync(&node, "b", &room, after).await;
        assert_eq!((synced.reset, synced.first), (true, Some(first)));
        assert_eq!((synced.entries, synced.more), (Vec::new(), false));
    }
    // Who holds nothing, or all that has expired, goes on without a gap.
    let synced = sync(&node, "b", &room, 0).await;
    assert_eq!((synced.reset, synced.first), (false, Some(first)));
    assert_eq!(seqs(&synced), [6, 7]);
    for after in [first.get() - 1, first.get(), first.get() + 1] {
        let synced = sync(&node, "b", &room, after).await;
        assert_eq!((synced.reset, synced.first), (false, None));
        assert_eq!(seqs(&synced), (after + 1..8).collect::<Vec<_>>());
    }
    let read = node.ask(by("b"), Command::Read(of_message(&room, 2))).await;
    assert!(
        matches!(read, Ok(ReplyBody::Read(at)) if at.seq.get() == 3),
        "{read:?}"
    );
}

/// A node that was not told of entries that have expired by the time it looks goes on behind them: it
/// neither takes them for lost nor looks for ever; those whose coming or going was among them hear of it.
#[actix_rt::test]
async fn what_a_node_missed_and_has_expired_is_no_hole() {
    // Nothing of what one node tells arrives.
    let [one, two] = two_that_look(Duration::from_hours(1), 1).await;
    let room = one.room(RoomKind::Group, &["b", "c"]).await.id;
    let (mut b, mut c, mut d) = (
        two.listen("b").await,
        two.listen("c").await,
        two.listen("d").await,
    );
    assert_eq!(sync(&two, "b", &room, 0).await.head.get(), 4);
    for n in 0..5 {
        appended(one.ask(by("a"), say(&room, &format!("n{n}"))).await);
    }
    let kick = Command::RoomKick(of_member(&room, "c"));
    view(one.ask(by("a"), kick).await);
    let invite = Command::RoomInvite(of_member(&room, "d"));
    view(one.ask(by("a"), invite).await);
    one.pass(HOUR);
    let kept = appended(one.ask(by("a"), say(&room, "late")).await)
        .seq
        .get();
    appended(one.ask(by("a"), say(&room, "later")).await);
    expire(&one, &room, one.now()).await;
    two.rooms.restored();

    assert_eq!(b.seqs_until(kept + 1).await, [kept, kept + 1]);
    let synced = sync(&two, "b", &room, 4).await;
    assert_eq!((synced.reset, synced.first), (true, Some(Seq::new(kept))));
    assert_eq!(c.event("room.removed").await["room"], room.as_str());
    assert_eq!(d.event("room.added").await["room"]["id"], room.as_str());
    assert_eq!(d.seqs_until(kept + 1).await, [kept, kept + 1]);
    // The node is where the log is, and goes on from there.
    let own = appended(two.ask(by("d"), say(&room, "own")).await)
        .seq
        .get();
    assert_eq!(own, kept + 2);
    assert_eq!(b.seqs_until(own).await, [own]);
    appended(one.ask(by("a"), say(&room, "last")).await);
    two.rooms.restored();
    assert_eq!(b.seqs_until(own + 1).await, [own + 1]);
    let stranger = two.ask(by("c"), say(&room, "x")).await;
    assert_eq!(code(stranger), ErrorCode::NotFound);
}

/// All but the newest has expired, and a node begins with the room.
#[actix_rt::test]
async fn a_room_of_which_only_the_head_is_kept_starts_and_goes_on() {
    let [one, two] = two_that_look(Duration::from_hours(1), 0).await;
    let room = view(one.ask(by("a"), open_dm("b")).await).id;
    for n in 0..9 {
        appended(one.ask(by("a"), say(&room, &format!("n{n}"))).await);
    }
    expire(&one, &room, one.now().plus_millis(HOUR)).await;
    assert_eq!(one.history.first(&room).await, Ok(Seq::new(12)));
    let mut b = two.listen("b").await;
    let said = appended(two.ask(by("b"), say(&room, "mine")).await)
        .seq
        .get();
    assert_eq!(said, 13);
    assert!(b.seqs_until(13).await.ends_with(&[13]));
    eventually(|| async { sync(&one, "a", &room, 12).await.head.get() == 13 }).await;
    assert_eq!(seqs(&sync(&one, "a", &room, 12).await), [13]);
    let seen = view(one.ask(by("a"), Command::RoomGet(of_room(&room))).await);
    assert_eq!((seen.first, seen.unread), (Some(Seq::new(12)), 1));
}
