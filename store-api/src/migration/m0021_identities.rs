//! Who somebody is at other providers.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0021_identities"
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
            CREATE TABLE identities (
                provider {ordered_text} NOT NULL,
                -- The provider's name for the person, which stays: an e-mail address may change hands.
                subject {ordered_text} NOT NULL,
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                linked_at BIGINT NOT NULL,
                PRIMARY KEY (provider, subject)
            );
            -- One of each provider a person.
            CREATE UNIQUE INDEX identities_user ON identities (user_id, provider);
            "
        ))
        .await?;
        Ok(())
    }
}
