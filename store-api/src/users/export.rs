//! Everything the store holds of a person, as one document.
//!
//! The database makes the JSON: one statement a section, each row an object. What is said here is
//! what is told, so a new table about people needs a line here; a test holds the tables to that.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbBackend, FromQueryResult, Value};
use serde_json::{Map, json};
use shared::id::UserId;

use crate::{
    audit::{By, Deed},
    error::StoreError,
    sql,
    store::Store,
};

/// A part of the document: its name, the columns of its rows, and where they come from; each `?` there
/// is the person.
struct Part {
    name: &'static str,
    columns: &'static [&'static str],
    from: &'static str,
}

const PARTS: &[Part] = &[
    Part {
        name: "account",
        columns: &[
            "id",
            "email",
            "email_verified_at",
            "name",
            "avatar_url",
            "status_text",
            "role",
            "country",
            "created_at",
        ],
        from: "users WHERE id = ?",
    },
    Part {
        name: "sessions",
        columns: &["created_at", "rotated_at", "expires_at"],
        from: "sessions WHERE user_id = ? ORDER BY created_at",
    },
    Part {
        name: "identities",
        columns: &["provider", "subject", "linked_at"],
        from: "identities WHERE user_id = ? ORDER BY provider",
    },
    Part {
        name: "codes",
        columns: &["purpose", "email", "created_at", "expires_at"],
        from: "codes WHERE user_id = ? ORDER BY purpose",
    },
    Part {
        name: "privacy",
        columns: &["section", "audience"],
        from: "privacy WHERE user_id = ? ORDER BY section",
    },
    Part {
        name: "friends",
        columns: &["other", "state", "since"],
        from: "relations WHERE owner = ? ORDER BY other",
    },
    Part {
        name: "blocks",
        columns: &["other", "since"],
        from: "blocks WHERE owner = ? ORDER BY other",
    },
    Part {
        name: "guest_book",
        columns: &["id", "author", "text", "created_at"],
        from: "guest_book WHERE owner = ? AND removed_at IS NULL AND author NOT IN (SELECT other FROM blocks WHERE owner = ?) ORDER BY id",
    },
    Part {
        name: "guest_book_entries",
        columns: &["id", "owner", "text", "created_at"],
        from: "guest_book WHERE author = ? AND removed_at IS NULL ORDER BY id",
    },
    Part {
        name: "lists",
        columns: &["list", "game", "since"],
        from: "marks WHERE user_id = ? ORDER BY list, game",
    },
    Part {
        name: "follows",
        columns: &["publisher", "since"],
        from: "follows WHERE user_id = ? ORDER BY publisher",
    },
    Part {
        name: "publishers",
        columns: &["id", "name", "created_at"],
        from: "publishers WHERE owner = ? ORDER BY id",
    },
    Part {
        name: "searches",
        columns: &["words", "searched_at"],
        from: "recent_searches WHERE user_id = ? ORDER BY searched_at",
    },
    Part {
        name: "reviews",
        columns: &[
            "game",
            "stars",
            "text",
            "helpful",
            "created_at",
            "updated_at",
        ],
        from: "reviews WHERE author = ? ORDER BY game",
    },
    Part {
        name: "votes",
        columns: &["game", "author"],
        from: "review_votes WHERE voter = ? ORDER BY game, author",
    },
    Part {
        name: "library",
        columns: &[
            "game",
            "order_id",
            "acquired_at",
            "played_seconds",
            "played_at",
        ],
        from: "library WHERE user_id = ? ORDER BY game",
    },
    Part {
        name: "play_sessions",
        columns: &["game", "session", "seconds", "began_at"],
        from: "play_sessions WHERE user_id = ? ORDER BY game, session",
    },
    Part {
        name: "orders",
        columns: &["id", "country", "currency", "total", "created_at"],
        from: "orders WHERE buyer = ? ORDER BY id",
    },
    Part {
        name: "order_lines",
        columns: &[
            "order_id",
            "game",
            "title",
            "price",
            "discount",
            "refunded_at",
        ],
        from: "order_lines WHERE order_id IN (SELECT id FROM orders WHERE buyer = ?) ORDER BY order_id, game",
    },
    Part {
        name: "gifts",
        columns: &[
            "order_id",
            "giver",
            "recipient",
            "message",
            "state",
            "expires_at",
            "answered_at",
        ],
        from: "gifts WHERE giver = ? OR recipient = ? ORDER BY order_id",
    },
    Part {
        name: "wallets",
        columns: &["id", "currency", "balance"],
        from: "ledger_accounts WHERE kind = 'wallet' AND owner = ? ORDER BY id",
    },
    Part {
        name: "transfers",
        columns: &["transfer", "account", "amount", "balance"],
        from: "postings WHERE account IN (SELECT id FROM ledger_accounts WHERE kind = 'wallet' AND owner = ?) ORDER BY id",
    },
    Part {
        name: "gift_cards",
        columns: &["id", "amount", "currency", "redeemed_at"],
        from: "gift_cards WHERE redeemed_by = ? ORDER BY id",
    },
    Part {
        name: "wrong_gift_cards",
        columns: &["failures", "began_at"],
        from: "gift_card_attempts WHERE user_id = ?",
    },
    Part {
        name: "payments",
        columns: &[
            "id",
            "provider",
            "purpose",
            "amount",
            "currency",
            "state",
            "cancelled",
            "order_id",
            "created_at",
        ],
        from: "payments WHERE user_id = ? ORDER BY id",
    },
    Part {
        name: "payment_cancels",
        columns: &["id", "payment", "amount", "state", "asked_at"],
        from: "payment_cancels WHERE payment IN (SELECT id FROM payments WHERE user_id = ?) ORDER BY id",
    },
    Part {
        name: "coupons",
        columns: &[
            "id",
            "campaign",
            "issued_at",
            "used_order",
            "used_at",
            "held_by",
        ],
        from: "coupons WHERE user_id = ? ORDER BY id",
    },
    Part {
        name: "drop_tickets",
        columns: &["campaign", "number", "joined_at", "admitted_until"],
        from: "drop_tickets WHERE user_id = ? ORDER BY campaign",
    },
    Part {
        name: "order_coupons",
        columns: &["order_id", "coupon", "name", "discount"],
        from: "order_coupons WHERE order_id IN (SELECT id FROM orders WHERE buyer = ?) ORDER BY order_id, coupon",
    },
    Part {
        name: "notices",
        columns: &["id", "topic", "data", "created_at"],
        from: "notices WHERE user_id = ? ORDER BY id",
    },
    Part {
        name: "security_events",
        columns: &["id", "deed", "address", "created_at"],
        from: "audit WHERE subject = ? ORDER BY id",
    },
    Part {
        name: "service_tokens",
        columns: &["id", "name", "scopes", "created_at", "expires_at"],
        from: "service_tokens WHERE created_by = ? ORDER BY id",
    },
    Part {
        name: "webhooks",
        columns: &["id", "publisher", "url", "kinds", "created_at"],
        from: "webhooks WHERE created_by = ? ORDER BY id",
    },
];

