//! Which account somebody is whom a provider knows.

use sea_orm::{ActiveModelTrait, ConnectionTrait, DatabaseTransaction, FromQueryResult};
use serde_json::json;
use shared::id::{Timestamp, UserId};

use super::provider::ProvedPerson;
use crate::{
    accounts::{Email, LoggedIn, Name, new_user},
    audit::{By, Deed},
    error::{StoreError, Violation},
    mail::Template,
    sql::{self, values},
    store::{Store, lock_users, stored_id},
};

/// Who somebody is at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's name in addresses.
    pub provider: String,
    /// Since when.
    pub linked_at: Timestamp,
}

#[derive(FromQueryResult)]
struct Owner {
    user_id: String,
}

#[derive(FromQueryResult)]
struct Row {
    provider: String,
    linked_at: i64,
}

impl Store {
    /// Who `me` is at other providers, by the provider's name.
    pub async fn identities(&self, me: &UserId) -> Result<Vec<Identity>, StoreError> {
        let rows: Vec<Row> = sql::all(
            self.database().reader(),
            "SELECT provider, linked_at FROM identities WHERE user_id = ? ORDER BY provider",
            values![me.as_str()],
        )
        .await?;
        let identities = rows.into_iter().map(|row| Identity {
            provider: row.provider,
            linked_at: Timestamp::from_millis(row.linked_at),
        });
        Ok(identities.collect())
    }

