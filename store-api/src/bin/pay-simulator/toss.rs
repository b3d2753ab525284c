//! Toss Payments: the window of the payer, confirm, cancel, query, messages.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Data, Json, Path, Query, ServiceConfig},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    books::{Payment, Played, Refusal, Standing},
    kakao_pay::to,
    messages,
    simulator::{Reply, Simulator, answer},
};

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/payments/confirm", web::post().to(confirm))
        .route("/v1/payments/{key}/cancel", web::post().to(cancel))
        .route("/v1/payments/orders/{order}", web::get().to(order))
        .route("/v1/payments/{key}", web::get().to(payment))
        .route("/v2/standard", web::get().to(sdk))
        .route("/toss/window", web::get().to(window));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Confirm {
    payment_key: String,
    order_id: String,
    amount: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancel {
    cancel_reason: String,
    cancel_amount: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    order_id: String,
    customer_key: String,
    amount: i64,
    success_url: String,
    fail_url: String,
    choice: Option<String>,
}

async fn confirm(
    simulator: Data<Simulator>,
    request: HttpRequest,
    body: Json<Confirm>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request) {
        return refused;
    }
    let name = name(&request);
    answer(&simulator, move |simulator| {
        simulator.once(name.as_deref(), || {
            let lifetime = simulator.settings.lifetime();
            let (key, order) = (&body.payment_key, &body.order_id);
            let mut books = simulator.books.lock();
            let taken = books.take(key, order, None, body.amount, lifetime);
            drop(books);
            done(simulator, taken)
        })
    })
    .await
}

async fn cancel(
    simulator: Data<Simulator>,
    request: HttpRequest,
    key: Path<String>,
    body: Json<Cancel>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request) {
        return refused;
    }
    let name = name(&request);
    answer(&simulator, move |simulator| {
        simulator.once(name.as_deref(), || {
            if body.cancel_reason.is_empty() || body.cancel_reason.chars().count() > 200 {
                return error(400, "INVALID_REQUEST", "a reason of up to 200 characters");
            }
            let mut books = simulator.books.lock();
            let left = books.find(&key).map_or(0, Payment::left);
            let amount = body.cancel_amount.unwrap_or(left);
            let cancelled = books.cancel(&key, amount, None, &body.cancel_reason);
            drop(books);
            done(simulator, cancelled)
        })
    })
    .await
}

async fn order(
    simulator: Data<Simulator>,
    request: HttpRequest,
    order: Path<String>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request) {
        return refused;
    }
    answer(&simulator, move |simulator| {
        let books = simulator.books.lock();
        found(books.of_order(&order))
    })
    .await
}

async fn payment(
    simulator: Data<Simulator>,
    request: HttpRequest,
    key: Path<String>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request) {
        return refused;
    }
    answer(&simulator, move |simulator| {
        let books = simulator.books.lock();
        found(books.find(&key))
    })
    .await
}

/// The script that opens the window.
async fn sdk() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .body(include_str!("toss_sdk.js"))
}

/// The payer's window, and what it does: it opens the payment, and sends them back.
async fn window(
    simulator: Data<Simulator>,
    request: HttpRequest,
    query: Query<Window>,
) -> HttpResponse {
    let query = query.into_inner();
    let Some(choice) = query.choice.as_deref() else {
        return asked(&request, query.amount);
    };
    let back = [query.success_url.clone(), query.fail_url.clone()];
    let mut books = simulator.books.lock();
    let (order, user) = (&query.order_id, &query.customer_key);
    let opened = books.open(Played::Toss, order, user, query.amount, back);
    let key = opened.key.clone();
    if choice == "agree" {
        books.agree(&key);
        to(&format!(
            "{}&paymentKey={key}&orderId={order}&amount={}",
            query.success_url, query.amount
        ))
    } else {
        books.quit(&key);
        let code = if choice == "refuse" {
            "REJECT_CARD_COMPANY"
        } else {
            "PAY_PROCESS_CANCELED"
        };
        to(&format!(
            "{}&code={code}&message=as+it+says&orderId={order}",
            query.fail_url
        ))
    }
}

