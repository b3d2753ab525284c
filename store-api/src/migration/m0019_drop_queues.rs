//! Queues before drops: who waits, and how far admission has come.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0019_drop_queues"
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
            -- How many people a minute are admitted to the drop; null: there is no queue.
            ALTER TABLE campaigns ADD COLUMN queue_rate BIGINT;

            CREATE TABLE drop_queues (
                campaign {ordered_text} PRIMARY KEY REFERENCES campaigns (id),
                -- How many tickets were ever given out: the last one's number.
                issued BIGINT NOT NULL DEFAULT 0,
                -- Up to when the rate has been used up.
                settled_at BIGINT NOT NULL,
                -- When the last round was.
                swept_at BIGINT NOT NULL DEFAULT 0
            );

            -- No reference to users: an account that is withdrawn takes its tickets along by hand.
            CREATE TABLE drop_tickets (
                campaign {ordered_text} NOT NULL REFERENCES drop_queues (campaign),
                number BIGINT NOT NULL,
                user_id {ordered_text} NOT NULL,
                joined_at BIGINT NOT NULL,
                -- Until when its pass is good; null while it waits.
                admitted_until BIGINT,
                PRIMARY KEY (campaign, number)
            );
            -- One place a person.
            CREATE UNIQUE INDEX drop_tickets_user ON drop_tickets (campaign, user_id);
            CREATE INDEX drop_tickets_of ON drop_tickets (user_id);
            CREATE INDEX drop_tickets_waiting ON drop_tickets (campaign, admitted_until, number);
            "
        ))
        .await?;
        Ok(())
    }
}
