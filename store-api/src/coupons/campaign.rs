//! A campaign: how it is said, held to its rules and kept.

use sea_orm::{ConnectionTrait, FromQueryResult};
use serde::Deserialize;
use shared::id::Timestamp;
use ulid::Ulid;

use super::{Coupon, Terms, TermsText, stored_terms};
use crate::{
    error::{StoreError, Violation},
    sql::{self, values},
    typed_code,
    users::line,
};

/// The longest code, with what people put into it.
pub(super) const MAX_CODE: usize = 64;
/// The most coupons of a campaign.
const MAX_QUANTITY: i64 = 1_000_000;
/// The most people that are admitted to a drop in a minute.
const MAX_RATE: i64 = 60_000;

/// A campaign that somebody wants.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct CampaignText {
    /// What people call its coupons: 1 to 140 characters.
    pub name: String,
    /// Whose it is: a publisher, for its own games; none for the store's own.
    pub publisher: Option<String>,
    /// What a coupon takes off, and off what.
    #[serde(flatten)]
    pub terms: TermsText,
    /// From when its coupons are good, in milliseconds since the epoch; now, if it is not said.
    pub starts_at: Option<i64>,
    /// Until when.
    pub ends_at: i64,
    /// Who enters this gets a coupon.
    pub code: Option<String>,
    /// Whether whoever comes first gets one.
    #[serde(default)]
    pub drop: bool,
    /// From when people get coupons by themselves; when they are good, if it is not said.
    pub opens_at: Option<i64>,
    /// Until when; as long as they are good, if it is not said.
    pub closes_at: Option<i64>,
    /// How many coupons there are at the most.
    pub quantity: Option<i64>,
    /// How many people a minute are admitted to the drop; without it there is no queue.
    pub queue_rate: Option<i64>,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its id.
    pub id: String,
    /// What people call its coupons.
    pub name: String,
    /// Whose it is: a publisher's id; none for the store's own.
    pub publisher: Option<String>,
    /// What a coupon takes off, and off what.
    pub terms: TermsText,
    /// From when its coupons are good.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who enters this gets one; as it is compared.
    pub code: Option<String>,
    /// Whether whoever comes first gets one.
    pub is_drop: bool,
    /// From when people get coupons by themselves.
    pub opens_at: Timestamp,
    /// Until when.
    pub closes_at: Timestamp,
    /// How many coupons there are at the most.
    pub quantity: Option<i64>,
    /// How many people a minute are admitted to the drop, if it has a queue.
    pub queue_rate: Option<i64>,
    /// How many were given out.
    pub issued: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(FromQueryResult)]
pub(super) struct Row {
    pub(super) id: String,
    name: String,
    publisher: Option<String>,
    terms: String,
    starts_at: i64,
    ends_at: i64,
    code: Option<String>,
    is_drop: bool,
    opens_at: i64,
    closes_at: i64,
    quantity: Option<i64>,
    queue_rate: Option<i64>,
    issued: i64,
    created_at: i64,
}

pub(super) const CAMPAIGN: &str = "SELECT id, name, publisher, terms, starts_at, ends_at, code, is_drop, \
    opens_at, closes_at, quantity, queue_rate, issued, created_at FROM campaigns";

