//! A node that crashes between an entry and what is derived from it.

use std::sync::Arc;

use chat_node::history::{Cursor, History, RoomRecord, Search};
use futures_util::future::join_all;
use loadtest::cluster::MongoServer;
use mongodb::{
    Client, Collection,
    bson::{Document, doc, oid::ObjectId},
};
use shared::{
    id::{RoomId, Seq},
    protocol::room::{Entry, EntryBody, MemberAction, Message, RoomKind, RoomView},
};

use super::super::{Log, change, delete, edit, mentioning, react, said, user};
use super::{database, node};

async fn raw(server: &MongoServer, database: &str) -> Collection<Document> {
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    client.database(database).collection("entries")
}

/// Everything that is derived from a room's log, and the log, as somebody sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    record: Option<RoomRecord>,
    log: Vec<Entry>,
    items: Vec<Message>,
    views: Vec<RoomView>,
    found: Vec<Message>,
}

async fn seen(history: &Arc<dyn History>, id: &RoomId, who: &str) -> Seen {
    let search = Search {
        user: user(who),
        text: "w*".into(),
        room: None,
        author: None,
        after: None,
        limit: 100,
    };
    let found = history.search(&search).await.unwrap().items;
    Seen {
        found: found.into_iter().map(|(_, message)| message).collect(),
        views: history.views(&user(who), None).await.unwrap(),
        items: history.page(id, Cursor::Newest, 100).await.unwrap().items,
        log: history.log(id, Seq::ZERO, 1_000).await.unwrap(),
        record: history.room(id).await.unwrap(),
    }
}

/// A room in which everything happens that is folded.
async fn eventful(history: &Arc<dyn History>, id: &str, kind: RoomKind) -> Log {
    let mut log = Log::of(history, id, kind, &["a", "b", "c"]).await;
    let one = log.say("a", "word one").await;
    let two = log.one("b", mentioning("word two", &["a", "c"])).await;
    let three = log.say("c", "word three").await;
    log.one("a", edit(one, "worse")).await;
    log.one("b", react(one, "1", true)).await;
    log.one("c", react(one, "1", true)).await;
    log.one("a", react(three, "2", true)).await;
    log.put(
        "b",
        vec![
            react(one, "1", false),
            edit(two, "weird"),
            edit(three, "wild"),
            delete(three),
            react(three, "3", true),
            change(MemberAction::Leave, "c", None),
            change(MemberAction::Join, "d", None),
            change(MemberAction::Ban, "e", None),
            change(MemberAction::Mute, "b", None),
            said("word four"),
        ],
    )
    .await;
    log.one("c", change(MemberAction::Join, "c", None)).await;
    log
}

/// As it is when a node crashes after its insert: the marks stand, and nothing else was done.
pub(super) async fn mark_all(entries: &Collection<Document>) {
    use futures_util::TryStreamExt as _;
    let all: Vec<Document> = entries
        .find(doc! {})
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    for entry in all {
        let body = serde_json::from_str(entry.get_str("b").unwrap()).unwrap();
        let mut marks = doc! { "f": entry.get_object_id("r").unwrap() };
        match body {
            EntryBody::Message(_) => continue,
            EntryBody::Member(change) => {
                marks.insert("j", change.member.as_str());
            }
            _ => {}
        }
        let own = doc! { "_id": entry.get_str("_id").unwrap() };
        entries
            .update_one(own, doc! { "$set": marks })
            .await
            .unwrap();
    }
}

async fn marks(entries: &Collection<Document>) -> u64 {
    let marked = doc! { "f": { "$exists": true } };
    entries.count_documents(marked).await.unwrap()
}

#[tokio::test]
async fn folding_everything_again_changes_nothing() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let history = node(server, &database).await;
    let log = eventful(&history, "again", RoomKind::Group).await;
    let before = seen(&history, &log.id, "a").await;
    assert_eq!(before.found.len(), 3);
    let entries = raw(server, &database).await;
    for _ in 0..2 {
        mark_all(&entries).await;
        let other = node(server, &database).await;
        assert_eq!(seen(&other, &log.id, "a").await, before);
        assert_eq!(marks(&entries).await, 0, "and then it is done");
    }
}

#[tokio::test]
async fn nodes_that_repair_the_same_room_at_once_agree() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let history = node(server, &database).await;
    let log = eventful(&history, "together", RoomKind::Group).await;
    let before = seen(&history, &log.id, "a").await;
    let nodes = join_all((0..4).map(|_| node(server, &database))).await;
    for _ in 0..3 {
        mark_all(&raw(server, &database).await).await;
        let all = join_all(nodes.iter().map(|node| seen(node, &log.id, "a"))).await;
        for other in all {
            assert_eq!(other, before);
        }
    }
}

#[tokio::test]
async fn entries_that_nobody_folded_are_folded_by_whoever_reads() {
    let server = MongoServer::shared().await.unwrap();
    let database = database();
    let history = node(server, &database).await;
    let mut log = Log::group(&history, "torn", &["a", "b"]).await;
    let target = log.say("a", "word").await;
    let doomed = log.say("a", "secret").await;
    // What another node inserted before it crashed.
    let entries = raw(server, &database).await;
    let head = doc! { "s": i64::try_from(log.head.get()).unwrap() };
    let head = entries.find_one(head).await.unwrap().unwrap();
    let key = head.get_object_id("r").unwrap();
    let bodies = [
        change(MemberAction::Join, "late", None),
        edit(target, "wiser"),
        react(target, "1", true),
        delete(doomed),
    ];
    for (body, seq) in bodies.into_iter().zip(log.head.get() + 1..) {
        let mut entry = head.clone();
        entry.remove("k");
        entry.extend(doc! {
            "_id": format!("{}{seq:016x}", key.to_hex()),
            "s": i64::try_from(seq).unwrap(),
            "n": format!("!{seq}"),
            "a": ObjectId::new(),
            "b": serde_json::to_string(&body).unwrap(),
            "f": key,
        });
        if let EntryBody::Member(change) = &body {
            entry.insert("j", change.member.as_str());
        }
        entries.insert_one(entry).await.unwrap();
        log.head = log.head.next();
    }
    // Each on a node that knows nothing: one question after the other would hide what one repaired.
    let late = user("late");
    for question in 0..5 {
        let other = node(server, &database).await;
        match question {
            0 => assert_eq!(other.memberships(&late).await.unwrap(), [log.id.clone()]),
            1 => assert_eq!(other.views(&late, None).await.unwrap()[0].head, log.head),
            2 => {
                let record = other.room(&log.id).await.unwrap().unwrap();
                assert_eq!((record.head, record.members.len()), (log.head, 3));
            }
            3 => {
                let items = other.page(&log.id, Cursor::Newest, 9).await.unwrap().items;
                assert_eq!(
                    (items[0].text.as_str(), items[0].reactions.len()),
                    ("wiser", 1)
                );
                assert!(items[1].deleted);
            }
            _ => {
                let log = other.log(&log.id, Seq::ZERO, 99).await.unwrap();
                assert!(!format!("{log:?}").contains("secret"));
            }
        }
        if question < 4 {
            mark_all(&entries).await;
        }
    }
    // A head that the room's document does not know yet is found and appended to.
    let other = node(server, &database).await;
    let mut log = Log {
        history: other,
        ..log
    };
    log.say("b", "after").await;
}
