//! What a turn came to, written down: the new state, the money it moves and whom it is told, in one
//! transaction.

use std::time::Duration;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::json;
use shared::id::Timestamp;

use super::{
    PaymentState,
    cancels::{ask_cancel, cancel_done, cancel_refused},
    provider::{Seen, Standing},
    row::{CancelRow, Row},
    settle::{Outcome, Turn},
    state::Event,
};
use crate::{
    coupons,
    error::StoreError,
    ledger::{Account, Cause, Transfer, carry_out, fits, hold},
    money::Money,
    notices::{News, Topic},
    sql::{self, values},
    store::Store,
};

/// For how long a payment that was given up while nobody knew is looked at, in case the provider acted
/// after all.
const WATCHED: Duration = Duration::from_hours(24);

#[derive(FromQueryResult)]
struct Gone {
    withdrawn_at: Option<i64>,
}

impl Store {
    /// Writes down what a turn came to. Of two that write the same, the later changes nothing.
    pub(super) async fn enter_outcome(
        &self,
        turn: &Turn,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let tx = self.database().begin().await?;
        self.lock_parties(&tx, &turn.row).await?;
        let Some(mut row) = Row::lock(&tx, &turn.row.id).await? else {
            return Err(StoreError::NotFound);
        };
        let before = (row.state()?, row.cancelled, row.cancelling);
        let certain = matches!(
            &outcome,
            Outcome::Seen(Seen {
                standing: Standing::Refused(_),
                ..
            })
        );
        let mut news = Vec::new();
        match outcome {
            Outcome::Prepared(prepared) => {
                if row.go(Event::Prepared, now)? {
                    row.provider_key = prepared.key;
                    row.next = Some(prepared.next.to_string());
                }
            }
            Outcome::Seen(seen) => news = self.see(&tx, &mut row, &seen, now).await?,
            Outcome::Refused(code) => self.refused(&tx, &mut row, turn, code, now).await?,
            Outcome::Lapsed => {
                row.go(Event::Lapsed, now)?;
            }
            Outcome::Unknown(why) => {
                tracing::info!(payment = %row.id, state = %row.state, why, "nobody knows how a payment stands");
            }
        }
        let after = (row.state()?, row.cancelled, row.cancelling);
        let moved = after != before;
        if moved && matches!(after.0, PaymentState::Failed | PaymentState::Expired) {
            coupons::release(&tx, &row.id).await?;
        }
        row.check_at = self.next_look(&row, turn, moved, now)?;
        if certain && after.0 == PaymentState::Failed {
            row.check_at = None;
        }
        row.write(&tx).await?;
        let bought = !news.is_empty();
        if moved && after.0 != PaymentState::Ready && !is_gone(&tx, &row).await? {
            news.insert(0, how_it_stands(&row)?);
        }
        self.tell(&tx, news).await?;
        self.commit(tx).await?;
        if bought {
            self.herald();
            metrics::counter!("fireside_store_orders_total").increment(1);
        }
        if row.check_at.is_some_and(|at| at <= now.as_millis()) {
            self.payments().wake.notify_one();
        }
        Ok(())
    }

    /// The provider refused what this turn asked for.
    async fn refused(
        &self,
        tx: &DatabaseTransaction,
        row: &mut Row,
        turn: &Turn,
        code: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let settled = self.payments().pace.settled().as_millis() as i64;
        let Some(asked) = &turn.cancel else {
            // Another call of the same may still be on its way, or be why this one is refused.
            let in_doubt = row.attempts > 1 && now.as_millis() < row.changed_at + settled;
            if !in_doubt && row.go(Event::Refused, now)? {
                row.failure = Some(code);
            }
            return Ok(());
        };
        let waiting = CancelRow::waiting(tx, &row.id).await?;
        let Some(cancel) = waiting.iter().find(|cancel| cancel.id == asked.id) else {
            // Somebody else found out how it stands.
            return Ok(());
        };
        let alone = cancel.attempts == asked.attempts;
        let earlier = asked.tried_at;
        if alone && earlier.is_none_or(|at| now.as_millis() >= at + settled) {
            return cancel_refused(tx, row, cancel, now).await;
        }
        if alone {
            // This attempt was answered: the one in doubt is the one before.
            let text = "UPDATE payment_cancels SET tried_at = ? WHERE id = ?";
            sql::execute(tx, text, values![earlier, cancel.id.as_str()]).await?;
        }
        Ok(())
    }

    /// When to look again, if ever.
    fn next_look(
        &self,
        row: &Row,
        turn: &Turn,
        moved: bool,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let after = |pause: Duration| now.as_millis() + pause.as_millis() as i64;
        let pace = &self.payments().pace;
        let again = || {
            let attempts = turn.cancel.as_ref().map_or(row.attempts, |c| c.attempts);
            after(pace.pause(attempts))
        };
        Ok(match row.state()? {
            _ if row.cancelling > 0 && moved => Some(now.as_millis()),
            _ if row.cancelling > 0 => Some(again()),
            PaymentState::Created | PaymentState::Approving => Some(again()),
            PaymentState::Ready => Some(row.expires_at),
            PaymentState::Failed | PaymentState::Expired if row.proof.is_some() => {
                // What was refused when it was asked for first was not done.
                let doubtful = !moved || turn.is_again();
                let over = now.as_millis() > row.created_at + WATCHED.as_millis() as i64;
                let pause = pace.pause(row.attempts).max(pace.first);
                (doubtful && !over).then(|| after(pause))
            }
            _ => None,
        })
    }

