//! What is older than is kept: gone from the front, with all that was derived from it, and no hole.

use std::collections::BTreeMap;

use chat_node::history::{Cursor, Expired, History, NewEntry, Search};
use futures_util::future::join_all;
use shared::{
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, MemberAction, RoomKind, RoomView},
};

use super::{
    HistoryFactory, Log, change, created, delete, edit, mentioning, message, react, room, said,
    under, user,
};

/// Each room of the suite has a clock that ticks once an entry, from 1,000: what is of this time or
/// later is kept.
const KEPT: Timestamp = Timestamp::from_millis(50_000);

/// Takes all the steps there are; how many entries went.
pub(crate) async fn expire(history: &dyn History, room: &RoomId, before: Timestamp) -> u64 {
    let mut gone = 0;
    loop {
        let Expired { entries, more } = history.expire(room, before).await.unwrap();
        gone += entries;
        if !more {
            return gone;
        }
    }
}

async fn seqs(log: &Log, after: Seq, limit: u32) -> Vec<u64> {
    let entries = log.history.log(&log.id, after, limit).await.unwrap();
    entries.iter().map(|entry| entry.seq.get()).collect()
}

async fn view(log: &Log, who: &str) -> RoomView {
    let views = log.history.views(&user(who), Some(&log.id)).await.unwrap();
    views.into_iter().next().unwrap()
}

async fn found(history: &dyn History, who: &UserId, text: &str) -> Vec<(RoomId, u64)> {
    let search = Search {
        user: who.clone(),
        text: text.into(),
        room: None,
        author: None,
        after: None,
        limit: 50,
    };
    let found = history.search(&search).await.unwrap();
    let items = found.items.into_iter();
    items
        .map(|(room, message)| (room, message.seq.get()))
        .collect()
}

pub(crate) async fn what_is_old_goes_from_the_front(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("old-a", "old-b");
    let mut log = Log::group(&history, "old", &[a, b]).await;
    let nonce = message("x").nonce;
    log.one(a, under(nonce.as_str(), "long ago")).await;
    log.put(a, vec![said("2"), said("3")]).await;
    let before = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!(history.first(&log.id).await, Ok(Seq::FIRST));
    assert_eq!(history.first(&room("old-no")).await, Ok(Seq::ZERO));
    assert_eq!(view(&log, a).await.first, None);
    log.sleep_until(KEPT);
    let first = log.say(b, "now").await;
    log.put(a, vec![said("5"), said("6")]).await;

    assert_eq!(expire(&*history, &log.id, KEPT).await, 6);
    assert_eq!(expire(&*history, &log.id, KEPT).await, 0, "once");
    assert_eq!(expire(&*history, &room("old-no"), KEPT).await, 0);
    assert_eq!(history.first(&log.id).await, Ok(first));
    let kept: Vec<u64> = (first.get()..=log.head.get()).collect();
    for after in [0, 3, first.get() - 1] {
        assert_eq!(seqs(&log, Seq::new(after), 99).await, kept, "after {after}");
        assert_eq!(
            seqs(&log, Seq::new(after), 2).await,
            kept[..2],
            "after {after}"
        );
    }
    assert_eq!(seqs(&log, first, 99).await, kept[1..]);
    assert!(seqs(&log, log.head, 99).await.is_empty());
    let gone = history
        .messages(&log.id, &[Seq::new(4), first])
        .await
        .unwrap();
    assert_eq!(gone.iter().map(|m| m.seq).collect::<Vec<_>>(), [first]);

    // Who is in, and all else that the room is, stands.
    let now = history.room(&log.id).await.unwrap().unwrap();
    assert_eq!((now.head, &now.epoch), (log.head, &before.epoch));
    assert_eq!((&now.members, &now.name), (&before.members, &before.name));
    let seen = view(&log, a).await;
    assert_eq!((seen.first, seen.members), (Some(first), 2));

    // A nonce is known for as long as its message stands.
    assert_eq!(history.sent(&log.id, &user(a), &nonce).await, Ok(None));
    let again = log.put(a, vec![under(nonce.as_str(), "again")]).await;
    assert!(!again[0].dup);
    drop(history);
    let history = factory.reopen(log.history).await;
    assert_eq!(history.first(&room("old")).await, Ok(first));
}

