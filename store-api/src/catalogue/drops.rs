//! Prices that go down: whoever wishes for the game is told.

use std::collections::BTreeMap;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::json;

use super::EFFECTIVE_PRICE;
use crate::{
    error::StoreError,
    money::Country,
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, stored_id},
};

/// What a game costs where, in minor units.
pub(super) type Prices = BTreeMap<Country, i64>;

#[derive(FromQueryResult)]
struct PriceRow {
    country: String,
    price: i64,
}

#[derive(FromQueryResult)]
struct WisherRow {
    user_id: String,
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

    /// Tells those who wish for a game, by id and title, and buy where it costs less than `before`.
    pub(super) async fn tell_of_drops(
        &self,
        tx: &DatabaseTransaction,
        (game, title): (&str, &str),
        before: &Prices,
    ) -> Result<(), StoreError> {
        if before.is_empty() {
            return Ok(());
        }
        let home = self.limits().country.code();
        let mut news = Vec::new();
        for (country, now) in self.prices(tx, game).await? {
            let Some(before) = before.get(&country).filter(|before| now < **before) else {
                continue;
            };
            let wishers: Vec<WisherRow> = sql::all(
                tx,
                "SELECT m.user_id FROM marks m JOIN users u ON u.id = m.user_id \
                 WHERE m.game = ? AND m.list = 'wishlist' AND COALESCE(u.country, ?) = ? \
                 ORDER BY m.user_id",
                values![game, home, country.code()],
            )
            .await?;
            let currency = country.currency();
            let money = |minor: i64| json!({"minor": minor, "currency": currency.code(), "exponent": currency.exponent()});
            for wisher in wishers {
                news.push(News {
                    user: stored_id(&wisher.user_id)?,
                    topic: Topic::PriceDropped,
                    data: json!({
                        "game": {"id": game, "title": title},
                        "before": money(*before),
                        "now": money(now),
                    }),
                });
            }
        }
        self.tell(tx, news).await
    }
}
