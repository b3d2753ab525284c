//! Rooms, their members and their logs, read.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Result, params};
use shared::{
    id::{RoomId, Seq, UserId},
    protocol::room::{Entry, RoomKind, RoomView, UserRef},
};

use super::{
    columns::{self, Key, seq_value},
    messages, unreadable,
};
use crate::history::{MemberRecord, RoomRecord};

/// A room's key.
pub(super) fn key(conn: &Connection, room: &RoomId) -> Result<Option<Key>> {
    conn.prepare_cached("SELECT key FROM room WHERE id = ?1")?
        .query_row([room.as_str()], |row| row.get(0))
        .optional()
}

/// A room's key and its head.
pub(super) fn place(conn: &Connection, room: &RoomId) -> Result<Option<(Key, Seq)>> {
    conn.prepare_cached("SELECT key, head FROM room WHERE id = ?1")?
        .query_row([room.as_str()], |row| {
            Ok((row.get(0)?, columns::seq(row, 1)?))
        })
        .optional()
}

/// What a room actor starts from.
pub(super) fn record(conn: &Connection, room: &RoomId) -> Result<Option<RoomRecord>> {
    let found = conn
        .prepare_cached(
            "SELECT key, kind, name, topic, slow_mode_ms, epoch, head FROM room WHERE id = ?1",
        )?
        .query_row([room.as_str()], |row| {
            let record = RoomRecord {
                id: room.clone(),
                kind: columns::kind(row, 1)?,
                name: row.get(2)?,
                topic: row.get(3)?,
                slow_mode_ms: row.get(4)?,
                epoch: columns::epoch(row, 5)?,
                head: columns::seq(row, 6)?,
                members: Vec::new(),
                bans: Vec::new(),
            };
            Ok((row.get::<_, Key>(0)?, record))
        })
        .optional()?;
    let Some((key, mut record)) = found else {
        return Ok(None);
    };
    record.members = conn
        .prepare_cached(
            "SELECT user, role, muted, read FROM member WHERE room = ?1 ORDER BY since",
        )?
        .query_map([key], |row| {
            Ok(MemberRecord {
                user: columns::user(row, 0)?,
                role: columns::role(row, 1)?,
                muted: columns::muted(row, 2)?,
                read: columns::seq(row, 3)?,
            })
        })?
        .collect::<Result<_>>()?;
    record.bans = conn
        .prepare_cached("SELECT user, until FROM ban WHERE room = ?1 ORDER BY user")?
        .query_map([key], |row| {
            let until = row.get::<_, Option<i64>>(1)?;
            Ok((
                columns::user(row, 0)?,
                until.map(shared::id::Timestamp::from_millis),
            ))
        })?
        .collect::<Result<_>>()?;
    Ok(Some(record))
}

