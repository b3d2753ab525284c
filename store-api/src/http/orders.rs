//! Buying.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    caller::{Key, Person},
    gifts::friend,
    money::MoneyBody,
    refusal::Answer,
    users::PageQuery,
    wallet::answered,
};
use crate::{
    orders::{Order, OrderLine, Preview, Purchase, Spare, UsedCoupon},
    store::Store,
};

/// What the caller wants to buy.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderRequest {
    /// Ids of games; what is in the cart, when this is left out.
    games: Option<Vec<String>>,
    /// What the caller was told it costs, in minor units: if it costs something else by now, nothing
    /// is bought.
    #[schema(example = 1999)]
    expected_total: Option<i64>,
    /// Ids of up to three coupons that make it cheaper, all of them: those a preview named.
    #[serde(default)]
    #[schema(example = json!(["01JD0000000000000000000000"]))]
    coupons: Vec<String>,
}

/// What the caller might buy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewRequest {
    /// Ids of games; what is in the cart, when this is left out.
    games: Option<Vec<String>>,
    /// Ids of coupons; those that are best together, when this is left out; none, when it is empty.
    coupons: Option<Vec<String>>,
    /// The friend whom it is for, if it is a gift.
    recipient: Option<String>,
}

/// What an order would come to.
#[derive(Serialize, ToSchema)]
pub(super) struct PreviewBody {
    /// Where it would be bought.
    country: &'static str,
    /// What would be paid.
    total: MoneyBody,
    /// What for.
    lines: Vec<OrderLineBody>,
    /// Coupons that would be used.
    coupons: Vec<UsedCouponBody>,
    /// Coupons of the caller's that would not, when none were named.
    spare: Vec<SpareBody>,
}

/// A coupon that makes an order cheaper.
#[derive(Serialize, ToSchema)]
pub(super) struct UsedCouponBody {
    /// Its id.
    id: String,
    /// What it is called.
    #[schema(example = "Autumn puzzles")]
    name: String,
    /// What it takes off.
    discount: MoneyBody,
}

/// A coupon that an order would not use.
#[derive(Serialize, ToSchema)]
pub(super) struct SpareBody {
    /// Its id.
    id: String,
    /// What it is called.
    #[schema(example = "Autumn puzzles")]
    name: String,
    /// Why not: `not_yet`, `currency`, `country`, `minimum` (the order is too small), `other_games`,
    /// `incomplete` (games that go with it are missing), `not_first`, `held` (it waits for the payment of another
    /// order), or `outdone` (others take off more).
    #[schema(example = "minimum")]
    reason: &'static str,
}

/// What the caller bought.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderBody {
    /// Its name.
    id: String,
    /// Where it was bought.
    country: &'static str,
    /// What was paid.
    total: MoneyBody,
    /// What for.
    lines: Vec<OrderLineBody>,
    /// Coupons that made it cheaper.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    coupons: Vec<UsedCouponBody>,
    /// When, in milliseconds since the epoch.
    at: i64,
    /// Whom it is for, if it is a gift.
    #[serde(skip_serializing_if = "Option::is_none")]
    gift_for: Option<String>,
    /// The payment by a provider that it was paid with, if it was not paid from the wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<String>,
}

/// What the caller gives back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundRequest {
    /// Ids of games of the order; all that were not given back yet, when this is left out.
    games: Option<Vec<String>>,
}

/// A game bought.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderLineBody {
    /// The game.
    game: String,
    /// Its title then.
    title: String,
    /// What was paid for it.
    price: MoneyBody,
    /// What coupons took off before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    discount: Option<MoneyBody>,
    /// When that was given back, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded_at: Option<i64>,
}

/// What the caller bought.
#[derive(Serialize, ToSchema)]
pub(super) struct OrdersPage {
    /// The latest first.
    items: Vec<OrderBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Buys games from the wallet: all of them, at the price they have now, or none.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", security(("bearer" = [])), request_body = OrderRequest,
    params(("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 201, body = OrderBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "one of them is no game, or not for sale"),
    (status = 409, body = Problem, description = "`insufficient_funds`, `price_changed`, `already_owned`, `not_sold_here`, `not_released`, `empty`, or `reused`; or, of a coupon: `unknown`, `used`, `not_yet`, `over`, `currency`, `country`, `minimum`, `other_games`, `incomplete`, `not_first`, `not_together`, or `no_use`")))]
