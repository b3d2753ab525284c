//! Who did what to whom, when, and from where: added in the transaction of the deed, never changed,
//! and forgotten after a time.
//!
//! No row holds a password, a code, a token or an e-mail address: what is known of people here is
//! their id, and the address on the network that a request came from.

use std::net::IpAddr;

use sea_orm::{DatabaseTransaction, FromQueryResult};
use serde_json::Value;
use shared::id::{Timestamp, UserId};
use ulid::Ulid;

use crate::{
    error::{StoreError, Violation},
    paging::{Page, PageRequest},
    sql::{self, values},
    store::Store,
};

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whence {
    pub(crate) address: Option<IpAddr>,
    /// The request's id.
    pub(crate) request: Option<String>,
}

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Registered,
    LoggedIn,
    /// With a wrong password; of nobody, if there is no such account.
    LoginFailed,
    /// A refresh token came a second time, and its session ended.
    RefreshReused,
    PasswordChanged,
    /// With a code.
    PasswordReset,
    EmailVerified,
    /// With a provider.
    IdentityLinked,
    IdentityUnlinked,
    RoleChanged,
    ServiceTokenMade,
    ServiceTokenRevoked,
    GiftCardsIssued,
    /// What nobody had redeemed of a batch was taken back.
    GiftCardsVoided,
    PublisherMade,
    GameMade,
    /// Its texts, its state, its prices, …
    GameChanged,
    /// Many games at once, each of which has a line of its own if it is new or another.
    GamesImported,
    WebhookMade,
    WebhookChanged,
    WebhookSecretRenewed,
    WebhookReplayed,
    WebhookDeleted,
    CampaignMade,
    CampaignEnded,
    CouponsIssued,
    Exported,
    Withdrawn,
}

/// Who did it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    User(&'a str),
    /// A name as [`Store`]'s callers have it: `user:…`, `service:…`.
    Named(&'a str),
    /// Somebody at the machine, by a command.
    Machine,
    /// Nobody who is known.
    Nobody,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its name; later ones sort after earlier ones.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub deed: String,
    /// Who did it: `user:ID`, `service:NAME`, `machine` or `nobody`.
    pub actor: String,
    /// The person it was done to.
    pub subject: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The request.
    pub request: Option<String>,
    /// What else there is to know.
    pub details: Value,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this deed only.
    pub deed: Option<String>,
    /// By this actor only.
    pub actor: Option<String>,
    /// About this person only.
    pub subject: Option<String>,
}

#[derive(FromQueryResult)]
struct Row {
    id: String,
    created_at: i64,
    deed: String,
    actor: String,
    subject: Option<String>,
    address: Option<String>,
    request: Option<String>,
    details: String,
}

impl Deed {
    const ALL: [Self; 28] = [
        Self::Registered,
        Self::LoggedIn,
        Self::LoginFailed,
        Self::RefreshReused,
        Self::PasswordChanged,
        Self::PasswordReset,
        Self::EmailVerified,
        Self::IdentityLinked,
        Self::IdentityUnlinked,
        Self::RoleChanged,
        Self::ServiceTokenMade,
        Self::ServiceTokenRevoked,
        Self::GiftCardsIssued,
        Self::GiftCardsVoided,
        Self::PublisherMade,
        Self::GameMade,
        Self::GameChanged,
        Self::GamesImported,
        Self::WebhookMade,
        Self::WebhookChanged,
        Self::WebhookSecretRenewed,
        Self::WebhookReplayed,
        Self::WebhookDeleted,
        Self::CampaignMade,
        Self::CampaignEnded,
        Self::CouponsIssued,
        Self::Exported,
        Self::Withdrawn,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::LoggedIn => "logged_in",
            Self::LoginFailed => "login_failed",
            Self::RefreshReused => "refresh_reused",
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::EmailVerified => "email_verified",
            Self::IdentityLinked => "identity_linked",
            Self::IdentityUnlinked => "identity_unlinked",
            Self::RoleChanged => "role_changed",
            Self::ServiceTokenMade => "service_token_made",
            Self::ServiceTokenRevoked => "service_token_revoked",
            Self::GiftCardsIssued => "gift_cards_issued",
            Self::GiftCardsVoided => "gift_cards_voided",
            Self::PublisherMade => "publisher_made",
            Self::GameMade => "game_made",
            Self::GameChanged => "game_changed",
            Self::GamesImported => "games_imported",
            Self::WebhookMade => "webhook_made",
            Self::WebhookChanged => "webhook_changed",
            Self::WebhookSecretRenewed => "webhook_secret_renewed",
            Self::WebhookReplayed => "webhook_replayed",
            Self::WebhookDeleted => "webhook_deleted",
            Self::CampaignMade => "campaign_made",
            Self::CampaignEnded => "campaign_ended",
            Self::CouponsIssued => "coupons_issued",
            Self::Exported => "exported",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl By<'_> {
    fn name(self) -> String {
        match self {
            Self::User(id) => format!("user:{id}"),
            Self::Named(name) => name.to_owned(),
            Self::Machine => "machine".to_owned(),
            Self::Nobody => "nobody".to_owned(),
        }
    }
}

impl AuditFilter {
    fn check(&self) -> Result<(), Violation> {
        let known = |word: &String| Deed::ALL.iter().any(|deed| deed.word() == word);
        if self.deed.as_ref().is_some_and(|word| !known(word)) {
            return Err(Violation::new("deed", "unknown", "no deed of this name"));
        }
        for (field, text) in [("actor", &self.actor), ("subject", &self.subject)] {
            // PostgreSQL knows no text with a zero in it.
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                return Err(Violation::new(field, "characters", "no control characters"));
            }
        }
        Ok(())
    }
}

