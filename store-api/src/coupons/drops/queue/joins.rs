//! Tickets, given out in batches: each in the order in which people came, under a number higher than all before.
//!
//! Bound: [`WAITING`] people; one more is `busy`. Gauge: `fireside_store_queue_joins_waiting`.

use std::collections::HashMap;

use parking_lot::Mutex;
use sea_orm::{FromQueryResult, Value};
use shared::id::UserId;
use tokio::sync::{Notify, futures::Notified, mpsc, oneshot, watch};

use super::{
    super::{claims::by, outcome::Lost},
    Ticket,
};
use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
};

/// How many people wait for a ticket.
const WAITING: usize = 16_384;
/// How many get one together.
const BATCH: usize = 512;

/// Where people come in.
pub(crate) struct Joins {
    sender: mpsc::Sender<Join>,
    receivers: Mutex<Option<mpsc::Receiver<Join>>>,
    joined: Notify,
}

/// Somebody wants a ticket.
pub(crate) struct Join {
    drop: String,
    person: UserId,
    answer: oneshot::Sender<Result<Ticket, Lost>>,
}

#[derive(FromQueryResult)]
struct Issued {
    issued: i64,
}

#[derive(FromQueryResult)]
struct Held {
    user_id: String,
    number: i64,
    admitted_until: Option<i64>,
}

impl Default for Joins {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            sender,
            receivers: Mutex::new(Some(receiver)),
            joined: Notify::new(),
        }
    }
}

impl Joins {
    /// For whoever gives the tickets out; once.
    pub(crate) fn open(&self) -> Option<mpsc::Receiver<Join>> {
        self.receivers.lock().take()
    }

    /// Waits until somebody got a ticket.
    pub(super) fn joined(&self) -> Notified<'_> {
        self.joined.notified()
    }

    /// A ticket for somebody, after it stands in the database.
    pub(super) async fn join(&self, drop: &str, person: &UserId) -> Result<Ticket, StoreError> {
        let (answer, answered) = oneshot::channel();
        let join = Join {
            drop: drop.to_owned(),
            person: person.clone(),
            answer,
        };
        if self.sender.try_send(join).is_err() {
            count("busy", 1);
            return Err(StoreError::Busy);
        }
        // Nobody answers when the store stops.
        let answer = answered.await.map_err(|_| StoreError::Busy)?;
        Ok(answer?)
    }
}

/// Gives out tickets until the store stops; those that are in are answered.
pub(crate) async fn enlist_all(
    store: Store,
    mut joins: mpsc::Receiver<Join>,
    mut stop: watch::Receiver<bool>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            _ = joins.recv_many(&mut batch, BATCH) => {}
            // Who comes later finds nobody.
            _ = stop.wait_for(|stop| *stop), if !joins.is_closed() => joins.close(),
        }
        if batch.is_empty() && joins.is_closed() && joins.is_empty() {
            return;
        }
        metrics::gauge!("fireside_store_queue_joins_waiting").set(joins.len() as f64);
        for (drop, joins) in by(batch.drain(..), |join| join.drop.clone()) {
            let people: Vec<&UserId> = joins.iter().map(|join| &join.person).collect();
            match enlist(&store, &drop, &people).await {
                Ok(tickets) => {
                    for (join, ticket) in joins.into_iter().zip(tickets) {
                        let _ = join.answer.send(Ok(ticket));
                    }
                }
                Err(error) => {
                    let lost = Lost::of(error);
                    count("failed", joins.len() as u64);
                    for join in joins {
                        let _ = join.answer.send(Err(lost.clone()));
                    }
                }
            }
        }
        store.joins().joined.notify_one();
    }
}

/// Tickets for people in their order, in one transaction, of which a drop has one at a time.
async fn enlist(store: &Store, drop: &str, people: &[&UserId]) -> Result<Vec<Ticket>, StoreError> {
    let tx = store.database().begin().await?;
    let lock = "UPDATE drop_queues SET issued = issued WHERE campaign = ? RETURNING issued";
    let issued: Option<Issued> = sql::one(&tx, lock, values![drop]).await?;
    let mut issued = issued.ok_or(StoreError::NotFound)?.issued;
    let now = store.now().as_millis();
    // Whose pass has lapsed may come again, at the end.
    let lapsed = "DELETE FROM drop_tickets WHERE campaign = ? AND admitted_until <= ?";
    let lapsed = sql::execute(&tx, lapsed, values![drop, now]).await?;
    let text = format!(
        "SELECT user_id, number, admitted_until FROM drop_tickets WHERE campaign = ? AND user_id IN {}",
        sql::list(people.len())
    );
    let mut values = values![drop];
    values.extend(people.iter().map(|person| Value::from(person.as_str())));
    let held: Vec<Held> = sql::all(&tx, &text, values).await?;
    let mut held: HashMap<String, Ticket> = held
        .into_iter()
        .map(|row| {
            let ticket = Ticket {
                number: row.number,
                admitted_until: row.admitted_until,
            };
            (row.user_id, ticket)
        })
        .collect();
    let mut rows = Vec::new();
    let mut tickets = Vec::with_capacity(people.len());
    for person in people {
        let ticket = *held.entry(person.to_string()).or_insert_with(|| {
            issued += 1;
            rows.push(values![drop, issued, person.as_str(), now]);
            Ticket {
                number: issued,
                admitted_until: None,
            }
        });
        tickets.push(ticket);
    }
    let new = rows.len();
    if new > 0 {
        let marks = vec![sql::list(4); new].join(", ");
        let insert = format!(
            "INSERT INTO drop_tickets (campaign, number, user_id, joined_at) VALUES {marks}"
        );
        sql::execute(&tx, &insert, rows.concat()).await?;
        let update = "UPDATE drop_queues SET issued = ? WHERE campaign = ?";
        sql::execute(&tx, update, values![issued, drop]).await?;
    }
    store.database().commit(tx).await?;
    super::count_gone("lapsed", lapsed);
    count("joined", new as u64);
    count("again", (people.len() - new) as u64);
    Ok(tickets)
}

fn count(result: &'static str, people: u64) {
    metrics::counter!("fireside_store_queue_joins_total", "result" => result).increment(people);
}
