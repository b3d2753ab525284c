//! Messages as they now read.

use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};
use shared::{
    id::{Seq, Timestamp, UserId},
    protocol::room::{EntryBody, Message, Reaction},
};

use super::{
    columns::{self, Key, seq_value},
    unreadable,
};
use crate::history::{Cursor, HistoryError, Page};

/// How many of those who reacted are named.
const NAMED: u32 = 100;

/// Everything but the reactions.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT message.seq, message.author, message.deleted, said.ts, said.body,
                    edited.ts, edited.body, message.room, said.nonce
             FROM message
             JOIN entry AS said ON said.room = message.room AND said.seq = message.seq
             LEFT JOIN entry AS edited ON edited.room = message.room AND edited.seq = message.edit
             WHERE message.room = ?1 ",
            $rest
        )
    };
}

/// A page; `None` when there is no such room.
pub(super) fn page(
    conn: &Connection,
    room: &str,
    at: Cursor,
    limit: u32,
) -> Result<Result<Page, HistoryError>> {
    let Some((key, epoch, beginning)) = conn
        .prepare_cached("SELECT key, epoch, first FROM room WHERE id = ?1")?
        .query_row([room], |row| {
            Ok((row.get(0)?, columns::epoch(row, 1)?, columns::seq(row, 2)?))
        })
        .optional()?
    else {
        return Ok(Err(HistoryError::NoRoom));
    };
    let items = match at {
        Cursor::Newest => older(conn, key, Seq::new(i64::MAX.unsigned_abs()), limit)?,
        Cursor::Before(seq) => older(conn, key, seq, limit)?,
        Cursor::After(seq) => newer(conn, key, seq.next(), limit)?,
        Cursor::Around(seq) => {
            let mut items = older(conn, key, seq, limit / 2)?;
            items.extend(newer(conn, key, seq, limit - limit / 2)?);
            items
        }
    };
    // The edges of an empty page are those of the gap it was looked for in.
    let (first, last) = match (items.first(), items.last(), at) {
        (Some(first), Some(last), _) => (first.seq, last.seq.next()),
        (_, _, Cursor::Newest) => (Seq::ZERO, Seq::ZERO),
        (_, _, Cursor::After(seq)) => (seq.next(), seq.next()),
        (_, _, Cursor::Before(seq) | Cursor::Around(seq)) => (seq, seq),
    };
    Ok(Ok(Page {
        has_before: exists(
            conn,
            "SELECT 1 FROM message WHERE room = ?1 AND seq < ?2 LIMIT 1",
            key,
            first,
        )?,
        has_after: exists(
            conn,
            "SELECT 1 FROM message WHERE room = ?1 AND seq >= ?2 LIMIT 1",
            key,
            last,
        )?,
        items,
        first: beginning,
        epoch,
    }))
}

/// One message, by position.
pub(super) fn one(conn: &Connection, key: Key, seq: Seq) -> Result<Option<Message>> {
    let message = conn
        .prepare_cached(select!("AND message.seq = ?2"))?
        .query_row(params![key, seq_value(seq)], |row| read(conn, row))
        .optional()?;
    match message {
        None => Ok(None),
        Some(mut message) => {
            message.reactions = reactions(conn, key, seq)?;
            Ok(Some(message))
        }
    }
}

/// Whether somebody's reaction stands.
pub(super) fn reacted(
    conn: &Connection,
    key: Key,
    target: Seq,
    user: &UserId,
    emoji: &str,
) -> Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM reactor WHERE room = ?1 AND target = ?2 AND emoji = ?3 AND user = ?4",
    )?
    .exists(params![key, seq_value(target), emoji, user.as_str()])
}

fn older(conn: &Connection, key: Key, before: Seq, limit: u32) -> Result<Vec<Message>> {
    let sql = select!("AND message.seq < ?2 ORDER BY message.seq DESC LIMIT ?3");
    let mut items = run(conn, sql, key, before, limit)?;
    items.reverse();
    Ok(items)
}

fn newer(conn: &Connection, key: Key, from: Seq, limit: u32) -> Result<Vec<Message>> {
    let sql = select!("AND message.seq >= ?2 ORDER BY message.seq LIMIT ?3");
    run(conn, sql, key, from, limit)
}

fn run(conn: &Connection, sql: &str, key: Key, edge: Seq, limit: u32) -> Result<Vec<Message>> {
    let mut items = conn
        .prepare_cached(sql)?
        .query_map(params![key, seq_value(edge), limit], |row| read(conn, row))?
        .collect::<Result<Vec<_>>>()?;
    for message in &mut items {
        message.reactions = reactions(conn, key, message.seq)?;
    }
    Ok(items)
}

fn read(conn: &Connection, row: &Row<'_>) -> Result<Message> {
    let seq = columns::seq(row, 0)?;
    let report = || -> Result<()> {
        unreadable::report(conn, row.get(7)?, seq);
        Ok(())
    };
    // A row of `message` stands for a message entry: anything else is a damaged file.
    let said = if let Some(EntryBody::Message(said)) = columns::body(row, 4)? {
        said
    } else {
        report()?;
        let nonce = unreadable::nonce_of(row, 8).ok_or(rusqlite::Error::InvalidQuery)?;
        unreadable::message(nonce)
    };
    let mut message = Message {
        seq,
        user: columns::user(row, 1)?,
        ts: columns::time(row, 3)?,
        nonce: said.nonce,
        text: said.text,
        reply_to: said.reply_to,
        mentions: said.mentions,
        data: said.data,
        edited_ts: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
        deleted: row.get(2)?,
        unreadable: said.unreadable,
        reactions: Vec::new(),
    };
    if message.edited_ts.is_some() {
        // What it says now, and not what it said before.
        let edit = columns::body(row, 6)?;
        let Some(EntryBody::Edit { text, mentions, .. }) = edit else {
            report()?;
            message.unreadable = !message.deleted;
            message.text.clear();
            message.mentions.clear();
            return Ok(message);
        };
        (message.text, message.mentions) = (text, mentions);
        message.unreadable = false;
    }
    // A tombstone has no words to miss.
    message.unreadable &= !message.deleted;
    Ok(message)
}

fn reactions(conn: &Connection, key: Key, target: Seq) -> Result<Vec<Reaction>> {
    let at = seq_value(target);
    let mut reactions = conn
        .prepare_cached(
            "SELECT emoji, count FROM reaction WHERE room = ?1 AND target = ?2 ORDER BY place",
        )?
        .query_map(params![key, at], |row| {
            Ok(Reaction {
                emoji: row.get(0)?,
                count: row.get(1)?,
                users: Vec::new(),
            })
        })?
        .collect::<Result<Vec<_>>>()?;
    for reaction in &mut reactions {
        reaction.users = conn
            .prepare_cached(
                "SELECT user FROM reactor WHERE room = ?1 AND target = ?2 AND emoji = ?3
                 ORDER BY seq LIMIT ?4",
            )?
            .query_map(params![key, at, reaction.emoji, NAMED], |row| {
                columns::user(row, 0)
            })?
            .collect::<Result<Vec<UserId>>>()?;
    }
    Ok(reactions)
}

fn exists(conn: &Connection, sql: &str, key: Key, edge: Seq) -> Result<bool> {
    conn.prepare_cached(sql)?
        .exists(params![key, seq_value(edge)])
}
