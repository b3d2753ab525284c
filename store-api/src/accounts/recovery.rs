//! A new password for somebody who lost theirs, by a code that is mailed to them.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect, sea_query::LockType,
};

use super::{
    LoggedIn,
    code::Purpose,
    rules::{Email, Password},
};
use crate::{
    audit::Deed,
    entity::user,
    error::StoreError,
    mail::{NewMail, Template},
    store::Store,
};

/// One answer to every code that does not hold, whatever the reason: no such account, another code,
/// too late, too often.
const WRONG: StoreError =
    StoreError::Unauthenticated("the code is wrong, or does not hold any more");

impl Store {
    /// Has a code for a new password sent to an address, if it is somebody's.
    ///
    /// The wish is written down and nothing looked up: whether there is such an account shows when
    /// the mail is sent, so asking is the same and takes as long either way.
    pub async fn forgot_password(&self, email: &str) -> Result<(), StoreError> {
        self.needs_mail()?;
        let email = Email::parse(email)?;
        let tx = self.database().begin().await?;
        let mail = NewMail {
            template: Template::ResetPassword,
            user: None,
            recipient: email.as_str(),
            about: "",
        };
        self.write_mail(&tx, mail).await?;
        self.commit(tx).await
    }

    /// Gives the account a new password, for the code that was sent to its address. As with a
    /// changed password, everybody who is logged in is out; the caller gets a session of its own.
    pub async fn reset_password(
        &self,
        email: &str,
        code: &str,
        new: &str,
    ) -> Result<LoggedIn, StoreError> {
        let email = Email::parse(email).map_err(|_| WRONG)?;
        let password = Password::choose("new_password", new, Some(&email))?;
        // Before looking for the account, so that the answer takes as long either way.
        let hash = self.hasher().hash(password).await?;
        let tx = self.database().begin().await?;
        let row = user::Entity::find()
            .filter(user::Column::Email.eq(email.as_str()))
            .lock(LockType::NoKeyUpdate)
            .one(&tx)
            .await?;
        let id = row.as_ref().map_or("", |row| row.id.as_str());
        let proved = self.use_code(&tx, id, Purpose::Password, code).await?;
        let proves = proved.is_some_and(|proved| proved == email.as_str());
        let Some(row) = row.filter(|_| proves) else {
            // The attempt counts.
            self.database().commit(tx).await?;
            return Err(WRONG);
        };
        // The address was only claimed, by whoever knew the password: they may be somebody else than who reads its
        // mail, and no way in of theirs stays. Who came by a provider, without a password, had shown the address there.
        if row.email_verified_at.is_none() && row.password_hash.is_some() {
            self.unlink_all(&tx, &row.id).await?;
        }
        let (row, events) = self.end_all_sessions(&tx, row).await?;
        let mut row = row.into_active_model();
        row.password_hash = Set(Some(hash));
        // Whoever has the code has read the mail.
        row.email_verified_at = Set(Some(self.now().as_millis()));
        let row = row.update(&tx).await?;
        self.password_changed(&tx, &row).await?;
        self.record_own(&tx, Deed::PasswordReset, &row.id).await?;
        let logged_in = self.start_session(&tx, &row).await?;
        self.enqueue(&tx, events).await?;
        self.commit(tx).await?;
        metrics::counter!("fireside_store_password_resets_total").increment(1);
        Ok(logged_in)
    }

    /// What follows from a new password, whichever way it came: codes that were asked for before
    /// end, for whoever knew the old one may have asked for them, and the owner is told.
    pub(super) async fn password_changed(
        &self,
        tx: &sea_orm::DatabaseTransaction,
        row: &user::Model,
    ) -> Result<(), StoreError> {
        for purpose in [Purpose::Email, Purpose::Password] {
            self.call_off_code(tx, &row.id, purpose).await?;
        }
        self.notify(tx, Template::PasswordChanged, row).await
    }
}
