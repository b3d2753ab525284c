//! Writing events down for those who subscribed, in the transaction of what they tell.

use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

use humantime_serde::re::humantime::format_rfc3339_millis;
use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::{Value, json};
use shared::id::{Timestamp, UserId};
use ulid::Ulid;

use super::EventKind;
use crate::{
    error::StoreError,
    money::Money,
    orders::Order,
    sql::{self, values},
    store::Store,
};

/// Something that happened to an order.
pub(crate) struct OrderEvent<'a> {
    pub(crate) kind: EventKind,
    pub(crate) order: &'a Order,
    /// Who paid, and who is paid back.
    pub(crate) payer: &'a UserId,
    /// The games that it is about; all of the order when none.
    pub(crate) games: Option<&'a BTreeSet<String>>,
}

/// An event for one webhook.
struct Letter {
    webhook: String,
    body: String,
}

#[derive(FromQueryResult)]
struct Subscriber {
    id: String,
    publisher: Option<String>,
}

#[derive(FromQueryResult)]
struct Line {
    game: String,
    title: String,
    price: i64,
    store_share: i64,
    publisher: String,
}

impl Store {
    /// Writes down what happened to an order. Its lines have to be written before.
    pub(crate) async fn publish_order(
        &self,
        tx: &DatabaseTransaction,
        event: &OrderEvent<'_>,
    ) -> Result<(), StoreError> {
        let order = event.order.id.as_str();
        let subscribers: Vec<Subscriber> = sql::all(
            tx,
            "SELECT id, publisher FROM webhooks WHERE disabled IS NULL AND kinds LIKE ? \
             AND (publisher IS NULL OR publisher IN (SELECT g.publisher FROM order_lines l \
             JOIN games g ON g.id = l.game WHERE l.order_id = ?)) ORDER BY id",
            values![pattern(event.kind), order],
        )
        .await?;
        if subscribers.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<Line> = sql::all(
            tx,
            "SELECT l.game, l.title, l.price, l.store_share, g.publisher FROM order_lines l \
             JOIN games g ON g.id = l.game WHERE l.order_id = ? ORDER BY l.game",
            values![order],
        )
        .await?;
        lines.retain(|line| event.games.is_none_or(|games| games.contains(&line.game)));
        let now = self.now();
        let mut letters = Vec::with_capacity(subscribers.len());
        for Subscriber { id, publisher } in subscribers {
            let theirs = |line: &&Line| publisher.as_ref().is_none_or(|p| *p == line.publisher);
            let theirs: Vec<&Line> = lines.iter().filter(theirs).collect();
            if theirs.is_empty() {
                continue;
            }
            let data = told(event, &theirs, publisher.is_none());
            letters.push(Letter {
                webhook: id,
                body: body(event.kind, now, &data),
            });
        }
        self.write_letters(tx, event.kind, order, &Ulid::new().to_string(), letters)
            .await
    }

    /// Writes down that an account is no more.
    pub(crate) async fn publish_withdrawal(
        &self,
        tx: &DatabaseTransaction,
        user: &UserId,
    ) -> Result<(), StoreError> {
        let kind = EventKind::UserWithdrawn;
        let subscribers: Vec<Subscriber> = sql::all(
            tx,
            "SELECT id, publisher FROM webhooks \
             WHERE disabled IS NULL AND kinds LIKE ? AND publisher IS NULL ORDER BY id",
            values![pattern(kind)],
        )
        .await?;
        let body = body(kind, self.now(), &json!({"user": user}));
        let letters = subscribers.into_iter().map(|subscriber| Letter {
            webhook: subscriber.id,
            body: body.clone(),
        });
        let letters = letters.collect();
        self.write_letters(tx, kind, user.as_str(), &Ulid::new().to_string(), letters)
            .await
    }

    /// Writes a ping for one webhook, and gives its id.
    pub(super) async fn publish_ping(
        &self,
        tx: &DatabaseTransaction,
        webhook: &str,
    ) -> Result<String, StoreError> {
        let message = Ulid::new().to_string();
        let letter = Letter {
            webhook: webhook.to_owned(),
            body: body(EventKind::Ping, self.now(), &json!({"webhook": webhook})),
        };
        // A subject of its own: it waits for nothing.
        self.write_letters(tx, EventKind::Ping, &message, &message, vec![letter])
            .await?;
        Ok(message)
    }

    async fn write_letters(
        &self,
        tx: &DatabaseTransaction,
        kind: EventKind,
        subject: &str,
        message: &str,
        letters: Vec<Letter>,
    ) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        let now = self.now().as_millis();
        let give_up = now + self.webhooks().timings.lifetime.as_millis() as i64;
        // In pieces: many publishers may have a game in one order.
        for piece in letters.chunks(100) {
            let rows = piece.iter().flat_map(|letter| {
                values![
                    letter.webhook.as_str(),
                    message,
                    kind.word(),
                    subject,
                    letter.body.as_str(),
                    now,
                    give_up,
                    now
                ]
            });
            let marks = vec![sql::list(8); piece.len()].join(", ");
            let insert = format!(
                "INSERT INTO webhook_deliveries \
                 (webhook, message, kind, subject, body, next_at, give_up_at, created_at) VALUES {marks}"
            );
            sql::execute(tx, &insert, rows.collect()).await?;
        }
        self.webhooks().note();
        Ok(())
    }
}

fn pattern(kind: EventKind) -> String {
    format!("% {} %", kind.word())
}

/// The body of an event, as the Standard Webhooks convention has it.
fn body(kind: EventKind, at: Timestamp, data: &Value) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at.as_millis().unsigned_abs());
    let at = format_rfc3339_millis(at).to_string();
    json!({"type": kind.word(), "timestamp": at, "data": data}).to_string()
}

/// What is told of an order: to those who run the store with the people it is about, to a publisher
/// what of it is the publisher's, and nobody's name.
fn told(event: &OrderEvent<'_>, lines: &[&Line], with_people: bool) -> Value {
    let order = event.order;
    let money = |minor: i64| {
        let money = Money::new(minor, order.total.currency());
        json!({
            "minor": money.minor(), "currency": money.currency().code(),
            "exponent": money.currency().exponent(),
        })
    };
    let earned = |line: &Line| line.price - line.store_share;
    let spelled = lines.iter().map(|line| {
        json!({
            "game": line.game, "title": line.title, "price": money(line.price),
            "earned": money(earned(line)),
        })
    });
    let mut data = json!({
        "order": order.id, "country": order.country.code(),
        "gift": order.gift_for.is_some(),
        "lines": spelled.collect::<Vec<_>>(),
        "amount": money(lines.iter().map(|line| line.price).sum()),
        "earned": money(lines.iter().map(|line| earned(line)).sum()),
    });
    if with_people {
        data["user"] = json!(event.payer);
        if let Some(recipient) = &order.gift_for {
            data["recipient"] = json!(recipient);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_type_time_and_data() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let body = body(EventKind::Ping, at, &json!({"a": 1}));
        let body: Value = serde_json::from_str(&body).unwrap();
        let expected =
            json!({"type": "ping", "timestamp": "2023-11-14T22:13:20.123Z", "data": {"a": 1}});
        assert_eq!(body, expected);
    }
}
