//! Lists of games: filtered, sorted, in pages.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use shared::id::Timestamp;

use super::words::Search;
use crate::{
    error::{StoreError, Violation},
    money::{Country, Money},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

/// The price of the game `g` whose full price is `p`, at a moment given twice: that of the sale
/// which is on, or the full one.
pub(crate) const EFFECTIVE_PRICE: &str = "COALESCE((SELECT MIN(s.minor) FROM game_sales s \
    WHERE s.game = g.id AND s.country = p.country AND s.starts_at <= ? AND s.ends_at > ?), p.minor)";

/// A game in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GameCard {
    /// Its id.
    pub id: String,
    /// Its name in addresses.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// A line or two.
    pub summary: String,
    /// Who sells it: id and name.
    pub publisher: (String, String),
    /// When it came out, or comes.
    pub released_at: Timestamp,
    /// What it costs now.
    pub price: Money,
    /// What it costs when there is no sale.
    pub full_price: Money,
    /// The sum of the stars of its reviews, and their number.
    pub rating: (u64, u64),
    /// How many bought it.
    pub sold: u64,
    /// Its first picture.
    pub cover: Option<String>,
    /// What kind of game it is.
    pub categories: Vec<String>,
    /// Words of its own.
    pub tags: Vec<String>,
}

/// The orders there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// By title.
    Title,
    /// The latest first.
    Newest,
    /// The cheapest first.
    Price,
    /// The dearest first.
    Dearest,
    /// The best rated first.
    Rating,
    /// The most bought first.
    Popular,
    /// What has the words in its title first, and of those the most bought.
    Relevance,
}

/// Which games, and in which order.
#[derive(Debug, Clone)]
pub struct GameFilter {
    /// Those that are sold there.
    pub country: Country,
    /// Those with these words.
    pub(crate) search: Option<Search>,
    /// Those of this category.
    pub category: Option<String>,
    /// Those with this tag.
    pub tag: Option<String>,
    /// Those of this publisher.
    pub publisher: Option<String>,
    /// Those that cost no more than this now, in minor units.
    pub max_price: Option<i64>,
    /// Those on sale.
    pub on_sale: bool,
    /// The order.
    pub sort: Sort,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    slug: String,
    title: String,
    title_key: String,
    summary: String,
    publisher: String,
    publisher_name: String,
    released_at: i64,
    rating_sum: i64,
    rating_count: i64,
    sold: i64,
    full_price: i64,
    price: i64,
    cover: Option<String>,
}

#[derive(FromQueryResult)]
struct SortedRow {
    sort_key: i64,
}

#[derive(FromQueryResult)]
struct WordRow {
    game: String,
    kind: String,
    word: String,
}

impl Sort {
    const ALL: [(&'static str, Self); 7] = [
        ("title", Self::Title),
        ("newest", Self::Newest),
        ("price", Self::Price),
        ("-price", Self::Dearest),
        ("rating", Self::Rating),
        ("popular", Self::Popular),
        ("relevance", Self::Relevance),
    ];

    /// The order of this word; without one what was searched for comes by relevance, and all else
    /// by how many bought it.
    pub fn parse(word: Option<&str>, searching: bool) -> Result<Self, Violation> {
        let Some(word) = word else {
            return Ok(if searching {
                Self::Relevance
            } else {
                Self::Popular
            });
        };
        let known = Self::ALL.into_iter().find(|(known, _)| *known == word);
        let message =
            "`title`, `newest`, `price`, `-price`, `rating`, `popular`, or `relevance` of a search";
        let refused = Violation::new("sort", "unknown", message);
        match known {
            Some((_, Self::Relevance)) if !searching => Err(refused),
            Some((_, sort)) => Ok(sort),
            None => Err(refused),
        }
    }

    /// A whole number by which it sorts upwards; titles sort by themselves.
    fn key(self) -> &'static str {
        match self {
            Self::Title => "CAST(0 AS BIGINT)",
            Self::Newest => "-x.released_at",
            Self::Price => "x.price",
            Self::Dearest => "-x.price",
            // Ten thousandths of a star, then how many think so.
            Self::Rating => {
                "CASE WHEN x.rating_count = 0 THEN 0 ELSE \
                 -(x.rating_sum * 10000 / x.rating_count) * 1000000 - x.rating_count END"
            }
            Self::Popular => "-x.sold",
            Self::Relevance => {
                "CASE WHEN x.title_key LIKE ? THEN 0 WHEN x.title_key LIKE ? THEN 1 ELSE 2 END * 1000000000000 - x.sold"
            }
        }
    }
}