pub(crate) async fn pages_end_where_the_log_begins(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "oldpage-a";
    let mut log = Log::group(&history, "oldpage", &[a]).await;
    // Messages at 3, 5, 7, 9 and, kept, at 11, 13, 15.
    for n in 0..7 {
        if n == 4 {
            log.sleep_until(KEPT);
        }
        let seq = log.say(a, "x").await;
        log.one(a, react(seq, "👍", true)).await;
    }
    assert_eq!(expire(&*history, &log.id, KEPT).await, 10);
    let cases: [(Cursor, u32, &[u64], bool, bool); 10] = [
        (Cursor::Newest, 9, &[11, 13, 15], false, false),
        (Cursor::Newest, 2, &[13, 15], true, false),
        (Cursor::Before(Seq::new(13)), 9, &[11], false, true),
        (Cursor::Before(Seq::new(15)), 1, &[13], true, true),
        (Cursor::Before(Seq::new(11)), 9, &[], false, true),
        (Cursor::Before(Seq::new(4)), 9, &[], false, true),
        (Cursor::After(Seq::ZERO), 2, &[11, 13], false, true),
        (Cursor::After(Seq::new(5)), 9, &[11, 13, 15], false, false),
        (Cursor::Around(Seq::new(5)), 4, &[11, 13], false, true),
        (Cursor::Around(Seq::new(13)), 4, &[11, 13, 15], false, false),
    ];
    for (at, limit, expected, before, after) in cases {
        let page = history.page(&log.id, at, limit).await.unwrap();
        let seqs: Vec<u64> = page.items.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, expected, "{at:?}");
        assert_eq!((page.has_before, page.has_after), (before, after), "{at:?}");
        assert_eq!(page.first, Seq::new(11), "{at:?}");
    }
}

pub(crate) async fn the_head_is_always_kept(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "oldhead-a";
    let mut log = Log::group(&history, "oldhead", &[a]).await;
    log.put(a, vec![said("1"), said("2")]).await;
    let last = log.one(a, change(MemberAction::Mute, a, None)).await;
    assert_eq!(expire(&*history, &log.id, Timestamp::FOREVER).await, 4);
    assert_eq!(history.first(&log.id).await, Ok(last));
    assert_eq!(seqs(&log, Seq::ZERO, 9).await, [last.get()]);
    let seen = view(&log, a).await;
    assert_eq!((seen.last, seen.unread, seen.head), (None, 0, last));
    let page = history.page(&log.id, Cursor::Newest, 9).await.unwrap();
    assert_eq!(
        (page.items.len(), page.has_before, page.has_after),
        (0, false, false)
    );
    assert_eq!(
        history.heads(std::slice::from_ref(&log.id)).await,
        Ok(vec![(log.id.clone(), last)])
    );
    // The log goes on, and what was the head goes with the rest.
    let next = log.say(a, "3").await;
    assert_eq!(view(&log, a).await.last.unwrap().seq, next);
    assert_eq!(expire(&*history, &log.id, Timestamp::FOREVER).await, 1);
    assert_eq!(seqs(&log, Seq::ZERO, 9).await, [next.get()]);
    assert_eq!(history.remove(&log.id, next).await, Ok(true));
    assert_eq!(expire(&*history, &log.id, Timestamp::FOREVER).await, 0);
    let anew = Log::group(&history, "oldhead", &[a]).await;
    assert_eq!(history.first(&anew.id).await, Ok(Seq::FIRST));
}

/// Clocks of nodes differ: what stands between two that stay stays.
pub(crate) async fn only_the_front_goes(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let id = room("oldfront");
    let times = [1, 1, 9, 1, 9, 1];
    let entries = times.iter().enumerate().map(|(n, ts)| NewEntry {
        user: user("oldfront-a"),
        ts: Timestamp::from_millis(*ts),
        body: if n == 0 {
            created(RoomKind::Group)
        } else {
            said("x")
        },
    });
    history
        .append(&id, Seq::ZERO, entries.collect())
        .await
        .unwrap();
    let five = Timestamp::from_millis(5);
    assert_eq!(expire(&*history, &id, Timestamp::from_millis(1)).await, 0);
    assert_eq!(expire(&*history, &id, five).await, 2);
    let log = history.log(&id, Seq::ZERO, 9).await.unwrap();
    let left: Vec<u64> = log.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(left, [3, 4, 5, 6]);
    assert_eq!(expire(&*history, &id, five).await, 0);
    assert_eq!(expire(&*history, &id, Timestamp::FOREVER).await, 3);
}