impl CampaignText {
    /// Holds what is said to the rules that need no database.
    pub(super) fn check(self, now: Timestamp) -> Result<Campaign, StoreError> {
        let name = line("name", &self.name)?;
        if name.is_empty() {
            return Err(Violation::new("name", "required", "1 to 140 characters").into());
        }
        Terms::parse(&self.terms)?;
        let starts_at = self.starts_at.unwrap_or(now.as_millis());
        let opens_at = self.opens_at.unwrap_or(starts_at);
        let closes_at = self.closes_at.unwrap_or(self.ends_at);
        for (field, from) in [("starts_at", starts_at), ("opens_at", opens_at)] {
            if from < 0 {
                return Err(Violation::new(field, "range", "milliseconds since 1970").into());
            }
        }
        if self.ends_at <= starts_at.max(now.as_millis()) {
            let message = "after `starts_at`, and not over yet";
            return Err(Violation::new("ends_at", "range", message).into());
        }
        if closes_at <= opens_at || closes_at > self.ends_at {
            let message = "after `opens_at`, and no later than `ends_at`";
            return Err(Violation::new("closes_at", "range", message).into());
        }
        let quantity = self.quantity;
        if quantity.is_some_and(|quantity| !(1..=MAX_QUANTITY).contains(&quantity)) {
            return Err(Violation::new("quantity", "range", "from 1 to 1000000").into());
        }
        if self.queue_rate.is_some() && !self.drop {
            let message = "people queue for drops";
            return Err(Violation::new("queue_rate", "not_a_drop", message).into());
        }
        if self
            .queue_rate
            .is_some_and(|rate| !(1..=MAX_RATE).contains(&rate))
        {
            let message = "from 1 to 60000 people a minute";
            return Err(Violation::new("queue_rate", "range", message).into());
        }
        if self.drop {
            if quantity.is_none() {
                let message = "a drop is of so many";
                return Err(Violation::new("quantity", "required", message).into());
            }
            if self.code.is_some() {
                let message = "it goes to whoever comes first, without a code";
                return Err(Violation::new("code", "not_of_a_drop", message).into());
            }
        }
        Ok(Campaign {
            id: Ulid::new().to_string(),
            name,
            publisher: self.publisher,
            terms: self.terms,
            starts_at: Timestamp::from_millis(starts_at),
            ends_at: Timestamp::from_millis(self.ends_at),
            code: self.code.as_deref().map(code).transpose()?,
            is_drop: self.drop,
            opens_at: Timestamp::from_millis(opens_at),
            closes_at: Timestamp::from_millis(closes_at),
            quantity,
            queue_rate: self.queue_rate,
            issued: 0,
            created_at: now,
        })
    }
}

impl Campaign {
    /// How many coupons are left, if there are only so many.
    pub fn left(&self) -> Option<i64> {
        self.quantity.map(|quantity| quantity - self.issued)
    }

    /// A coupon of it that was just given out.
    pub(super) fn coupon(&self, id: String, issued_at: Timestamp) -> Coupon {
        Coupon {
            id,
            campaign: self.id.clone(),
            name: self.name.clone(),
            publisher: self.publisher.clone(),
            terms: self.terms.clone(),
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            issued_at,
            used: None,
            held: false,
        }
    }
}

/// A code as it is kept and compared.
fn code(text: &str) -> Result<String, Violation> {
    let plain = typed_code::plain(text, MAX_CODE);
    let fits = (6..=32).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_alphanumeric());
    let message = "6 to 32 letters and digits, with hyphens where you like";
    fits.then_some(plain)
        .ok_or(Violation::new("code", "malformed", message))
}

/// A campaign, by a column that tells one from all others.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    condition: &str,
    value: &str,
) -> Result<Option<Campaign>, StoreError> {
    let text = format!("{CAMPAIGN} WHERE {condition}");
    let row: Option<Row> = sql::one(db, &text, values![value]).await?;
    row.map(campaign).transpose()
}

pub(super) fn campaign(row: Row) -> Result<Campaign, StoreError> {
    Ok(Campaign {
        terms: stored_terms(&row.terms)?,
        id: row.id,
        name: row.name,
        publisher: row.publisher,
        starts_at: Timestamp::from_millis(row.starts_at),
        ends_at: Timestamp::from_millis(row.ends_at),
        code: row.code,
        is_drop: row.is_drop,
        opens_at: Timestamp::from_millis(row.opens_at),
        closes_at: Timestamp::from_millis(row.closes_at),
        quantity: row.quantity,
        queue_rate: row.queue_rate,
        issued: row.issued,
        created_at: Timestamp::from_millis(row.created_at),
    })
}
