//! Guest books.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::ToSchema;

use super::{
    caller::{Key, Person},
    refusal::Answer,
    users::{PageQuery, UserBody},
    wallet::answered,
};
use crate::{guest_book::GuestBookEntry, store::Store};

/// What the caller writes.
#[derive(Deserialize, ToSchema)]
pub(super) struct EntryRequest {
    /// 1 to 500 characters, lines among them.
    #[schema(example = "Good game last night!")]
    text: String,
}

/// What somebody wrote.
#[derive(Serialize, ToSchema)]
pub(super) struct GuestBookEntryBody {
    /// Its name.
    id: String,
    /// Who wrote it.
    author: UserBody,
    /// What.
    #[schema(example = "Good game last night!")]
    text: String,
    /// When, in milliseconds since the epoch.
    at: i64,
    /// Whether visitors do not see it; only its owner is told so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

/// What people wrote.
#[derive(Serialize, ToSchema)]
pub(super) struct EntriesPage {
    /// The newest first.
    items: Vec<GuestBookEntryBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What people wrote in somebody's guest book.
#[utoipa::path(get, path = "/v1/users/{id}/guest-book", operation_id = "read_guest_book", tag = "guest book", security(("bearer" = [])), params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = EntriesPage), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "it is not shown to the caller"), (status = 404, body = Problem)))]
pub(super) async fn read(
    store: Store,
    person: Person,
    owner: web::Path<UserId>,
    query: web::Query<PageQuery>,
) -> Answer {
    let page = store
        .guest_book(person.id(), &owner, &query.request()?)
        .await?;
    Ok(HttpResponse::Ok().json(EntriesPage {
        items: page
            .items
            .into_iter()
            .map(GuestBookEntryBody::from)
            .collect(),
        next: page.next,
    }))
}

/// Writes in somebody's guest book, or in one's own.
///
/// Whether the owner blocks the caller does not show.
#[utoipa::path(post, path = "/v1/users/{id}/guest-book", operation_id = "write_in_guest_book", tag = "guest book", security(("bearer" = [])), request_body = EntryRequest,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 201, body = GuestBookEntryBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "the owner does not let the caller write"), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`too_many`: ten entries of one author in a day, or `reused`")))]
pub(super) async fn write(
    store: Store,
    person: Person,
    key: Key,
    owner: web::Path<UserId>,
    body: web::Json<EntryRequest>,
) -> Answer {
    let entry = store
        .write_in_guest_book(person.id(), &key.0, &owner, &body.text)
        .await?;
    Ok(answered(
        StatusCode::CREATED,
        entry,
        GuestBookEntryBody::from,
    ))
}

/// Deletes an entry: any in the caller's own guest book, the caller's own in others. One that is not
/// there is fine.
#[utoipa::path(delete, path = "/v1/users/{id}/guest-book/{entry}", operation_id = "delete_guest_book_entry", tag = "guest book", security(("bearer" = [])), params(("id" = String, Path), ("entry" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 403, body = Problem, description = "somebody else wrote it")))]
pub(super) async fn delete(
    store: Store,
    person: Person,
    path: web::Path<(UserId, String)>,
) -> Answer {
    let (owner, entry) = path.into_inner();
    store
        .delete_guest_book_entry(person.id(), &owner, &entry)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Hides an entry of the caller's own guest book from visitors; its author sees it as before.
#[utoipa::path(put, path = "/v1/users/{id}/guest-book/{entry}/hidden", operation_id = "hide_guest_book_entry", tag = "guest book", security(("bearer" = [])), params(("id" = String, Path), ("entry" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn hide(
    store: Store,
    person: Person,
    path: web::Path<(UserId, String)>,
) -> Answer {
    set_hidden(&store, &person, &path, true).await
}

/// Shows it again.
#[utoipa::path(delete, path = "/v1/users/{id}/guest-book/{entry}/hidden", operation_id = "show_guest_book_entry", tag = "guest book", security(("bearer" = [])), params(("id" = String, Path), ("entry" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn show(
    store: Store,
    person: Person,
    path: web::Path<(UserId, String)>,
) -> Answer {
    set_hidden(&store, &person, &path, false).await
}

async fn set_hidden(
    store: &Store,
    person: &Person,
    (owner, entry): &(UserId, String),
    hidden: bool,
) -> Answer {
    store
        .hide_guest_book_entry(person.id(), owner, entry, hidden)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<GuestBookEntry> for GuestBookEntryBody {
    fn from(entry: GuestBookEntry) -> Self {
        Self {
            id: entry.id,
            author: entry.author.into(),
            text: entry.text,
            at: entry.at.as_millis(),
            hidden: entry.hidden,
        }
    }
}