pub(crate) async fn what_is_unread_is_what_is_kept(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let people = ["oldread-a", "oldread-b", "oldread-c"];
    let [a, b, c] = people;
    let mut log = Log::group(&history, "oldread", &people).await;
    let mut deleted = Vec::new();
    let mut kept_from = Seq::ZERO;
    for n in 0..30_usize {
        if n == 18 {
            log.sleep_until(KEPT);
            kept_from = log.head.next();
        }
        let mentioned = if n % 2 == 0 { vec![b] } else { vec![] };
        let seq = log.one(people[n % 3], mentioning("x", &mentioned)).await;
        match n % 7 {
            3 => deleted.push(seq),
            5 => drop(log.one(people[n % 3], react(seq, "👍", true)).await),
            _ => {}
        }
        match n {
            8 => drop(history.mark_read(&log.id, &user(b), seq).await.unwrap()),
            20 => drop(history.mark_read(&log.id, &user(c), seq).await.unwrap()),
            _ => {}
        }
    }
    let deletions = deleted.iter().map(|seq| delete(*seq)).collect();
    log.put(a, deletions).await;
    // What was said before, and is said of it now.
    let old = deleted[0].next();
    log.one(
        a,
        EntryBody::Edit {
            target: old,
            text: "@c".into(),
            mentions: vec![user(c)],
        },
    )
    .await;
    check_unread(&log, &people).await;
    let gone = kept_from.get() - 1;
    assert_eq!(expire(&*history, &log.id, KEPT).await, gone);
    check_unread(&log, &people).await;
    // Markers go on from wherever they are.
    for (who, at) in [(a, gone - 3), (b, gone + 2), (c, gone + 4), (a, gone + 6)] {
        let marked = history.mark_read(&log.id, &user(who), Seq::new(at)).await;
        marked.unwrap();
        check_unread(&log, &people).await;
    }
    for who in people {
        log.one(who, mentioning("y", &[a, b])).await;
        check_unread(&log, &people).await;
    }
    expire(&*history, &log.id, Timestamp::FOREVER).await;
    check_unread(&log, &people).await;
    assert!(view(&log, c).await.unread <= 1);
}

/// Counts that are kept up are those that counting comes to.
async fn check_unread(log: &Log, people: &[&str]) {
    let mut messages = BTreeMap::new();
    let mut at = Cursor::After(Seq::ZERO);
    loop {
        let page = log.history.page(&log.id, at, 50).await.unwrap();
        messages.extend(page.items.iter().map(|m| (m.seq, m.clone())));
        let Some(last) = page.items.last().filter(|_| page.has_after) else {
            break;
        };
        at = Cursor::After(last.seq);
    }
    for who in people {
        let view = view(log, who).await;
        let unread = messages
            .values()
            .filter(|m| m.seq > view.read && m.user != user(who) && !m.deleted);
        let mentions = unread.clone().filter(|m| m.mentions.contains(&user(who)));
        let counted = (unread.count() as u64, mentions.count() as u64);
        assert_eq!(
            (view.unread, view.mentions),
            counted,
            "{who} at {}",
            view.read
        );
        assert_eq!(view.last.as_ref(), messages.values().last());
    }
}

