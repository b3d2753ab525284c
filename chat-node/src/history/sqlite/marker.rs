//! Read markers.

use rusqlite::{Connection, Result, params};
use shared::id::{RoomId, Seq, UserId};

use super::{
    columns::{self, Key, seq_value},
    rooms,
};

/// Moves somebody's marker forward, at most to the head; answers where it is then.
pub(super) fn mark(conn: &Connection, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq> {
    let Some(room) = rooms::key(conn, room)? else {
        return Ok(Seq::ZERO);
    };
    let mut find = conn.prepare_cached(
        "SELECT member.read, member.own, room.head
         FROM member JOIN room ON room.key = member.room
         WHERE member.room = ?1 AND member.user = ?2",
    )?;
    let mut rows = find.query(params![room, user.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(Seq::ZERO);
    };
    let (read, own, head) = (
        columns::seq(row, 0)?,
        row.get::<_, i64>(1)?,
        columns::seq(row, 2)?,
    );
    let seq = seq.min(head);
    if seq <= read {
        return Ok(read);
    }
    // On whichever side there is less to walk over: a marker goes over each message once.
    let own = if seq.get() - read.get() < head.get() - seq.get() {
        own - said(conn, room, user, read, seq)?
    } else {
        said(conn, room, user, seq, head)?
    };
    conn.prepare_cached("UPDATE member SET read = ?3, own = ?4 WHERE room = ?1 AND user = ?2")?
        .execute(params![room, user.as_str(), seq_value(seq), own])?;
    Ok(seq)
}

/// How many messages of somebody stand after one position up to another.
fn said(conn: &Connection, room: Key, user: &UserId, after: Seq, upto: Seq) -> Result<i64> {
    conn.prepare_cached(
        "SELECT count(*) FROM entry
         WHERE room = ?1 AND seq > ?3 AND seq <= ?4 AND user = ?2 AND nonce IS NOT NULL",
    )?
    .query_row(
        params![room, user.as_str(), seq_value(after), seq_value(upto)],
        |row| row.get(0),
    )
}
