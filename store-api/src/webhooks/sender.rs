//! Sends what is written down. A webhook is leased by one process at a time, for as long as an attempt
//! may take and a little more; who holds the lease sends it a few events at once, each the oldest of
//! its subject, writes down what that came to, and lets go.
//!
//! At least once: who is killed in between leaves a lease that lapses, and the events as they were.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::json;
use shared::id::Timestamp;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use ulid::Ulid;
use url::Url;

use super::{
    Disabled,
    client::{Letter, Verdict},
    standing::{Standing, event_pause},
};
use crate::{
    error::StoreError,
    notices::{News, Topic},
    sql::{self, values},
    store::{Store, stored_id},
};

/// How often to look for what is due, without having been woken.
const POLL: Duration = Duration::from_millis(500);
/// Webhooks that are sent to at the same time: one that hangs holds up none but itself.
const AT_ONCE: usize = 32;
/// Events that one webhook is sent at the same time; a single one while nobody is there.
const BATCH: i64 = 16;
/// How much longer a lease holds than an attempt may take.
const MARGIN: Duration = Duration::from_secs(10);
/// How long what is under way may take once all is to stop.
const LAST_MOMENTS: Duration = Duration::from_secs(3);

/// An event that may be sent: it is due, and the oldest of its subject.
const READY: &str = "d.state = 'waiting' AND d.next_at <= ? AND NOT EXISTS \
    (SELECT 1 FROM webhook_deliveries b WHERE b.webhook = d.webhook AND b.subject = d.subject \
    AND b.state = 'waiting' AND b.seq < d.seq)";

/// Sends in the name of one process.
#[derive(Clone)]
struct Sender {
    store: Store,
    /// Its leases' names begin so.
    name: Arc<str>,
}

#[derive(FromQueryResult)]
struct Due {
    id: String,
}

/// A webhook as it stands when it is leased.
#[derive(FromQueryResult)]
struct Leased {
    id: String,
    url: String,
    created_by: String,
    secret: i64,
    secret_hash: String,
    previous_until: Option<i64>,
    failing_since: Option<i64>,
    failures: i64,
}

#[derive(FromQueryResult)]
struct Event {
    seq: i64,
    message: String,
    body: String,
    attempts: i64,
    give_up_at: i64,
    created_at: i64,
}

#[derive(FromQueryResult)]
struct There {
    id: String,
}

