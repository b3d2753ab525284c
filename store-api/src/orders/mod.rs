//! Buying: what is in the cart is paid from the wallet and owned, at once or not at all.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use serde::{Deserialize, Serialize};
use shared::{
    events::StoreEventKind,
    id::{Timestamp, UserId},
};
use ulid::Ulid;

use crate::{
    catalogue::EFFECTIVE_PRICE,
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    ledger::{Account, Cause, post},
    money::{Country, Currency, Money, total},
    paging::{Page, PageRequest},
    shelf::List,
    sql::{self, values},
    store::{Store, lock_users},
};

/// What somebody wants to buy.
#[derive(Debug, Clone, Serialize)]
pub struct Purchase {
    /// These games; those in the cart, when there are none.
    pub games: Option<Vec<String>>,
    /// What the buyer was told it costs, in minor units: if it costs something else by now,
    /// nothing is bought.
    pub expected_total: Option<i64>,
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
    /// When.
    pub at: Timestamp,
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

/// A game as it stands for a buyer.
#[derive(FromQueryResult)]
struct Offer {
    id: String,
    title: String,
    state: String,
    publisher: String,
    released_at: i64,
    price: Option<i64>,
    owned: i64,
}

#[derive(FromQueryResult)]
struct OrderRow {
    id: String,
    country: String,
    currency: String,
    total: i64,
    created_at: i64,
}

#[derive(FromQueryResult)]
struct LineRow {
    order_id: String,
    game: String,
    title: String,
    price: i64,
}

const ORDER: &str = "SELECT id, country, currency, total, created_at FROM orders";

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
            return Ok(Answered {
                answer: order,
                replayed: true,
            });
        }
        // From here on, one purchase of a person at a time.
        if lock_users(&tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        let country = self.country_of(&tx, me).await?;
        let offers = self.offers(&tx, me, country, purchase).await?;
        let order = self.order_of(offers.iter(), country, purchase)?;
        let transfer = self.pay(&tx, me, &order, &offers).await?;
        hand_over(&tx, me, &order, transfer).await?;
        let games: Vec<_> = order.lines.iter().map(|line| line.game.clone()).collect();
        let bought = StoreEventKind::GamesBought {
            user: me.clone(),
            order: order.id.clone(),
            games,
        };
        let kept = Kept {
            id: order.id.clone(),
        };
        named.keep(&tx, &kept).await?;
        self.enqueue(&tx, [bought]).await?;
        self.commit(tx).await?;
        metrics::counter!("fireside_store_orders_total").increment(1);
        Ok(Answered::first(order))
    }

    /// What `me` bought, the latest first.
    pub async fn orders(&self, me: &UserId, page: &PageRequest) -> Result<Page<Order>, StoreError> {
        let db = self.database().reader();
        let mut values = values![me.as_str()];
        let mut after = "";
        if !page.after().is_empty() {
            after = " AND id < ?";
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!("{ORDER} WHERE buyer = ?{after} ORDER BY id DESC LIMIT ?");
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

    /// What is to be bought, in order of the games' ids, as it stands now.
    async fn offers(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        country: Country,
        purchase: &Purchase,
    ) -> Result<Vec<Offer>, StoreError> {
        let games: BTreeSet<String> = if let Some(games) = &purchase.games {
            games.iter().cloned().collect()
        } else {
            let rows: Vec<GameRow> = sql::all(
                tx,
                "SELECT game FROM marks WHERE user_id = ? AND list = 'cart'",
                values![me.as_str()],
            )
            .await?;
            rows.into_iter().map(|row| row.game).collect()
        };
        if games.is_empty() {
            return Err(refusal("games", "empty", "there is nothing to buy"));
        }
        if games.len() as i64 > List::Cart.bound() {
            return Err(Violation::new("games", "range", "at most 50 at once").into());
        }
        let now = self.now().as_millis();
        let text = format!(
            "SELECT g.id, g.title, g.state, g.publisher, g.released_at, {EFFECTIVE_PRICE} AS price, \
             (SELECT COUNT(*) FROM library l WHERE l.user_id = ? AND l.game = g.id) AS owned \
             FROM games g LEFT JOIN game_prices p ON p.game = g.id AND p.country = ? \
             WHERE g.id IN {} ORDER BY g.id",
            sql::list(games.len())
        );
        let mut values = values![now, now, me.as_str(), country.code()];
        values.extend(games.iter().map(|game| Value::from(game.as_str())));
        let offers: Vec<Offer> = sql::all(tx, &text, values).await?;
        if offers.len() < games.len() {
            return Err(StoreError::NotFound);
        }
        Ok(offers)
    }

    /// The order that comes of these offers, if every rule holds.
    fn order_of<'a>(
        &self,
        offers: impl Iterator<Item = &'a Offer>,
        country: Country,
        purchase: &Purchase,
    ) -> Result<Order, StoreError> {
        let now = self.now();
        let currency = country.currency();
        let line = |offer: &Offer| {
            if offer.owned > 0 {
                return Err(refusal(
                    "games",
                    "already_owned",
                    "you have one of these games",
                ));
            }
            if offer.state != "published" {
                return Err(StoreError::NotFound);
            }
            if offer.released_at > now.as_millis() {
                return Err(refusal(
                    "games",
                    "not_released",
                    "one of these games is not out yet",
                ));
            }
            let not_sold = "one of these games is not sold where you buy";
            let price = offer
                .price
                .ok_or_else(|| refusal("games", "not_sold_here", not_sold))?;
            Ok(OrderLine {
                game: offer.id.clone(),
                title: offer.title.clone(),
                price: Money::new(price, currency),
            })
        };
        let lines = offers.map(line).collect::<Result<Vec<_>, _>>()?;
        let total = total(currency, lines.iter().map(|line| line.price))?;
        if purchase
            .expected_total
            .is_some_and(|expected| expected != total.minor())
        {
            let message = "it costs something else by now";
            return Err(refusal("expected_total", "price_changed", message));
        }
        Ok(Order {
            id: Ulid::new().to_string(),
            country,
            total,
            lines,
            at: now,
        })
    }

    /// Moves the money. Nothing moves for what costs nothing.
    async fn pay(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        order: &Order,
        offers: &[Offer],
    ) -> Result<Option<String>, StoreError> {
        if order.total.minor() == 0 {
            return Ok(None);
        }
        let mut legs = vec![(Account::Wallet(me.clone()), order.total.negated())];
        for (line, offer) in order.lines.iter().zip(offers) {
            let kept = line.price.percent(self.limits().share_percent);
            let earned = Money::new(line.price.minor() - kept.minor(), line.price.currency());
            legs.push((Account::Store, kept));
            legs.push((Account::Publisher(offer.publisher.clone()), earned));
        }
        let transfer = post(tx, order.at, Cause::Purchase, &order.id, &legs).await?;
        Ok(Some(transfer))
    }
}

