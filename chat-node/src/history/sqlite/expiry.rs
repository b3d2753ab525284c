//! What is older than the operator keeps, taken off the front of a log, a little at a time, so that
//! nobody's append waits behind it.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use shared::{
    id::{RoomId, Seq, Timestamp},
    protocol::room::RoomKind,
};

use super::{
    columns::{self, Key, kind_value},
    purge,
};
use crate::history::{Expired, Overdue};

/// Rooms that are looked at in one go: a millisecond or two.
const PORTION: u32 = 2_000;

/// The log of a room as it begins.
struct Front {
    key: Key,
    kind: RoomKind,
    head: i64,
    first: i64,
}

/// An entry as far as it matters here.
struct Old {
    seq: i64,
    ts: i64,
    /// Of a message, who said it.
    author: Option<String>,
}

/// The first entry that is kept; none when there is no such room.
pub(super) fn first(conn: &Connection, room: &RoomId) -> Result<Option<Seq>> {
    conn.prepare_cached("SELECT first FROM room WHERE id = ?1")?
        .query_row([room.as_str()], |row| columns::seq(row, 0))
        .optional()
}

/// Rooms that begin before a time, among the next ones after a key.
pub(super) fn overdue(
    conn: &Connection,
    kind: RoomKind,
    before: Timestamp,
    after: Key,
) -> Result<Overdue> {
    let (looked_at, last) = conn
        .prepare_cached(
            "SELECT count(*), coalesce(max(key), 0)
             FROM (SELECT key FROM room WHERE key > ?1 ORDER BY key LIMIT ?2)",
        )?
        .query_row(params![after, PORTION], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, Key>(1)?))
        })?;
    let rooms = conn
        .prepare_cached(
            "SELECT id FROM room WHERE key > ?1 AND key <= ?2
             AND kind = ?3 AND oldest < ?4 AND first < head ORDER BY key",
        )?
        .query_map(
            params![after, last, kind_value(kind), before.as_millis()],
            |row| columns::room_id(row, 0),
        )?
        .collect::<Result<_>>()?;
    Ok(Overdue {
        rooms,
        next: (looked_at == PORTION).then(|| last.to_string()),
    })
}

/// Forgets a little of what a log begins with.
pub(super) fn expire(conn: &Connection, room: &RoomId, before: Timestamp) -> Result<Expired> {
    let Some(front) = front(conn, room)? else {
        return Ok(Expired::default());
    };
    let mut old = oldest(conn, &front)?;
    // The one after the last that goes is the first that is kept.
    let count = old
        .iter()
        .take(old.len().saturating_sub(1))
        .take_while(|entry| entry.ts < before.as_millis())
        .count();
    let kept = old.drain(count..).next();
    let (Some(kept), Some(last)) = (kept, old.last()) else {
        return Ok(Expired::default());
    };
    let upto = last.seq;
    unread_less(conn, &front, &old)?;
    unmention(conn, front.key, upto)?;
    purge::rows(conn, front.key, upto)?;
    let messages = old.iter().filter(|entry| entry.author.is_some()).count();
    conn.prepare_cached(
        "UPDATE room SET first = ?2, oldest = ?3, expired = expired + ?4,
                         last = CASE WHEN last >= ?2 THEN last END
         WHERE key = ?1",
    )?
    .execute(params![front.key, kept.seq, kept.ts, messages as i64])?;
    Ok(Expired {
        entries: count as u64,
        more: kept.ts < before.as_millis() && kept.seq < front.head,
    })
}

fn front(conn: &Connection, room: &RoomId) -> Result<Option<Front>> {
    conn.prepare_cached("SELECT key, kind, head, first FROM room WHERE id = ?1")?
        .query_row([room.as_str()], |row| {
            Ok(Front {
                key: row.get(0)?,
                kind: columns::kind(row, 1)?,
                head: row.get(2)?,
                first: row.get(3)?,
            })
        })
        .optional()
}

/// As many as may go at once, and the one after them.
fn oldest(conn: &Connection, front: &Front) -> Result<Vec<Old>> {
    conn.prepare_cached(
        "SELECT seq, ts, CASE WHEN nonce IS NOT NULL THEN user END FROM entry
         WHERE room = ?1 AND seq >= ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
    )?
    .query_map(
        params![front.key, front.first, front.head, purge::CHUNK + 1],
        |row| {
            Ok(Old {
                seq: row.get(0)?,
                ts: row.get(1)?,
                author: row.get(2)?,
            })
        },
    )?
    .collect()
}

/// Members who have not read that far have that much less of their own after their markers.
fn unread_less(conn: &Connection, front: &Front, old: &[Old]) -> Result<()> {
    if front.kind == RoomKind::Channel {
        return Ok(());
    }
    let mut said: HashMap<&str, Vec<i64>> = HashMap::new();
    for entry in old {
        if let Some(author) = &entry.author {
            said.entry(author).or_default().push(entry.seq);
        }
    }
    for (author, seqs) in said {
        let read = conn
            .prepare_cached("SELECT read FROM member WHERE room = ?1 AND user = ?2")?
            .query_row(params![front.key, author], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(read) = read else { continue };
        let after = seqs.iter().filter(|seq| **seq > read).count();
        if after > 0 {
            conn.prepare_cached("UPDATE member SET own = own - ?3 WHERE room = ?1 AND user = ?2")?
                .execute(params![front.key, author, after as i64])?;
        }
    }
    Ok(())
}

/// Mentions stand by whom they mention: each is asked for once.
fn unmention(conn: &Connection, room: Key, upto: i64) -> Result<()> {
    let mut after = String::new();
    loop {
        let next: Option<String> = conn
            .prepare_cached(
                "SELECT user FROM mention WHERE room = ?1 AND user > ?2 ORDER BY user LIMIT 1",
            )?
            .query_row(params![room, after], |row| row.get(0))
            .optional()?;
        let Some(user) = next else { return Ok(()) };
        conn.prepare_cached("DELETE FROM mention WHERE room = ?1 AND user = ?2 AND seq <= ?3")?
            .execute(params![room, user, upto])?;
        after = user;
    }
}

/// Where an earlier answer ended; `None` when that is not one of ours.
pub(super) fn cursor(from: Option<&str>) -> Option<Key> {
    from.map_or(Some(0), |from| from.parse().ok())
}
