//! One game, and titles that begin with what somebody types.

use sea_orm::{FromQueryResult, Value};
use shared::id::UserId;

use super::{
    list::{GameCard, cards},
    words::Search,
};
use crate::{
    error::StoreError,
    money::Country,
    sql::{self, values},
    store::Store,
};

/// The most titles that are suggested.
const SUGGESTIONS: i64 = 10;

/// Everything about a game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GamePage {
    /// What lists show.
    pub card: GameCard,
    /// All there is to say.
    pub description: String,
    /// `draft`, `published` or `withdrawn`.
    pub state: String,
    /// Pictures and films, in order.
    pub media: Vec<Medium>,
    /// How many like it.
    pub likes: u64,
    /// On which lists of the caller it stands: `library`, `wishlist`, `cart`, `likes`.
    pub mine: Vec<String>,
}

/// A picture or a film.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Medium {
    /// `image` or `video`.
    pub kind: String,
    /// Where it is.
    pub url: String,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    description: String,
    state: String,
    owner: Option<String>,
    likes: i64,
}

#[derive(FromQueryResult)]
struct ListRow {
    list: String,
}

#[derive(FromQueryResult)]
struct TitleRow {
    slug: String,
    title: String,
}

#[derive(FromQueryResult)]
struct CountRow {
    word: String,
    games: i64,
}

impl Store {
    /// The game of this id or name, for somebody who buys in `country`. A draft is there for its
    /// publisher only; what is withdrawn, for those who own it.
    pub async fn game(
        &self,
        id_or_slug: &str,
        country: Country,
        viewer: Option<&UserId>,
    ) -> Result<GamePage, StoreError> {
        let db = self.database().reader();
        let row: Option<Row> = sql::one(
            db,
            "SELECT g.id, g.description, g.state, b.owner, \
             (SELECT COUNT(*) FROM marks k WHERE k.game = g.id AND k.list = 'likes') AS likes \
             FROM games g JOIN publishers b ON b.id = g.publisher WHERE g.id = ? OR g.slug = ?",
            values![id_or_slug, id_or_slug],
        )
        .await?;
        let row = row.ok_or(StoreError::NotFound)?;
        let mine = match viewer {
            None => Vec::new(),
            Some(viewer) => self.lists_with(viewer, &row.id).await?,
        };
        let keeps = viewer.is_some_and(|viewer| row.owner.as_deref() == Some(viewer.as_str()));
        let owns = mine.iter().any(|list| list == "library");
        if !(row.state == "published" || keeps || (owns && row.state == "withdrawn")) {
            return Err(StoreError::NotFound);
        }
        let mut found = cards(db, std::slice::from_ref(&row.id), country, self.now()).await?;
        let media = sql::all(
            db,
            "SELECT kind, url FROM game_media WHERE game = ? ORDER BY place",
            values![row.id.as_str()],
        );
        Ok(GamePage {
            card: found.remove(&row.id).ok_or(StoreError::NotFound)?,
            description: row.description,
            state: row.state,
            media: media.await?,
            likes: row.likes.unsigned_abs(),
            mine,
        })
    }

    /// The lists of `user` that this game stands on.
    pub(crate) async fn lists_with(
        &self,
        user: &UserId,
        game: &str,
    ) -> Result<Vec<String>, StoreError> {
        let rows: Vec<ListRow> = sql::all(
            self.database().reader(),
            "SELECT list FROM marks WHERE user_id = ? AND game = ? \
             UNION ALL SELECT 'library' AS list FROM library WHERE user_id = ? AND game = ?",
            values![user.as_str(), game, user.as_str(), game],
        )
        .await?;
        let mut lists: Vec<_> = rows.into_iter().map(|row| row.list).collect();
        lists.sort_unstable();
        Ok(lists)
    }

    /// Up to ten titles with the words somebody is typing, as `(slug, title)`: those that begin
    /// with them first, then the most bought.
    pub async fn suggestions(
        &self,
        search: &str,
        country: Country,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let key = Search::parse(search)?.key();
        let begins = format!("{key}%");
        // Letters, digits and spaces only: nothing in them is a pattern.
        let rows: Vec<TitleRow> = sql::all(
            self.database().reader(),
            "SELECT g.slug, g.title FROM games g \
             JOIN game_prices p ON p.game = g.id AND p.country = ? \
             WHERE g.state = 'published' AND (g.title_key LIKE ? OR g.title_key LIKE ?) \
             ORDER BY CASE WHEN g.title_key LIKE ? THEN 0 ELSE 1 END, g.sold DESC, g.title_key, g.id LIMIT ?",
            values![
                country.code(),
                begins.as_str(),
                format!("% {begins}"),
                begins.as_str(),
                SUGGESTIONS
            ],
        )
        .await?;
        Ok(rows.into_iter().map(|row| (row.slug, row.title)).collect())
    }

    /// How many games of each category are sold in a country.
    pub async fn categories(&self, country: Country) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<CountRow> = sql::all(
            self.database().reader(),
            "SELECT w.word, COUNT(*) AS games FROM game_words w \
             JOIN games g ON g.id = w.game AND g.state = 'published' \
             JOIN game_prices p ON p.game = g.id AND p.country = ? \
             WHERE w.kind = 'category' GROUP BY w.word",
            vec![Value::from(country.code())],
        )
        .await?;
        let games = |category: &str| {
            let row = rows.iter().find(|row| row.word == category);
            row.map_or(0, |row| row.games.unsigned_abs())
        };
        let categories = super::CATEGORIES.iter();
        Ok(categories
            .map(|category| ((*category).to_owned(), games(category)))
            .collect())
    }
}