/// Writes the order down, and puts its games from cart and wishlist into the library.
async fn hand_over(
    tx: &DatabaseTransaction,
    me: &UserId,
    order: &Order,
    transfer: Option<String>,
) -> Result<(), StoreError> {
    let at = order.at.as_millis();
    sql::execute(
        tx,
        "INSERT INTO orders (id, buyer, country, currency, total, transfer, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        values![
            order.id.as_str(),
            me.as_str(),
            order.country.code(),
            order.total.currency().code(),
            order.total.minor(),
            transfer,
            at
        ],
    )
    .await?;
    let (mut lines, mut licences) = (Vec::new(), Vec::new());
    for line in &order.lines {
        let (id, game) = (order.id.as_str(), line.game.as_str());
        lines.extend(values![id, game, line.title.as_str(), line.price.minor()]);
        licences.extend(values![me.as_str(), game, id, at]);
    }
    let rows = vec![sql::list(4); order.lines.len()].join(", ");
    let insert = format!("INSERT INTO order_lines (order_id, game, title, price) VALUES {rows}");
    sql::execute(tx, &insert, lines).await?;
    let insert =
        format!("INSERT INTO library (user_id, game, order_id, acquired_at) VALUES {rows}");
    sql::execute(tx, &insert, licences).await?;
    for line in &order.lines {
        // In order of their ids, so that two orders cannot wait for each other.
        let sold = "UPDATE games SET sold = sold + 1 WHERE id = ?";
        sql::execute(tx, sold, values![line.game.as_str()]).await?;
    }
    let delete = format!(
        "DELETE FROM marks WHERE user_id = ? AND list IN ('cart', 'wishlist') AND game IN {}",
        sql::list(order.lines.len())
    );
    let mut values = values![me.as_str()];
    values.extend(
        order
            .lines
            .iter()
            .map(|line| Value::from(line.game.as_str())),
    );
    sql::execute(tx, &delete, values).await?;
    Ok(())
}

async fn find(db: &impl ConnectionTrait, me: &UserId, id: &str) -> Result<Order, StoreError> {
    let text = format!("{ORDER} WHERE buyer = ? AND id = ?");
    let row: Option<OrderRow> = sql::one(db, &text, values![me.as_str(), id]).await?;
    let row = row.ok_or(StoreError::NotFound)?;
    with_lines(db, vec![row])
        .await?
        .pop()
        .ok_or(StoreError::NotFound)
}

/// Puts lines to orders: one query, however many orders.
async fn with_lines(
    db: &impl ConnectionTrait,
    rows: Vec<OrderRow>,
) -> Result<Vec<Order>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT order_id, game, title, price FROM order_lines WHERE order_id IN {} ORDER BY game",
        sql::list(rows.len())
    );
    let ids = rows
        .iter()
        .map(|row| Value::from(row.id.as_str()))
        .collect();
    let lines: Vec<LineRow> = sql::all(db, &text, ids).await?;
    let order = |row: OrderRow| {
        let currency = Currency::parse(&row.currency)?;
        let own = lines.iter().filter(|line| line.order_id == row.id);
        let own = own.map(|line| OrderLine {
            game: line.game.clone(),
            title: line.title.clone(),
            price: Money::new(line.price, currency),
        });
        Ok(Order {
            country: Country::parse(&row.country)?,
            total: Money::new(row.total, currency),
            lines: own.collect(),
            at: Timestamp::from_millis(row.created_at),
            id: row.id,
        })
    };
    rows.into_iter().map(order).collect()
}

fn refusal(field: &'static str, rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new(field, rule, message)],
    }
}
