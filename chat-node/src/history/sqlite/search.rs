//! The index of words: what goes in, and what a query becomes.

use std::{
    borrow::Cow,
    ffi::c_int,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, Result, params, params_from_iter, types::Value};
use shared::id::{RoomId, Seq};

use super::{
    columns::{self, Key},
    messages,
};
use crate::history::{Found, HistoryError, Search};

/// Longest query, in characters.
const MAX_CHARS: usize = 256;
/// Most words of a query.
const MAX_WORDS: usize = 16;
/// Most messages in one answer.
const MAX_LIMIT: u32 = 100;
/// Most searches that wait for the thread that searches.
pub(super) const MAX_WAITING: usize = 64;
/// How long one may take; common words in much history would take seconds, and all others wait.
const PATIENCE: Duration = Duration::from_millis(500);
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: c_int = 4096;

/// Puts a message's words into the index.
pub(super) fn index(conn: &Connection, id: i64, room: Key, text: &str) -> Result<()> {
    conn.prepare_cached("INSERT INTO words (rowid, room, text) VALUES (?1, ?2, ?3)")?
        .execute(params![id, room_token(room), spaced(text)])?;
    Ok(())
}

/// Takes a message's words out of the index.
pub(super) fn forget(conn: &Connection, id: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM words WHERE rowid = ?1")?
        .execute([id])?;
    Ok(())
}

/// A search that has been checked and can run.
pub(super) struct Query {
    words: String,
    before: i64,
    search: Search,
}

impl Query {
    /// # Errors
    /// [`HistoryError::Invalid`] says what is wrong with it.
    pub(super) fn parse(search: Search) -> Result<Self, HistoryError> {
        let invalid = |reason: String| Err(HistoryError::Invalid(reason));
        if search.text.chars().count() > MAX_CHARS {
            return invalid(format!("a query has up to {MAX_CHARS} characters"));
        }
        if !(1..=MAX_LIMIT).contains(&search.limit) {
            return invalid(format!("limit is 1 to {MAX_LIMIT}"));
        }
        let mut phrases: Vec<String> = search.text.split_whitespace().filter_map(phrase).collect();
        if phrases.is_empty() {
            return invalid("a query has a word of letters or digits".into());
        }
        if phrases.len() > MAX_WORDS {
            return invalid(format!("a query has up to {MAX_WORDS} words"));
        }
        // Each costs a walk through the index, and saying a word twice finds nothing else.
        phrases.sort_unstable();
        phrases.dedup();
        let before = match &search.after {
            None => i64::MAX,
            Some(cursor) => match cursor.strip_prefix('m').map(str::parse::<i64>) {
                Some(Ok(id)) if id > 0 => id,
                _ => return invalid("the cursor is not one of ours".into()),
            },
        };
        Ok(Self {
            words: phrases.join(" AND "),
            before,
            search,
        })
    }

    /// None when it would take too long.
    pub(super) fn run(&self, conn: &Connection) -> Result<Option<Found>> {
        within(conn, PATIENCE, || self.find(conn))
    }

    fn find(&self, conn: &Connection) -> Result<Found> {
        let rooms = self.rooms(conn)?;
        if rooms.is_empty() {
            return Ok(Found {
                items: Vec::new(),
                next: None,
            });
        }
        // Quoted tokens only: nothing of the caller's is read as syntax.
        let tokens: Vec<String> = rooms.iter().map(|(key, _)| room_token(*key)).collect();
        let expression = format!(
            "room : ({}) AND text : ({})",
            tokens.join(" OR "),
            self.words
        );
        let limit = usize::try_from(self.search.limit).unwrap_or(usize::MAX);
        let mut hits = self.hits(conn, expression, limit)?;
        let more = hits.len() > limit;
        hits.truncate(limit);
        let next = if more {
            hits.last().map(|hit| format!("m{}", hit.0))
        } else {
            None
        };
        let mut items = Vec::with_capacity(hits.len());
        for (_, key, seq) in hits {
            let room = rooms.iter().find(|room| room.0 == key);
            let message = messages::one(conn, key, seq)?;
            if let (Some((_, room)), Some(message)) = (room, message) {
                items.push((room.clone(), message));
            }
        }
        Ok(Found { items, next })
    }

    /// The rooms it may look into.
    fn rooms(&self, conn: &Connection) -> Result<Vec<(Key, RoomId)>> {
        conn.prepare_cached(
            "SELECT room.key, room.id FROM member JOIN room ON room.key = member.room
             WHERE member.user = ?1 AND (?2 IS NULL OR room.id = ?2)",
        )?
        .query_map(
            params![
                self.search.user.as_str(),
                self.search.room.as_ref().map(RoomId::as_str)
            ],
            |row| Ok((row.get(0)?, columns::room_id(row, 1)?)),
        )?
        .collect()
    }

