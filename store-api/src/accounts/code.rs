//! Codes that are mailed: whoever types one reads the mail of the address it was sent to.
//!
//! An account has one for each purpose at most; a new one ends the one before. A code is 40 bits and
//! holds for a while, for [`ATTEMPTS`] attempts and for one use. It is not stored: it follows from a
//! secret of this store and the name of the mail it is in, so it can be sent again after a failure,
//! and neither a backup nor somebody who reads the database finds one.

use sea_orm::{DatabaseTransaction, FromQueryResult};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    error::StoreError,
    sql::{self, values},
    store::Store,
    typed_code,
};

/// Attempts at a code, the right one included.
const ATTEMPTS: i64 = 5;
/// Characters of a code, five bits each, and between two dashes of it.
const LENGTH: usize = 8;
const GROUP: usize = 4;

/// What a code is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To have an e-mail address.
    Email,
    /// To choose a new password.
    Password,
}

/// Makes codes. Several processes on one database have to share its secret, as they share the key
/// of tokens.
pub(crate) struct MailCodes {
    secret: [u8; 32],
}

#[derive(FromQueryResult)]
struct Tried {
    id: String,
    email: String,
}

#[derive(FromQueryResult)]
struct Pending {
    email: String,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Password => "password",
        }
    }
}

impl MailCodes {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    fn code(&self, purpose: Purpose, id: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(format!("{}:{id}", purpose.word()));
        typed_code::spell(&hash.finalize(), LENGTH, GROUP)
    }
}

impl Store {
    /// Has the account wait for the code of the mail `id`, unless it waits for a later one.
    pub(crate) async fn make_code(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
        purpose: Purpose,
        id: &str,
        email: &str,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let expires = super::tokens::after(now, self.limits().code_lifetime(purpose));
        sql::execute(
            tx,
            "INSERT INTO codes (user_id, purpose, id, email, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (user_id, purpose) DO UPDATE SET id = excluded.id, email = excluded.email, \
             failures = 0, spent = FALSE, created_at = excluded.created_at, expires_at = excluded.expires_at \
             WHERE codes.id < excluded.id",
            values![
                user,
                purpose.word(),
                id,
                email,
                now.as_millis(),
                expires.as_millis()
            ],
        )
        .await?;
        Ok(())
    }

    /// The code of the mail `id`, which holds for its whole life from now on, when the mail is sent;
    /// none if the account waits for it no more.
    pub(crate) async fn renew_code(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
        purpose: Purpose,
        id: &str,
    ) -> Result<Option<String>, StoreError> {
        let expires = super::tokens::after(self.now(), self.limits().code_lifetime(purpose));
        let waits = sql::execute(
            tx,
            "UPDATE codes SET expires_at = ? \
             WHERE user_id = ? AND purpose = ? AND id = ? AND spent = ?",
            values![expires.as_millis(), user, purpose.word(), id, false],
        )
        .await?;
        Ok((waits > 0).then(|| self.mail_codes().code(purpose, id)))
    }

    /// Uses a code up, and gives the address it proves; none if it is not the one the account waits
    /// for. The attempt counts once the caller commits, and so it does in either case.
    pub(super) async fn use_code(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
        purpose: Purpose,
        given: &str,
    ) -> Result<Option<String>, StoreError> {
        // Counted before it is looked at: of many attempts at once none is for nothing.
        let tried: Option<Tried> = sql::one(
            tx,
            "UPDATE codes SET failures = failures + 1 \
             WHERE user_id = ? AND purpose = ? AND spent = ? AND failures < ? AND expires_at > ? \
             RETURNING id, email",
            values![
                user,
                purpose.word(),
                false,
                ATTEMPTS,
                self.now().as_millis()
            ],
        )
        .await?;
        let Some(tried) = tried else { return Ok(None) };
        let right = typed_code::plain(&self.mail_codes().code(purpose, &tried.id), LENGTH);
        let given = typed_code::plain(given, LENGTH + 1);
        if !bool::from(right.as_bytes().ct_eq(given.as_bytes())) {
            return Ok(None);
        }
        self.call_off_code(tx, user, purpose).await?;
        Ok(Some(tried.email))
    }

    /// Ends the code that the account waits for, if there is one. The row stays for a while: a mail
    /// that is sent again must not bring a used code to life.
    pub(super) async fn call_off_code(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        sql::execute(
            tx,
            "UPDATE codes SET spent = ? WHERE user_id = ? AND purpose = ?",
            values![true, user, purpose.word()],
        )
        .await?;
        Ok(())
    }

    /// The address that the account is to prove, if a code for that was asked for and not used.
    pub(super) async fn pending_address(
        &self,
        tx: &DatabaseTransaction,
        user: &str,
    ) -> Result<Option<String>, StoreError> {
        let pending: Option<Pending> = sql::one(
            tx,
            "SELECT email FROM codes WHERE user_id = ? AND purpose = ? AND spent = ?",
            values![user, Purpose::Email.word(), false],
        )
        .await?;
        Ok(pending.map(|row| row.email))
    }

    /// Lets go of codes that ended long ago: longer than any mail with one is still on its way.
    pub(crate) async fn forget_old_codes(&self) -> Result<(), StoreError> {
        let kept = self.limits().mail_lifetime;
        let oldest = self.now().as_millis() - kept.as_millis() as i64;
        let tx = self.database().begin().await?;
        let delete = "DELETE FROM codes WHERE expires_at < ?";
        sql::execute(&tx, delete, values![oldest]).await?;
        self.database().commit(tx).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_of_its_mail_its_purpose_and_its_store() {
        let codes = MailCodes::new([7; 32]);
        let code = codes.code(Purpose::Email, "01J0");
        assert_eq!(code.len(), LENGTH + 1);
        assert_eq!(code, codes.code(Purpose::Email, "01J0"));
        assert_ne!(code, codes.code(Purpose::Password, "01J0"));
        assert_ne!(code, codes.code(Purpose::Email, "01J1"));
        assert_ne!(code, MailCodes::new([8; 32]).code(Purpose::Email, "01J0"));
    }
}
