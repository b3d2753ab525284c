//! What a node may have missed: where logs stand, and what happened lately to people.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use shared::{
    id::{RoomId, Seq, Timestamp, UserId},
    protocol::room::RoomKind,
};

use super::{
    columns::{self, Key, seq_value},
    rooms,
};
use crate::history::{Missed, Stirred};

/// Where these logs stand.
pub(super) fn heads(conn: &Connection, rooms: Vec<RoomId>) -> Result<Vec<(RoomId, Seq)>> {
    let mut heads = Vec::with_capacity(rooms.len());
    for room in rooms {
        if let Some((_, head)) = rooms::place(conn, &room)? {
            heads.push((room, head));
        }
    }
    Ok(heads)
}

/// What happened to these users at `since` or later.
pub(super) fn since(conn: &Connection, users: &[UserId], since: Timestamp) -> Result<Missed> {
    let mut missed = Missed::default();
    let mut looked_at = HashSet::new();
    for user in users {
        stirred(conn, user, since, &mut looked_at, &mut missed.direct)?;
        let joined = conn
            .prepare_cached(
                "SELECT room.id, member.since FROM member JOIN room ON room.key = member.room
                 JOIN entry ON entry.room = member.room AND entry.seq = member.since
                 WHERE member.user = ?1 AND room.kind <> ?2 AND entry.ts >= ?3 ORDER BY room.id",
            )?
            .query_map(
                params![
                    user.as_str(),
                    columns::kind_value(RoomKind::Dm),
                    since.as_millis()
                ],
                |row| Ok((columns::room_id(row, 0)?, columns::seq(row, 1)?)),
            )?
            .collect::<Result<Vec<_>>>()?;
        let joined = joined.into_iter();
        missed
            .joined
            .extend(joined.map(|(room, seq)| (user.clone(), room, seq)));
    }
    Ok(missed)
}

/// The direct-message rooms of a user in which something happened; each is looked at once.
fn stirred(
    conn: &Connection,
    user: &UserId,
    since: Timestamp,
    looked_at: &mut HashSet<Key>,
    found: &mut Vec<Stirred>,
) -> Result<()> {
    let rooms = conn
        .prepare_cached(
            "SELECT room.key, room.id, room.head, room.first FROM member
             JOIN room ON room.key = member.room
             JOIN entry ON entry.room = room.key AND entry.seq = room.head
             WHERE member.user = ?1 AND room.kind = ?2 AND entry.ts >= ?3 ORDER BY room.id",
        )?
        .query_map(
            params![
                user.as_str(),
                columns::kind_value(RoomKind::Dm),
                since.as_millis()
            ],
            |row| {
                let (head, first) = (columns::seq(row, 2)?, columns::seq(row, 3)?);
                let place = (row.get::<_, Key>(0)?, head, first);
                Ok((columns::room_id(row, 1)?, place))
            },
        )?
        .collect::<Result<Vec<_>>>()?;
    for (room, (key, head, first)) in rooms {
        if !looked_at.insert(key) {
            continue;
        }
        let before = conn
            .prepare_cached(
                "SELECT seq FROM entry WHERE room = ?1 AND seq < ?2 AND ts < ?3
                 ORDER BY seq DESC LIMIT 1",
            )?
            .query_row(params![key, seq_value(head), since.as_millis()], |row| {
                columns::seq(row, 0)
            })
            .optional()?
            // What expired before it is nobody's to miss.
            .unwrap_or_else(|| first.before());
        found.push(Stirred { room, before, head });
    }
    Ok(())
}
