//! Coupons: what is given out, who has it, and what it took off orders.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0016_coupons"
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
            CREATE TABLE campaigns (
                id {ordered_text} PRIMARY KEY,
                name TEXT NOT NULL,
                -- Whose coupons they are; null for the store's own.
                publisher {ordered_text} REFERENCES publishers (id),
                -- What one takes off, and off what, as JSON.
                terms TEXT NOT NULL,
                starts_at BIGINT NOT NULL,
                ends_at BIGINT NOT NULL,
                -- How people get one by themselves: by a code, as it is compared, or whoever comes first.
                code {ordered_text},
                is_drop BOOLEAN NOT NULL DEFAULT FALSE,
                opens_at BIGINT NOT NULL,
                closes_at BIGINT NOT NULL,
                quantity BIGINT,
                issued BIGINT NOT NULL DEFAULT 0,
                created_at BIGINT NOT NULL,
                CHECK (issued >= 0 AND (quantity IS NULL OR issued <= quantity))
            );
            CREATE UNIQUE INDEX campaigns_code ON campaigns (code);
            CREATE INDEX campaigns_publisher ON campaigns (publisher, id);

            -- No reference to users: what was used is in the books, which outlive accounts.
            CREATE TABLE coupons (
                id {ordered_text} PRIMARY KEY,
                campaign {ordered_text} NOT NULL REFERENCES campaigns (id),
                user_id {ordered_text} NOT NULL,
                issued_at BIGINT NOT NULL,
                used_order {ordered_text} REFERENCES orders (id),
                used_at BIGINT,
                CHECK ((used_order IS NULL) = (used_at IS NULL))
            );
            -- One of a kind a person.
            CREATE UNIQUE INDEX coupons_campaign ON coupons (campaign, user_id);
            CREATE INDEX coupons_user ON coupons (user_id, id);
            CREATE INDEX coupons_order ON coupons (used_order);

            -- What came off the price, of which the rest was paid.
            ALTER TABLE order_lines ADD COLUMN discount BIGINT NOT NULL DEFAULT 0;
            -- No reference to coupons: one that came back may go with its owner.
            CREATE TABLE order_coupons (
                order_id {ordered_text} NOT NULL REFERENCES orders (id),
                coupon {ordered_text} NOT NULL,
                name TEXT NOT NULL,
                discount BIGINT NOT NULL CHECK (discount > 0),
                PRIMARY KEY (order_id, coupon)
            );
            "
        ))
        .await?;
        Ok(())
    }
}
