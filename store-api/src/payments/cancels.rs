//! Paying back: what is to go back leaves the wallet when it is asked for, so that nobody spends it
//! meanwhile, and is held until the provider answers.

use sea_orm::DatabaseTransaction;
use serde::Serialize;
use shared::id::{Timestamp, UserId};
use ulid::Ulid;

use super::{
    Kept, Payment, PaymentState, refusal,
    row::{CancelRow, Row},
    state::Event,
};
use crate::{
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    ledger::{Account, Cause, Transfer, post},
    sql::{self, values},
    store::{Store, lock_users},
};

#[derive(Serialize)]
struct Request<'a> {
    payment: &'a str,
    amount: Option<i64>,
}

impl Store {
    /// Has a payment of `me` paid back, whole or so many minor units of it, to whom it came from.
    /// Answers the payment as it then stands.
    pub async fn cancel_payment(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        id: &str,
        amount: Option<i64>,
    ) -> Result<Answered<Payment>, StoreError> {
        if amount.is_some_and(|minor| minor < 1) {
            return Err(Violation::new("amount", "range", "at least 1 minor unit").into());
        }
        let caller = format!("user:{me}");
        let request = Request {
            payment: id,
            amount,
        };
        let named = Named::new(&caller, key, "payment cancels", &request)?;
        let tx = self.database().begin().await?;
        if named.claim::<Kept>(self, &tx).await?.is_some() {
            drop(tx);
            return Ok(Answered {
                answer: self.payment(me, id).await?,
                replayed: true,
            });
        }
        if lock_users(&tx, &[me]).await?.is_empty() {
            return Err(StoreError::Unauthenticated("the account is withdrawn"));
        }
        let row = Row::lock(&tx, id).await?;
        let row = row.filter(|row| row.user_id == me.as_str());
        let mut row = row.ok_or(StoreError::NotFound)?;
        let now = self.now();
        let amount = self.cancellable(&row, amount, now)?;
        let cancel = ask_cancel(&tx, &mut row, amount, now).await?;
        cancel.carry_out(&tx).await?;
        sql::execute(
            &tx,
            "UPDATE payments SET cancelling = ?, check_at = ? WHERE id = ?",
            values![row.cancelling, now.as_millis(), id],
        )
        .await?;
        named.keep(&tx, &Kept { id: id.to_owned() }).await?;
        let turn = self.take_turn(&tx, id).await?;
        self.commit(tx).await?;
        self.finish_turn(turn).await;
        Ok(Answered::first(self.payment(me, id).await?))
    }

    /// How much is to be paid back, if it can be.
    fn cancellable(
        &self,
        row: &Row,
        amount: Option<i64>,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let left = row.amount - row.cancelled - row.cancelling;
        match row.state()? {
            PaymentState::Cancelled => {
                let message = "all of it was paid back already";
                return Err(refusal("id", "already_cancelled", message));
            }
            PaymentState::Paid | PaymentState::PartlyCancelled if row.order_id.is_some() => {
                let message = "it paid for an order: give that back";
                return Err(refusal("id", "order", message));
            }
            PaymentState::Paid | PaymentState::PartlyCancelled => {}
            _ => return Err(refusal("id", "not_paid", "it is not paid")),
        }
        if left == 0 {
            let message = "all of it is to be paid back already";
            return Err(refusal("id", "already_cancelled", message));
        }
        let window = self.limits().refund_window.as_millis() as i64;
        if now.as_millis() - row.created_at > window {
            return Err(refusal("id", "too_late", "it was paid too long ago"));
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            let message = "at most what was not paid back yet";
            return Err(refusal("amount", "too_much", message));
        }
        Ok(amount)
    }
}

/// Writes down what is to be paid back. It is taken from the wallet by the transfer; the row's sum is changed, and not
/// written.
pub(super) async fn ask_cancel(
    tx: &DatabaseTransaction,
    row: &mut Row,
    amount: i64,
    now: Timestamp,
) -> Result<Transfer, StoreError> {
    let id = Ulid::new().to_string();
    let money = row.money(amount)?;
    let legs = [
        (Account::Wallet(row.user()?), money.negated()),
        (Account::Leaving, money),
    ];
    let transfer = Transfer::write(tx, now, Cause::PaymentCancel, &id, &legs).await?;
    sql::execute(
        tx,
        "INSERT INTO payment_cancels (id, payment, amount, state, asked_at) VALUES (?, ?, ?, 'asked', ?)",
        values![id, row.id.as_str(), amount, now.as_millis()],
    )
    .await?;
    row.cancelling += amount;
    Ok(transfer)
}

/// The provider has paid it back.
pub(super) async fn cancel_done(
    tx: &DatabaseTransaction,
    row: &mut Row,
    cancel: &CancelRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    answer(tx, cancel, "done", now).await?;
    let money = row.money(cancel.amount)?;
    let legs = [
        (Account::Leaving, money.negated()),
        (Account::Provider(row.provider.clone()), money),
    ];
    post(tx, now, Cause::PaymentCancelled, &cancel.id, &legs).await?;
    row.cancelling -= cancel.amount;
    row.cancelled += cancel.amount;
    let event = if row.cancelled == row.amount {
        Event::CancelledRest
    } else {
        Event::CancelledPart
    };
    row.go(event, now)?;
    Ok(())
}

/// The provider does not pay it back: it returns to the wallet.
pub(super) async fn cancel_refused(
    tx: &DatabaseTransaction,
    row: &mut Row,
    cancel: &CancelRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    answer(tx, cancel, "refused", now).await?;
    let money = row.money(cancel.amount)?;
    let legs = [
        (Account::Leaving, money.negated()),
        (Account::Wallet(row.user()?), money),
    ];
    post(tx, now, Cause::PaymentCancelRefused, &cancel.id, &legs).await?;
    row.cancelling -= cancel.amount;
    Ok(())
}

/// Answers a cancel. One that was answered before fails the transaction: money would move twice.
async fn answer(
    tx: &DatabaseTransaction,
    cancel: &CancelRow,
    state: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let answered = sql::execute(
        tx,
        "UPDATE payment_cancels SET state = ?, answered_at = ? WHERE id = ? AND state = 'asked'",
        values![state, now.as_millis(), cancel.id.as_str()],
    )
    .await?;
    if answered == 0 {
        return Err(StoreError::Internal(format!(
            "the cancel {} was answered already",
            cancel.id
        )));
    }
    Ok(())
}
