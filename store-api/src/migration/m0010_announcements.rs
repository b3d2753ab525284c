//! What many are told of, and how far the telling is.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0010_announcements"
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
            CREATE TABLE announcements (
                id {ordered_text} PRIMARY KEY,
                what TEXT NOT NULL,
                -- Who did it, if a person did.
                actor {ordered_text},
                -- Everybody up to this one has been told.
                told_up_to {ordered_text} NOT NULL DEFAULT '',
                created_at BIGINT NOT NULL
            );
            CREATE INDEX announcements_actor ON announcements (actor);

            -- With the person: those who wish for a game are read in pages.
            DROP INDEX marks_game;
            CREATE INDEX marks_game ON marks (game, list, user_id);
            "
        ))
        .await?;
        Ok(())
    }
}
