//! Search.

use std::sync::Arc;

use chat_node::history::{Found, History, HistoryError, Search};
use shared::protocol::room::MemberAction;

use super::{HistoryFactory, Log, change, delete, edit, room, user};

fn query(who: &str, text: &str) -> Search {
    Search {
        user: user(who),
        text: text.to_owned(),
        room: None,
        author: None,
        after: None,
        limit: 50,
    }
}

fn texts(found: &Found) -> Vec<&str> {
    found.items.iter().map(|(_, m)| m.text.as_str()).collect()
}

async fn hits(history: &Arc<dyn History>, who: &str, text: &str) -> Vec<String> {
    let found = history.search(&query(who, text)).await.unwrap();
    texts(&found).into_iter().map(str::to_owned).collect()
}

pub(crate) async fn all_words_must_be_there(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "find-all-a";
    let mut log = Log::group(&history, "find-all", &[a]).await;
    for text in ["red fox", "red dog", "fox, RED! and foxes", "firefox"] {
        log.say(a, text).await;
    }
    assert_eq!(
        hits(&history, a, "fox red").await,
        ["fox, RED! and foxes", "red fox"]
    );
    assert_eq!(
        hits(&history, a, "fox*").await,
        ["fox, RED! and foxes", "red fox"]
    );
    assert_eq!(hits(&history, a, "fire*").await, ["firefox"]);
    assert_eq!(hits(&history, a, "fire").await, Vec::<String>::new());
    assert_eq!(hits(&history, a, "red cat").await, Vec::<String>::new());
    let found = history.search(&query(a, "dog")).await.unwrap();
    assert_eq!(found.items[0].0, log.id);
    assert_eq!(found.items[0].1, log.message(found.items[0].1.seq).await);
    assert_eq!(found.next, None);
}

pub(crate) async fn accents_and_case_do_not_matter(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "find-acc-a";
    let mut log = Log::group(&history, "find-acc", &[a]).await;
    for text in ["Café Zürich", "ПРИВЕТ мир", "plain"] {
        log.say(a, text).await;
    }
    for words in ["cafe", "CAFÉ", "zurich café"] {
        assert_eq!(hits(&history, a, words).await, ["Café Zürich"], "{words}");
    }
    assert_eq!(hits(&history, a, "привет").await, ["ПРИВЕТ мир"]);
}

pub(crate) async fn edited_words_are_found_and_deleted_ones_are_not(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "find-now-a";
    let mut log = Log::group(&history, "find-now", &[a]).await;
    let one = log.say(a, "alpha").await;
    let two = log.say(a, "alpha beta").await;
    log.one(a, edit(one, "gamma")).await;
    assert_eq!(hits(&history, a, "alpha").await, ["alpha beta"]);
    assert_eq!(hits(&history, a, "gamma").await, ["gamma"]);
    log.one(a, delete(two)).await;
    log.one(a, edit(two, "alpha again")).await;
    assert_eq!(hits(&history, a, "alpha").await, Vec::<String>::new());
    log.one(a, delete(one)).await;
    assert_eq!(hits(&history, a, "gamma").await, Vec::<String>::new());
}

pub(crate) async fn only_the_callers_rooms_are_searched(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("find-mine-a", "find-mine-b");
    let mut both = Log::group(&history, "find-mine-1", &[a, b]).await;
    let mut only_a = Log::group(&history, "find-mine-2", &[a]).await;
    both.say(a, "treasure here").await;
    only_a.say(a, "treasure there").await;
    assert_eq!(hits(&history, a, "treasure").await.len(), 2);
    assert_eq!(hits(&history, b, "treasure").await, ["treasure here"]);
    let other = Search {
        room: Some(room("find-mine-2")),
        ..query(b, "treasure")
    };
    assert_eq!(history.search(&other).await.unwrap().items, []);
    assert_eq!(hits(&history, "find-mine-x", "treasure").await.len(), 0);
    both.one(b, change(MemberAction::Leave, b, None)).await;
    assert_eq!(hits(&history, b, "treasure").await.len(), 0);
    assert_eq!(history.remove(&only_a.id, only_a.head).await, Ok(true));
    assert_eq!(hits(&history, a, "treasure").await, ["treasure here"]);
}

