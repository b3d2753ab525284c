//! How the waiting of a gift ends: its recipient answers, its giver takes it back, or nobody does anything.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseTransaction;
use serde_json::json;
use shared::id::UserId;

use super::{
    super::{Due, GameRow, license, named_games, refusal},
    GIFT, Gift, GiftState, Row, person, with_orders,
};
use crate::{
    entity::user,
    error::StoreError,
    ledger::{Account, fits},
    money::Money,
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, lock_users, stored_id},
    webhooks::EventKind,
};

impl Store {
    /// Takes a gift to `me` into the library. Again is fine.
    pub async fn accept_gift(&self, me: &UserId, id: &str) -> Result<Gift, StoreError> {
        self.answer(me, id, GiftState::Accepted).await
    }

    /// Refuses a gift to `me`: its giver is paid back. Again is fine.
    pub async fn decline_gift(&self, me: &UserId, id: &str) -> Result<Gift, StoreError> {
        self.answer(me, id, GiftState::Declined).await
    }

    /// Takes a gift of `me` back that was not answered yet. Again is fine.
    pub async fn take_back_gift(&self, me: &UserId, id: &str) -> Result<Gift, StoreError> {
        self.answer(me, id, GiftState::TakenBack).await
    }

    async fn answer(&self, me: &UserId, id: &str, to: GiftState) -> Result<Gift, StoreError> {
        let tx = self.database().begin().await?;
        let gift = self.find_gift(&tx, me, id).await?;
        let theirs = if to == GiftState::TakenBack {
            &gift.giver
        } else {
            &gift.recipient
        };
        if theirs != me {
            return Err(StoreError::NotFound);
        }
        let users = lock_users(&tx, &[&gift.giver, &gift.recipient]).await?;
        let mine = users.iter().find(|user| user.id == me.as_str());
        let mine = mine.ok_or(StoreError::Unauthenticated("the account is withdrawn"))?;
        // As it stands now that nobody else answers it.
        let gift = self.find_gift(&tx, me, id).await?;
        if gift.state == to {
            return Ok(gift);
        }
        if gift.state != GiftState::Waiting {
            return Err(refusal("id", "answered", "this gift was answered already"));
        }
        if gift.expires_at <= self.now() {
            return Err(refusal("id", "expired", "this gift waited for too long"));
        }
        let mut due = Due::default();
        let news = self.end(&tx, &gift, to, Some(mine), &mut due).await?;
        let gift = self.find_gift(&tx, me, id).await?;
        self.tell(&tx, vec![news]).await?;
        due.settle(&tx).await?;
        self.commit(tx).await?;
        Ok(gift)
    }

    /// Ends the waiting of a gift, and says who is to be told of it. `by` did it, unless nobody did. What is to be
    /// paid back is due then.
    async fn end(
        &self,
        tx: &DatabaseTransaction,
        gift: &Gift,
        to: GiftState,
        by: Option<&user::Model>,
        due: &mut Due,
    ) -> Result<News, StoreError> {
        let order = &gift.order;
        let settled = sql::execute(
            tx,
            "UPDATE gifts SET state = ?, answered_at = ? WHERE order_id = ? AND state = 'waiting'",
            values![to.word(), self.now().as_millis(), order.id.as_str()],
        );
        if settled.await? == 0 {
            return Err(StoreError::Busy);
        }
        let (user, topic, kind) = match to {
            GiftState::Accepted => (&gift.giver, Topic::GiftAccepted, EventKind::GiftAccepted),
            GiftState::Declined => (&gift.giver, Topic::GiftDeclined, EventKind::GiftDeclined),
            GiftState::TakenBack => (
                &gift.recipient,
                Topic::GiftTakenBack,
                EventKind::GiftTakenBack,
            ),
            GiftState::Expired | GiftState::Waiting => {
                (&gift.giver, Topic::GiftExpired, EventKind::GiftExpired)
            }
        };
        self.publish_gift(tx, kind, &gift.giver, order).await?;
        if to == GiftState::Accepted {
            self.check_unowned(tx, gift).await?;
            license(tx, &gift.recipient, &order.id, &order.lines, self.now()).await?;
        } else {
            let games: BTreeSet<_> = order.lines.iter().map(|line| line.game.clone()).collect();
            self.give_back(tx, &gift.giver, order, &games, due).await?;
        }
        let mut data = json!({"gift": order.id, "games": named_games(&order.lines)});
        if let Some(by) = by {
            data["by"] = person(by);
        }
        Ok(News {
            user: user.clone(),
            topic,
            data,
        })
    }

