//! The handle everything else holds: the domain, wired.

use std::sync::Arc;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::LockType,
};
use shared::{
    events::{StoreEvent, StoreEventKind},
    id::{Timestamp, UserId},
};
use tokio::sync::{Notify, futures::Notified};
use ulid::Ulid;

use crate::{
    accounts::{Hasher, MailCodes, Tokens},
    audit::Whence,
    catalogue::Edition,
    config::StoreLimits,
    coupons::{Claims, Gates, Joins, Lines, Passes},
    database::Database,
    entity::user,
    error::StoreError,
    identities::Identities,
    mail::Mailer,
    outbox::Outbox,
    payments::Payments,
    wallet::CardCodes,
    webhooks::Webhooks,
};

/// Tells the time; a test may hand in one of its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Accounts, users, friends and the shop. Cheap to clone; every method is a transaction of its own.
#[derive(Clone)]
pub struct Store(Arc<Inner>, Option<Arc<Whence>>);

struct Inner {
    database: Database,
    edition: Edition,
    hasher: Hasher,
    tokens: Tokens,
    outbox: Outbox,
    announced: Notify,
    claims: Claims,
    gates: Gates,
    joins: Joins,
    lines: Lines,
    passes: Passes,
    limits: StoreLimits,
    card_codes: CardCodes,
    mail_codes: MailCodes,
    mailer: Option<Mailer>,
    identities: Identities,
    payments: Payments,
    webhooks: Webhooks,
    clock: Clock,
}

/// What a store is made of.
pub(crate) struct StoreParts {
    pub(crate) database: Database,
    pub(crate) hasher: Hasher,
    pub(crate) tokens: Tokens,
    pub(crate) card_codes: CardCodes,
    pub(crate) mail_codes: MailCodes,
    pub(crate) passes: Passes,
    pub(crate) mailer: Option<Mailer>,
    pub(crate) identities: Identities,
    pub(crate) payments: Payments,
    pub(crate) webhooks: Webhooks,
    pub(crate) limits: StoreLimits,
    pub(crate) clock: Clock,
}

impl Store {
    pub(crate) fn new(parts: StoreParts) -> Self {
        let inner = Inner {
            database: parts.database,
            edition: Edition::default(),
            hasher: parts.hasher,
            tokens: parts.tokens,
            outbox: Outbox::default(),
            announced: Notify::new(),
            claims: Claims::default(),
            gates: Gates::default(),
            joins: Joins::default(),
            lines: Lines::default(),
            passes: parts.passes,
            limits: parts.limits,
            card_codes: parts.card_codes,
            mail_codes: parts.mail_codes,
            mailer: parts.mailer,
            identities: parts.identities,
            payments: parts.payments,
            webhooks: parts.webhooks,
            clock: parts.clock,
        };
        Self(Arc::new(inner), None)
    }

    /// The same store as a request asks it: what is written down of it says where it came from.
    pub(crate) fn asked_from(&self, whence: Whence) -> Self {
        Self(self.0.clone(), Some(Arc::new(whence)))
    }

    /// Where the request came from, if one asks.
    pub(crate) fn whence(&self) -> Option<&Whence> {
        self.1.as_deref()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    /// Of the catalogue, as this process changes it.
    pub(crate) fn edition(&self) -> &Edition {
        &self.0.edition
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.0.hasher
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    pub(crate) fn limits(&self) -> &StoreLimits {
        &self.0.limits
    }

    pub(crate) fn card_codes(&self) -> &CardCodes {
        &self.0.card_codes
    }

    pub(crate) fn mail_codes(&self) -> &MailCodes {
        &self.0.mail_codes
    }

    /// Shares the gate and the line before drops, and log-ins on their way, with the other stores at the same Redis.
    /// To be called before the store is used.
    #[cfg(feature = "redis")]
    pub fn share(&self, link: shared::redis::RedisLink) {
        let line = crate::coupons::RedisLine::new(link.clone());
        self.0.lines.share(Arc::new(line));
        let attempts = crate::identities::RedisAttempts::new(link.clone());
        self.0.identities.share(Arc::new(attempts));
        self.0
            .gates
            .share(Arc::new(crate::coupons::RedisGate::new(link)));
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// Where tickets of queues are given out.
    pub(crate) fn joins(&self) -> &Joins {
        &self.0.joins
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.0.lines
    }

    pub(crate) fn passes(&self) -> &Passes {
        &self.0.passes
    }

    pub(crate) fn gates(&self) -> &Gates {
        &self.0.gates
    }

    /// What sends mail; none where none is sent.
    pub(crate) fn mailer(&self) -> Option<&Mailer> {
        self.0.mailer.as_ref()
    }

    pub(crate) fn by_providers(&self) -> &Identities {
        &self.0.identities
    }

    pub(crate) fn payments(&self) -> &Payments {
        &self.0.payments
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// An event that happens now.
    pub(crate) fn event(&self, kind: StoreEventKind) -> StoreEvent {
        StoreEvent {
            id: Ulid::new(),
            ts: self.now(),
            kind,
        }
    }

    /// Writes events into the caller's transaction, for delivery after its commit.
    pub(crate) async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        events: impl IntoIterator<Item = StoreEventKind>,
    ) -> Result<(), StoreError> {
        let events: Vec<_> = events.into_iter().map(|kind| self.event(kind)).collect();
        self.0.outbox.enqueue(tx, &events).await
    }

    /// Commits, and wakes whoever delivers events, mails and webhooks.
    pub(crate) async fn commit(&self, tx: DatabaseTransaction) -> Result<(), StoreError> {
        self.0.database.commit(tx).await?;
        self.wake();
        Ok(())
    }

    /// The same for a transaction that moved money, which many do from and to the same accounts.
    pub(crate) async fn commit_contended(&self, tx: DatabaseTransaction) -> Result<(), StoreError> {
        self.0.database.commit_contended(tx).await?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        self.0.outbox.wake();
        if let Some(mailer) = self.mailer() {
            mailer.wake();
        }
        self.webhooks().wake();
    }

    /// Has what was announced told soon; called after the commit.
    pub(crate) fn herald(&self) {
        self.0.announced.notify_one();
    }

    /// Waits until something was announced.
    pub(crate) fn announced(&self) -> Notified<'_> {
        self.0.announced.notified()
    }

    /// How many statements this store has read its database by, outside transactions.
    pub fn reads(&self) -> u64 {
        self.0.database.reads()
    }

    /// Closes the database once nothing uses the store any more.
    pub async fn close(&self) {
        if let Err(error) = self.0.database.close().await {
            tracing::warn!(%error, "closing the database");
        }
    }
}

/// The accounts among `ids` that are not withdrawn, by id, locked until the transaction ends.
///
/// Whoever changes something between people locks them here first and in this order, so two who
/// act on each other at the same time take turns, and cannot deadlock. (SQLite has no row locks
/// and needs none: its writers take turns anyway.)
pub(crate) async fn lock_users(
    tx: &DatabaseTransaction,
    ids: &[&UserId],
) -> Result<Vec<user::Model>, StoreError> {
    Ok(user::Entity::find()
        .filter(user::Column::Id.is_in(ids.iter().map(|id| id.as_str())))
        .filter(user::Column::WithdrawnAt.is_null())
        .order_by_asc(user::Column::Id)
        .lock(LockType::NoKeyUpdate)
        .all(tx)
        .await?)
}

/// An id read back from the database, where only ids of ours were written.
pub(crate) fn stored_id(text: &str) -> Result<UserId, StoreError> {
    UserId::parse(text).map_err(|error| StoreError::Internal(format!("id {text:?}: {error}")))
}