#[derive(FromQueryResult)]
struct Found {
    rows: String,
}

impl Part {
    fn statement(&self, backend: DbBackend) -> String {
        let fields: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("'{column}', part.{column}"))
            .collect();
        let fields = fields.join(", ");
        let rows = match backend {
            DbBackend::Postgres => {
                format!("CAST(COALESCE(json_agg(json_build_object({fields})), '[]') AS TEXT)")
            }
            _ => format!("json_group_array(json_object({fields}))"),
        };
        let columns = self.columns.join(", ");
        let from = self.from;
        format!("SELECT {rows} AS rows FROM (SELECT {columns} FROM {from}) AS part")
    }

    async fn read(
        &self,
        tx: &DatabaseTransaction,
        person: &UserId,
    ) -> Result<serde_json::Value, StoreError> {
        let text = self.statement(tx.get_database_backend());
        let values = vec![Value::from(person.as_str()); text.matches('?').count()];
        let found: Option<Found> = sql::one(tx, &text, values).await?;
        let rows = found.map_or_else(|| "[]".to_owned(), |found| found.rows);
        serde_json::from_str(&rows)
            .map_err(|error| StoreError::Internal(format!("export of {}: {error}", self.name)))
    }
}

impl Store {
    /// Everything the store holds of `me`, as it stands at one moment: an object of lists. Times are in
    /// milliseconds since the epoch, money in minor units.
    pub async fn export(&self, me: &UserId) -> Result<serde_json::Value, StoreError> {
        let tx = self.database().begin_snapshot().await?;
        let mut document = Map::new();
        document.insert("exported_at".into(), json!(self.now().as_millis()));
        for part in PARTS {
            document.insert(part.name.into(), part.read(&tx, me).await?);
        }
        tx.commit().await?;
        let by = By::User(me.as_str());
        self.record_alone(Deed::Exported, by, Some(me.as_str()))
            .await?;
        Ok(document.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_makes_its_own_json() {
        let part = &PARTS[4];
        let sqlite = part.statement(DbBackend::Sqlite);
        assert!(sqlite.contains("json_object('section', part.section, 'audience', part.audience)"));
        assert!(
            part.statement(DbBackend::Postgres)
                .contains("json_agg(json_build_object(")
        );
    }
}
