//! Two nodes that append to many rooms at once.

use std::{collections::HashMap, sync::Arc};

use chat_node::history::{AppendError, History, NewEntry, Outcome};
use futures_util::future::join_all;
use loadtest::cluster::MongoServer;
use mongodb::Client;
use shared::{
    id::{RoomId, Seq, Timestamp},
    protocol::room::EntryBody,
};

use super::super::{Log, under, user};
use super::{
    contention::{append, checked_log},
    database, node,
    rounds::asked,
};

const ROOMS: usize = 100;
/// What every room begins with: it was made, and two came in.
const BEGINNING: u64 = 3;

/// Rooms that either node has just looked at.
async fn rooms(nodes: &[Arc<dyn History>; 2], name: &str) -> Vec<RoomId> {
    let made = (0..ROOMS).map(async |n| {
        let log = Log::group(&nodes[0], &format!("{name}-{n}"), &["0", "1"]).await;
        nodes[1].log(&log.id, Seq::ZERO, 10).await.unwrap();
        log.id
    });
    join_all(made).await
}

fn says(node: usize, nonces: &[String]) -> Vec<NewEntry> {
    let entry = |nonce: &String| NewEntry {
        user: user(&node.to_string()),
        ts: Timestamp::from_millis(5),
        body: under(nonce, "x"),
    };
    nonces.iter().map(entry).collect()
}

/// One, two or three messages, as room and round have it.
fn nonces(node: usize, room: usize, round: usize) -> Vec<String> {
    let several = 0..=(room + round) % 3;
    several.map(|n| format!("{node}-{round}-{n}")).collect()
}

/// Whoever was not as fast is told so before the others have every place again, however many places it lost: the time
/// that takes does not grow with their number. What it did not lose stands.
#[tokio::test]
async fn places_that_are_lost_in_many_rooms_are_found_with_few_questions() {
    let server = MongoServer::start().await.unwrap();
    let database = database();
    let nodes = [
        node(&server, &database).await,
        node(&server, &database).await,
    ];
    let rooms = rooms(&nodes, "lost").await;
    let head = Seq::new(BEGINNING);
    let at_once = async |node: usize, every: usize| {
        let appends = (0..ROOMS).step_by(every).map(async |room| {
            let entries = says(node, &nonces(node, room, 0));
            nodes[node].append(&rooms[room], head, entries).await
        });
        join_all(appends).await
    };
    for (room, won) in at_once(0, 2).await.into_iter().enumerate() {
        won.unwrap_or_else(|error| panic!("room {}: {error}", 2 * room));
    }
    // The other node has heard nothing of it.
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    let before = asked(&client).await;
    let answers = at_once(1, 1).await;
    let questions = asked(&client).await - before;
    let first = head.next();
    for (room, answer) in answers.into_iter().enumerate() {
        if room % 2 == 0 {
            assert_eq!(answer, Err(AppendError::Conflict { head: first }), "{room}");
            continue;
        }
        let stands: Vec<Seq> = answer.unwrap().iter().map(|outcome| outcome.seq).collect();
        let expected = (first.get()..).take(nonces(1, room, 0).len());
        assert_eq!(stands, expected.map(Seq::new).collect::<Vec<_>>(), "{room}");
    }
    for (room, id) in rooms.iter().enumerate() {
        let winner = room % 2;
        let said = nonces(winner, room, 0).len();
        let log = checked_log(&nodes[0], id).await;
        assert_eq!(log.len() as u64, BEGINNING + said as u64, "{room}");
        let by = |entry: &shared::protocol::room::Entry| entry.user == user(&winner.to_string());
        assert!(log[BEGINNING as usize..].iter().all(by), "{room}: {log:?}");
    }
    println!("{ROOMS} rooms, half of them lost: {questions} questions");
    assert!(questions < ROOMS as i64 / 2, "{questions} questions");
}

/// Both speak in all rooms at the same time and again and again, several messages at a time among them.
#[tokio::test]
async fn two_nodes_append_to_many_rooms_at_once_and_nothing_is_lost_or_doubled() {
    const ROUNDS: usize = 6;
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let nodes = [node(server, &database).await, node(server, &database).await];
    let rooms = rooms(&nodes, "both").await;
    let speakers = (0..2 * ROOMS).map(async |n| {
        let (node, room) = (n % 2, n / 2);
        let (mut head, mut sent) = (Seq::new(BEGINNING), Vec::new());
        for round in 0..ROUNDS {
            let nonces = nonces(node, room, round);
            let entries = says(node, &nonces);
            let outcomes = append(&nodes[node], &rooms[room], &mut head, entries).await;
            sent.extend(nonces.into_iter().zip(outcomes));
        }
        (room, sent)
    });
    let mut acknowledged: Vec<HashMap<String, Outcome>> = vec![HashMap::new(); ROOMS];
    for (room, sent) in join_all(speakers).await {
        let in_order = sent.is_sorted_by_key(|(_, outcome)| outcome.seq);
        assert!(in_order, "each in its own order");
        acknowledged[room].extend(sent);
    }
    for (id, acknowledged) in rooms.iter().zip(acknowledged) {
        let log = checked_log(&nodes[0], id).await;
        let said = log.iter().filter_map(|entry| match &entry.body {
            EntryBody::Message(message) => Some((message.nonce.to_string(), entry.seq)),
            _ => None,
        });
        let said: HashMap<String, Seq> = said.collect();
        assert_eq!(
            said.len(),
            acknowledged.len(),
            "{id}: all, and nothing else"
        );
        for (nonce, outcome) in acknowledged {
            assert_eq!(said[&nonce], outcome.seq, "{id}: {nonce}");
        }
    }
}
