//! Many who start at the same time are answered together.

use std::{collections::HashMap, sync::Arc};

use chat_node::history::History;
use futures_util::future::join_all;
use loadtest::cluster::MongoServer;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::room::{MemberAction, RoomKind, RoomView},
};

use super::super::{Log, change, delete, mentioning, react, room, said, user};
use super::{database, node};

/// More than are asked for in one round.
const PEOPLE: usize = 150;
/// How many share a group.
const GROUP: usize = 10;

fn name(n: usize) -> String {
    format!("person-{n:03}")
}

fn people() -> Vec<UserId> {
    (0..PEOPLE).map(|n| user(&name(n))).collect()
}

/// Everybody in a group, some in a channel, neighbours in a room of two; all of whom have read another part.
async fn settle(history: &Arc<dyn History>) {
    let names: Vec<String> = (0..PEOPLE).map(name).collect();
    for (n, members) in names.chunks(GROUP).enumerate() {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let mut log = Log::group(history, &format!("group-{n}"), &members).await;
        // In some a few messages, in some more than are read one by one for a count.
        let words = (0..n * 9).map(|word| said(&word.to_string()));
        log.put(members[1], words.collect()).await;
        let last = log.one(members[0], mentioning("@", &[members[2]])).await;
        if n % 3 == 0 {
            log.one(members[3], react(last, "1", true)).await;
            log.one(members[0], delete(last)).await;
        }
        for (n, member) in members.iter().enumerate().skip(1) {
            let seq = Seq::new(log.head.get().saturating_sub(7 * n as u64));
            let reader = user(member);
            history.mark_read(&log.id, &reader, seq).await.unwrap();
        }
        log.one(members[9], change(MemberAction::Leave, members[9], None))
            .await;
        let pair = [members[4], members[5]];
        let mut pair = Log::of(history, &format!("pair-{n}"), RoomKind::Dm, &pair).await;
        pair.say(members[4], "hello").await;
        let channel = format!("channel-{n}");
        let mut channel = Log::of(history, &channel, RoomKind::Channel, &members[6..8]).await;
        channel.say(members[6], "all").await;
    }
}

/// What a session asks when it starts.
async fn start(history: &dyn History, who: &UserId) -> (Vec<RoomId>, Vec<RoomView>) {
    let memberships = history.memberships(who).await.unwrap();
    let mut views = history.views(who, None).await.unwrap();
    views.sort_by(|a, b| a.id.cmp(&b.id));
    (memberships, views)
}

/// How many questions and other commands the server has answered.
pub(super) async fn asked(client: &Client) -> i64 {
    let admin = client.database("admin");
    let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
    let counters = status.get_document("opcounters").unwrap();
    let count = |name| match counters.get(name) {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        other => panic!("{name} of {counters} is {other:?}"),
    };
    count("query") + count("command")
}

#[tokio::test]
async fn those_who_start_at_once_are_told_what_each_is_told_alone() {
    let server = MongoServer::start().await.unwrap();
    let database = database();
    let history = node(&server, &database).await;
    settle(&history).await;
    let people = people();
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    let before = asked(&client).await;
    let mut alone = Vec::new();
    for person in &people {
        alone.push(start(&*history, person).await);
    }
    let one_by_one = asked(&client).await - before;
    // As after a crash: nothing is known of the rooms.
    let fresh = node(&server, &database).await;
    let before = asked(&client).await;
    let together = join_all(people.iter().map(|person| start(&*fresh, person))).await;
    let at_once = asked(&client).await - before;
    assert_eq!(together, alone);
    let counted = alone.iter().flat_map(|(_, views)| views);
    let unread: Vec<u64> = counted.map(|view| view.unread).collect();
    assert!(unread.iter().any(|n| (1..64).contains(n)) && unread.iter().any(|n| *n > 64));
    println!("{PEOPLE} starts: {one_by_one} questions one by one, {at_once} at once");
    assert!(at_once * 5 < one_by_one, "{at_once} of {one_by_one}");
}

/// Rooms of every kind, and one that is not there.
fn rooms() -> Vec<RoomId> {
    let groups = (0..PEOPLE / GROUP)
        .flat_map(|n| ["group", "pair", "channel"].map(|kind| room(&format!("{kind}-{n}"))));
    groups.chain([room("nowhere")]).collect()
}

