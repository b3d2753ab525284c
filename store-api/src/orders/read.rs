//! Orders as they are read.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use shared::id::{Timestamp, UserId};

use super::{Order, OrderLine, UsedCoupon};
use crate::{
    error::StoreError,
    money::{Country, Currency, Money},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::{Store, stored_id},
};

#[derive(FromQueryResult)]
struct OrderRow {
    id: String,
    country: String,
    currency: String,
    total: i64,
    created_at: i64,
    recipient: Option<String>,
    payment: Option<String>,
}

#[derive(FromQueryResult)]
struct LineRow {
    order_id: String,
    game: String,
    title: String,
    price: i64,
    discount: i64,
    refunded_at: Option<i64>,
}

#[derive(FromQueryResult)]
struct CouponRow {
    order_id: String,
    coupon: String,
    name: String,
    discount: i64,
}

const ORDER: &str = "SELECT o.id, o.country, o.currency, o.total, o.created_at, g.recipient, \
    p.id AS payment FROM orders o LEFT JOIN gifts g ON g.order_id = o.id LEFT JOIN payments p ON p.order_id = o.id";

impl Store {
    /// What `me` bought, the latest first.
    pub async fn orders(&self, me: &UserId, page: &PageRequest) -> Result<Page<Order>, StoreError> {
        let db = self.database().reader();
        let mut values = values![me.as_str()];
        let mut after = "";
        if !page.after().is_empty() {
            after = " AND o.id < ?";
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!("{ORDER} WHERE o.buyer = ?{after} ORDER BY o.id DESC LIMIT ?");
        let rows: Vec<OrderRow> = sql::all(db, &text, values).await?;
        let page = page.cut(rows, |row| row.id.clone());
        Ok(Page {
            items: with_lines(db, page.items).await?,
            next: page.next,
        })
    }

    /// One order of `me`.
    pub async fn order(&self, me: &UserId, id: &str) -> Result<Order, StoreError> {
        find(self.database().reader(), me, id).await
    }
}

/// An order of `me`.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    me: &UserId,
    id: &str,
) -> Result<Order, StoreError> {
    let text = format!("{ORDER} WHERE o.buyer = ? AND o.id = ?");
    let row: Option<OrderRow> = sql::one(db, &text, values![me.as_str(), id]).await?;
    let row = row.ok_or(StoreError::NotFound)?;
    with_lines(db, vec![row])
        .await?
        .pop()
        .ok_or(StoreError::NotFound)
}

/// These orders, whoever bought them.
pub(super) async fn by_id(
    db: &impl ConnectionTrait,
    ids: &[&str],
) -> Result<HashMap<String, Order>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let text = format!("{ORDER} WHERE o.id IN {}", sql::list(ids.len()));
    let ids = ids.iter().map(|id| Value::from(*id)).collect();
    let rows: Vec<OrderRow> = sql::all(db, &text, ids).await?;
    let orders = with_lines(db, rows).await?.into_iter();
    Ok(orders.map(|order| (order.id.clone(), order)).collect())
}

/// Puts lines and coupons to orders: a query each, however many orders.
async fn with_lines(
    db: &impl ConnectionTrait,
    rows: Vec<OrderRow>,
) -> Result<Vec<Order>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT order_id, game, title, price, discount, refunded_at FROM order_lines WHERE order_id IN {} ORDER BY game",
        sql::list(rows.len())
    );
    let ids: Vec<Value> = rows.iter().map(|row| row.id.as_str().into()).collect();
    let lines: Vec<LineRow> = sql::all(db, &text, ids.clone()).await?;
    let text = format!(
        "SELECT order_id, coupon, name, discount FROM order_coupons WHERE order_id IN {} ORDER BY coupon",
        sql::list(rows.len())
    );
    let coupons: Vec<CouponRow> = sql::all(db, &text, ids).await?;
    let order = |row: OrderRow| {
        let currency = Currency::parse(&row.currency)?;
        let own = lines.iter().filter(|line| line.order_id == row.id);
        let own = own.map(|line| OrderLine {
            game: line.game.clone(),
            title: line.title.clone(),
            price: Money::new(line.price, currency),
            discount: Money::new(line.discount, currency),
            refunded_at: line.refunded_at.map(Timestamp::from_millis),
        });
        let used = coupons.iter().filter(|coupon| coupon.order_id == row.id);
        let used = used.map(|coupon| UsedCoupon {
            id: coupon.coupon.clone(),
            name: coupon.name.clone(),
            discount: Money::new(coupon.discount, currency),
        });
        Ok(Order {
            coupons: used.collect(),
            country: Country::parse(&row.country)?,
            total: Money::new(row.total, currency),
            lines: own.collect(),
            at: Timestamp::from_millis(row.created_at),
            gift_for: row.recipient.as_deref().map(stored_id).transpose()?,
            payment: row.payment,
            id: row.id,
        })
    };
    rows.into_iter().map(order).collect()
}
