//! kill -9 while eight tasks append: what was acknowledged is there, once.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use chat_node::history::{
    AppendError, History, NewEntry,
    sqlite::{SqliteHistory, SqliteSettings},
};
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp},
    protocol::room::{EntryBody, RoomKind},
};

use super::{created, room, under, user};

/// How the child learns that it is one, and where to write.
const CHILD: &str = "HISTORY_CRASH_CHILD";
const ROUNDS: usize = 5;
const ACKNOWLEDGED: usize = 150;

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_once() {
    if let Some(path) = std::env::var_os(CHILD) {
        return append_until_killed(Path::new(&path)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let mut acknowledged: HashMap<(RoomId, Nonce), Seq> = HashMap::new();
    for round in 0..ROUNDS {
        let before = acknowledged.len();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("history::crash::what_was_acknowledged_before_a_kill_is_there_once")
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut killed = false;
        loop {
            line.clear();
            if lines.read_line(&mut line).unwrap() == 0 {
                break;
            }
            // The last line may have been cut by the kill: then it was not acknowledged to us.
            if let Some(text) = line.strip_suffix('\n')
                && let Some(ack) = text.strip_prefix("ack ")
            {
                let mut words = ack.split(' ');
                let mut word = || words.next().unwrap();
                let at = room(word());
                let seq = Seq::new(word().parse().unwrap());
                let nonce = Nonce::parse(word()).unwrap();
                let known = acknowledged.insert((at, nonce), seq);
                assert!(known.is_none(), "a nonce is sent once");
            }
            if !killed && acknowledged.len() >= before + ACKNOWLEDGED {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself");
        verify(&path, &acknowledged).await;
    }
}

async fn verify(path: &Path, acknowledged: &HashMap<(RoomId, Nonce), Seq>) {
    let history = SqliteHistory::open(path, &SqliteSettings::default()).unwrap();
    let mut there = HashMap::new();
    for n in 0..3 {
        let id = room(&format!("crash-{n}"));
        let entries = history.log(&id, Seq::ZERO, 1_000_000).await.unwrap();
        for (n, entry) in entries.iter().enumerate() {
            assert_eq!(entry.seq.get(), n as u64 + 1, "{id}: a hole");
            if let EntryBody::Message(message) = &entry.body {
                let known = there.insert((id.clone(), message.nonce.clone()), entry.seq);
                assert_eq!(known, None, "{id}: {} is there twice", message.nonce);
            }
        }
        let record = history.room(&id).await.unwrap().unwrap();
        assert_eq!(record.head.get(), entries.len() as u64);
    }
    for (what, seq) in acknowledged {
        assert_eq!(there.get(what), Some(seq), "{what:?} was acknowledged");
    }
}

/// The child: appends to three rooms from eight tasks and says what was acknowledged.
async fn append_until_killed(path: &Path) {
    let history = SqliteHistory::open(path, &SqliteSettings::default()).unwrap();
    let history: Arc<dyn History> = Arc::new(history);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let history = Arc::clone(&history);
            let id = room(&format!("crash-{}", task % 3));
            let mut head = Seq::ZERO;
            tokio::spawn(async move {
                loop {
                    let nonce = Nonce::generate();
                    loop {
                        let body = if head == Seq::ZERO {
                            created(RoomKind::Group)
                        } else {
                            under(nonce.as_str(), "x")
                        };
                        let message = head != Seq::ZERO;
                        let entry = NewEntry {
                            user: user("crash-a"),
                            ts: Timestamp::now(),
                            body,
                        };
                        match history.append(&id, head, vec![entry]).await {
                            Ok(outcomes) => {
                                head = outcomes[0].seq;
                                if message {
                                    break;
                                }
                            }
                            Err(AppendError::Conflict { head: moved }) => head = moved,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    let line = format!("ack {id} {head} {nonce}\n");
                    let mut out = std::io::stdout().lock();
                    // One write: a line is whole, or it is the last.
                    out.write_all(line.as_bytes()).unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    // None of them ends: the kill does.
    futures_util::future::join_all(tasks).await;
}