impl Store {
    /// Adds a line to the log, in the transaction of the deed.
    pub(crate) async fn record(
        &self,
        tx: &DatabaseTransaction,
        deed: Deed,
        by: By<'_>,
        subject: Option<&str>,
        details: Value,
    ) -> Result<(), StoreError> {
        let whence = self.whence();
        let address = whence.and_then(|whence| whence.address);
        let request = whence.and_then(|whence| whence.request.clone());
        sql::execute(
            tx,
            "INSERT INTO audit (id, created_at, deed, actor, subject, address, request, details) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values![
                Ulid::new().to_string(),
                self.now().as_millis(),
                deed.word(),
                by.name(),
                subject.map(str::to_owned),
                address.map(|address| address.to_string()),
                request,
                details.to_string()
            ],
        )
        .await?;
        Ok(())
    }

    /// The same about oneself, with nothing else to know.
    pub(crate) async fn record_own(
        &self,
        tx: &DatabaseTransaction,
        deed: Deed,
        me: &str,
    ) -> Result<(), StoreError> {
        let nothing = Value::Object(serde_json::Map::new());
        self.record(tx, deed, By::User(me), Some(me), nothing).await
    }

    /// Adds a line about something that has no transaction of its own.
    pub(crate) async fn record_alone(
        &self,
        deed: Deed,
        by: By<'_>,
        subject: Option<&str>,
    ) -> Result<(), StoreError> {
        let nothing = Value::Object(serde_json::Map::new());
        let tx = self.database().begin().await?;
        self.record(&tx, deed, by, subject, nothing).await?;
        self.database().commit(tx).await?;
        Ok(())
    }

    /// The log, the newest first, for those who run the store.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        filter.check()?;
        let mut conditions = vec!["1 = 1"];
        let mut values = Vec::new();
        for (condition, value) in [
            ("deed = ?", &filter.deed),
            ("actor = ?", &filter.actor),
            ("subject = ?", &filter.subject),
        ] {
            if let Some(value) = value {
                conditions.push(condition);
                values.push(value.as_str().into());
            }
        }
        if !page.after().is_empty() {
            conditions.push("id < ?");
            values.push(page.after().into());
        }
        values.push((page.fetch() as i64).into());
        let text = format!(
            "SELECT id, created_at, deed, actor, subject, address, request, details FROM audit \
             WHERE {} ORDER BY id DESC LIMIT ?",
            conditions.join(" AND ")
        );
        let rows: Vec<Row> = sql::all(self.database().reader(), &text, values).await?;
        let rows = page.cut(rows, |row| row.id.clone());
        Ok(rows.map(|row| AuditEntry {
            id: row.id,
            at: Timestamp::from_millis(row.created_at),
            deed: row.deed,
            actor: row.actor,
            subject: row.subject,
            address: row.address,
            request: row.request,
            details: serde_json::from_str(&row.details).unwrap_or_default(),
        }))
    }

    /// What was done to the account of `me`, the newest first.
    pub async fn security_events(
        &self,
        me: &UserId,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let filter = AuditFilter {
            subject: Some(me.to_string()),
            ..AuditFilter::default()
        };
        self.audit(&filter, page).await
    }

    /// Forgets what is older than is kept.
    pub(crate) async fn forget_old_audit(&self) -> Result<(), StoreError> {
        let kept = self.limits().audit_keep;
        let oldest = self.now().as_millis() - kept.as_millis() as i64;
        let tx = self.database().begin().await?;
        let delete = "DELETE FROM audit WHERE created_at < ?";
        sql::execute(&tx, delete, values![oldest]).await?;
        self.database().commit(tx).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_that_nobody_knows_is_refused_rather_than_not_found() {
        let filter = |deed: &str| AuditFilter {
            deed: Some(deed.to_owned()),
            ..AuditFilter::default()
        };
        for deed in Deed::ALL {
            assert!(filter(deed.word()).check().is_ok());
        }
        assert!(filter("login").check().is_err());
    }
}
