//! Who may see what of somebody, and what is written in guest books.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0011_profiles"
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
            -- What somebody said; what they did not say has its default.
            CREATE TABLE privacy (
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                section TEXT NOT NULL,
                audience TEXT NOT NULL CHECK (audience IN ('public', 'friends', 'nobody')),
                PRIMARY KEY (user_id, section)
            );

            CREATE TABLE guest_book (
                id {ordered_text} PRIMARY KEY,
                owner {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                author {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                text TEXT NOT NULL,
                hidden BOOLEAN NOT NULL DEFAULT FALSE,
                created_at BIGINT NOT NULL
            );
            CREATE INDEX guest_book_owner ON guest_book (owner, id);
            CREATE INDEX guest_book_author ON guest_book (author, owner, created_at);
            "
        ))
        .await?;
        Ok(())
    }
}
