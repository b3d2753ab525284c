//! Taking tokens back. What is taken back is kept until it would have ended anyway, so a restart
//! forgets nothing.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    sea_query::OnConflict,
};
use shared::{
    auth::{Claims, LEEWAY, Revocation},
    events::StoreEventKind,
    id::{Timestamp, UserId},
};

use super::tokens::after;
use crate::{
    entity::{access_token, revocation, session, user},
    error::StoreError,
    sql::{self, values},
    store::{Store, stored_id},
};

/// The kinds of revocation, as the table spells them.
const TOKEN: &str = "jti";
const USER: &str = "user";

impl Store {
    /// Every revocation that may still deny a token: what a chat node asks for when it starts.
    pub async fn active_revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        let rows = revocation::Entity::find()
            .filter(revocation::Column::ExpiresAt.gt(self.now().as_millis()))
            .all(self.database().reader())
            .await?;
        rows.into_iter().map(read).collect()
    }

    /// Whether a token that verified has been taken back, or its account withdrawn.
    ///
    /// Asked of the database on every request rather than of a list in memory: what one process
    /// revokes holds in all of them at once.
    pub async fn is_revoked(&self, claims: &Claims) -> Result<bool, StoreError> {
        Ok(self.bearer(claims).await?.is_none())
    }

    /// The account of a token that verified; none if either is no more.
    pub(super) async fn bearer(&self, claims: &Claims) -> Result<Option<user::Model>, StoreError> {
        // One statement, since every request that shows a token begins with it.
        Ok(sql::one(
            self.database().reader(),
            "SELECT u.* FROM users u WHERE u.id = ? AND u.withdrawn_at IS NULL AND u.tokens_not_before <= ? \
             AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.kind = ? AND r.subject = ?)",
            values![
                claims.sub.as_str(),
                claims.issued_at().as_millis(),
                TOKEN,
                claims.jti.as_str()
            ],
        )
        .await?)
    }

    pub(super) async fn revoke_tokens(
        &self,
        tx: &DatabaseTransaction,
        user: &UserId,
        tokens: &[access_token::Model],
    ) -> Result<Vec<StoreEventKind>, StoreError> {
        let mut events = Vec::with_capacity(tokens.len());
        for token in tokens {
            let exp = Timestamp::from_millis(token.expires_at);
            let row = revocation::ActiveModel {
                kind: Set(TOKEN.to_owned()),
                subject: Set(token.jti.clone()),
                user_id: Set(user.to_string()),
                not_before: Set(0),
                expires_at: Set(after(exp, LEEWAY).as_millis()),
            };
            revocation::Entity::insert(row)
                .on_conflict_do_nothing()
                .exec_without_returning(tx)
                .await?;
            let jti = token.jti.clone();
            events.push(StoreEventKind::TokenRevoked {
                user: user.clone(),
                jti,
                exp,
            });
        }
        metrics::counter!("fireside_store_revocations_total", "kind" => TOKEN)
            .increment(events.len() as u64);
        Ok(events)
    }

    /// Revokes every token that is older than the user's `tokens_not_before`.
    pub(super) async fn revoke_user(
        &self,
        tx: &DatabaseTransaction,
        user: &user::Model,
    ) -> Result<StoreEventKind, StoreError> {
        let not_before = Timestamp::from_millis(user.tokens_not_before);
        let end = after(after(not_before, self.tokens().lifetimes().access), LEEWAY);
        let row = revocation::ActiveModel {
            kind: Set(USER.to_owned()),
            subject: Set(user.id.clone()),
            user_id: Set(user.id.clone()),
            not_before: Set(not_before.as_millis()),
            expires_at: Set(end.as_millis()),
        };
        let replace = OnConflict::columns([revocation::Column::Kind, revocation::Column::Subject])
            .update_columns([revocation::Column::NotBefore, revocation::Column::ExpiresAt])
            .to_owned();
        revocation::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(tx)
            .await?;
        metrics::counter!("fireside_store_revocations_total", "kind" => USER).increment(1);
        Ok(StoreEventKind::UserTokensRevoked {
            user: stored_id(&user.id)?,
            issued_at_or_before: not_before.plus_millis(-1),
        })
    }

    /// Access tokens that ended before this hold nowhere: after their end they are believed a little
    /// longer, for clocks that differ.
    pub(super) fn ended(&self) -> Timestamp {
        self.now().plus_millis(-(LEEWAY.as_millis() as i64))
    }

    /// Lets go of what has ended: sessions, tokens, revocations, names of requests, events nobody
    /// took, notices, mails, codes, webhooks' events; and pays back gifts that nobody answered.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.now();
        let ended = now.as_millis();
        // First, since others wait for it: a node that comes back is told what it missed.
        self.outbox().sweep(self.database(), now).await?;
        // A transaction each: one that held expired tokens while it waited for a session that is
        // just being ended, tokens and all, would be a deadlock.
        let tx = self.database().begin().await?;
        access_token::Entity::delete_many()
            .filter(access_token::Column::ExpiresAt.lt(self.ended().as_millis()))
            .exec(&tx)
            .await?;
        self.database().commit(tx).await?;
        let tx = self.database().begin().await?;
        session::Entity::delete_many()
            .filter(session::Column::ExpiresAt.lt(ended))
            .exec(&tx)
            .await?;
        self.database().commit(tx).await?;
        let tx = self.database().begin().await?;
        revocation::Entity::delete_many()
            .filter(revocation::Column::ExpiresAt.lt(ended))
            .exec(&tx)
            .await?;
        self.database().commit(tx).await?;
        self.count_unsettled_payments().await?;
        self.forget_old_service_tokens().await?;
        self.forget_old_keys().await?;
        self.forget_old_searches().await?;
        self.forget_old_notices().await?;
        self.forget_old_mails().await?;
        self.forget_old_codes().await?;
        self.forget_old_audit().await?;
        self.forget_old_deliveries().await?;
        self.count_announcements().await?;
        self.expire_gifts().await
    }
}

fn read(row: revocation::Model) -> Result<Revocation, StoreError> {
    let expires = Timestamp::from_millis(row.expires_at);
    Ok(match row.kind.as_str() {
        USER => Revocation::User {
            user: stored_id(&row.subject)?,
            issued_at_or_before: Timestamp::from_millis(row.not_before - 1),
        },
        _ => Revocation::Token {
            jti: row.subject,
            expires,
        },
    })
}