/// Whoever comes back asks for what came since; in short gaps and long ones, from the end and behind it.
#[tokio::test]
async fn those_who_missed_something_at_once_are_told_what_each_is_told_alone() {
    let server = MongoServer::start().await.unwrap();
    let database = database();
    let history = node(&server, &database).await;
    settle(&history).await;
    let heads: HashMap<RoomId, Seq> = history.heads(&rooms()).await.unwrap().into_iter().collect();
    let mut gaps = Vec::new();
    for room in rooms() {
        let head = heads.get(&room).map_or(0, |head| head.get());
        for back in [0, 1, 2, 5, 40, 200] {
            let after = head.saturating_sub(back);
            gaps.extend([1, 2, 5, 100].map(|limit| (room.clone(), Seq::new(after), limit)));
        }
        gaps.push((room, Seq::new(head + 3), 100));
    }
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    let fresh = node(&server, &database).await;
    let before = asked(&client).await;
    let log = |(room, after, limit): &(RoomId, Seq, u32)| {
        let (fresh, room, after, limit) = (fresh.clone(), room.clone(), *after, *limit);
        async move { fresh.log(&room, after, limit).await.unwrap() }
    };
    let together = join_all(gaps.iter().map(log)).await;
    let at_once = asked(&client).await - before;
    for (gap, entries) in gaps.iter().zip(&together) {
        let (room, after, limit) = gap;
        let head = heads.get(room).map_or(0, |head| head.get());
        let last = head.min(after.get() + u64::from(*limit));
        let wanted: Vec<u64> = (after.get() + 1..=last).collect();
        let found: Vec<u64> = entries.iter().map(|entry| entry.seq.get()).collect();
        assert_eq!(found, wanted, "{gap:?}");
    }
    // A node that knows where the logs end, and asks for one after the other.
    let before = asked(&client).await;
    for (gap, entries) in gaps.iter().zip(&together) {
        let (room, after, limit) = gap;
        let alone = history.log(room, *after, *limit).await.unwrap();
        assert_eq!(alone, *entries, "{gap:?}");
    }
    let one_by_one = asked(&client).await - before;
    let count = gaps.len();
    println!("{count} gaps: {one_by_one} questions one by one, {at_once} at once");
    assert!(at_once * 2 < one_by_one, "{at_once} of {one_by_one}");
}

/// Rooms in which somebody speaks after a node died wake at the same time.
#[tokio::test]
async fn rooms_that_wake_at_once_are_what_each_is_alone() {
    let server = MongoServer::start().await.unwrap();
    let database = database();
    let history = node(&server, &database).await;
    settle(&history).await;
    let rooms = rooms();
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    let before = asked(&client).await;
    let mut alone = Vec::new();
    for room in &rooms {
        alone.push(history.room(room).await.unwrap());
    }
    let one_by_one = asked(&client).await - before;
    let fresh = node(&server, &database).await;
    let before = asked(&client).await;
    let together = join_all(rooms.iter().map(|room| fresh.room(room))).await;
    let at_once = asked(&client).await - before;
    let together: Vec<_> = together.into_iter().map(Result::unwrap).collect();
    assert_eq!(together, alone);
    assert_eq!(alone.iter().filter(|record| record.is_none()).count(), 1);
    println!(
        "{} rooms: {one_by_one} questions one by one, {at_once} at once",
        rooms.len()
    );
    assert!(at_once * 2 < one_by_one, "{at_once} of {one_by_one}");
}

/// Somebody who was brought in by a node that crashed right after is in, for all of a round.
#[tokio::test]
async fn what_nobody_folded_is_folded_for_a_round() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let history = node(server, &database).await;
    settle(&history).await;
    let people = people();
    let before = join_all(people.iter().map(|person| start(&*history, person))).await;
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    let entries = client.database(&database).collection::<Document>("entries");
    super::folds::mark_all(&entries).await;
    let fresh = node(server, &database).await;
    let after = join_all(people.iter().map(|person| start(&*fresh, person))).await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_room_that_is_damaged_is_its_members_trouble_alone() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let history = node(server, &database).await;
    settle(&history).await;
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    let rooms = client.database(&database).collection::<Document>("rooms");
    let (broken, epoch) = (doc! { "_id": "group-3" }, doc! { "$set": { "epoch": "" } });
    rooms.update_one(broken, epoch).await.unwrap();
    let people = people();
    let views = join_all(people.iter().map(|person| history.views(person, None))).await;
    let record = history.room(&room("group-4")).await.unwrap().unwrap();
    assert_eq!(record.members.len(), GROUP - 1);
    for (n, views) in views.into_iter().enumerate() {
        // Whoever left it does not see it.
        let concerned = n / GROUP == 3 && n % GROUP != 9;
        assert_eq!(views.is_err(), concerned, "{}: {views:?}", name(n));
    }
    let groups: Vec<RoomId> = (0..PEOPLE / GROUP)
        .map(|n| room(&format!("group-{n}")))
        .collect();
    let records = join_all(groups.iter().map(|room| history.room(room))).await;
    for (n, record) in records.into_iter().enumerate() {
        assert_eq!(record.is_err(), n == 3, "{n}: {record:?}");
    }
}
