//! What an order costs: prices as they stand, less what coupons take off; and who bears that.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use shared::id::UserId;
use ulid::Ulid;

use super::{Agreed, GameRow, Order, OrderLine, Parties, Purchase, UsedCoupon, refusal};
use crate::{
    catalogue::EFFECTIVE_PRICE,
    coupons::{Basket, Choice, Combination, LineOff, Reason, Used, Ware, choose},
    error::{StoreError, Violation},
    money::{Money, total},
    shelf::List,
    sql::{self, values},
    store::Store,
};

/// An order before it is bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What it would be; its name is nobody's.
    pub order: Order,
    /// Coupons that would not be used, where none were named.
    pub spare: Vec<Spare>,
}

/// A coupon that an order does not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spare {
    /// Its name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Why not.
    pub reason: Reason,
}

/// An order, priced.
pub(super) struct Priced {
    pub(super) order: Order,
    /// Of each line.
    pub(super) parts: Vec<Part>,
    pub(super) combination: Combination,
}

/// Who gets what of a line's price.
pub(super) struct Part {
    pub(super) publisher: String,
    /// What the store keeps, in minor units; the rest is the publisher's.
    pub(super) kept: i64,
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
    /// What an order of `me` would come to now, or a gift to `recipient`: with the coupons that are named, or
    /// those that are best together. The rules are those of buying and giving, but for the money, which nobody
    /// looks at.
    pub async fn preview(
        &self,
        me: &UserId,
        recipient: Option<&UserId>,
        games: Option<Vec<String>>,
        coupons: Option<Vec<String>>,
    ) -> Result<Preview, StoreError> {
        let db = self.database().reader();
        let parties = match recipient {
            Some(recipient) => self.giver_and_friend(db, me, recipient).await?,
            None => Parties::alone(me, self.country_of(db, me).await?),
        };
        let purchase = Purchase {
            games,
            expected_total: None,
            coupons: coupons.clone().unwrap_or_default(),
        };
        let choice = match &coupons {
            Some(coupons) => Choice::These(coupons),
            None => Choice::Best,
        };
        let (priced, spare) = self.priced(db, &parties, &purchase, choice).await?;
        Ok(Preview {
            order: priced.order,
            spare,
        })
    }

    /// The order that a purchase comes to, if every rule holds.
    pub(super) async fn priced(
        &self,
        db: &impl ConnectionTrait,
        parties: &Parties<'_>,
        purchase: &Purchase,
        choice: Choice<'_>,
    ) -> Result<(Priced, Vec<Spare>), StoreError> {
        let offers = self.offers(db, parties, purchase).await?;
        let lines = self.lines_of(&offers, parties)?;
        if let Some(agreed) = parties.agreed.filter(|agreed| !agreed.released) {
            // They were judged then, and held since.
            let combination = agreed.coupons().cloned();
            let combination = combination.unwrap_or_else(|| Combination::none(lines.len()));
            let priced = self.order_of(offers, lines, parties, combination)?;
            return Ok((priced, Vec::new()));
        }
        let basket = Basket {
            wares: offers.iter().zip(&lines).map(ware).collect(),
            country: parties.country,
            now: self.now(),
        };
        let chosen = choose(db, parties.payer, basket, choice).await?;
        let agreed = parties.agreed.and_then(Agreed::coupons);
        if agreed.is_some_and(|agreed| *agreed != chosen.combination) {
            // Somebody paid for other coupons than these have become.
            let message = "these coupons come to something else by now";
            return Err(refusal("coupons", "price_changed", message));
        }
        let spare = chosen.others.into_iter().map(|(coupon, reason)| Spare {
            id: coupon.id,
            name: coupon.name,
            reason,
        });
        let spare = spare.collect();
        let priced = self.order_of(offers, lines, parties, chosen.combination)?;
        Ok((priced, spare))
    }

