//! The books, held to their rules.

use sea_orm::{DatabaseTransaction, FromQueryResult};

use crate::{error::StoreError, sql, store::Store};

/// What a look at the books found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerReport {
    /// How many accounts there are.
    pub accounts: u64,
    /// How many transfers.
    pub transfers: u64,
    /// What is wrong: nothing, if all is well.
    pub faults: Vec<LedgerFault>,
}

/// Something that cannot be, if nobody wrote to the tables by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerFault {
    /// The rule it breaks.
    pub rule: &'static str,
    /// What breaks it.
    pub what: String,
}

/// A rule, and a query for what breaks it.
struct Rule {
    name: &'static str,
    broken_by: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "every transfer sums to zero, in one currency",
        broken_by: "SELECT t.id AS what FROM transfers t \
            LEFT JOIN postings p ON p.transfer = t.id \
            LEFT JOIN ledger_accounts a ON a.id = p.account \
            GROUP BY t.id HAVING COALESCE(SUM(p.amount), 1) <> 0 OR COUNT(DISTINCT a.currency) <> 1",
    },
    Rule {
        name: "only the world outside owes",
        broken_by: "SELECT id AS what FROM ledger_accounts WHERE kind <> 'outside' AND balance < 0",
    },
    Rule {
        name: "a balance is the sum of its postings",
        broken_by: "SELECT a.id AS what FROM ledger_accounts a \
            LEFT JOIN postings p ON p.account = a.id \
            GROUP BY a.id, a.balance HAVING a.balance <> COALESCE(SUM(p.amount), 0)",
    },
    Rule {
        name: "a posting's balance is the sum up to it",
        broken_by: "SELECT account AS what FROM (SELECT account, balance, \
            SUM(amount) OVER (PARTITION BY account ORDER BY id) AS sum FROM postings) run \
            WHERE balance <> sum",
    },
    Rule {
        name: "the account of gift cards holds what is on cards that nobody redeemed, nor took back",
        broken_by: "SELECT a.id AS what FROM ledger_accounts a \
            LEFT JOIN gift_cards g ON g.currency = a.currency AND g.redeemed_at IS NULL AND g.voided_at IS NULL \
            WHERE a.kind = 'gift_cards' \
            GROUP BY a.id, a.balance HAVING a.balance <> COALESCE(SUM(g.amount), 0)",
    },
    Rule {
        name: "a gift card is redeemed by one transfer into the redeemer's wallet",
        broken_by: "SELECT g.id AS what FROM gift_cards g \
            LEFT JOIN transfers t ON t.cause = 'gift_card' AND t.reference = g.id \
            LEFT JOIN postings p ON p.transfer = t.id AND p.amount = g.amount \
                AND p.account = 'wallet:' || g.redeemed_by || ':' || g.currency \
            WHERE (g.redeemed_at IS NULL) <> (p.id IS NULL) OR (t.id IS NULL) <> (p.id IS NULL)",
    },
    Rule {
        name: "what was taken back of a batch of gift cards is one transfer to the world outside",
        broken_by: "SELECT COALESCE(t.reference, v.batch) AS what FROM \
            (SELECT substr(id, 1, 26) AS batch, currency, SUM(amount) AS amount FROM gift_cards \
             WHERE voided_at IS NOT NULL GROUP BY substr(id, 1, 26), currency) v \
            FULL JOIN (SELECT reference, id FROM transfers WHERE cause = 'gift_cards_voided') t ON t.reference = v.batch \
            LEFT JOIN postings p ON p.transfer = t.id AND p.amount = v.amount AND p.account = 'outside:' || v.currency \
            WHERE p.id IS NULL",
    },
    Rule {
        name: "an order is paid from its buyer's wallet, and its total is that of its lines",
        broken_by: "SELECT o.id AS what FROM orders o \
            LEFT JOIN postings p ON p.transfer = o.transfer \
                AND p.account = 'wallet:' || o.buyer || ':' || o.currency \
            LEFT JOIN order_lines l ON l.order_id = o.id \
            GROUP BY o.id, o.total, p.amount \
            HAVING o.total <> COALESCE(-p.amount, 0) OR o.total <> COALESCE(SUM(l.price), -1)",
    },
    Rule {
        name: "a purchase is of one order",
        broken_by: "SELECT t.id AS what FROM transfers t \
            LEFT JOIN orders o ON o.id = t.reference AND o.transfer = t.id \
            WHERE t.cause = 'purchase' AND o.id IS NULL",
    },
    Rule {
        name: "a line of an order is a licence of whom it was bought for, or given back, or waits for an answer",
        broken_by: "SELECT l.order_id || ' ' || l.game AS what FROM order_lines l \
            JOIN orders o ON o.id = l.order_id \
            LEFT JOIN gifts g ON g.order_id = o.id \
            LEFT JOIN library b ON b.game = l.game AND b.order_id = o.id \
                AND b.user_id = COALESCE(g.recipient, o.buyer) \
            WHERE (b.game IS NOT NULL) <> (l.refunded_at IS NULL AND COALESCE(g.state, 'accepted') = 'accepted') \
                OR (l.refunded_at IS NULL) <> (COALESCE(g.state, 'accepted') IN ('accepted', 'waiting')) \
                    AND g.order_id IS NOT NULL",
    },
    Rule {
        name: "a line that was given back is one transfer into its buyer's wallet",
        broken_by: "SELECT l.order_id || ' ' || l.game AS what FROM order_lines l \
            JOIN orders o ON o.id = l.order_id \
            LEFT JOIN transfers t ON t.cause = 'refund' AND t.reference = l.order_id || ':' || l.game \
            LEFT JOIN postings p ON p.transfer = t.id AND p.amount = l.price \
                AND p.account = 'wallet:' || o.buyer || ':' || o.currency \
            WHERE (l.refunded_at IS NOT NULL AND l.price > 0) <> (p.id IS NOT NULL) \
                OR (t.id IS NULL) <> (p.id IS NULL)",
    },
    Rule {
        name: "a refund is of one line",
        broken_by: "SELECT t.id AS what FROM transfers t \
            LEFT JOIN order_lines l ON t.reference = l.order_id || ':' || l.game \
            WHERE t.cause = 'refund' AND l.game IS NULL",
    },
    Rule {
        name: "what coupons took off an order is what its lines cost less",
        broken_by: "SELECT o.id AS what FROM orders o \
            LEFT JOIN (SELECT order_id, SUM(discount) AS off FROM order_coupons GROUP BY order_id) c ON c.order_id = o.id \
            LEFT JOIN (SELECT order_id, SUM(discount) AS off FROM order_lines GROUP BY order_id) l ON l.order_id = o.id \
            WHERE COALESCE(c.off, 0) <> COALESCE(l.off, 0)",
    },
    Rule {
        name: "a coupon is used by one order, of which something was kept",
        broken_by: "SELECT u.order_id || ' ' || u.coupon AS what FROM order_coupons u \
            LEFT JOIN coupons c ON c.id = u.coupon AND c.used_order = u.order_id \
            WHERE (c.id IS NOT NULL) <> EXISTS \
                (SELECT 1 FROM order_lines l WHERE l.order_id = u.order_id AND l.refunded_at IS NULL) \
            UNION ALL SELECT c.id AS what FROM coupons c \
            LEFT JOIN order_coupons u ON u.coupon = c.id AND u.order_id = c.used_order \
            WHERE c.used_order IS NOT NULL AND u.coupon IS NULL",
    },
    Rule {
        name: "a coupon is held by a payment of its owner's that can be paid, and used by nothing meanwhile",
        broken_by: "SELECT c.id AS what FROM coupons c \
            LEFT JOIN payments p ON p.id = c.held_by AND p.user_id = c.user_id AND p.purpose = 'order' \
                AND p.state IN ('created', 'ready', 'approving') \
            WHERE c.held_by IS NOT NULL AND (p.id IS NULL OR c.used_order IS NOT NULL)",
    },
    Rule {
        name: "no more coupons of a campaign are there than were given out",
        broken_by: "SELECT k.id AS what FROM campaigns k \
            LEFT JOIN coupons c ON c.campaign = k.id \
            GROUP BY k.id, k.issued, k.quantity HAVING COUNT(c.id) > k.issued OR k.issued > COALESCE(k.quantity, k.issued)",
    },
    Rule {
        name: "every licence is a line of an order for its owner",
        broken_by: "SELECT b.user_id || ' ' || b.game AS what FROM library b \
            LEFT JOIN order_lines l ON l.order_id = b.order_id AND l.game = b.game \
            LEFT JOIN orders o ON o.id = l.order_id \
            LEFT JOIN gifts g ON g.order_id = o.id \
            WHERE o.id IS NULL OR b.user_id <> COALESCE(g.recipient, o.buyer)",
    },
    Rule {
        name: "a payment that was paid is one transfer from its provider into its payer's wallet",
        broken_by: "SELECT p.id AS what FROM payments p \
            LEFT JOIN transfers t ON t.cause = 'top_up' AND t.reference = p.id \
            LEFT JOIN postings w ON w.transfer = t.id AND w.amount = p.amount \
                AND w.account = 'wallet:' || p.user_id || ':' || p.currency \
            LEFT JOIN postings o ON o.transfer = t.id AND o.amount = -p.amount \
                AND o.account = 'outside:' || p.provider || ':' || p.currency \
            WHERE (p.state IN ('paid', 'partly_cancelled', 'cancelled')) \
                    <> (w.id IS NOT NULL AND o.id IS NOT NULL) \
                OR (t.id IS NULL) <> (w.id IS NULL)",
    },
    Rule {
        name: "a payment for an order bought it, or says why not",
        broken_by: "SELECT p.id AS what FROM payments p LEFT JOIN orders o ON o.id = p.order_id \
            AND o.buyer = p.user_id AND o.total = p.amount AND o.currency = p.currency \
            WHERE (p.order_id IS NOT NULL AND (o.id IS NULL OR p.purpose <> 'order')) \
                OR (p.purpose = 'order' AND p.order_id IS NULL AND p.failure IS NULL \
                    AND p.state IN ('paid', 'partly_cancelled', 'cancelled'))",
    },
    Rule {
        name: "a top-up is of one payment",
        broken_by: "SELECT t.id AS what FROM transfers t LEFT JOIN payments p ON p.id = t.reference \
            WHERE t.cause = 'top_up' AND p.id IS NULL",
    },
    Rule {
        name: "what is to be paid back leaves the wallet, and goes to the provider or comes back",
        broken_by: "SELECT c.id AS what FROM payment_cancels c \
            JOIN payments p ON p.id = c.payment \
            LEFT JOIN transfers a ON a.cause = 'payment_cancel' AND a.reference = c.id \
            LEFT JOIN postings w ON w.transfer = a.id AND w.amount = -c.amount \
                AND w.account = 'wallet:' || p.user_id || ':' || p.currency \
            LEFT JOIN transfers d ON d.cause = 'payment_cancelled' AND d.reference = c.id \
            LEFT JOIN postings o ON o.transfer = d.id AND o.amount = c.amount \
                AND o.account = 'outside:' || p.provider || ':' || p.currency \
            LEFT JOIN transfers r ON r.cause = 'payment_cancel_refused' AND r.reference = c.id \
            LEFT JOIN postings b ON b.transfer = r.id AND b.amount = c.amount \
                AND b.account = 'wallet:' || p.user_id || ':' || p.currency \
            WHERE w.id IS NULL OR (d.id IS NULL) <> (o.id IS NULL) OR (r.id IS NULL) <> (b.id IS NULL) \
                OR (c.state = 'done') <> (o.id IS NOT NULL) \
                OR (c.state = 'refused') <> (b.id IS NOT NULL)",
    },
    Rule {
        name: "what is paid back is of one cancel of a payment",
        broken_by: "SELECT t.id AS what FROM transfers t \
            LEFT JOIN payment_cancels c ON c.id = t.reference \
            WHERE t.cause IN ('payment_cancel', 'payment_cancelled', 'payment_cancel_refused') \
                AND c.id IS NULL",
    },
    Rule {
        name: "what leaves is what providers were asked to pay back, and have not answered",
        broken_by: "SELECT a.id AS what FROM ledger_accounts a \
            LEFT JOIN payments p ON p.currency = a.currency \
            WHERE a.kind = 'leaving' \
            GROUP BY a.id, a.balance HAVING a.balance <> COALESCE(SUM(p.cancelling), 0)",
    },
    Rule {
        name: "a payment knows what of it was paid back, and its state says so",
        broken_by: "SELECT p.id AS what FROM payments p \
            LEFT JOIN payment_cancels c ON c.payment = p.id \
            GROUP BY p.id, p.state, p.amount, p.cancelled, p.cancelling \
            HAVING p.cancelled <> COALESCE(SUM(CASE WHEN c.state = 'done' THEN c.amount END), 0) \
                OR p.cancelling <> COALESCE(SUM(CASE WHEN c.state = 'asked' THEN c.amount END), 0) \
                OR (p.state = 'cancelled') <> (p.cancelled = p.amount) \
                OR (p.state = 'partly_cancelled') <> (p.cancelled > 0 AND p.cancelled < p.amount)",
    },
];