/// Where a page begins: after this game of this key.
struct After {
    number: i64,
    title: String,
    id: String,
}

impl After {
    /// The key of a game, as a cursor carries it.
    fn spell(sort: Sort, number: i64, title: &str, id: &str) -> String {
        let title = if sort == Sort::Title { title } else { "" };
        format!("{}\n{number}\n{id}\n{title}", sort as u8)
    }

    fn read(sort: Sort, text: &str) -> Result<Option<Self>, Violation> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut parts = text.splitn(4, '\n');
        let mut part = || parts.next().unwrap_or_default();
        let of = part() == (sort as u8).to_string();
        let (number, id, title) = (part().parse(), part(), part());
        match number {
            Ok(number) if of && !id.is_empty() => Ok(Some(Self {
                number,
                title: title.to_owned(),
                id: id.to_owned(),
            })),
            _ => {
                let message = "not a cursor of this list in this order";
                Err(Violation::new("cursor", "malformed", message))
            }
        }
    }
}

impl Store {
    /// Games that are published, and sold in the country.
    pub async fn games(
        &self,
        filter: &GameFilter,
        page: &PageRequest,
    ) -> Result<Page<GameCard>, StoreError> {
        let db = self.database().reader();
        let after = After::read(filter.sort, page.after())?;
        let (text, values) = self.query(db, filter, after, page.fetch());
        let rows: Vec<Sorted> = sql::all(db, &text, values).await?;
        let page = page.cut(rows, |Sorted(row, number)| {
            After::spell(filter.sort, *number, &row.title_key, &row.id)
        });
        let rows = page.items.into_iter().map(|Sorted(row, _)| row).collect();
        Ok(Page {
            items: described(db, rows, filter.country).await?,
            next: page.next,
        })
    }

    fn query(
        &self,
        db: &impl ConnectionTrait,
        filter: &GameFilter,
        after: Option<After>,
        limit: u64,
    ) -> (String, Vec<Value>) {
        let now = self.now().as_millis();
        let mut values = Vec::new();
        if let (Sort::Relevance, Some(search)) = (filter.sort, &filter.search) {
            // Letters, digits and spaces only: nothing in them is a pattern.
            let key = search.key();
            values.extend(values![format!("{key}%"), format!("%{key}%")]);
        }
        values.extend(values![now, now, filter.country.code()]);
        let mut text = format!(
            "SELECT y.* FROM (SELECT x.*, {} AS sort_key FROM ({}) x WHERE x.state = 'published'",
            filter.sort.key(),
            games_in_country()
        );
        let mut and = |condition: &str, value: Value| {
            text.push_str(" AND ");
            text.push_str(condition);
            values.push(value);
        };
        if let Some(search) = &filter.search {
            let (condition, value) = search.condition(db.get_database_backend());
            and(condition, value.into());
        }
        for (kind, word) in [("category", &filter.category), ("tag", &filter.tag)] {
            if let Some(word) = word {
                let condition = format!(
                    "x.id IN (SELECT w.game FROM game_words w WHERE w.kind = '{kind}' AND w.word = ?)"
                );
                and(&condition, word.as_str().into());
            }
        }
        if let Some(publisher) = &filter.publisher {
            and("x.publisher = ?", publisher.as_str().into());
        }
        if let Some(most) = filter.max_price {
            and("x.price <= ?", most.into());
        }
        if filter.on_sale {
            text.push_str(" AND x.price < x.full_price");
        }
        text.push_str(") y");
        let order = if filter.sort == Sort::Title {
            if let Some(after) = after {
                text.push_str(" WHERE (y.title_key, y.id) > (?, ?)");
                values.extend(values![after.title, after.id]);
            }
            "y.title_key, y.id"
        } else {
            if let Some(after) = after {
                text.push_str(" WHERE (y.sort_key, y.id) > (?, ?)");
                values.extend(values![after.number, after.id]);
            }
            "y.sort_key, y.id"
        };
        text.push_str(" ORDER BY ");
        text.push_str(order);
        text.push_str(" LIMIT ?");
        values.push((limit as i64).into());
        (text, values)
    }
}

