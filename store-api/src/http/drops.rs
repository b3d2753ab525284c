//! Drops: coupons for whoever comes first.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    caller::{Claimant, Person},
    campaigns::TermsBody,
    coupons::CouponBody,
    refusal::Answer,
    users::PageQuery,
};
use crate::{coupons::CouponDrop, store::Store};

/// A drop.
#[derive(Serialize, ToSchema)]
pub(super) struct DropBody {
    /// Its id, which is that of its campaign.
    id: String,
    /// What its coupons are called.
    #[schema(example = "Autumn puzzles")]
    name: String,
    /// The publisher whose they are, and for whose games; the store's own when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    #[serde(flatten)]
    terms: TermsBody,
    /// From when its coupons are good, in milliseconds since the epoch.
    starts_at: i64,
    /// Until when.
    ends_at: i64,
    /// From when one may come, in milliseconds since the epoch.
    opens_at: i64,
    /// Until when.
    closes_at: i64,
    /// How many there are.
    #[schema(example = 500)]
    quantity: i64,
    /// How many are left.
    #[schema(example = 120)]
    left: i64,
    /// How many people a minute are admitted from the queue before it; there is none when it is left out, else a claim
    /// needs a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 600)]
    queue_rate: Option<i64>,
    /// `soon`, `open`, `sold_out` or `over`.
    #[schema(example = "open")]
    state: &'static str,
    /// The coupon of it that the caller has.
    #[serde(skip_serializing_if = "Option::is_none")]
    mine: Option<String>,
}

/// Drops.
#[derive(Serialize, ToSchema)]
pub(super) struct DropsPage {
    /// The latest made first.
    items: Vec<DropBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A claim that came through.
#[derive(Serialize, ToSchema)]
pub(super) struct ClaimBody {
    /// The caller's coupon.
    coupon: CouponBody,
    /// Whether the caller had it already.
    held: bool,
}

/// Drops whose coupons are not over yet.
#[utoipa::path(get, path = "/v1/drops", tag = "coupons", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = DropsPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn drops(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let page = store.drops(person.id(), &query.request()?).await?;
    let items = page.items.into_iter();
    Ok(HttpResponse::Ok().json(DropsPage {
        items: items.map(|drop| DropBody::of(drop, &store)).collect(),
        next: page.next,
    }))
}

/// Gives the caller a coupon of a drop, if there is one left. Who has one is answered the same again, so a
/// client that lost the answer may ask again.
///
/// A place is kept for some seconds for somebody whose request a server took and did not finish; so now and then one
/// is left after somebody was told `sold_out`.
#[utoipa::path(post, path = "/v1/drops/{id}/claim", tag = "coupons", security(("bearer" = [])),
    params(("id" = String, Path), ("Drop-Pass" = Option<String>, Header, description = "the pass of the queue, if the drop has one")), responses(
    (status = 200, body = ClaimBody), (status = 401, body = Problem), (status = 404, body = Problem, description = "no such drop"),
    (status = 409, body = Problem, description = "`not_open`, `over`, or `sold_out`; of `Drop-Pass`: `no_pass`, `wrong_pass`, `pass_expired`"), (status = 429, body = Problem),
    (status = 503, body = Problem, description = "try again: nobody knows yet")))]
pub(super) async fn claim(
    store: Store,
    claimant: Claimant,
    request: HttpRequest,
    id: web::Path<String>,
) -> Answer {
    let pass = request.headers().get("drop-pass");
    // What is no text is no pass either.
    let pass = pass.map(|pass| pass.to_str().unwrap_or_default());
    let claimed = store.claim(&claimant.0, &id, pass).await?;
    Ok(HttpResponse::Ok().json(ClaimBody {
        coupon: CouponBody::of(claimed.coupon, &store),
        held: claimed.held,
    }))
}

impl DropBody {
    fn of(drop: CouponDrop, store: &Store) -> Self {
        let state = drop.state(store.now()).word();
        let campaign = drop.campaign;
        Self {
            quantity: campaign.quantity.unwrap_or_default(),
            left: campaign.left().unwrap_or_default(),
            queue_rate: campaign.queue_rate,
            id: campaign.id,
            name: campaign.name,
            publisher: campaign.publisher,
            terms: campaign.terms.into(),
            starts_at: campaign.starts_at.as_millis(),
            ends_at: campaign.ends_at.as_millis(),
            opens_at: campaign.opens_at.as_millis(),
            closes_at: campaign.closes_at.as_millis(),
            state,
            mine: drop.mine,
        }
    }
}
