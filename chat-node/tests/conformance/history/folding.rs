//! What entries make of messages and settings.

use shared::{
    id::{Seq, Timestamp},
    protocol::room::{EntryBody, Reaction, RoomChange},
};

use super::{HistoryFactory, Log, delete, edit, mentioning, message, react, room, said, user};

pub(crate) async fn an_edit_changes_text_and_mentions(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "fold-edit", &["fold-edit-a", "fold-edit-b"]).await;
    let mut body = message("teh");
    body.data = Some(serde_json::json!({"k": 1}));
    body.reply_to = Some(Seq::new(2));
    let seq = log
        .one("fold-edit-a", EntryBody::Message(body.clone()))
        .await;
    log.one("fold-edit-a", edit(seq, "the")).await;
    let last = EntryBody::Edit {
        target: seq,
        text: "THE".into(),
        mentions: vec![user("fold-edit-b")],
    };
    let edited = log.put("fold-edit-a", vec![last]).await[0];
    let read = log.message(seq).await;
    assert_eq!(read.text, "THE");
    assert_eq!(read.edited_ts, Some(edited.ts));
    assert_eq!(read.mentions, [user("fold-edit-b")]);
    assert_eq!((read.data, read.reply_to), (body.data, body.reply_to));
    assert_eq!((read.nonce, read.user), (body.nonce, user("fold-edit-a")));
    assert!(read.ts < edited.ts && !read.deleted);
}

pub(crate) async fn a_deleted_message_is_a_tombstone(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "fold-del", &["fold-del-a", "fold-del-b"]).await;
    let mut body = message("secret");
    body.mentions = vec![user("fold-del-b")];
    body.data = Some(serde_json::json!("d"));
    let seq = log
        .one("fold-del-a", EntryBody::Message(body.clone()))
        .await;
    log.one("fold-del-b", react(seq, "👍", true)).await;
    log.one("fold-del-a", delete(seq)).await;
    log.one("fold-del-a", delete(seq)).await;
    let read = log.message(seq).await;
    assert!(read.deleted);
    assert_eq!((read.text.as_str(), read.data), ("", None));
    assert_eq!((read.mentions, read.reactions), (vec![], vec![]));
    assert_eq!((read.user, read.nonce), (user("fold-del-a"), body.nonce));
    assert_eq!(log.head, Seq::new(7), "each delete is an entry");
}

pub(crate) async fn deleting_takes_the_words_out_of_the_log(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "fold-blank", &["fold-blank-a"]).await;
    let seq = log
        .one("fold-blank-a", mentioning("secret", &["fold-blank-b"]))
        .await;
    let other = log.say("fold-blank-a", "kept").await;
    log.one("fold-blank-a", edit(seq, "secret too")).await;
    log.one("fold-blank-a", edit(other, "kept too")).await;
    log.one("fold-blank-a", delete(seq)).await;
    let entries = history.log(&log.id, Seq::new(2), 99).await.unwrap();
    assert_eq!(entries.len(), 5, "every entry keeps its position");
    let text = format!("{entries:?}");
    assert!(
        !text.contains("secret") && !text.contains("fold-blank-b"),
        "{text}"
    );
    assert!(text.contains("kept") && text.contains("kept too"));
}

pub(crate) async fn what_cannot_apply_changes_nothing(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "fold-not", &["fold-not-a"]).await;
    let dead = log.say("fold-not-a", "x").await;
    let alive = log.say("fold-not-a", "y").await;
    log.one("fold-not-a", delete(dead)).await;
    let tombstone = log.message(dead).await;
    let before = log.message(alive).await;
    for target in [dead, Seq::new(1), Seq::new(2), Seq::new(1_000), Seq::ZERO] {
        log.one("fold-not-a", edit(target, "z")).await;
        log.one("fold-not-a", react(target, "👍", true)).await;
        log.one("fold-not-a", react(target, "👍", false)).await;
        log.one("fold-not-a", delete(target)).await;
    }
    assert_eq!(log.message(dead).await, tombstone);
    assert_eq!(log.message(alive).await, before);
    assert_eq!(log.head.get(), 2 + 3 + 20);
}

