//! Coupons at the till: which of somebody's an order may use, using them up, and having them back.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult, Value};
use shared::id::{Timestamp, UserId};

use super::{
    COUPON, Coupon, Kind, Terms, Ware,
    combine::{Candidate, Combination, MOST_TOGETHER, apply, best},
    grant::refusal,
    read,
};
use crate::{
    error::{StoreError, Violation},
    money::Country,
    sql::{self, values},
};

/// How many of somebody's coupons are looked at: those that end first.
const LOOKED_AT: i64 = 500;

/// What coupons are to make cheaper.
#[derive(Debug, Clone)]
pub(crate) struct Basket {
    /// The games, in the order of the lines.
    pub(crate) wares: Vec<Ware>,
    /// Where they are bought.
    pub(crate) country: Country,
    /// When.
    pub(crate) now: Timestamp,
}

/// Which coupons are to be used.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'a> {
    /// Those that take off the most.
    Best,
    /// These, all of them.
    These(&'a [String]),
}

/// Which coupons are used, and why others are not.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) combination: Combination,
    /// Not told of where coupons were named.
    pub(crate) others: Vec<(Coupon, Reason)>,
}

/// Why a coupon is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was used on another order.
    Used,
    /// It waits for the payment of another order.
    Held,
    /// It is not good yet.
    NotYet,
    /// It is no longer good.
    Over,
    /// It is of another currency.
    Currency,
    /// It is for another country.
    Country,
    /// The order is too small.
    Minimum,
    /// It is for other games.
    OtherGames,
    /// Some of the games that have to be bought together are not there.
    Incomplete,
    /// Something was bought already.
    NotFirst,
    /// It does not go together with the others.
    NotTogether,
    /// It would take nothing off.
    NoUse,
    /// Others take off more.
    Outdone,
}

#[derive(FromQueryResult)]
struct CategoryRow {
    game: String,
    word: String,
}

#[derive(FromQueryResult)]
struct Paid {
    paid: i64,
}

impl Reason {
    /// Its stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Held => "held",
            Self::NotYet => "not_yet",
            Self::Over => "over",
            Self::Currency => "currency",
            Self::Country => "country",
            Self::Minimum => "minimum",
            Self::OtherGames => "other_games",
            Self::Incomplete => "incomplete",
            Self::NotFirst => "not_first",
            Self::NotTogether => "not_together",
            Self::NoUse => "no_use",
            Self::Outdone => "outdone",
        }
    }

    pub(super) fn refused(self) -> StoreError {
        refusal(
            "coupons",
            self.word(),
            "one of these coupons cannot be used",
        )
    }
}

impl Basket {
    fn total(&self) -> i64 {
        self.wares.iter().map(|ware| ware.price).sum()
    }

    /// The coupon as it may be used here. `first` says that nothing was bought yet.
    fn admit(&self, coupon: &Coupon, terms: &Terms, first: bool) -> Result<Candidate, Reason> {
        if coupon.used.is_some() {
            return Err(Reason::Used);
        }
        if coupon.held {
            return Err(Reason::Held);
        }
        if coupon.ends_at <= self.now {
            return Err(Reason::Over);
        }
        if coupon.starts_at > self.now {
            return Err(Reason::NotYet);
        }
        let currency = self.country.currency();
        if terms.currency.is_some_and(|wanted| wanted != currency) {
            return Err(Reason::Currency);
        }
        if terms.country.is_some_and(|wanted| wanted != self.country) {
            return Err(Reason::Country);
        }
        if terms.kind == Kind::FirstPurchase && !first {
            return Err(Reason::NotFirst);
        }
        if self.total() < terms.minimum {
            return Err(Reason::Minimum);
        }
        let own = |ware: &Ware| {
            coupon
                .publisher
                .as_ref()
                .is_none_or(|own| *own == ware.publisher)
        };
        let fits = |line: &usize| own(&self.wares[*line]) && terms.is_for(&self.wares[*line]);
        let lines: Vec<usize> = (0..self.wares.len()).filter(fits).collect();
        if lines.is_empty() {
            return Err(Reason::OtherGames);
        }
        if lines.len() < terms.at_least {
            return Err(Reason::Incomplete);
        }
        Ok(Candidate {
            id: coupon.id.clone(),
            name: coupon.name.clone(),
            ends_at: coupon.ends_at.as_millis(),
            stackable: terms.stackable,
            of_publisher: coupon.publisher.is_some(),
            discount: terms.discount,
            // An order has at most 50 lines.
            lines: lines.iter().fold(0, |mask, line| mask | 1_u64 << line),
        })
    }
}

/// Which coupons of `me` are used on this basket. Those that are named have to be all there, of use and
/// allowed together.
pub(crate) async fn choose(
    db: &impl ConnectionTrait,
    me: &UserId,
    mut basket: Basket,
    choice: Choice<'_>,
) -> Result<Chosen, StoreError> {
    let coupons = match choice {
        Choice::Best => good(db, me, basket.now).await?,
        Choice::These(ids) => named(db, me, ids).await?,
    };
    let mut known = Vec::with_capacity(coupons.len());
    for coupon in coupons {
        let terms = Terms::parse(&coupon.terms)?;
        known.push((coupon, terms));
    }
    if known
        .iter()
        .any(|(coupon, _)| !coupon.terms.categories.is_empty())
    {
        categorise(db, &mut basket.wares).await?;
    }
    let of_first = |(_, terms): &(Coupon, Terms)| terms.kind == Kind::FirstPurchase;
    let first = known.iter().any(of_first) && is_first(db, me).await?;
    let prices: Vec<i64> = basket.wares.iter().map(|ware| ware.price).collect();
    let mut candidates = Vec::new();
    let mut others = Vec::new();
    for (coupon, terms) in known {
        match (basket.admit(&coupon, &terms, first), choice) {
            (Ok(candidate), _) => candidates.push((coupon, candidate)),
            (Err(reason), Choice::Best) => others.push((coupon, reason)),
            (Err(reason), Choice::These(_)) => return Err(reason.refused()),
        }
    }
    let (coupons, candidates): (Vec<Coupon>, Vec<Candidate>) = candidates.into_iter().unzip();
    let combination = match choice {
        Choice::Best => {
            let combination = best(&prices, &candidates);
            for coupon in coupons {
                if !combination.used.iter().any(|used| used.id == coupon.id) {
                    others.push((coupon, Reason::Outdone));
                }
            }
            combination
        }
        Choice::These(_) => all_of(&prices, &candidates)?,
    };
    Ok(Chosen {
        combination,
        others,
    })
}

