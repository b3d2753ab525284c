//! The books of a provider: what was agreed to, taken and paid back. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// Every payment, by the provider's name for it.
#[derive(Debug)]
pub struct Books {
    payments: BTreeMap<String, Payment>,
    /// The number of the last. It begins at the time, so that no name comes again when the program is
    /// started again and a store still knows what it was told before.
    made: u128,
}

/// Which provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    KakaoPay,
    Toss,
}

/// One payment.
#[derive(Debug, Clone)]
pub struct Payment {
    pub played: Played,
    /// The provider's name for it.
    pub key: String,
    /// The merchant's.
    pub order: String,
    /// The merchant's name for who pays.
    pub user: String,
    pub total: i64,
    pub standing: Standing,
    pub cancels: Vec<Cancel>,
    /// Where the payer goes when they agree, and when they do not.
    pub back: [String; 2],
    opened: Instant,
}

/// How far a payment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// The payer agreed; the token proves it.
    Agreed(String),
    Taken,
    Quit,
}

/// What was paid back.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub amount: i64,
    /// What the merchant wrote on it.
    pub note: String,
}

/// Why something is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Unknown,
    NotAgreed,
    AlreadyTaken,
    Expired,
    WrongAmount,
    NotTaken,
    TooMuch,
}

impl Payment {
    pub fn cancelled(&self) -> i64 {
        self.cancels.iter().map(|cancel| cancel.amount).sum()
    }

    pub fn left(&self) -> i64 {
        self.total - self.cancelled()
    }
}

impl Books {
    /// Books in which nothing stands.
    pub fn new() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            payments: BTreeMap::new(),
            made: time.unwrap_or_default().as_micros(),
        }
    }

    /// Awaits a payer.
    pub fn open(
        &mut self,
        played: Played,
        order: &str,
        user: &str,
        total: i64,
        back: [String; 2],
    ) -> &Payment {
        self.made += 1;
        let key = match played {
            Played::KakaoPay => format!("T{:019}", self.made),
            Played::Toss => format!("sim_{:016}", self.made),
        };
        self.payments.entry(key.clone()).or_insert(Payment {
            played,
            key,
            order: order.to_owned(),
            user: user.to_owned(),
            total,
            standing: Standing::Open,
            cancels: Vec::new(),
            back,
            opened: Instant::now(),
        })
    }

    pub fn find(&self, key: &str) -> Option<&Payment> {
        self.payments.get(key)
    }

    /// The last payment of an order.
    pub fn of_order(&self, order: &str) -> Option<&Payment> {
        let found = self.payments.values().filter(|one| one.order == order);
        found.max_by_key(|one| (one.standing == Standing::Taken, one.key.clone()))
    }

    /// The payer agrees, and is given a proof.
    pub fn agree(&mut self, key: &str) -> Option<String> {
        let payment = self.payments.get_mut(key)?;
        if payment.standing == Standing::Open {
            payment.standing = Standing::Agreed(format!("token-of-{key}"));
        }
        match &payment.standing {
            Standing::Agreed(token) => Some(token.clone()),
            _ => None,
        }
    }

    /// The payer gives up.
    pub fn quit(&mut self, key: &str) {
        if let Some(payment) = self.payments.get_mut(key)
            && payment.standing != Standing::Taken
        {
            payment.standing = Standing::Quit;
        }
    }

    /// Takes the money.
    pub fn take(
        &mut self,
        key: &str,
        order: &str,
        token: Option<&str>,
        amount: i64,
        lifetime: Duration,
    ) -> Result<Payment, Refusal> {
        let payment = self.payments.get_mut(key).ok_or(Refusal::Unknown)?;
        if payment.order != order || payment.total != amount {
            return Err(Refusal::WrongAmount);
        }
        match &payment.standing {
            Standing::Taken => return Err(Refusal::AlreadyTaken),
            Standing::Agreed(proof) if token.is_none_or(|token| token == proof) => {}
            _ => return Err(Refusal::NotAgreed),
        }
        if payment.opened.elapsed() > lifetime {
            return Err(Refusal::Expired);
        }
        payment.standing = Standing::Taken;
        Ok(payment.clone())
    }

    /// Pays some of it back; `left` is what the merchant believes can be.
    pub fn cancel(
        &mut self,
        key: &str,
        amount: i64,
        left: Option<i64>,
        note: &str,
    ) -> Result<Payment, Refusal> {
        let payment = self.payments.get_mut(key).ok_or(Refusal::Unknown)?;
        if payment.standing != Standing::Taken {
            return Err(Refusal::NotTaken);
        }
        let has = payment.left();
        if !(1..=has).contains(&amount) || left.is_some_and(|left| left != has) {
            return Err(Refusal::TooMuch);
        }
        payment.cancels.push(Cancel {
            amount,
            note: note.to_owned(),
        });
        Ok(payment.clone())
    }

    /// What somebody who compares books wants to see.
    pub fn shown(&self) -> Vec<Value> {
        let shown = self.payments.values().map(|payment| {
            let provider = match payment.played {
                Played::KakaoPay => "kakao_pay",
                Played::Toss => "toss",
            };
            let taken = payment.standing == Standing::Taken;
            json!({
                "provider": provider, "key": payment.key, "order": payment.order,
                "taken": if taken { payment.total } else { 0 },
                "cancelled": payment.cancelled(), "cancels": payment.cancels.len(),
            })
        });
        shown.collect()
    }
}
