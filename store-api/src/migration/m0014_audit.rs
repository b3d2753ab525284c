//! Who did what: rows that are added and never changed.

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use super::Dialect;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0014_audit"
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
            CREATE TABLE audit (
                id {ordered_text} PRIMARY KEY,
                created_at BIGINT NOT NULL,
                deed TEXT NOT NULL,
                -- `user:ID`, `service:NAME`, `machine` or `nobody`.
                actor {ordered_text} NOT NULL,
                -- The person it was done to.
                subject {ordered_text},
                address TEXT,
                request TEXT,
                details TEXT NOT NULL
            );
            CREATE INDEX audit_subject ON audit (subject, id);
            CREATE INDEX audit_actor ON audit (actor, id);
            CREATE INDEX audit_deed ON audit (deed, id);
            CREATE INDEX audit_age ON audit (created_at);
            "
        ))
        .await?;
        // The store has no statement that would; this is for whoever writes by hand.
        let guard = if db.get_database_backend() == DbBackend::Postgres {
            "
            CREATE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'what stands in the audit log is final'; END $$;
            CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit
                FOR EACH ROW EXECUTE FUNCTION audit_is_final();
            "
        } else {
            "
            CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit
            BEGIN SELECT RAISE(ABORT, 'what stands in the audit log is final'); END;
            "
        };
        db.execute_unprepared(guard).await?;
        Ok(())
    }
}