/// What these come to, if they go together and each is of use.
fn all_of(prices: &[i64], candidates: &[Candidate]) -> Result<Combination, StoreError> {
    if candidates.len() > 1 && candidates.iter().any(|candidate| !candidate.stackable) {
        return Err(Reason::NotTogether.refused());
    }
    let combination = apply(prices, &candidates.iter().collect::<Vec<_>>());
    if combination.used.iter().any(|used| used.off == 0) {
        return Err(Reason::NoUse.refused());
    }
    Ok(combination)
}

/// The coupons of `me` that are neither used nor over.
async fn good(
    db: &impl ConnectionTrait,
    me: &UserId,
    now: Timestamp,
) -> Result<Vec<Coupon>, StoreError> {
    let text = format!(
        "{COUPON} WHERE c.user_id = ? AND c.used_order IS NULL AND k.ends_at > ? \
         ORDER BY k.ends_at, c.id LIMIT ?"
    );
    read(db, &text, values![me.as_str(), now.as_millis(), LOOKED_AT]).await
}

async fn named(
    db: &impl ConnectionTrait,
    me: &UserId,
    ids: &[String],
) -> Result<Vec<Coupon>, StoreError> {
    let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    if ids.len() > MOST_TOGETHER {
        return Err(Violation::new("coupons", "range", "at most 3 at once").into());
    }
    let text = format!(
        "{COUPON} WHERE c.user_id = ? AND c.id IN {}",
        sql::list(ids.len())
    );
    let mut values = values![me.as_str()];
    values.extend(ids.iter().map(|id| Value::from(*id)));
    let coupons = read(db, &text, values).await?;
    if coupons.len() < ids.len() {
        return Err(refusal(
            "coupons",
            "unknown",
            "one of these is no coupon of yours",
        ));
    }
    Ok(coupons)
}

async fn categorise(db: &impl ConnectionTrait, wares: &mut [Ware]) -> Result<(), StoreError> {
    let text = format!(
        "SELECT game, word FROM game_words WHERE kind = 'category' AND game IN {}",
        sql::list(wares.len())
    );
    let games = wares.iter().map(|ware| ware.game.as_str().into()).collect();
    let rows: Vec<CategoryRow> = sql::all(db, &text, games).await?;
    for ware in wares {
        let own = rows.iter().filter(|row| row.game == ware.game);
        ware.categories = own.map(|row| row.word.clone()).collect();
    }
    Ok(())
}

/// Whether `me` has paid for nothing yet, but for what was given back, and is about to pay for nothing.
async fn is_first(db: &impl ConnectionTrait, me: &UserId) -> Result<bool, StoreError> {
    let row: Option<Paid> = sql::one(
        db,
        "SELECT (SELECT COUNT(*) FROM orders o JOIN order_lines l ON l.order_id = o.id \
         WHERE o.buyer = ? AND l.price > 0 AND l.refunded_at IS NULL) \
         + (SELECT COUNT(*) FROM payments WHERE user_id = ? AND purpose = 'order' \
         AND state IN ('created', 'ready', 'approving')) AS paid",
        values![me.as_str(), me.as_str()],
    )
    .await?;
    Ok(row.is_none_or(|row| row.paid == 0))
}

/// Writes down which coupons made an order of `me` cheaper, and that they are used: each once, whatever
/// happens at the same time.
pub(crate) async fn use_up(
    tx: &DatabaseTransaction,
    me: &UserId,
    order: &str,
    at: Timestamp,
    combination: &Combination,
) -> Result<(), StoreError> {
    for used in &combination.used {
        let taken = sql::execute(
            tx,
            "UPDATE coupons SET used_order = ?, used_at = ? \
             WHERE id = ? AND user_id = ? AND used_order IS NULL AND held_by IS NULL",
            values![order, at.as_millis(), used.id.as_str(), me.as_str()],
        );
        if taken.await? == 0 {
            return Err(Reason::Used.refused());
        }
        sql::execute(
            tx,
            "INSERT INTO order_coupons (order_id, coupon, name, discount) VALUES (?, ?, ?, ?)",
            values![order, used.id.as_str(), used.name.as_str(), used.off],
        )
        .await?;
    }
    Ok(())
}

/// Makes the coupons of an order good again, if everything of it was given back.
pub(crate) async fn give_back(tx: &DatabaseTransaction, order: &str) -> Result<(), StoreError> {
    sql::execute(
        tx,
        "UPDATE coupons SET used_order = NULL, used_at = NULL WHERE used_order = ? AND NOT EXISTS \
         (SELECT 1 FROM order_lines l WHERE l.order_id = ? AND l.refunded_at IS NULL)",
        values![order, order],
    )
    .await?;
    Ok(())
}
