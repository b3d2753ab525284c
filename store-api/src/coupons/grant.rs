//! Giving coupons out: to people somebody names, or to whoever enters a code.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use serde_json::json;
use shared::id::{Timestamp, UserId};
use ulid::Ulid;

use super::{
    Campaign, Coupon,
    campaign::{MAX_CODE, find},
};
use crate::{
    audit::{By, Deed},
    catalogue::Keeper,
    error::{StoreError, Violation},
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, lock_users},
    typed_code,
};

/// The most people of one request.
const MAX_PEOPLE: usize = 500;

/// What giving out came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// How many got a coupon.
    pub issued: usize,
    /// How many had one already.
    pub held: usize,
}

/// What somebody has of a campaign now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// This coupon, which is new.
    New(String),
    /// This one, as before.
    Held(String),
    /// None: there are no more.
    SoldOut,
    /// None: it was ended.
    Over,
}

#[derive(FromQueryResult)]
struct Stock {
    quantity: Option<i64>,
    issued: i64,
    ends_at: i64,
}

#[derive(FromQueryResult)]
struct Holder {
    user_id: String,
    id: String,
}

impl Store {
    /// Gives each of these people a coupon of a campaign, in the name of `by`, who is `keeper`: all of
    /// them or none. Who has one already keeps that.
    pub async fn grant_coupons(
        &self,
        by: &str,
        keeper: Keeper<'_>,
        campaign: &str,
        people: &[UserId],
    ) -> Result<Granted, StoreError> {
        let tx = self.database().begin().await?;
        let campaign = self.kept_campaign(&tx, keeper, campaign).await?;
        let people: BTreeSet<&UserId> = people.iter().collect();
        if !(1..=MAX_PEOPLE).contains(&people.len()) {
            return Err(Violation::new("users", "range", "from 1 to 500").into());
        }
        let people: Vec<&UserId> = people.into_iter().collect();
        if campaign.ends_at <= self.now() {
            return Err(refusal("id", "over", "these coupons are over"));
        }
        if lock_users(&tx, &people).await?.len() < people.len() {
            return Err(Violation::new("users", "unknown", "somebody of them is nobody").into());
        }
        let places = self.grant(&tx, &campaign.id, &people, self.now()).await?;
        if places.contains(&Place::SoldOut) {
            return Err(refusal("users", "sold_out", "there are not as many left"));
        }
        if places.contains(&Place::Over) {
            return Err(refusal("id", "over", "these coupons are over"));
        }
        let mut news = Vec::new();
        for (person, place) in people.iter().zip(&places) {
            if let Place::New(coupon) = place {
                news.push(News {
                    user: (*person).clone(),
                    topic: Topic::CouponReceived,
                    data: json!({
                        "coupon": coupon, "name": campaign.name, "ends_at": campaign.ends_at.as_millis(),
                    }),
                });
            }
        }
        let issued = news.len();
        if issued > 0 {
            let details = json!({"campaign": campaign.id, "coupons": issued});
            let subject = (people.len() == 1).then(|| people[0].as_str());
            self.record(&tx, Deed::CouponsIssued, By::Named(by), subject, details)
                .await?;
        }
        self.tell(&tx, news).await?;
        self.commit(tx).await?;
        count_issued("given", issued);
        Ok(Granted {
            issued,
            held: people.len() - issued,
        })
    }

