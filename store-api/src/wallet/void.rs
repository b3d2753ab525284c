//! Gift cards taken back: what nobody has redeemed of a batch is good for nothing from then on, and what
//! was on it is owed to nobody any more.

use sea_orm::FromQueryResult;
use serde_json::json;
use ulid::Ulid;

use crate::{
    audit::{By, Deed},
    error::StoreError,
    ledger::{Account, Cause, post},
    money::{Currency, Money, total},
    sql::{self, values},
    store::Store,
};

/// Cards that were taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoidedCards {
    /// How many.
    pub cards: u32,
    /// What was on them together.
    pub amount: Money,
}

#[derive(FromQueryResult)]
struct First {
    currency: String,
}

#[derive(FromQueryResult)]
struct Card {
    amount: i64,
}

impl Store {
    /// Takes back the cards of a batch that nobody has redeemed, in the name of `by`. Again is fine: then
    /// there are none.
    pub async fn void_gift_cards(&self, by: &str, batch: &str) -> Result<VoidedCards, StoreError> {
        if batch.parse::<Ulid>().is_err() {
            return Err(StoreError::NotFound);
        }
        let now = self.now();
        let tx = self.database().begin().await?;
        // A row that is written is locked, on both databases: two that take back the same take turns. Who redeems
        // a card locks that card alone, and then the account; so do we.
        let first: Option<First> = sql::one(
            &tx,
            "UPDATE gift_cards SET id = id WHERE id = ? RETURNING currency",
            values![format!("{batch}:0")],
        )
        .await?;
        let currency = Currency::parse(&first.ok_or(StoreError::NotFound)?.currency)?;
        // Every card of it, and no other: the character after a colon is a semicolon.
        let cards: Vec<Card> = sql::all(
            &tx,
            "UPDATE gift_cards SET voided_at = ? WHERE id >= ? AND id < ? \
             AND redeemed_at IS NULL AND voided_at IS NULL RETURNING amount",
            values![now.as_millis(), format!("{batch}:"), format!("{batch};")],
        )
        .await?;
        let amounts = cards.iter().map(|card| Money::new(card.amount, currency));
        let voided = VoidedCards {
            cards: u32::try_from(cards.len()).unwrap_or(u32::MAX),
            amount: total(currency, amounts)?,
        };
        if voided.cards == 0 {
            return Ok(voided);
        }
        let amount = voided.amount;
        let legs = [
            (Account::GiftCards, amount.negated()),
            (Account::Outside, amount),
        ];
        post(&tx, now, Cause::GiftCardsVoided, batch, &legs).await?;
        let details = json!({
            "batch": batch, "cards": voided.cards, "amount": amount.minor(), "currency": currency.code(),
        });
        self.record(&tx, Deed::GiftCardsVoided, By::Named(by), None, details)
            .await?;
        self.database().commit(tx).await?;
        Ok(voided)
    }
}
