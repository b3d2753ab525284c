//! Who did what: for those who run the store, and for everybody about themselves.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::{Operator, Person},
    refusal::Answer,
    users::PageQuery,
};
use crate::{
    audit::{AuditEntry, AuditFilter},
    paging::PageRequest,
    store::Store,
};

/// Which lines of the log.
#[derive(Deserialize, IntoParams)]
pub(super) struct AuditQuery {
    /// Of this deed only, such as `login_failed`.
    deed: Option<String>,
    /// By this actor only: `user:ID`, `service:NAME`, `machine` or `nobody`.
    actor: Option<String>,
    /// About the person with this id only.
    subject: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// A line of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditBody {
    /// Its name.
    id: String,
    /// When, in milliseconds since the epoch.
    at: i64,
    /// What was done.
    #[schema(example = "role_changed")]
    deed: String,
    /// Who did it.
    #[schema(example = "user:01J0")]
    actor: String,
    /// The person it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The `x-request-id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// What else there is to know.
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

/// Lines of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// The newest first.
    items: Vec<AuditBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Something that was done to one's account.
#[derive(Serialize, ToSchema)]
pub(super) struct SecurityEventBody {
    /// Its name.
    id: String,
    /// When, in milliseconds since the epoch.
    at: i64,
    /// What was done.
    #[schema(example = "login_failed")]
    deed: String,
    /// Whether somebody did it who was logged in as the caller.
    own: bool,
    /// Where the request came from, but for what those did who run the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

/// What was done to one's account.
#[derive(Serialize, ToSchema)]
pub(super) struct SecurityEventPage {
    /// The newest first.
    items: Vec<SecurityEventBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Who did what to whom.
#[utoipa::path(get, path = "/v1/audit", tag = "operators", security(("bearer" = [])), params(AuditQuery), responses(
    (status = 200, body = AuditPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn audit(store: Store, _: Operator, query: web::Query<AuditQuery>) -> Answer {
    let AuditQuery {
        deed,
        actor,
        subject,
        cursor,
        limit,
    } = query.into_inner();
    let page = PageRequest::parse(cursor.as_deref(), limit)?;
    let filter = AuditFilter {
        deed,
        actor,
        subject,
    };
    let page = store.audit(&filter, &page).await?;
    Ok(HttpResponse::Ok().json(AuditPage {
        items: page.items.into_iter().map(AuditBody::from).collect(),
        next: page.next,
    }))
}

/// What was done to the caller's account: log-ins, guesses, changes.
#[utoipa::path(get, path = "/v1/me/security-events", tag = "me", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = SecurityEventPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn security_events(
    store: Store,
    person: Person,
    query: web::Query<PageQuery>,
) -> Answer {
    let page = store
        .security_events(person.id(), &query.request()?)
        .await?;
    let me = format!("user:{}", person.id());
    let items = page.items.into_iter().map(|entry| {
        let own = entry.actor == me;
        let by_another = !own && entry.actor != "nobody";
        SecurityEventBody {
            id: entry.id,
            at: entry.at.as_millis(),
            deed: entry.deed,
            own,
            address: entry.address.filter(|_| !by_another),
        }
    });
    Ok(HttpResponse::Ok().json(SecurityEventPage {
        items: items.collect(),
        next: page.next,
    }))
}

impl From<AuditEntry> for AuditBody {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at.as_millis(),
            deed: entry.deed,
            actor: entry.actor,
            subject: entry.subject,
            address: entry.address,
            request: entry.request,
            details: entry.details,
        }
    }
}
