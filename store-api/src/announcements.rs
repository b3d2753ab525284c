//! What many people are told of: written down once, with the change it tells of, and told page by
//! page afterwards.
//!
//! A page is a transaction: what its readers are told, and how far the telling is. So nobody is
//! told twice or left out, wherever the process is killed; and a change that concerns a hundred
//! thousand people takes no longer than one that concerns nobody.
//!
//! Queue: the table, a row for each change of a price and each purchase, told in the order of their
//! making. Nothing is dropped; the pages leave the database to requests for half of the time. While a page rests,
//! purchases come together, and however many those are, their page takes the same few statements: so it keeps up with
//! them. Gauge: `fireside_store_announcements_pending`.

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
/// How many announcements are told together at most.
const TOGETHER: i64 = 200;
/// How many friends those who bought something may have in all, to be told of together; whoever has more is told of
/// alone.
const FRIENDS: i64 = 5000;
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
#[derive(Debug, Clone)]
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
    /// How many announcements nobody is left for, of those that were to be told together.
    pub(crate) done: usize,
    /// The last whom the page told of the announcement after those; none where there is no such one.
    pub(crate) up_to: Option<String>,
}

#[derive(FromQueryResult)]
struct Waiting {
    #[expect(dead_code, reason = "that there is one is the answer")]
    one: i32,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    what: String,
    told_up_to: String,
    created_at: i64,
    friends: i64,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

impl Told {
    /// A page of these people; the last one of an announcement unless it is full.
    pub(crate) fn page(news: Vec<News>, looked_at: &[String]) -> Self {
        let full = looked_at.len() >= PAGE;
        let up_to = looked_at.last().filter(|_| full).cloned();
        Self {
            news,
            done: usize::from(up_to.is_none()),
            up_to,
        }
    }
}

impl Row {
    fn progress(&self) -> Progress {
        Progress {
            told_up_to: self.told_up_to.clone(),
            since: self.created_at,
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

    /// Tells the next page of the first announcement, and of those that follow where they can be told together; whether
    /// there was one.
    async fn tell_page(&self) -> Result<bool, StoreError> {
        // SQLite has one writer: it is not held up by looking.
        let waiting: Option<Waiting> = sql::one(
            self.database().reader(),
            "SELECT 1 AS one FROM announcements LIMIT 1",
            Vec::new(),
        )
        .await?;
        if waiting.is_none() {
            return Ok(false);
        }
        let tx = self.database().begin().await?;
        let rows = self.first_announcements(&tx).await?;
        let told = self.next_page(&tx, &rows).await?;
        let (done, rest) = rows.split_at(told.done);
        if !done.is_empty() {
            let delete = format!(
                "DELETE FROM announcements WHERE id IN {}",
                sql::list(done.len())
            );
            let ids = done.iter().map(|row| row.id.as_str().into());
            sql::execute(&tx, &delete, ids.collect()).await?;
        }
        if let (Some(up_to), Some(row)) = (told.up_to, rest.first()) {
            let update = "UPDATE announcements SET told_up_to = ? WHERE id = ?";
            sql::execute(&tx, update, values![up_to, row.id.as_str()]).await?;
        }
        self.tell(&tx, told.news).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    /// The first of what is to be told. Of several processes one has them, and another goes on where that one ended.
    async fn first_announcements(&self, tx: &DatabaseTransaction) -> Result<Vec<Row>, StoreError> {
        // In the order of their names for all, so that no two wait for each other.
        let lock = if self.database().is_shared() {
            " FOR UPDATE OF a"
        } else {
            ""
        };
        let text = format!(
            "SELECT a.id, a.what, a.told_up_to, a.created_at, \
             (SELECT COUNT(*) FROM relations r WHERE r.owner = a.actor) AS friends \
             FROM announcements a ORDER BY a.id LIMIT ?{lock}"
        );
        Ok(sql::all(tx, &text, values![TOGETHER]).await?)
    }

    /// What the next page of these announcements comes to: purchases together, as many as come first and have not too
    /// many friends to look at, or else the first one alone.
    async fn next_page(&self, tx: &DatabaseTransaction, rows: &[Row]) -> Result<Told, StoreError> {
        let mut purchases = Vec::new();
        let mut friends = 0;
        for row in rows {
            match serde_json::from_str::<Announcement>(&row.what) {
                Ok(Announcement::Bought(bought)) => {
                    friends += row.friends;
                    if friends > FRIENDS && !purchases.is_empty() {
                        break;
                    }
                    purchases.push((bought, row.progress()));
                }
                _ if !purchases.is_empty() => break,
                Ok(Announcement::PriceDrop(drop)) => {
                    return self.wishers_to_tell(tx, &drop, &row.progress()).await;
                }
                // Of another version of the store: it must not hold up the others.
                Err(error) => {
                    let id = &row.id;
                    tracing::error!(%id, %error, "an announcement cannot be read and is dropped");
                    return Ok(Told::page(Vec::new(), &[]));
                }
            }
        }
        self.friends_to_tell(tx, &purchases).await
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
