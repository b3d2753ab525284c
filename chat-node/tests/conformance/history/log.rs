//! Appending: order, conflicts, nonces, durability.

use std::{collections::BTreeSet, sync::Arc};

use chat_node::history::{AppendError, Cursor, HistoryError, NewEntry};
use shared::{
    id::{Nonce, Seq, Timestamp},
    protocol::room::{EntryBody, RoomKind},
};

use super::{HistoryFactory, Log, created, delete, edit, react, room, said, under, user};

pub(crate) async fn seq_is_dense_and_the_log_gives_back_what_was_appended(
    factory: &impl HistoryFactory,
) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "log-dense", &["log-dense-a", "log-dense-b"]).await;
    let mut bodies = vec![said("one"), said("two")];
    let EntryBody::Message(rich) = &mut bodies[1] else {
        unreachable!()
    };
    rich.reply_to = Some(Seq::new(4));
    rich.mentions = vec![user("log-dense-b")];
    rich.data = Some(serde_json::json!({"party": [1, null, "x"], "n": -7}));
    bodies.extend([edit(Seq::new(4), "won"), react(Seq::new(4), "👍", true)]);
    let outcomes = log.put("log-dense-a", bodies.clone()).await;
    assert_eq!(
        outcomes.iter().map(|o| o.seq.get()).collect::<Vec<_>>(),
        [4, 5, 6, 7]
    );
    let entries = history.log(&log.id, Seq::new(3), 100).await.unwrap();
    assert_eq!(
        entries.iter().map(|e| e.body.clone()).collect::<Vec<_>>(),
        bodies
    );
    for (entry, outcome) in entries.iter().zip(&outcomes) {
        assert_eq!((entry.seq, entry.ts), (outcome.seq, outcome.ts));
        assert_eq!(entry.user, user("log-dense-a"));
    }
    let two = history.log(&log.id, Seq::new(1), 2).await.unwrap();
    assert_eq!(two.iter().map(|e| e.seq.get()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(history.log(&log.id, log.head, 10).await.unwrap(), []);
    assert_eq!(
        history.log(&room("log-no"), Seq::ZERO, 10).await.unwrap(),
        []
    );
    let record = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!((record.head, record.kind), (Seq::new(7), RoomKind::Group));
    assert_eq!(log.try_put("log-dense-a", Vec::new()).await, Ok(Vec::new()));
    history.ping().await.unwrap();
}

pub(crate) async fn a_log_begins_with_its_creation(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let id = room("log-begin");
    assert_eq!(history.room(&id).await.unwrap(), None);
    let entry = |body| NewEntry {
        user: user("log-begin-a"),
        ts: Timestamp::from_millis(1),
        body,
    };
    assert_eq!(
        history.append(&id, Seq::ZERO, vec![entry(said("x"))]).await,
        Err(AppendError::NotCreated)
    );
    assert_eq!(
        history
            .append(&id, Seq::new(5), vec![entry(said("x"))])
            .await,
        Err(AppendError::Conflict { head: Seq::ZERO })
    );
    assert_eq!(history.room(&id).await.unwrap(), None);
    let made = vec![entry(created(RoomKind::Lobby)), entry(said("x"))];
    history.append(&id, Seq::ZERO, made.clone()).await.unwrap();
    // The loser of a race to open the same direct-message room.
    assert_eq!(
        history.append(&id, Seq::ZERO, made).await,
        Err(AppendError::Conflict { head: Seq::new(2) })
    );
}

pub(crate) async fn a_moved_head_is_a_conflict_and_appends_nothing(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "log-conflict", &["log-conflict-a"]).await;
    let stale = log.head;
    log.say("log-conflict-a", "mine").await;
    for wrong in [Seq::ZERO, stale, log.head.next(), Seq::new(1 << 40)] {
        let entries = vec![NewEntry {
            user: user("log-conflict-a"),
            ts: Timestamp::from_millis(9),
            body: said("theirs"),
        }];
        assert_eq!(
            history.append(&log.id, wrong, entries).await,
            Err(AppendError::Conflict { head: log.head })
        );
    }
    assert_eq!(history.log(&log.id, stale, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_nonce_is_appended_once(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "log-nonce", &["log-nonce-a"]).await;
    let first = log.put("log-nonce-a", vec![under("n1", "hello")]).await[0];
    let again = log
        .put(
            "log-nonce-a",
            vec![said("before"), under("n1", "hello again"), said("after")],
        )
        .await;
    assert_eq!((again[1].seq, again[1].ts), (first.seq, first.ts));
    assert_eq!(
        again.iter().map(|o| o.dup).collect::<Vec<_>>(),
        [false, true, false]
    );
    assert_eq!(again[2].seq, again[0].seq.next(), "the rest closes ranks");
    assert_eq!(log.message(first.seq).await.text, "hello");
    let n1 = Nonce::parse("n1").unwrap();
    let sent = history.sent(&log.id, &user("log-nonce-a"), &n1).await;
    let sent = sent.unwrap().unwrap();
    assert_eq!((sent.seq, sent.ts), (first.seq, first.ts));
    let n2 = Nonce::parse("n2").unwrap();
    let unsent = history.sent(&log.id, &user("log-nonce-a"), &n2).await;
    assert_eq!(unsent.unwrap(), None);
    // Also when there is nothing else to append, and after the message was deleted.
    log.one("log-nonce-a", delete(first.seq)).await;
    let last = log.put("log-nonce-a", vec![under("n1", "hello")]).await[0];
    assert_eq!((last.seq, last.dup), (first.seq, true));
}

pub(crate) async fn a_nonce_twice_in_one_batch_is_appended_once(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "log-twice", &["log-twice-a"]).await;
    let outcomes = log
        .put(
            "log-twice-a",
            vec![under("t", "a"), said("b"), under("t", "a"), said("c")],
        )
        .await;
    assert_eq!(
        outcomes
            .iter()
            .map(|o| (o.seq.get(), o.dup))
            .collect::<Vec<_>>(),
        [(3, false), (4, false), (3, true), (5, false)]
    );
    assert_eq!(outcomes[0].ts, outcomes[2].ts);
}

pub(crate) async fn a_nonce_belongs_to_its_sender_and_room(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let members = ["log-owner-a", "log-owner-b"];
    let mut one = Log::group(&history, "log-owner-1", &members).await;
    let mut two = Log::group(&history, "log-owner-2", &members).await;
    for (log, by) in [(&mut one, 0), (&mut two, 0)] {
        assert!(!log.put(members[by], vec![under("n", "x")]).await[0].dup);
    }
    assert!(!one.put(members[1], vec![under("n", "x")]).await[0].dup);
}

pub(crate) async fn a_nonce_is_known_after_a_restart(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "log-again", &["log-again-a"]).await;
    let first = log.put("log-again-a", vec![under("n", "x")]).await[0];
    let (id, head) = (log.id.clone(), log.head);
    drop(log);
    let history = factory.reopen(history).await;
    let retry = vec![NewEntry {
        user: user("log-again-a"),
        ts: Timestamp::from_millis(77_777),
        body: under("n", "x"),
    }];
    let again = history.append(&id, head, retry).await.unwrap()[0];
    assert_eq!(
        (again.seq, again.ts, again.dup),
        (first.seq, first.ts, true)
    );
}

