//! Many nodes, one room.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chat_node::history::{AppendError, History, NewEntry, Outcome};
use loadtest::cluster::MongoServer;
use shared::{
    id::{RoomId, Seq, Timestamp},
    protocol::room::{Entry, EntryBody, RoomKind},
};

use super::super::{Log, change, created, react, room, under, user};
use super::{database, node};

const NODES: usize = 8;
const EACH: usize = 30;

fn new(by: &str, body: EntryBody) -> NewEntry {
    NewEntry {
        user: user(by),
        ts: Timestamp::from_millis(5),
        body,
    }
}

/// Appends whatever others do, as a room's actor does it: with the head that a conflict tells, and
/// again under the same nonces when it is not known what stands.
pub(super) async fn append(
    history: &Arc<dyn History>,
    room: &RoomId,
    head: &mut Seq,
    entries: Vec<NewEntry>,
) -> Vec<Outcome> {
    loop {
        match history.append(room, *head, entries.clone()).await {
            Ok(outcomes) => {
                *head = outcomes.iter().map(|o| o.seq).max().unwrap().max(*head);
                return outcomes;
            }
            Err(AppendError::Conflict { head: moved }) => {
                assert_ne!(moved, *head, "a conflict tells another head");
                *head = moved;
            }
            Err(AppendError::Unavailable(_)) => {
                if let Ok(Some(record)) = history.room(room).await {
                    *head = record.head;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The whole log, which is dense and has each nonce once.
pub(super) async fn checked_log(history: &Arc<dyn History>, id: &RoomId) -> Vec<Entry> {
    let log = history.log(id, Seq::ZERO, 100_000).await.unwrap();
    let mut nonces = HashSet::new();
    for (entry, seq) in log.iter().zip(1..) {
        assert_eq!(entry.seq.get(), seq, "{id}: a hole");
        if let EntryBody::Message(message) = &entry.body {
            let new = nonces.insert((entry.user.clone(), message.nonce.clone()));
            assert!(new, "{id}: {} stands twice", message.nonce);
        }
    }
    log
}

#[tokio::test]
async fn eight_nodes_append_to_one_room_and_nothing_is_lost_or_doubled() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let first = node(server, &database).await;
    let names: Vec<String> = (0..NODES).map(|n| format!("node-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let log = Log::group(&first, "contended", &names).await;
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (name, database, id) = ((*name).to_owned(), database.clone(), log.id.clone());
            tokio::spawn(async move {
                let history = node(server, &database).await;
                let (mut head, mut sent) = (Seq::ZERO, Vec::new());
                for n in 0..EACH {
                    // Some alone, some several together.
                    let nonces: Vec<_> = (0..=n % 3)
                        .map(|part| format!("{name}-{n}-{part}"))
                        .collect();
                    let entries = nonces.iter().map(|nonce| new(&name, under(nonce, "x")));
                    let outcomes = append(&history, &id, &mut head, entries.collect()).await;
                    sent.extend(nonces.into_iter().zip(outcomes));
                }
                sent
            })
        })
        .collect();
    let mut acknowledged = HashMap::new();
    for task in tasks {
        let sent = task.await.unwrap();
        assert!(
            sent.is_sorted_by_key(|(_, outcome)| outcome.seq),
            "each in its own order"
        );
        acknowledged.extend(sent);
    }
    let entries = checked_log(&first, &log.id).await;
    let said: HashMap<String, Seq> = entries
        .iter()
        .filter_map(|entry| match &entry.body {
            EntryBody::Message(message) => Some((message.nonce.to_string(), entry.seq)),
            _ => None,
        })
        .collect();
    assert_eq!(said.len(), NODES * EACH * 2, "all of it, and nothing else");
    for (nonce, outcome) in acknowledged {
        assert_eq!(said[&nonce], outcome.seq, "{nonce}");
    }
    // How many messages there were was counted along the way by whoever appended.
    let view = &first.views(&user("node-0"), Some(&log.id)).await.unwrap()[0];
    assert_eq!(view.unread as usize, (NODES - 1) * EACH * 2);
}

#[tokio::test]
async fn entries_without_a_nonce_stand_once_for_each_acknowledgement() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let first = node(server, &database).await;
    let mut log = Log::group(&first, "reacted", &["a"]).await;
    let target = log.say("a", "x").await;
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let (database, id) = (database.clone(), log.id.clone());
            tokio::spawn(async move {
                let history = node(server, &database).await;
                let (mut head, mut acknowledged) = (Seq::ZERO, Vec::new());
                for emoji in 0..10 {
                    let body = react(target, &format!("{emoji}"), true);
                    let by = format!("reacts-{n}");
                    let outcomes = append(&history, &id, &mut head, vec![new(&by, body)]).await;
                    acknowledged.push(outcomes[0].seq);
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = HashSet::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let entries = checked_log(&first, &log.id).await;
    let standing: HashSet<Seq> = entries[3..].iter().map(|entry| entry.seq).collect();
    assert_eq!((standing.len(), standing), (40, acknowledged));
    let reactions = log.message(target).await.reactions;
    assert_eq!(reactions.len(), 10);
    for reaction in reactions {
        assert_eq!((reaction.count, reaction.users.len()), (4, 4));
    }
}

#[tokio::test]
async fn of_many_who_make_a_room_one_does() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let tasks: Vec<_> = (0..NODES)
        .map(|n| {
            let database = database.clone();
            tokio::spawn(async move {
                let history = node(server, &database).await;
                let me = format!("maker-{n}");
                let join = change(shared::protocol::room::MemberAction::Join, &me, None);
                let entries = vec![new(&me, created(RoomKind::Group)), new(&me, join)];
                let made = history.append(&room("made"), Seq::ZERO, entries).await;
                let record = history.room(&room("made")).await.unwrap().unwrap();
                (me, made, record)
            })
        })
        .collect();
    let mut made = Vec::new();
    let mut records = Vec::new();
    for task in tasks {
        let (me, outcome, record) = task.await.unwrap();
        match outcome {
            Ok(_) => made.push(me),
            Err(error) => assert_eq!(error, AppendError::Conflict { head: Seq::new(2) }),
        }
        records.push(record);
    }
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(records.iter().all(|record| *record == records[0]));
    let members: Vec<_> = records[0]
        .members
        .iter()
        .map(|m| m.user.to_string())
        .collect();
    assert_eq!(members, made, "nothing shows of the others' rooms");
    let history = node(server, &database).await;
    for n in 0..NODES {
        let me = format!("maker-{n}");
        let rooms = history.memberships(&user(&me)).await.unwrap();
        assert_eq!(rooms.len(), usize::from(made[0] == me));
    }
}

#[tokio::test]
async fn nothing_is_said_in_a_room_that_another_node_has_removed() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let (one, two) = (node(server, &database).await, node(server, &database).await);
    let mut log = Log::group(&one, "ended", &["a", "b"]).await;
    let head = log.say("a", "x").await;
    assert_eq!(two.remove(&log.id, head).await, Ok(true));
    // The first node has not heard of it, and knows the head it had.
    let late = one
        .append(&log.id, head, vec![new("a", under("late", "x"))])
        .await;
    assert_eq!(late, Err(AppendError::Conflict { head: Seq::ZERO }));
    assert_eq!(one.room(&log.id).await.unwrap(), None);
    assert_eq!(one.views(&user("b"), None).await.unwrap(), []);

    let mut anew = Log::group(&two, "ended", &["c"]).await;
    anew.say("c", "y").await;
    let late = one
        .append(&log.id, head, vec![new("a", under("late", "x"))])
        .await;
    assert_eq!(late, Err(AppendError::Conflict { head: anew.head }));
    assert_eq!(checked_log(&one, &log.id).await.len(), 3);
}
