//! Payments for orders: what was agreed on is bought in the transaction that credits the payment, and
//! what is given back of it goes back to the provider.

use sea_orm::{DatabaseTransaction, TransactionTrait as _};
use shared::id::Timestamp;

use super::{
    cancels::ask_cancel,
    row::{COLUMNS, Row},
};
use crate::{
    error::StoreError,
    ledger::Transfer,
    notices::News,
    orders::Agreed,
    sql::{self, values},
    store::{Store, lock_users},
};

/// The payment that an order was paid with, locked until the transaction ends.
pub(crate) struct PaidOrder(Row);

impl Store {
    /// Locks whom it concerns if this payment is paid; to be done before the payment is locked.
    pub(super) async fn lock_parties(
        &self,
        tx: &DatabaseTransaction,
        row: &Row,
    ) -> Result<(), StoreError> {
        if let Some(agreed) = row.agreed()? {
            let (payer, recipient) = (row.user()?, agreed.recipient()?);
            let mut people = vec![&payer];
            people.extend(&recipient);
            lock_users(tx, &people).await?;
        }
        Ok(())
    }

    /// Buys what a payment was made for, now that it is in the wallet, and says who is to be told. What
    /// cannot be bought any more is paid back.
    pub(super) async fn fulfil(
        &self,
        tx: &DatabaseTransaction,
        row: &mut Row,
        agreed: &Agreed,
        now: Timestamp,
    ) -> Result<Vec<News>, StoreError> {
        // Of a purchase that fails nothing is left.
        let attempt = tx.begin().await?;
        match self.buy_agreed(&attempt, &row.user()?, agreed).await {
            Ok((order, news)) => {
                attempt.commit().await?;
                row.order_id = Some(order);
                Ok(vec![news])
            }
            Err(error) => {
                let why = why(&error).ok_or(error)?;
                attempt.rollback().await?;
                row.failure = Some(why);
                let cancel = ask_cancel(tx, row, row.amount, now).await?;
                cancel.carry_out(tx).await?;
                Ok(Vec::new())
            }
        }
    }
}

/// Why something is not bought, if it never will be.
fn why(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Conflict { violations, .. } => {
            let rule = violations.first().map_or("conflict", |first| first.rule);
            Some(rule.to_owned())
        }
        StoreError::NotFound => Some("not_for_sale".to_owned()),
        _ => None,
    }
}

impl PaidOrder {
    /// The payment of an order, if a provider was paid for it.
    pub(crate) async fn lock(
        tx: &DatabaseTransaction,
        order: &str,
    ) -> Result<Option<Self>, StoreError> {
        let text = format!("UPDATE payments SET id = id WHERE order_id = ? RETURNING {COLUMNS}");
        let row: Option<Row> = sql::one(tx, &text, values![order]).await?;
        Ok(row.map(Self))
    }

    /// Has the provider pay so much of it back, out of the wallet it is given back to: by this transfer, which is none for
    /// what was free.
    pub(crate) async fn pay_back(
        mut self,
        tx: &DatabaseTransaction,
        amount: i64,
        now: Timestamp,
    ) -> Result<Option<Transfer>, StoreError> {
        if amount == 0 {
            return Ok(None);
        }
        let cancel = ask_cancel(tx, &mut self.0, amount, now).await?;
        sql::execute(
            tx,
            "UPDATE payments SET cancelling = ?, check_at = ? WHERE id = ?",
            values![self.0.cancelling, now.as_millis(), self.0.id.as_str()],
        )
        .await?;
        Ok(Some(cancel))
    }
}
