//! What people are to each other.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_friends"
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
            -- A row is what its owner sees; a friendship is two rows, one each way.
            CREATE TABLE relations (
                owner {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                other {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                state TEXT NOT NULL CHECK (state IN ('friend', 'incoming', 'outgoing')),
                since BIGINT NOT NULL,
                PRIMARY KEY (owner, other),
                CHECK (owner <> other)
            );
            CREATE INDEX relations_other ON relations (other);

            CREATE TABLE blocks (
                owner {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                other {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                since BIGINT NOT NULL,
                PRIMARY KEY (owner, other),
                CHECK (owner <> other)
            );
            CREATE INDEX blocks_other ON blocks (other);
            "
        ))
        .await?;
        Ok(())
    }
}
