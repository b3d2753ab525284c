//! Gifts, what was given back, and what people are told.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_gifts"
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
            -- What the store kept of the price: what is given back is taken from whom it went to.
            ALTER TABLE order_lines ADD COLUMN store_share BIGINT NOT NULL DEFAULT 0;
            UPDATE order_lines SET store_share = price * 30 / 100;
            ALTER TABLE order_lines ADD COLUMN refunded_at BIGINT;

            -- An order for somebody else. No reference to users: books outlive accounts.
            CREATE TABLE gifts (
                order_id {ordered_text} PRIMARY KEY REFERENCES orders (id),
                giver {ordered_text} NOT NULL,
                recipient {ordered_text} NOT NULL,
                message TEXT,
                state TEXT NOT NULL
                    CHECK (state IN ('waiting', 'accepted', 'declined', 'taken_back', 'expired')),
                expires_at BIGINT NOT NULL,
                answered_at BIGINT,
                CHECK ((state = 'waiting') = (answered_at IS NULL))
            );
            CREATE INDEX gifts_recipient ON gifts (recipient, order_id);
            CREATE INDEX gifts_giver ON gifts (giver, order_id);
            CREATE INDEX gifts_waiting ON gifts (state, expires_at);

            CREATE TABLE notices (
                id {ordered_text} PRIMARY KEY,
                user_id {ordered_text} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                topic TEXT NOT NULL,
                data TEXT NOT NULL,
                created_at BIGINT NOT NULL,
                read BOOLEAN NOT NULL DEFAULT FALSE
            );
            CREATE INDEX notices_user ON notices (user_id, id);
            CREATE INDEX notices_age ON notices (created_at);
            "
        ))
        .await?;
        Ok(())
    }
}
