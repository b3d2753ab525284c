//! The port to those who take money for us.
//!
//! Every call may be made again: an adapter sees to it that the provider takes a second call of one
//! name for the first (by an idempotency key, by an amount that must still be there, or because a
//! payment is approved once). What a call came to is only believed when the provider says so; a call
//! without an answer is [`CallError::Unknown`], and is found out by [`Provider::query`].

use async_trait::async_trait;
use serde_json::Value;

use crate::money::Money;

/// Somebody who takes money for us.
#[async_trait]
pub(crate) trait Provider: Send + Sync + 'static {
    /// Whether it takes this currency.
    fn takes(&self, amount: Money) -> bool;

    /// Has the provider await the payer. Takes no money, so it may come to nothing unnoticed.
    async fn prepare(&self, payment: &Charge) -> Result<Prepared, CallError>;

    /// Takes the money, with the `proof` that the payer brought back. At most once, however often it
    /// is called.
    async fn approve(&self, payment: &Charge, proof: &str) -> Result<Seen, CallError>;

    /// Pays some of it back. At most once a name, however often it is called. Cancels of one payment
    /// are asked for one after the other.
    async fn cancel(&self, payment: &Charge, cancel: &Cancel) -> Result<Seen, CallError>;

    /// How the payment stands with the provider. Changes nothing.
    async fn query(&self, payment: &Charge) -> Result<Seen, CallError>;

    /// Whether the payer's proof is what the provider calls the payment from then on.
    fn proof_is_key(&self) -> bool;

    /// The name of the payment that a message of the provider is about, if it is the provider's.
    /// What the message says of it is not believed: it has us look.
    fn message(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<String, MessageError>;
}

/// What is to be paid, as a provider is told.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    /// Our name for it.
    pub(crate) id: String,
    /// Our name for who pays.
    pub(crate) user: String,
    /// How much.
    pub(crate) amount: Money,
    /// What of that was paid back.
    pub(crate) cancelled: i64,
    /// What for, for people.
    pub(crate) title: &'static str,
    /// The provider's name for it, once there is one.
    pub(crate) key: Option<String>,
    /// Where the provider sends the payer's browser when it is done; `&outcome=` follows.
    pub(crate) back: String,
    /// The page of ours that opens the provider's window, for a provider that has one.
    pub(crate) window: String,
}

/// What is to be paid back.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    /// Our name for it.
    pub(crate) id: String,
    /// How much, in minor units.
    pub(crate) amount: i64,
}

/// The provider awaits the payer.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The provider's name for the payment, if it has one already.
    pub(crate) key: Option<String>,
    /// What the payer's client does next.
    pub(crate) next: Value,
}

/// How a payment stands with the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Our name for it, as the provider has it.
    pub(crate) id: String,
    /// How much was to be paid, in minor units.
    pub(crate) total: i64,
    /// Of what.
    pub(crate) currency: String,
    /// How far it is.
    pub(crate) standing: Standing,
    /// How much was paid back.
    pub(crate) cancelled: i64,
    /// Cancels of ours that were done.
    pub(crate) cancels: Vec<Cancelled>,
}

/// How far a payment is with the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing was taken yet, and may be.
    Waiting,
    /// The money was taken, whatever was paid back of it.
    Taken,
    /// Nothing was taken, nor will be; the provider's word for why.
    Refused(String),
}

/// A cancel that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cancelled {
    /// Our name for it.
    pub(crate) id: String,
    /// How much was paid back by it, in minor units.
    pub(crate) amount: i64,
}

/// What a call came to that did not go well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The provider answered that it does not do it; its word for why.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody knows whether it was done.
    #[error("unknown: {0}")]
    Unknown(String),
}

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageError {
    /// This provider sends none.
    None,
    /// It is not signed as it should be.
    Forged,
    /// It cannot be read.
    Malformed,
}

impl Seen {
    /// The amount of a cancel, if it was done.
    pub(crate) fn cancelled_by(&self, id: &str) -> Option<i64> {
        let found = self.cancels.iter().find(|cancel| cancel.id == id);
        found.map(|cancel| cancel.amount)
    }
}
