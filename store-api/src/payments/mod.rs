//! Money from outside: a person charges their wallet, or buys, with a payment that a provider takes.
//!
//! A payment is a row with a state (`state`), and every change of it is one transaction with the money it
//! moves (`record`). Providers are asked through a port (`provider`); what they were asked for is written
//! down first, so that whoever comes after a kill finds it and looks how it stands (`settle`). A request,
//! a message of a provider and the worker all end in the same step, [`Store::advance`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use shared::id::{Timestamp, UserId};
use tokio::sync::Notify;

use crate::{
    error::{StoreError, Violation},
    money::Money,
    orders::{GiftOrder, Purchase},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};
use pace::Pace;
use provider::Provider;
use row::{COLUMNS, Row};
use seal::Seals;

pub use confirm::Proof;
pub(crate) use purchase::PaidOrder;
pub use settings::PaymentSettings;
pub use state::PaymentState;
pub(crate) use worker::settle;

mod begin;
mod cancels;
mod confirm;
#[cfg(feature = "http-client")]
mod http;
#[cfg(feature = "http-client")]
mod kakao_pay;
mod messages;
mod pace;
mod provider;
mod purchase;
mod record;
mod row;
mod seal;
mod settings;
mod settle;
mod state;
#[cfg(feature = "http-client")]
mod toss;
mod worker;

/// What somebody wants to pay.
#[derive(Debug, Clone, Serialize)]
pub struct PaymentOrder {
    /// By whom: `kakao_pay` or `toss`.
    pub provider: String,
    /// What for.
    pub purpose: Purpose,
}

/// What a payment is for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To charge the wallet with so many minor units of its currency.
    TopUp(i64),
    /// To buy games for oneself.
    Order(Purchase),
    /// To buy games for a friend.
    Gift(GiftOrder),
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its name.
    pub id: String,
    /// Who takes the money.
    pub provider: String,
    /// What for: `top_up` or `order`.
    pub purpose: String,
    /// The order that was bought with it, if one was.
    pub order: Option<String>,
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
    /// The provider's word for why it came to nothing; or the store's for why nothing was bought with it.
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

impl Payments {
    fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(name)
    }

    /// Where the payer's browser goes on with a payment. Only a provider and the payer know it.
    fn sealed(&self, id: &str, place: &str) -> String {
        let seal = self.seals.of(id);
        format!("{}/v1/payments/{id}/{place}?seal={seal}", self.public_url)
    }

    /// Whether a browser came to where [`Payments::sealed`] sent it.
    pub(crate) fn is_sealed(&self, id: &str, seal: &str) -> bool {
        self.seals.holds(id, seal)
    }

    /// Those who take this currency.
    pub(crate) fn taking(&self, amount: Money) -> Vec<&'static str> {
        let providers = self.providers.iter();
        let taking = providers.filter(|(_, provider)| provider.takes(amount));
        taking.map(|(name, _)| *name).collect()
    }

    /// The page that a payer sees once they are back.
    pub(crate) fn page(&self, id: &str) -> String {
        let mark = if self.page.contains('?') { '&' } else { '?' };
        format!("{}{mark}payment={id}", self.page)
    }
}

impl Store {
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
