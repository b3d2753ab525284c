//! Gift cards: made by an operator, redeemed once.
//!
//! A code is 100 bits, of which the database knows the hash only. It is made from a secret of this
//! store, the name of its batch and its place in it; so the answer to a request for cards can be
//! given again without its codes lying anywhere.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::id::{Timestamp, UserId};
use std::time::Duration;
use ulid::Ulid;

use crate::{
    accounts::hex,
    audit::{By, Deed},
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    ledger::{Account, Cause, balance, hold, post},
    money::{Currency, Money},
    sql::{self, values},
    store::Store,
    typed_code,
};

/// Characters of a code, five bits each.
const LENGTH: usize = 20;
/// Characters between two dashes of it.
const GROUP: usize = 5;
/// The most cards of one request.
const MAX_CARDS: u32 = 100;
/// The most that may be on all cards of one request, in minor units.
const MAX_BATCH: i64 = 10_000_000_000;
/// The most of one currency that may be on cards that nobody redeemed, in minor units: a small part of what
/// the books can hold, so that whoever makes cards by mistake does not keep everybody else from it.
const MAX_OUTSTANDING: i64 = 1_000_000_000_000;
/// How long a card is good.
const VALIDITY: Duration = Duration::from_hours(24 * 365 * 5);

/// Makes codes. Several processes on one database have to share its secret, as they share the key
/// of tokens.
pub(crate) struct CardCodes {
    secret: [u8; 32],
}

/// Cards that somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardOrder {
    /// What is on each.
    pub amount: Money,
    /// How many.
    pub cards: u32,
}

/// Cards just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCards {
    /// The name of the batch.
    pub batch: String,
    /// What is on each.
    pub amount: Money,
    /// Their codes, each good for whoever comes with it first.
    pub codes: Vec<String>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What redeeming a card came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redeemed {
    /// What was on it.
    pub amount: Money,
    /// What is in the wallet now.
    pub balance: Money,
}

/// What is kept of an answer: enough to make it again.
#[derive(Serialize, Deserialize)]
struct Batch {
    id: String,
    expires_at: i64,
}

#[derive(FromQueryResult)]
struct Card {
    id: String,
    amount: i64,
    currency: String,
    expires_at: i64,
    redeemed_by: Option<String>,
    voided_at: Option<i64>,
}

impl CardCodes {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    fn code(&self, batch: &str, place: u32) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(format!("{batch}:{place}"));
        typed_code::spell(&hash.finalize(), LENGTH, GROUP)
    }
}

impl Store {
    /// Makes gift cards, in the name of `issuer`.
    pub async fn issue_gift_cards(
        &self,
        issuer: &str,
        key: &IdempotencyKey,
        order: CardOrder,
    ) -> Result<Answered<IssuedCards>, StoreError> {
        if !(1..=MAX_CARDS).contains(&order.cards) {
            return Err(Violation::new("cards", "range", "from 1 to 100").into());
        }
        let currency = order.amount.currency();
        let all = order.amount.checked_mul(order.cards);
        let all = all
            .filter(|all| all.minor() <= MAX_BATCH)
            .ok_or(Violation::new(
                "amount",
                "range",
                "on all cards together at most 10^10 minor units",
            ))?;
        let request = (order.amount.minor(), currency.code(), order.cards);
        let named = Named::new(issuer, key, "gift-cards", &request)?;
        let tx = self.database().begin().await?;
        if let Some(kept) = named.claim::<Batch>(self, &tx).await? {
            return Ok(Answered {
                answer: self.issued(kept.answer, order),
                replayed: true,
            });
        }
        // Locked: of two that each fit, the second may not.
        hold(&tx, &Account::GiftCards, currency).await?;
        let outstanding = balance(&tx, &Account::GiftCards, currency).await?;
        if outstanding.minor() + all.minor() > MAX_OUTSTANDING {
            let message = "cards that nobody redeemed would hold more than 10^12 minor units of this currency";
            return Err(refusal("amount", "outstanding", message));
        }
        let now = self.now();
        let batch = Batch {
            id: Ulid::new().to_string(),
            expires_at: now.plus_millis(VALIDITY.as_millis() as i64).as_millis(),
        };
        let expires_at = batch.expires_at;
        let issued = self.issued(batch, order);
        let mut row = Vec::new();
        for (place, code) in issued.codes.iter().enumerate() {
            row.extend(values![
                format!("{}:{place}", issued.batch),
                hash(&plain(code)),
                order.amount.minor(),
                currency.code(),
                issuer,
                now.as_millis(),
                expires_at
            ]);
        }
        let rows = vec![sql::list(7); issued.codes.len()].join(", ");
        let insert = format!(
            "INSERT INTO gift_cards (id, hash, amount, currency, issued_by, issued_at, expires_at) VALUES {rows}"
        );
        sql::execute(&tx, &insert, row).await?;
        let legs = [(Account::Outside, all.negated()), (Account::GiftCards, all)];
        post(&tx, now, Cause::GiftCardsIssued, &issued.batch, &legs).await?;
        let batch = Batch {
            id: issued.batch.clone(),
            expires_at,
        };
        named.keep(&tx, &batch).await?;
        let details = json!({
            "batch": batch.id, "amount": order.amount.minor(), "currency": currency.code(), "cards": order.cards,
        });
        let by = By::Named(issuer);
        self.record(&tx, Deed::GiftCardsIssued, by, None, details)
            .await?;
        self.database().commit(tx).await?;
        Ok(Answered::first(issued))
    }

