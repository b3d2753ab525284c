//! Who is sent what: registering webhooks, changing them, and giving them new secrets.

use sea_orm::{ConnectionTrait, DatabaseTransaction, FromQueryResult};
use serde_json::json;
use shared::id::{Timestamp, UserId};
use ulid::Ulid;
use url::Url;

use super::EventKinds;
use crate::{
    audit::{By, Deed},
    catalogue::{Keeper, may_keep},
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

/// The most webhooks of the store itself, and of one publisher.
const MAX_OF_STORE: i64 = 50;
const MAX_OF_PUBLISHER: i64 = 5;

/// A webhook wanted.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Of whose games it is to hear; of all that happens, if of nobody's.
    pub publisher: Option<String>,
    /// Where events are to be sent.
    pub url: String,
    /// Words of the kinds it is to hear of.
    pub kinds: Vec<String>,
}

/// What is to change about a webhook.
#[derive(Debug, Clone, Default)]
pub struct WebhookChange {
    /// Where events are to be sent from now on, those included that wait.
    pub url: Option<String>,
    /// Words of the kinds it is to hear of.
    pub kinds: Option<Vec<String>>,
    /// Whether anything is sent.
    pub enabled: Option<bool>,
}

/// Why nothing is sent to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// Somebody asked for that.
    Asked,
    /// For days it took nothing.
    Failing,
    /// It answered 410, that it is no more.
    Gone,
}

/// Somebody's wish to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub id: String,
    /// Of whose games it hears.
    pub publisher: Option<String>,
    /// Where events are sent.
    pub url: String,
    /// Of what it hears.
    pub kinds: EventKinds,
    /// Why nothing is sent, if nothing is.
    pub disabled: Option<Disabled>,
    /// Since when it takes nothing.
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when the secret before this one holds as well.
    pub previous_secret_until: Option<Timestamp>,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    publisher: Option<String>,
    url: String,
    kinds: String,
    disabled: Option<String>,
    failing_since: Option<i64>,
    created_at: i64,
    previous_until: Option<i64>,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

#[derive(FromQueryResult)]
struct Number {
    secret: i64,
}

const WEBHOOK: &str = "SELECT w.id, w.publisher, w.url, w.kinds, w.disabled, w.failing_since, \
    w.created_at, w.previous_until FROM webhooks w";

impl Disabled {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }

    fn stored(word: &str) -> Self {
        [Self::Failing, Self::Gone]
            .into_iter()
            .find(|why| why.word() == word)
            .unwrap_or(Self::Asked)
    }
}

