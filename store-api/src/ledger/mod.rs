//! Double entry: money only moves. A transfer takes from some accounts what it gives to others, so
//! its postings sum to zero; an account's balance is the sum of its postings, and only the world
//! outside may owe.
//!
//! Nothing else writes these tables, and nothing in them is ever changed but balances. Whoever
//! moves money calls [`post`] in the transaction of what the money is for.

use std::collections::BTreeMap;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use shared::id::{Timestamp, UserId};
use ulid::Ulid;

pub use check::{LedgerFault, LedgerReport};

use crate::{
    error::{StoreError, Violation},
    money::{Currency, MOST, Money},
    sql::{self, values},
};

mod check;

/// Whose money it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// The world: what came in from there is owed to it, so its balance is below zero.
    Outside,
    /// Gift cards that nobody redeemed yet.
    GiftCards,
    /// A person's wallet.
    Wallet(UserId),
    /// What a publisher has earned.
    Publisher(String),
    /// What the store keeps of its sales.
    Store,
    /// A payment provider, which is of the world outside: what it took for us it owes us, so its
    /// balance is below zero.
    Provider(String),
    /// What left wallets to be paid back, until the provider answers.
    Leaving,
}

/// Why money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Gift cards were issued.
    GiftCardsIssued,
    /// A gift card was redeemed.
    GiftCard,
    /// What nobody had redeemed of a batch of gift cards was taken back.
    GiftCardsVoided,
    /// Games were bought.
    Purchase,
    /// What was paid for a game was given back.
    Refund,
    /// A payment by a provider charged a wallet.
    TopUp,
    /// Some of a payment is to be paid back.
    PaymentCancel,
    /// The provider paid it back.
    PaymentCancelled,
    /// The provider does not.
    PaymentCancelRefused,
}

impl Cause {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::GiftCardsIssued => "gift_cards_issued",
            Self::GiftCard => "gift_card",
            Self::GiftCardsVoided => "gift_cards_voided",
            Self::Purchase => "purchase",
            Self::Refund => "refund",
            Self::TopUp => "top_up",
            Self::PaymentCancel => "payment_cancel",
            Self::PaymentCancelled => "payment_cancelled",
            Self::PaymentCancelRefused => "payment_cancel_refused",
        }
    }
}

impl Account {
    fn kind(&self) -> &'static str {
        match self {
            Self::Outside | Self::Provider(_) => "outside",
            Self::GiftCards => "gift_cards",
            Self::Wallet(_) => "wallet",
            Self::Publisher(_) => "publisher",
            Self::Store => "store",
            Self::Leaving => "leaving",
        }
    }

    fn owner(&self) -> Option<&str> {
        match self {
            Self::Wallet(user) => Some(user.as_str()),
            Self::Publisher(id) | Self::Provider(id) => Some(id),
            Self::Outside | Self::GiftCards | Self::Store | Self::Leaving => None,
        }
    }

    /// The name of the account in which `self` holds this currency. Every account is one currency.
    pub(crate) fn id(&self, currency: Currency) -> String {
        match self.owner() {
            Some(owner) => format!("{}:{owner}:{currency}", self.kind()),
            None => format!("{}:{currency}", self.kind()),
        }
    }
}

#[derive(FromQueryResult)]
struct Balance {
    balance: i64,
}

/// Moves money: `legs` say what each account gets, or gives where it is negative. Answers the
/// transfer's name.
///
/// `reference` is what the money is for; one cause happens once to one reference, whatever else
/// goes wrong, for the database holds them to be unique.
pub(crate) async fn post(
    tx: &DatabaseTransaction,
    now: Timestamp,
    cause: Cause,
    reference: &str,
    legs: &[(Account, Money)],
) -> Result<String, StoreError> {
    let transfer = Transfer::write(tx, now, cause, reference, legs).await?;
    let id = transfer.id.clone();
    transfer.carry_out(tx).await?;
    Ok(id)
}

