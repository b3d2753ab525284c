//! Prices that go down: whoever wishes for the game is told.

use std::collections::BTreeMap;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::EFFECTIVE_PRICE;
use crate::{
    announcements::{Announcement, PAGE, Progress, Told},
    error::StoreError,
    money::Country,
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, stored_id},
};

/// What a game costs where, in minor units.
pub(super) type Prices = BTreeMap<Country, i64>;

/// A game that costs less than before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PriceDrop {
    game: String,
    title: String,
    /// By the codes of countries.
    fell: BTreeMap<String, Fall>,
}

/// A price before and after, in minor units.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Fall {
    before: i64,
    now: i64,
}

#[derive(FromQueryResult)]
struct PriceRow {
    country: String,
    price: i64,
}

#[derive(FromQueryResult)]
struct WisherRow {
    user_id: String,
    country: String,
}

impl Store {
    /// What a game costs now; nothing unless it is published.
    pub(super) async fn prices(
        &self,
        tx: &DatabaseTransaction,
        game: &str,
    ) -> Result<Prices, StoreError> {
        let now = self.now().as_millis();
        let text = format!(
            "SELECT p.country, {EFFECTIVE_PRICE} AS price FROM games g \
             JOIN game_prices p ON p.game = g.id WHERE g.id = ? AND g.state = 'published'"
        );
        let rows: Vec<PriceRow> = sql::all(tx, &text, values![now, now, game]).await?;
        // A country that is no longer sold to has nobody to be told.
        let price = |row: PriceRow| Some((Country::parse(&row.country).ok()?, row.price));
        Ok(rows.into_iter().filter_map(price).collect())
    }

    /// Announces where a game, by id and title, costs less than `before`.
    pub(super) async fn announce_drops(
        &self,
        tx: &DatabaseTransaction,
        (game, title): (&str, &str),
        before: &Prices,
    ) -> Result<(), StoreError> {
        if before.is_empty() {
            return Ok(());
        }
        let mut fell = BTreeMap::new();
        for (country, now) in self.prices(tx, game).await? {
            if let Some(&before) = before.get(&country).filter(|before| now < **before) {
                fell.insert(country.code().to_owned(), Fall { before, now });
            }
        }
        if fell.is_empty() {
            return Ok(());
        }
        let drop = PriceDrop {
            game: game.to_owned(),
            title: title.to_owned(),
            fell,
        };
        self.announce(tx, None, &Announcement::PriceDrop(drop))
            .await
    }

    /// The next page of those who wished for the game when its price fell, and what they are told
    /// where it still is so: a price that has changed again is told of by that change.
    pub(crate) async fn wishers_to_tell(
        &self,
        tx: &DatabaseTransaction,
        drop: &PriceDrop,
        progress: &Progress,
    ) -> Result<Told, StoreError> {
        let prices = self.prices(tx, &drop.game).await?;
        let holds: BTreeMap<&str, (Country, Fall)> = prices
            .into_iter()
            .filter_map(|(country, now)| {
                let fall = drop.fell.get(country.code()).filter(|fall| fall.now == now);
                fall.map(|fall| (country.code(), (country, *fall)))
            })
            .collect();
        if holds.is_empty() {
            return Ok(Told::page(Vec::new(), &[]));
        }
        // Those who buy elsewhere too: what a page costs is bounded by whom it looks at.
        let wishers: Vec<WisherRow> = sql::all(
            tx,
            "SELECT m.user_id, COALESCE(u.country, ?) AS country FROM marks m \
             JOIN users u ON u.id = m.user_id \
             WHERE m.game = ? AND m.list = 'wishlist' AND m.user_id > ? AND m.since <= ? \
             ORDER BY m.user_id LIMIT ?",
            values![
                self.limits().country.code(),
                drop.game.as_str(),
                progress.told_up_to.as_str(),
                progress.since,
                PAGE as i64
            ],
        )
        .await?;
        let mut news = Vec::new();
        for wisher in &wishers {
            let Some((country, fall)) = holds.get(wisher.country.as_str()) else {
                continue;
            };
            let currency = country.currency();
            let money = |minor: i64| json!({"minor": minor, "currency": currency.code(), "exponent": currency.exponent()});
            news.push(News {
                user: stored_id(&wisher.user_id)?,
                topic: Topic::PriceDropped,
                data: json!({
                    "game": {"id": drop.game, "title": drop.title},
                    "before": money(fall.before),
                    "now": money(fall.now),
                }),
            });
        }
        let looked_at: Vec<String> = wishers.into_iter().map(|row| row.user_id).collect();
        Ok(Told::page(news, &looked_at))
    }
}