impl Store {
    /// Registers a webhook in the name of `by`. Its secret is told here and never again.
    pub async fn make_webhook(
        &self,
        keeper: Keeper<'_>,
        by: &UserId,
        new: NewWebhook,
    ) -> Result<(Webhook, String), StoreError> {
        if !cfg!(feature = "http-client") {
            return Err(StoreError::conflict("this build sends no webhooks"));
        }
        self.check_keeper(keeper, new.publisher.as_deref()).await?;
        let url = self.webhooks().reach.parse(&new.url)?;
        let words = new.kinds.iter().map(String::as_str);
        let kinds = EventKinds::parse(words, new.publisher.is_some())?;
        let id = Ulid::new().to_string();
        let secret = self.webhooks().secrets.secret(&id, 1);
        let tx = self.database().begin().await?;
        check_room(&tx, new.publisher.as_deref()).await?;
        sql::execute(
            &tx,
            "INSERT INTO webhooks (id, publisher, url, kinds, created_by, created_at, secret_hash) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            values![
                id.as_str(),
                new.publisher.clone(),
                url.as_str(),
                kinds.stored(),
                by.as_str(),
                self.now().as_millis(),
                secret.hash()
            ],
        )
        .await?;
        let webhook = find(&tx, Keeper::Store, &id).await?;
        let mut details = about(&webhook);
        details["kinds"] = json!(webhook.kinds.words());
        self.record_webhook(&tx, Deed::WebhookMade, by, details)
            .await?;
        self.database().commit(tx).await?;
        Ok((webhook, secret.told()))
    }

    /// Webhooks of a publisher or of the store itself, in order of their making.
    pub async fn webhooks_of(
        &self,
        keeper: Keeper<'_>,
        publisher: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Webhook>, StoreError> {
        self.check_keeper(keeper, publisher).await?;
        let (condition, mut values) = of(publisher);
        values.push(page.after().into());
        values.push((page.fetch() as i64).into());
        let text = format!("{WEBHOOK} WHERE {condition} AND w.id > ? ORDER BY w.id LIMIT ?");
        let rows: Vec<Row> = sql::all(self.database().reader(), &text, values).await?;
        Ok(page.cut(rows, |row| row.id.clone()).map(read))
    }

    /// One webhook.
    pub async fn webhook(&self, keeper: Keeper<'_>, id: &str) -> Result<Webhook, StoreError> {
        find(self.database().reader(), keeper, id).await
    }

    /// Changes a webhook. One that is enabled begins afresh; nothing it missed is sent unless it was
    /// waiting.
    pub async fn change_webhook(
        &self,
        keeper: Keeper<'_>,
        by: &UserId,
        id: &str,
        change: WebhookChange,
    ) -> Result<Webhook, StoreError> {
        let tx = self.database().begin().await?;
        let webhook = find(&tx, keeper, id).await?;
        let mut details = about(&webhook);
        if let Some(url) = &change.url {
            let url = self.webhooks().reach.parse(url)?;
            let update = "UPDATE webhooks SET url = ? WHERE id = ?";
            sql::execute(&tx, update, values![url.as_str(), id]).await?;
            details["host"] = json!(url.host_str());
        }
        if let Some(kinds) = &change.kinds {
            let words = kinds.iter().map(String::as_str);
            let kinds = EventKinds::parse(words, webhook.publisher.is_some())?;
            let update = "UPDATE webhooks SET kinds = ? WHERE id = ?";
            sql::execute(&tx, update, values![kinds.stored(), id]).await?;
            details["kinds"] = json!(kinds.words());
        }
        if let Some(enabled) = change.enabled {
            let update = if enabled {
                "UPDATE webhooks SET disabled = NULL, failing_since = NULL, failures = 0, next_at = 0 \
                 WHERE id = ? AND disabled IS NOT NULL"
            } else {
                "UPDATE webhooks SET disabled = 'asked' WHERE id = ? AND disabled IS NULL"
            };
            sql::execute(&tx, update, values![id]).await?;
            details["enabled"] = json!(enabled);
        }
        let webhook = find(&tx, Keeper::Store, id).await?;
        self.record_webhook(&tx, Deed::WebhookChanged, by, details)
            .await?;
        self.webhooks().note();
        self.commit(tx).await?;
        Ok(webhook)
    }

    /// Removes a webhook, and what was on its way to it.
    pub async fn delete_webhook(
        &self,
        keeper: Keeper<'_>,
        by: &UserId,
        id: &str,
    ) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let webhook = find(&tx, keeper, id).await?;
        for statement in [
            "DELETE FROM webhooks WHERE id = ?",
            "DELETE FROM webhook_deliveries WHERE webhook = ?",
        ] {
            sql::execute(&tx, statement, values![id]).await?;
        }
        self.record_webhook(&tx, Deed::WebhookDeleted, by, about(&webhook))
            .await?;
        self.database().commit(tx).await?;
        Ok(())
    }

    /// Gives a webhook another secret, told here and never again. The one before holds for a while
    /// besides: what is sent meanwhile is signed with both.
    pub async fn renew_webhook_secret(
        &self,
        keeper: Keeper<'_>,
        by: &UserId,
        id: &str,
    ) -> Result<(Webhook, String), StoreError> {
        let tx = self.database().begin().await?;
        let webhook = find(&tx, keeper, id).await?;
        let overlap = self.webhooks().timings.secret_overlap.as_millis() as i64;
        let until = self.now().plus_millis(overlap).as_millis();
        let update = "UPDATE webhooks SET secret = secret + 1, previous_until = ?, next_at = 0 \
                      WHERE id = ? RETURNING secret";
        let number: Option<Number> = sql::one(&tx, update, values![until, id]).await?;
        let number = number.ok_or(StoreError::NotFound)?.secret;
        let secret = self.webhooks().secrets.secret(id, number);
        let update = "UPDATE webhooks SET secret_hash = ? WHERE id = ?";
        sql::execute(&tx, update, values![secret.hash(), id]).await?;
        self.record_webhook(&tx, Deed::WebhookSecretRenewed, by, about(&webhook))
            .await?;
        let webhook = find(&tx, Keeper::Store, id).await?;
        self.database().commit(tx).await?;
        Ok((webhook, secret.told()))
    }

    /// Whether the caller may register webhooks of this publisher, or of the store.
    async fn check_keeper(
        &self,
        keeper: Keeper<'_>,
        publisher: Option<&str>,
    ) -> Result<(), StoreError> {
        match (publisher, keeper) {
            (Some(publisher), _) => may_keep(self.database().reader(), keeper, publisher).await,
            (None, Keeper::Store) => Ok(()),
            (None, Keeper::Owner(_)) => Err(StoreError::Forbidden(
                "without a publisher, this is for those who run the store",
            )),
        }
    }

    pub(super) async fn record_webhook(
        &self,
        tx: &DatabaseTransaction,
        deed: Deed,
        by: &UserId,
        details: serde_json::Value,
    ) -> Result<(), StoreError> {
        self.record(tx, deed, By::User(by.as_str()), None, details)
            .await
    }
}

