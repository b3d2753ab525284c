use std::time::Instant;

use loadtest::cluster::MongoServer;
use mongodb::bson::Document;
use shared::{
    protocol::room::{EntryBody, MemberAction, MemberChange, MessageBody, Role, RoomChange},
    settings::{Loader, Secret, SettingDoc, Settings, reference},
    telemetry::Metric,
};

use super::*;
use crate::presence::{Seen, SeenTimes as _};

/// How long something nobody waits for may take to be seen.
const SOON: Duration = Duration::from_secs(30);
const MINUTE: i64 = 60_000;

async fn open(database: &str) -> MongoHistory {
    let server = MongoServer::shared().await.unwrap();
    let settings = MongoSettings {
        mongodb_uri: Some(Secret::new(server.uri_of(database))),
        mongodb_timeout: Duration::from_secs(45),
        ..MongoSettings::default()
    };
    MongoHistory::open(&settings).await.unwrap()
}

fn database() -> String {
    format!("own-{}", ulid::Ulid::new())
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

/// A room in which something stands in every collection; answers where its log ends.
async fn make(history: &MongoHistory, room: &RoomId) -> Seq {
    let joins = ["a", "b"].map(|member| {
        EntryBody::Member(MemberChange {
            action: MemberAction::Join,
            member: user(member),
            role: Some(Role::Member),
            until: None,
        })
    });
    let said = EntryBody::Message(MessageBody {
        unreadable: false,
        nonce: Nonce::generate(),
        text: "marmalade".into(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
    });
    let reacted = EntryBody::Reaction {
        target: Seq::new(4),
        emoji: "👍".into(),
        on: true,
    };
    let created = EntryBody::Room(RoomChange {
        created: Some(RoomKind::Group),
        ..RoomChange::default()
    });
    let bodies = std::iter::once(created).chain(joins).chain([said, reacted]);
    let entries = bodies.map(|body| NewEntry {
        user: user("a"),
        ts: Timestamp::from_millis(1_000),
        body,
    });
    let outcomes = history.append(room, Seq::ZERO, entries.collect()).await;
    let search = Search {
        user: user("a"),
        text: "marmalade".into(),
        room: None,
        author: None,
        after: None,
        limit: 9,
    };
    assert_eq!(history.search(&search).await.unwrap().items.len(), 1);
    outcomes.unwrap().last().unwrap().seq
}

/// How many documents of a key there are: entries, people, reactions, words.
async fn left(history: &MongoHistory, key: documents::Key) -> [u64; 4] {
    let counted = history.ask(async move |store| {
        let mut counts = [0; 4];
        let names = ["entries", "people", "reactions", "words"];
        for (count, name) in counts.iter_mut().zip(names) {
            let collection = store.db.collection::<Document>(name);
            *count = collection.count_documents(doc! { "r": key }).await?;
        }
        Ok(counts)
    });
    counted.await.unwrap()
}

/// A node may build upon what it knew of a room for a minute, so what is left of one stays for longer; and
/// its end for longer still.
#[tokio::test]
async fn what_is_left_of_a_removed_room_goes_later_and_its_end_last() {
    let history = open(&database()).await;
    let room = RoomId::parse("gone").unwrap();
    let head = make(&history, &room).await;
    let asked = room.clone();
    let found = history.ask(async move |store| store.room_doc(&asked).await);
    let key = found.await.unwrap().unwrap().key;
    assert_eq!(left(&history, key).await, [5, 2, 1, 1]);
    assert_eq!(history.remove(&room, head).await, Ok(true));
    let now = Timestamp::now();
    // The same id, and another room: nothing of it goes.
    make(&history, &room).await;
    for (minutes, expected) in [
        (0, [6, 2, 1, 1]),
        (9, [6, 2, 1, 1]),
        (11, [1, 0, 0, 0]),
        (24 * 60 - 1, [1, 0, 0, 0]),
        (24 * 60 + 1, [0; 4]),
        (24 * 60 + 1, [0; 4]),
    ] {
        let now = now.plus_millis(minutes * MINUTE);
        let purged = history.ask(async move |store| store.purge(now).await);
        purged.await.unwrap();
        assert_eq!(left(&history, key).await, expected, "after {minutes} min");
    }
    let waits = history.ask(async |store| Ok(store.gone.count_documents(doc! {}).await?));
    assert_eq!(waits.await, Ok(0));
    assert_eq!(history.room(&room).await.unwrap().unwrap().head, head);
    assert_eq!(history.views(&user("b"), None).await.unwrap()[0].unread, 1);
}

#[tokio::test]
async fn when_people_were_last_seen_outlives_the_node() {
    let database = database();
    let history = open(&database).await;
    let [a, b, c] = ["a", "b", "c"].map(user);
    let seen = |user: &UserId, at: Option<i64>| Seen {
        user: user.clone(),
        at: at.map(Timestamp::from_millis),
    };
    let is = async |history: &MongoHistory, expected: &[(&UserId, i64)]| {
        let expected = expected
            .iter()
            .map(|(user, at)| ((*user).clone(), Timestamp::from_millis(*at)))
            .collect();
        let began = Instant::now();
        loop {
            let known = history.recall(vec![a.clone(), b.clone(), c.clone()]).await;
            if known == expected {
                return;
            }
            assert!(began.elapsed() < SOON, "{known:?} is not {expected:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    history.note(vec![seen(&a, Some(1)), seen(&b, Some(2)), seen(&c, None)]);
    is(&history, &[(&a, 1), (&b, 2)]).await;
    // Who is there has none, and whoever goes again is seen later.
    history.note(vec![seen(&a, None), seen(&b, Some(5)), seen(&c, Some(3))]);
    is(&history, &[(&b, 5), (&c, 3)]).await;
    // However close they follow each other, the last word counts.
    for at in 10..40 {
        history.note(vec![seen(&b, Some(at)), seen(&c, Some(at))]);
        history.note(vec![seen(&b, None), seen(&c, Some(at + 1))]);
    }
    history.note(vec![seen(&b, Some(50))]);
    is(&history, &[(&b, 50), (&c, 40)]).await;
    drop(history);
    let history = open(&database).await;
    is(&history, &[(&b, 50), (&c, 40)]).await;
    history.note(Vec::new());
    assert_eq!(history.recall(Vec::new()).await.len(), 0);
}

#[test]
fn settings_and_metrics_are_documented() {
    #[derive(Debug, clap::Args)]
    struct Documented {
        #[command(flatten)]
        mongodb: MongoSettings,
    }
    impl Settings for Documented {}
    let operations = include_str!("../../../../docs/operations.md");
    let settings = reference::<Documented>(&Loader::new("chat-node", "0", ""));
    let own = settings.iter().filter(|s| s.key.starts_with("mongodb_"));
    let rows = own
        .map(SettingDoc::row)
        .chain(METRICS.iter().map(Metric::row));
    let missing: Vec<_> = rows
        .filter(|row| !operations.lines().any(|line| line == row))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md lacks:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_defaults_on_the_command_line_are_the_defaults() {
    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        mongodb: MongoSettings,
    }
    let parsed = <Program as clap::Parser>::parse_from(["chat-node"]);
    assert_eq!(parsed.mongodb, MongoSettings::default());
}
