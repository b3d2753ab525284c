//! What is left in the end, held to what providers have, to what may be, and to what people were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, FromQueryResult, Statement};
use serde_json::Value;
use tokio::time::sleep;

use super::shop::Shop;
use crate::simulator::Simulator;

mod planted;

/// How long the books may take to become the same once nothing goes wrong any more.
const SETTLES: Duration = Duration::from_mins(1);

/// The store's books, and the provider's.
pub struct Verdict {
    books: Value,
    payments: Vec<Payment>,
    lines: Vec<Line>,
    library: Vec<Licence>,
    /// By the names of accounts.
    balances: BTreeMap<String, i64>,
    /// What people redeemed.
    cards: BTreeMap<String, i64>,
    /// How many orders were made cheaper.
    cheaper: usize,
}

#[derive(Debug, FromQueryResult)]
struct Payment {
    id: String,
    user_id: String,
    state: String,
    purpose: String,
    failure: Option<String>,
    amount: i64,
    cancelled: i64,
    cancelling: i64,
    order_id: Option<String>,
}

/// A game of an order.
#[derive(Debug, FromQueryResult)]
struct Line {
    order_id: String,
    buyer: String,
    owner: String,
    /// Of the gift, if it is one.
    gift: Option<String>,
    game: String,
    price: i64,
    refunded_at: Option<i64>,
}

#[derive(FromQueryResult)]
struct Licence {
    user_id: String,
    game: String,
    order_id: String,
}

#[derive(FromQueryResult)]
struct Sum {
    name: String,
    sum: i64,
}

#[derive(FromQueryResult)]
struct Used {
    order_id: String,
}

impl Verdict {
    /// Waits until the store's books are the provider's, payment by payment: taken, and paid back.
    pub async fn settled(database: &DatabaseConnection, simulator: &Simulator, seed: u64) -> Self {
        let began = Instant::now();
        let (books, payments) = loop {
            let books = simulator.books().await;
            let payments: Vec<Payment> = read(
                database,
                "SELECT id, user_id, state, purpose, failure, amount, cancelled, cancelling, order_id FROM payments",
            )
            .await;
            let differences = differences(&books, &payments);
            if differences.is_empty() && books["under_way"] == 0 {
                break (books, payments);
            }
            assert!(began.elapsed() < SETTLES, "seed {seed}: {differences:#?}");
            sleep(Duration::from_millis(50)).await;
        };
        let lines = "SELECT l.order_id, o.buyer, COALESCE(g.recipient, o.buyer) AS owner, g.state AS gift, \
                     l.game, l.price, l.refunded_at FROM order_lines l \
                     JOIN orders o ON o.id = l.order_id LEFT JOIN gifts g ON g.order_id = o.id";
        let cards = "SELECT redeemed_by AS name, CAST(SUM(amount) AS BIGINT) AS sum FROM gift_cards \
                     WHERE redeemed_by IS NOT NULL GROUP BY redeemed_by";
        let balances = "SELECT id AS name, balance AS sum FROM ledger_accounts";
        let used: Vec<Used> = read(database, "SELECT order_id FROM order_coupons").await;
        let cheaper: BTreeSet<String> = used.into_iter().map(|used| used.order_id).collect();
        Self {
            books,
            payments,
            lines: read(database, lines).await,
            library: read(database, "SELECT user_id, game, order_id FROM library").await,
            balances: sums(database, balances).await,
            cards: sums(database, cards).await,
            cheaper: cheaper.len(),
        }
    }

    pub fn hold(&self, shop: &Shop) {
        self.hold_providers();
        self.hold_wallets();
        self.hold_licences();
        self.hold_told(shop);
    }

    /// What a provider took and did not pay back is what it owes in the store's books.
    fn hold_providers(&self) {
        for provider in ["kakao_pay", "toss"] {
            let theirs = self.books["payments"].as_array().unwrap().iter();
            let kept = theirs
                .filter(|payment| payment["provider"] == provider)
                .map(|payment| {
                    payment["taken"].as_i64().unwrap() - payment["cancelled"].as_i64().unwrap()
                });
            let ours = self.balances.get(&format!("outside:{provider}:KRW"));
            assert_eq!(-kept.sum::<i64>(), ours.copied().unwrap_or_default());
        }
    }

    /// In every wallet is what came into it, and neither went back nor was spent.
    fn hold_wallets(&self) {
        let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
        for (owner, sum) in &self.cards {
            *expected.entry(owner).or_default() += sum;
        }
        for payment in self.payments.iter().filter(|one| is_credited(one)) {
            *expected.entry(&payment.user_id).or_default() += payment.amount - payment.cancelled;
        }
        for line in self.lines.iter().filter(|line| line.refunded_at.is_none()) {
            *expected.entry(&line.buyer).or_default() -= line.price;
        }
        expected.retain(|_, sum| *sum != 0);
        let wallets = self.balances.iter().filter_map(|(name, sum)| {
            let owner = name.strip_prefix("wallet:")?.strip_suffix(":KRW")?;
            (*sum != 0).then_some((owner, *sum))
        });
        assert_eq!(wallets.collect::<BTreeMap<_, _>>(), expected);
    }

