//! What a store in trouble tries: whether there is room again. Empty otherwise.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_probe"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let Dialect { counting_key, .. } = Dialect::of(db.get_database_backend());
        db.execute_unprepared(&format!(
            "CREATE TABLE probe (id {counting_key}, filler TEXT NOT NULL)"
        ))
        .await?;
        Ok(())
    }
}