pub(crate) async fn racing_appenders_neither_lose_nor_double(factory: &impl HistoryFactory) {
    const TASKS: usize = 8;
    const EACH: usize = 25;
    let history = factory.open().await;
    let log = Log::group(&history, "log-race", &["log-race-0"]).await;
    let start = log.head;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (history, id, mut head) = (Arc::clone(&history), log.id.clone(), log.head);
            tokio::spawn(async move {
                let mut seqs = Vec::new();
                for n in 0..EACH {
                    loop {
                        let entries = vec![NewEntry {
                            user: user("log-race-0"),
                            ts: Timestamp::from_millis(5),
                            body: under(&format!("{task}-{n}"), "x"),
                        }];
                        match history.append(&id, head, entries).await {
                            Ok(outcomes) => {
                                head = outcomes[0].seq;
                                seqs.push(head.get());
                                break;
                            }
                            Err(AppendError::Conflict { head: moved }) => head = moved,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                seqs
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for task in tasks {
        let seqs = task.await.unwrap();
        assert!(seqs.is_sorted(), "what one appends keeps its order");
        all.extend(seqs);
    }
    let total = (TASKS * EACH) as u64;
    assert_eq!(all.len() as u64, total);
    assert_eq!(all.first(), Some(&start.next().get()));
    assert_eq!(all.last(), Some(&(start.get() + total)));
    let entries = history.log(&log.id, start, 1_000).await.unwrap();
    let nonces: BTreeSet<_> = entries
        .iter()
        .map(|entry| match &entry.body {
            EntryBody::Message(message) => message.nonce.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(nonces.len() as u64, total);
}

pub(crate) async fn everything_survives_a_restart(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let mut log = Log::group(&history, "log-keep", &["log-keep-a", "log-keep-b"]).await;
    let first = log.say("log-keep-a", "findable words").await;
    log.one("log-keep-b", react(first, "👍", true)).await;
    let second = log.say("log-keep-b", "second").await;
    log.one("log-keep-b", edit(second, "2nd")).await;
    let at = log.head;
    history
        .mark_read(&log.id, &user("log-keep-a"), at)
        .await
        .unwrap();
    let before = (
        history.room(&log.id).await.unwrap(),
        history.log(&log.id, Seq::ZERO, 99).await.unwrap(),
        history.page(&log.id, Cursor::Newest, 99).await.unwrap(),
        history.views(&user("log-keep-a"), None).await.unwrap(),
    );
    let id = log.id.clone();
    drop(log);
    let history = factory.reopen(history).await;
    let after = (
        history.room(&id).await.unwrap(),
        history.log(&id, Seq::ZERO, 99).await.unwrap(),
        history.page(&id, Cursor::Newest, 99).await.unwrap(),
        history.views(&user("log-keep-a"), None).await.unwrap(),
    );
    assert_eq!(before, after);
}

pub(crate) async fn a_removed_room_is_gone_and_may_begin_anew(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let members = ["log-gone-a", "log-gone-b"];
    let mut log = Log::group(&history, "log-gone", &members).await;
    let first = log.put(members[0], vec![under("n", "ghostly")]).await[0];
    for n in 0..40 {
        log.say(members[0], &format!("ghostly {n}")).await;
    }
    let before = history.room(&log.id).await.unwrap().unwrap();
    let short = history.remove(&log.id, Seq::new(log.head.get() - 1));
    assert_eq!(short.await, Ok(false), "somebody said more meanwhile");
    assert_eq!(history.room(&log.id).await.unwrap().as_ref(), Some(&before));
    for _ in 0..2 {
        assert_eq!(history.remove(&log.id, log.head).await, Ok(true));
    }
    assert_eq!(history.room(&log.id).await.unwrap(), None);
    assert_eq!(history.log(&log.id, Seq::ZERO, 9).await.unwrap(), []);
    assert_eq!(
        history.page(&log.id, Cursor::Newest, 9).await,
        Err(HistoryError::NoRoom)
    );
    assert_eq!(history.views(&user(members[0]), None).await.unwrap(), []);
    assert_eq!(history.memberships(&user(members[1])).await.unwrap(), []);
    assert_eq!(
        log.try_put(members[0], vec![said("late")]).await,
        Err(AppendError::Conflict { head: Seq::ZERO })
    );

    let mut anew = Log::group(&history, "log-gone", &members).await;
    let record = history.room(&anew.id).await.unwrap().unwrap();
    assert_ne!(record.epoch, before.epoch, "another log, another epoch");
    let again = anew.put(members[0], vec![under("n", "alive")]).await[0];
    assert_eq!((again.seq, again.dup), (first.seq, false));
    let page = history.page(&anew.id, Cursor::Newest, 99).await.unwrap();
    assert_eq!(page.items.len(), 1, "nothing of the old log shows");
}
