//! Gift cards that are good for nothing any more.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0022_void_cards"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        db.execute_unprepared(
            "
            -- When an operator took back what nobody had redeemed.
            ALTER TABLE gift_cards ADD COLUMN voided_at BIGINT
                CHECK (voided_at IS NULL OR redeemed_at IS NULL);
            ",
        )
        .await?;
        Ok(())
    }
}