pub(crate) async fn what_is_derived_from_it_goes_too(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let (a, b) = ("oldwords-a", "oldwords-b");
    let mut log = Log::group(&history, "oldwords", &[a, b]).await;
    let old = log.say(a, "marmalade").await;
    let edited = log.say(a, "pear").await;
    log.one(b, react(old, "👍", true)).await;
    log.one(b, react(edited, "👍", true)).await;
    assert_eq!(found(&*history, &user(a), "marmalade").await.len(), 1);
    log.sleep_until(KEPT);
    let first = log.one(a, edit(edited, "plum")).await;
    let new = log.say(b, "marmalade again").await;
    expire(&*history, &log.id, KEPT).await;
    assert_eq!(history.first(&log.id).await, Ok(first));
    let only = vec![(log.id.clone(), new.get())];
    assert_eq!(found(&*history, &user(a), "marmalade").await, only);
    assert_eq!(found(&*history, &user(a), "plum").await, []);
    assert_eq!(
        history.reacted(&log.id, old, &user(b), "👍").await,
        Ok(false)
    );
    // Entries about what has gone keep their places, and change nothing.
    log.put(
        b,
        vec![
            edit(old, "x"),
            react(old, "👎", true),
            delete(edited),
            react(new, "👍", true),
        ],
    )
    .await;
    assert_eq!(history.messages(&log.id, &[old, edited]).await, Ok(vec![]));
    assert_eq!(log.message(new).await.reactions.len(), 1);
    assert_eq!(found(&*history, &user(a), "x").await, []);
    assert_eq!(
        seqs(&log, Seq::ZERO, 99).await,
        (first.get()..=log.head.get()).collect::<Vec<_>>()
    );
}

pub(crate) async fn overdue_rooms_are_found_by_kind(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "overdue-a";
    let mut group = Log::group(&history, "overdue-group", &[a]).await;
    let mut dm = Log::of(&history, "overdue-dm", RoomKind::Dm, &[a, "overdue-b"]).await;
    for log in [&mut group, &mut dm] {
        log.say(a, "x").await;
        log.sleep_until(KEPT);
        log.say(a, "y").await;
    }
    let overdue = async |kind, before| {
        let (mut rooms, mut from) = (Vec::new(), None);
        loop {
            let part = history.overdue(kind, before, from).await.unwrap();
            rooms.extend(part.rooms);
            from = part.next;
            if from.is_none() {
                return rooms;
            }
        }
    };
    let none: Vec<RoomId> = Vec::new();
    assert_eq!(
        overdue(RoomKind::Group, Timestamp::from_millis(1_001)).await,
        none
    );
    assert_eq!(overdue(RoomKind::Group, KEPT).await, [group.id.clone()]);
    assert_eq!(overdue(RoomKind::Dm, KEPT).await, [dm.id.clone()]);
    assert_eq!(overdue(RoomKind::Channel, KEPT).await, none);
    expire(&*history, &group.id, KEPT).await;
    assert_eq!(overdue(RoomKind::Group, KEPT).await, none);
    assert_eq!(overdue(RoomKind::Dm, KEPT).await, [dm.id.clone()]);
    // Where only the head is left nothing is due, however old it is, until something follows it.
    let ever = Timestamp::FOREVER;
    expire(&*history, &group.id, ever).await;
    assert_eq!(overdue(RoomKind::Group, ever).await, none);
    group.one(a, change(MemberAction::Mute, a, None)).await;
    expire(&*history, &group.id, ever).await;
    assert_eq!(history.first(&group.id).await, Ok(group.head));
}

/// More than goes at once, by several at once, while others read: every log that is read is whole.
pub(crate) async fn much_goes_a_little_at_a_time(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let a = "oldmuch-a";
    let mut log = Log::group(&history, "oldmuch", &[a]).await;
    for _ in 0..8 {
        log.put(a, (0..200).map(|n| said(&n.to_string())).collect())
            .await;
    }
    log.sleep_until(KEPT);
    let first = log.say(a, "kept").await;
    log.say(a, "kept").await;
    let (id, head) = (log.id.clone(), log.head);
    let reading = tokio::spawn({
        let (history, id) = (history.clone(), id.clone());
        async move {
            let mut begins = Seq::ZERO;
            while begins < first {
                let entries = history.log(&id, Seq::ZERO, 10_000).await.unwrap();
                let dense = entries
                    .windows(2)
                    .all(|two| two[1].seq == two[0].seq.next());
                assert!(dense, "a hole");
                assert_eq!(entries.last().unwrap().seq, head);
                assert!(entries[0].seq >= begins, "it went back");
                begins = entries[0].seq;
                assert!(history.first(&id).await.unwrap() >= begins);
            }
        }
    });
    let gone = join_all((0..3).map(|_| expire(&*history, &id, KEPT))).await;
    assert_eq!(gone.iter().sum::<u64>(), first.get() - 1, "each went once");
    reading.await.unwrap();
    assert_eq!(history.first(&id).await, Ok(first));
    assert_eq!(view(&log, a).await.first, Some(first));
}