pub(super) async fn buy(
    store: Store,
    person: Person,
    key: Key,
    body: web::Json<OrderRequest>,
) -> Answer {
    let OrderRequest {
        games,
        expected_total,
        coupons,
    } = body.into_inner();
    let purchase = Purchase {
        games,
        expected_total,
        coupons,
    };
    let order = store.buy(person.id(), &key.0, &purchase).await?;
    Ok(answered(StatusCode::CREATED, order, OrderBody::from))
}

/// What an order would cost now, with the coupons that are named, or with those that take off the most
/// together. Nothing is bought, and no money is looked at.
///
/// Of combinations that take off the same, that of the fewest coupons is taken; of these, the one whose
/// coupons end first. Buying takes the `total` and the ids of `coupons` as they stand here.
#[utoipa::path(post, path = "/v1/orders/preview", tag = "orders", security(("bearer" = [])), request_body = PreviewRequest, responses(
    (status = 200, body = PreviewBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "one of them is no game, or not for sale"),
    (status = 409, body = Problem, description = "as buying and giving are refused, but for the money")))]
pub(super) async fn preview(
    store: Store,
    person: Person,
    body: web::Json<PreviewRequest>,
) -> Answer {
    let request = body.into_inner();
    let recipient = request.recipient.as_deref();
    let recipient = recipient.map(|id| friend("recipient", id)).transpose()?;
    let Preview { order, spare } = store
        .preview(
            person.id(),
            recipient.as_ref(),
            request.games,
            request.coupons,
        )
        .await?;
    Ok(HttpResponse::Ok().json(PreviewBody {
        country: order.country.code(),
        total: order.total.into(),
        lines: order.lines.into_iter().map(OrderLineBody::from).collect(),
        coupons: order
            .coupons
            .into_iter()
            .map(UsedCouponBody::from)
            .collect(),
        spare: spare.into_iter().map(SpareBody::from).collect(),
    }))
}

/// What the caller bought.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = OrdersPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn orders(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let page = store.orders(person.id(), &query.request()?).await?;
    Ok(HttpResponse::Ok().json(OrdersPage {
        items: page.items.into_iter().map(OrderBody::from).collect(),
        next: page.next,
    }))
}

/// One order of the caller.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = OrderBody), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn order(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let order = store.order(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(OrderBody::from(order)))
}

/// Gives games of an order back: they leave the library, and what was paid for them returns to the
/// wallet, or by the provider that was paid. For some days after the purchase, and not for what was played for long.
#[utoipa::path(post, path = "/v1/orders/{id}/refund", tag = "orders", security(("bearer" = [])), request_body = RefundRequest,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 200, body = OrderBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "no such order of the caller, or one of them is not in it"),
    (status = 409, body = Problem, description = "`too_late`, `played`, `already_refunded`, `gift` (the caller gave it), `gift_received` (it was given to the caller), `currency`, `empty`, or `reused`")))]
pub(super) async fn refund(
    store: Store,
    person: Person,
    key: Key,
    id: web::Path<String>,
    body: web::Json<RefundRequest>,
) -> Answer {
    let games = body.into_inner().games;
    let order = store.refund(person.id(), &key.0, &id, games).await?;
    Ok(answered(StatusCode::OK, order, OrderBody::from))
}

impl From<Order> for OrderBody {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            country: order.country.code(),
            total: order.total.into(),
            lines: order.lines.into_iter().map(OrderLineBody::from).collect(),
            coupons: order
                .coupons
                .into_iter()
                .map(UsedCouponBody::from)
                .collect(),
            at: order.at.as_millis(),
            gift_for: order.gift_for.map(|user| user.to_string()),
            payment: order.payment,
        }
    }
}

impl From<OrderLine> for OrderLineBody {
    fn from(line: OrderLine) -> Self {
        Self {
            game: line.game,
            title: line.title,
            price: line.price.into(),
            discount: (line.discount.minor() > 0).then(|| line.discount.into()),
            refunded_at: line.refunded_at.map(shared::id::Timestamp::as_millis),
        }
    }
}

impl From<UsedCoupon> for UsedCouponBody {
    fn from(coupon: UsedCoupon) -> Self {
        Self {
            id: coupon.id,
            name: coupon.name,
            discount: coupon.discount.into(),
        }
    }
}

impl From<Spare> for SpareBody {
    fn from(spare: Spare) -> Self {
        Self {
            id: spare.id,
            name: spare.name,
            reason: spare.reason.word(),
        }
    }
}