    /// What is to be bought, in order of the games' ids, as it stands now.
    async fn offers(
        &self,
        db: &impl ConnectionTrait,
        parties: &Parties<'_>,
        purchase: &Purchase,
    ) -> Result<Vec<Offer>, StoreError> {
        let games: BTreeSet<String> = if let Some(games) = &purchase.games {
            games.iter().cloned().collect()
        } else {
            let rows: Vec<GameRow> = sql::all(
                db,
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
        let mut offers: Vec<Offer> = sql::all(db, &text, values).await?;
        if offers.len() < games.len() {
            return Err(StoreError::NotFound);
        }
        if let Some(agreed) = parties.agreed {
            for offer in &mut offers {
                offer.price = agreed.prices.get(&offer.id).copied();
                offer.sold_to_owner = 1;
            }
        }
        Ok(offers)
    }

    /// A line for each offer, at the price it has before coupons, if every rule holds.
    fn lines_of(
        &self,
        offers: &[Offer],
        parties: &Parties<'_>,
    ) -> Result<Vec<OrderLine>, StoreError> {
        let now = self.now();
        let currency = parties.country.currency();
        let line = |offer: &Offer| {
            // Who may not know it buys what they cannot accept, and is paid back.
            if offer.owned > 0 && parties.knows_owned {
                let message = if parties.is_gift() {
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
                let message = "one of these games is not out yet";
                return Err(refusal("games", "not_released", message));
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
                discount: Money::zero(currency),
                refunded_at: None,
            })
        };
        offers.iter().map(line).collect()
    }

    /// The order of these lines, less what coupons take off.
    fn order_of(
        &self,
        offers: Vec<Offer>,
        mut lines: Vec<OrderLine>,
        parties: &Parties<'_>,
        combination: Combination,
    ) -> Result<Priced, StoreError> {
        let currency = parties.country.currency();
        let mut parts = Vec::with_capacity(lines.len());
        let offs = combination.lines.iter();
        for ((line, offer), off) in lines.iter_mut().zip(offers).zip(offs) {
            let share = line.price.percent(self.limits().share_percent).minor();
            parts.push(Part {
                publisher: offer.publisher,
                kept: kept(line.price.minor(), share, *off),
            });
            line.price = Money::new(line.price.minor() - off.total(), currency);
            line.discount = Money::new(off.total(), currency);
        }
        let coupon = |used: &Used| UsedCoupon {
            id: used.id.clone(),
            name: used.name.clone(),
            discount: Money::new(used.off, currency),
        };
        // As they are read.
        let mut coupons: Vec<_> = combination.used.iter().map(coupon).collect();
        coupons.sort_by(|a, b| a.id.cmp(&b.id));
        let order = Order {
            id: Ulid::new().to_string(),
            country: parties.country,
            total: total(currency, lines.iter().map(|line| line.price))?,
            coupons,
            lines,
            at: self.now(),
            gift_for: parties.is_gift().then(|| parties.owner.clone()),
            payment: None,
        };
        Ok(Priced {
            order,
            parts,
            combination,
        })
    }
}

impl Parties<'_> {
    fn is_gift(&self) -> bool {
        self.owner != self.payer
    }
}

fn ware((offer, line): (&Offer, &OrderLine)) -> Ware {
    Ware {
        game: offer.id.clone(),
        publisher: offer.publisher.clone(),
        categories: BTreeSet::new(),
        price: line.price.minor(),
    }
}

/// What the store keeps of a line of this price, of which `share` would be its own: who gives a coupon
/// bears what it takes off, until nothing of their part is left; then the other does. All in minor
/// units, none below zero.
fn kept(price: i64, share: i64, off: LineOff) -> i64 {
    let (store, publisher) = (share - off.of_store, price - share - off.of_publisher);
    if store < 0 {
        0
    } else {
        // What the publisher's part does not cover.
        store + publisher.min(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn off(of_store: i64, of_publisher: i64) -> LineOff {
        LineOff {
            of_store,
            of_publisher,
        }
    }

    #[test]
    fn who_gives_a_coupon_bears_it_first() {
        // Of 1000 the store would keep 300.
        for (off, expected) in [
            (off(0, 0), 300),
            (off(100, 0), 200),
            (off(400, 0), 0),
            (off(0, 100), 300),
            (off(0, 700), 300),
            (off(0, 900), 100),
            (off(50, 100), 250),
            (off(300, 700), 0),
            (off(1000, 0), 0),
            (off(0, 1000), 0),
        ] {
            assert_eq!(kept(1000, 300, off), expected, "{off:?}");
        }
    }

    proptest! {
        #[test]
        fn both_parts_are_of_what_is_paid(
            price in 0_i64..10_000,
            percent in 0_i64..=100,
            of_store in 0_i64..10_000,
            of_publisher in 0_i64..10_000,
        ) {
            let of_store = of_store.min(price);
            let off = off(of_store, of_publisher.min(price - of_store));
            let kept = kept(price, price * percent / 100, off);
            prop_assert!((0..=price - off.total()).contains(&kept));
        }
    }
}
