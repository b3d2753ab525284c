//! Paying by providers.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::{Address, Key, Person, state},
    gifts::friend,
    money::MoneyBody,
    payment_window,
    refusal::Answer,
    users::PageQuery,
    wallet::answered,
};
use crate::{
    error::{StoreError, Violation},
    orders::{GiftOrder, Purchase},
    payments::{Payment, PaymentOrder, Proof, Purpose},
    store::Store,
};

/// Toss's words for a payer who closed its window, or went away from it.
const GIVEN_UP: [&str; 2] = ["PAY_PROCESS_CANCELED", "USER_CANCEL"];

/// What the caller wants to pay: either `amount` or `order`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentRequest {
    /// By whom: `kakao_pay` or `toss`, if the store has set it up.
    #[schema(example = "kakao_pay")]
    provider: String,
    /// To charge the wallet: with how much, in minor units of its currency.
    #[schema(example = 30000)]
    amount: Option<i64>,
    /// To buy: what.
    order: Option<PaidOrderRequest>,
}

/// What the caller wants to buy by a payment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PaidOrderRequest {
    /// Ids of games; what is in the cart, when this is left out.
    games: Option<Vec<String>>,
    /// What the caller was told it costs, in minor units: if it costs something else by now, nothing
    /// is paid.
    expected_total: Option<i64>,
    /// The friend whom it is for, if it is a gift.
    recipient: Option<String>,
    /// A line of at most 140 characters to them.
    message: Option<String>,
    /// Ids of up to three coupons of the caller's that make it cheaper, all of them. They are for nothing
    /// else until the payment is over.
    #[serde(default)]
    coupons: Vec<String>,
}

/// What the caller brought back from the provider.
#[derive(Deserialize, ToSchema)]
pub(super) struct ConfirmRequest {
    /// KakaoPay's `pg_token`, Toss's `paymentKey`.
    token: String,
    /// What the provider said it asks for, in minor units.
    amount: Option<i64>,
}

/// How much of a payment is to be paid back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    /// In minor units; all that is left, when this is left out.
    #[schema(example = 10000)]
    amount: Option<i64>,
}

/// A payment.
#[derive(Serialize, ToSchema)]
pub(super) struct PaymentBody {
    /// Its name.
    id: String,
    /// Who takes the money.
    provider: String,
    /// What for: `top_up` or `order`.
    #[schema(example = "top_up")]
    purpose: String,
    /// The order that was bought with it, once one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    /// How much.
    amount: MoneyBody,
    /// What of that was paid back.
    cancelled: MoneyBody,
    /// What of that is to be paid back, as soon as the provider answers.
    cancelling: MoneyBody,
    /// `created`, `ready`, `approving`, `paid`, `partly_cancelled`, `cancelled`, `failed` or `expired`.
    #[schema(example = "ready")]
    state: &'static str,
    /// While it is `ready`, what the client does next: `kind` is `redirect` (go to `url`, on a phone to
    /// `mobile_url`, in an app to `app_url`) or `window` (go to `url`, a page of the store that opens Toss's window; or
    /// open it with what else there is, by Toss's script at `sdk_url` or in an app).
    #[schema(value_type = Object)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<serde_json::Value>,
    /// The provider's word for why it came to nothing; or the rule by which nothing could be bought any
    /// more once it was paid, or the wallet not hold it (`too_much`), and it is paid back.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// When it was made, in milliseconds since the epoch.
    at: i64,
    /// Until when it can be paid, in milliseconds since the epoch.
    expires_at: i64,
}

