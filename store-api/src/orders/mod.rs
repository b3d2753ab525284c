//! Buying: what is in the cart is paid from the wallet and owned, at once or not at all
//! ([`Store::buy`]); or given to a friend, who owns it once they accept (`gifts`); or given back
//! (`refunds`). What it costs is asked anew each time, coupons and all (`pricing`), and written into
//! the books in one go (`booking`); what everybody changes is changed last (`due`). What a provider is to be paid for is agreed on first, and bought once it
//! is (`agreed`).

use sea_orm::{DatabaseTransaction, FromQueryResult, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::id::{Timestamp, UserId};

use crate::{
    announcements::Announcement,
    coupons::{self, Choice},
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    money::{Country, Money},
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, lock_users},
    webhooks::{EventKind, OrderEvent},
};
use booking::book;
use read::find;

pub(crate) use agreed::Agreed;
pub(crate) use due::Due;
pub use gifts::{Gift, GiftOrder, GiftSide, GiftState};
pub use pricing::{Preview, Spare};
pub(crate) use tidings::Bought;

mod agreed;
mod booking;
mod due;
mod gifts;
mod pricing;
mod read;
mod refunds;
mod tidings;

/// What somebody wants to buy.
#[derive(Debug, Clone, Serialize)]
pub struct Purchase {
    /// These games; those in the cart, when there are none.
    pub games: Option<Vec<String>>,
    /// What the buyer was told it costs, in minor units: if it costs something else by now,
    /// nothing is bought.
    pub expected_total: Option<i64>,
    /// Coupons of the buyer's that make it cheaper, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<String>,
}

/// What somebody bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub id: String,
    /// Where it was bought.
    pub country: Country,
    /// What was paid.
    pub total: Money,
    /// What for.
    pub lines: Vec<OrderLine>,
    /// What made it cheaper.
    pub coupons: Vec<UsedCoupon>,
    /// When.
    pub at: Timestamp,
    /// Whom it was bought for, if it is a gift.
    pub gift_for: Option<UserId>,
    /// The payment of a provider's that it was paid with, if it was.
    pub payment: Option<String>,
}

/// A game bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderLine {
    /// The game.
    pub game: String,
    /// Its title then.
    pub title: String,
    /// What was paid for it.
    pub price: Money,
    /// What coupons took off its price; the rest was paid.
    pub discount: Money,
    /// When that was given back.
    pub refunded_at: Option<Timestamp>,
}

/// A coupon that made an order cheaper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedCoupon {
    /// Its name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it took off.
    pub discount: Money,
}

/// Who pays, and who is to own what is paid.
struct Parties<'a> {
    payer: &'a UserId,
    /// Where the payer buys, and at which prices.
    country: Country,
    owner: &'a UserId,
    /// Where the owner lives.
    owners_country: Country,
    /// Whether the payer may know what the owner has.
    knows_owned: bool,
    /// Prices and coupons that were agreed on before, if they were: what it costs by now is all the same.
    agreed: Option<&'a Agreed>,
}

impl<'a> Parties<'a> {
    /// Somebody who buys for themselves.
    fn alone(me: &'a UserId, country: Country) -> Self {
        Self {
            payer: me,
            country,
            owner: me,
            owners_country: country,
            knows_owned: true,
            agreed: None,
        }
    }
}

/// What is kept of an answer: orders do not change, so the rest is read again.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
}

#[derive(FromQueryResult)]
struct GameRow {
    game: String,
}

impl Purchase {
    /// Whether an order costs what the buyer was told.
    fn check_expected(&self, order: &Order) -> Result<(), StoreError> {
        let total = order.total.minor();
        if self
            .expected_total
            .is_some_and(|expected| expected != total)
        {
            let message = "it costs something else by now";
            return Err(refusal("expected_total", "price_changed", message));
        }
        Ok(())
    }
}

