//! Entries of guest books that were deleted, and still count.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0020_removed_entries"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        db.execute_unprepared(
            "
            -- When it was deleted. Its words are gone; that it was written counts for a day.
            ALTER TABLE guest_book ADD COLUMN removed_at BIGINT;
            ",
        )
        .await?;
        Ok(())
    }
}
