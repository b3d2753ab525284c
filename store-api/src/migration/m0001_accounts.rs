//! Accounts, the sessions (refresh families) of their devices, access tokens still alive, and
//! revocations still in force.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_accounts"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let Dialect { ordered_text, .. } = Dialect::of(db.get_database_backend());
        db.execute_unprepared(&format!(
            "
            CREATE TABLE users (
                id {ordered_text} PRIMARY KEY,
                -- E-mail, name and password are null once the account is withdrawn.
                email TEXT,
                name TEXT,
                name_key {ordered_text},
                password_hash TEXT,
                avatar_url TEXT,
                status_text TEXT,
                tokens_not_before BIGINT NOT NULL DEFAULT 0,
                created_at BIGINT NOT NULL,
                withdrawn_at BIGINT
            );
            CREATE UNIQUE INDEX users_email ON users (email);
            CREATE UNIQUE INDEX users_name_key ON users (name_key);

            CREATE TABLE sessions (
                id TEXT PRIMARY KEY,
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                current_hash TEXT NOT NULL,
                created_at BIGINT NOT NULL,
                rotated_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL
            );
            CREATE INDEX sessions_user ON sessions (user_id, rotated_at);
            CREATE INDEX sessions_expiry ON sessions (expires_at);

            CREATE TABLE access_tokens (
                jti TEXT PRIMARY KEY,
                session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
                expires_at BIGINT NOT NULL
            );
            CREATE INDEX access_tokens_session ON access_tokens (session_id);
            CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);

            CREATE TABLE revocations (
                -- A jti, or for a whole user the user's id.
                subject {ordered_text} NOT NULL,
                kind TEXT NOT NULL,
                user_id {ordered_text} NOT NULL,
                not_before BIGINT NOT NULL,
                expires_at BIGINT NOT NULL,
                PRIMARY KEY (kind, subject)
            );
            CREATE INDEX revocations_expiry ON revocations (expires_at);
            "
        ))
        .await?;
        Ok(())
    }
}