pub(crate) async fn room_and_author_narrow_a_search(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("find-by-a", "find-by-b");
    let mut one = Log::group(&history, "find-by-1", &[a, b]).await;
    let mut two = Log::group(&history, "find-by-2", &[a, b]).await;
    one.say(a, "word one a").await;
    two.say(a, "word two a").await;
    one.say(b, "word one b").await;
    let mut search = query(a, "word");
    search.room = Some(one.id.clone());
    let found = history.search(&search).await.unwrap();
    assert_eq!(texts(&found), ["word one b", "word one a"]);
    search.author = Some(user(a));
    let found = history.search(&search).await.unwrap();
    assert_eq!(texts(&found), ["word one a"]);
    search.room = None;
    let found = history.search(&search).await.unwrap();
    assert_eq!(texts(&found), ["word two a", "word one a"]);
}

pub(crate) async fn pages_of_hits_meet(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "find-page-a";
    let mut log = Log::group(&history, "find-page", &[a]).await;
    for n in 0..13 {
        log.say(a, &format!("needle {n}")).await;
        log.say(a, "hay").await;
    }
    let mut search = query(a, "needle");
    search.limit = 5;
    let mut all = Vec::new();
    loop {
        let found = history.search(&search).await.unwrap();
        all.extend(texts(&found).into_iter().map(str::to_owned));
        // What comes in meanwhile is newer than the cursor and does not shift the pages.
        log.say(a, "needle new").await;
        match found.next {
            Some(next) => search.after = Some(next),
            None => break,
        }
    }
    let expected: Vec<String> = (0..13).rev().map(|n| format!("needle {n}")).collect();
    assert_eq!(all, expected);
}

pub(crate) async fn hostile_queries_are_only_words(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("find-hostile-a", "find-hostile-b");
    let mut log = Log::group(&history, "find-hostile", &[a]).await;
    let mut secret = Log::group(&history, "find-hostile-s", &[b]).await;
    log.say(a, "or and not near").await;
    secret.say(b, "x secret").await;
    for text in [
        "\"",
        "\"\"",
        "x\"",
        "\" OR x",
        "x OR secret",
        "NOT x",
        "x AND",
        "AND",
        "(x",
        "x)",
        "NEAR(x y, 2)",
        "text:x",
        "room:r1",
        "room : r2 OR x",
        "{room text}:x",
        "-room:x",
        "^x",
        "x + y",
        "x*y",
        "*x",
        "x**",
        "'; DROP TABLE entry; --",
        "\\",
        "%",
        "_",
        "x\0y",
        "\u{202e}x",
        "$where",
        "{\"$ne\":1}",
        "x\ty\nz",
        "🎉 x",
        "\u{300}x",
        "ﷺ",
        "a'b",
        "--x",
        "/* x",
    ] {
        match history.search(&query(a, text)).await {
            Ok(found) => assert!(
                found.items.iter().all(|(id, _)| *id == log.id),
                "{text:?} reached into another room"
            ),
            Err(HistoryError::Invalid(_)) => {}
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
    assert_eq!(hits(&history, a, "OR AND not").await, ["or and not near"]);
    assert_eq!(
        hits(&history, a, "near OR nothing").await,
        Vec::<String>::new()
    );
}

pub(crate) async fn bad_queries_are_invalid(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "find-bad-a";
    Log::group(&history, "find-bad", &[a]).await;
    let with = |change: &dyn Fn(&mut Search)| {
        let mut search = query(a, "word");
        change(&mut search);
        search
    };
    for bad in [
        with(&|s| s.text.clear()),
        with(&|s| s.text = " \t ".into()),
        with(&|s| s.text = "*** \" !!".into()),
        with(&|s| s.text = "a".repeat(10_000)),
        with(&|s| s.text = "a ".repeat(100)),
        with(&|s| s.limit = 0),
        with(&|s| s.limit = 101),
        with(&|s| s.after = Some(String::new())),
        with(&|s| s.after = Some("' OR 1".into())),
        with(&|s| s.after = Some("m-5".into())),
    ] {
        let found = history.search(&bad).await;
        assert!(matches!(found, Err(HistoryError::Invalid(_))), "{found:?}");
    }
}

pub(crate) async fn scripts_without_spaces_are_found(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "find-cjk-a";
    let mut log = Log::group(&history, "find-cjk", &[a]).await;
    for text in ["今日は世界", "界世", "こんにちは gg"] {
        log.say(a, text).await;
    }
    assert_eq!(hits(&history, a, "世界").await, ["今日は世界"]);
    assert_eq!(hits(&history, a, "にち gg").await, ["こんにちは gg"]);
}
