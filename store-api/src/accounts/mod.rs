//! Accounts: who somebody is, how they prove it, and how the proof is taken back.

use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
};
use shared::{
    events::StoreEventKind,
    id::{Timestamp, UserId},
};
use ulid::Ulid;

pub(crate) use code::{MailCodes, Purpose};
pub(crate) use password::{HashCost, Hasher};
pub use role::Role;
pub(crate) use role::Standing;
use rules::Password;
pub(crate) use rules::{Email, Name, fold};
pub(crate) use secret::{hex, random};
pub(crate) use service_token::is_service_token;
pub use service_token::{NewServiceToken, Scope, Scopes, ServiceToken};
pub use session::LoggedIn;
pub(crate) use tokens::{TokenLifetimes, Tokens};

use crate::{
    audit::{By, Deed},
    entity::user,
    error::{StoreError, Violation},
    orders::Due,
    shelf::leave,
    store::{Store, lock_users, stored_id},
};

mod code;
mod email;
mod password;
mod recovery;
mod revocation;
mod role;
mod rules;
mod secret;
mod service_token;
mod session;
mod tokens;

/// What a person says of themselves when they register.
#[derive(Clone)]
pub struct NewAccount {
    /// An address to log in with, and to be reached at.
    pub email: Option<String>,
    /// The nickname.
    pub name: String,
    /// The password.
    pub password: String,
}

/// How somebody says which account is theirs.
#[derive(Debug, Clone, Copy)]
pub enum Login<'a> {
    /// By its e-mail address.
    Email(&'a str),
    /// By its nickname.
    Name(&'a str),
}

/// How somebody who is logged in shows once more that the account is theirs.
#[derive(Clone, Copy)]
pub struct Confirmation<'a> {
    /// The password of the account, if it has one.
    pub password: Option<&'a str>,
    /// The id of the access token: an account without a password is confirmed by having logged in lately.
    pub jti: &'a str,
}

impl Login<'_> {
    /// The name under which guesses at an account are counted.
    pub(crate) fn key(self) -> String {
        match self {
            Self::Email(email) => login_key(email),
            Self::Name(name) => format!("name {}", fold(name.trim())),
        }
    }
}

/// The name under which guesses at an account are counted, however its address is spelled: what
/// logs in alike counts alike.
pub(crate) fn login_key(email: &str) -> String {
    match Email::parse(email) {
        Ok(email) => email.as_str().to_owned(),
        // Nobody's, but an answer of its own would tell.
        Err(_) => email.trim().to_lowercase(),
    }
}

/// One answer to every log-in that fails, whatever the reason.
const WRONG: StoreError =
    StoreError::Unauthenticated("the e-mail address, the name or the password is wrong");

impl Store {
    /// Makes an account and logs it in.
    pub async fn register(&self, account: NewAccount) -> Result<LoggedIn, StoreError> {
        let mut violations = Vec::new();
        let mut note = |violation| violations.push(violation);
        let email = account.email.as_deref().map(Email::parse).transpose();
        let email = email.map_err(&mut note).unwrap_or_default();
        let name = Name::parse(&account.name).map_err(&mut note).ok();
        let password = Password::choose("password", &account.password, email.as_ref())
            .map_err(&mut note)
            .ok();
        let (Some(name), Some(password), []) = (name, password, &violations[..]) else {
            return Err(StoreError::Invalid(violations));
        };
        // Before looking whether the address is taken, so that the answer takes as long either way.
        let hash = self.hasher().hash(password).await?;
        let tx = self.database().begin().await?;
        let row = new_user(&name, email.as_ref(), Some(hash), self.now());
        let row = match row.insert(&tx).await.map_err(StoreError::from) {
            Err(error) if error.is_unique_violation() => {
                tx.rollback().await?;
                return Err(self.taken(email.as_ref(), &name).await?);
            }
            row => row?,
        };
        if let (Some(email), true) = (&row.email, self.mailer().is_some()) {
            self.send_code(&tx, &row.id, email).await?;
        }
        self.record_own(&tx, Deed::Registered, &row.id).await?;
        let logged_in = self.start_session(&tx, &row).await?;
        self.commit(tx).await?;
        metrics::counter!("fireside_store_registrations_total").increment(1);
        Ok(logged_in)
    }

