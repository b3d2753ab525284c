//! What somebody owns: licences, whether they are installed, and how long they were played.

use sea_orm::FromQueryResult;
use shared::id::{Timestamp, UserId};

use crate::{
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

/// The longest time of play in one go, in seconds: a week.
const MAX_SESSION: i64 = 7 * 24 * 60 * 60;

/// A game that somebody owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedGame {
    /// The game.
    pub id: String,
    /// Its name in addresses.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Its first picture.
    pub cover: Option<String>,
    /// The order it came with.
    pub order: String,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Whether it is installed somewhere, as its owner's client says.
    pub installed: bool,
    /// How long it was played, as their client says.
    pub played_seconds: u64,
    /// When it was played last.
    pub played_at: Option<Timestamp>,
}

/// What an owner's client says of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryChange {
    /// Whether it is installed.
    pub installed: bool,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    slug: String,
    title: String,
    cover: Option<String>,
    order_id: String,
    acquired_at: i64,
    installed: bool,
    played_seconds: i64,
    played_at: Option<i64>,
}

#[derive(FromQueryResult)]
struct Seconds {
    seconds: i64,
}

impl Store {
    /// The games that `me` owns, in order of their ids.
    pub async fn library(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<OwnedGame>, StoreError> {
        let rows: Vec<Row> = sql::all(
            self.database().reader(),
            "SELECT g.id, g.slug, g.title, m.url AS cover, l.order_id, l.acquired_at, l.installed, \
             l.played_seconds, l.played_at FROM library l JOIN games g ON g.id = l.game \
             LEFT JOIN game_media m ON m.game = g.id AND m.place = 0 \
             WHERE l.user_id = ? AND l.game > ? ORDER BY l.game LIMIT ?",
            values![me.as_str(), page.after(), page.fetch() as i64],
        )
        .await?;
        let page = page.cut(rows, |row| row.id.clone());
        Ok(page.map(|row| OwnedGame {
            id: row.id,
            slug: row.slug,
            title: row.title,
            cover: row.cover,
            order: row.order_id,
            acquired_at: Timestamp::from_millis(row.acquired_at),
            installed: row.installed,
            played_seconds: row.played_seconds.unsigned_abs(),
            played_at: row.played_at.map(Timestamp::from_millis),
        }))
    }

    /// Takes in what the client of `me` says of a game they own.
    pub async fn change_owned(
        &self,
        me: &UserId,
        game: &str,
        change: LibraryChange,
    ) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let changed = sql::execute(
            &tx,
            "UPDATE library SET installed = ? WHERE user_id = ? AND game = ?",
            values![change.installed, me.as_str(), game],
        );
        if changed.await? == 0 {
            return Err(StoreError::NotFound);
        }
        self.database().commit(tx).await?;
        Ok(())
    }

    /// Takes in how long `me` has played in one go, which the client calls `session`. It may say so
    /// as often as it likes; what counts is the most it said. Answers the time of all goes together.
    pub async fn played(
        &self,
        me: &UserId,
        game: &str,
        session: &str,
        seconds: i64,
    ) -> Result<u64, StoreError> {
        if !(0..=MAX_SESSION).contains(&seconds) {
            return Err(Violation::new("seconds", "range", "from 0 to a week").into());
        }
        let named =
            (1..=64).contains(&session.len()) && session.bytes().all(|b| b.is_ascii_graphic());
        if !named {
            let message = "1 to 64 visible characters";
            return Err(Violation::new("session", "malformed", message).into());
        }
        let now = self.now().as_millis();
        let key = values![me.as_str(), game];
        let tx = self.database().begin().await?;
        // Locks the row: reports about one game take turns.
        let touched = sql::execute(
            &tx,
            "UPDATE library SET played_seconds = played_seconds WHERE user_id = ? AND game = ?",
            key.clone(),
        );
        if touched.await? == 0 {
            return Err(StoreError::NotFound);
        }
        let before: Option<Seconds> = sql::one(
            &tx,
            "SELECT seconds FROM play_sessions WHERE user_id = ? AND game = ? AND session = ?",
            values![me.as_str(), game, session],
        )
        .await?;
        let more = (seconds - before.map_or(0, |before| before.seconds)).max(0);
        sql::execute(
            &tx,
            "INSERT INTO play_sessions (user_id, game, session, seconds, began_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (user_id, game, session) DO UPDATE SET seconds = play_sessions.seconds + ?",
            values![me.as_str(), game, session, more, now, more],
        )
        .await?;
        let total: Option<Seconds> = sql::one(
            &tx,
            "UPDATE library SET played_seconds = played_seconds + ?, played_at = ? \
             WHERE user_id = ? AND game = ? RETURNING played_seconds AS seconds",
            values![more, now, me.as_str(), game],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(total.map_or(0, |total| total.seconds.unsigned_abs()))
    }
}
