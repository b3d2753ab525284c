//! The connection to the database: many readers, and writers one at a time on SQLite.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction,
    DbBackend, DbErr, IsolationLevel, SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};

use crate::{error::StoreError, health::Health, migration};

/// How long a request waits for a connection before it answers `unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to PostgreSQL that deliveries hold while a chat node takes its time. They are not
/// those of requests, or nodes that hang would make the store hang.
const DELIVERIES: u32 = 16;
/// How long a connection for deliveries outlives its use.
const DELIVERY_IDLE: Duration = Duration::from_mins(1);
/// A connection to PostgreSQL that was not used for so long is tried before it is used: the server may have gone
/// meanwhile. To try it always would be another round trip for each statement.
#[cfg(feature = "postgres")]
const TRIED_AFTER: Duration = Duration::from_secs(1);
/// How long a statement waits for a lock that another process holds on the SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes into PostgreSQL's log, behind all that the session has seen. When the transaction is committed the disk has that too.
const MARK: &str = "SELECT pg_logical_emit_message(true, 'fireside', '')";
/// Connections that only read the SQLite file; in WAL mode the writer does not hold them up.
const SQLITE_READERS: u32 = 2;

/// An open database whose schema is up to date.
#[derive(Clone)]
pub(crate) struct Database {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    deliveries: DatabaseConnection,
    health: Health,
    url: Arc<str>,
    reads: Arc<AtomicU64>,
}

impl Database {
    /// Opens the database at `url` (`sqlite:…` or `postgres:…`) and brings its schema up to date.
    pub(crate) async fn open(url: &str, connections: u32) -> Result<Self, DbErr> {
        let mut database = if url.starts_with("sqlite:") {
            // One connection writes: its queue is fair, where SQLite's own lock is a scramble in
            // which an unlucky writer times out.
            let writer = sea_orm::Database::connect(sqlite(url, 1)).await?;
            let reader = sea_orm::Database::connect(sqlite(url, SQLITE_READERS)).await?;
            Self {
                reads: Arc::default(),
                reader,
                deliveries: writer.clone(),
                writer,
                health: Health::default(),
                url: url.into(),
            }
        } else {
            let pool = sea_orm::Database::connect(postgres(url, connections)?).await?;
            let mut few = postgres(url, DELIVERIES)?;
            few.connect_lazy(true)
                .min_connections(0)
                .idle_timeout(DELIVERY_IDLE);
            Self {
                reads: Arc::default(),
                reader: pool.clone(),
                writer: pool,
                deliveries: sea_orm::Database::connect(few).await?,
                health: Health::default(),
                url: url.into(),
            }
        };
        let reads = database.reads.clone();
        database.reader.set_metric_callback(move |_| {
            reads.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("fireside_store_reads_total").increment(1);
        });
        let tx = begin(&database.writer).await?;
        migration::apply(&tx).await?;
        tx.commit().await?;
        Ok(database)
    }

    /// For statements that only read, outside any transaction.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Begins a transaction that may write. On SQLite it takes the write lock at once: a
    /// transaction that reads first and writes later could fail half way with "busy".
    ///
    /// While the disk refuses what is written this is refused too, but for a probe now and then: a
    /// file system that an error made read-only may let what follows seem to succeed.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        self.health.revive(&self.url).await?;
        Ok(self.health.note(begin(&self.writer).await)?)
    }

    /// Commits what [`Database::begin`] began.
    pub(crate) async fn commit(&self, tx: DatabaseTransaction) -> Result<(), DbErr> {
        self.health.note(tx.commit().await)
    }

    /// Commits what [`Database::begin`] began, for a transaction that changed rows which many change: lets go of them before
    /// the disk has it, and answers once it has.
    ///
    /// PostgreSQL keeps what was changed locked while it waits for the disk, so one commit a disk's turn would be
    /// all there is. What others see in between may be lost with the server; so is whatever they make of it, since the log is
    /// written in its order. Who tells the world of what is committed sees it settled first ([`Database::end_settled`]).
    pub(crate) async fn commit_contended(&self, tx: DatabaseTransaction) -> Result<(), DbErr> {
        if self.is_shared() {
            // What follows is in the same session, which ends with the server's memory: a server that was started
            // again meanwhile cannot answer for what the one before it lost.
            let let_go = format!("SET LOCAL synchronous_commit TO off; COMMIT AND CHAIN; {MARK}");
            self.health.note(tx.execute_unprepared(&let_go).await)?;
        }
        self.commit(tx).await
    }

    /// Ends what [`Database::begin`] began and that changed nothing, and waits until what it saw is durable: to be called
    /// before anybody is told what [`Database::commit_contended`] may still be waiting for.
    pub(crate) async fn end_settled(&self, tx: DatabaseTransaction) -> Result<(), DbErr> {
        if self.is_shared() {
            self.health.note(tx.execute_unprepared(MARK).await)?;
        }
        self.commit(tx).await
    }

    /// Begins a transaction that sees the database as it stands at one moment, and only reads.
    pub(crate) async fn begin_snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        if !self.is_shared() {
            // What a reader of SQLite sees does not change under it.
            return self.reader.begin().await;
        }
        let isolation = Some(IsolationLevel::RepeatableRead);
        let access = Some(AccessMode::ReadOnly);
        self.reader.begin_with_config(isolation, access).await
    }

    /// How many statements have read it, outside transactions.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What writing came to lately.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Begins a transaction that may be held for as long as a delivery takes.
    pub(crate) async fn begin_delivery(&self) -> Result<DatabaseTransaction, DbErr> {
        begin(&self.deliveries).await
    }

    /// Whether several processes may share the database.
    pub(crate) fn is_shared(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Postgres
    }

    /// Closes every connection; on SQLite this folds the write-ahead log back into the file.
    pub(crate) async fn close(&self) -> Result<(), DbErr> {
        self.reader.clone().close().await?;
        self.deliveries.clone().close().await?;
        self.writer.clone().close().await
    }
}

/// A connection of its own, for as long as it takes to try whether `url` can be written.
pub(crate) async fn connect_once(url: &str) -> Result<DatabaseConnection, DbErr> {
    let options = if url.starts_with("sqlite:") {
        sqlite(url, 1)
    } else {
        postgres(url, 1)?
    };
    sea_orm::Database::connect(options).await
}

pub(crate) async fn begin(connection: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    connection
        .begin_with_options(TransactionOptions {
            isolation_level: None,
            access_mode: None,
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        })
        .await
}

fn sqlite(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|options| {
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // What was answered survives the loss of power, not only of the process.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT)
        });
    options
}

#[cfg(feature = "postgres")]
#[allow(clippy::unnecessary_wraps)] // the build without the driver can fail
fn postgres(url: &str, connections: u32) -> Result<ConnectOptions, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(TRIED_AFTER)
        .sqlx_logging(false);
    Ok(options)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_url: &str, _connections: u32) -> Result<ConnectOptions, DbErr> {
    Err(DbErr::Custom(
        "this build knows only sqlite: URLs; build with the feature `postgres` for others".into(),
    ))
}
