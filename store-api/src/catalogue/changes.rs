//! What of a game is another than before, for the audit log: its state and its prices with what they were,
//! of its texts only which.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::{Value, json};

use super::draft::Draft;
use crate::{
    error::StoreError,
    sql::{self, values},
};

/// A time at which a game costs less: where, from when, until when, how much.
type SaleKey = (String, i64, i64, i64);

/// A game as it stands.
pub(super) struct Before {
    game: Game,
    words: BTreeSet<(String, String)>,
    media: Vec<(String, String)>,
    prices: BTreeMap<String, i64>,
    sales: BTreeSet<SaleKey>,
}

#[derive(FromQueryResult)]
struct Game {
    title: String,
    summary: String,
    description: String,
    state: String,
    released_at: i64,
}

#[derive(FromQueryResult)]
struct Word {
    kind: String,
    word: String,
}

#[derive(FromQueryResult)]
struct Medium {
    kind: String,
    url: String,
}

#[derive(FromQueryResult)]
struct Price {
    country: String,
    minor: i64,
}

#[derive(FromQueryResult)]
struct Sale {
    country: String,
    starts_at: i64,
    ends_at: i64,
    minor: i64,
}

impl Before {
    /// Reads a game that is there.
    pub(super) async fn read(tx: &DatabaseTransaction, game: &str) -> Result<Self, StoreError> {
        let text = "SELECT title, summary, description, state, released_at FROM games WHERE id = ?";
        let row: Option<Game> = sql::one(tx, text, values![game]).await?;
        let text = "SELECT kind, word FROM game_words WHERE game = ?";
        let words: Vec<Word> = sql::all(tx, text, values![game]).await?;
        let text = "SELECT kind, url FROM game_media WHERE game = ? ORDER BY place";
        let media: Vec<Medium> = sql::all(tx, text, values![game]).await?;
        let text = "SELECT country, minor FROM game_prices WHERE game = ?";
        let prices: Vec<Price> = sql::all(tx, text, values![game]).await?;
        let text = "SELECT country, starts_at, ends_at, minor FROM game_sales WHERE game = ?";
        let sales: Vec<Sale> = sql::all(tx, text, values![game]).await?;
        let sale = |row: Sale| (row.country, row.starts_at, row.ends_at, row.minor);
        Ok(Self {
            game: row.ok_or(StoreError::NotFound)?,
            words: words.into_iter().map(|row| (row.kind, row.word)).collect(),
            media: media.into_iter().map(|row| (row.kind, row.url)).collect(),
            prices: prices
                .into_iter()
                .map(|row| (row.country, row.minor))
                .collect(),
            sales: sales.into_iter().map(sale).collect(),
        })
    }

    /// What `draft` changes; none if nothing.
    pub(super) fn differences(&self, draft: &Draft) -> Option<Value> {
        let mut changes = serde_json::Map::new();
        let texts: Vec<&str> = self.texts(draft);
        if !texts.is_empty() {
            changes.insert("texts".to_owned(), json!(texts));
        }
        if self.game.state != draft.state {
            let state = json!({"from": self.game.state, "to": draft.state});
            changes.insert("state".to_owned(), state);
        }
        let prices = self.prices(draft);
        if !prices.is_empty() {
            changes.insert("prices".to_owned(), prices.into());
        }
        let sales: BTreeSet<SaleKey> = draft
            .sales
            .iter()
            .map(|sale| {
                let country = sale.country.code().to_owned();
                (country, sale.starts_at, sale.ends_at, sale.minor)
            })
            .collect();
        if self.sales != sales {
            let now = sales.into_iter().map(|(country, from, to, price)| {
                json!({"country": country, "price": price, "starts_at": from, "ends_at": to})
            });
            changes.insert("sales".to_owned(), now.collect());
        }
        (!changes.is_empty()).then(|| changes.into())
    }

    /// Which of the fields that people read, or find it by, are others.
    fn texts(&self, draft: &Draft) -> Vec<&'static str> {
        let words = |kind: &str| {
            let words = self.words.iter().filter(move |word| word.0 == kind);
            words
                .map(|(_, word)| word.as_str())
                .collect::<BTreeSet<_>>()
        };
        let media = self
            .media
            .iter()
            .map(|(kind, url)| (kind.as_str(), url.as_str()));
        let categories: BTreeSet<&str> = draft.categories.iter().copied().collect();
        let tags: BTreeSet<&str> = draft.tags.iter().map(String::as_str).collect();
        let same = [
            ("title", self.game.title == draft.title),
            ("summary", self.game.summary == draft.summary),
            ("description", self.game.description == draft.description),
            ("released_at", self.game.released_at == draft.released_at),
            ("categories", words("category") == categories),
            ("tags", words("tag") == tags),
            (
                "media",
                media.eq(draft.media.iter().map(|(kind, url)| (*kind, url.as_str()))),
            ),
        ];
        let others = same.into_iter().filter(|(_, same)| !same);
        others.map(|(field, _)| field).collect()
    }

    /// Countries in which it has another price, none among them, with both.
    fn prices(&self, draft: &Draft) -> serde_json::Map<String, Value> {
        let now: BTreeMap<&str, i64> = draft
            .prices
            .iter()
            .map(|(country, minor)| (country.code(), *minor))
            .collect();
        let countries: BTreeSet<&str> = self
            .prices
            .keys()
            .map(String::as_str)
            .chain(now.keys().copied())
            .collect();
        let prices = countries.into_iter().filter_map(|country| {
            let (from, to) = (self.prices.get(country), now.get(country));
            (from != to).then(|| (country.to_owned(), json!({"from": from, "to": to})))
        });
        prices.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::GameText;

    fn draft(change: impl FnOnce(&mut Value)) -> Draft {
        let mut game = json!({
            "slug": "star", "title": "Star", "summary": "A star.", "state": "published", "released_at": 0,
            "categories": ["action"], "tags": ["co-op"], "prices": {"US": 1000, "KR": 12000},
            "sales": [{"country": "US", "price": 500, "starts_at": 10, "ends_at": 20}],
        });
        change(&mut game);
        let text: GameText = serde_json::from_value(game).unwrap();
        Draft::parse(text).unwrap()
    }

    fn before() -> Before {
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        Before {
            game: Game {
                title: "Star".to_owned(),
                summary: "A star.".to_owned(),
                description: String::new(),
                state: "published".to_owned(),
                released_at: 0,
            },
            words: [pair("category", "action"), pair("tag", "co-op")].into(),
            media: Vec::new(),
            prices: [("US".to_owned(), 1000), ("KR".to_owned(), 12000)].into(),
            sales: [("US".to_owned(), 10, 20, 500)].into(),
        }
    }

    #[test]
    fn what_is_the_same_is_no_change() {
        assert_eq!(before().differences(&draft(|_| ())), None);
    }

    #[test]
    fn state_and_prices_are_told_with_what_they_were() {
        let changed = draft(|game| {
            game["title"] = json!("Moon");
            game["tags"] = json!([]);
            game["media"] = json!([{"kind": "image", "url": "https://oak.example/a"}]);
            game["state"] = json!("withdrawn");
            game["prices"] = json!({"US": 900, "DE": 950});
            game["sales"] = json!([]);
        });
        assert_eq!(
            before().differences(&changed).unwrap(),
            json!({
                "texts": ["title", "tags", "media"],
                "state": {"from": "published", "to": "withdrawn"},
                "prices": {
                    "DE": {"from": null, "to": 950}, "KR": {"from": 12000, "to": null}, "US": {"from": 1000, "to": 900},
                },
                "sales": [],
            })
        );
    }
}
