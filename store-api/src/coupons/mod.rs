//! Coupons: what makes an order cheaper, given out by the store or by a publisher for its games.
//!
//! A campaign ([`Campaign`]) says what its coupons take off (`terms`, by the kinds of the registry in
//! `kind`), from when until when, and how people come by them: an operator or the publisher gives them
//! out, a code does (`grant`), or whoever comes first gets one (`drops`). Of one campaign a person has one coupon. It is used on one order, and
//! good again once everything of that order was given back. `checkout` says which of somebody's coupons
//! an order may use, `combine` what they come to and which are best together; `hold` keeps them for an
//! order that a provider is still to be paid for.

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use shared::id::{Timestamp, UserId};

use crate::{
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

pub use campaign::{Campaign, CampaignText};
pub use checkout::Reason;
pub(crate) use checkout::{Basket, Choice, choose, give_back, use_up};
pub(crate) use combine::{Combination, LineOff, Used};
pub use drops::{Claimed, CouponDrop, DropState, QueuePlace, QueueState};
pub(crate) use drops::{Claims, Gates, Joins, Lines, Passes, enlist_all, go_round, serve};
#[cfg(feature = "redis")]
pub(crate) use drops::{RedisGate, RedisLine};
pub use grant::Granted;
pub(crate) use hold::{hold, release};
pub use kind::Kind;
pub use terms::TermsText;
pub(crate) use terms::{Terms, Ware};

mod campaign;
mod campaigns;
mod checkout;
mod combine;
mod drops;
mod grant;
mod hold;
mod kind;
mod terms;

/// A coupon somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// Its name.
    pub id: String,
    /// Of which campaign.
    pub campaign: String,
    /// What people call it.
    pub name: String,
    /// Whose it is: a publisher's id; none for the store's own.
    pub publisher: Option<String>,
    /// What it takes off, and off what.
    pub terms: TermsText,
    /// From when it is good.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Since when its owner has it.
    pub issued_at: Timestamp,
    /// On which order it was used, and when.
    pub used: Option<(String, Timestamp)>,
    /// Whether it waits for a payment.
    pub held: bool,
}

/// What became of a coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CouponState {
    /// Good, now or later.
    Good,
    /// Used.
    Used,
    /// Waits for the payment of an order.
    Held,
    /// Too old.
    Over,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    campaign: String,
    name: String,
    publisher: Option<String>,
    terms: String,
    starts_at: i64,
    ends_at: i64,
    issued_at: i64,
    used_order: Option<String>,
    used_at: Option<i64>,
    held_by: Option<String>,
}

const COUPON: &str = "SELECT c.id, c.campaign, k.name, k.publisher, k.terms, k.starts_at, k.ends_at, \
    c.issued_at, c.used_order, c.used_at, c.held_by FROM coupons c JOIN campaigns k ON k.id = c.campaign";

impl CouponState {
    /// The state of this word.
    pub fn parse(word: &str) -> Result<Self, Violation> {
        match word {
            "good" => Ok(Self::Good),
            "used" => Ok(Self::Used),
            "held" => Ok(Self::Held),
            "over" => Ok(Self::Over),
            _ => Err(Violation::new(
                "state",
                "unknown",
                "good, held, used or over",
            )),
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Used => "used",
            Self::Held => "held",
            Self::Over => "over",
        }
    }
}

impl Coupon {
    /// What became of it by now.
    pub fn state(&self, now: Timestamp) -> CouponState {
        if self.used.is_some() {
            CouponState::Used
        } else if self.held {
            CouponState::Held
        } else if self.ends_at <= now {
            CouponState::Over
        } else {
            CouponState::Good
        }
    }
}

impl Store {
    /// The coupons of `me`, the latest first; only those of a state, where one is named.
    pub async fn coupons(
        &self,
        me: &UserId,
        state: Option<CouponState>,
        page: &PageRequest,
    ) -> Result<Page<Coupon>, StoreError> {
        let mut conditions = vec!["c.user_id = ?"];
        let mut values = values![me.as_str()];
        match state {
            None => {}
            Some(CouponState::Used) => conditions.push("c.used_order IS NOT NULL"),
            Some(CouponState::Held) => conditions.push("c.held_by IS NOT NULL"),
            Some(CouponState::Good) => {
                conditions.push("c.used_order IS NULL AND c.held_by IS NULL AND k.ends_at > ?");
                values.push(self.now().as_millis().into());
            }
            Some(CouponState::Over) => {
                conditions.push("c.used_order IS NULL AND c.held_by IS NULL AND k.ends_at <= ?");
                values.push(self.now().as_millis().into());
            }
        }
        if !page.after().is_empty() {
            conditions.push("c.id < ?");
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!(
            "{COUPON} WHERE {} ORDER BY c.id DESC LIMIT ?",
            conditions.join(" AND ")
        );
        let rows = read(self.database().reader(), &text, values).await?;
        Ok(page.cut(rows, |coupon| coupon.id.clone()))
    }

    /// One coupon of `me`.
    pub(crate) async fn coupon(
        &self,
        db: &impl ConnectionTrait,
        me: &UserId,
        id: &str,
    ) -> Result<Coupon, StoreError> {
        let text = format!("{COUPON} WHERE c.id = ? AND c.user_id = ?");
        let found = read(db, &text, values![id, me.as_str()]).await?.pop();
        found.ok_or(StoreError::NotFound)
    }
}

async fn read(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<Vec<Coupon>, StoreError> {
    let rows: Vec<Row> = sql::all(db, text, values).await?;
    rows.into_iter().map(coupon).collect()
}

fn coupon(row: Row) -> Result<Coupon, StoreError> {
    Ok(Coupon {
        terms: stored_terms(&row.terms)?,
        id: row.id,
        campaign: row.campaign,
        name: row.name,
        publisher: row.publisher,
        starts_at: Timestamp::from_millis(row.starts_at),
        ends_at: Timestamp::from_millis(row.ends_at),
        issued_at: Timestamp::from_millis(row.issued_at),
        used: row
            .used_order
            .zip(row.used_at)
            .map(|(order, at)| (order, Timestamp::from_millis(at))),
        held: row.held_by.is_some(),
    })
}

fn stored_terms(text: &str) -> Result<TermsText, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Internal(format!("terms of a coupon: {error}")))
}
