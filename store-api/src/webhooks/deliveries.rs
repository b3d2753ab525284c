//! What was sent, what waits, and what was given up: looking at it, and sending it again.

use sea_orm::{ConnectionTrait, FromQueryResult};
use serde_json::json;
use shared::id::{Timestamp, UserId};

use super::endpoints::{Webhook, about, find};
use crate::{
    audit::Deed,
    catalogue::Keeper,
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

/// The most dead letters that one request sends again.
const MOST_AT_ONCE: i64 = 10_000;

/// How an event stands with a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be sent, for the first time or again.
    Waiting,
    /// Taken.
    Delivered,
    /// Given up: a dead letter.
    Dead,
}

/// An event for a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name, the `webhook-id` of every attempt.
    pub id: String,
    /// The word of its kind.
    pub kind: String,
    /// What it is about: an order or a person.
    pub subject: String,
    /// How it stands.
    pub state: DeliveryState,
    /// Attempts that failed since it was written or asked for again.
    pub attempts: u64,
    /// What the last attempt came to: a status, or `timeout`, `connection`, `address`, `secret`.
    pub outcome: Option<String>,
    /// When it happened.
    pub created_at: Timestamp,
    /// Before when it is not sent, if it waits.
    pub next_at: Option<Timestamp>,
    /// When it was taken or given up.
    pub done_at: Option<Timestamp>,
}

/// What became of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// How many are sent again.
    pub replayed: u64,
    /// How many are left, for another request.
    pub left: u64,
}

