//! Giving back: for some days, what was hardly played is taken back, and paid back to the wallet it
//! was paid from; each party gives what it got. What a provider was paid for goes on to the provider. What was
//! paid for a line is what comes back for it, whatever coupons took off; they are good again once everything
//! of the order was given back.

use std::collections::BTreeSet;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde::Serialize;
use serde_json::json;
use shared::id::UserId;

use super::{Due, Order, find, named_games, refusal};
use crate::{
    coupons,
    error::StoreError,
    idempotency::{Answered, IdempotencyKey, Named},
    ledger::{Account, Cause, Transfer},
    money::Money,
    notices::{News, Topic},
    payments::PaidOrder,
    sql::{self, values},
    store::{Store, lock_users},
    webhooks::{EventKind, OrderEvent},
};

/// What is to be given back.
#[derive(Serialize)]
struct Request<'a> {
    order: &'a str,
    games: &'a Option<Vec<String>>,
}

#[derive(FromQueryResult)]
struct PlayedRow {
    game: String,
    played_seconds: i64,
}

#[derive(FromQueryResult)]
struct GiftRow {
    #[allow(dead_code)] // that there is one is all
    order_id: String,
}

#[derive(FromQueryResult)]
struct ShareRow {
    game: String,
    store_share: i64,
    publisher: String,
}

