//! What somebody may do beyond their own things, and where they buy; tokens of services.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_roles"
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
            ALTER TABLE users ADD COLUMN role TEXT NOT NULL DEFAULT 'player'
                CHECK (role IN ('player', 'publisher', 'operator'));
            -- Null is where the store is at home.
            ALTER TABLE users ADD COLUMN country TEXT;

            CREATE TABLE service_tokens (
                id {ordered_text} PRIMARY KEY,
                name TEXT NOT NULL,
                hash TEXT NOT NULL,
                scopes TEXT NOT NULL,
                created_by {ordered_text} NOT NULL,
                created_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL
            );
            CREATE UNIQUE INDEX service_tokens_hash ON service_tokens (hash);
            CREATE INDEX service_tokens_expiry ON service_tokens (expires_at);
            "
        ))
        .await?;
        Ok(())
    }
}
