//! Pages of messages.

use chat_node::history::{Cursor, HistoryError, Page};
use shared::id::Seq;

use super::{HistoryFactory, Log, delete, edit, room, said};

/// Messages at 3, 5, 7, … with edits between them, so that positions and messages differ.
async fn spread(factory: &impl HistoryFactory, id: &str, messages: u64) -> Log {
    let history = factory.open().await;
    let by = format!("{id}-a");
    let mut log = Log::group(&history, id, &[by.as_str()]).await;
    let mut bodies = Vec::new();
    for n in 0..messages {
        bodies.extend([said(&n.to_string()), edit(Seq::new(3 + 2 * n), "e")]);
    }
    log.put(&by, bodies).await;
    log
}

async fn page(log: &Log, at: Cursor, limit: u32) -> Page {
    log.history.page(&log.id, at, limit).await.unwrap()
}

fn seqs(page: &Page) -> Vec<u64> {
    page.items.iter().map(|m| m.seq.get()).collect()
}

pub(crate) async fn pages_meet_without_a_gap(factory: &impl HistoryFactory) {
    let log = spread(factory, "page-meet", 23).await;
    let all: Vec<u64> = (0..23).map(|n| 3 + 2 * n).collect();
    let mut back = Vec::new();
    let mut at = Cursor::Newest;
    loop {
        let page = page(&log, at, 5).await;
        assert!(page.items.is_sorted_by_key(|m| m.seq));
        back.splice(0..0, seqs(&page));
        if !page.has_before {
            break;
        }
        at = Cursor::Before(page.items[0].seq);
    }
    assert_eq!(back, all);
    let mut on = Vec::new();
    let mut at = Cursor::After(Seq::ZERO);
    loop {
        let page = page(&log, at, 4).await;
        on.extend(seqs(&page));
        if !page.has_after {
            break;
        }
        at = Cursor::After(page.items.last().unwrap().seq);
    }
    assert_eq!(on, all);
}

pub(crate) async fn the_edges_of_pages_are_known(factory: &impl HistoryFactory) {
    let log = spread(factory, "page-edge", 4).await;
    let cases: [(Cursor, u32, &[u64], bool, bool); 11] = [
        (Cursor::Newest, 4, &[3, 5, 7, 9], false, false),
        (Cursor::Newest, 3, &[5, 7, 9], true, false),
        (Cursor::Before(Seq::new(7)), 1, &[5], true, true),
        (Cursor::Before(Seq::new(8)), 9, &[3, 5, 7], false, true),
        (Cursor::Before(Seq::new(3)), 9, &[], false, true),
        (Cursor::Before(Seq::new(999)), 2, &[7, 9], true, false),
        (Cursor::After(Seq::new(3)), 2, &[5, 7], true, true),
        (Cursor::After(Seq::new(9)), 2, &[], true, false),
        (Cursor::After(Seq::new(999)), 2, &[], true, false),
        (Cursor::After(Seq::new(6)), 2, &[7, 9], true, false),
        (Cursor::After(Seq::new(u64::MAX)), 2, &[], true, false),
    ];
    for (at, limit, expected, before, after) in cases {
        let page = page(&log, at, limit).await;
        assert_eq!(seqs(&page), expected, "{at:?}");
        assert_eq!((page.has_before, page.has_after), (before, after), "{at:?}");
    }
    let empty = Log::group(&log.history, "page-empty", &["page-empty-a"]).await;
    let page = page(&empty, Cursor::Newest, 9).await;
    assert_eq!(
        (seqs(&page), page.has_before, page.has_after),
        (vec![], false, false)
    );
    let record = log.history.room(&empty.id).await.unwrap().unwrap();
    assert_eq!(page.epoch, record.epoch);
}

pub(crate) async fn a_page_around_a_position_has_both_sides(factory: &impl HistoryFactory) {
    let log = spread(factory, "page-around", 10).await;
    let cases: [(u64, u32, &[u64]); 5] = [
        (11, 4, &[7, 9, 11, 13]),
        (11, 5, &[7, 9, 11, 13, 15]),
        (12, 4, &[9, 11, 13, 15]),
        (3, 4, &[3, 5]),
        (11, 1, &[11]),
    ];
    for (at, limit, expected) in cases {
        let page = page(&log, Cursor::Around(Seq::new(at)), limit).await;
        assert_eq!(seqs(&page), expected, "around {at}");
        assert_eq!(page.has_before, expected[0] > 3);
        assert!(page.has_after);
    }
    let page = page(&log, Cursor::Around(Seq::new(500)), 4).await;
    assert_eq!((seqs(&page), page.has_after), (vec![19, 21], false));
}

pub(crate) async fn an_unknown_room_has_no_page(factory: &impl HistoryFactory) {
    let history = factory.open().await;
    let none = history.page(&room("page-none"), Cursor::Newest, 5).await;
    assert_eq!(none, Err(HistoryError::NoRoom));
}

pub(crate) async fn messages_are_found_by_position(factory: &impl HistoryFactory) {
    let mut log = spread(factory, "page-by", 3).await;
    log.one("page-by-a", delete(Seq::new(5))).await;
    let asked = [7, 5, 4, 1, 3, 100].map(Seq::new);
    let found = log.history.messages(&log.id, &asked).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|m| (m.seq.get(), m.deleted)).collect();
    found.sort_unstable();
    assert_eq!(found, [(3, false), (5, true), (7, false)]);
    let none = log.history.messages(&room("page-by-no"), &asked).await;
    assert_eq!(none.unwrap(), []);
}