/// Entries after a position.
pub(super) fn log(conn: &Connection, room: &RoomId, after: Seq, limit: u32) -> Result<Vec<Entry>> {
    let Some(key) = key(conn, room)? else {
        return Ok(Vec::new());
    };
    conn.prepare_cached(
        "SELECT seq, user, ts, body, nonce FROM entry WHERE room = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?
    .query_map(params![key, seq_value(after), limit], |row| {
        let seq = columns::seq(row, 0)?;
        let body = columns::body(row, 3)?.unwrap_or_else(|| {
            unreadable::report(conn, key, seq);
            unreadable::body(row, 4)
        });
        Ok(Entry {
            seq,
            user: columns::user(row, 1)?,
            ts: columns::time(row, 2)?,
            body,
        })
    })?
    .collect()
}

/// The rooms a user belongs to, direct-message rooms apart.
pub(super) fn memberships(conn: &Connection, user: &UserId) -> Result<Vec<RoomId>> {
    conn.prepare_cached(
        "SELECT room.id FROM member JOIN room ON room.key = member.room
         WHERE member.user = ?1 AND room.kind <> ?2 ORDER BY room.id",
    )?
    .query_map(
        params![user.as_str(), columns::kind_value(RoomKind::Dm)],
        |row| columns::room_id(row, 0),
    )?
    .collect()
}

/// Lobbies that nobody is in.
pub(super) fn deserted_lobbies(conn: &Connection, limit: u32) -> Result<Vec<RoomId>> {
    conn.prepare_cached("SELECT id FROM room WHERE kind = ?1 AND members = 0 LIMIT ?2")?
        .query_map(
            params![columns::kind_value(RoomKind::Lobby), limit],
            |row| columns::room_id(row, 0),
        )?
        .collect()
}

/// The rooms a user belongs to, as that user sees them.
///
/// One statement finds them all with their counts, which cost the same however much is unread; the
/// newest messages are found by position, a few microseconds each.
pub(super) fn views(
    conn: &Connection,
    user: &UserId,
    only: Option<&RoomId>,
) -> Result<Vec<RoomView>> {
    let found = views_statement(conn, only.is_some())?
        .query_map(
            params![
                user.as_str(),
                only.map(RoomId::as_str),
                columns::kind_value(RoomKind::Channel),
                columns::kind_value(RoomKind::Dm)
            ],
            |row| {
                let last = match row.get::<_, Option<i64>>(8)? {
                    None => None,
                    Some(_) => Some(columns::seq(row, 8)?),
                };
                let peer = match row.get_ref(15)? {
                    rusqlite::types::ValueRef::Null => None,
                    _ => Some(UserRef {
                        id: columns::user(row, 15)?,
                        name: None,
                    }),
                };
                let view = RoomView {
                    id: columns::room_id(row, 1)?,
                    kind: columns::kind(row, 2)?,
                    name: row.get(3)?,
                    topic: row.get(4)?,
                    slow_mode_ms: row.get(5)?,
                    epoch: columns::epoch(row, 6)?,
                    head: columns::seq(row, 7)?,
                    first: Some(columns::seq(row, 16)?).filter(|first| *first > Seq::FIRST),
                    last: None,
                    members: row.get(9)?,
                    role: columns::role(row, 10)?,
                    muted_until: columns::muted(row, 11)?
                        .map(|until| until.unwrap_or(shared::id::Timestamp::FOREVER)),
                    read: columns::seq(row, 12)?,
                    unread: row.get::<_, i64>(13)?.unsigned_abs(),
                    mentions: row.get::<_, i64>(14)?.unsigned_abs(),
                    peer,
                };
                Ok((row.get::<_, Key>(0)?, last, view))
            },
        )?
        .collect::<Result<Vec<_>>>()?;
    let mut views = Vec::with_capacity(found.len());
    for (key, last, mut view) in found {
        if let Some(last) = last {
            view.last = messages::one(conn, key, last)?;
        }
        views.push(view);
    }
    Ok(views)
}

/// Finds a user's rooms with their counts; `one`: only that of the id.
pub(super) fn views_statement(conn: &Connection, one: bool) -> Result<CachedStatement<'_>> {
    let which = if one {
        "me.room = (SELECT key FROM room WHERE id = ?2)"
    } else {
        "?2 IS NULL"
    };
    conn.prepare_cached(&format!(
        "SELECT room.key, room.id, room.kind, room.name, room.topic, room.slow_mode_ms,
                room.epoch, room.head, room.last, room.members,
                me.role, me.muted, me.read,
                CASE WHEN room.kind = ?3 THEN 0 ELSE
                    room.messages
                    - coalesce((SELECT place FROM message INDEXED BY message_position
                                WHERE message.room = room.key AND message.seq <= me.read
                                ORDER BY message.seq DESC LIMIT 1), room.expired)
                    - me.own
                    - (SELECT count(*) FROM message INDEXED BY message_deleted
                       WHERE message.room = room.key AND message.seq > me.read
                         AND message.deleted = 1 AND message.author <> me.user) END,
                CASE WHEN room.kind = ?3 THEN 0 ELSE
                    (SELECT count(*) FROM mention
                     WHERE mention.room = room.key AND mention.user = me.user
                       AND mention.seq > me.read) END,
                CASE WHEN room.kind = ?4 THEN
                    (SELECT peer.user FROM member AS peer
                     WHERE peer.room = room.key AND peer.user <> me.user LIMIT 1) END,
                room.first
         FROM member AS me JOIN room ON room.key = me.room
         WHERE me.user = ?1 AND {which}
         ORDER BY room.id"
    ))
}