/// Payments.
#[derive(Serialize, ToSchema)]
pub(super) struct PaymentsPage {
    /// The latest first.
    items: Vec<PaymentBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// With what a provider sends a browser back.
#[derive(Deserialize, IntoParams)]
pub(super) struct ReturnQuery {
    /// As the store gave it to the provider.
    seal: Option<String>,
    /// `approved`, `cancelled` or `failed`.
    outcome: String,
    /// KakaoPay's proof that the payer agreed.
    pg_token: Option<String>,
    /// Toss's.
    #[serde(rename = "paymentKey")]
    payment_key: Option<String>,
    /// What Toss asked for.
    amount: Option<i64>,
    /// Toss's word for why it came to nothing.
    code: Option<String>,
}

/// What a page of a payment is shown by.
#[derive(Deserialize, IntoParams)]
pub(super) struct WindowQuery {
    /// As `next` of the payment has it.
    seal: Option<String>,
}

/// Begins a payment, which charges the caller's wallet or buys. What it costs is found now, and counts
/// until the payment is over; the games are the caller's, or the friend's to accept, once it is `paid`. The answer says what the client does next; while the provider
/// does not answer the state is `created`, and becomes `ready` by itself.
#[utoipa::path(post, path = "/v1/payments", tag = "payments", security(("bearer" = [])), request_body = PaymentRequest,
    params(("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 201, body = PaymentBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "one of them is no game, or not for sale"),
    (status = 409, body = Problem, description = "`currency`: the provider does not take the wallet's; `too_much`: the wallet could not hold it; `too_many`, or `reused`; for an order `free`, and what a purchase or a gift is refused for")))]
pub(super) async fn pay(
    store: Store,
    person: Person,
    key: Key,
    body: web::Json<PaymentRequest>,
) -> Answer {
    let request = body.into_inner();
    let order = PaymentOrder {
        provider: request.provider,
        purpose: purpose(request.amount, request.order)?,
    };
    let payment = store.begin_payment(person.id(), &key.0, &order).await?;
    Ok(answered(StatusCode::CREATED, payment, PaymentBody::from))
}

fn purpose(amount: Option<i64>, order: Option<PaidOrderRequest>) -> Result<Purpose, StoreError> {
    let order = match (amount, order) {
        (Some(amount), None) => return Ok(Purpose::TopUp(amount)),
        (None, Some(order)) => order,
        _ => {
            let message = "either an amount or an order";
            return Err(Violation::new("amount", "either", message).into());
        }
    };
    let purchase = Purchase {
        games: order.games,
        expected_total: order.expected_total,
        coupons: order.coupons,
    };
    let Some(recipient) = order.recipient else {
        return Ok(Purpose::Order(purchase));
    };
    Ok(Purpose::Gift(GiftOrder {
        recipient: friend("order.recipient", &recipient)?,
        message: order.message,
        purchase,
    }))
}

/// The caller's payments.
#[utoipa::path(get, path = "/v1/payments", tag = "payments", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = PaymentsPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn payments(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let page = store.payments_of(person.id(), &query.request()?).await?;
    Ok(HttpResponse::Ok().json(PaymentsPage {
        items: page.items.into_iter().map(PaymentBody::from).collect(),
        next: page.next,
    }))
}

/// One payment of the caller.
#[utoipa::path(get, path = "/v1/payments/{id}", tag = "payments", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = PaymentBody), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn payment(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let payment = store.payment(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(PaymentBody::from(payment)))
}

/// Has the provider take the money, for a client that the provider sent back itself. Again is fine. While
/// nobody knows whether it was taken the state is `approving`, and becomes another by itself.
#[utoipa::path(post, path = "/v1/payments/{id}/confirm", tag = "payments", security(("bearer" = [])), params(("id" = String, Path)),
    request_body = ConfirmRequest, responses(
    (status = 200, body = PaymentBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`not_ready`; `amount`: the provider asks for another; or `used`: the proof of another payment")))]
pub(super) async fn confirm(
    store: Store,
    person: Person,
    id: web::Path<String>,
    body: web::Json<ConfirmRequest>,
) -> Answer {
    let proof = Proof {
        token: &body.token,
        amount: body.amount,
    };
    let payment = store.confirm_payment(Some(person.id()), &id, proof).await?;
    Ok(HttpResponse::Ok().json(PaymentBody::from(payment)))
}

/// Where a provider sends the payer's browser: the payment goes on, and the browser to the store's page.
#[utoipa::path(get, path = "/v1/payments/{id}/return", tag = "payments", params(("id" = String, Path), ReturnQuery), responses(
    (status = 200, description = "what a browser sees that follows: the page of the store"),
    (status = 303, description = "to that page, with `payment=ID`"), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`not_ready`, `amount` or `used`"), (status = 429, body = Problem)))]
pub(super) async fn came_back(
    store: Store,
    from: Address,
    request: HttpRequest,
    id: web::Path<String>,
    query: web::Query<ReturnQuery>,
) -> Answer {
    state(&request)?.limits.of_visitor(&request, from.0)?;
    let seal = query.seal.as_deref().unwrap_or_default();
    if !store.payments().is_sealed(&id, seal) {
        return Err(StoreError::NotFound.into());
    }
    let token = query.pg_token.as_ref().or(query.payment_key.as_ref());
    match (query.outcome.as_str(), token) {
        ("approved", Some(token)) => {
            let amount = query.amount;
            store
                .confirm_payment(None, &id, Proof { token, amount })
                .await?;
        }
        ("cancelled", _) => {
            store.give_up_payment(&id, None).await?;
        }
        ("failed", _) => {
            let word = query.code.as_deref();
            let refused = word.filter(|word| !GIVEN_UP.contains(word));
            store.give_up_payment(&id, refused).await?;
        }
        _ => {
            let message = "approved with a proof, cancelled or failed";
            let unknown = Violation::new("outcome", "unknown", message);
            return Err(StoreError::from(unknown).into());
        }
    }
    Ok(to_page(&store, &id))
}

/// Sends a browser to the page that shows what became of a payment.
fn to_page(store: &Store, id: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, store.payments().page(id)))
        .finish()
}