    fn issued(&self, batch: Batch, order: CardOrder) -> IssuedCards {
        let codes = (0..order.cards).map(|place| self.card_codes().code(&batch.id, place));
        IssuedCards {
            amount: order.amount,
            codes: codes.collect(),
            expires_at: Timestamp::from_millis(batch.expires_at),
            batch: batch.id,
        }
    }

    /// Redeems a card into the wallet of `me`. Whoever redeemed it may ask again, and is told the
    /// same; everybody else is told that there is no such card, whether there was one or not.
    pub async fn redeem_gift_card(&self, me: &UserId, code: &str) -> Result<Redeemed, StoreError> {
        let code = plain(code);
        let currency = self
            .country_of(self.database().reader(), me)
            .await?
            .currency();
        let tx = self.database().begin().await?;
        self.count_code(&tx, me).await?;
        let redeemed = self.redeem(&tx, me, &code, currency).await?;
        if redeemed.is_some() {
            self.forgive_code(&tx, me).await?;
        }
        // Also when there is no such card: the attempt counts.
        self.database().commit(tx).await?;
        redeemed.ok_or(StoreError::NotFound)
    }

    async fn redeem(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        code: &str,
        currency: Currency,
    ) -> Result<Option<Redeemed>, StoreError> {
        let now = self.now();
        let wallet = Account::Wallet(me.clone());
        let card: Option<Card> = sql::one(
            tx,
            "SELECT id, amount, currency, expires_at, redeemed_by, voided_at FROM gift_cards WHERE hash = ?",
            values![hash(code)],
        )
        .await?;
        let Some(card) = card else { return Ok(None) };
        if let Some(owner) = &card.redeemed_by
            && owner != me.as_str()
        {
            return Ok(None);
        }
        let amount = Money::new(card.amount, Currency::parse(&card.currency)?);
        if card.redeemed_by.is_some() {
            let balance = balance(tx, &wallet, amount.currency()).await?;
            return Ok(Some(Redeemed { amount, balance }));
        }
        if card.voided_at.is_some() || card.expires_at <= now.as_millis() {
            return Ok(None);
        }
        if amount.currency() != currency {
            let message = "the card is in another currency than the wallet";
            return Err(refusal("code", "currency", message));
        }
        // One statement decides which of two that come with the same code is first, and whether it is taken back before.
        let taken = sql::execute(
            tx,
            "UPDATE gift_cards SET redeemed_by = ?, redeemed_at = ? \
             WHERE id = ? AND redeemed_at IS NULL AND voided_at IS NULL",
            values![me.as_str(), now.as_millis(), card.id.as_str()],
        )
        .await?;
        if taken == 0 {
            return Ok(None);
        }
        let legs = [
            (Account::GiftCards, amount.negated()),
            (wallet.clone(), amount),
        ];
        post(tx, now, Cause::GiftCard, &card.id, &legs).await?;
        let balance = balance(tx, &wallet, currency).await?;
        Ok(Some(Redeemed { amount, balance }))
    }
}

fn refusal(field: &'static str, rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new(field, rule, message)],
    }
}

fn plain(code: &str) -> String {
    typed_code::plain(code, 4 * LENGTH)
}

fn hash(code: &str) -> String {
    // Fast on purpose: the code has 100 bits, there is nothing to try out.
    hex(&Sha256::digest(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let codes = CardCodes::new([7; 32]);
        let code = codes.code("batch", 0);
        assert_eq!(code.len(), LENGTH + 3);
        assert_eq!(code, codes.code("batch", 0));
        assert_ne!(code, codes.code("batch", 1));
        assert_ne!(code, codes.code("other", 0));
        let written = format!(
            " {} ",
            code.to_lowercase().replace('-', " ").replace('0', "o")
        );
        assert_eq!(plain(&written), plain(&code));
        assert_eq!(plain(&code).len(), LENGTH);
    }
}