/// Every game of a country, with its price there: bound to the moment, twice, and the country.
fn games_in_country() -> String {
    format!(
        "SELECT g.id, g.slug, g.title, g.title_key, g.summary, g.state, g.publisher, \
                b.name AS publisher_name, g.released_at, g.rating_sum, g.rating_count, g.sold, \
                p.minor AS full_price, {EFFECTIVE_PRICE} AS price, m.url AS cover \
         FROM games g JOIN game_prices p ON p.game = g.id AND p.country = ? \
         JOIN publishers b ON b.id = g.publisher \
         LEFT JOIN game_media m ON m.game = g.id AND m.place = 0"
    )
}

/// The cards of these games in a country, in no order; those that are not sold there are left
/// out, those that are withdrawn are not.
pub(crate) async fn cards(
    db: &impl ConnectionTrait,
    ids: &[String],
    country: Country,
    now: Timestamp,
) -> Result<HashMap<String, GameCard>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let now = now.as_millis();
    let text = format!(
        "{} WHERE g.id IN {}",
        games_in_country(),
        sql::list(ids.len())
    );
    let mut values = values![now, now, country.code()];
    values.extend(ids.iter().map(|id| Value::from(id.as_str())));
    let rows = sql::all(db, &text, values).await?;
    let cards = described(db, rows, country).await?;
    Ok(cards
        .into_iter()
        .map(|card| (card.id.clone(), card))
        .collect())
}

/// Puts words to games: one query, however many games.
async fn described(
    db: &impl ConnectionTrait,
    rows: Vec<Row>,
    country: Country,
) -> Result<Vec<GameCard>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT game, kind, word FROM game_words WHERE game IN {} ORDER BY word",
        sql::list(rows.len())
    );
    let ids = rows
        .iter()
        .map(|row| Value::from(row.id.as_str()))
        .collect();
    let mut words: HashMap<String, (Vec<String>, Vec<String>)> = HashMap::new();
    for row in sql::all::<WordRow>(db, &text, ids).await? {
        let of_game = words.entry(row.game).or_default();
        let list = if row.kind == "tag" {
            &mut of_game.1
        } else {
            &mut of_game.0
        };
        list.push(row.word);
    }
    let card = |row: Row| {
        let (categories, tags) = words.remove(&row.id).unwrap_or_default();
        GameCard {
            id: row.id,
            slug: row.slug,
            title: row.title,
            summary: row.summary,
            publisher: (row.publisher, row.publisher_name),
            released_at: Timestamp::from_millis(row.released_at),
            price: Money::new(row.price, country.currency()),
            full_price: Money::new(row.full_price, country.currency()),
            rating: (
                row.rating_sum.unsigned_abs(),
                row.rating_count.unsigned_abs(),
            ),
            sold: row.sold.unsigned_abs(),
            cover: row.cover,
            categories,
            tags,
        }
    };
    Ok(rows.into_iter().map(card).collect())
}

/// A row and the number it was sorted by.
struct Sorted(Row, i64);

impl FromQueryResult for Sorted {
    fn from_query_result(row: &sea_orm::QueryResult, prefix: &str) -> Result<Self, sea_orm::DbErr> {
        let key = SortedRow::from_query_result(row, prefix)?.sort_key;
        Ok(Self(Row::from_query_result(row, prefix)?, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_in_known_ways_only() {
        assert_eq!(Sort::parse(None, false).unwrap(), Sort::Popular);
        assert_eq!(Sort::parse(None, true).unwrap(), Sort::Relevance);
        assert_eq!(Sort::parse(Some("-price"), false).unwrap(), Sort::Dearest);
        for bad in ["relevance", "sold; DROP TABLE games", ""] {
            assert_eq!(Sort::parse(Some(bad), false).unwrap_err().rule, "unknown");
        }
    }

    #[test]
    fn a_cursor_is_of_one_order() {
        let key = After::spell(Sort::Price, 5, "a title", "id");
        assert_eq!(After::read(Sort::Price, &key).unwrap().unwrap().number, 5);
        assert!(After::read(Sort::Newest, &key).is_err());
        let key = After::spell(Sort::Title, 0, "a title", "id");
        assert_eq!(
            After::read(Sort::Title, &key).unwrap().unwrap().title,
            "a title"
        );
        for bad in ["x", "1\nx\nid\n", "2\n5\n\n"] {
            assert!(After::read(Sort::Newest, bad).is_err(), "{bad:?}");
        }
    }
}