    /// Logs in the account that an identity is linked to, if there is one.
    pub(super) async fn log_in_by(
        &self,
        provider: &str,
        subject: &str,
    ) -> Result<Option<LoggedIn>, StoreError> {
        let Some(id) = owner(self.database().reader(), provider, subject).await? else {
            return Ok(None);
        };
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[&id]).await?.pop();
        // It may have been unlinked, or the account withdrawn, until the row was locked.
        let still = owner(&tx, provider, subject).await? == Some(id);
        let Some(row) = row.filter(|_| still) else {
            return Ok(None);
        };
        self.record_by(&tx, Deed::LoggedIn, &row.id, provider)
            .await?;
        let logged_in = self.start_session(&tx, &row).await?;
        self.commit(tx).await?;
        metrics::counter!("fireside_store_logins_total", "result" => "ok").increment(1);
        Ok(Some(logged_in))
    }

    /// Refuses somebody whose address is that of an account: it is theirs, likely, and they link it by logging
    /// in. Saying so tells nobody but whoever reads the mail of that address.
    pub(super) async fn address_is_free(&self, person: &ProvedPerson) -> Result<(), StoreError> {
        match address(person) {
            Some(email) if self.user_of_address(email.as_str()).await?.is_some() => {
                Err(address_taken())
            }
            _ => Ok(()),
        }
    }

    /// Makes an account for somebody whom a provider knows.
    pub(super) async fn register_as(
        &self,
        provider: &str,
        person: &ProvedPerson,
        name: &str,
    ) -> Result<LoggedIn, StoreError> {
        let name = Name::parse(name)?;
        let email = address(person);
        let tx = self.database().begin().await?;
        let made = self.make(&tx, provider, person, &name, email.as_ref());
        match made.await {
            Ok(logged_in) => {
                self.commit(tx).await?;
                metrics::counter!("fireside_store_registrations_total").increment(1);
                Ok(logged_in)
            }
            Err(error) if error.is_unique_violation() => {
                tx.rollback().await?;
                // The same person, twice at once: the other one made the account.
                if let Some(logged_in) = self.log_in_by(provider, &person.subject).await? {
                    return Ok(logged_in);
                }
                self.address_is_free(person).await?;
                Err(self.taken(None, &name).await?)
            }
            Err(error) => Err(error),
        }
    }

    async fn make(
        &self,
        tx: &DatabaseTransaction,
        provider: &str,
        person: &ProvedPerson,
        name: &Name,
        email: Option<&Email>,
    ) -> Result<LoggedIn, StoreError> {
        let row = new_user(name, email, None, self.now());
        let row = row.insert(tx).await?;
        self.insert_identity(tx, &row.id, provider, &person.subject)
            .await?;
        // What proves an address here is a code of ours, whatever others have seen.
        if let (Some(email), true) = (&row.email, self.mailer().is_some()) {
            self.send_code(tx, &row.id, email).await?;
        }
        self.record_by(tx, Deed::Registered, &row.id, provider)
            .await?;
        self.start_session(tx, &row).await
    }

    /// Links an identity to the account of `me`. Doing it twice is doing it once.
    pub(super) async fn link(
        &self,
        me: &UserId,
        provider: &str,
        subject: &str,
    ) -> Result<Identity, StoreError> {
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[me]).await?.pop();
        let row = row.ok_or(StoreError::NotFound)?;
        if owner(&tx, provider, subject).await?.as_ref() != Some(me) {
            let linked = self.insert_identity(&tx, &row.id, provider, subject).await;
            if let Err(error) = linked {
                if !error.is_unique_violation() {
                    return Err(error);
                }
                tx.rollback().await?;
                return Err(
                    match owner(self.database().reader(), provider, subject).await? {
                        Some(_) => conflict("taken", "it is linked to another account"),
                        None => conflict("linked", "another identity of this provider is linked"),
                    },
                );
            }
            self.record_by(&tx, Deed::IdentityLinked, &row.id, provider)
                .await?;
            self.notify_of_provider(&tx, Template::IdentityLinked, &row, provider)
                .await?;
            self.commit(tx).await?;
        }
        let identities = self.identities(me).await?;
        let mut linked = identities.into_iter();
        linked
            .find(|identity| identity.provider == provider)
            .ok_or(StoreError::NotFound)
    }

    /// Ends that `me` is somebody at a provider, unless they could not log in any more.
    pub async fn unlink_identity(&self, me: &UserId, provider: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[me]).await?.pop();
        let row = row.ok_or(StoreError::NotFound)?;
        let all: Vec<Row> = sql::all(
            &tx,
            "SELECT provider, linked_at FROM identities WHERE user_id = ?",
            values![me.as_str()],
        )
        .await?;
        if !all.iter().any(|row| row.provider == provider) {
            return Err(StoreError::NotFound);
        }
        if row.password_hash.is_none() && all.len() == 1 {
            let message = "it is the only way to log in: choose a password first";
            return Err(conflict("last", message));
        }
        sql::execute(
            &tx,
            "DELETE FROM identities WHERE user_id = ? AND provider = ?",
            values![me.as_str(), provider],
        )
        .await?;
        self.record_by(&tx, Deed::IdentityUnlinked, &row.id, provider)
            .await?;
        self.notify_of_provider(&tx, Template::IdentityUnlinked, &row, provider)
            .await?;
        self.commit(tx).await
    }

    /// Ends that an account is anybody at any provider.
    pub(crate) async fn unlink_all(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
    ) -> Result<(), StoreError> {
        let ended: Vec<Row> = sql::all(
            tx,
            "DELETE FROM identities WHERE user_id = ? RETURNING provider, linked_at",
            values![user],
        )
        .await?;
        for row in ended {
            self.record_by(tx, Deed::IdentityUnlinked, user, &row.provider)
                .await?;
        }
        Ok(())
    }

    async fn insert_identity(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
        provider: &str,
        subject: &str,
    ) -> Result<(), StoreError> {
        sql::execute(
            tx,
            "INSERT INTO identities (provider, subject, user_id, linked_at) VALUES (?, ?, ?, ?)",
            values![provider, subject, user, self.now().as_millis()],
        )
        .await?;
        Ok(())
    }

    async fn record_by(
        &self,
        tx: &DatabaseTransaction,
        deed: Deed,
        user: &str,
        provider: &str,
    ) -> Result<(), StoreError> {
        let details = json!({"provider": provider});
        self.record(tx, deed, By::User(user), Some(user), details)
            .await
    }
}

/// Whose an identity is.
async fn owner(
    db: &impl ConnectionTrait,
    provider: &str,
    subject: &str,
) -> Result<Option<UserId>, StoreError> {
    let found: Option<Owner> = sql::one(
        db,
        "SELECT user_id FROM identities WHERE provider = ? AND subject = ?",
        values![provider, subject],
    )
    .await?;
    found.map(|found| stored_id(&found.user_id)).transpose()
}

/// The address of somebody, if it is one that an account could have.
fn address(person: &ProvedPerson) -> Option<Email> {
    let email = person.email.as_deref()?;
    Email::parse(email).ok()
}

fn conflict(rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new("provider", rule, message)],
    }
}

fn address_taken() -> StoreError {
    let message =
        "there is an account with this e-mail address: log in to it, and link the provider";
    StoreError::Conflict {
        message,
        violations: vec![Violation::new("email", "taken", message)],
    }
}
