//! What an entry does to the tables derived from the log, in the entry's own transaction.

use rusqlite::{Connection, OptionalExtension as _, Result, params};
use shared::{
    id::{Seq, UserId},
    protocol::room::{EntryBody, MemberAction, MemberChange, MessageBody, RoomChange, RoomKind},
};

use super::{
    columns::{self, Key, muted_value, role_value, seq_value},
    search, unreadable,
};

/// Folds the entries of one append.
pub(super) struct Fold<'c> {
    conn: &'c Connection,
    room: Key,
    kind: RoomKind,
    last: Option<Seq>,
    messages: i64,
}

/// A message that is not deleted.
struct Live {
    id: i64,
    author: UserId,
    /// Where its words are now.
    words: Seq,
}

impl<'c> Fold<'c> {
    /// Goes on from a room that has had so many messages.
    pub(super) fn new(conn: &'c Connection, room: Key, kind: RoomKind, messages: i64) -> Self {
        Self {
            conn,
            room,
            kind,
            last: None,
            messages,
        }
    }

    /// The newest message among the entries folded, if there was one.
    pub(super) fn last_message(&self) -> Option<Seq> {
        self.last
    }

    /// How many messages the room has had by now.
    pub(super) fn messages(&self) -> i64 {
        self.messages
    }

    pub(super) fn entry(&mut self, seq: Seq, user: &UserId, body: &EntryBody) -> Result<()> {
        match body {
            EntryBody::Message(message) => {
                self.last = Some(seq);
                self.messages += 1;
                self.message(seq, user, message)
            }
            EntryBody::Edit {
                target,
                text,
                mentions,
            } => self.edit(seq, *target, text, mentions),
            EntryBody::Delete { target } => self.delete(*target),
            EntryBody::Reaction { target, emoji, on } => {
                self.reaction(seq, user, *target, emoji, *on)
            }
            EntryBody::Member(change) => self.member(seq, change),
            EntryBody::Room(change) => self.room(change),
        }
    }

