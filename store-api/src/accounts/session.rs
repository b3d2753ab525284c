//! Sessions: one log-in on one device, and the refresh tokens that follow each other in it.
//!
//! A refresh token names its session and carries a secret; the session knows the hash of the one
//! that is current. Whoever comes with another once held one of this session, for nobody else
//! knows its name: either the token was stolen or it was copied, and the session ends. There is no
//! grace for a client that repeats a refresh whose answer it lost: it logs in again.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, LockType},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::{
    events::StoreEventKind,
    id::{Timestamp, UserId},
};

use super::secret::{hex, random};
use crate::{
    audit::{By, Deed},
    entity::{access_token, session, user},
    error::StoreError,
    store::{Store, lock_users, stored_id},
};

/// Bytes of a session's name, and of a refresh token's secret.
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// How long after a log-in it is as good as the password that an account does not have.
const LATELY: Duration = Duration::from_mins(10);

const REFUSED: StoreError = StoreError::Unauthenticated("the refresh token does not hold");

/// What a client gets that has proved who it is.
#[derive(Clone)]
pub struct LoggedIn {
    /// The account.
    pub id: UserId,
    /// Its nickname.
    pub name: String,
    /// For the upgrade and for every request.
    pub access_token: String,
    /// For the next pair of tokens, once.
    pub refresh_token: String,
    /// Seconds until the access token ends.
    pub expires_in: u64,
}

/// A refresh token taken apart.
struct Presented {
    session: String,
    hash: String,
}

impl Store {
    /// Exchanges a refresh token for new tokens. A token that was exchanged before ends its
    /// session, on whichever side of the theft it is presented.
    pub async fn refresh(&self, token: &str) -> Result<LoggedIn, StoreError> {
        let Some(presented) = Presented::parse(token) else {
            return Err(REFUSED);
        };
        let now = self.now();
        let tx = self.database().begin().await?;
        let fresh = random::<SECRET_BYTES>()?;
        // One statement decides which of two that come with the same token is first.
        let rotated = session::Entity::update_many()
            .col_expr(session::Column::CurrentHash, Expr::value(hash(&fresh)))
            .col_expr(session::Column::RotatedAt, Expr::value(now.as_millis()))
            .filter(session::Column::Id.eq(&presented.session))
            .filter(session::Column::CurrentHash.eq(&presented.hash))
            .filter(session::Column::ExpiresAt.gt(now.as_millis()))
            .exec(&tx)
            .await?
            .rows_affected;
        if rotated == 0 {
            let found = session::Entity::find_by_id(&presented.session)
                .filter(session::Column::ExpiresAt.gt(now.as_millis()))
                .filter(session::Column::CurrentHash.ne(&presented.hash))
                .lock(LockType::Update)
                .one(&tx)
                .await?;
            if let Some(session) = found {
                tracing::warn!(user = %session.user_id, "a refresh token was used again");
                metrics::counter!("fireside_store_refresh_reuse_total").increment(1);
                let owner = session.user_id.as_str();
                self.record(&tx, Deed::RefreshReused, By::Nobody, Some(owner), json!({}))
                    .await?;
                self.end_session(tx, &session).await?;
            }
            return Err(REFUSED);
        }
        let Some(mut session) = session::Entity::find_by_id(&presented.session)
            .one(&tx)
            .await?
        else {
            return Err(REFUSED);
        };
        let row = user::Entity::find_by_id(&session.user_id)
            .filter(user::Column::WithdrawnAt.is_null())
            .one(&tx)
            .await?;
        let Some(row) = row else { return Err(REFUSED) };
        let lasts_until = self
            .tokens()
            .lifetimes()
            .session_end(Timestamp::from_millis(session.created_at), now);
        if lasts_until.as_millis() != session.expires_at {
            let mut change = session.into_active_model();
            change.expires_at = Set(lasts_until.as_millis());
            session = change.update(&tx).await?;
        }
        let logged_in = self.issue(&tx, &row, &session.id, &fresh).await?;
        self.database().commit(tx).await?;
        Ok(logged_in)
    }