/// What the payer is asked, in a window over the merchant's page.
fn asked(request: &HttpRequest, amount: i64) -> HttpResponse {
    let query = request
        .query_string()
        .replace('&', "&amp;")
        .replace('\'', "%27");
    let link = |choice: &str, text: &str| {
        format!("<a target=_top href='?{query}&amp;choice={choice}'>{text}</a> ")
    };
    let links = [
        link("agree", "Pay"),
        link("refuse", "Be refused"),
        link("quit", "Give up"),
    ];
    HttpResponse::Ok()
        .content_type(header::ContentType::html())
        .body(format!(
            "<!doctype html><title>Toss Payments, played</title><h1>{amount} KRW</h1><p>{}\
             <button onclick=\"parent.postMessage('closed', '*')\">Close</button>",
            links.concat()
        ))
}

/// A payment as Toss shows it.
pub fn shown(payment: &Payment) -> Value {
    let status = match &payment.standing {
        Standing::Open => "READY",
        Standing::Agreed(_) => "IN_PROGRESS",
        Standing::Quit => "ABORTED",
        Standing::Taken if payment.left() == 0 => "CANCELED",
        Standing::Taken if payment.cancels.is_empty() => "DONE",
        Standing::Taken => "PARTIAL_CANCELED",
    };
    let cancels: Vec<_> = payment
        .cancels
        .iter()
        .enumerate()
        .map(|(number, cancel)| {
            json!({
                "cancelReason": cancel.note, "cancelAmount": cancel.amount,
                "transactionKey": format!("{}-{number}", payment.key), "cancelStatus": "DONE",
            })
        })
        .collect();
    json!({
        "mId": "sim", "version": "2022-11-16", "paymentKey": payment.key, "orderId": payment.order,
        "orderName": "Wallet", "currency": "KRW", "method": "카드", "status": status, "type": "NORMAL",
        "totalAmount": payment.total, "balanceAmount": payment.left(),
        "cancels": if cancels.is_empty() { Value::Null } else { cancels.into() },
    })
}

/// What was done is told by a message as well.
fn done(simulator: &Data<Simulator>, outcome: Result<Payment, Refusal>) -> Reply {
    match outcome {
        Ok(payment) => {
            messages::tell(simulator, &payment.key);
            Reply::ok(shown(&payment))
        }
        Err(refusal) => refused(refusal),
    }
}

fn found(payment: Option<&Payment>) -> Reply {
    match payment {
        Some(payment) => Reply::ok(shown(payment)),
        None => refused(Refusal::Unknown),
    }
}

fn refused(refusal: Refusal) -> Reply {
    let (status, code) = match refusal {
        Refusal::Unknown => (404, "NOT_FOUND_PAYMENT"),
        Refusal::NotAgreed | Refusal::Expired => (404, "NOT_FOUND_PAYMENT_SESSION"),
        Refusal::AlreadyTaken => (400, "ALREADY_PROCESSED_PAYMENT"),
        Refusal::WrongAmount => (400, "INVALID_REQUEST"),
        Refusal::NotTaken => (403, "NOT_CANCELABLE_PAYMENT"),
        Refusal::TooMuch => (403, "NOT_CANCELABLE_AMOUNT"),
    };
    error(status, code, "as it says")
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply {
        status,
        body: json!({"code": code, "message": message}),
    }
}

fn name(request: &HttpRequest) -> Option<String> {
    let name = request.headers().get("idempotency-key")?;
    name.to_str().ok().map(str::to_owned)
}

fn unknown_merchant(simulator: &Simulator, request: &HttpRequest) -> Option<HttpResponse> {
    let user = STANDARD.encode(format!("{}:", simulator.settings.toss_secret_key));
    let expected = format!("Basic {user}");
    let shown = request.headers().get(header::AUTHORIZATION);
    let known = shown.is_some_and(|shown| shown.as_bytes() == expected.as_bytes());
    (!known).then(|| {
        let body = json!({"code": "UNAUTHORIZED_KEY", "message": "unknown key"});
        HttpResponse::Unauthorized().json(body)
    })
}
