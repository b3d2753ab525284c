//! Payments as the table has them.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use shared::id::{Timestamp, UserId};

use super::{
    Payment, PaymentState, Payments,
    provider::{Cancel, Charge},
    state::Event,
};
use crate::{
    error::StoreError,
    money::{Currency, Money},
    orders::Agreed,
    sql::{self, values},
    store::stored_id,
};

/// What a [`Row`] is read from.
pub(super) const COLUMNS: &str = "id, user_id, provider, purpose, agreed, order_id, amount, currency, state, provider_key, proof, \
     next, failure, cancelled, cancelling, attempts, check_at, created_at, expires_at, changed_at";

#[derive(Debug, Clone, FromQueryResult)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) user_id: String,
    pub(super) provider: String,
    pub(super) purpose: String,
    pub(super) agreed: Option<String>,
    pub(super) order_id: Option<String>,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) state: String,
    pub(super) provider_key: Option<String>,
    pub(super) proof: Option<String>,
    pub(super) next: Option<String>,
    pub(super) failure: Option<String>,
    pub(super) cancelled: i64,
    pub(super) cancelling: i64,
    pub(super) attempts: i64,
    pub(super) check_at: Option<i64>,
    pub(super) created_at: i64,
    pub(super) expires_at: i64,
    pub(super) changed_at: i64,
}

/// A cancel that the provider has not answered yet.
#[derive(Debug, Clone, FromQueryResult)]
pub(super) struct CancelRow {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) attempts: i64,
    /// When the provider was last asked without an answer, before this turn.
    pub(super) tried_at: Option<i64>,
}

impl Row {
    /// The payment, locked until the transaction ends. Whoever also locks its payer does so before.
    pub(super) async fn lock(
        tx: &DatabaseTransaction,
        id: &str,
    ) -> Result<Option<Self>, StoreError> {
        // A row that is written is locked, on both databases.
        let text = format!("UPDATE payments SET id = id WHERE id = ? RETURNING {COLUMNS}");
        Ok(sql::one(tx, &text, values![id]).await?)
    }

    /// Writes what may have changed, and lets others have their turn.
    pub(super) async fn write(&self, tx: &DatabaseTransaction) -> Result<(), StoreError> {
        sql::execute(
            tx,
            "UPDATE payments SET state = ?, provider_key = ?, proof = ?, next = ?, failure = ?, order_id = ?, cancelled = ?, \
             cancelling = ?, attempts = ?, check_at = ?, leased_until = 0, changed_at = ? WHERE id = ?",
            values![
                self.state.as_str(),
                self.provider_key.clone(),
                self.proof.clone(),
                self.next.clone(),
                self.failure.clone(),
                self.order_id.clone(),
                self.cancelled,
                self.cancelling,
                self.attempts,
                self.check_at,
                self.changed_at,
                self.id.as_str()
            ],
        )
        .await?;
        Ok(())
    }

    pub(super) fn state(&self) -> Result<PaymentState, StoreError> {
        let unknown = || StoreError::Internal(format!("payment {}: {}", self.id, self.state));
        PaymentState::parse(&self.state).ok_or_else(unknown)
    }

    /// Goes where `event` leads; whether it led anywhere.
    pub(super) fn go(&mut self, event: Event, now: Timestamp) -> Result<bool, StoreError> {
        let Some(next) = self.state()?.on(event) else {
            return Ok(false);
        };
        next.word().clone_into(&mut self.state);
        self.attempts = 0;
        self.changed_at = now.as_millis();
        metrics::counter!(
            "fireside_store_payments_total",
            "provider" => self.provider.clone(), "state" => next.word()
        )
        .increment(1);
        Ok(true)
    }

    pub(super) fn user(&self) -> Result<UserId, StoreError> {
        stored_id(&self.user_id)
    }

    /// What is to be bought with it, if anything is.
    pub(super) fn agreed(&self) -> Result<Option<Agreed>, StoreError> {
        let agreed = self.agreed.as_deref().map(serde_json::from_str);
        agreed
            .transpose()
            .map_err(|error| StoreError::Internal(format!("payment {}: {error}", self.id)))
    }

    pub(super) fn money(&self, minor: i64) -> Result<Money, StoreError> {
        Ok(Money::new(minor, Currency::parse(&self.currency)?))
    }

    pub(super) fn payment(&self) -> Result<Payment, StoreError> {
        let state = self.state()?;
        let next = self
            .next
            .as_deref()
            .filter(|_| state == PaymentState::Ready);
        Ok(Payment {
            id: self.id.clone(),
            provider: self.provider.clone(),
            purpose: self.purpose.clone(),
            order: self.order_id.clone(),
            amount: self.money(self.amount)?,
            cancelled: self.money(self.cancelled)?,
            cancelling: self.money(self.cancelling)?,
            state,
            next: next.and_then(|next| serde_json::from_str(next).ok()),
            failure: self.failure.clone(),
            at: Timestamp::from_millis(self.created_at),
            expires_at: Timestamp::from_millis(self.expires_at),
        })
    }

    /// As the provider is told.
    pub(super) fn charge(&self, payments: &Payments) -> Result<Charge, StoreError> {
        Ok(Charge {
            id: self.id.clone(),
            user: self.user_id.clone(),
            amount: self.money(self.amount)?,
            cancelled: self.cancelled,
            title: if self.agreed.is_some() {
                "Games"
            } else {
                "Wallet"
            },
            key: self.provider_key.clone(),
            back: payments.sealed(&self.id, "return"),
            window: payments.sealed(&self.id, "window"),
        })
    }
}

impl CancelRow {
    /// Those of a payment that wait for their answer, the oldest first.
    pub(super) async fn waiting(
        tx: &DatabaseTransaction,
        payment: &str,
    ) -> Result<Vec<Self>, StoreError> {
        Ok(sql::all(
            tx,
            "SELECT id, amount, attempts, tried_at FROM payment_cancels \
             WHERE payment = ? AND state = 'asked' ORDER BY asked_at, id",
            values![payment],
        )
        .await?)
    }

    /// As the provider is told.
    pub(super) fn cancel(&self) -> Cancel {
        Cancel {
            id: self.id.clone(),
            amount: self.amount,
        }
    }
}
