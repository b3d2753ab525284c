//! What a node can find that nobody told it of.

use chat_node::history::{Missed, Stirred};
use shared::{
    id::{Seq, Timestamp},
    protocol::room::{MemberAction, RoomKind},
};

use super::{HistoryFactory, Log, change, room, said, user};

pub(crate) async fn heads_are_told_of_the_rooms_there_are(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut one = Log::group(&history, "head-1", &["head-a", "head-b"]).await;
    let two = Log::group(&history, "head-2", &["head-a"]).await;
    one.say("head-a", "x").await;
    let asked = [&one.id, &two.id, &room("head-3")].map(Clone::clone);
    let mut heads = history.heads(&asked).await.unwrap();
    heads.sort();
    assert_eq!(heads, [(one.id, Seq::new(4)), (two.id, Seq::new(2))]);
    assert_eq!(history.heads(&[]).await.unwrap(), []);
}

pub(crate) async fn what_happened_lately_is_found(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b, c) = ("late-a", "late-b", "late-c");
    let mut talk = Log::of(&history, "late-dm", RoomKind::Dm, &[a, b]).await;
    let mut quiet = Log::of(&history, "late-quiet", RoomKind::Dm, &[a, c]).await;
    let mut group = Log::group(&history, "late-group", &[a, b]).await;
    talk.say(a, "before").await;
    // Each room of the suite has a clock that ticks once an entry, from 1,000.
    let since = Timestamp::from_millis(2_000);
    quiet.say(a, "long ago").await;
    group.say(a, "long ago").await;
    assert_eq!(
        history.since(&[user(a), user(b)], since).await,
        Ok(Missed::default())
    );

    talk.sleep_until(since);
    group.sleep_until(since);
    let before = talk.head;
    talk.put(b, vec![said("one"), said("two")]).await;
    group.say(a, "here nobody came in").await;
    let seq = group.one(a, change(MemberAction::Join, c, None)).await;
    let stirred = Stirred {
        room: talk.id.clone(),
        before,
        head: talk.head,
    };
    let missed = history.since(&[user(a), user(b)], since).await.unwrap();
    assert_eq!(missed.direct, std::slice::from_ref(&stirred), "once");
    assert_eq!(missed.joined, []);
    let missed = history.since(&[user(c), user("late-x")], since).await;
    let joined = (user(c), group.id.clone(), seq);
    let expected = Missed {
        direct: Vec::new(),
        joined: vec![joined],
    };
    assert_eq!(missed, Ok(expected));
    group.one(c, change(MemberAction::Leave, c, None)).await;
    let missed = history.since(&[user(c)], since).await.unwrap();
    assert_eq!(missed, Missed::default(), "who has left has missed nothing");

    // From the first entry on.
    let young = Log::of(&history, "late-young", RoomKind::Dm, &[b, c]).await;
    let all = history
        .since(&[user(c)], Timestamp::from_millis(1_001))
        .await
        .unwrap();
    let young = Stirred {
        room: young.id,
        before: Seq::ZERO,
        head: young.head,
    };
    assert!(all.direct.contains(&young));
}