    /// Gives `me` the coupon that a code is for. Who has it already is told the same again.
    pub async fn redeem_coupon_code(&self, me: &UserId, text: &str) -> Result<Coupon, StoreError> {
        let code = typed_code::plain(text, MAX_CODE);
        let tx = self.database().begin().await?;
        self.count_code(&tx, me).await?;
        let Some(campaign) = find(&tx, "code = ?", &code).await? else {
            // The attempt counts.
            self.database().commit(tx).await?;
            return Err(StoreError::NotFound);
        };
        self.forgive_code(&tx, me).await?;
        if lock_users(&tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        if let Some(coupon) = holders(&tx, &campaign.id, &[me]).await?.remove(me.as_str()) {
            let coupon = self.coupon(&tx, me, &coupon).await?;
            self.database().commit(tx).await?;
            return Ok(coupon);
        }
        self.check_open("code", &campaign)?;
        let place = self
            .grant(&tx, &campaign.id, &[me], self.now())
            .await?
            .pop();
        let coupon = match place {
            Some(Place::New(coupon) | Place::Held(coupon)) => coupon,
            Some(Place::Over) => return Err(over("code")),
            _ => return Err(sold_out("code")),
        };
        let coupon = self.coupon(&tx, me, &coupon).await?;
        self.database().commit(tx).await?;
        count_issued("code", 1);
        Ok(coupon)
    }

    /// Whether people get coupons of a campaign by themselves now.
    pub(super) fn check_open(
        &self,
        field: &'static str,
        campaign: &Campaign,
    ) -> Result<(), StoreError> {
        let now = self.now();
        if now < campaign.opens_at {
            return Err(refusal(field, "not_open", "this has not begun yet"));
        }
        if now >= campaign.closes_at || now >= campaign.ends_at {
            return Err(over(field));
        }
        Ok(())
    }

    /// Gives these people coupons of a campaign in their order, until there are no more; says what each
    /// has then. The campaign stays locked, so that giving out takes turns: never are there more than
    /// its quantity, and nobody has two.
    pub(super) async fn grant(
        &self,
        tx: &DatabaseTransaction,
        campaign: &str,
        people: &[&UserId],
        at: Timestamp,
    ) -> Result<Vec<Place>, StoreError> {
        let stock: Option<Stock> = sql::one(
            tx,
            "UPDATE campaigns SET issued = issued WHERE id = ? RETURNING quantity, issued, ends_at",
            values![campaign],
        )
        .await?;
        let stock = stock.ok_or(StoreError::NotFound)?;
        if people.is_empty() {
            return Ok(Vec::new());
        }
        // Ended since whoever asks looked at it.
        let over = stock.ends_at <= at.as_millis();
        let mut left = stock
            .quantity
            .map_or(i64::MAX, |quantity| quantity - stock.issued);
        let mut held = holders(tx, campaign, people).await?;
        let mut rows = Vec::new();
        let mut places = Vec::with_capacity(people.len());
        for person in people {
            places.push(if let Some(coupon) = held.get(person.as_str()) {
                Place::Held(coupon.clone())
            } else if over {
                Place::Over
            } else if left > 0 {
                left -= 1;
                let coupon = Ulid::new().to_string();
                rows.push(values![
                    coupon.as_str(),
                    campaign,
                    person.as_str(),
                    at.as_millis()
                ]);
                held.insert(person.to_string(), coupon.clone());
                Place::New(coupon)
            } else {
                Place::SoldOut
            });
        }
        if rows.is_empty() {
            return Ok(places);
        }
        let issued = rows.len() as i64;
        let marks = vec![sql::list(4); rows.len()].join(", ");
        let insert =
            format!("INSERT INTO coupons (id, campaign, user_id, issued_at) VALUES {marks}");
        sql::execute(tx, &insert, rows.concat()).await?;
        sql::execute(
            tx,
            "UPDATE campaigns SET issued = issued + ? WHERE id = ?",
            values![issued, campaign],
        )
        .await?;
        Ok(places)
    }
}

/// Who of these people has which coupon of a campaign.
pub(super) async fn holders(
    db: &impl ConnectionTrait,
    campaign: &str,
    people: &[&UserId],
) -> Result<HashMap<String, String>, StoreError> {
    let text = format!(
        "SELECT user_id, id FROM coupons WHERE campaign = ? AND user_id IN {}",
        sql::list(people.len())
    );
    let mut values = values![campaign];
    values.extend(people.iter().map(|person| Value::from(person.as_str())));
    let rows: Vec<Holder> = sql::all(db, &text, values).await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.id)).collect())
}

pub(super) fn count_issued(way: &'static str, coupons: usize) {
    metrics::counter!("fireside_store_coupons_issued_total", "way" => way)
        .increment(coupons as u64);
}

pub(super) fn sold_out(field: &'static str) -> StoreError {
    refusal(field, "sold_out", "there are no more")
}

pub(super) fn over(field: &'static str) -> StoreError {
    refusal(field, "over", "this is over")
}

pub(super) fn refusal(
    field: &'static str,
    rule: &'static str,
    message: &'static str,
) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new(field, rule, message)],
    }
}
