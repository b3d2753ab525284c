//! What the caller was told of the shop.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{caller::Person, refusal::Answer, users::PageQuery};
use crate::{
    notices::{Notice, Notices},
    store::Store,
};

/// Something the caller was told. Sockets hear it as the event `notice`, under the same id.
#[derive(Serialize, ToSchema)]
pub(super) struct NoticeBody {
    /// Its name.
    id: String,
    /// What it is about: `purchase`, `refund`, `gift_received`, `gift_accepted`, `gift_declined`,
    /// `gift_expired`, `gift_taken_back`, `price_dropped`, `friend_bought`, `guest_book_entry`,
    /// `webhook_disabled` or `coupon_received`; there may be more in time.
    #[schema(example = "gift_received")]
    topic: String,
    /// When, in milliseconds since the epoch.
    ts: i64,
    /// The facts.
    #[schema(value_type = Object)]
    data: Value,
    /// Whether the caller has read it.
    read: bool,
}

/// What the caller was told.
#[derive(Serialize, ToSchema)]
pub(super) struct NoticesPage {
    /// The newest first.
    items: Vec<NoticeBody>,
    /// How many of all are unread.
    unread: u64,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// How far the caller has read.
#[derive(Deserialize, ToSchema)]
pub(super) struct ReadRequest {
    /// The newest notice that was read; those before it are read too.
    up_to: String,
}

/// What the caller was told in the last 90 days.
#[utoipa::path(get, path = "/v1/notices", tag = "notices", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = NoticesPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn notices(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let Notices { page, unread } = store.notices(person.id(), &query.request()?).await?;
    Ok(HttpResponse::Ok().json(NoticesPage {
        items: page.items.into_iter().map(NoticeBody::from).collect(),
        unread,
        next: page.next,
    }))
}

/// Says how far the caller has read. Again is fine.
#[utoipa::path(put, path = "/v1/notices/read", tag = "notices", security(("bearer" = [])), request_body = ReadRequest, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn read(store: Store, person: Person, body: web::Json<ReadRequest>) -> Answer {
    store.read_notices(person.id(), &body.up_to).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<Notice> for NoticeBody {
    fn from(notice: Notice) -> Self {
        Self {
            id: notice.id,
            topic: notice.topic,
            ts: notice.at.as_millis(),
            data: notice.data,
            read: notice.read,
        }
    }
}
