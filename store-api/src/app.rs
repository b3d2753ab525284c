//! Wiring: the only place that knows how a store is put together.

use std::{io, path::Path, str::FromStr as _, sync::Arc};

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use shared::{
    auth::SigningKey,
    id::Timestamp,
    settings::{private_dir, private_file},
};

use crate::{
    accounts::{Hasher, MailCodes, Tokens},
    config::StoreSettings,
    coupons::Passes,
    database::Database,
    error::StoreError,
    mail::{MailError, Mailer},
    store::{Clock, Store, StoreParts},
    wallet::CardCodes,
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
    /// Mail.
    #[error(transparent)]
    Mail(#[from] MailError),
}

impl OpenError {
    /// Whether the same settings may do later: a database that is out of reach, or is being started.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_pass())
    }
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
        let mailer = Mailer::new(&settings.mail)?;
        let url = settings.url(data_dir);
        keep_private(&url, data_dir)?;
        let database = Database::open(&url, settings.database_connections)
            .await
            .map_err(StoreError::from)?;
        let hasher = Hasher::new(settings.hash_cost())?;
        let tokens = Tokens::new(key, issuer, settings.lifetimes());
        Ok(Self::new(StoreParts {
            database,
            hasher,
            tokens,
            card_codes: CardCodes::new(key.derive("gift cards")),
            mail_codes: MailCodes::new(key.derive("mail codes")),
            passes: Passes::new(&key.derive("drop passes")),
            mailer,
            identities: settings.login.open()?,
            payments: settings.payments.open(key.derive("payment returns"))?,
            webhooks: settings.webhooks.open(key.derive("webhooks"))?,
            limits: settings.limits(),
            clock,
        }))
    }
}

/// Makes the database file of SQLite before SQLite does, which would let everybody on the machine
/// read it, wherever the settings put it.
fn keep_private(url: &str, data_dir: &Path) -> Result<(), OpenError> {
    if !url.starts_with("sqlite:") {
        return Ok(());
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| StoreError::Internal(format!("database_url: {error}")))?;
    let file = options.get_filename();
    private_dir(data_dir)
        .and_then(|()| private_file(file))
        .map_err(|source| OpenError::File {
            path: file.display().to_string(),
            source,
        })
}
