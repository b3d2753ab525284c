//! A person's money: what is in the wallet, in the currency of their country, and how it came and
//! went.

use sea_orm::FromQueryResult;
use shared::id::{Timestamp, UserId};

pub(crate) use gift_cards::CardCodes;
pub use gift_cards::{CardOrder, IssuedCards, Redeemed};
pub use void::VoidedCards;

use crate::{
    error::{StoreError, Violation},
    ledger::{Account, balance},
    money::{Country, Currency, Money},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::{Store, lock_users},
};

mod gift_cards;
mod void;

/// A person's wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wallet {
    /// Where its owner buys.
    pub country: Country,
    /// What is in it.
    pub balance: Money,
}

/// One movement of money in a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletEntry {
    /// The transfer's name.
    pub id: String,
    /// Why: `gift_card`, `purchase` (gifts are one too), `refund`, `top_up`, `payment_cancel` or
    /// `payment_cancel_refused`.
    pub cause: String,
    /// What it was for: the card, the order, the order and the game, the payment, its cancel.
    pub reference: String,
    /// What came, or went where it is negative.
    pub amount: Money,
    /// What was in the wallet then.
    pub balance: Money,
    /// When.
    pub at: Timestamp,
}

#[derive(FromQueryResult)]
struct EntryRow {
    number: i64,
    id: String,
    cause: String,
    reference: String,
    amount: i64,
    balance: i64,
    created_at: i64,
}

#[derive(FromQueryResult)]
struct CountryRow {
    country: Option<String>,
}

#[derive(FromQueryResult)]
struct Open {
    open: i64,
}

impl Store {
    /// The wallet of `me`.
    pub async fn wallet(&self, me: &UserId) -> Result<Wallet, StoreError> {
        let country = self.country_of(self.database().reader(), me).await?;
        let account = Account::Wallet(me.clone());
        let balance = balance(self.database().reader(), &account, country.currency()).await?;
        Ok(Wallet { country, balance })
    }

    /// Says where `me` buys. With another currency that is only possible while the wallet is empty, and no
    /// payment is on its way into it or out.
    pub async fn move_to(&self, me: &UserId, country: Country) -> Result<Wallet, StoreError> {
        let tx = self.database().begin().await?;
        if lock_users(&tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        let before = self.country_of(&tx, me).await?;
        let account = Account::Wallet(me.clone());
        let held = balance(&tx, &account, before.currency()).await?;
        if before.currency() != country.currency() {
            if held.minor() != 0 {
                let message = "the wallet has to be empty before its currency changes";
                return Err(refusal("wallet_not_empty", message));
            }
            // Payments begin while their payer is locked, as here.
            let open: Option<Open> = sql::one(
                &tx,
                "SELECT COUNT(*) AS open FROM payments WHERE user_id = ? AND currency <> ? \
                 AND (state IN ('created', 'ready', 'approving') OR cancelling > 0)",
                values![me.as_str(), country.currency().code()],
            )
            .await?;
            if open.is_some_and(|open| open.open > 0) {
                let message = "a payment in the currency of the wallet is not over yet";
                return Err(refusal("payment_open", message));
            }
        }
        sql::execute(
            &tx,
            "UPDATE users SET country = ? WHERE id = ?",
            values![country.code(), me.as_str()],
        )
        .await?;
        let balance = balance(&tx, &account, country.currency()).await?;
        self.database().commit(tx).await?;
        Ok(Wallet { country, balance })
    }

    /// What came into the wallet of `me` and went, the newest first.
    pub async fn wallet_history(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<WalletEntry>, StoreError> {
        let before = page.after_number()?.unwrap_or(i64::MAX);
        let db = self.database().reader();
        let currency = self.country_of(db, me).await?.currency();
        let rows: Vec<EntryRow> = sql::all(
            db,
            "SELECT p.id AS number, t.id, t.cause, t.reference, p.amount, p.balance, t.created_at \
             FROM postings p JOIN transfers t ON t.id = p.transfer \
             WHERE p.account = ? AND p.id < ? ORDER BY p.id DESC LIMIT ?",
            values![
                Account::Wallet(me.clone()).id(currency),
                before,
                page.fetch() as i64
            ],
        )
        .await?;
        let page = page.cut(rows, |row| row.number.to_string());
        Ok(page.map(|row| entry(row, currency)))
    }

    /// Where `user` buys: where they said, or where this store is at home.
    pub(crate) async fn country_of(
        &self,
        db: &impl sea_orm::ConnectionTrait,
        user: &UserId,
    ) -> Result<Country, StoreError> {
        let row: Option<CountryRow> = sql::one(
            db,
            "SELECT country FROM users WHERE id = ?",
            values![user.as_str()],
        )
        .await?;
        let said = row.and_then(|row| row.country);
        Ok(self.country_said(said.as_deref()))
    }

    /// Where somebody buys whose account says this.
    pub(crate) fn country_said(&self, said: Option<&str>) -> Country {
        // A country that is no longer sold to is as good as none.
        let country = said.and_then(|code| Country::parse(code).ok());
        country.unwrap_or(self.limits().country)
    }
}

fn refusal(rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new("country", rule, message)],
    }
}

fn entry(row: EntryRow, currency: Currency) -> WalletEntry {
    WalletEntry {
        id: row.id,
        cause: row.cause,
        reference: row.reference,
        amount: Money::new(row.amount, currency),
        balance: Money::new(row.balance, currency),
        at: Timestamp::from_millis(row.created_at),
    }
}
