//! Coupons that wait for a payment.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0018_held_coupons"
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
            -- The payment whose order it is for, for as long as that can be paid.
            ALTER TABLE coupons ADD COLUMN held_by {ordered_text} REFERENCES payments (id);
            CREATE INDEX coupons_held ON coupons (held_by);
            "
        ))
        .await?;
        Ok(())
    }
}
