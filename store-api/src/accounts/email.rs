//! The e-mail address of an account: claimed at registration or later, proved by a code.
//!
//! An address that is to take the place of another does so when it is proved, and not before: a
//! slip of the pen locks nobody out.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, QueryFilter,
};
use shared::id::UserId;

use super::{Confirmation, code::Purpose, rules::Email};
use crate::{
    audit::Deed,
    entity::user,
    error::{StoreError, Violation},
    mail::{NewMail, Template},
    store::{Store, lock_users},
    users::OwnProfile,
};

/// One answer to every code that does not hold, whatever the reason.
const WRONG: StoreError = StoreError::Forbidden("the code is wrong, or does not hold any more");

impl Store {
    /// Sends a code to `email`, which becomes the address of the account once the code comes back.
    /// Answers how the address is spelled.
    pub async fn change_email(
        &self,
        me: &UserId,
        email: &str,
        confirmation: Confirmation<'_>,
    ) -> Result<String, StoreError> {
        self.needs_mail()?;
        let email = Email::parse(email)?;
        let (row, kept) = self.confirmed(me, confirmation).await?;
        if row.email.as_deref() == Some(email.as_str()) && row.email_verified_at.is_some() {
            return Err(verified_already());
        }
        if let Some(other) = self.user_by_email(&email).await?
            && other.id != row.id
        {
            return Err(email_taken());
        }
        let tx = self.database().begin().await?;
        let unchanged = lock_users(&tx, &[me]).await?.pop();
        if unchanged.is_none_or(|row| row.password_hash != kept) {
            return Err(StoreError::conflict("the account was changed meanwhile"));
        }
        self.send_code(&tx, me.as_str(), email.as_str()).await?;
        self.commit(tx).await?;
        Ok(email.as_str().to_owned())
    }

    /// Sends a new code: to the address that is to be the account's, or to its own if that was
    /// never proved. Answers where to. The code before ends.
    pub async fn send_email_code(&self, me: &UserId) -> Result<String, StoreError> {
        self.needs_mail()?;
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[me]).await?.pop();
        let row = row.ok_or(StoreError::NotFound)?;
        let email = match self.pending_address(&tx, &row.id).await? {
            Some(pending) => pending,
            None => match (row.email, row.email_verified_at) {
                (Some(email), None) => email,
                (Some(_), Some(_)) => return Err(verified_already()),
                (None, _) => {
                    let message = "the account has no e-mail address";
                    return Err(conflict("none", message));
                }
            },
        };
        self.send_code(&tx, &row.id, &email).await?;
        self.commit(tx).await?;
        Ok(email)
    }

    /// Proves the address that a code was sent to, which is the account's from then on.
    pub async fn verify_email(&self, me: &UserId, code: &str) -> Result<OwnProfile, StoreError> {
        let tx = self.database().begin().await?;
        let row = lock_users(&tx, &[me]).await?.pop();
        let row = row.ok_or(StoreError::NotFound)?;
        let Some(email) = self.use_code(&tx, &row.id, Purpose::Email, code).await? else {
            // The attempt counts.
            self.database().commit(tx).await?;
            return Err(WRONG);
        };
        let before = row.clone();
        let mut row = row.into_active_model();
        row.email = Set(Some(email.clone()));
        row.email_verified_at = Set(Some(self.now().as_millis()));
        let row = match row.update(&tx).await.map_err(StoreError::from) {
            Err(error) if error.is_unique_violation() => return Err(email_taken()),
            row => row?,
        };
        if before.email.as_ref() != Some(&email) {
            // It went to the address from before.
            self.call_off_code(&tx, &row.id, Purpose::Password).await?;
            self.notify(&tx, Template::EmailChanged, &before).await?;
        }
        self.record_own(&tx, Deed::EmailVerified, &row.id).await?;
        self.commit(tx).await?;
        metrics::counter!("fireside_store_emails_verified_total").increment(1);
        OwnProfile::of(row)
    }

    /// Writes down a mail with a code that proves `email`, and ends the code before.
    pub(crate) async fn send_code(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
        email: &str,
    ) -> Result<(), StoreError> {
        let mail = NewMail {
            template: Template::VerifyEmail,
            user: Some(user),
            recipient: email,
            about: "",
        };
        let id = self.write_mail(tx, mail).await?.to_string();
        self.make_code(tx, user, Purpose::Email, &id, email).await
    }

    /// The account with this address, as it is stored.
    pub(crate) async fn user_of_address(
        &self,
        email: &str,
    ) -> Result<Option<user::Model>, StoreError> {
        Ok(user::Entity::find()
            .filter(user::Column::Email.eq(email))
            .one(self.database().reader())
            .await?)
    }
}

fn conflict(rule: &'static str, message: &'static str) -> StoreError {
    StoreError::Conflict {
        message,
        violations: vec![Violation::new("email", rule, message)],
    }
}

fn verified_already() -> StoreError {
    conflict("verified", "the e-mail address is verified already")
}

fn email_taken() -> StoreError {
    conflict("taken", "there is an account with this e-mail address")
}