#[derive(FromQueryResult)]
struct Broken {
    what: String,
}

#[derive(FromQueryResult)]
struct Size {
    accounts: i64,
    transfers: i64,
}

impl Store {
    /// Holds the books to their rules, as they stand at one moment; money may move meanwhile.
    pub async fn check_ledger(&self) -> Result<LedgerReport, StoreError> {
        let tx = self.database().begin_snapshot().await?;
        let size: Option<Size> = sql::one(
            &tx,
            "SELECT (SELECT COUNT(*) FROM ledger_accounts) AS accounts, \
                    (SELECT COUNT(*) FROM transfers) AS transfers",
            Vec::new(),
        )
        .await?;
        let mut faults = Vec::new();
        for rule in RULES {
            faults.extend(broken(&tx, rule).await?);
        }
        tx.rollback().await?;
        let count = |number: Option<i64>| number.unwrap_or(0).unsigned_abs();
        Ok(LedgerReport {
            accounts: count(size.as_ref().map(|size| size.accounts)),
            transfers: count(size.as_ref().map(|size| size.transfers)),
            faults,
        })
    }
}

async fn broken(tx: &DatabaseTransaction, rule: &Rule) -> Result<Vec<LedgerFault>, StoreError> {
    let rows: Vec<Broken> = sql::all(tx, rule.broken_by, Vec::new()).await?;
    let faults = rows.into_iter().map(|row| LedgerFault {
        rule: rule.name,
        what: row.what,
    });
    Ok(faults.collect())
}
