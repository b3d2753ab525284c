//! Those who subscribed to what happens in the store, and what they are sent.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0015_webhooks"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let Dialect {
            counting_key,
            ordered_text,
        } = Dialect::of(db.get_database_backend());
        db.execute_unprepared(&format!(
            "
            CREATE TABLE webhooks (
                id {ordered_text} PRIMARY KEY,
                -- Of whose games it hears; null for those who run the store, who hear of all.
                publisher {ordered_text},
                url TEXT NOT NULL,
                -- Words, with a space before and behind each.
                kinds TEXT NOT NULL,
                created_by {ordered_text} NOT NULL,
                created_at BIGINT NOT NULL,
                -- How many secrets it has had. Each follows from its number and a secret of the store.
                secret BIGINT NOT NULL DEFAULT 1,
                secret_hash TEXT NOT NULL,
                -- Until when the secret before this one holds as well.
                previous_until BIGINT,
                -- Why nothing is sent to it, if nothing is.
                disabled TEXT CHECK (disabled IN ('asked', 'failing', 'gone')),
                -- Since when no attempt came through, and how many in a row found nobody there.
                failing_since BIGINT,
                failures BIGINT NOT NULL DEFAULT 0,
                next_at BIGINT NOT NULL DEFAULT 0,
                -- Who sends to it now. When that time is over anybody may.
                leased_by {ordered_text},
                leased_until BIGINT NOT NULL DEFAULT 0
            );
            CREATE INDEX webhooks_publisher ON webhooks (publisher, id);

            -- Without a foreign key: a purchase neither waits for somebody who changes a webhook, nor
            -- fails because one is being deleted. What is left of those is swept.
            CREATE TABLE webhook_deliveries (
                seq {counting_key},
                webhook {ordered_text} NOT NULL,
                message {ordered_text} NOT NULL,
                kind TEXT NOT NULL,
                -- What the message is about; of one subject they are sent in order.
                subject {ordered_text} NOT NULL,
                body TEXT NOT NULL,
                state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
                attempts BIGINT NOT NULL DEFAULT 0,
                -- What the last attempt came to.
                outcome TEXT,
                next_at BIGINT NOT NULL,
                give_up_at BIGINT NOT NULL,
                created_at BIGINT NOT NULL,
                done_at BIGINT
            );
            CREATE UNIQUE INDEX webhook_deliveries_message ON webhook_deliveries (webhook, message);
            CREATE INDEX webhook_deliveries_state ON webhook_deliveries (webhook, state, seq);
            CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, next_at)
                WHERE state = 'waiting';
            CREATE INDEX webhook_deliveries_subject ON webhook_deliveries (webhook, subject, seq)
                WHERE state = 'waiting';
            CREATE INDEX webhook_deliveries_age ON webhook_deliveries (give_up_at);
            "
        ))
        .await?;
        Ok(())
    }
}
