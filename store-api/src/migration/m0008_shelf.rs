//! What people have, want and like; and what they bought.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_shelf"
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
            CREATE TABLE marks (
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                list TEXT NOT NULL CHECK (list IN ('wishlist', 'cart', 'likes')),
                game {ordered_text} NOT NULL REFERENCES games (id) ON DELETE CASCADE,
                since BIGINT NOT NULL,
                PRIMARY KEY (user_id, list, game)
            );
            CREATE INDEX marks_game ON marks (game, list);
            CREATE TABLE follows (
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                publisher {ordered_text} NOT NULL REFERENCES publishers (id) ON DELETE CASCADE,
                since BIGINT NOT NULL,
                PRIMARY KEY (user_id, publisher)
            );
            CREATE INDEX follows_publisher ON follows (publisher);

            -- No reference to users: what was paid outlives accounts.
            CREATE TABLE orders (
                id {ordered_text} PRIMARY KEY,
                buyer {ordered_text} NOT NULL,
                country TEXT NOT NULL,
                currency TEXT NOT NULL,
                total BIGINT NOT NULL CHECK (total >= 0),
                -- None where nothing was to be paid.
                transfer {ordered_text} REFERENCES transfers (id),
                created_at BIGINT NOT NULL,
                CHECK ((transfer IS NULL) = (total = 0))
            );
            CREATE INDEX orders_buyer ON orders (buyer, id);
            CREATE TABLE order_lines (
                order_id {ordered_text} NOT NULL REFERENCES orders (id),
                game {ordered_text} NOT NULL REFERENCES games (id),
                title TEXT NOT NULL,
                price BIGINT NOT NULL CHECK (price >= 0),
                PRIMARY KEY (order_id, game)
            );

            CREATE TABLE library (
                user_id {ordered_text} NOT NULL,
                game {ordered_text} NOT NULL REFERENCES games (id),
                order_id {ordered_text} NOT NULL REFERENCES orders (id),
                acquired_at BIGINT NOT NULL,
                installed BOOLEAN NOT NULL DEFAULT FALSE,
                played_seconds BIGINT NOT NULL DEFAULT 0,
                played_at BIGINT,
                -- A game is owned once.
                PRIMARY KEY (user_id, game)
            );
            CREATE TABLE play_sessions (
                user_id {ordered_text} NOT NULL,
                game {ordered_text} NOT NULL,
                session {ordered_text} NOT NULL,
                seconds BIGINT NOT NULL,
                began_at BIGINT NOT NULL,
                PRIMARY KEY (user_id, game, session),
                FOREIGN KEY (user_id, game) REFERENCES library (user_id, game)
            );
            "
        ))
        .await?;
        Ok(())
    }
}