    /// Ids, rooms and positions of what matches, newest first, one more than asked for.
    fn hits(
        &self,
        conn: &Connection,
        expression: String,
        limit: usize,
    ) -> Result<Vec<(i64, Key, Seq)>> {
        let mut values: Vec<Value> = vec![
            expression.into(),
            self.before.into(),
            i64::try_from(limit + 1).unwrap_or(i64::MAX).into(),
        ];
        let author = match &self.search.author {
            None => "",
            Some(author) => {
                values.push(author.as_str().to_owned().into());
                "AND message.author = ?4"
            }
        };
        conn.prepare_cached(&format!(
            "SELECT message.id, message.room, message.seq
             FROM words JOIN message ON message.id = words.rowid
             WHERE words MATCH ?1 AND words.rowid < ?2 {author}
             ORDER BY words.rowid DESC LIMIT ?3"
        ))?
        .query_map(params_from_iter(values), |row| {
            Ok((row.get(0)?, row.get(1)?, columns::seq(row, 2)?))
        })?
        .collect()
    }
}

/// Runs `work`, unless it takes longer than `patience`: then none.
fn within<T>(
    conn: &Connection,
    patience: Duration,
    work: impl FnOnce() -> Result<T>,
) -> Result<Option<T>> {
    let began = Instant::now();
    conn.progress_handler(STEPS, Some(move || began.elapsed() > patience))?;
    let done = work();
    conn.progress_handler(0, None::<fn() -> bool>)?;
    match done {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A word of a query as a quoted phrase; `None` when there is nothing to look for in it.
fn phrase(word: &str) -> Option<String> {
    let (stem, prefix) = match word.strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (word, false),
    };
    let stem: String = stem.chars().filter(|c| !c.is_control()).collect();
    stem.chars().any(char::is_alphanumeric).then(|| {
        let quoted = spaced(&stem).replace('"', "\"\"");
        let star = if prefix { " *" } else { "" };
        format!("\"{}\"{star}", quoted.trim())
    })
}

/// The token that stands for a room; letters and digits only, so that it stays one token.
fn room_token(room: Key) -> String {
    format!("r{room}")
}

/// Text with spaces around every character of a script that is written without spaces, so that
/// each is a token of its own and a word of several is found as a phrase.
fn spaced(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.chars().any(unspaced) {
        return Cow::Borrowed(text);
    }
    let mut spaced = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if unspaced(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    Cow::Owned(spaced)
}

/// Kana, Han (with its extensions) and the compatibility forms, and Thai, Lao and Khmer letters.
fn unspaced(c: char) -> bool {
    matches!(c,
        '\u{0E01}'..='\u{0E30}' | '\u{0E81}'..='\u{0EB0}' | '\u{1780}'..='\u{17B3}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3134F}')
}

#[cfg(test)]
mod tests {
    use shared::id::UserId;

    use super::*;

    #[test]
    fn words_become_quoted_phrases() {
        assert_eq!(phrase("gg").as_deref(), Some("\"gg\""));
        assert_eq!(phrase("gg*").as_deref(), Some("\"gg\" *"));
        assert_eq!(phrase("a\"b").as_deref(), Some("\"a\"\"b\""));
        assert_eq!(phrase("NEAR(").as_deref(), Some("\"NEAR(\""));
        assert_eq!(phrase("***"), None);
        assert_eq!(phrase("\""), None);
        assert_eq!(phrase("a\0b").as_deref(), Some("\"ab\""));
    }

    #[test]
    fn scripts_without_spaces_are_taken_character_by_character() {
        assert_eq!(spaced("plain"), "plain");
        assert_eq!(spaced("héllo"), "héllo");
        assert_eq!(phrase("世界").as_deref(), Some("\"世  界\""));
    }

    fn words(text: &str) -> String {
        let search = Search {
            user: UserId::parse("u").unwrap(),
            text: text.to_owned(),
            room: None,
            author: None,
            after: None,
            limit: 10,
        };
        Query::parse(search).unwrap().words
    }

    #[test]
    fn a_word_said_twice_is_looked_for_once() {
        assert_eq!(words("b a* a* b a*"), "\"a\" * AND \"b\"");
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_the_connection_goes_on() {
        let conn = Connection::open_in_memory().unwrap();
        let count = |to: u32| {
            let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                       SELECT count(*) FROM n";
            conn.query_row(sql, [to], |row| row.get::<_, u32>(0))
        };
        let endless = within(&conn, Duration::from_millis(1), || count(u32::MAX));
        assert_eq!(endless, Ok(None));
        let short = within(&conn, Duration::from_mins(1), || count(9));
        assert_eq!(short, Ok(Some(9)));
        assert_eq!(count(100_000), Ok(100_000), "the limit outlives the search");
    }
}