    /// What was paid for is owned, by whom it is for and once, or waits as a gift, or was paid back; and nothing else
    /// is owned.
    fn hold_licences(&self) {
        let licences: BTreeSet<[&str; 3]> = self
            .library
            .iter()
            .map(|one| [&*one.user_id, &*one.game, &*one.order_id])
            .collect();
        let mut due = BTreeSet::new();
        for line in &self.lines {
            let is_kept = line.refunded_at.is_none();
            let is_answered = line.gift.as_deref().is_none_or(|state| state == "accepted");
            let waits = line.gift.as_deref() == Some("waiting");
            assert!(
                !is_kept || is_answered || waits,
                "paid for nothing: {line:?}"
            );
            if is_kept && is_answered {
                let twice = !due.insert([&*line.owner, &*line.game]);
                assert!(!twice, "paid for twice: {line:?}");
                let licence = [&*line.owner, &*line.game, &*line.order_id];
                assert!(licences.contains(&licence), "not owned: {line:?}");
            }
        }
        assert_eq!(
            self.library.len(),
            due.len(),
            "owned without being paid for"
        );
        for payment in self.payments.iter().filter(|one| is_credited(one)) {
            if payment.purpose == "order" && payment.order_id.is_none() {
                let is_back = payment.cancelled == payment.amount && payment.failure.is_some();
                assert!(is_back, "{payment:?}");
            }
        }
    }

    /// What people were told is so.
    fn hold_told(&self, shop: &Shop) {
        let orders: BTreeMap<&str, Option<&str>> = self
            .lines
            .iter()
            .map(|line| (&*line.order_id, line.gift.as_deref()))
            .collect();
        let told = shop.told.lock();
        for order in &told.orders {
            let is_there = orders.contains_key(order.as_str());
            assert!(is_there, "somebody was told of the order {order}");
        }
        for (gift, state) in &told.gifts {
            let is = orders.get(gift.as_str()).copied().flatten();
            assert_eq!(is, Some(state.as_str()), "what was told of the gift {gift}");
        }
    }

    /// Whether enough happened for all this to say something.
    pub fn is_enough(&self) -> bool {
        let paid = self.payments.iter().filter(|one| is_credited(one)).count();
        let back: i64 = self.payments.iter().map(|one| one.cancelled).sum();
        let gifts = |state: &str| self.gifts(state) > 0;
        paid > 5
            && self.by_provider() > 2
            && self.by_wallet() > 2
            && self.refunded() > 0
            && self.cheaper > 0
            && back > 0
            && gifts("accepted")
            && gifts("declined")
            && gifts("taken_back")
    }

    fn by_provider(&self) -> usize {
        let bought = self.payments.iter().filter(|one| one.order_id.is_some());
        bought.count()
    }

    fn by_wallet(&self) -> usize {
        let orders: BTreeSet<_> = self.lines.iter().map(|line| &line.order_id).collect();
        orders.len() - self.by_provider()
    }

    fn refunded(&self) -> usize {
        let lines = self.lines.iter().filter(|line| line.refunded_at.is_some());
        lines.count()
    }

    fn gifts(&self, state: &str) -> usize {
        let gifts = self
            .lines
            .iter()
            .filter(|line| line.gift.as_deref() == Some(state));
        gifts
            .map(|line| &line.order_id)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paid = self.payments.iter().filter(|one| is_credited(one)).count();
        write!(
            f,
            "{} payments, {paid} paid; {} orders by them, {} by wallets, {} with coupons; {} games given back; \
             gifts: {} accepted, {} declined, {} taken back, {} waiting",
            self.payments.len(),
            self.by_provider(),
            self.by_wallet(),
            self.cheaper,
            self.refunded(),
            self.gifts("accepted"),
            self.gifts("declined"),
            self.gifts("taken_back"),
            self.gifts("waiting"),
        )
    }
}

fn differences(books: &Value, payments: &[Payment]) -> Vec<String> {
    // One order may be several payments at the provider, if it had to be prepared again.
    let mut theirs: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for payment in books["payments"].as_array().unwrap() {
        let sums = theirs
            .entry(payment["order"].as_str().unwrap())
            .or_default();
        sums.0 += payment["taken"].as_i64().unwrap();
        sums.1 += payment["cancelled"].as_i64().unwrap();
    }
    let mut differences = Vec::new();
    for payment in payments {
        let theirs = theirs.remove(payment.id.as_str()).unwrap_or_default();
        let credited = if is_credited(payment) {
            payment.amount
        } else {
            0
        };
        let open = payment.state == "approving" || payment.cancelling > 0;
        if open || (credited, payment.cancelled) != theirs {
            differences.push(format!("{payment:?} is {theirs:?} there"));
        }
    }
    let unknown = theirs.into_iter().filter(|(_, sums)| sums.0 > 0);
    differences.extend(unknown.map(|(order, sums)| format!("{order} is {sums:?} there alone")));
    differences
}

fn is_credited(payment: &Payment) -> bool {
    ["paid", "partly_cancelled", "cancelled"].contains(&payment.state.as_str())
}

async fn sums(database: &DatabaseConnection, text: &str) -> BTreeMap<String, i64> {
    let sums: Vec<Sum> = read(database, text).await;
    sums.into_iter().map(|row| (row.name, row.sum)).collect()
}

async fn read<T: FromQueryResult>(database: &DatabaseConnection, text: &str) -> Vec<T> {
    let statement = Statement::from_string(database.get_database_backend(), text);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| T::from_query_result(row, "").unwrap())
        .collect()
}