/// A page that opens the provider's window for a browser. A payment that awaits nobody is shown on the store's page.
#[utoipa::path(get, path = "/v1/payments/{id}/window", tag = "payments", params(("id" = String, Path), WindowQuery), responses(
    (status = 200, body = String, content_type = "text/html"),
    (status = 303, description = "to the store's page, with `payment=ID`: it does not await a payer in a window"),
    (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn window(
    store: Store,
    from: Address,
    request: HttpRequest,
    id: web::Path<String>,
    query: web::Query<WindowQuery>,
) -> Answer {
    state(&request)?.limits.of_visitor(&request, from.0)?;
    let seal = query.seal.as_deref().unwrap_or_default();
    if !store.payments().is_sealed(&id, seal) {
        return Err(StoreError::NotFound.into());
    }
    let next = store.payment_window(&id).await?;
    match next.as_ref().and_then(payment_window::page) {
        Some(page) => Ok(page),
        None => Ok(to_page(&store, &id)),
    }
}

/// Has a payment of the caller paid back, whole or in part, to whom it came from. What goes back leaves
/// the wallet at once, and returns there if the provider refuses.
#[utoipa::path(post, path = "/v1/payments/{id}/cancel", tag = "payments", security(("bearer" = [])), request_body = CancelRequest,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 200, body = PaymentBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`not_paid`, `already_cancelled`, `order`: it paid for one, which is given back itself; `too_late`, `too_much`, `insufficient_funds`: it was spent; or `reused`")))]
pub(super) async fn cancel(
    store: Store,
    person: Person,
    key: Key,
    id: web::Path<String>,
    body: web::Json<CancelRequest>,
) -> Answer {
    let payment = store
        .cancel_payment(person.id(), &key.0, &id, body.amount)
        .await?;
    Ok(answered(StatusCode::OK, payment, PaymentBody::from))
}

/// Where a provider says that something happened to a payment. The store believes it only so far as to
/// look.
#[utoipa::path(post, path = "/v1/payments/webhooks/{provider}", tag = "payments", params(("provider" = String, Path)),
    request_body(content = String, content_type = "application/json"), responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem, description = "the signature does not hold"),
    (status = 404, body = Problem, description = "no provider of this store, or one that sends nothing"), (status = 429, body = Problem)))]
pub(super) async fn message(
    store: Store,
    from: Address,
    request: HttpRequest,
    provider: web::Path<String>,
    body: web::Bytes,
) -> Answer {
    state(&request)?.limits.of_visitor(&request, from.0)?;
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    store.payment_message(&provider, &header, &body).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<Payment> for PaymentBody {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            provider: payment.provider,
            purpose: payment.purpose,
            order: payment.order,
            amount: payment.amount.into(),
            cancelled: payment.cancelled.into(),
            cancelling: payment.cancelling.into(),
            state: payment.state.word(),
            next: payment.next,
            failure: payment.failure,
            at: payment.at.as_millis(),
            expires_at: payment.expires_at.as_millis(),
        }
    }
}
