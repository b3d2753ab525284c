//! Payments by providers, and what of them is cancelled.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0013_payments"
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
            -- No reference to users: books outlive accounts.
            CREATE TABLE payments (
                id {ordered_text} PRIMARY KEY,
                user_id {ordered_text} NOT NULL,
                provider {ordered_text} NOT NULL,
                purpose TEXT NOT NULL CHECK (purpose IN ('top_up', 'order')),
                amount BIGINT NOT NULL CHECK (amount > 0),
                currency TEXT NOT NULL,
                state TEXT NOT NULL CHECK (state IN ('created', 'ready', 'approving', 'paid',
                    'partly_cancelled', 'cancelled', 'failed', 'expired')),
                -- What the provider calls it.
                provider_key {ordered_text},
                -- What the payer brought back from the provider.
                proof TEXT,
                -- What the payer's client does next.
                next TEXT,
                failure TEXT,
                cancelled BIGINT NOT NULL DEFAULT 0,
                -- Asked of the provider, and not answered yet.
                cancelling BIGINT NOT NULL DEFAULT 0,
                -- Since it is in this state.
                attempts BIGINT NOT NULL DEFAULT 0,
                -- When something is to be done about it.
                check_at BIGINT,
                -- Until then somebody is at it.
                leased_until BIGINT NOT NULL DEFAULT 0,
                created_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL,
                changed_at BIGINT NOT NULL,
                CHECK (cancelled >= 0 AND cancelling >= 0 AND cancelled + cancelling <= amount)
            );
            -- What a provider calls one thing pays for one thing.
            CREATE UNIQUE INDEX payments_provider_key ON payments (provider, provider_key);
            CREATE INDEX payments_user ON payments (user_id, id);
            CREATE INDEX payments_due ON payments (check_at);

            CREATE TABLE payment_cancels (
                id {ordered_text} PRIMARY KEY,
                payment {ordered_text} NOT NULL REFERENCES payments (id),
                amount BIGINT NOT NULL CHECK (amount > 0),
                state TEXT NOT NULL CHECK (state IN ('asked', 'done', 'refused')),
                attempts BIGINT NOT NULL DEFAULT 0,
                asked_at BIGINT NOT NULL,
                -- The last attempt of which nobody knows what it came to.
                tried_at BIGINT,
                answered_at BIGINT,
                CHECK ((state = 'asked') = (answered_at IS NULL))
            );
            CREATE INDEX payment_cancels_payment ON payment_cancels (payment, asked_at, id);
            "
        ))
        .await?;
        Ok(())
    }
}
