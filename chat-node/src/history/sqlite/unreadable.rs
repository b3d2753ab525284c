//! What is served in place of an entry that cannot be read.
//!
//! One bad row must not take a room with it: pages, syncs and the start of the room go on, every
//! seq stays where it is, and clients see by `unreadable` that there is something they miss.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::{
    id::{Nonce, Seq},
    protocol::room::{EntryBody, MessageBody, RoomChange},
    telemetry::Sparing,
};

use super::columns::Key;

/// Tells the log and the metrics.
pub(super) fn report(conn: &Connection, room: Key, seq: Seq) {
    static LINES: Sparing = Sparing::each_second();
    metrics::counter!("fireside_history_unreadable_total").increment(1);
    if let Some(more) = LINES.due() {
        let id: Option<String> = conn
            .prepare_cached("SELECT id FROM room WHERE key = ?1")
            .and_then(|mut find| find.query_row(params![room], |row| row.get(0)).optional())
            .unwrap_or_default();
        let room = id.unwrap_or_default();
        tracing::error!(room, %seq, more, "an entry cannot be read; it is served as unreadable");
    }
}

/// A message without its words.
pub(super) fn message(nonce: Nonce) -> MessageBody {
    MessageBody {
        nonce,
        text: String::new(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
        unreadable: true,
    }
}

/// What stands in the log: a message stays one, by its nonce in the column at `nonce`; of anything
/// else nothing is known, and it changes nothing.
pub(super) fn body(row: &Row<'_>, nonce: usize) -> EntryBody {
    match nonce_of(row, nonce) {
        Some(nonce) => EntryBody::Message(message(nonce)),
        None => EntryBody::Room(RoomChange {
            unreadable: true,
            ..RoomChange::default()
        }),
    }
}

/// The nonce in a column, if it is there and is one.
pub(super) fn nonce_of(row: &Row<'_>, at: usize) -> Option<Nonce> {
    let text = row.get_ref(at).ok()?.as_str().ok()?;
    Nonce::parse(text).ok()
}
