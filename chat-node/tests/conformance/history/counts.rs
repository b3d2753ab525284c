//! Unread and mention counts, and read markers.

use shared::{
    id::{RoomId, Seq},
    protocol::room::{EntryBody, MemberAction, RoomKind, RoomView},
};

use super::{HistoryFactory, Log, change, delete, edit, mentioning, react, room, said, user};

async fn view(log: &Log, who: &str) -> RoomView {
    let views = log.history.views(&user(who), Some(&log.id)).await.unwrap();
    views.into_iter().next().unwrap()
}

async fn counts(log: &Log, who: &str) -> (u64, u64) {
    let view = view(log, who).await;
    (view.unread, view.mentions)
}

pub(crate) async fn own_and_deleted_messages_are_not_unread(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("count-own-a", "count-own-b");
    let dm = RoomId::direct(&user(a), &user(b));
    let mut log = Log::of(&history, dm.as_str(), RoomKind::Dm, &[a, b]).await;
    let first = log.say(a, "1").await;
    let second = log.say(a, "2").await;
    log.say(b, "3").await;
    log.one(a, edit(second, "2nd")).await;
    log.one(b, react(second, "👍", true)).await;
    assert_eq!(counts(&log, a).await, (1, 0));
    assert_eq!(
        counts(&log, b).await,
        (2, 0),
        "edits and reactions do not count"
    );
    log.one(a, delete(first)).await;
    assert_eq!(counts(&log, b).await, (1, 0));
    history.mark_read(&log.id, &user(b), second).await.unwrap();
    assert_eq!(counts(&log, b).await, (0, 0));
}

pub(crate) async fn mentions_follow_what_a_message_says(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b, c) = ("count-at-a", "count-at-b", "count-at-c");
    let mut log = Log::group(&history, "count-at", &[a, b, c]).await;
    let seq = log.one(a, mentioning("@b @a", &[b, b, a])).await;
    let other = log.one(a, mentioning("@b", &[b])).await;
    assert_eq!(counts(&log, b).await, (2, 2));
    assert_eq!(
        counts(&log, a).await,
        (0, 0),
        "one's own mention of oneself"
    );
    let now_c = |target| EntryBody::Edit {
        target,
        text: "@c".into(),
        mentions: vec![user(c)],
    };
    log.one(a, now_c(seq)).await;
    assert_eq!((counts(&log, b).await.1, counts(&log, c).await.1), (1, 1));
    log.one(a, edit(seq, "nobody")).await;
    assert_eq!((counts(&log, b).await.1, counts(&log, c).await.1), (1, 0));
    log.one(a, delete(other)).await;
    assert_eq!(counts(&log, b).await, (1, 0));
    let last = log.one(c, mentioning("@b", &[b])).await;
    history.mark_read(&log.id, &user(b), last).await.unwrap();
    assert_eq!(counts(&log, b).await, (0, 0));
}

pub(crate) async fn channels_count_nothing(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("count-ch-a", "count-ch-b");
    let mut log = Log::of(&history, "count-ch", RoomKind::Channel, &[a, b]).await;
    log.one(a, mentioning("@b", &[b])).await;
    assert_eq!(counts(&log, b).await, (0, 0));
    assert!(view(&log, b).await.last.is_some());
}

pub(crate) async fn a_read_marker_only_goes_forward_and_not_past_the_head(
    factory: &impl HistoryFactory,
) {
    let history = factory.open().await;
    let (a, b) = ("count-read-a", "count-read-b");
    let mut log = Log::group(&history, "count-read", &[a, b]).await;
    log.put(a, vec![said("1"), said("2"), said("3")]).await;
    let mark = async |seq| {
        history
            .mark_read(&log.id, &user(b), Seq::new(seq))
            .await
            .unwrap()
    };
    assert_eq!(mark(5).await, Seq::new(5));
    assert_eq!(mark(4).await, Seq::new(5));
    assert_eq!(mark(5).await, Seq::new(5));
    assert_eq!(view(&log, b).await.read, Seq::new(5));
    assert_eq!(mark(1_000_000).await, log.head);
    assert_eq!(view(&log, b).await.unread, 0);
    let record = history.room(&log.id).await.unwrap().unwrap();
    let member = record.members.iter().find(|m| m.user == user(b)).unwrap();
    assert_eq!(member.read, log.head);
    let stranger = history
        .mark_read(&log.id, &user("count-read-x"), log.head)
        .await;
    assert_eq!(stranger, Ok(Seq::ZERO));
    let nowhere = history
        .mark_read(&room("count-no"), &user(b), log.head)
        .await;
    assert_eq!(nowhere, Ok(Seq::ZERO));
}

pub(crate) async fn a_marker_begins_where_its_member_came_in(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("count-in-a", "count-in-b");
    let mut log = Log::group(&history, "count-in", &[a]).await;
    log.say(a, "long ago").await;
    let came = log.one(b, change(MemberAction::Join, b, None)).await;
    assert_eq!(
        (view(&log, b).await.read, counts(&log, b).await),
        (came, (0, 0))
    );
    log.say(a, "now").await;
    assert_eq!(counts(&log, b).await, (1, 0));
    log.one(b, change(MemberAction::Join, b, None)).await;
    assert_eq!(counts(&log, b).await, (1, 0), "already in: nothing moves");
    log.one(b, change(MemberAction::Leave, b, None)).await;
    let back = log.one(b, change(MemberAction::Join, b, None)).await;
    assert_eq!(
        (view(&log, b).await.read, counts(&log, b).await),
        (back, (0, 0))
    );
}

pub(crate) async fn the_newest_message_is_shown(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "count-last-a";
    let mut log = Log::group(&history, "count-last", &[a]).await;
    assert_eq!(view(&log, a).await.last, None);
    let first = log.say(a, "1").await;
    let second = log.say(a, "2").await;
    log.one(a, edit(first, "1st")).await;
    log.one(a, react(second, "👍", true)).await;
    assert_eq!(view(&log, a).await.last.unwrap(), log.message(second).await);
    log.one(a, delete(second)).await;
    let last = view(&log, a).await.last.unwrap();
    assert_eq!((last.seq, last.deleted), (second, true), "a tombstone, too");
}
