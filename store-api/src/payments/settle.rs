//! Finding out how a payment stands: one turn is one look at the row, what there is to ask the
//! provider, and a record of what came of it.
//!
//! A turn is taken in a transaction that counts it, before anything is asked. So whoever takes the next
//! one, after a failure, a time-out or a kill, knows that the provider may have acted already, and
//! looks before asking again.

use sea_orm::DatabaseTransaction;

use super::{
    PaymentState,
    provider::{CallError, Charge, Prepared, Provider, Seen, Standing},
    row::{COLUMNS, CancelRow, Row},
};
use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

/// A turn at a payment.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// As it stood when the turn was taken; this turn is counted in its attempts.
    pub(super) row: Row,
    /// The oldest cancel that waits for its answer; this turn is counted.
    pub(super) cancel: Option<CancelRow>,
}

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The provider awaits the payer.
    Prepared(Prepared),
    /// The provider told how it stands.
    Seen(Seen),
    /// The provider refused what it was asked for.
    Refused(String),
    /// Nobody paid in time.
    Lapsed,
    /// Nobody knows.
    Unknown(String),
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(code) => Self::Refused(code),
            CallError::Unknown(why) => Self::Unknown(why),
        }
    }
}

impl Turn {
    /// Whether the provider may have been asked for the same in an earlier turn.
    pub(super) fn is_again(&self) -> bool {
        let attempts = self
            .cancel
            .as_ref()
            .map_or(self.row.attempts, |c| c.attempts);
        attempts > 1
    }
}

impl Store {
    /// Takes a turn at a payment, if something is due and nobody else is at it.
    pub(super) async fn take_turn(
        &self,
        tx: &DatabaseTransaction,
        id: &str,
    ) -> Result<Option<Turn>, StoreError> {
        let now = self.now().as_millis();
        let until = now + self.payments().pace.lease().as_millis() as i64;
        let text = format!(
            "UPDATE payments SET leased_until = ?, attempts = attempts + 1 \
             WHERE id = ? AND check_at <= ? AND leased_until <= ? RETURNING {COLUMNS}"
        );
        let row: Option<Row> = sql::one(tx, &text, values![until, id, now, now]).await?;
        let Some(row) = row else { return Ok(None) };
        if row.cancelling == 0 {
            return Ok(Some(Turn { row, cancel: None }));
        }
        let waiting = CancelRow::waiting(tx, id).await?;
        let mut cancel = waiting.into_iter().next();
        if let Some(cancel) = &mut cancel {
            cancel.attempts += 1;
            sql::execute(
                tx,
                "UPDATE payment_cancels SET attempts = ?, tried_at = ? WHERE id = ?",
                values![cancel.attempts, now, cancel.id.as_str()],
            )
            .await?;
        }
        Ok(Some(Turn { row, cancel }))
    }

    /// Takes a turn at a payment and does what is due. Whether there was one to take.
    pub(super) async fn advance(&self, id: &str) -> Result<bool, StoreError> {
        let tx = self.database().begin().await?;
        let turn = self.take_turn(&tx, id).await?;
        self.database().commit(tx).await?;
        let Some(turn) = turn else { return Ok(false) };
        self.perform(&turn).await?;
        Ok(true)
    }

    /// Does what is due in a turn that was taken, as a task of its own: a client that hangs up must not
    /// cut it off between the provider's answer and the record of it.
    pub(super) async fn finish_turn(&self, turn: Option<Turn>) {
        let Some(turn) = turn else { return };
        let store = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = store.perform(&turn).await {
                tracing::warn!(payment = %turn.row.id, %error, "a payment waits");
            }
        });
        if let Err(error) = task.await {
            tracing::error!(%error, "a turn at a payment failed");
        }
    }

    async fn perform(&self, turn: &Turn) -> Result<(), StoreError> {
        let outcome = match self.payments().provider(&turn.row.provider) {
            Some(provider) => self.ask(provider.as_ref(), turn).await?,
            None => Outcome::Unknown("its provider is not set up".to_owned()),
        };
        self.enter_outcome(turn, outcome).await
    }

    async fn ask(&self, provider: &dyn Provider, turn: &Turn) -> Result<Outcome, StoreError> {
        let row = &turn.row;
        let charge = row.charge(self.payments())?;
        let state = row.state()?;
        let over = self.now().as_millis() >= row.expires_at;
        let proof = row.proof.as_deref().unwrap_or_default();
        Ok(match (state, &turn.cancel) {
            // Nobody was asked to take any money.
            (PaymentState::Created | PaymentState::Ready, _) if over => Outcome::Lapsed,
            (PaymentState::Created, _) => match provider.prepare(&charge).await {
                Ok(prepared) => Outcome::Prepared(prepared),
                Err(error) => error.into(),
            },
            (PaymentState::Approving, _) => {
                if turn.is_again() {
                    match provider.query(&charge).await {
                        Ok(seen) if seen.standing == Standing::Waiting => {
                            let settled = self.payments().pace.settled().as_millis() as i64;
                            if self.now().as_millis() > row.expires_at.max(row.changed_at) + settled
                            {
                                return Ok(Outcome::Lapsed);
                            }
                        }
                        other => return Ok(seen(other)),
                    }
                }
                let answer = provider.approve(&charge, proof).await;
                doubted(provider, &charge, answer, |seen| {
                    seen.standing == Standing::Taken
                })
                .await
            }
            (_, Some(cancel)) => {
                if turn.is_again() {
                    match provider.query(&charge).await {
                        Ok(seen) if seen.cancelled_by(&cancel.id).is_none() => {}
                        other => return Ok(seen(other)),
                    }
                }
                let answer = provider.cancel(&charge, &cancel.cancel()).await;
                let done = |seen: &Seen| seen.cancelled_by(&cancel.id).is_some();
                doubted(provider, &charge, answer, done).await
            }
            _ => look(provider, &charge).await,
        })
    }
}

/// A look for its own sake, which refuses nothing.
async fn look(provider: &dyn Provider, charge: &Charge) -> Outcome {
    match provider.query(charge).await {
        Ok(seen) => Outcome::Seen(seen),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// A refusal that is believed only after a look: somebody on the way may have repeated the request, and
/// it is the second that is refused, because of the first.
async fn doubted(
    provider: &dyn Provider,
    charge: &Charge,
    answer: Result<Seen, CallError>,
    done: impl Fn(&Seen) -> bool,
) -> Outcome {
    let code = match answer {
        Err(CallError::Refused(code)) => code,
        answer => return seen(answer),
    };
    match provider.query(charge).await {
        Ok(seen) if done(&seen) => Outcome::Seen(seen),
        Ok(_) => Outcome::Refused(code),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

fn seen(answer: Result<Seen, CallError>) -> Outcome {
    answer.map_or_else(Outcome::from, Outcome::Seen)
}