#[derive(FromQueryResult)]
struct Row {
    seq: i64,
    message: String,
    kind: String,
    subject: String,
    state: String,
    attempts: i64,
    outcome: Option<String>,
    created_at: i64,
    next_at: i64,
    done_at: Option<i64>,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

#[derive(FromQueryResult)]
struct StateCount {
    state: String,
    count: i64,
}

const DELIVERY: &str = "SELECT seq, message, kind, subject, state, attempts, outcome, created_at, next_at, done_at \
    FROM webhook_deliveries";

/// What makes a delivery wait again as it did when it was written.
const AFRESH: &str = "UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, next_at = ?, \
    give_up_at = ?, done_at = NULL";

impl DeliveryState {
    const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// The state of this word.
    pub fn parse(word: &str) -> Result<Self, Violation> {
        Self::ALL
            .into_iter()
            .find(|state| state.word() == word)
            .ok_or(Violation::new(
                "state",
                "unknown",
                "`waiting`, `delivered` or `dead`",
            ))
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl Store {
    /// What was written for a webhook, the newest first; all of it, or what stands so.
    pub async fn webhook_deliveries(
        &self,
        keeper: Keeper<'_>,
        webhook: &str,
        state: Option<DeliveryState>,
        page: &PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        let db = self.database().reader();
        find(db, keeper, webhook).await?;
        let mut text = format!("{DELIVERY} WHERE webhook = ?");
        let mut values = values![webhook];
        if let Some(state) = state {
            text.push_str(" AND state = ?");
            values.push(state.word().into());
        }
        if let Some(before) = page.after_number()? {
            text.push_str(" AND seq < ?");
            values.push(before.into());
        }
        text.push_str(" ORDER BY seq DESC LIMIT ?");
        values.push((page.fetch() as i64).into());
        let rows: Vec<Row> = sql::all(db, &text, values).await?;
        Ok(page.cut(rows, |row| row.seq.to_string()).map(read))
    }

    /// Sends a webhook something that tells of nothing.
    pub async fn ping_webhook(
        &self,
        keeper: Keeper<'_>,
        webhook: &str,
    ) -> Result<Delivery, StoreError> {
        let tx = self.database().begin().await?;
        check_enabled(&find(&tx, keeper, webhook).await?)?;
        let message = self.publish_ping(&tx, webhook).await?;
        let delivery = delivery(&tx, webhook, &message).await?;
        self.commit(tx).await?;
        Ok(delivery)
    }

    /// Sends an event again under its id, whether it was taken or given up; one that waits is sent
    /// at once.
    pub async fn replay_delivery(
        &self,
        keeper: Keeper<'_>,
        by: &UserId,
        webhook: &str,
        message: &str,
    ) -> Result<Delivery, StoreError> {
        let tx = self.database().begin().await?;
        let of = find(&tx, keeper, webhook).await?;
        check_enabled(&of)?;
        // The webhook first, as whoever sends locks them.
        self.hasten(&tx, webhook).await?;
        let [now, give_up] = self.lifetime();
        let update = format!("{AFRESH} WHERE webhook = ? AND message = ?");
        let found = sql::execute(&tx, &update, values![now, give_up, webhook, message]).await?;
        if found == 0 {
            return Err(StoreError::NotFound);
        }
        let mut details = about(&of);
        details["delivery"] = json!(message);
        self.record_webhook(&tx, Deed::WebhookReplayed, by, details)
            .await?;
        let delivery = delivery(&tx, webhook, message).await?;
        self.webhooks().note();
        self.commit(tx).await?;
        Ok(delivery)
    }

    /// Sends the dead letters of a webhook again, the oldest first.
    pub async fn replay_dead(
        &self,
        keeper: Keeper<'_>,
        by: &UserId,
        webhook: &str,
    ) -> Result<Replayed, StoreError> {
        let tx = self.database().begin().await?;
        let of = find(&tx, keeper, webhook).await?;
        check_enabled(&of)?;
        self.hasten(&tx, webhook).await?;
        let [now, give_up] = self.lifetime();
        let update = format!(
            "{AFRESH} WHERE seq IN (SELECT seq FROM webhook_deliveries \
             WHERE webhook = ? AND state = 'dead' ORDER BY seq LIMIT ?)"
        );
        let values = values![now, give_up, webhook, MOST_AT_ONCE];
        let replayed = sql::execute(&tx, &update, values).await?;
        let left: Option<Count> = sql::one(
            &tx,
            "SELECT COUNT(*) AS count FROM webhook_deliveries WHERE webhook = ? AND state = 'dead'",
            values![webhook],
        )
        .await?;
        let mut details = about(&of);
        details["deliveries"] = json!(replayed);
        self.record_webhook(&tx, Deed::WebhookReplayed, by, details)
            .await?;
        self.webhooks().note();
        self.commit(tx).await?;
        Ok(Replayed {
            replayed,
            left: left.map_or(0, |row| row.count.unsigned_abs()),
        })
    }

    /// Has a webhook tried at once, whatever it answered before.
    async fn hasten(&self, db: &impl ConnectionTrait, webhook: &str) -> Result<(), StoreError> {
        let update = "UPDATE webhooks SET next_at = 0 WHERE id = ?";
        sql::execute(db, update, values![webhook]).await?;
        Ok(())
    }

    /// From when until when something is tried that is to be sent now.
    fn lifetime(&self) -> [i64; 2] {
        let now = self.now().as_millis();
        [
            now,
            now + self.webhooks().timings.lifetime.as_millis() as i64,
        ]
    }

    /// Forgets what is older than is kept, and what nobody is left for; and shows how much there is.
    pub(crate) async fn forget_old_deliveries(&self) -> Result<(), StoreError> {
        let keep = self.webhooks().timings.keep.as_millis() as i64;
        let oldest = self.now().as_millis() - keep;
        let tx = self.database().begin().await?;
        // By the time at which it is given up, which is as long after it was written or asked for again.
        let delete = "DELETE FROM webhook_deliveries WHERE give_up_at < ? \
                      OR webhook NOT IN (SELECT id FROM webhooks)";
        sql::execute(&tx, delete, values![oldest]).await?;
        self.database().commit(tx).await?;
        let counts: Vec<StateCount> = sql::all(
            self.database().reader(),
            "SELECT state, COUNT(*) AS count FROM webhook_deliveries \
             WHERE state IN ('waiting', 'dead') GROUP BY state",
            Vec::new(),
        )
        .await?;
        for state in [DeliveryState::Waiting, DeliveryState::Dead] {
            let count = counts.iter().find(|row| row.state == state.word());
            metrics::gauge!("fireside_store_webhook_deliveries_pending", "state" => state.word())
                .set(count.map_or(0, |row| row.count) as f64);
        }
        Ok(())
    }
}

async fn delivery(
    db: &impl ConnectionTrait,
    webhook: &str,
    message: &str,
) -> Result<Delivery, StoreError> {
    let text = format!("{DELIVERY} WHERE webhook = ? AND message = ?");
    let row: Option<Row> = sql::one(db, &text, values![webhook, message]).await?;
    row.map(read).ok_or(StoreError::NotFound)
}

fn check_enabled(webhook: &Webhook) -> Result<(), StoreError> {
    if webhook.disabled.is_none() {
        return Ok(());
    }
    let message = "the webhook is disabled: enable it first";
    Err(StoreError::Conflict {
        message,
        violations: vec![Violation::new("id", "disabled", message)],
    })
}

fn read(row: Row) -> Delivery {
    let state = DeliveryState::parse(&row.state).unwrap_or(DeliveryState::Dead);
    let waits = state == DeliveryState::Waiting;
    Delivery {
        id: row.message,
        kind: row.kind,
        subject: row.subject,
        state,
        attempts: row.attempts.unsigned_abs(),
        outcome: row.outcome,
        created_at: Timestamp::from_millis(row.created_at),
        next_at: waits.then(|| Timestamp::from_millis(row.next_at)),
        done_at: row.done_at.map(Timestamp::from_millis),
    }
}
