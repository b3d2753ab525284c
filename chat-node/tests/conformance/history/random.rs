//! Random entries, folded by the backend and by the model.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use chat_node::history::{Cursor, History, NewEntry, Search};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use shared::{
    id::{Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{
        EntryBody, MemberAction, MemberChange, MessageBody, Role, RoomChange, RoomKind,
    },
};

use super::{HistoryFactory, created, model::Model, room, user};

const WORDS: [&str; 4] = ["apple", "pear", "plum", "fig"];

/// One step of a room's life.
#[derive(Debug, Clone)]
enum Step {
    /// One append of several entries.
    Append(Vec<(usize, EntryBody)>),
    /// A read marker.
    Read(usize, u64),
}

static RUNS: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn random_entries_fold_as_the_model_folds_them(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let config = Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        TestRunner::new(config)
            .run(&(kinds(), vec(step(), 1..25)), |(kind, steps)| {
                runtime.block_on(check(&history, kind, steps));
                Ok(())
            })
            .unwrap();
    })
    .await
    .unwrap();
}

fn kinds() -> impl Strategy<Value = RoomKind> {
    prop_oneof![
        3 => Just(RoomKind::Group),
        1 => Just(RoomKind::Channel),
        1 => Just(RoomKind::Lobby),
        1 => Just(RoomKind::Dm),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => vec((0_usize..4, entry()), 1..8).prop_map(Step::Append),
        1 => (0_usize..4, 0_u64..60).prop_map(|(who, seq)| Step::Read(who, seq)),
    ]
}

fn entry() -> impl Strategy<Value = EntryBody> {
    let target = || (1_u64..40).prop_map(Seq::new);
    let people = || vec(0_usize..4, 0..3);
    prop_oneof![
              8 => (0_u32..60, text(), people(), proptest::option::of(target()), any::<Option<i32>>())
                  .prop_map(|(nonce, text, mentions, reply_to, data)| {
                      EntryBody::Message(MessageBody {
       unreadable: false,
                          nonce: Nonce::parse(&format!("n{nonce}")).unwrap(),
                          text,
                          reply_to,
                          mentions: mentions.into_iter().map(person).collect(),
                          data: data.map(|n| serde_json::json!({ "n": n })),
                      })
                  }),
              4 => (target(), text(), people()).prop_map(|(target, text, mentions)| EntryBody::Edit {
                  target,
                  text,
                  mentions: mentions.into_iter().map(person).collect(),
              }),
              2 => target().prop_map(|target| EntryBody::Delete { target }),
              6 => (target(), prop_oneof!["a", "b", "👍"], any::<bool>())
                  .prop_map(|(target, emoji, on)| EntryBody::Reaction { target, emoji, on }),
              3 => (actions(), 0_usize..4, roles(), proptest::option::of(1_i64..9)).prop_map(
                  |(action, member, role, until)| EntryBody::Member(MemberChange {
                      action,
                      member: person(member),
                      role,
                      until: until.map(Timestamp::from_millis),
                  })
              ),
              1 => (proptest::option::of(text()), proptest::option::of(text()), any::<Option<u16>>())
                  .prop_map(|(name, topic, slow)| EntryBody::Room(RoomChange {
    unreadable: false,
                      created: None,
                      name,
                      topic,
                      slow_mode_ms: slow.map(u32::from),
                  })),
          ]
}

fn text() -> impl Strategy<Value = String> {
    vec(proptest::sample::select(&WORDS[..]), 0..4).prop_map(|words| words.join(" "))
}

fn actions() -> impl Strategy<Value = MemberAction> {
    use MemberAction::{Ban, Join, Kick, Leave, Mute, Role, Unban, Unmute};
    prop_oneof![
        4 => Just(Join),
        1 => proptest::sample::select(vec![Leave, Kick, Ban, Unban, Mute, Unmute, Role]),
    ]
}

