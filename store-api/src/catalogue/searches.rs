//! What people search for: the last ten of each, and the most wanted of the last seven days.

use sea_orm::FromQueryResult;
use shared::id::UserId;

use super::words::Search;
use crate::{
    error::StoreError,
    money::Country,
    sql::{self, values},
    store::Store,
};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// How many searches of a person are remembered, and how many of everybody are told.
const REMEMBERED: i64 = 10;
/// How many days the most wanted are of.
const DAYS: i64 = 7;

/// A search that many made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopSearch {
    /// Its words.
    pub words: String,
    /// How many people made it, each counted once a day.
    pub people: u64,
}

#[derive(FromQueryResult)]
struct Words {
    words: String,
}

#[derive(FromQueryResult)]
struct Moment {
    searched_at: i64,
}

#[derive(FromQueryResult)]
struct Top {
    words: String,
    people: i64,
}

impl Store {
    /// Remembers a search of `me`. Where it finds something it counts among those of the week, once
    /// a day for each person; so nobody puts words there that lead to nothing.
    pub async fn remember_search(&self, me: &UserId, text: &str) -> Result<(), StoreError> {
        let search = Search::parse(text)?;
        let country: Country = self.country_of(self.database().reader(), me).await?;
        let found = self.suggestions(text, country).await?;
        let (key, now) = (search.key(), self.now().as_millis());
        let day = now / DAY;
        let tx = self.database().begin().await?;
        let before: Option<Moment> = sql::one(
            &tx,
            "SELECT searched_at FROM recent_searches WHERE user_id = ? AND words = ?",
            values![me.as_str(), key.as_str()],
        )
        .await?;
        sql::execute(
            &tx,
            "INSERT INTO recent_searches (user_id, words, searched_at) VALUES (?, ?, ?) \
             ON CONFLICT (user_id, words) DO UPDATE SET searched_at = excluded.searched_at",
            values![me.as_str(), key.as_str(), now],
        )
        .await?;
        sql::execute(
            &tx,
            "DELETE FROM recent_searches WHERE user_id = ? AND words NOT IN (SELECT words FROM recent_searches \
             WHERE user_id = ? ORDER BY searched_at DESC, words LIMIT ?)",
            values![me.as_str(), me.as_str(), REMEMBERED],
        )
        .await?;
        let counted = before.is_some_and(|before| before.searched_at / DAY == day);
        if !found.is_empty() && !counted {
            sql::execute(
                &tx,
                "INSERT INTO search_days (day, words, people) VALUES (?, ?, 1) \
                 ON CONFLICT (day, words) DO UPDATE SET people = search_days.people + 1",
                values![day, key],
            )
            .await?;
        }
        self.database().commit(tx).await?;
        Ok(())
    }

    /// The last ten searches of `me`, the latest first.
    pub async fn recent_searches(&self, me: &UserId) -> Result<Vec<String>, StoreError> {
        let rows: Vec<Words> = sql::all(
            self.database().reader(),
            "SELECT words FROM recent_searches WHERE user_id = ? ORDER BY searched_at DESC, words LIMIT ?",
            values![me.as_str(), REMEMBERED],
        )
        .await?;
        Ok(rows.into_iter().map(|row| row.words).collect())
    }

    /// Forgets the searches of `me`.
    pub async fn forget_searches(&self, me: &UserId) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "DELETE FROM recent_searches WHERE user_id = ?",
            values![me.as_str()],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }

    /// The ten most wanted of the last seven days.
    pub async fn top_searches(&self) -> Result<Vec<TopSearch>, StoreError> {
        let rows: Vec<Top> = sql::all(
            self.database().reader(),
            "SELECT words, CAST(SUM(people) AS BIGINT) AS people FROM search_days WHERE day > ? \
             GROUP BY words ORDER BY SUM(people) DESC, words LIMIT ?",
            values![self.now().as_millis() / DAY - DAYS, REMEMBERED],
        )
        .await?;
        let top = rows.into_iter().map(|row| TopSearch {
            words: row.words,
            people: row.people.unsigned_abs(),
        });
        Ok(top.collect())
    }

    /// Forgets days that nobody is told of any more.
    pub(crate) async fn forget_old_searches(&self) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        sql::execute(
            &tx,
            "DELETE FROM search_days WHERE day <= ?",
            values![self.now().as_millis() / DAY - DAYS],
        )
        .await?;
        self.database().commit(tx).await?;
        Ok(())
    }
}
