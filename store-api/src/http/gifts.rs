//! Giving.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::{Key, Person},
    money::MoneyBody,
    refusal::Answer,
    wallet::answered,
};
use crate::{
    error::{StoreError, Violation},
    orders::{Gift, GiftOrder, GiftSide, GiftState, Purchase},
    paging::PageRequest,
    store::Store,
};

/// What the caller wants to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GiftRequest {
    /// The friend it is for.
    recipient: String,
    /// Ids of games.
    games: Vec<String>,
    /// A line of at most 140 characters.
    message: Option<String>,
    /// What the caller was told it costs, in minor units: if it costs something else by now, nothing
    /// is bought.
    #[schema(example = 1999)]
    expected_total: Option<i64>,
    /// Ids of up to three coupons of the caller's that make it cheaper, all of them.
    #[serde(default)]
    coupons: Vec<String>,
}

/// A gift.
#[derive(Serialize, ToSchema)]
pub(super) struct GiftBody {
    /// Its name, which is that of the giver's order.
    id: String,
    /// Who gives.
    giver: String,
    /// To whom.
    recipient: String,
    /// What.
    games: Vec<GiftGameBody>,
    /// With which words.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What became of it: `waiting`, `accepted`, `declined`, `taken_back` or `expired`.
    #[schema(value_type = String, example = "waiting")]
    state: GiftState,
    /// When it was given, in milliseconds since the epoch.
    at: i64,
    /// Until when it waits for an answer, in milliseconds since the epoch.
    expires_at: i64,
    /// What it cost; only its giver sees that.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<MoneyBody>,
}

/// A game given.
#[derive(Serialize, ToSchema)]
pub(super) struct GiftGameBody {
    /// The game.
    id: String,
    /// Its title then.
    title: String,
}

/// Gifts.
#[derive(Serialize, ToSchema)]
pub(super) struct GiftsPage {
    /// The newest first.
    items: Vec<GiftBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which gifts, and which page of them.
#[derive(Deserialize, IntoParams)]
pub(super) struct GiftsQuery {
    /// `received` (also when left out) or `sent`.
    side: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// Buys games from the wallet for a friend, who owns them once they accept. What is declined, taken
/// back or not answered in time is paid back.
#[utoipa::path(post, path = "/v1/gifts", tag = "gifts", security(("bearer" = [])), request_body = GiftRequest,
    params(("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 201, body = GiftBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "one of them is no game, or not for sale"),
    (status = 409, body = Problem, description = "`not_a_friend`, `insufficient_funds`, `price_changed`, `already_owned`, `not_sold_here`, `not_sold_there`, `not_released`, `empty`, or `reused`; or a rule of coupons, as for an order")))]
pub(super) async fn give(
    store: Store,
    person: Person,
    key: Key,
    body: web::Json<GiftRequest>,
) -> Answer {
    let request = body.into_inner();
    let gift = GiftOrder {
        recipient: friend("recipient", &request.recipient)?,
        message: request.message,
        purchase: Purchase {
            games: Some(request.games),
            expected_total: request.expected_total,
            coupons: request.coupons,
        },
    };
    let gift = store.give(person.id(), &key.0, &gift).await?;
    Ok(answered(StatusCode::CREATED, gift, |gift| {
        body_for(gift, person.id())
    }))
}

/// Gifts to the caller, or from them.
#[utoipa::path(get, path = "/v1/gifts", tag = "gifts", security(("bearer" = [])), params(GiftsQuery), responses(
    (status = 200, body = GiftsPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn gifts(store: Store, person: Person, query: web::Query<GiftsQuery>) -> Answer {
    let side = match query.side.as_deref() {
        None | Some("received") => GiftSide::Received,
        Some("sent") => GiftSide::Sent,
        Some(_) => {
            let unknown = Violation::new("side", "unknown", "received or sent");
            return Err(StoreError::from(unknown).into());
        }
    };
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let page = store.gifts(person.id(), side, &page).await?;
    let items = page.items.into_iter();
    Ok(HttpResponse::Ok().json(GiftsPage {
        items: items.map(|gift| body_for(gift, person.id())).collect(),
        next: page.next,
    }))
}

/// Takes a gift to the caller into the library. Again is fine.
#[utoipa::path(put, path = "/v1/gifts/{id}/accept", tag = "gifts", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = GiftBody), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`answered`, `expired`, or `already_owned`")))]
pub(super) async fn accept(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let gift = store.accept_gift(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(body_for(gift, person.id())))
}

/// Refuses a gift to the caller; its giver is paid back. Again is fine.
#[utoipa::path(put, path = "/v1/gifts/{id}/decline", tag = "gifts", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = GiftBody), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`answered`, or `expired`")))]
pub(super) async fn decline(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let gift = store.decline_gift(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(body_for(gift, person.id())))
}

/// Takes a gift of the caller back that waits for its answer. Again is fine.
#[utoipa::path(delete, path = "/v1/gifts/{id}", tag = "gifts", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = GiftBody), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`answered`, or `expired`")))]
pub(super) async fn take_back(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let gift = store.take_back_gift(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(body_for(gift, person.id())))
}

/// The friend whom a field of a body names.
pub(super) fn friend(field: &'static str, id: &str) -> Result<UserId, StoreError> {
    UserId::parse(id).map_err(|_| Violation::new(field, "malformed", "the id of a friend").into())
}

/// A gift as `viewer` sees it.
fn body_for(gift: Gift, viewer: &UserId) -> GiftBody {
    let games = gift.order.lines.into_iter().map(|line| GiftGameBody {
        id: line.game,
        title: line.title,
    });
    GiftBody {
        games: games.collect(),
        total: (gift.giver == *viewer).then(|| gift.order.total.into()),
        id: gift.order.id,
        giver: gift.giver.to_string(),
        recipient: gift.recipient.to_string(),
        message: gift.message,
        state: gift.state,
        at: gift.order.at.as_millis(),
        expires_at: gift.expires_at.as_millis(),
    }
}
