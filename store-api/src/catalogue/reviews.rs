//! Reviews: one of each owner, with a number of stars, and votes of others that it helped.
//!
//! The sum and the number of a game's stars, and the number of a review's votes, change in the
//! transaction that changes what they count, so they are exact.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use shared::id::{Timestamp, UserId};

use super::draft::prose;
use crate::{
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    privacy::{Section, shown},
    sql::{self, values},
    store::{Store, lock_users, stored_id},
};

/// The longest review, in characters.
const MAX_TEXT: usize = 4000;

/// What somebody thinks of a game.
#[derive(Debug, Clone)]
pub struct NewReview {
    /// One to five.
    pub stars: i64,
    /// Why.
    pub text: String,
}

/// A review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who wrote it.
    pub author: UserId,
    /// Their nickname.
    pub name: String,
    /// One to five.
    pub stars: u8,
    /// Why.
    pub text: String,
    /// How many it helped.
    pub helpful: u64,
    /// How long the author has played, in seconds, if they show it to the viewer.
    pub played_seconds: Option<u64>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// The orders of reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewSort {
    /// Those that helped most first.
    Helpful,
    /// The latest first.
    Newest,
}

#[derive(FromQueryResult)]
struct Row {
    author: String,
    name: Option<String>,
    stars: i64,
    text: String,
    helpful: i64,
    played_seconds: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

#[derive(FromQueryResult)]
struct Stars {
    stars: i64,
}

#[derive(FromQueryResult)]
struct Owned {
    state: String,
    owned: i64,
}

impl ReviewSort {
    /// The order of this word.
    pub fn parse(word: Option<&str>) -> Result<Self, Violation> {
        match word {
            None | Some("helpful") => Ok(Self::Helpful),
            Some("newest") => Ok(Self::Newest),
            Some(_) => Err(Violation::new("sort", "unknown", "`helpful` or `newest`")),
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Helpful => "r.helpful",
            Self::Newest => "r.created_at",
        }
    }
}

impl Store {
    /// Writes the review of `me`, or another in its place. Only who owns the game may.
    pub async fn review(
        &self,
        me: &UserId,
        game: &str,
        review: NewReview,
    ) -> Result<(), StoreError> {
        if !(1..=5).contains(&review.stars) {
            return Err(Violation::new("stars", "range", "one to five").into());
        }
        let text = prose("text", &review.text, MAX_TEXT)?;
        let now = self.now().as_millis();
        let tx = self.database().begin().await?;
        lock_users(&tx, &[me]).await?;
        let owned: Option<Owned> = sql::one(
            &tx,
            "SELECT g.state, (SELECT COUNT(*) FROM library l WHERE l.user_id = ? AND l.game = g.id) AS owned \
             FROM games g WHERE g.id = ?",
            values![me.as_str(), game],
        )
        .await?;
        let owned = owned.ok_or(StoreError::NotFound)?;
        if owned.owned == 0 {
            return Err(if owned.state == "published" {
                StoreError::Forbidden("only who owns the game reviews it")
            } else {
                StoreError::NotFound
            });
        }
        let before = stars_of(&tx, me.as_str(), game).await?;
        sql::execute(
            &tx,
            "INSERT INTO reviews (game, author, stars, text, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (game, author) DO UPDATE SET stars = excluded.stars, text = excluded.text, \
             updated_at = excluded.updated_at",
            values![game, me.as_str(), review.stars, text, now, now],
        )
        .await?;
        let more = i64::from(before.is_none());
        rate(&tx, game, review.stars - before.unwrap_or(0), more).await?;
        self.database().commit(tx).await?;
        self.edition().change();
        Ok(())
    }

    /// Takes the review of `me` back. None is fine too.
    pub async fn take_review_back(&self, me: &UserId, game: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        lock_users(&tx, &[me]).await?;
        if let Some(stars) = stars_of(&tx, me.as_str(), game).await? {
            sql::execute(
                &tx,
                "DELETE FROM reviews WHERE game = ? AND author = ?",
                values![game, me.as_str()],
            )
            .await?;
            rate(&tx, game, -stars, -1).await?;
            self.database().commit(tx).await?;
            self.edition().change();
        }
        Ok(())
    }

