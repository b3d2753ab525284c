//! The database's shape and how a connection to it is set up.

use std::{path::PathBuf, time::Duration};

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::checkpoint;

/// In order; one that was ever released is never changed.
const MIGRATIONS: &[M<'_>] = &[
    M::up(include_str!("0001_rooms.sql")),
    M::up(include_str!("0002_seen.sql")),
    M::up(include_str!("0003_probe.sql")),
    M::up(include_str!("0004_own.sql")),
    M::up(include_str!("0005_expiry.sql")),
];

/// How many statements a connection keeps prepared; there are about seventy.
const STATEMENTS: usize = 96;

/// How long a connection waits for the lock of another process on the same file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite refused.
    #[error("cannot open the history at {path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Its tables are of a version this program cannot bring up to date.
    #[error("cannot migrate the history at {path}: {source}")]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite_migration::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread for the history: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where the database is and what bounds it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) max_bytes: Option<u64>,
}

impl Place {
    /// The connection that writes.
    pub(super) fn writer(&self) -> Result<Connection, rusqlite::Error> {
        let conn = self.connect()?;
        // FULL: an acknowledged entry survives power loss, not only the loss of the process.
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        checkpoint::watch(&conn);
        // The log's file is cut back after it was larger.
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
        conn.pragma_update(None, "cache_size", -16_384)?;
        // What a savepoint keeps to go back to; in a file it would be written for nothing.
        conn.pragma_update(None, "temp_store", "memory")?;
        if let Some(bytes) = self.max_bytes {
            let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
            conn.pragma_update(
                None,
                "max_page_count",
                i64::try_from(bytes).unwrap_or(i64::MAX) / page + 1,
            )?;
        }
        Ok(conn)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, rusqlite::Error> {
        let conn = self.connect()?;
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "cache_size", -4_096)?;
        Ok(conn)
    }

    /// A connection that folds the log into the file.
    pub(super) fn folder(&self) -> Result<Connection, rusqlite::Error> {
        let conn = self.connect()?;
        // As the writer's, or it would not sync the file before the log is overwritten.
        conn.pragma_update(None, "synchronous", "full")?;
        Ok(conn)
    }

    /// Creates or updates the tables.
    pub(super) fn migrate(&self, conn: &mut Connection) -> Result<(), OpenError> {
        Migrations::from_slice(MIGRATIONS)
            .to_latest(conn)
            .map_err(|source| OpenError::Migration {
                path: self.path.clone(),
                source,
            })
    }

    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        let conn = Connection::open(&self.path)?;
        conn.busy_timeout(LOCK_WAIT)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_hold() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
    }

    #[test]
    fn a_file_of_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            path: dir.path().join("h.db"),
            max_bytes: None,
        };
        let mut conn = place.writer().unwrap();
        place.migrate(&mut conn).unwrap();
        conn.pragma_update(None, "user_version", 999).unwrap();
        let error = place.migrate(&mut conn).unwrap_err();
        assert!(matches!(error, OpenError::Migration { .. }), "{error}");
    }

    /// What a file of an earlier version says of the unread stays true.
    #[test]
    fn own_messages_after_a_marker_are_counted_when_a_file_is_brought_up_to_date() {
        let mut conn = Connection::open_in_memory().unwrap();
        let migrations = Migrations::from_slice(MIGRATIONS);
        migrations.to_version(&mut conn, 3).unwrap();
        conn.execute_batch(
            "INSERT INTO member (room, user, role, since, read) VALUES (1, 'a', 0, 1, 2), (1, 'b', 0, 1, 9);
             INSERT INTO message (room, seq, place, author)
             VALUES (1, 2, 1, 'a'), (1, 3, 2, 'a'), (1, 4, 3, 'b'), (1, 5, 4, 'a'), (2, 3, 1, 'a');",
        )
        .unwrap();
        migrations.to_latest(&mut conn).unwrap();
        let own = |user: &str| -> i64 {
            conn.query_row("SELECT own FROM member WHERE user = ?1", [user], |row| {
                row.get(0)
            })
            .unwrap()
        };
        assert_eq!((own("a"), own("b")), (2, 0));
    }
}
