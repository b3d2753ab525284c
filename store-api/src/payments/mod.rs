//! Money from outside: a person charges their wallet with a payment that a provider takes.
//!
//! A payment is a row with a state (`state`), and every change of it is one transaction with the money it
//! moves (`record`). Providers are asked through a port (`provider`); what they were asked for is written
//! down first, so that whoever comes after a kill finds it and looks how it stands (`settle`). A request,
//! a message of a provider and the worker all end in the same step, [`Store::advance`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use shared::id::{Timestamp, UserId};
use tokio::sync::Notify;
use ulid::Ulid;

use crate::{
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    money::Money,
    paging::{Page, PageRequest},
    sql::{self, values},
    store::{Store, lock_users},
};
use pace::Pace;
use provider::Provider;
use row::{COLUMNS, Row};
use seal::Seals;

pub use confirm::Proof;
pub use settings::PaymentSettings;
pub use state::PaymentState;
pub(crate) use worker::settle;

mod cancels;
mod confirm;
#[cfg(feature = "http-client")]
mod http;
#[cfg(feature = "http-client")]
mod kakao_pay;
mod messages;
mod pace;
mod provider;
mod record;
mod row;
mod seal;
mod settings;
mod settle;
mod state;
#[cfg(feature = "http-client")]
mod toss;
mod worker;

/// Payments of one person that are neither paid nor given up.
const MOST_OPEN: i64 = 20;

/// What somebody wants to charge their wallet with.
#[derive(Debug, Clone, Serialize)]
pub struct TopUp {
    /// By whom: `kakao_pay` or `toss`.
    pub provider: String,
    /// How much, in minor units of the wallet's currency.
    pub amount: i64,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its name.
    pub id: String,
    /// Who takes the money.
    pub provider: String,
    /// How much.
    pub amount: Money,
    /// What of that was paid back.
    pub cancelled: Money,
    /// What of that is to be paid back, as soon as the provider answers.
    pub cancelling: Money,
    /// How far it is.
    pub state: PaymentState,
    /// What the payer's client does next, while it is [`PaymentState::Ready`].
    pub next: Option<serde_json::Value>,
    /// The provider's word for why it came to nothing.
    pub failure: Option<String>,
    /// When it was made.
    pub at: Timestamp,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
}

/// The providers of this store, and how they are dealt with.
pub(crate) struct Payments {
    providers: BTreeMap<&'static str, Arc<dyn Provider>>,
    pace: Pace,
    lifetime: Duration,
    most: i64,
    public_url: String,
    page: String,
    seals: Seals,
    wake: Notify,
}

/// What is kept of an answer: the rest is read again.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
}

#[derive(FromQueryResult)]
struct Open {
    open: i64,
}

impl Payments {
    fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(name)
    }

    /// Where a provider sends the payer of a payment back to. Only a provider and the payer know it.
    fn back(&self, id: &str) -> String {
        let seal = self.seals.of(id);
        format!("{}/v1/payments/{id}/return?seal={seal}", self.public_url)
    }

    /// Whether a browser came back to where [`Payments::back`] sent it.
    pub(crate) fn is_sealed(&self, id: &str, seal: &str) -> bool {
        self.seals.holds(id, seal)
    }

    /// The page that a payer sees once they are back.
    pub(crate) fn page(&self, id: &str) -> String {
        let mark = if self.page.contains('?') { '&' } else { '?' };
        format!("{}{mark}payment={id}", self.page)
    }
}

impl Store {
    /// Begins to charge the wallet of `me`, and has the provider await them. While the provider does
    /// not answer the payment is [`PaymentState::Created`], and goes on by itself.
    pub async fn top_up(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        order: &TopUp,
    ) -> Result<Answered<Payment>, StoreError> {
        let payments = self.payments();
        let Some((name, provider)) = payments.providers.get_key_value(order.provider.as_str())
        else {
            let message = "not a payment provider of this store";
            return Err(Violation::new("provider", "unknown", message).into());
        };
        let caller = format!("user:{me}");
        let named = Named::new(&caller, key, "payments", order)?;
        let tx = self.database().begin().await?;
        if let Some(kept) = named.claim::<Kept>(self, &tx).await? {
            drop(tx);
            return Ok(Answered {
                answer: self.payment(me, &kept.answer.id).await?,
                replayed: true,
            });
        }
        if lock_users(&tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        let currency = self.country_of(&tx, me).await?.currency();
        let amount = Money::positive("amount", order.amount, currency)?;
        if amount.minor() > payments.most {
            let message = "more than this store lets one payment be";
            return Err(Violation::new("amount", "range", message).into());
        }
        if !provider.takes(amount) {
            let message = "this provider does not take the currency of the wallet";
            return Err(refusal("provider", "currency", message));
        }
        let open: Option<Open> = sql::one(
            &tx,
            "SELECT COUNT(*) AS open FROM payments \
             WHERE user_id = ? AND state IN ('created', 'ready', 'approving')",
            values![me.as_str()],
        )
        .await?;
        if open.is_some_and(|open| open.open >= MOST_OPEN) {
            let message = "too many payments are neither paid nor given up";
            return Err(refusal("provider", "too_many", message));
        }
        let id = Ulid::new().to_string();
        let now = self.now();
        sql::execute(
            &tx,
            "INSERT INTO payments (id, user_id, provider, purpose, amount, currency, state, \
             check_at, created_at, expires_at, changed_at) \
             VALUES (?, ?, ?, 'top_up', ?, ?, 'created', ?, ?, ?, ?)",
            values![
                id.as_str(),
                me.as_str(),
                *name,
                amount.minor(),
                currency.code(),
                now.as_millis(),
                now.as_millis(),
                now.as_millis() + payments.lifetime.as_millis() as i64,
                now.as_millis()
            ],
        )
        .await?;
        named.keep(&tx, &Kept { id: id.clone() }).await?;
        let turn = self.take_turn(&tx, &id).await?;
        self.commit(tx).await?;
        self.finish_turn(turn).await;
        Ok(Answered::first(self.payment(me, &id).await?))
    }

    /// A payment of `me`.
    pub async fn payment(&self, me: &UserId, id: &str) -> Result<Payment, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM payments WHERE id = ? AND user_id = ?");
        let row: Option<Row> =
            sql::one(self.database().reader(), &text, values![id, me.as_str()]).await?;
        row.ok_or(StoreError::NotFound)?.payment()
    }

    /// Payments of `me`, the latest first.
    pub async fn payments_of(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Payment>, StoreError> {
        let mut values = values![me.as_str()];
        let mut before = "";
        if !page.after().is_empty() {
            before = " AND id < ?";
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!(
            "SELECT {COLUMNS} FROM payments WHERE user_id = ?{before} ORDER BY id DESC LIMIT ?"
        );
        let rows: Vec<Row> = sql::all(self.database().reader(), &text, values).await?;
        let page = page.cut(rows, |row| row.id.clone());
        let items = page.items.iter().map(Row::payment);
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            next: page.next,
        })
    }
}

fn refusal(field: &'static str, rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new(field, rule, message)],
    }
}
