//! Orders that a provider is paid for.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0017_paid_orders"
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
            -- What is to be bought once it is paid, and for how much.
            ALTER TABLE payments ADD COLUMN agreed TEXT;
            -- What was bought.
            ALTER TABLE payments ADD COLUMN order_id {ordered_text} REFERENCES orders (id);
            CREATE UNIQUE INDEX payments_order ON payments (order_id);
            "
        ))
        .await?;
        Ok(())
    }
}
