//! Wiring: the only place that knows how a store is put together.

use std::{fs, io, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc};

use shared::{auth::SigningKey, id::Timestamp};

use crate::{
    accounts::{Hasher, Tokens},
    config::StoreSettings,
    database::Database,
    error::StoreError,
    outbox::Outbox,
    store::{Clock, Store},
};

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the file of the database.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens the store that `settings` describe, its tokens signed with `key` in the name of
    /// `issuer`, its files in `data_dir`.
    pub async fn open(
        settings: &StoreSettings,
        data_dir: &Path,
        key: &SigningKey,
        issuer: &str,
    ) -> Result<Self, OpenError> {
        Self::open_with_clock(settings, data_dir, key, issuer, Arc::new(Timestamp::now)).await
    }

    /// The same with a clock of the caller's, for tests of what takes days.
    pub async fn open_with_clock(
        settings: &StoreSettings,
        data_dir: &Path,
        key: &SigningKey,
        issuer: &str,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let url = settings.url(data_dir);
        if settings.database_url.is_none() {
            keep_private(data_dir)?;
        }
        let database = Database::open(&url, settings.database_connections)
            .await
            .map_err(StoreError::from)?;
        let hasher = Hasher::new(settings.hash_cost())?;
        let tokens = Tokens::new(key, issuer, settings.lifetimes());
        let limits = settings.limits();
        Ok(Self::new(
            database,
            hasher,
            tokens,
            Outbox::default(),
            limits,
            clock,
        ))
    }
}

/// Makes the database file before SQLite does, which would let everybody on the machine read it.
fn keep_private(data_dir: &Path) -> Result<(), OpenError> {
    let file = data_dir.join(crate::config::DATABASE_FILE);
    fs::create_dir_all(data_dir)
        .and_then(|()| {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&file)
                .map(drop)
        })
        .map_err(|source| OpenError::File {
            path: file.display().to_string(),
            source,
        })
}
