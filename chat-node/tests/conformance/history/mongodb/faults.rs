//! A store that dies, stalls and comes back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use chat_node::history::{
    AppendError, Cursor, History, HistoryError, NewEntry, mongodb::MongoHistory,
};
use loadtest::cluster::MongoServer;
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp},
    protocol::room::EntryBody,
};

use super::super::{Log, room, said, under, user};
use super::{
    contention::{append, checked_log},
    database, settings,
};

/// No answer may take longer.
const PROMPT: Duration = Duration::from_secs(6);
/// How long something may take to be as it ought to.
const SOON: Duration = Duration::from_secs(30);

/// One more node on a database, as patient as a node is by default.
async fn node(server: &MongoServer, database: &str) -> Arc<dyn History> {
    let settings = settings(server, database);
    Arc::new(MongoHistory::open(&settings).await.unwrap())
}

fn message(nonce: &str) -> NewEntry {
    NewEntry {
        user: user("a"),
        ts: Timestamp::now(),
        body: under(nonce, "x"),
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_the_store_was_killed_is_there_once() {
    const ROOMS: usize = 3;
    const TASKS: usize = 6;
    let mut server = MongoServer::start().await.unwrap();
    let database = database();
    let nodes = [
        node(&server, &database).await,
        node(&server, &database).await,
    ];
    for n in 0..ROOMS {
        Log::group(&nodes[0], &format!("killed-{n}"), &["a"]).await;
    }
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let history = Arc::clone(&nodes[task % nodes.len()]);
            let id = room(&format!("killed-{}", task % ROOMS));
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            tokio::spawn(async move {
                let (mut head, mut acknowledged) = (Seq::ZERO, Vec::new());
                while !stop.load(Relaxed) {
                    let nonces: Vec<String> = (0..=task % 3)
                        .map(|_| Nonce::generate().to_string())
                        .collect();
                    let entries = nonces.iter().map(|nonce| message(nonce)).collect();
                    let outcomes = append(&history, &id, &mut head, entries).await;
                    count.fetch_add(1, Relaxed);
                    let seqs = outcomes.into_iter().map(|outcome| outcome.seq);
                    acknowledged.extend(nonces.into_iter().zip(seqs));
                }
                (id, acknowledged)
            })
        })
        .collect();
    for round in 1..=3 {
        let more = 40 * round;
        eventually("appends go on", || async { count.load(Relaxed) >= more }).await;
        server.kill().unwrap();
        server.restart().await.unwrap();
        let before = count.load(Relaxed);
        eventually("they go on after it", || async {
            count.load(Relaxed) > before + 5
        })
        .await;
    }
    stop.store(true, Relaxed);
    let mut acknowledged: HashMap<RoomId, Vec<(String, Seq)>> = HashMap::new();
    for task in tasks {
        let (id, own) = task.await.unwrap();
        acknowledged.entry(id).or_default().extend(own);
    }
    for (id, acknowledged) in acknowledged {
        let log = checked_log(&nodes[0], &id).await;
        for (nonce, seq) in &acknowledged {
            let entry = &log[usize::try_from(seq.get()).unwrap() - 1];
            assert!(
                matches!(&entry.body, EntryBody::Message(m) if m.nonce.as_str() == nonce),
                "{id}: {nonce} was acknowledged at {seq}"
            );
        }
        // Each sender goes on until it is answered, so nothing else stands.
        assert_eq!(log.len(), acknowledged.len() + 2, "{id}");
        let record = nodes[1].room(&id).await.unwrap().unwrap();
        assert_eq!(record.head.get() as usize, log.len());
    }
}

#[tokio::test]
async fn a_store_that_stalls_is_unavailable_and_not_a_hang() {
    let server = MongoServer::start().await.unwrap();
    let history = node(&server, &database()).await;
    let mut log = Log::group(&history, "stalled", &["a"]).await;
    log.say("a", "before").await;
    history.ping().await.unwrap();

    server.pause().unwrap();
    let (since, a) = (Instant::now(), user("a"));
    let (sent, page, found, pinged) = tokio::join!(
        history.append(&log.id, log.head, vec![message("n")]),
        history.page(&log.id, Cursor::Newest, 10),
        history.views(&a, None),
        history.ping(),
    );
    let took = since.elapsed();
    assert!(matches!(sent, Err(AppendError::Unavailable(_))), "{sent:?}");
    assert!(
        matches!(page, Err(HistoryError::Unavailable(_))),
        "{page:?}"
    );
    assert!(
        matches!(found, Err(HistoryError::Unavailable(_))),
        "{found:?}"
    );
    assert!(
        matches!(pinged, Err(HistoryError::Unavailable(_))),
        "{pinged:?}"
    );
    assert!(took < PROMPT, "{took:?}");
    // And so is what is asked meanwhile.
    let since = Instant::now();
    let sent = history.append(&log.id, log.head, vec![message("m")]).await;
    assert!(matches!(sent, Err(AppendError::Unavailable(_))), "{sent:?}");
    assert!(since.elapsed() < PROMPT);

    server.resume().unwrap();
    eventually("it is ready again", || async {
        history.ping().await.is_ok()
    })
    .await;
    // What was sent while it stalled may stand or come to; under its nonce it is there once.
    let mut head = Seq::ZERO;
    for nonce in ["n", "m", "n", "m"] {
        append(&history, &log.id, &mut head, vec![message(nonce)]).await;
    }
    let entries = checked_log(&history, &log.id).await;
    assert_eq!(entries.len(), 5, "{entries:?}");
    log.head = history.room(&log.id).await.unwrap().unwrap().head;
    log.put("a", vec![said("after")]).await;
}

#[tokio::test]
async fn an_append_waits_for_a_store_that_stalls_only_shortly() {
    let server = MongoServer::start().await.unwrap();
    let history = node(&server, &database()).await;
    let log = Log::group(&history, "hiccup", &["a"]).await;
    server.pause().unwrap();
    let sent = history.append(&log.id, log.head, vec![message("n")]);
    let resumed = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.resume().unwrap();
    };
    let (sent, ()) = tokio::join!(sent, resumed);
    assert_eq!(sent.unwrap()[0].seq, log.head.next());
    assert_eq!(checked_log(&history, &log.id).await.len(), 3);
}

#[tokio::test]
async fn an_append_goes_on_when_the_store_comes_back_in_time() {
    let mut server = MongoServer::start().await.unwrap();
    let history = node(&server, &database()).await;
    let log = Log::group(&history, "back", &["a"]).await;
    server.kill().unwrap();
    let sent = history.append(&log.id, log.head, vec![message("n"), message("m")]);
    let (sent, started) = tokio::join!(sent, server.restart());
    started.unwrap();
    // How long the stand-in takes to start is not in our hands.
    match sent {
        Ok(outcomes) => assert_eq!(outcomes[1].seq, log.head.next().next()),
        Err(error) => assert!(matches!(error, AppendError::Unavailable(_)), "{error}"),
    }
    let mut head = Seq::ZERO;
    append(
        &history,
        &log.id,
        &mut head,
        vec![message("n"), message("m")],
    )
    .await;
    assert_eq!(checked_log(&history, &log.id).await.len(), 4);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_said_at_once() {
    let mut server = MongoServer::start().await.unwrap();
    server.kill().unwrap();
    let settings = settings(&server, "x");
    let since = Instant::now();
    assert!(MongoHistory::open(&settings).await.is_err());
    assert!(since.elapsed() < PROMPT);
}