impl Store {
    /// Buys games for `me`: checks the rules, takes their price from the wallet, gives publishers
    /// and the store their part, and puts the games into the library.
    pub async fn buy(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        purchase: &Purchase,
    ) -> Result<Answered<Order>, StoreError> {
        let caller = format!("user:{me}");
        let named = Named::new(&caller, key, "orders", purchase)?;
        let tx = self.database().begin().await?;
        if let Some(kept) = named.claim::<Kept>(self, &tx).await? {
            let order = find(&tx, me, &kept.answer.id).await?;
            self.database().end_settled(tx).await?;
            return Ok(Answered {
                answer: order,
                replayed: true,
            });
        }
        let parties = self.alone(&tx, me).await?;
        let (order, due, news) = self.bought(&tx, &parties, purchase).await?;
        let kept = Kept {
            id: order.id.clone(),
        };
        named.keep(&tx, &kept).await?;
        due.settle(&tx).await?;
        self.tell(&tx, vec![news]).await?;
        self.commit_contended(tx).await?;
        self.herald();
        count_order(&order);
        Ok(Answered::first(order))
    }

    /// `me`, who pays and owns. From here on, one purchase of a person at a time.
    async fn alone<'a>(
        &self,
        tx: &DatabaseTransaction,
        me: &'a UserId,
    ) -> Result<Parties<'a>, StoreError> {
        let user = lock_users(tx, &[me]).await?.pop();
        let user = user.ok_or(StoreError::Unauthenticated("the account is withdrawn"))?;
        Ok(Parties::alone(
            me,
            self.country_said(user.country.as_deref()),
        ))
    }

    /// Buys for one who is alone, but for what is due in the end, and says what they are to be told. Friends are told by the herald.
    async fn bought(
        &self,
        tx: &DatabaseTransaction,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<(Order, Due, News), StoreError> {
        let me = parties.payer;
        let (order, due) = self.ordered(tx, parties, purchase).await?;
        license(tx, me, &order.id, &order.lines, order.at).await?;
        let tidings = Announcement::Bought(Bought::of(me, &order));
        self.announce(tx, Some(me), &tidings).await?;
        let news = News {
            user: me.clone(),
            topic: Topic::Purchase,
            data: json!({"order": order.id, "games": named_games(&order.lines)}),
        };
        Ok((order, due, news))
    }

    /// Writes an order down. What is due for it is to be settled in the end; who is to own what it is for does not yet.
    async fn ordered(
        &self,
        tx: &DatabaseTransaction,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<(Order, Due), StoreError> {
        let choice = Choice::These(&purchase.coupons);
        let (priced, _) = self.priced(tx, parties, purchase, choice).await?;
        purchase.check_expected(&priced.order)?;
        let due = book(tx, parties.payer, &priced).await?;
        let order = priced.order;
        coupons::use_up(tx, parties.payer, &order.id, order.at, &priced.combination).await?;
        let paid = OrderEvent {
            kind: EventKind::OrderPaid,
            order: &order,
            payer: parties.payer,
            games: None,
        };
        self.publish_order(tx, &paid).await?;
        Ok((order, due))
    }
}

/// Puts the games of an order from cart and wishlist into the library of `owner`.
async fn license(
    tx: &DatabaseTransaction,
    owner: &UserId,
    order: &str,
    lines: &[OrderLine],
    at: Timestamp,
) -> Result<(), StoreError> {
    let rows = vec![sql::list(4); lines.len()].join(", ");
    let insert =
        format!("INSERT INTO library (user_id, game, order_id, acquired_at) VALUES {rows}");
    let licences = lines
        .iter()
        .flat_map(|line| values![owner.as_str(), line.game.as_str(), order, at.as_millis()]);
    sql::execute(tx, &insert, licences.collect()).await?;
    let delete = format!(
        "DELETE FROM marks WHERE user_id = ? AND list IN ('cart', 'wishlist') AND game IN {}",
        sql::list(lines.len())
    );
    let mut values = values![owner.as_str()];
    values.extend(lines.iter().map(|line| Value::from(line.game.as_str())));
    sql::execute(tx, &delete, values).await?;
    Ok(())
}

fn count_order(order: &Order) {
    metrics::counter!("fireside_store_orders_total").increment(1);
    metrics::counter!("fireside_store_coupons_used_total").increment(order.coupons.len() as u64);
}

/// Games as a notice names them.
fn named_games(lines: &[OrderLine]) -> Vec<serde_json::Value> {
    let game = |line: &OrderLine| json!({"id": line.game, "title": line.title});
    lines.iter().map(game).collect()
}

fn refusal(field: &'static str, rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new(field, rule, message)],
    }
}