/// Sends events until `stop` turns true; what is not sent then is sent after the next start.
pub(crate) async fn send_webhooks(store: Store, mut stop: watch::Receiver<bool>) {
    let sender = Sender {
        name: Ulid::new().to_string().into(),
        store,
    };
    if !sender.store.database().is_shared() {
        // The only process on this database: whoever held a lease is gone.
        if let Err(error) = sender.let_go("").await {
            tracing::warn!(%error, "letting go of webhooks");
        }
    }
    let mut at_work = JoinSet::new();
    let mut next_poll = Instant::now();
    while !*stop.borrow() {
        if at_work.len() < AT_ONCE && Instant::now() >= next_poll {
            next_poll = Instant::now() + POLL;
            match sender.due(AT_ONCE - at_work.len()).await {
                Ok(due) => {
                    for id in due {
                        let sender = sender.clone();
                        at_work.spawn(async move { sender.send_to(&id).await });
                    }
                }
                Err(error) => tracing::warn!(%error, "looking for webhooks to send"),
            }
        }
        let room = at_work.len() < AT_ONCE;
        tokio::select! {
            () = sleep_until(next_poll), if room => {}
            () = sender.store.webhooks().wake.notified(), if room => next_poll = Instant::now(),
            Some(sent) = at_work.join_next(), if !at_work.is_empty() => {
                // There may be more for the same one.
                if matches!(sent, Ok(true)) {
                    next_poll = Instant::now();
                }
            }
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
    let rest = async { while at_work.join_next().await.is_some() {} };
    if timeout(LAST_MOMENTS, rest).await.is_err() {
        at_work.shutdown().await;
        if let Err(error) = sender.let_go(&sender.name).await {
            tracing::warn!(%error, "letting go of webhooks");
        }
    }
}

impl Sender {
    /// Lets go of all webhooks whose leases' names begin so.
    async fn let_go(&self, name: &str) -> Result<(), StoreError> {
        let tx = self.store.database().begin().await?;
        let update = "UPDATE webhooks SET leased_by = NULL, leased_until = 0 \
                      WHERE leased_by LIKE ?";
        sql::execute(&tx, update, values![format!("{name}%")]).await?;
        self.store.database().commit(tx).await?;
        Ok(())
    }

    /// Webhooks for which something may be sent and nobody sends, who was served last at the end.
    async fn due(&self, room: usize) -> Result<Vec<String>, StoreError> {
        let now = self.store.now().as_millis();
        let text = format!(
            "SELECT w.id FROM webhooks w WHERE w.disabled IS NULL AND w.next_at <= ? AND w.leased_until <= ? \
             AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook = w.id AND {READY}) \
             ORDER BY w.leased_until, w.id LIMIT ?"
        );
        let values = values![now, now, now, room as i64];
        let due: Vec<Due> = sql::all(self.store.database().reader(), &text, values).await?;
        Ok(due.into_iter().map(|row| row.id).collect())
    }

    /// Sends a webhook what is due, if nobody else does; whether something was taken.
    async fn send_to(&self, id: &str) -> bool {
        match self.try_send_to(id).await {
            Ok(taken) => taken,
            Err(error) => {
                // It is due again once the lease has lapsed.
                tracing::warn!(webhook = id, %error, "a webhook waits");
                false
            }
        }
    }

    async fn try_send_to(&self, id: &str) -> Result<bool, StoreError> {
        let lease = format!("{}-{}", self.name, Ulid::new());
        let Some((webhook, events)) = self.lease(id, &lease).await? else {
            return Ok(false);
        };
        let attempts = events.iter().map(|event| self.attempt(&webhook, event));
        let verdicts = join_all(attempts).await;
        let taken = verdicts
            .iter()
            .any(|verdict| matches!(verdict, Verdict::Delivered(_)));
        let outcomes: Vec<_> = events.iter().zip(&verdicts).collect();
        self.conclude(&webhook, &lease, &outcomes).await?;
        Ok(taken)
    }

    /// Takes a webhook that nobody sends to, and what is to be sent there. No crash of the database can undo
    /// that any more: it was seen by who wrote the lease, and is on disk with it.
    async fn lease(
        &self,
        id: &str,
        lease: &str,
    ) -> Result<Option<(Leased, Vec<Event>)>, StoreError> {
        let now = self.store.now();
        let span = self.store.webhooks().timings.timeout + MARGIN;
        let until = now.plus_millis(span.as_millis() as i64);
        let tx = self.store.database().begin().await?;
        let leased: Option<Leased> = sql::one(
            &tx,
            "UPDATE webhooks SET leased_by = ?, leased_until = ? \
             WHERE id = ? AND leased_until <= ? AND disabled IS NULL RETURNING id, url, created_by, \
             secret, secret_hash, previous_until, failing_since, failures",
            values![lease, until.as_millis(), id, now.as_millis()],
        )
        .await?;
        let Some(leased) = leased else {
            tx.rollback().await?;
            return Ok(None);
        };
        let events = self.ready(&tx, &leased).await?;
        self.store.database().commit(tx).await?;
        Ok(Some((leased, events)))
    }

    async fn ready(
        &self,
        tx: &DatabaseTransaction,
        webhook: &Leased,
    ) -> Result<Vec<Event>, StoreError> {
        // Where nobody was there, one knocks: with what was tried least, so that an event by which
        // somebody is made to hang does not stand before all others.
        let (order, most) = if webhook.failures == 0 {
            ("d.seq", BATCH)
        } else {
            ("d.attempts, d.seq", 1)
        };
        let text = format!(
            "SELECT d.seq, d.message, d.body, d.attempts, d.give_up_at, d.created_at \
             FROM webhook_deliveries d WHERE d.webhook = ? AND {READY} ORDER BY {order} LIMIT ?"
        );
        let values = values![webhook.id.as_str(), self.store.now().as_millis(), most];
        Ok(sql::all(tx, &text, values).await?)
    }

    async fn attempt(&self, webhook: &Leased, event: &Event) -> Verdict {
        let verdict = self.attempted(webhook, event).await;
        let result = match &verdict {
            Verdict::Delivered(_) => "delivered",
            Verdict::Refused(_) => "refused",
            Verdict::Away { .. } => "away",
            Verdict::Gone(_) => "gone",
        };
        metrics::counter!("fireside_store_webhook_attempts_total", "result" => result).increment(1);
        verdict
    }

    async fn attempted(&self, webhook: &Leased, event: &Event) -> Verdict {
        let away = |outcome: &str| Verdict::Away {
            outcome: outcome.to_owned(),
            pause: None,
        };
        let secrets = &self.store.webhooks().secrets;
        let secret = secrets.secret(&webhook.id, webhook.secret);
        if secret.hash() != webhook.secret_hash {
            // The store has another key than when it told the secret.
            return away("secret");
        }
        let Ok(url) = Url::parse(&webhook.url) else {
            return away("address");
        };
        let now = self.store.now().as_millis();
        let second = now / 1000;
        let mut signatures = secret.sign(&event.message, second, &event.body);
        if webhook.previous_until.is_some_and(|until| until > now) {
            let previous = secrets.secret(&webhook.id, webhook.secret - 1);
            signatures.push(' ');
            signatures.push_str(&previous.sign(&event.message, second, &event.body));
        }
        let letter = Letter {
            id: &event.message,
            second,
            signatures,
            body: event.body.clone(),
        };
        self.store.webhooks().courier.hand_over(&url, letter).await
    }

    /// Writes down what attempts came to, unless the lease was lost over them: then somebody else
    /// makes them again.
    async fn conclude(
        &self,
        webhook: &Leased,
        lease: &str,
        outcomes: &[(&Event, &Verdict)],
    ) -> Result<(), StoreError> {
        let now = self.store.now();
        let verdicts: Vec<&Verdict> = outcomes.iter().map(|(_, verdict)| *verdict).collect();
        let state = Standing::after(
            (webhook.failing_since, webhook.failures),
            &verdicts,
            now,
            self.store.webhooks().timings.disable_after,
        );
        let tx = self.store.database().begin().await?;
        // The webhook first: whoever changes both locks them in this order.
        let kept = sql::execute(
            &tx,
            "UPDATE webhooks SET failing_since = ?, failures = ?, next_at = ?, \
             disabled = COALESCE(disabled, ?), leased_by = NULL, leased_until = ? \
             WHERE id = ? AND leased_by = ?",
            values![
                state.failing_since,
                state.failures,
                state.next_at,
                state.disabled.map(|why| why.word().to_owned()),
                now.as_millis(),
                webhook.id.as_str(),
                lease
            ],
        )
        .await?;
        if kept == 0 {
            tracing::warn!(
                webhook = webhook.id,
                "a webhook was deleted or took too long"
            );
            return Ok(());
        }
        let mut done = Vec::new();
        for (event, verdict) in outcomes {
            done.extend(self.note_outcome(&tx, event, verdict, now).await?);
        }
        if let Some(why) = state.disabled {
            let bury = "UPDATE webhook_deliveries SET state = 'dead', done_at = ? \
                        WHERE webhook = ? AND state = 'waiting'";
            let values = values![now.as_millis(), webhook.id.as_str()];
            let buried = sql::execute(&tx, bury, values).await?;
            done.push(("dead", buried));
            self.tell_disabled(&tx, webhook, why).await?;
        }
        self.store.commit(tx).await?;
        for (result, count) in done {
            metrics::counter!("fireside_store_webhook_deliveries_total", "result" => result)
                .increment(count);
        }
        if let Some(why) = state.disabled {
            tracing::warn!(
                webhook = webhook.id,
                why = why.word(),
                "a webhook is disabled"
            );
            metrics::counter!("fireside_store_webhooks_disabled_total", "reason" => why.word())
                .increment(1);
        }
        Ok(())
    }

    /// Writes down what became of one event, and gives what to count of it.
    async fn note_outcome(
        &self,
        tx: &DatabaseTransaction,
        event: &Event,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Option<(&'static str, u64)>, StoreError> {
        let now = now.as_millis();
        let (outcome, state) = match verdict {
            Verdict::Delivered(outcome) => (outcome, "delivered"),
            Verdict::Refused(outcome) | Verdict::Gone(outcome) | Verdict::Away { outcome, .. }
                if event.give_up_at <= now =>
            {
                (outcome, "dead")
            }
            Verdict::Refused(outcome) | Verdict::Gone(outcome) | Verdict::Away { outcome, .. } => {
                (outcome, "waiting")
            }
        };
        let failed = i64::from(state != "delivered");
        let attempts = event.attempts + failed;
        let next = now + event_pause(attempts).as_millis() as i64;
        let done = (state != "waiting").then_some(now);
        sql::execute(
            tx,
            "UPDATE webhook_deliveries SET state = ?, attempts = ?, outcome = ?, next_at = ?, \
             done_at = ? WHERE seq = ?",
            values![state, attempts, outcome.as_str(), next, done, event.seq],
        )
        .await?;
        if state == "delivered" {
            let waited = (now - event.created_at).max(0) as f64 / 1e3;
            metrics::histogram!("fireside_store_webhook_lag_seconds").record(waited);
        }
        Ok(done.map(|_| (state, 1)))
    }

    /// Tells whoever registered a webhook that nothing is sent to it any more.
    async fn tell_disabled(
        &self,
        tx: &DatabaseTransaction,
        webhook: &Leased,
        why: Disabled,
    ) -> Result<(), StoreError> {
        let there: Option<There> = sql::one(
            tx,
            "SELECT id FROM users WHERE id = ? AND withdrawn_at IS NULL",
            values![webhook.created_by.as_str()],
        )
        .await?;
        let Some(There { id }) = there else {
            return Ok(());
        };
        let url = Url::parse(&webhook.url).ok();
        let host = url.as_ref().and_then(Url::host_str);
        let news = News {
            user: stored_id(&id)?,
            topic: Topic::WebhookDisabled,
            data: json!({"webhook": webhook.id, "host": host, "reason": why.word()}),
        };
        self.store.tell(tx, vec![news]).await
    }
}