pub(crate) async fn reactions_are_counted_once_each(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("fold-react-a", "fold-react-b");
    let mut log = Log::group(&history, "fold-react", &[a, b]).await;
    let seq = log.say(a, "x").await;
    for (by, on) in [
        (a, true),
        (a, true),
        (b, true),
        (b, false),
        (b, false),
        (b, true),
    ] {
        log.one(by, react(seq, "👍", on)).await;
    }
    log.one(b, react(seq, "no such", false)).await;
    let reactions = log.message(seq).await.reactions;
    assert_eq!(
        reactions,
        [Reaction {
            emoji: "👍".into(),
            count: 2,
            users: vec![user(a), user(b)],
        }]
    );
    for (who, emoji, stands) in [
        (a, "👍", true),
        (a, "🎉", false),
        ("fold-react-c", "👍", false),
    ] {
        let found = history.reacted(&log.id, seq, &user(who), emoji).await;
        assert_eq!(found.unwrap(), stands, "{who} {emoji}");
    }
    log.put(a, vec![react(seq, "👍", false)]).await;
    log.put(b, vec![react(seq, "👍", false)]).await;
    assert_eq!(log.message(seq).await.reactions, []);
    assert!(
        !history
            .reacted(&room("fold-no"), seq, &user(a), "👍")
            .await
            .unwrap()
    );
}

pub(crate) async fn an_emoji_keeps_its_place_while_it_is_held(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("fold-place-a", "fold-place-b");
    let mut log = Log::group(&history, "fold-place", &[a, b]).await;
    let seq = log.say(a, "x").await;
    log.one(a, react(seq, "1", true)).await;
    log.one(a, react(seq, "2", true)).await;
    log.one(b, react(seq, "1", true)).await;
    log.one(a, react(seq, "1", false)).await;
    let order = async |log: &Log| {
        let reactions = log.message(seq).await.reactions;
        reactions.into_iter().map(|r| r.emoji).collect::<Vec<_>>()
    };
    assert_eq!(order(&log).await, ["1", "2"], "b still holds it");
    log.one(b, react(seq, "1", false)).await;
    log.one(a, react(seq, "1", true)).await;
    assert_eq!(order(&log).await, ["2", "1"], "it went and came back");
}

pub(crate) async fn only_the_first_hundred_who_reacted_are_named(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "fold-many", &["fold-many-a"]).await;
    let seq = log.say("fold-many-a", "x").await;
    for n in 0..130 {
        log.one(&format!("fold-many-{n}"), react(seq, "👍", true))
            .await;
    }
    let reactions = log.message(seq).await.reactions;
    assert_eq!((reactions[0].count, reactions[0].users.len()), (130, 100));
    assert_eq!(reactions[0].users[99], user("fold-many-99"));
}

pub(crate) async fn settings_stay_unless_they_are_named(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "fold-set", &["fold-set-a"]).await;
    let change = |name: Option<&str>, topic: Option<&str>, slow_mode_ms| {
        EntryBody::Room(RoomChange {
            unreadable: false,
            created: None,
            name: name.map(str::to_owned),
            topic: topic.map(str::to_owned),
            slow_mode_ms,
        })
    };
    log.one("fold-set-a", change(None, Some("topic"), Some(3_000)))
        .await;
    log.one("fold-set-a", change(Some("name"), None, None))
        .await;
    log.one("fold-set-a", said("unrelated")).await;
    let record = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!(record.name.as_deref(), Some("name"));
    assert_eq!(record.topic.as_deref(), Some("topic"));
    assert_eq!(record.slow_mode_ms, 3_000);
    log.one("fold-set-a", change(None, None, Some(0))).await;
    let record = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!((record.slow_mode_ms, record.head), (0, log.head));
    assert!(log.message(Seq::new(5)).await.ts > Timestamp::from_millis(1_000));
}

/// What is derived may be written while somebody reads: whoever asks after an entry stands sees it.
pub(crate) async fn whoever_reads_after_an_append_sees_it(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "fold-seen-a";
    let mut log = Log::group(&history, "fold-seen", &[a]).await;
    for n in 1..=100 {
        let topic = Some(format!("topic {n}"));
        log.one(
            a,
            EntryBody::Room(RoomChange {
                topic: topic.clone(),
                ..RoomChange::default()
            }),
        )
        .await;
        let me = user(a);
        let (record, view) =
            futures_util::join!(history.room(&log.id), history.views(&me, Some(&log.id)));
        let (record, view) = (record.unwrap().unwrap(), view.unwrap().remove(0));
        assert_eq!((record.topic, record.head), (topic.clone(), log.head));
        assert_eq!((view.topic, view.head), (topic, log.head));
    }
}