impl Store {
    /// Gives back games of an order of `me`, all of them when none is named, and answers the order
    /// as it then stands. Refused if it was bought too long ago, or one was played too long.
    pub async fn refund(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        order: &str,
        games: Option<Vec<String>>,
    ) -> Result<Answered<Order>, StoreError> {
        let caller = format!("user:{me}");
        let request = Request {
            order,
            games: &games,
        };
        let named = Named::new(&caller, key, "refunds", &request)?;
        let tx = self.database().begin().await?;
        if named.claim::<()>(self, &tx).await?.is_some() {
            let order = find(&tx, me, order).await?;
            self.database().end_settled(tx).await?;
            return Ok(Answered {
                answer: order,
                replayed: true,
            });
        }
        // Refunds of a person take turns with their purchases, and with each other.
        if lock_users(&tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        let found = find(&tx, me, order).await;
        if matches!(found, Err(StoreError::NotFound)) && was_given(&tx, me, order).await? {
            let message = "it was given to you: nobody is paid back for a gift that was accepted";
            return Err(refusal("id", "gift_received", message));
        }
        let bought = found?;
        let games = games_of(&bought, games)?;
        self.check_refund(&tx, me, &bought, &games).await?;
        let mut due = Due::default();
        self.give_back(&tx, me, &bought, &games, &mut due).await?;
        let after = find(&tx, me, order).await?;
        named.keep(&tx, &()).await?;
        let given = after.lines.iter().filter(|line| games.contains(&line.game));
        let given: Vec<_> = given.cloned().collect();
        let refunded = News {
            user: me.clone(),
            topic: Topic::Refund,
            data: json!({"order": order, "games": named_games(&given)}),
        };
        self.tell(&tx, vec![refunded]).await?;
        due.settle(&tx).await?;
        self.commit_contended(tx).await?;
        Ok(Answered::first(after))
    }

    async fn check_refund(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        order: &Order,
        games: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        if order.gift_for.is_some() {
            let message =
                "a gift is taken back while it waits, and not given back once it was accepted";
            return Err(refusal("id", "gift", message));
        }
        let limits = self.limits();
        let age = self.now().as_millis() - order.at.as_millis();
        if age > limits.refund_window.as_millis() as i64 {
            let message = "it was bought too long ago";
            return Err(refusal("id", "too_late", message));
        }
        let wallet = self.country_of(tx, me).await?.currency();
        if wallet != order.total.currency() {
            let message = "it was paid in the currency of another country: move back there first";
            return Err(refusal("id", "currency", message));
        }
        let played: Vec<PlayedRow> = sql::all(
            tx,
            "SELECT game, played_seconds FROM library WHERE user_id = ? AND order_id = ?",
            values![me.as_str(), order.id.as_str()],
        )
        .await?;
        let most = limits.refund_play_time.as_secs() as i64;
        let worn = |row: &PlayedRow| games.contains(&row.game) && row.played_seconds > most;
        if played.iter().any(worn) {
            let message = "one of these games was played for too long";
            return Err(refusal("games", "played", message));
        }
        Ok(())
    }

    /// Takes these lines of an order of `payer` out of the library they are in. That they are paid back is due
    /// then; what a provider was paid goes back to it from the wallet.
    pub(super) async fn give_back(
        &self,
        tx: &DatabaseTransaction,
        payer: &UserId,
        order: &Order,
        games: &BTreeSet<String>,
        due: &mut Due,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let payment = PaidOrder::lock(tx, &order.id).await?;
        let mut given_back = 0;
        let shares: Vec<ShareRow> = sql::all(
            tx,
            "SELECT l.game, l.store_share, g.publisher FROM order_lines l \
             JOIN games g ON g.id = l.game WHERE l.order_id = ?",
            values![order.id.as_str()],
        )
        .await?;
        for line in order.lines.iter().filter(|line| games.contains(&line.game)) {
            let game = line.game.as_str();
            let key = values![order.id.as_str(), game];
            let mut stamped = values![now.as_millis()];
            stamped.extend(key.clone());
            let update = "UPDATE order_lines SET refunded_at = ? \
                          WHERE order_id = ? AND game = ? AND refunded_at IS NULL";
            if sql::execute(tx, update, stamped).await? == 0 {
                return Err(already());
            }
            given_back += line.price.minor();
            if line.price.minor() > 0 {
                let share = shares.iter().find(|share| share.game == line.game);
                let share =
                    share.ok_or_else(|| StoreError::Internal(format!("no share of {game}")))?;
                let kept = Money::new(share.store_share, line.price.currency());
                let earned = Money::new(line.price.minor() - kept.minor(), kept.currency());
                let legs = [
                    (Account::Wallet(payer.clone()), line.price),
                    (Account::Store, kept.negated()),
                    (
                        Account::Publisher(share.publisher.clone()),
                        earned.negated(),
                    ),
                ];
                let reference = format!("{}:{game}", order.id);
                let refund = Transfer::write(tx, now, Cause::Refund, &reference, &legs).await?;
                due.transfers([refund]);
            }
            for statement in [
                "DELETE FROM play_sessions WHERE EXISTS (SELECT 1 FROM library b \
                 WHERE b.order_id = ? AND b.game = ? AND b.user_id = play_sessions.user_id \
                 AND b.game = play_sessions.game)",
                "DELETE FROM library WHERE order_id = ? AND game = ?",
            ] {
                sql::execute(tx, statement, key.clone()).await?;
            }
            due.sold(game, -1);
        }
        if let Some(payment) = payment {
            due.transfers(payment.pay_back(tx, given_back, now).await?);
        }
        coupons::give_back(tx, &order.id).await?;
        metrics::counter!("fireside_store_refunds_total").increment(games.len() as u64);
        let refunded = OrderEvent {
            kind: EventKind::OrderRefunded,
            order,
            payer,
            games: Some(games),
        };
        self.publish_order(tx, &refunded).await
    }
}

/// Whether an order of somebody else's is a gift to `me`, whom it may be named to.
async fn was_given(tx: &DatabaseTransaction, me: &UserId, order: &str) -> Result<bool, StoreError> {
    let text = "SELECT order_id FROM gifts WHERE order_id = ? AND recipient = ?";
    let gift: Option<GiftRow> = sql::one(tx, text, values![order, me.as_str()]).await?;
    Ok(gift.is_some())
}

/// Which lines are meant, if all of them are there to be given back.
fn games_of(order: &Order, games: Option<Vec<String>>) -> Result<BTreeSet<String>, StoreError> {
    let held = || order.lines.iter().filter(|line| line.refunded_at.is_none());
    let Some(games) = games else {
        let all: BTreeSet<_> = held().map(|line| line.game.clone()).collect();
        return if all.is_empty() {
            Err(already())
        } else {
            Ok(all)
        };
    };
    if games.is_empty() {
        return Err(refusal("games", "empty", "there is nothing to give back"));
    }
    for game in &games {
        if !order.lines.iter().any(|line| line.game == *game) {
            return Err(StoreError::NotFound);
        }
        if !held().any(|line| line.game == *game) {
            return Err(already());
        }
    }
    Ok(games.into_iter().collect())
}

fn already() -> StoreError {
    let message = "one of these games was given back already";
    refusal("games", "already_refunded", message)
}