    /// Says that a review helped `me`, or that it did not.
    pub async fn vote_review(
        &self,
        me: &UserId,
        game: &str,
        author: &UserId,
        helpful: bool,
    ) -> Result<(), StoreError> {
        if me == author && helpful {
            return Err(Violation::new("user_id", "self", "that is your own").into());
        }
        let tx = self.database().begin().await?;
        // Locked, so that votes on one review take turns.
        let there = sql::execute(
            &tx,
            "UPDATE reviews SET helpful = helpful WHERE game = ? AND author = ?",
            values![game, author.as_str()],
        );
        if there.await? == 0 {
            return if helpful {
                Err(StoreError::NotFound)
            } else {
                Ok(())
            };
        }
        let key = values![game, author.as_str(), me.as_str()];
        let (statement, change) = if helpful {
            let insert = "INSERT INTO review_votes (game, author, voter) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
            (insert, 1)
        } else {
            let delete = "DELETE FROM review_votes WHERE game = ? AND author = ? AND voter = ?";
            (delete, -1)
        };
        if sql::execute(&tx, statement, key).await? > 0 {
            sql::execute(
                &tx,
                "UPDATE reviews SET helpful = helpful + ? WHERE game = ? AND author = ?",
                values![change, game, author.as_str()],
            )
            .await?;
            self.database().commit(tx).await?;
        }
        Ok(())
    }

    /// The reviews of the game of this id or name, as `viewer` sees them. A review is for everybody,
    /// whoever sees the library of its author.
    pub async fn reviews(
        &self,
        viewer: Option<&UserId>,
        game: &str,
        sort: ReviewSort,
        page: &PageRequest,
    ) -> Result<Page<Review>, StoreError> {
        let column = sort.column();
        let viewer = viewer.map_or("", UserId::as_str);
        let mut values = values![viewer, viewer, game, game];
        let mut after = String::new();
        if !page.after().is_empty() {
            let malformed = Violation::new("cursor", "malformed", "not a cursor of this list");
            let (number, author) = page.after().split_once(' ').ok_or(malformed.clone())?;
            let number: i64 = number.parse().map_err(|_| malformed)?;
            after = format!(" AND ({column} < ? OR ({column} = ? AND r.author > ?))");
            values.extend(values![number, number, author]);
        }
        values.extend(values![page.fetch() as i64]);
        let rows: Vec<Row> = sql::all(
            self.database().reader(),
            &format!(
                "SELECT r.author, u.name, r.stars, r.text, r.helpful, \
                 CASE WHEN {} THEN COALESCE(l.played_seconds, 0) END AS played_seconds, \
                 r.created_at, r.updated_at FROM reviews r JOIN users u ON u.id = r.author \
                 LEFT JOIN library l ON l.user_id = r.author AND l.game = r.game \
                 WHERE r.game = (SELECT g.id FROM games g WHERE g.id = ? OR g.slug = ?){after} ORDER BY {column} DESC, r.author LIMIT ?",
                shown(Section::PlayTime, "r.author")
            ),
            values,
        )
        .await?;
        let page = page.cut(rows, |row| {
            let number = match sort {
                ReviewSort::Helpful => row.helpful,
                ReviewSort::Newest => row.created_at,
            };
            format!("{number} {}", row.author)
        });
        let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Page {
            items,
            next: page.next,
        })
    }
}

async fn stars_of(
    tx: &DatabaseTransaction,
    author: &str,
    game: &str,
) -> Result<Option<i64>, StoreError> {
    let row: Option<Stars> = sql::one(
        tx,
        "SELECT stars FROM reviews WHERE game = ? AND author = ?",
        values![game, author],
    )
    .await?;
    Ok(row.map(|row| row.stars))
}

async fn rate(
    tx: &DatabaseTransaction,
    game: &str,
    stars: i64,
    reviews: i64,
) -> Result<(), StoreError> {
    sql::execute(
        tx,
        "UPDATE games SET rating_sum = rating_sum + ?, rating_count = rating_count + ? WHERE id = ?",
        values![stars, reviews, game],
    )
    .await?;
    Ok(())
}

fn read(row: Row) -> Result<Review, StoreError> {
    Ok(Review {
        author: stored_id(&row.author)?,
        name: row.name.unwrap_or_default(),
        stars: u8::try_from(row.stars).unwrap_or(0),
        text: row.text,
        helpful: row.helpful.unsigned_abs(),
        played_seconds: row.played_seconds.map(i64::unsigned_abs),
        created_at: Timestamp::from_millis(row.created_at),
        updated_at: Timestamp::from_millis(row.updated_at),
    })
}