    async fn check_unowned(&self, tx: &DatabaseTransaction, gift: &Gift) -> Result<(), StoreError> {
        let games = &gift.order.lines;
        let text = format!(
            "SELECT game FROM library WHERE user_id = ? AND game IN {}",
            sql::list(games.len())
        );
        let mut values = values![gift.recipient.as_str()];
        values.extend(games.iter().map(|line| line.game.as_str().into()));
        let owned: Option<GameRow> = sql::one(tx, &text, values).await?;
        if owned.is_some() {
            let message = "you have one of these games: decline the gift";
            return Err(refusal("id", "already_owned", message));
        }
        Ok(())
    }

    /// Pays back gifts that waited for too long. One that cannot be, because its giver's wallet is full, waits for the
    /// next time.
    pub(crate) async fn expire_gifts(&self) -> Result<(), StoreError> {
        let mut after = (i64::MIN, String::new());
        loop {
            let late: Vec<Row> = sql::all(
                self.database().reader(),
                &format!(
                    "{GIFT} WHERE state = 'waiting' AND expires_at <= ? AND (expires_at, order_id) > (?, ?) \
                     ORDER BY expires_at, order_id LIMIT 100"
                ),
                values![self.now().as_millis(), after.0, after.1.as_str()],
            )
            .await?;
            if late.is_empty() {
                return Ok(());
            }
            // A transaction each: none holds up anybody but the two it is between.
            for row in late {
                match self.end_gift(&row.order_id, &stored_id(&row.giver)?).await {
                    Err(error @ StoreError::Conflict { .. }) => {
                        tracing::warn!(gift = row.order_id, %error, "a gift that is over cannot be paid back yet");
                    }
                    ended => ended?,
                }
                after = (row.expires_at, row.order_id);
            }
        }
    }

    async fn end_gift(&self, id: &str, giver: &UserId) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let gift = self.find_gift(&tx, giver, id).await?;
        lock_users(&tx, &[&gift.giver, &gift.recipient]).await?;
        let gift = self.find_gift(&tx, giver, id).await?;
        // Another process may have been faster.
        if gift.state == GiftState::Waiting {
            let mut due = Due::default();
            let news = self
                .end(&tx, &gift, GiftState::Expired, None, &mut due)
                .await?;
            self.tell(&tx, vec![news]).await?;
            due.settle(&tx).await?;
        }
        self.commit(tx).await
    }

    /// Ends what waits for somebody who leaves. That it is paid back is due then. What does not fit into its giver's wallet
    /// is over, and paid back once it does.
    pub(crate) async fn return_gifts_to(
        &self,
        tx: &DatabaseTransaction,
        leaving: &UserId,
        due: &mut Due,
    ) -> Result<(), StoreError> {
        let text = format!("{GIFT} WHERE recipient = ? AND state = 'waiting' ORDER BY order_id");
        let rows: Vec<Row> = sql::all(tx, &text, values![leaving.as_str()]).await?;
        let mut news = Vec::new();
        let mut paid_back: BTreeMap<UserId, Money> = BTreeMap::new();
        for gift in with_orders(tx, rows).await? {
            let total = gift.order.total;
            let before = paid_back.get(&gift.giver).copied();
            let sum = before.map_or(Some(total), |before| before.checked_add(total));
            let wallet = Account::Wallet(gift.giver.clone());
            let fitting = match sum {
                Some(sum) => fits(tx, &wallet, sum).await?.then_some(sum),
                None => None,
            };
            let Some(sum) = fitting else {
                let over = "UPDATE gifts SET expires_at = ? WHERE order_id = ?";
                let order = gift.order.id.as_str();
                sql::execute(tx, over, values![self.now().as_millis(), order]).await?;
                continue;
            };
            paid_back.insert(gift.giver.clone(), sum);
            let ended = self.end(tx, &gift, GiftState::Expired, None, due);
            news.push(ended.await?);
        }
        self.tell(tx, news).await
    }
}