    fn message(&self, seq: Seq, author: &UserId, message: &MessageBody) -> Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO message (room, seq, place, author) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                self.room,
                seq_value(seq),
                self.messages,
                author.as_str()
            ])?;
        search::index(
            self.conn,
            self.conn.last_insert_rowid(),
            self.room,
            &message.text,
        )?;
        if self.kind != RoomKind::Channel {
            self.conn
                .prepare_cached("UPDATE member SET own = own + 1 WHERE room = ?1 AND user = ?2")?
                .execute(params![self.room, author.as_str()])?;
        }
        self.mention(seq, author, &message.mentions)
    }

    fn edit(&self, seq: Seq, target: Seq, text: &str, mentions: &[UserId]) -> Result<()> {
        let Some(live) = self.live(target)? else {
            return Ok(());
        };
        self.unmention(target, live.words)?;
        self.conn
            .prepare_cached("UPDATE message SET edit = ?2 WHERE id = ?1")?
            .execute(params![live.id, seq_value(seq)])?;
        search::forget(self.conn, live.id)?;
        search::index(self.conn, live.id, self.room, text)?;
        self.mention(target, &live.author, mentions)
    }

    fn delete(&self, target: Seq) -> Result<()> {
        let Some(live) = self.live(target)? else {
            return Ok(());
        };
        self.unmention(target, live.words)?;
        search::forget(self.conn, live.id)?;
        self.conn
            .prepare_cached("UPDATE message SET deleted = 1 WHERE id = ?1")?
            .execute([live.id])?;
        for table in ["reaction", "reactor"] {
            self.conn
                .prepare_cached(&format!(
                    "DELETE FROM {table} WHERE room = ?1 AND target = ?2"
                ))?
                .execute(params![self.room, seq_value(target)])?;
        }
        self.blank(target)
    }

    /// Takes the words of a message and of its edits out of the log.
    fn blank(&self, target: Seq) -> Result<()> {
        let spoken = self
            .conn
            .prepare_cached(
                "SELECT seq, body, nonce FROM entry WHERE room = ?1 AND seq = ?2
                 UNION ALL SELECT seq, body, NULL FROM entry WHERE room = ?1 AND edits = ?2",
            )?
            .query_map(params![self.room, seq_value(target)], |row| {
                // What cannot be read goes all the same, and what is left can be read again.
                let body = columns::body(row, 1)?.unwrap_or_else(|| {
                    unreadable::nonce_of(row, 2).map_or_else(
                        || EntryBody::Edit {
                            target,
                            text: String::new(),
                            mentions: Vec::new(),
                        },
                        |nonce| EntryBody::Message(unreadable::message(nonce)),
                    )
                });
                Ok((columns::seq(row, 0)?, body))
            })?
            .collect::<Result<Vec<_>>>()?;
        let mut rewrite = self
            .conn
            .prepare_cached("UPDATE entry SET body = ?3 WHERE room = ?1 AND seq = ?2")?;
        for (seq, mut body) in spoken {
            match &mut body {
                EntryBody::Message(message) => {
                    message.text.clear();
                    message.mentions.clear();
                    message.data = None;
                    message.unreadable = false;
                }
                EntryBody::Edit { text, mentions, .. } => {
                    text.clear();
                    mentions.clear();
                }
                _ => continue,
            }
            let json = serde_json::to_string(&body)
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
            rewrite.execute(params![self.room, seq_value(seq), json])?;
        }
        Ok(())
    }

    fn reaction(&self, seq: Seq, user: &UserId, target: Seq, emoji: &str, on: bool) -> Result<()> {
        if self.live(target)?.is_none() {
            return Ok(());
        }
        let at = seq_value(target);
        if on {
            let added = self
                .conn
                .prepare_cached(
                    "INSERT OR IGNORE INTO reactor (room, target, emoji, user, seq)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![self.room, at, emoji, user.as_str(), seq_value(seq)])?;
            if added == 1 {
                self.conn
                    .prepare_cached(
                        "INSERT INTO reaction (room, target, emoji, place, count)
                         VALUES (?1, ?2, ?3, ?4, 1)
                         ON CONFLICT (room, target, emoji) DO UPDATE SET count = count + 1",
                    )?
                    .execute(params![self.room, at, emoji, seq_value(seq)])?;
            }
            return Ok(());
        }
        let removed = self
            .conn
            .prepare_cached(
                "DELETE FROM reactor
                 WHERE room = ?1 AND target = ?2 AND emoji = ?3 AND user = ?4",
            )?
            .execute(params![self.room, at, emoji, user.as_str()])?;
        if removed == 1 {
            self.conn
                .prepare_cached(
                    "UPDATE reaction SET count = count - 1
                     WHERE room = ?1 AND target = ?2 AND emoji = ?3",
                )?
                .execute(params![self.room, at, emoji])?;
            // An emoji that nobody holds any more gives up its place.
            self.conn
                .prepare_cached(
                    "DELETE FROM reaction
                     WHERE room = ?1 AND target = ?2 AND emoji = ?3 AND count = 0",
                )?
                .execute(params![self.room, at, emoji])?;
        }
        Ok(())
    }

    fn member(&self, seq: Seq, change: &MemberChange) -> Result<()> {
        let who = change.member.as_str();
        match change.action {
            MemberAction::Join => {
                let added = self
                    .conn
                    .prepare_cached(
                        "INSERT OR IGNORE INTO member (room, user, role, since, read)
                         VALUES (?1, ?2, ?3, ?4, ?4)",
                    )?
                    .execute(params![
                        self.room,
                        who,
                        role_value(change.role.unwrap_or_default()),
                        seq_value(seq)
                    ])?;
                if added == 1 {
                    return self.count_members(1);
                }
                self.role(change)
            }
            MemberAction::Leave | MemberAction::Kick => self.remove_member(who),
            MemberAction::Ban => {
                self.remove_member(who)?;
                self.conn
                    .prepare_cached(
                        "INSERT OR REPLACE INTO ban (room, user, until) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![
                        self.room,
                        who,
                        change.until.map(shared::id::Timestamp::as_millis)
                    ])?;
                Ok(())
            }
            MemberAction::Unban => {
                self.conn
                    .prepare_cached("DELETE FROM ban WHERE room = ?1 AND user = ?2")?
                    .execute(params![self.room, who])?;
                Ok(())
            }
            MemberAction::Mute => self.mute(who, Some(muted_value(change.until))),
            MemberAction::Unmute => self.mute(who, None),
            MemberAction::Role => self.role(change),
        }
    }

    fn role(&self, change: &MemberChange) -> Result<()> {
        if let Some(role) = change.role {
            self.conn
                .prepare_cached("UPDATE member SET role = ?3 WHERE room = ?1 AND user = ?2")?
                .execute(params![self.room, change.member.as_str(), role_value(role)])?;
        }
        Ok(())
    }

    fn mute(&self, who: &str, muted: Option<i64>) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE member SET muted = ?3 WHERE room = ?1 AND user = ?2")?
            .execute(params![self.room, who, muted])?;
        Ok(())
    }

    fn remove_member(&self, who: &str) -> Result<()> {
        let removed = self
            .conn
            .prepare_cached("DELETE FROM member WHERE room = ?1 AND user = ?2")?
            .execute(params![self.room, who])?;
        if removed == 1 {
            self.count_members(-1)?;
        }
        Ok(())
    }

    fn count_members(&self, by: i64) -> Result<()> {
        self.conn
            .prepare_cached("UPDATE room SET members = members + ?2 WHERE key = ?1")?
            .execute(params![self.room, by])?;
        Ok(())
    }

    fn room(&self, change: &RoomChange) -> Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE room SET name = coalesce(?2, name), topic = coalesce(?3, topic),
                                 slow_mode_ms = coalesce(?4, slow_mode_ms)
                 WHERE key = ?1",
            )?
            .execute(params![
                self.room,
                change.name,
                change.topic,
                change.slow_mode_ms
            ])?;
        Ok(())
    }

    fn live(&self, target: Seq) -> Result<Option<Live>> {
        self.conn
            .prepare_cached(
                "SELECT id, author, coalesce(edit, seq) FROM message
                 WHERE room = ?1 AND seq = ?2 AND deleted = 0",
            )?
            .query_row(params![self.room, seq_value(target)], |row| {
                Ok(Live {
                    id: row.get(0)?,
                    author: columns::user(row, 1)?,
                    words: columns::seq(row, 2)?,
                })
            })
            .optional()
    }

    /// Mentions are kept to be counted, and in a channel nothing is.
    fn mention(&self, seq: Seq, author: &UserId, mentions: &[UserId]) -> Result<()> {
        if self.kind == RoomKind::Channel {
            return Ok(());
        }
        for user in mentions.iter().filter(|user| *user != author) {
            self.conn
                .prepare_cached(
                    "INSERT OR IGNORE INTO mention (room, user, seq) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![self.room, user.as_str(), seq_value(seq)])?;
        }
        Ok(())
    }

    fn unmention(&self, seq: Seq, words: Seq) -> Result<()> {
        let body = self
            .conn
            .prepare_cached("SELECT body FROM entry WHERE room = ?1 AND seq = ?2")?
            .query_row(params![self.room, seq_value(words)], |row| {
                columns::body(row, 0)
            })?;
        let mentions = match body {
            Some(
                EntryBody::Message(MessageBody { mentions, .. }) | EntryBody::Edit { mentions, .. },
            ) => mentions,
            Some(_) => return Ok(()),
            // Whom it mentioned cannot be read.
            None => {
                self.conn
                    .prepare_cached("DELETE FROM mention WHERE room = ?1 AND seq = ?2")?
                    .execute(params![self.room, seq_value(seq)])?;
                return Ok(());
            }
        };
        for user in mentions {
            self.conn
                .prepare_cached("DELETE FROM mention WHERE room = ?1 AND user = ?2 AND seq = ?3")?
                .execute(params![self.room, user.as_str(), seq_value(seq)])?;
        }
        Ok(())
    }
}
