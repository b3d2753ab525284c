//! Buying: what is in the cart is paid from the wallet and owned, at once or not at all
//! ([`Store::buy`]); or given to a friend, who owns it once they accept (`gifts`); or given back
//! (`refunds`). What a provider is to be paid for is agreed on first, and bought once it is (`agreed`).

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{DatabaseTransaction, FromQueryResult, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::id::{Timestamp, UserId};
use ulid::Ulid;

use crate::{
    announcements::Announcement,
    catalogue::EFFECTIVE_PRICE,
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    ledger::{Account, Cause, post},
    money::{Country, Money, total},
    notices::{News, Topic},
    shelf::List,
    sql::{self, values},
    store::{Store, lock_users},
    webhooks::{EventKind, OrderEvent},
};
use read::find;

pub(crate) use agreed::Agreed;
pub use gifts::{Gift, GiftOrder, GiftSide, GiftState};
pub(crate) use tidings::Bought;

mod agreed;
mod gifts;
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
    /// When that was given back.
    pub refunded_at: Option<Timestamp>,
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
    /// Prices by games that were agreed on before, if they were: what it costs by now is all the same.
    agreed: Option<&'a BTreeMap<String, i64>>,
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
    sold_to_owner: i64,
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
            return Ok(Answered {
                answer: order,
                replayed: true,
            });
        }
        let parties = self.alone(&tx, me).await?;
        let (order, news) = self.bought(&tx, &parties, purchase).await?;
        let kept = Kept {
            id: order.id.clone(),
        };
        named.keep(&tx, &kept).await?;
        self.tell(&tx, vec![news]).await?;
        self.commit(tx).await?;
        self.herald();
        metrics::counter!("fireside_store_orders_total").increment(1);
        Ok(Answered::first(order))
    }

    /// `me`, who pays and owns. From here on, one purchase of a person at a time.
    async fn alone<'a>(
        &self,
        tx: &DatabaseTransaction,
        me: &'a UserId,
    ) -> Result<Parties<'a>, StoreError> {
        if lock_users(tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        let country = self.country_of(tx, me).await?;
        Ok(Parties {
            payer: me,
            country,
            owner: me,
            owners_country: country,
            knows_owned: true,
            agreed: None,
        })
    }

    /// Buys for one who is alone, and says what they are to be told. Friends are told by the herald.
    async fn bought(
        &self,
        tx: &DatabaseTransaction,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<(Order, News), StoreError> {
        let me = parties.payer;
        let order = self.paid(tx, parties, purchase).await?;
        license(tx, me, &order.id, &order.lines, order.at).await?;
        let tidings = Announcement::Bought(Bought::of(me, &order));
        self.announce(tx, Some(me), &tidings).await?;
        let news = News {
            user: me.clone(),
            topic: Topic::Purchase,
            data: json!({"order": order.id, "games": named_games(&order.lines)}),
        };
        Ok((order, news))
    }

    /// Takes the money, and writes the order down; who is to own what it is for does not yet.
    async fn paid(
        &self,
        tx: &DatabaseTransaction,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<Order, StoreError> {
        let offers = self.offers(tx, parties, purchase).await?;
        let order = self.order_of(offers.iter(), parties, purchase)?;
        let transfer = self.pay(tx, parties.payer, &order, &offers).await?;
        self.write_down(tx, parties.payer, &order, transfer).await?;
        let paid = OrderEvent {
            kind: EventKind::OrderPaid,
            order: &order,
            payer: parties.payer,
            games: None,
        };
        self.publish_order(tx, &paid).await?;
        Ok(order)
    }

    /// What is to be bought, in order of the games' ids, as it stands now.
    async fn offers(
        &self,
        tx: &DatabaseTransaction,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<Vec<Offer>, StoreError> {
        let games: BTreeSet<String> = if let Some(games) = &purchase.games {
            games.iter().cloned().collect()
        } else {
            let rows: Vec<GameRow> = sql::all(
                tx,
                "SELECT game FROM marks WHERE user_id = ? AND list = 'cart'",
                values![parties.payer.as_str()],
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
             (SELECT COUNT(*) FROM library l WHERE l.user_id = ? AND l.game = g.id) AS owned, \
             (SELECT COUNT(*) FROM game_prices t WHERE t.country = ? AND t.game = g.id) AS sold_to_owner \
             FROM games g LEFT JOIN game_prices p ON p.game = g.id AND p.country = ? \
             WHERE g.id IN {} ORDER BY g.id",
            sql::list(games.len())
        );
        let mut values = values![
            now,
            now,
            parties.owner.as_str(),
            parties.owners_country.code(),
            parties.country.code()
        ];
        values.extend(games.iter().map(|game| Value::from(game.as_str())));
        let mut offers: Vec<Offer> = sql::all(tx, &text, values).await?;
        if offers.len() < games.len() {
            return Err(StoreError::NotFound);
        }
        if let Some(agreed) = parties.agreed {
            for offer in &mut offers {
                offer.price = agreed.get(&offer.id).copied();
                offer.sold_to_owner = 1;
            }
        }
        Ok(offers)
    }

    /// The order that comes of these offers, if every rule holds.
    fn order_of<'a>(
        &self,
        offers: impl Iterator<Item = &'a Offer>,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<Order, StoreError> {
        let now = self.now();
        let currency = parties.country.currency();
        let gift = parties.owner != parties.payer;
        let line = |offer: &Offer| {
            // Who may not know it buys what they cannot accept, and is paid back.
            if offer.owned > 0 && parties.knows_owned {
                let message = if gift {
                    "they have one of these games"
                } else {
                    "you have one of these games"
                };
                return Err(refusal("games", "already_owned", message));
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
            if offer.sold_to_owner == 0 {
                let message = "one of these games is not sold where they live";
                return Err(refusal("games", "not_sold_there", message));
            }
            Ok(OrderLine {
                game: offer.id.clone(),
                title: offer.title.clone(),
                price: Money::new(price, currency),
                refunded_at: None,
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
            country: parties.country,
            total,
            lines,
            at: now,
            gift_for: gift.then(|| parties.owner.clone()),
            payment: None,
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
            let kept = self.share_of(line.price);
            let earned = Money::new(line.price.minor() - kept.minor(), line.price.currency());
            legs.push((Account::Store, kept));
            legs.push((Account::Publisher(offer.publisher.clone()), earned));
        }
        let transfer = post(tx, order.at, Cause::Purchase, &order.id, &legs).await?;
        Ok(Some(transfer))
    }

    /// What the store keeps of a price.
    fn share_of(&self, price: Money) -> Money {
        price.percent(self.limits().share_percent)
    }

    async fn write_down(
        &self,
        tx: &DatabaseTransaction,
        payer: &UserId,
        order: &Order,
        transfer: Option<String>,
    ) -> Result<(), StoreError> {
        sql::execute(
            tx,
            "INSERT INTO orders (id, buyer, country, currency, total, transfer, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            values![
                order.id.as_str(),
                payer.as_str(),
                order.country.code(),
                order.total.currency().code(),
                order.total.minor(),
                transfer,
                order.at.as_millis()
            ],
        )
        .await?;
        let lines = order.lines.iter().map(|line| {
            values![
                order.id.as_str(),
                line.game.as_str(),
                line.title.as_str(),
                line.price.minor(),
                self.share_of(line.price).minor()
            ]
        });
        let rows = vec![sql::list(5); order.lines.len()].join(", ");
        let insert = format!(
            "INSERT INTO order_lines (order_id, game, title, price, store_share) VALUES {rows}"
        );
        sql::execute(tx, &insert, lines.flatten().collect()).await?;
        for line in &order.lines {
            // In order of their ids, so that two orders cannot wait for each other.
            let sold = "UPDATE games SET sold = sold + 1 WHERE id = ?";
            sql::execute(tx, sold, values![line.game.as_str()]).await?;
        }
        Ok(())
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