fn roles() -> impl Strategy<Value = Option<Role>> {
    proptest::sample::select(vec![
        None,
        Some(Role::Member),
        Some(Role::Moderator),
        Some(Role::Owner),
    ])
}

fn person(n: usize) -> UserId {
    user(&format!("random-{n}"))
}

async fn check(history: &Arc<dyn History>, kind: RoomKind, steps: Vec<Step>) {
    let id = room(&format!("random-{}", RUNS.fetch_add(1, Ordering::Relaxed)));
    let mut model = Model::default();
    let mut clock = 0;
    let mut first = vec![(0, created(kind))];
    first.extend((0..3).map(|n| {
        let join = MemberChange {
            action: MemberAction::Join,
            member: person(n),
            role: None,
            until: None,
        };
        (0, EntryBody::Member(join))
    }));
    for step in std::iter::once(Step::Append(first)).chain(steps) {
        match step {
            Step::Append(bodies) => {
                let entries: Vec<_> = bodies
                    .into_iter()
                    .map(|(by, body)| {
                        clock += 1;
                        NewEntry {
                            user: person(by),
                            ts: Timestamp::from_millis(clock),
                            body,
                        }
                    })
                    .collect();
                let head = model.head();
                let expected: Vec<_> = entries.iter().cloned().map(|e| model.append(e)).collect();
                assert_eq!(history.append(&id, head, entries).await, Ok(expected));
            }
            Step::Read(who, seq) => {
                let seq = Seq::new(seq);
                let expected = model.mark_read(&person(who), seq);
                let read = history.mark_read(&id, &person(who), seq).await;
                assert_eq!(read, Ok(expected));
            }
        }
    }
    compare(history, &id, &model).await;
    // Rooms of earlier cases would only slow later ones down.
    let head = history.room(&id).await.unwrap().unwrap().head;
    assert_eq!(history.remove(&id, head).await, Ok(true));
}

async fn compare(history: &Arc<dyn History>, id: &RoomId, model: &Model) {
    assert_eq!(history.log(id, Seq::ZERO, 1_000).await.unwrap(), model.log);
    let page = history.page(id, Cursor::Newest, 1_000).await.unwrap();
    assert_eq!(
        page.items,
        model.messages.values().cloned().collect::<Vec<_>>()
    );

    let mut record = history.room(id).await.unwrap().unwrap();
    record.members.sort_by(|x, y| x.user.cmp(&y.user));
    record.bans.sort();
    assert_eq!(Some(record.kind), model.kind);
    assert_eq!(record.head, model.head());
    assert_eq!(
        (record.name, record.topic),
        (model.name.clone(), model.topic.clone())
    );
    assert_eq!(record.slow_mode_ms, model.slow_mode_ms);
    assert_eq!(
        record.members,
        model.members.values().cloned().collect::<Vec<_>>()
    );
    assert_eq!(
        record.bans,
        model.bans.clone().into_iter().collect::<Vec<_>>()
    );

    for who in (0..4).map(person) {
        let views = history.views(&who, Some(id)).await.unwrap();
        let Some(member) = model.members.get(&who) else {
            assert_eq!(views, []);
            continue;
        };
        let view = &views[0];
        assert_eq!((view.unread, view.mentions), model.unread(&who), "{who}");
        assert_eq!((view.read, view.role), (member.read, member.role));
        assert_eq!(view.members as usize, model.members.len());
        assert_eq!(view.last.as_ref(), model.messages.values().next_back());
        for word in WORDS {
            let search = Search {
                user: who.clone(),
                text: word.into(),
                room: Some(id.clone()),
                author: None,
                after: None,
                limit: 100,
            };
            let found = history.search(&search).await.unwrap();
            let found: Vec<_> = found.items.into_iter().map(|(_, m)| m).collect();
            let expected: Vec<_> = model
                .messages
                .values()
                .rev()
                .filter(|m| m.text.contains(word))
                .cloned()
                .collect();
            assert_eq!(found, expected, "{word}");
        }
    }
}