    /// Takes over how the provider says it stands, and says who is to be told of what was bought.
    async fn see(
        &self,
        tx: &DatabaseTransaction,
        row: &mut Row,
        seen: &Seen,
        now: Timestamp,
    ) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        if seen.id != row.id || seen.total != row.amount || seen.currency != row.currency {
            mismatch(row, "the provider means another payment");
            return Ok(news);
        }
        match &seen.standing {
            Standing::Waiting => {}
            Standing::Refused(code) => {
                if row.go(Event::Refused, now)? {
                    row.failure = Some(code.clone());
                }
            }
            Standing::Taken => {
                if row.go(Event::Approved, now)? {
                    news = self.credit(tx, row, now).await?;
                }
                for cancel in CancelRow::waiting(tx, &row.id).await? {
                    match seen.cancelled_by(&cancel.id) {
                        None => {}
                        Some(amount) if amount == cancel.amount => {
                            cancel_done(tx, row, &cancel, now).await?;
                        }
                        Some(_) => mismatch(row, "the provider cancelled another amount"),
                    }
                }
                if seen.cancelled > row.cancelled {
                    mismatch(row, "the provider cancelled what nobody asked for");
                }
            }
        }
        Ok(news)
    }

    /// The provider has the money: so has the payer, or what they bought with it.
    async fn credit(
        &self,
        tx: &DatabaseTransaction,
        row: &mut Row,
        now: Timestamp,
    ) -> Result<Vec<News>, StoreError> {
        let amount = row.money(row.amount)?;
        let legs = [
            (Account::Provider(row.provider.clone()), amount.negated()),
            (Account::Wallet(row.user()?), amount),
        ];
        let (gone, agreed) = (is_gone(tx, row).await?, row.agreed()?);
        row.failure = None;
        let held = coupons::release(tx, &row.id).await?;
        if !fits(tx, &legs[1].0, amount).await? {
            return_whole(tx, row, &legs, now).await?;
            return Ok(Vec::new());
        }
        let top_up = Transfer::write(tx, now, Cause::TopUp, &row.id, &legs).await?;
        if gone {
            // Nobody is there to spend it.
            row.failure = Some("withdrawn".to_owned());
            let cancel = ask_cancel(tx, row, row.amount, now).await?;
            carry_out(tx, &[top_up, cancel]).await?;
            return Ok(Vec::new());
        }
        let Some(mut agreed) = agreed else {
            top_up.carry_out(tx).await?;
            return Ok(Vec::new());
        };
        // It goes back if what was agreed on cannot be bought any more.
        hold(tx, &Account::Leaving, amount.currency()).await?;
        top_up.carry_out(tx).await?;
        agreed.released_but(held);
        self.fulfil(tx, row, &agreed, now).await
    }
}

/// Has the provider pay back what the wallet cannot hold. It leaves the wallet, which has more than that, before it
/// comes.
async fn return_whole(
    tx: &DatabaseTransaction,
    row: &mut Row,
    legs: &[(Account, Money); 2],
    now: Timestamp,
) -> Result<(), StoreError> {
    let cancel = ask_cancel(tx, row, row.amount, now).await?;
    let top_up = Transfer::write(tx, now, Cause::TopUp, &row.id, legs).await?;
    carry_out(tx, &[cancel, top_up]).await?;
    row.failure = Some("too_much".to_owned());
    Ok(())
}

/// Whether the payer's account was withdrawn.
async fn is_gone(tx: &DatabaseTransaction, row: &Row) -> Result<bool, StoreError> {
    let text = "SELECT withdrawn_at FROM users WHERE id = ?";
    let user: Option<Gone> = sql::one(tx, text, values![row.user_id.as_str()]).await?;
    Ok(user.is_none_or(|user| user.withdrawn_at.is_some()))
}

/// Something that cannot be, if nobody acts at the provider but us: for a person to look at.
fn mismatch(row: &Row, what: &str) {
    metrics::counter!("fireside_store_payment_mismatches_total").increment(1);
    tracing::error!(payment = %row.id, provider = %row.provider, what, "books differ from a provider's");
}

fn how_it_stands(row: &Row) -> Result<News, StoreError> {
    let amount = |minor| {
        row.money(minor).map(|money| {
            let currency = money.currency();
            json!({"minor": minor, "currency": currency.code(), "exponent": currency.exponent()})
        })
    };
    Ok(News {
        user: row.user()?,
        topic: Topic::Payment,
        data: json!({
            "payment": row.id, "purpose": row.purpose, "state": row.state, "amount": amount(row.amount)?,
            "cancelled": amount(row.cancelled)?, "cancelling": amount(row.cancelling)?,
        }),
    })
}
