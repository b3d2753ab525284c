//! Beginning: what is to be paid is found, written down, and the provider told.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use shared::id::UserId;
use ulid::Ulid;

use super::{Kept, Payment, PaymentOrder, Purpose, refusal};
use crate::{
    coupons,
    error::{StoreError, Violation},
    idempotency::{Answered, IdempotencyKey, Named},
    ledger::{Account, balance},
    money::{MOST, Money},
    orders::Agreed,
    sql::{self, values},
    store::{Store, lock_users},
};

/// Payments of one person that are neither paid nor given up.
const MOST_OPEN: i64 = 20;

#[derive(FromQueryResult)]
struct Open {
    open: i64,
    /// What they come to, in the currency of the wallet.
    amount: i64,
}

impl Store {
    /// Begins a payment of `me`, and has the provider await them. While the provider does not answer the
    /// payment is [`PaymentState::Created`](super::PaymentState::Created), and goes on by itself.
    pub async fn begin_payment(
        &self,
        me: &UserId,
        key: &IdempotencyKey,
        order: &PaymentOrder,
    ) -> Result<Answered<Payment>, StoreError> {
        let payments = self.payments();
        let Some((name, provider)) = payments.providers.get_key_value(order.provider.as_str())
        else {
            let message = "not a payment provider of this store";
            return Err(Violation::new("provider", "unknown", message).into());
        };
        let caller = format!("user:{me}");
        let named = Named::new(&caller, key, "payments", order)?;
        let tx = self.database().begin().await?;
        if let Some(kept) = named.claim::<Kept>(self, &tx).await? {
            drop(tx);
            return Ok(Answered {
                answer: self.payment(me, &kept.answer.id).await?,
                replayed: true,
            });
        }
        let (agreed, amount) = self.asked_for(&tx, me, &order.purpose).await?;
        if amount.minor() > payments.most {
            let message = "more than this store lets one payment be";
            return Err(Violation::new("amount", "range", message).into());
        }
        if !provider.takes(amount) {
            let message = "this provider does not take the currency of the wallet";
            return Err(refusal("provider", "currency", message));
        }
        let open: Option<Open> = sql::one(
            &tx,
            "SELECT COUNT(*) AS open, \
             CAST(COALESCE(SUM(CASE WHEN currency = ? THEN amount END), 0) AS BIGINT) AS amount \
             FROM payments WHERE user_id = ? AND state IN ('created', 'ready', 'approving')",
            values![amount.currency().code(), me.as_str()],
        )
        .await?;
        if open.as_ref().is_some_and(|open| open.open >= MOST_OPEN) {
            let message = "too many payments are neither paid nor given up";
            return Err(refusal("provider", "too_many", message));
        }
        // What is bought comes into the wallet too, before it is spent there.
        let wallet = balance(&tx, &Account::Wallet(me.clone()), amount.currency()).await?;
        let coming = open.map_or(0, |open| open.amount);
        if wallet.minor() + coming + amount.minor() > MOST {
            let message = "that is more than the wallet can hold, with what other payments bring";
            return Err(refusal("amount", "too_much", message));
        }
        let id = Ulid::new().to_string();
        let now = self.now();
        let purpose = if agreed.is_some() { "order" } else { "top_up" };
        let kept = agreed.as_ref().map(serde_json::to_string).transpose();
        let kept = kept.map_err(|error| StoreError::Internal(error.to_string()))?;
        sql::execute(
            &tx,
            "INSERT INTO payments (id, user_id, provider, purpose, agreed, amount, currency, state, \
             check_at, created_at, expires_at, changed_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, 'created', ?, ?, ?, ?)",
            values![
                id.as_str(),
                me.as_str(),
                *name,
                purpose,
                kept,
                amount.minor(),
                amount.currency().code(),
                now.as_millis(),
                now.as_millis(),
                now.as_millis() + payments.lifetime.as_millis() as i64,
                now.as_millis()
            ],
        )
        .await?;
        if let Some(combination) = agreed.as_ref().and_then(Agreed::coupons) {
            coupons::hold(&tx, me, &id, combination).await?;
        }
        named.keep(&tx, &Kept { id: id.clone() }).await?;
        let turn = self.take_turn(&tx, &id).await?;
        self.commit(tx).await?;
        self.finish_turn(turn).await;
        Ok(Answered::first(self.payment(me, &id).await?))
    }

    /// What is to be bought, if anything is, and what there is to pay. Locks whom it concerns.
    async fn asked_for(
        &self,
        tx: &DatabaseTransaction,
        me: &UserId,
        purpose: &Purpose,
    ) -> Result<(Option<Agreed>, Money), StoreError> {
        let (agreed, amount) = match purpose {
            Purpose::TopUp(minor) => {
                if lock_users(tx, &[me]).await?.is_empty() {
                    return Err(StoreError::Unauthenticated("the account is withdrawn"));
                }
                let currency = self.country_of(tx, me).await?.currency();
                return Ok((None, Money::positive("amount", *minor, currency)?));
            }
            Purpose::Order(purchase) => self.agree(tx, me, purchase).await?,
            Purpose::Gift(gift) => self.agree_on_gift(tx, me, gift).await?,
        };
        if amount.minor() == 0 {
            let message = "it costs nothing: buy it without a payment";
            return Err(refusal("order", "free", message));
        }
        Ok((Some(agreed), amount))
    }
}