    /// Ends the session that the access token `jti` belongs to.
    pub async fn logout(&self, jti: &str) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let Some(token) = access_token::Entity::find_by_id(jti).one(&tx).await? else {
            return Ok(());
        };
        let found = session::Entity::find_by_id(token.session_id)
            .lock(LockType::Update)
            .one(&tx)
            .await?;
        match found {
            Some(session) => self.end_session(tx, &session).await,
            None => Ok(()),
        }
    }

    /// Ends the session of a refresh token, for a client whose access token has run out. A token
    /// that is not current ends it too. Tells nobody whether there was a session.
    pub async fn logout_by_refresh(&self, token: &str) -> Result<(), StoreError> {
        let Some(presented) = Presented::parse(token) else {
            return Ok(());
        };
        let tx = self.database().begin().await?;
        let found = session::Entity::find_by_id(presented.session)
            .lock(LockType::Update)
            .one(&tx)
            .await?;
        match found {
            Some(session) => self.end_session(tx, &session).await,
            None => Ok(()),
        }
    }

    /// Logs out on every device, this one too.
    pub async fn logout_everywhere(&self, me: &UserId) -> Result<(), StoreError> {
        let tx = self.database().begin().await?;
        let Some(row) = lock_users(&tx, &[me]).await?.pop() else {
            return Ok(());
        };
        let (_, events) = self.end_all_sessions(&tx, row).await?;
        self.enqueue(&tx, events).await?;
        self.commit(tx).await?;
        Ok(())
    }

    /// A new session of `user`, whose row the caller has locked or just made.
    pub(crate) async fn start_session(
        &self,
        tx: &DatabaseTransaction,
        user: &user::Model,
    ) -> Result<LoggedIn, StoreError> {
        self.make_room(tx, user).await?;
        let now = self.now();
        let secret = random::<SECRET_BYTES>()?;
        let row = session::ActiveModel {
            id: Set(URL_SAFE_NO_PAD.encode(random::<NAME_BYTES>()?)),
            user_id: Set(user.id.clone()),
            current_hash: Set(hash(&secret)),
            created_at: Set(now.as_millis()),
            rotated_at: Set(now.as_millis()),
            expires_at: Set(self.tokens().lifetimes().session_end(now, now).as_millis()),
        };
        let row = row.insert(tx).await?;
        self.issue(tx, user, &row.id, &secret).await
    }

    /// Whether the session of this access token is a log-in of `me` not long ago, however often it was refreshed since.
    pub(super) async fn logged_in_lately(
        &self,
        me: &UserId,
        jti: &str,
    ) -> Result<bool, StoreError> {
        let db = self.database().reader();
        let Some(token) = access_token::Entity::find_by_id(jti).one(db).await? else {
            return Ok(false);
        };
        let since = self.now().as_millis() - LATELY.as_millis() as i64;
        let found = session::Entity::find_by_id(token.session_id)
            .filter(session::Column::UserId.eq(me.as_str()))
            .filter(session::Column::CreatedAt.gt(since))
            .one(db)
            .await?;
        Ok(found.is_some())
    }

    /// Ends the sessions longest unused, so that an account has no more than it may.
    async fn make_room(
        &self,
        tx: &DatabaseTransaction,
        user: &user::Model,
    ) -> Result<(), StoreError> {
        let rows = session::Entity::find()
            .filter(session::Column::UserId.eq(&user.id))
            .order_by_desc(session::Column::RotatedAt)
            .lock(LockType::Update)
            .all(tx)
            .await?;
        let keep = self.limits().sessions.saturating_sub(1) as usize;
        for row in rows.iter().skip(keep) {
            let events = self.revoke_session(tx, row).await?;
            self.enqueue(tx, events).await?;
        }
        Ok(())
    }

    async fn issue(
        &self,
        tx: &DatabaseTransaction,
        user: &user::Model,
        session: &str,
        secret: &[u8],
    ) -> Result<LoggedIn, StoreError> {
        let id = stored_id(&user.id)?;
        let name = user.name.clone().unwrap_or_default();
        let not_before = Timestamp::from_millis(user.tokens_not_before);
        let access = self
            .tokens()
            .issue(&id, &name, self.now().max(not_before))?;
        let row = access_token::ActiveModel {
            jti: Set(access.jti),
            session_id: Set(session.to_owned()),
            expires_at: Set(access.expires_at.as_millis()),
        };
        access_token::Entity::insert(row)
            .exec_without_returning(tx)
            .await?;
        Ok(LoggedIn {
            id,
            name,
            access_token: access.token,
            refresh_token: format!("{session}.{}", URL_SAFE_NO_PAD.encode(secret)),
            expires_in: self.tokens().lifetimes().access.as_secs(),
        })
    }

    async fn end_session(
        &self,
        tx: DatabaseTransaction,
        session: &session::Model,
    ) -> Result<(), StoreError> {
        let events = self.revoke_session(&tx, session).await?;
        self.enqueue(&tx, events).await?;
        self.commit(tx).await?;
        Ok(())
    }

    /// Removes a session and revokes what access tokens of it are alive.
    async fn revoke_session(
        &self,
        tx: &DatabaseTransaction,
        session: &session::Model,
    ) -> Result<Vec<StoreEventKind>, StoreError> {
        let tokens = access_token::Entity::find()
            .filter(access_token::Column::SessionId.eq(&session.id))
            .filter(access_token::Column::ExpiresAt.gt(self.ended().as_millis()))
            .all(tx)
            .await?;
        session::Entity::delete_by_id(&session.id).exec(tx).await?;
        let user = stored_id(&session.user_id)?;
        self.revoke_tokens(tx, &user, &tokens).await
    }

    /// Removes every session of a user whose row the caller has locked, and revokes every token
    /// made until now.
    pub(super) async fn end_all_sessions(
        &self,
        tx: &DatabaseTransaction,
        user: user::Model,
    ) -> Result<(user::Model, Vec<StoreEventKind>), StoreError> {
        // Locked before the clock is read: a refresh under way has then either made its token,
        // which is older than what is revoked, or finds no session.
        session::Entity::find()
            .filter(session::Column::UserId.eq(&user.id))
            .order_by_asc(session::Column::Id)
            .lock(LockType::Update)
            .all(tx)
            .await?;
        session::Entity::delete_many()
            .filter(session::Column::UserId.eq(&user.id))
            .exec(tx)
            .await?;
        // Past this millisecond, and past a revocation of the same millisecond.
        let not_before = self.now().as_millis().max(user.tokens_not_before) + 1;
        let mut row = user.into_active_model();
        row.tokens_not_before = Set(not_before);
        let row = row.update(tx).await?;
        let event = self.revoke_user(tx, &row).await?;
        Ok((row, vec![event]))
    }
}

impl Presented {
    fn parse(token: &str) -> Option<Self> {
        let (session, secret) = token.split_once('.')?;
        let name = URL_SAFE_NO_PAD.decode(session).ok()?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        (name.len() == NAME_BYTES && secret.len() == SECRET_BYTES).then(|| Self {
            session: session.to_owned(),
            hash: hash(&secret),
        })
    }
}

fn hash(secret: &[u8]) -> String {
    // Fast on purpose: the secret has 256 bits, there is nothing to try out.
    hex(&Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_refresh_token_reaches_the_database() {
        let token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode([1; NAME_BYTES]),
            URL_SAFE_NO_PAD.encode([2; SECRET_BYTES])
        );
        assert!(Presented::parse(&token).is_some());
        for bad in [
            "",
            ".",
            "a.b",
            &token[1..],
            &token[..token.len() - 1],
            &token.repeat(2),
        ] {
            assert!(Presented::parse(bad).is_none(), "{bad}");
        }
    }
}
