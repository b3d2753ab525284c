//! Money: accounts, what moved between them, gift cards, and the names of requests.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_ledger"
    }
}

#[async_trait]
#[allow(elided_lifetimes_in_paths)] // as the trait has it; async_trait cannot match `'_` to it
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let Dialect {
            ordered_text,
            counting_key,
        } = Dialect::of(db.get_database_backend());
        db.execute_unprepared(&format!(
            "
            -- No reference to users: books outlive accounts.
            CREATE TABLE ledger_accounts (
                id {ordered_text} PRIMARY KEY,
                kind TEXT NOT NULL,
                owner {ordered_text},
                currency TEXT NOT NULL,
                balance BIGINT NOT NULL,
                CHECK (kind = 'outside' OR balance >= 0)
            );
            CREATE TABLE transfers (
                id {ordered_text} PRIMARY KEY,
                cause TEXT NOT NULL,
                reference {ordered_text} NOT NULL,
                created_at BIGINT NOT NULL
            );
            -- Nothing is paid for twice.
            CREATE UNIQUE INDEX transfers_reference ON transfers (cause, reference);
            CREATE TABLE postings (
                id {counting_key},
                transfer {ordered_text} NOT NULL REFERENCES transfers (id),
                account {ordered_text} NOT NULL REFERENCES ledger_accounts (id),
                amount BIGINT NOT NULL CHECK (amount <> 0),
                -- Of the account, after it.
                balance BIGINT NOT NULL
            );
            CREATE UNIQUE INDEX postings_transfer ON postings (transfer, account);
            CREATE INDEX postings_account ON postings (account, id);

            CREATE TABLE gift_cards (
                id {ordered_text} PRIMARY KEY,
                hash TEXT NOT NULL,
                amount BIGINT NOT NULL CHECK (amount > 0),
                currency TEXT NOT NULL,
                issued_by TEXT NOT NULL,
                issued_at BIGINT NOT NULL,
                expires_at BIGINT NOT NULL,
                redeemed_by {ordered_text},
                redeemed_at BIGINT,
                CHECK ((redeemed_by IS NULL) = (redeemed_at IS NULL))
            );
            CREATE UNIQUE INDEX gift_cards_hash ON gift_cards (hash);
            CREATE TABLE gift_card_attempts (
                user_id {ordered_text} PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
                failures BIGINT NOT NULL,
                began_at BIGINT NOT NULL
            );

            CREATE TABLE idempotency_keys (
                caller {ordered_text} NOT NULL,
                name TEXT NOT NULL,
                fingerprint TEXT NOT NULL,
                answer TEXT NOT NULL,
                created_at BIGINT NOT NULL,
                PRIMARY KEY (caller, name)
            );
            CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
            "
        ))
        .await?;
        Ok(())
    }
}
