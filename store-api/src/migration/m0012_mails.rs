//! Mails on their way, and the codes in them.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0012_mails"
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
            ALTER TABLE users ADD COLUMN email_verified_at BIGINT;

            CREATE TABLE codes (
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                purpose TEXT NOT NULL CHECK (purpose IN ('email', 'password')),
                -- That of the mail it is in. The code itself follows from this and a secret.
                id {ordered_text} NOT NULL,
                -- Where it is sent: what it proves.
                email TEXT NOT NULL,
                failures BIGINT NOT NULL DEFAULT 0,
                -- Used, or called off.
                spent BOOLEAN NOT NULL DEFAULT FALSE,
                created_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL,
                PRIMARY KEY (user_id, purpose)
            );
            CREATE INDEX codes_expiry ON codes (expires_at);

            CREATE TABLE mails (
                id {ordered_text} PRIMARY KEY,
                template TEXT NOT NULL,
                -- Null where an address is all that is known: whose it is shows when it is sent.
                user_id {ordered_text},
                recipient TEXT NOT NULL,
                failures BIGINT NOT NULL DEFAULT 0,
                next_at BIGINT NOT NULL,
                created_at BIGINT NOT NULL
            );
            CREATE INDEX mails_next ON mails (next_at, id);
            "
        ))
        .await?;
        Ok(())
    }
}
