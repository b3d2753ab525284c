//! What many people are told of: written down once, with the change it tells of, and told page by
//! page afterwards.
//!
//! A page is a transaction: what its readers are told, and how far the telling is. So nobody is
//! told twice or left out, wherever the process is killed; and a change that concerns a hundred
//! thousand people takes no longer than one that concerns nobody.
//!
//! Queue: the table, a row for each change of a price and each purchase, told in the order of their
//! making. Nothing is dropped; the pages leave the database to requests for half of the time. Gauge:
//! `fireside_store_announcements_pending`.

use std::time::Duration;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde::{Deserialize, Serialize};
use shared::id::UserId;
use tokio::{sync::watch, time::Instant};
use ulid::Ulid;

use crate::{
    catalogue::PriceDrop,
    error::StoreError,
    notices::News,
    orders::Bought,
    sql::{self, values},
    store::Store,
};

/// How many people a page reaches at most.
pub(crate) const PAGE: usize = 200;
/// How often to look without having been woken: another process may have died before it was done.
const POLL: Duration = Duration::from_secs(10);
/// The pause after a page that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Something that many are told of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Announcement {
    /// A game costs less than before.
    PriceDrop(PriceDrop),
    /// Somebody bought games, of which their friends may hear.
    Bought(Bought),
}

/// How far the telling of an announcement is.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Everybody up to this one has been told.
    pub(crate) told_up_to: String,
    /// When the change was made, in milliseconds since the epoch.
    pub(crate) since: i64,
}

/// What a page comes to.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Who is told what.
    pub(crate) news: Vec<News>,
    /// The last of whom the page looked at; none once there is nobody left.
    pub(crate) up_to: Option<String>,
}

#[derive(FromQueryResult)]
struct First {
    id: String,
}

#[derive(FromQueryResult)]
struct Row {
    what: String,
    told_up_to: String,
    created_at: i64,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Told {
    /// A page of these people; the last one unless it is full.
    pub(crate) fn page(news: Vec<News>, looked_at: &[String]) -> Self {
        let full = looked_at.len() >= PAGE;
        let up_to = looked_at.last().filter(|_| full).cloned();
        Self { news, up_to }
    }
}

impl Announcement {
    async fn page(
        &self,
        store: &Store,
        tx: &DatabaseTransaction,
        progress: &Progress,
    ) -> Result<Told, StoreError> {
        match self {
            Self::PriceDrop(drop) => store.wishers_to_tell(tx, drop, progress).await,
            Self::Bought(bought) => store.friends_to_tell(tx, bought, progress).await,
        }
    }
}

impl Store {
    /// Writes down what is to be told, in the transaction of what it is about. Whoever commits that
    /// calls [`Store::herald`].
    pub(crate) async fn announce(
        &self,
        tx: &DatabaseTransaction,
        actor: Option<&UserId>,
        what: &Announcement,
    ) -> Result<(), StoreError> {
        let what = serde_json::to_string(what)
            .map_err(|error| StoreError::Internal(format!("announcement: {error}")))?;
        sql::execute(
            tx,
            "INSERT INTO announcements (id, what, actor, created_at) VALUES (?, ?, ?, ?)",
            values![
                Ulid::new().to_string(),
                what,
                actor.map(|actor| actor.as_str().to_owned()),
                self.now().as_millis()
            ],
        )
        .await?;
        Ok(())
    }

    /// Tells the next page of the first announcement; whether there was one.
    async fn tell_page(&self) -> Result<bool, StoreError> {
        let first: Option<First> = sql::one(
            self.database().reader(),
            "SELECT id FROM announcements ORDER BY id LIMIT 1",
            Vec::new(),
        )
        .await?;
        let Some(First { id }) = first else {
            return Ok(false);
        };
        let tx = self.database().begin().await?;
        // Locked: of several processes one tells a page, and the next from where that one ended.
        let lock = "UPDATE announcements SET told_up_to = told_up_to WHERE id = ?";
        if sql::execute(&tx, lock, values![id.as_str()]).await? == 0 {
            return Ok(true);
        }
        let row: Option<Row> = sql::one(
            &tx,
            "SELECT what, told_up_to, created_at FROM announcements WHERE id = ?",
            values![id.as_str()],
        )
        .await?;
        let Some(row) = row else { return Ok(true) };
        let progress = Progress {
            told_up_to: row.told_up_to,
            since: row.created_at,
        };
        let told = match serde_json::from_str::<Announcement>(&row.what) {
            Ok(what) => what.page(self, &tx, &progress).await?,
            // Of another version of the store: it must not hold up the others.
            Err(error) => {
                tracing::error!(%id, %error, "an announcement cannot be read and is dropped");
                Told::default()
            }
        };
        if let Some(up_to) = &told.up_to {
            let update = "UPDATE announcements SET told_up_to = ? WHERE id = ?";
            sql::execute(&tx, update, values![up_to.as_str(), id]).await?;
        } else {
            let delete = "DELETE FROM announcements WHERE id = ?";
            sql::execute(&tx, delete, values![id]).await?;
        }
        self.tell(&tx, told.news).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    /// Shows how much is still to be told.
    pub(crate) async fn count_announcements(&self) -> Result<(), StoreError> {
        let count: Option<Count> = sql::one(
            self.database().reader(),
            "SELECT COUNT(*) AS count FROM announcements",
            Vec::new(),
        )
        .await?;
        let count = count.map_or(0, |row| row.count);
        metrics::gauge!("fireside_store_announcements_pending").set(count as f64);
        Ok(())
    }
}

/// Tells what there is to be told, until `stop` turns true. What is not told then is told after the
/// next start.
pub(crate) async fn tell(store: Store, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let began = Instant::now();
        let (pause, more) = match store.tell_page().await {
            // As long as the page took.
            Ok(true) => (began.elapsed(), true),
            Ok(false) => (POLL, false),
            Err(error) => {
                tracing::warn!(%error, "telling many");
                (RETRY, true)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = store.announced(), if !more => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}