    /// Logs in.
    ///
    /// Whether an account exists shows neither in what is answered nor in how long it takes.
    pub async fn login(&self, who: Login<'_>, password: &str) -> Result<LoggedIn, StoreError> {
        let result = self.try_login(who, password).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::Unauthenticated(_)) => "refused",
            Err(_) => "failed",
        };
        metrics::counter!("fireside_store_logins_total", "result" => outcome).increment(1);
        result
    }

    async fn try_login(&self, who: Login<'_>, password: &str) -> Result<LoggedIn, StoreError> {
        let row = match who {
            Login::Email(email) => match Email::parse(email) {
                Ok(email) => self.user_by_email(&email).await?,
                Err(_) => None,
            },
            Login::Name(name) => match Name::parse(name) {
                Ok(name) => self.user_by_name(&name).await?,
                Err(_) => None,
            },
        };
        let kept = row.as_ref().and_then(|row| row.password_hash.clone());
        let right = self
            .hasher()
            .verify(Password::given(password), kept.clone())
            .await?;
        let known = row.as_ref().map(|row| row.id.clone());
        let (Some(row), Some(kept), true) = (row, kept, right) else {
            self.record_alone(Deed::LoginFailed, By::Nobody, known.as_deref())
                .await?;
            return Err(WRONG);
        };
        // Made at another cost than new ones: the only moment at which it can be made anew.
        let renewed = if self.hasher().is_outdated(&kept) {
            Some(self.hasher().hash(Password::given(password)).await?)
        } else {
            None
        };
        let id = stored_id(&row.id)?;
        let tx = self.database().begin().await?;
        // The password may have been changed, or the account withdrawn, while it was verified.
        let Some(row) = lock_users(&tx, &[&id])
            .await?
            .pop()
            .filter(|row| row.password_hash.as_ref() == Some(&kept))
        else {
            return Err(WRONG);
        };
        let row = match renewed {
            None => row,
            Some(hash) => {
                let mut row = row.into_active_model();
                row.password_hash = Set(Some(hash));
                row.update(&tx).await?
            }
        };
        self.record_own(&tx, Deed::LoggedIn, &row.id).await?;
        let logged_in = self.start_session(&tx, &row).await?;
        // The new session may have ended an old one, of which nodes are told.
        self.commit(tx).await?;
        Ok(logged_in)
    }

    /// Changes the password. Everybody who is logged in with the old one is out, on every device;
    /// the caller gets a session of its own to go on with.
    pub async fn change_password(
        &self,
        me: &UserId,
        confirmation: Confirmation<'_>,
        new: &str,
    ) -> Result<LoggedIn, StoreError> {
        let (row, kept) = self.confirmed(me, confirmation).await?;
        let email = row
            .email
            .as_deref()
            .and_then(|email| Email::parse(email).ok());
        let password = Password::choose("new_password", new, email.as_ref())?;
        let hash = self.hasher().hash(password).await?;
        let tx = self.database().begin().await?;
        let Some(row) = lock_users(&tx, &[me])
            .await?
            .pop()
            .filter(|row| row.password_hash == kept)
        else {
            return Err(StoreError::conflict("the password was changed meanwhile"));
        };
        let (row, events) = self.end_all_sessions(&tx, row).await?;
        let mut row = row.into_active_model();
        row.password_hash = Set(Some(hash));
        let row = row.update(&tx).await?;
        self.password_changed(&tx, &row).await?;
        self.record_own(&tx, Deed::PasswordChanged, &row.id).await?;
        let logged_in = self.start_session(&tx, &row).await?;
        self.enqueue(&tx, events).await?;
        self.commit(tx).await?;
        Ok(logged_in)
    }

    /// Withdraws the account: its address and name are free again, its friendships end, every
    /// token of it stops to hold. The id stays taken for ever, for what it wrote bears it.
    pub async fn withdraw(
        &self,
        me: &UserId,
        confirmation: Confirmation<'_>,
    ) -> Result<(), StoreError> {
        let (_, kept) = self.confirmed(me, confirmation).await?;
        let tx = self.database().begin().await?;
        let Some(row) = lock_users(&tx, &[me])
            .await?
            .pop()
            .filter(|row| row.password_hash == kept)
        else {
            return Err(StoreError::conflict("the account was changed meanwhile"));
        };
        let mut events = self.part_from_all(&tx, &row).await?;
        let mut due = Due::default();
        self.return_gifts_to(&tx, me, &mut due).await?;
        leave(&tx, me, &mut due).await?;
        let (row, revoked) = self.end_all_sessions(&tx, row).await?;
        events.extend(revoked);
        events.push(StoreEventKind::UserWithdrawn { user: me.clone() });
        let mut row = row.into_active_model();
        row.email = Set(None);
        row.email_verified_at = Set(None);
        row.name = Set(None);
        row.name_key = Set(None);
        row.password_hash = Set(None);
        row.avatar_url = Set(None);
        row.status_text = Set(None);
        row.withdrawn_at = Set(Some(self.now().as_millis()));
        row.update(&tx).await?;
        self.record_own(&tx, Deed::Withdrawn, me.as_str()).await?;
        self.publish_withdrawal(&tx, me).await?;
        self.enqueue(&tx, events).await?;
        due.settle(&tx).await?;
        self.commit(tx).await?;
        metrics::counter!("fireside_store_withdrawals_total").increment(1);
        Ok(())
    }

    /// Whether an account could be made with this e-mail address; an error names the rule it
    /// breaks.
    pub async fn email_available(&self, email: &str) -> Result<bool, StoreError> {
        let email = Email::parse(email)?;
        Ok(self.user_by_email(&email).await?.is_none())
    }

    /// Whether the nickname is free; an error names the rule it breaks.
    pub async fn name_available(&self, name: &str) -> Result<bool, StoreError> {
        self.is_name_free(&Name::parse(name)?).await
    }

    /// The account and its password hash, if the caller shows that it is theirs.
    pub(crate) async fn confirmed(
        &self,
        me: &UserId,
        confirmation: Confirmation<'_>,
    ) -> Result<(user::Model, Option<String>), StoreError> {
        let row = self.active_user(me).await?;
        let row = match row {
            Some(row) if row.password_hash.is_none() => {
                if self.logged_in_lately(me, confirmation.jti).await? {
                    return Ok((row, None));
                }
                let message =
                    "the account has no password, and its log-in is too long ago: log in again";
                return Err(StoreError::Forbidden(message));
            }
            row => row,
        };
        let kept = row.as_ref().and_then(|row| row.password_hash.clone());
        let given = Password::given(confirmation.password.unwrap_or_default());
        let right = self.hasher().verify(given, kept.clone()).await?;
        match (row, right) {
            (Some(row), true) => Ok((row, kept)),
            // Not `unauthenticated`: the token holds, and a client must not throw it away.
            _ => Err(StoreError::Forbidden("the password is wrong")),
        }
    }

    async fn user_by_email(&self, email: &Email) -> Result<Option<user::Model>, StoreError> {
        self.user_of_address(email.as_str()).await
    }

    async fn user_by_name(&self, name: &Name) -> Result<Option<user::Model>, StoreError> {
        Ok(user::Entity::find()
            .filter(user::Column::NameKey.eq(name.key()))
            .one(self.database().reader())
            .await?)
    }

    async fn is_name_free(&self, name: &Name) -> Result<bool, StoreError> {
        let holders = user::Entity::find()
            .filter(user::Column::NameKey.eq(name.key()))
            .count(self.database().reader())
            .await?;
        Ok(holders == 0)
    }

    /// What stands against a registration that met a unique constraint.
    pub(crate) async fn taken(
        &self,
        email: Option<&Email>,
        name: &Name,
    ) -> Result<StoreError, StoreError> {
        let mut violations = Vec::new();
        if let Some(email) = email
            && self.user_by_email(email).await?.is_some()
        {
            violations.push(Violation::new(
                "email",
                "taken",
                "there is an account with it",
            ));
        }
        if !self.is_name_free(name).await? {
            violations.push(Violation::new("name", "taken", "somebody has this name"));
        }
        Ok(StoreError::Conflict {
            message: "the e-mail address or the name is taken",
            violations,
        })
    }
}

/// The row of an account that is made now: with a password, unless its owner comes by a provider.
pub(crate) fn new_user(
    name: &Name,
    email: Option<&Email>,
    password_hash: Option<String>,
    now: Timestamp,
) -> user::ActiveModel {
    user::ActiveModel {
        id: Set(Ulid::new().to_string()),
        email: Set(email.map(|email| email.as_str().to_owned())),
        name: Set(Some(name.shown().to_owned())),
        name_key: Set(Some(name.key().to_owned())),
        password_hash: Set(password_hash),
        avatar_url: NotSet,
        status_text: NotSet,
        tokens_not_before: Set(0),
        created_at: Set(now.as_millis()),
        withdrawn_at: NotSet,
        role: NotSet,
        country: NotSet,
        email_verified_at: NotSet,
    }
}
