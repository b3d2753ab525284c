//! The payer is back from the provider: with a proof that they agreed, or having given up.

use shared::id::UserId;

use super::{
    Payment, PaymentState, refusal,
    row::{COLUMNS, Row},
    state::Event,
};
use crate::{
    coupons,
    error::{StoreError, Violation},
    sql::{self, values},
    store::Store,
};

/// The longest proof.
const LONGEST: usize = 300;
/// The longest word of a provider for why it refuses.
const LONGEST_WORD: usize = 64;

/// What a payer brings back from a provider.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// KakaoPay's `pg_token`, Toss's `paymentKey`.
    pub token: &'a str,
    /// What the payer was asked for, as the provider says, in minor units.
    pub amount: Option<i64>,
}

impl Proof<'_> {
    fn check(&self) -> Result<(), Violation> {
        let fits = (1..=LONGEST).contains(&self.token.len())
            && self.token.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(())
        } else {
            let message = "1 to 300 visible characters, as the provider gave them";
            Err(Violation::new("token", "malformed", message))
        }
    }
}

/// A provider's word as a browser brings it.
fn word(brought: &str) -> String {
    let is_word = (1..=LONGEST_WORD).contains(&brought.len())
        && brought
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_word { brought } else { "refused" }.to_owned()
}

impl Store {
    /// The provider's window that the payer of a payment is to see, as its `next` has it, while there is one.
    pub(crate) async fn payment_window(
        &self,
        id: &str,
    ) -> Result<Option<serde_json::Value>, StoreError> {
        let payment = self.any_payment(id).await?;
        Ok(payment.next.filter(|next| next["kind"] == "window"))
    }

    /// Has the provider take the money of a payment, and answers how it then stands: `approving` while
    /// nobody knows, `expired` if its time is over. A payment that went on already is answered as it is.
    ///
    /// The payer may come as somebody who is logged in, or (`me` is none) as a browser that a provider
    /// sent back: who has the proof may confirm, since it is credited to nobody but its payer.
    pub async fn confirm_payment(
        &self,
        me: Option<&UserId>,
        id: &str,
        proof: Proof<'_>,
    ) -> Result<Payment, StoreError> {
        proof.check()?;
        let tx = self.database().begin().await?;
        let row = Row::lock(&tx, id).await?;
        let row = row.filter(|row| me.is_none_or(|me| row.user_id == me.as_str()));
        let mut row = row.ok_or(StoreError::NotFound)?;
        let now = self.now();
        match row.state()? {
            PaymentState::Created => {
                let message = "the provider does not know of it yet";
                return Err(refusal("id", "not_ready", message));
            }
            PaymentState::Ready => {}
            _ => return row.payment(),
        }
        if proof.amount.is_some_and(|amount| amount != row.amount) {
            let message = "the provider asked for another amount";
            return Err(refusal("amount", "amount", message));
        }
        // One whose time is over is not confirmed: the turn finds that it lapsed.
        if now.as_millis() < row.expires_at {
            row.go(Event::Confirmed, now)?;
            row.proof = Some(proof.token.to_owned());
            let provider = self.payments().provider(&row.provider);
            if provider.is_some_and(|provider| provider.proof_is_key()) {
                row.provider_key = Some(proof.token.to_owned());
            }
        }
        row.check_at = Some(now.as_millis());
        let written = row.write(&tx).await;
        if written.as_ref().is_err_and(StoreError::is_unique_violation) {
            let message = "it was the proof of another payment";
            return Err(refusal("token", "used", message));
        }
        written?;
        let turn = self.take_turn(&tx, id).await?;
        self.commit(tx).await?;
        self.finish_turn(turn).await;
        self.any_payment(id).await
    }

    /// The payer gave up at the provider's, or the provider refused them there, with this word for why. A payment that
    /// went on already is answered as it is.
    pub async fn give_up_payment(
        &self,
        id: &str,
        refused: Option<&str>,
    ) -> Result<Payment, StoreError> {
        let tx = self.database().begin().await?;
        let row = Row::lock(&tx, id).await?;
        let mut row = row.ok_or(StoreError::NotFound)?;
        if row.state()? == PaymentState::Ready && row.go(Event::Refused, self.now())? {
            row.failure = Some(refused.map_or_else(|| "given_up".to_owned(), word));
            row.check_at = None;
            row.write(&tx).await?;
            coupons::release(&tx, id).await?;
            self.commit(tx).await?;
        }
        row.payment()
    }

    async fn any_payment(&self, id: &str) -> Result<Payment, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM payments WHERE id = ?");
        let row: Option<Row> = sql::one(self.database().reader(), &text, values![id]).await?;
        row.ok_or(StoreError::NotFound)?.payment()
    }
}
