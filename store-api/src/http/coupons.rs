//! The caller's coupons.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::{caller::Person, campaigns::TermsBody, refusal::Answer};
use crate::{
    coupons::{Coupon, CouponState},
    error::StoreError,
    paging::PageRequest,
    store::Store,
};

/// A coupon.
#[derive(Serialize, ToSchema)]
pub(super) struct CouponBody {
    /// Its id.
    id: String,
    /// Of which campaign.
    campaign: String,
    /// What it is called.
    #[schema(example = "Autumn puzzles")]
    name: String,
    /// The publisher whose it is, and for whose games; the store's own when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    #[serde(flatten)]
    terms: TermsBody,
    /// From when it is good, in milliseconds since the epoch.
    starts_at: i64,
    /// Until when.
    ends_at: i64,
    /// Since when the caller has it.
    issued_at: i64,
    /// `good`, `held` (it waits for the payment of an order), `used` or `over`.
    #[schema(example = "good")]
    state: &'static str,
    /// The order it was used on.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<i64>,
}

/// Coupons.
#[derive(Serialize, ToSchema)]
pub(super) struct CouponsPage {
    /// The latest first.
    items: Vec<CouponBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which coupons, and which page of them.
#[derive(Deserialize, IntoParams)]
pub(super) struct CouponsQuery {
    /// `good` (also those that are not good yet), `held`, `used` or `over`; all, when left out.
    state: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// The code of a campaign.
#[derive(Deserialize, ToSchema)]
pub(super) struct CodeRequest {
    /// As it is told, whatever the case, with or without hyphens.
    #[schema(example = "AUTUMN-10")]
    code: String,
}

/// The caller's coupons.
#[utoipa::path(get, path = "/v1/coupons", tag = "coupons", security(("bearer" = [])), params(CouponsQuery), responses(
    (status = 200, body = CouponsPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn coupons(
    store: Store,
    person: Person,
    query: web::Query<CouponsQuery>,
) -> Answer {
    let state = query.state.as_deref().map(CouponState::parse).transpose();
    let state = state.map_err(StoreError::from)?;
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let page = store.coupons(person.id(), state, &page).await?;
    let items = page.items.into_iter();
    Ok(HttpResponse::Ok().json(CouponsPage {
        items: items.map(|coupon| CouponBody::of(coupon, &store)).collect(),
        next: page.next,
    }))
}

/// Gives the caller the coupon that a code is for. Again is fine. Ten wrong codes an hour, of coupons and
/// gift cards together, are the most.
#[utoipa::path(post, path = "/v1/coupons/redeem", tag = "coupons", security(("bearer" = [])), request_body = CodeRequest, responses(
    (status = 200, body = CouponBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "no such code"),
    (status = 409, body = Problem, description = "`not_open`, `over`, or `sold_out`"), (status = 429, body = Problem)))]
pub(super) async fn redeem(store: Store, person: Person, body: web::Json<CodeRequest>) -> Answer {
    let coupon = store.redeem_coupon_code(person.id(), &body.code).await?;
    Ok(HttpResponse::Ok().json(CouponBody::of(coupon, &store)))
}

impl CouponBody {
    pub(super) fn of(coupon: Coupon, store: &Store) -> Self {
        let state = coupon.state(store.now()).word();
        let (order, used_at) = coupon.used.unzip();
        Self {
            id: coupon.id,
            campaign: coupon.campaign,
            name: coupon.name,
            publisher: coupon.publisher,
            terms: coupon.terms.into(),
            starts_at: coupon.starts_at.as_millis(),
            ends_at: coupon.ends_at.as_millis(),
            issued_at: coupon.issued_at.as_millis(),
            state,
            order,
            used_at: used_at.map(shared::id::Timestamp::as_millis),
        }
    }
}
