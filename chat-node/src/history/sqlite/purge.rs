//! Deleting what is left of a removed room, a little at a time, so that nobody's append waits
//! behind a million rows.

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use shared::id::{RoomId, Seq};

use super::{columns::Key, rooms};

/// Entries deleted in one go: a few milliseconds.
pub(super) const CHUNK: u32 = 500;

/// Makes a room invisible at once if its head is still `at`; its rows follow. Answers whether the
/// room is gone.
pub(super) fn remove(conn: &Connection, room: &RoomId, at: Seq) -> Result<bool> {
    let Some((key, head)) = rooms::place(conn, room)? else {
        return Ok(true);
    };
    if head != at {
        return Ok(false);
    }
    for sql in [
        "INSERT INTO gone (room) VALUES (?1)",
        "DELETE FROM member WHERE room = ?1",
        "DELETE FROM ban WHERE room = ?1",
        "DELETE FROM room WHERE key = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([key])?;
    }
    Ok(true)
}

/// How many rooms wait to be purged.
pub(super) fn waiting(conn: &Connection) -> Result<u32> {
    conn.prepare_cached("SELECT count(*) FROM gone")?
        .query_row([], |row| row.get(0))
}

/// Deletes a little of one of them.
pub(super) fn step(conn: &Connection) -> Result<()> {
    let Some(room) = conn
        .prepare_cached("SELECT room FROM gone LIMIT 1")?
        .query_row([], |row| row.get::<_, Key>(0))
        .optional()?
    else {
        return Ok(());
    };
    let upto: Option<i64> = conn
        .prepare_cached(
            "SELECT max(seq) FROM (SELECT seq FROM entry WHERE room = ?1 ORDER BY seq LIMIT ?2)",
        )?
        .query_row(params![room, CHUNK], |row| row.get(0))?;
    let Some(upto) = upto else {
        for sql in [
            "DELETE FROM mention WHERE room = ?1",
            "DELETE FROM gone WHERE room = ?1",
        ] {
            conn.prepare_cached(sql)?.execute([room])?;
        }
        return Ok(());
    };
    rows(conn, room, upto)
}

/// Deletes the entries of a room up to one, and what is derived from them.
pub(super) fn rows(conn: &Connection, room: Key, upto: i64) -> Result<()> {
    for sql in [
        // First what frees the most: when the file is full the rest needs those pages.
        "DELETE FROM entry WHERE room = ?1 AND seq <= ?2",
        "DELETE FROM words WHERE rowid IN
             (SELECT id FROM message WHERE room = ?1 AND seq <= ?2 AND deleted = 0)",
        "DELETE FROM message WHERE room = ?1 AND seq <= ?2",
        "DELETE FROM reaction WHERE room = ?1 AND target <= ?2",
        "DELETE FROM reactor WHERE room = ?1 AND target <= ?2",
    ] {
        conn.prepare_cached(sql)?.execute(params![room, upto])?;
    }
    Ok(())
}
