//! Events on their way to the chat nodes.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_outbox"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let Dialect { counting_key, .. } = Dialect::of(db.get_database_backend());
        db.execute_unprepared(&format!(
            "
            -- One row an event and target: a target that is away holds up nobody else.
            CREATE TABLE outbox (
                id {counting_key},
                target TEXT NOT NULL,
                event TEXT NOT NULL,
                created_at BIGINT NOT NULL
            );
            CREATE INDEX outbox_target ON outbox (target, id);
            "
        ))
        .await?;
        Ok(())
    }
}