/// A transfer that is written down and whose money has not moved yet: [`Transfer::carry_out`] has to follow in the
/// same transaction.
#[must_use = "nothing has moved"]
pub(crate) struct Transfer {
    id: String,
    cause: Cause,
    /// By the names of their accounts.
    legs: BTreeMap<String, (Account, Money)>,
}

impl Transfer {
    /// Writes a transfer down: as [`post`], but that other things may be done before the money moves. Accounts that
    /// everybody pays into, such as the store's, are locked only from then on.
    pub(crate) async fn write(
        tx: &DatabaseTransaction,
        now: Timestamp,
        cause: Cause,
        reference: &str,
        legs: &[(Account, Money)],
    ) -> Result<Self, StoreError> {
        let legs = gathered(legs)?;
        let id = Ulid::new().to_string();
        sql::execute(
            tx,
            "INSERT INTO transfers (id, cause, reference, created_at) VALUES (?, ?, ?, ?)",
            values![id.as_str(), cause.word(), reference, now.as_millis()],
        )
        .await?;
        Ok(Self { id, cause, legs })
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Moves the money.
    pub(crate) async fn carry_out(self, tx: &DatabaseTransaction) -> Result<(), StoreError> {
        carry_out(tx, &[self]).await
    }
}

/// Moves the money of all transfers of a transaction.
///
/// Account by account, in order of their names, so that two transactions that move money between the same accounts
/// cannot wait for each other. What one account gets and gives happens in order of the transfers.
pub(crate) async fn carry_out(
    tx: &DatabaseTransaction,
    transfers: &[Transfer],
) -> Result<(), StoreError> {
    let legs = transfers.iter().enumerate().flat_map(|(turn, transfer)| {
        let legs = transfer.legs.iter();
        legs.map(move |(id, (account, amount))| ((id, turn), (transfer, account, *amount)))
    });
    let legs: BTreeMap<_, _> = legs.collect();
    let mut postings = Vec::with_capacity(4 * legs.len());
    for ((id, _), (transfer, account, amount)) in &legs {
        let minor = amount.minor();
        let mut balance = change(tx, id, minor).await?;
        if balance.is_none() {
            // It was never used, or may not hold so much.
            open(tx, account, amount.currency()).await?;
            balance = change(tx, id, minor).await?;
        }
        let balance = balance.ok_or_else(|| refused(minor))?;
        postings.extend(values![transfer.id.as_str(), id.as_str(), minor, balance]);
    }
    if !postings.is_empty() {
        let rows = vec![sql::list(4); legs.len()].join(", ");
        let insert =
            format!("INSERT INTO postings (transfer, account, amount, balance) VALUES {rows}");
        sql::execute(tx, &insert, postings).await?;
    }
    for transfer in transfers {
        let cause = transfer.cause.word();
        metrics::counter!("fireside_store_transfers_total", "cause" => cause).increment(1);
    }
    Ok(())
}

/// Changes what an account holds, and gives what it holds then; nothing if it is not there or may not hold that.
async fn change(
    tx: &DatabaseTransaction,
    account: &str,
    minor: i64,
) -> Result<Option<i64>, StoreError> {
    let balance: Option<Balance> = sql::one(
        tx,
        "UPDATE ledger_accounts SET balance = balance + ? WHERE id = ? \
         AND balance + ? <= ? AND balance + ? >= CASE kind WHEN 'outside' THEN ? ELSE 0 END \
         RETURNING balance",
        values![minor, account, minor, MOST, minor, -MOST],
    )
    .await?;
    Ok(balance.map(|row| row.balance))
}

/// Locks an account until the transaction ends, before a first transfer that locks what comes after it:
/// two transactions of several transfers each could wait for each other otherwise.
pub(crate) async fn hold(
    tx: &DatabaseTransaction,
    account: &Account,
    currency: Currency,
) -> Result<(), StoreError> {
    open(tx, account, currency).await?;
    let lock = "UPDATE ledger_accounts SET id = id WHERE id = ?";
    sql::execute(tx, lock, values![account.id(currency)]).await?;
    Ok(())
}

/// What an account holds.
pub(crate) async fn balance(
    db: &impl sea_orm::ConnectionTrait,
    account: &Account,
    currency: Currency,
) -> Result<Money, StoreError> {
    let found: Option<Balance> = sql::one(
        db,
        "SELECT balance FROM ledger_accounts WHERE id = ?",
        values![account.id(currency)],
    )
    .await?;
    Ok(Money::new(found.map_or(0, |row| row.balance), currency))
}

/// Whether an account can hold so much more. Not locked: where it was wrong the transfer is refused.
pub(crate) async fn fits(
    tx: &DatabaseTransaction,
    account: &Account,
    more: Money,
) -> Result<bool, StoreError> {
    let held = balance(tx, account, more.currency()).await?;
    Ok(held.checked_add(more).is_some())
}

/// One leg an account, each more or less than nothing, which together come to zero.
fn gathered(legs: &[(Account, Money)]) -> Result<BTreeMap<String, (Account, Money)>, StoreError> {
    let unsound = |why: &str| StoreError::Internal(format!("a transfer {why}: {legs:?}"));
    let Some((_, first)) = legs.first() else {
        return Err(unsound("of nothing"));
    };
    let mut sum = Money::zero(first.currency());
    let mut gathered: BTreeMap<String, (Account, Money)> = BTreeMap::new();
    for (account, amount) in legs {
        sum = sum
            .checked_add(*amount)
            .ok_or_else(|| unsound("of two currencies, or of too much"))?;
        let leg = gathered
            .entry(account.id(amount.currency()))
            .or_insert_with(|| (account.clone(), Money::zero(amount.currency())));
        leg.1 = leg
            .1
            .checked_add(*amount)
            .ok_or_else(|| unsound("of too much"))?;
    }
    if sum.minor() != 0 {
        return Err(unsound("that does not come to zero"));
    }
    gathered.retain(|_, (_, amount)| amount.minor() != 0);
    Ok(gathered)
}

async fn open(
    tx: &DatabaseTransaction,
    account: &Account,
    currency: Currency,
) -> Result<(), StoreError> {
    sql::execute(
        tx,
        "INSERT INTO ledger_accounts (id, kind, owner, currency, balance) VALUES (?, ?, ?, ?, 0) \
         ON CONFLICT (id) DO NOTHING",
        values![
            account.id(currency),
            account.kind(),
            account.owner().map(str::to_owned),
            currency.code()
        ],
    )
    .await?;
    Ok(())
}

fn refused(minor: i64) -> StoreError {
    let (message, rule) = if minor < 0 {
        ("there is not enough money", "insufficient_funds")
    } else {
        ("that is more than an account can hold", "too_much")
    };
    StoreError::Conflict {
        message,
        violations: vec![Violation::new("balance", rule, message)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn won(minor: i64) -> Money {
        Money::new(minor, Currency::parse("KRW").unwrap())
    }

    #[test]
    fn only_what_comes_to_zero_is_a_transfer() {
        let legs = [(Account::Outside, won(-5)), (Account::GiftCards, won(5))];
        assert_eq!(gathered(&legs).unwrap().len(), 2);
        assert!(gathered(&legs[..1]).is_err());
        assert!(gathered(&[]).is_err());
        let euro = Money::new(5, Currency::parse("EUR").unwrap());
        assert!(gathered(&[(Account::Outside, won(-5)), (Account::GiftCards, euro)]).is_err());
    }

    #[test]
    fn what_one_account_gets_twice_is_one_posting() {
        let wallet = || Account::Wallet(UserId::parse("u").unwrap());
        let legs = [
            (Account::Outside, won(-7)),
            (wallet(), won(3)),
            (wallet(), won(4)),
            (Account::GiftCards, won(0)),
        ];
        let gathered = gathered(&legs).unwrap();
        assert_eq!(gathered.len(), 2);
        assert_eq!(gathered["wallet:u:KRW"].1, won(7));
    }
}
