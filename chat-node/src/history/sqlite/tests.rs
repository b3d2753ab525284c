//! What only this backend can be asked: its threads, its bounds, its file.

use std::{path::PathBuf, sync::Arc, time::Instant};

use rusqlite::{Connection, StatementStatus};
use shared::settings::{Loader, SettingDoc, Settings, reference};
use shared::{
    id::Nonce,
    protocol::room::{
        EntryBody, MemberAction, MemberChange, MessageBody, Role, RoomChange, RoomKind,
    },
};
use tempfile::TempDir;

use super::*;

fn open(settings: &SqliteSettings) -> (TempDir, PathBuf, SqliteHistory) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.db");
    let history = SqliteHistory::open(&path, settings).unwrap();
    (dir, path, history)
}

fn room(n: usize) -> RoomId {
    RoomId::parse(&format!("room-{n}")).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn by(name: &str, body: EntryBody) -> NewEntry {
    NewEntry {
        user: user(name),
        ts: Timestamp::from_millis(1),
        body,
    }
}

/// As the room's actor does it: at the head it knows.
async fn remove(history: &SqliteHistory, room: &RoomId) {
    let head = history.room(room).await.unwrap().unwrap().head;
    assert_eq!(history.remove(room, head).await, Ok(true));
}

fn said(text: &str) -> EntryBody {
    EntryBody::Message(MessageBody {
        unreadable: false,
        nonce: Nonce::generate(),
        text: text.into(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
    })
}

/// A room of `a` and `b`, with some messages of `a`.
async fn fill(history: &SqliteHistory, n: usize, messages: usize) {
    let mut entries = vec![by(
        "a",
        EntryBody::Room(RoomChange {
            created: Some(RoomKind::Group),
            ..RoomChange::default()
        }),
    )];
    for member in ["a", "b"] {
        let join = MemberChange {
            action: MemberAction::Join,
            member: user(member),
            role: Some(Role::Member),
            until: None,
        };
        entries.push(by("a", EntryBody::Member(join)));
    }
    entries.extend((0..messages).map(|m| by("a", said(&format!("word{m} in room{n}")))));
    history.append(&room(n), Seq::ZERO, entries).await.unwrap();
}

fn rows(path: &PathBuf, table: &str) -> i64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

#[tokio::test]
async fn a_panic_in_the_writer_answers_those_who_wait_and_the_writer_goes_on() {
    let (_dir, _, history) = open(&SqliteSettings::default());
    fill(&history, 0, 0).await;
    assert!(history.push(0, Job::Panic).is_ok());
    // Whether this shares the batch of the panic or comes after it, it is answered.
    let mut head = Seq::new(3);
    loop {
        match history
            .append(&room(0), head, vec![by("a", said("x"))])
            .await
        {
            Ok(outcomes) => {
                assert_eq!(outcomes[0].seq, head.next());
                break;
            }
            Err(AppendError::Unavailable(_)) => {}
            Err(AppendError::Conflict { head: moved }) => head = moved,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_the_writer_recovers() {
    let (_dir, _, history) = open(&SqliteSettings {
        history_max_bytes: Some(ByteSize::mib(1)),
        ..SqliteSettings::default()
    });
    fill(&history, 0, 500).await;
    fill(&history, 1, 0).await;
    let mut head = Seq::new(3);
    let refused = loop {
        let entries = vec![by("a", said(&"x".repeat(3_000)))];
        match history.append(&room(1), head, entries).await {
            Ok(outcomes) => head = outcomes[0].seq,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Unavailable(_)), "{refused}");
    let record = history.room(&room(1)).await.unwrap().unwrap();
    assert_eq!(record.head, head, "what was acknowledged stands");

    // Room is made; the same handle takes appends again.
    remove(&history, &room(0)).await;
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let entries = vec![by("a", said("y"))];
        match history.append(&room(1), head, entries).await {
            Ok(_) => break,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_rooms_share_a_commit_and_one_conflict_spoils_nothing() {
    let (_dir, _, history) = open(&SqliteSettings::default());
    let history = Arc::new(history);
    for n in 0..50 {
        fill(&history, n, 0).await;
    }
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let history = Arc::clone(&history);
            tokio::spawn(async move {
                let head = Seq::new(if n % 5 == 0 { 77 } else { 3 });
                let entries = vec![by("a", said("x"))];
                (n, history.append(&room(n), head, entries).await)
            })
        })
        .collect();
    for task in tasks {
        let (n, answer) = task.await.unwrap();
        if n % 5 == 0 {
            assert_eq!(answer, Err(AppendError::Conflict { head: Seq::new(3) }));
        } else {
            assert_eq!(answer.unwrap()[0].seq, Seq::new(4));
        }
    }
}

#[tokio::test]
async fn a_full_queue_is_busy_and_a_closed_history_is_unavailable() {
    let (_dir, path, history) = open(&SqliteSettings {
        history_queue: 0,
        ..SqliteSettings::default()
    });
    let target = room(0);
    let append = || history.append(&target, Seq::ZERO, vec![by("a", said("x"))]);
    assert_eq!(append().await, Err(AppendError::Busy));
    history.ping().await.unwrap();
    history.close();
    assert!(matches!(append().await, Err(AppendError::Unavailable(_))));
    assert!(history.ping().await.is_err());
    assert!(history.room(&room(0)).await.is_err());
    let wal = path.with_extension("db-wal");
    assert!(
        !wal.exists() || wal.metadata().unwrap().len() == 0,
        "the write-ahead log was folded in"
    );
}

#[tokio::test]
async fn removing_a_room_deletes_all_of_its_rows_in_the_end() {
    let (_dir, path, history) = open(&SqliteSettings::default());
    fill(&history, 0, 1_700).await;
    fill(&history, 1, 5).await;
    let react = EntryBody::Reaction {
        target: Seq::new(4),
        emoji: "👍".into(),
        on: true,
    };
    history
        .append(&room(0), Seq::new(1_703), vec![by("a", react)])
        .await
        .unwrap();
    remove(&history, &room(0)).await;
    // Closed in the middle of the purge or after it: the next start goes on with it.
    history.close();
    let history = SqliteHistory::open(&path, &SqliteSettings::default()).unwrap();
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while rows(&path, "gone") > 0 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    history.close();
    for (table, left) in [
        ("entry", 8),
        ("message", 5),
        ("reaction", 0),
        ("reactor", 0),
        ("member", 2),
        ("room", 1),
        ("words", 5),
    ] {
        assert_eq!(rows(&path, table), left, "{table}");
    }
}

#[tokio::test]
async fn somebody_in_thousands_of_rooms_can_search_them_all() {
    let history = SqliteHistory::in_memory().unwrap();
    for n in 0..3_000 {
        fill(&history, n, 1).await;
    }
    let search = Search {
        user: user("b"),
        text: "word0 room2999".into(),
        room: None,
        author: None,
        after: None,
        limit: 10,
    };
    // A machine that is busy with something else may not come to it within the time a search has.
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    let found = loop {
        match history.search(&search).await {
            Err(HistoryError::Unavailable(_)) if Instant::now() < deadline => {}
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(found.items.len(), 1);
    assert_eq!(found.items[0].0, room(2_999));
}

#[tokio::test]
async fn counting_the_unread_does_not_walk_over_them() {
    let (_dir, path, history) = open(&SqliteSettings::default());
    for n in 0..40 {
        fill(&history, n, 500).await;
    }
    let views = history.views(&user("b"), None).await.unwrap();
    assert!(views.iter().all(|view| view.unread == 500));
    history.close();
    // In steps of SQLite's machine, which do not depend on how fast this one is.
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut statement = rooms::views_statement(&conn, false).unwrap();
    let mut rows = statement
        .query(rusqlite::params!["b", None::<&str>, 3, 0])
        .unwrap();
    while rows.next().unwrap().is_some() {}
    drop(rows);
    let steps = statement.get_status(StatementStatus::VmStep);
    assert!(
        steps < 40 * 500,
        "{steps} steps for 40 rooms with 500 unread"
    );
}

#[test]
fn settings_and_metrics_are_documented() {
    #[derive(Debug, clap::Args)]
    struct Documented {
        #[command(flatten)]
        sqlite: SqliteSettings,
    }
    impl Settings for Documented {}
    let operations = include_str!("../../../../docs/operations.md");
    let settings = reference::<Documented>(&Loader::new("chat-node", "0", ""));
    let own = settings.iter().filter(|s| s.key.starts_with("history_"));
    let rows = own
        .map(SettingDoc::row)
        .chain(METRICS.iter().map(shared::telemetry::Metric::row));
    let missing: Vec<_> = rows
        .filter(|row| !operations.lines().any(|line| line == row))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}

#[tokio::test]
async fn a_search_that_takes_long_keeps_no_reader_waiting() {
    let history = Arc::new(SqliteHistory::in_memory().unwrap());
    let (release, held) = std::sync::mpsc::channel::<()>();
    let long = tokio::spawn({
        let history = Arc::clone(&history);
        let wait = move |_: &Connection| {
            // Ends when the sender goes, too.
            let _ = held.recv();
            Ok(())
        };
        async move { history.searchers.ask(wait).await }
    });
    tokio::task::yield_now().await;
    history.readers.ask(|_| Ok(())).await.unwrap();
    drop(release);
    long.await.unwrap().unwrap();
}

/// Bytes that rotted, a body of a later version, and one that is no text at all.
const ROTTEN: [&str; 3] = [
    "'{\"kind\":\"mess'",
    "'{\"kind\":\"hologram\",\"of\":7}'",
    "CAST(X'FFFE00' AS TEXT)",
];

#[tokio::test]
async fn an_entry_that_cannot_be_read_takes_nothing_with_it() {
    for rot in ROTTEN {
        let (_dir, path, history) = open(&SqliteSettings::default());
        fill(&history, 0, 6).await;
        let edit = |text: &str| EntryBody::Edit {
            target: Seq::new(5),
            text: text.into(),
            mentions: vec![user("b")],
        };
        let more = vec![by("a", edit("first")), by("a", edit("second"))];
        history.append(&room(0), Seq::new(9), more).await.unwrap();
        let conn = Connection::open(&path).unwrap();
        // A membership, two messages, the newest edit of another.
        let spoil = format!("UPDATE entry SET body = {rot} WHERE seq IN (3, 6, 9, 11)");
        assert_eq!(conn.execute(&spoil, []).unwrap(), 4);

        let log = history.log(&room(0), Seq::ZERO, 100).await.unwrap();
        let seqs: Vec<u64> = log.iter().map(|entry| entry.seq.get()).collect();
        assert_eq!(seqs, (1..=11).collect::<Vec<_>>(), "still dense");
        for entry in &log {
            let unreadable = match &entry.body {
                EntryBody::Message(said) => {
                    assert_eq!(said.text.is_empty(), said.unreadable);
                    said.unreadable
                }
                EntryBody::Room(change) => change.unreadable,
                _ => false,
            };
            let spoiled = [3, 6, 9, 11].contains(&entry.seq.get());
            assert_eq!(unreadable, spoiled, "{entry:?}");
        }
        let page = history.page(&room(0), Cursor::Newest, 50).await.unwrap();
        let read: Vec<(u64, bool)> = page
            .items
            .iter()
            .map(|message| (message.seq.get(), message.unreadable))
            .collect();
        let whole = [
            (4, false),
            (5, true),
            (6, true),
            (7, false),
            (8, false),
            (9, true),
        ];
        assert_eq!(read, whole);
        assert!(page.items[1].text.is_empty(), "not what it said before");
        // The room starts, and shows itself to those who are in.
        let record = history.room(&room(0)).await.unwrap().unwrap();
        assert_eq!((record.head.get(), record.members.len()), (11, 2));
        let views = history.views(&user("b"), None).await.unwrap();
        assert!(views[0].last.as_ref().unwrap().unreadable);
        assert_eq!(views[0].mentions, 1);
        // What is done to such a message is done.
        let retold = vec![
            by("a", edit("legible again")),
            by(
                "b",
                EntryBody::Reaction {
                    target: Seq::new(6),
                    emoji: "x".into(),
                    on: true,
                },
            ),
            by(
                "a",
                EntryBody::Delete {
                    target: Seq::new(9),
                },
            ),
        ];
        history
            .append(&room(0), Seq::new(11), retold)
            .await
            .unwrap();
        let seqs = [5, 6, 9].map(Seq::new);
        let [edited, reacted, deleted] = history
            .messages(&room(0), &seqs)
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(
            (edited.text.as_str(), edited.unreadable),
            ("legible again", false)
        );
        assert_eq!(
            history.views(&user("b"), None).await.unwrap()[0].mentions,
            1
        );
        assert_eq!(reacted.reactions.len(), 1);
        assert!(deleted.deleted && !deleted.unreadable);
        let log = history.log(&room(0), Seq::new(8), 1).await.unwrap();
        let EntryBody::Message(said) = &log[0].body else {
            panic!("{log:?}");
        };
        assert!(!said.unreadable, "a tombstone is whole");
        remove(&history, &room(0)).await;
        assert_eq!(history.room(&room(0)).await.unwrap(), None);
    }
}