/// A webhook that this keeper may know of.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    keeper: Keeper<'_>,
    id: &str,
) -> Result<Webhook, StoreError> {
    let mut text = format!("{WEBHOOK} WHERE w.id = ?");
    let mut values = values![id];
    if let Keeper::Owner(owner) = keeper {
        text.push_str(" AND w.publisher IN (SELECT p.id FROM publishers p WHERE p.owner = ?)");
        values.push(owner.as_str().into());
    }
    let row: Option<Row> = sql::one(db, &text, values).await?;
    row.map(read).ok_or(StoreError::NotFound)
}

/// What the audit log says of a webhook: not its address, in which there may be a secret.
pub(super) fn about(webhook: &Webhook) -> serde_json::Value {
    let url = Url::parse(&webhook.url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    let mut details = json!({"webhook": webhook.id, "host": host});
    if let Some(publisher) = &webhook.publisher {
        details["publisher"] = json!(publisher);
    }
    details
}

async fn check_room(tx: &DatabaseTransaction, publisher: Option<&str>) -> Result<(), StoreError> {
    let (condition, values) = of(publisher);
    let text = format!("SELECT COUNT(*) AS count FROM webhooks w WHERE {condition}");
    let count: Option<Count> = sql::one(tx, &text, values).await?;
    let most = if publisher.is_some() {
        MAX_OF_PUBLISHER
    } else {
        MAX_OF_STORE
    };
    if count.is_some_and(|row| row.count >= most) {
        let message = "there are as many webhooks already as there may be";
        return Err(StoreError::Conflict {
            message,
            violations: vec![Violation::new("url", "too_many", message)],
        });
    }
    Ok(())
}

fn of(publisher: Option<&str>) -> (&'static str, Vec<sea_orm::Value>) {
    match publisher {
        Some(publisher) => ("w.publisher = ?", values![publisher]),
        None => ("w.publisher IS NULL", Vec::new()),
    }
}

fn read(row: Row) -> Webhook {
    Webhook {
        id: row.id,
        publisher: row.publisher,
        url: row.url,
        kinds: EventKinds::read(&row.kinds),
        disabled: row.disabled.as_deref().map(Disabled::stored),
        failing_since: row.failing_since.map(Timestamp::from_millis),
        created_at: Timestamp::from_millis(row.created_at),
        previous_secret_until: row.previous_until.map(Timestamp::from_millis),
    }
}
