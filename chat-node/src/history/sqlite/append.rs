//! Compare-and-append, within the writer's transaction.

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use shared::{
    id::{Epoch, Nonce, RoomId, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, RoomChange, RoomKind},
};

use super::{
    columns::{self, Key, kind_value, seq_value},
    fold::Fold,
};
use crate::history::{AppendError, NewEntry, Outcome};

/// An entry with its body encoded already: the writer thread is the one place that cannot be
/// shared out, so encoding happens on the caller's.
pub(super) struct Encoded {
    pub(super) user: UserId,
    pub(super) ts: Timestamp,
    pub(super) body: EntryBody,
    json: String,
}

impl Encoded {
    pub(super) fn new(entry: NewEntry) -> serde_json::Result<Self> {
        Ok(Self {
            json: serde_json::to_string(&entry.body)?,
            user: entry.user,
            ts: entry.ts,
            body: entry.body,
        })
    }

    /// About how many bytes it holds while it waits.
    pub(super) fn weight(&self) -> usize {
        2 * self.json.len() + 128
    }
}

struct Head {
    key: Key,
    kind: RoomKind,
    seq: Seq,
    messages: i64,
}

/// The inner error is the caller's answer; the outer one is the database's, and the caller of
/// this must roll back to where it began.
pub(super) fn append(
    conn: &Connection,
    room: &RoomId,
    expected: Seq,
    entries: &[Encoded],
) -> Result<Result<Vec<Outcome>, AppendError>> {
    let head = match head_of(conn, room)? {
        Some(head) if head.seq == expected => head,
        Some(head) => return Ok(Err(AppendError::Conflict { head: head.seq })),
        None if expected != Seq::ZERO => {
            return Ok(Err(AppendError::Conflict { head: Seq::ZERO }));
        }
        None => match entries.first().map(|entry| &entry.body) {
            None => return Ok(Ok(Vec::new())),
            Some(EntryBody::Room(RoomChange {
                created: Some(kind),
                ..
            })) => create(conn, room, *kind, entries[0].ts)?,
            Some(_) => return Ok(Err(AppendError::NotCreated)),
        },
    };
    let mut fold = Fold::new(conn, head.key, head.kind, head.messages);
    let mut outcomes = Vec::with_capacity(entries.len());
    let mut at = head.seq;
    for entry in entries {
        if insert(conn, head.key, at.next(), entry)? {
            at = at.next();
            fold.entry(at, &entry.user, &entry.body)?;
            outcomes.push(Outcome {
                seq: at,
                ts: entry.ts,
                dup: false,
            });
        } else {
            outcomes.push(first_of_nonce(conn, head.key, entry)?);
        }
    }
    if at != head.seq {
        conn.prepare_cached(
            "UPDATE room SET head = ?2, last = coalesce(?3, last), messages = ?4 WHERE key = ?1",
        )?
        .execute(params![
            head.key,
            seq_value(at),
            fold.last_message().map(seq_value),
            fold.messages()
        ])?;
    }
    Ok(Ok(outcomes))
}

fn head_of(conn: &Connection, room: &RoomId) -> Result<Option<Head>> {
    conn.prepare_cached("SELECT key, kind, head, messages FROM room WHERE id = ?1")?
        .query_row([room.as_str()], |row| {
            Ok(Head {
                key: row.get(0)?,
                kind: columns::kind(row, 1)?,
                seq: columns::seq(row, 2)?,
                messages: row.get(3)?,
            })
        })
        .optional()
}

fn create(conn: &Connection, room: &RoomId, kind: RoomKind, at: Timestamp) -> Result<Head> {
    conn.prepare_cached(
        "INSERT INTO room (id, kind, epoch, head, oldest) VALUES (?1, ?2, ?3, 0, ?4)",
    )?
    .execute(params![
        room.as_str(),
        kind_value(kind),
        Epoch::generate().as_str(),
        at.as_millis()
    ])?;
    Ok(Head {
        key: conn.last_insert_rowid(),
        kind,
        seq: Seq::ZERO,
        messages: 0,
    })
}

/// Whether it stands there now; `false` when it is a message whose nonce is known.
fn insert(conn: &Connection, key: Key, seq: Seq, entry: &Encoded) -> Result<bool> {
    let nonce = match &entry.body {
        EntryBody::Message(message) => Some(message.nonce.as_str()),
        _ => None,
    };
    let edits = match &entry.body {
        EntryBody::Edit { target, .. } => Some(seq_value(*target)),
        _ => None,
    };
    let rows = conn
        .prepare_cached(
            "INSERT INTO entry (room, seq, user, ts, nonce, edits, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (room, nonce, user) WHERE nonce IS NOT NULL DO NOTHING",
        )?
        .execute(params![
            key,
            seq_value(seq),
            entry.user.as_str(),
            entry.ts.as_millis(),
            nonce,
            edits,
            entry.json
        ])?;
    Ok(rows == 1)
}

fn first_of_nonce(conn: &Connection, key: Key, entry: &Encoded) -> Result<Outcome> {
    let EntryBody::Message(message) = &entry.body else {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    };
    sent(conn, key, &entry.user, &message.nonce)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Where the message of a nonce stands.
pub(super) fn sent(
    conn: &Connection,
    key: Key,
    user: &UserId,
    nonce: &Nonce,
) -> Result<Option<Outcome>> {
    conn.prepare_cached("SELECT seq, ts FROM entry WHERE room = ?1 AND user = ?2 AND nonce = ?3")?
        .query_row(params![key, user.as_str(), nonce.as_str()], |row| {
            Ok(Outcome {
                seq: columns::seq(row, 0)?,
                ts: columns::time(row, 1)?,
                dup: true,
            })
        })
        .optional()
}
