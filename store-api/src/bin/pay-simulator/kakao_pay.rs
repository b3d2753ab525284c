//! KakaoPay's single payments: ready, the page of the payer, approve, cancel, order.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Data, Json, Path, Query, ServiceConfig},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    books::{Payment, Played, Refusal, Standing},
    simulator::{Reply, Simulator, answer},
};

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/online/v1/payment/ready", web::post().to(ready))
        .route("/online/v1/payment/approve", web::post().to(approve))
        .route("/online/v1/payment/cancel", web::post().to(cancel))
        .route("/online/v1/payment/order", web::post().to(order))
        .route("/kakao/pay/{tid}", web::get().to(page));
}

#[derive(Deserialize, Clone)]
struct Ready {
    cid: String,
    partner_order_id: String,
    partner_user_id: String,
    item_name: String,
    quantity: u32,
    total_amount: i64,
    tax_free_amount: i64,
    approval_url: String,
    cancel_url: String,
    fail_url: String,
}

#[derive(Deserialize)]
struct Approve {
    cid: String,
    tid: String,
    partner_order_id: String,
    partner_user_id: String,
    pg_token: String,
    total_amount: Option<i64>,
}

#[derive(Deserialize)]
struct PayBack {
    cid: String,
    tid: String,
    cancel_amount: i64,
    cancel_tax_free_amount: i64,
    cancel_available_amount: Option<i64>,
    payload: Option<String>,
}

#[derive(Deserialize)]
struct Order {
    cid: String,
    tid: String,
}

#[derive(Deserialize)]
struct Choice {
    choice: Option<String>,
}

async fn ready(
    simulator: Data<Simulator>,
    request: HttpRequest,
    body: Json<Ready>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request, &body.cid) {
        return refused;
    }
    answer(&simulator, move |simulator| {
        let urls = [&body.approval_url, &body.cancel_url, &body.fail_url];
        let too_long = urls.iter().any(|url| url.len() > 255);
        let sound = body.total_amount > 0 && body.tax_free_amount >= 0 && body.quantity > 0;
        if too_long || !sound || body.item_name.is_empty() || body.item_name.len() > 100 {
            return error(400, -2, "invalid parameter");
        }
        let back = [body.approval_url.clone(), body.cancel_url.clone()];
        let mut books = simulator.books.lock();
        let opened = books.open(
            Played::KakaoPay,
            &body.partner_order_id,
            &body.partner_user_id,
            body.total_amount,
            back,
        );
        let page = format!("{}/kakao/pay/{}", simulator.base, opened.key);
        Reply::ok(json!({
            "tid": opened.key, "tms_result": false, "created_at": "2024-01-01T00:00:00",
            "next_redirect_pc_url": page, "next_redirect_mobile_url": page,
            "next_redirect_app_url": page, "android_app_scheme": "kakaotalk://",
            "ios_app_scheme": "kakaotalk://",
        }))
    })
    .await
}

async fn approve(
    simulator: Data<Simulator>,
    request: HttpRequest,
    body: Json<Approve>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request, &body.cid) {
        return refused;
    }
    answer(&simulator, move |simulator| {
        let lifetime = simulator.settings.lifetime();
        let mut books = simulator.books.lock();
        let found = books.find(&body.tid).cloned();
        let total = found.as_ref().map_or(0, |payment| payment.total);
        if found.is_some_and(|payment| payment.user != body.partner_user_id) {
            return error(400, -2, "another user");
        }
        let amount = body.total_amount.unwrap_or(total);
        let token = Some(body.pg_token.as_str());
        let taken = books.take(&body.tid, &body.partner_order_id, token, amount, lifetime);
        match taken {
            Ok(payment) => Reply::ok(shown(&payment)),
            Err(refusal) => refused(refusal),
        }
    })
    .await
}

async fn cancel(
    simulator: Data<Simulator>,
    request: HttpRequest,
    body: Json<PayBack>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request, &body.cid) {
        return refused;
    }
    answer(&simulator, move |simulator| {
        if body.cancel_tax_free_amount < 0 {
            return error(400, -2, "invalid parameter");
        }
        let note = body.payload.as_deref().unwrap_or_default();
        let left = body.cancel_available_amount;
        let mut books = simulator.books.lock();
        match books.cancel(&body.tid, body.cancel_amount, left, note) {
            Ok(payment) => {
                let mut answer = shown(&payment);
                answer["approved_cancel_amount"] = amount(body.cancel_amount);
                answer["payload"] = note.into();
                Reply::ok(answer)
            }
            Err(refusal) => refused(refusal),
        }
    })
    .await
}

async fn order(
    simulator: Data<Simulator>,
    request: HttpRequest,
    body: Json<Order>,
) -> HttpResponse {
    if let Some(refused) = unknown_merchant(&simulator, &request, &body.cid) {
        return refused;
    }
    answer(&simulator, move |simulator| {
        let books = simulator.books.lock();
        let Some(payment) = books.find(&body.tid) else {
            return refused(Refusal::Unknown);
        };
        Reply::ok(shown(payment))
    })
    .await
}

/// The page on which the payer agrees or gives up.
async fn page(simulator: Data<Simulator>, tid: Path<String>, query: Query<Choice>) -> HttpResponse {
    let mut books = simulator.books.lock();
    let Some(payment) = books.find(&tid).cloned() else {
        return HttpResponse::NotFound().finish();
    };
    let [agreed, gave_up] = payment.back;
    match query.choice.as_deref() {
        Some("agree") => match books.agree(&tid) {
            Some(token) => to(&format!("{agreed}&pg_token={token}")),
            None => to(&gave_up),
        },
        Some(_) => {
            books.quit(&tid);
            to(&gave_up)
        }
        None => HttpResponse::Ok()
            .content_type(header::ContentType::html())
            .body(format!(
                "<!doctype html><title>KakaoPay, played</title><h1>{} KRW</h1>\
             <p><a href='?choice=agree'>Pay</a> <a href='?choice=quit'>Give up</a>",
                payment.total
            )),
    }
}

/// Sends a browser elsewhere.
pub fn to(url: &str) -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, url))
        .finish()
}

fn shown(payment: &Payment) -> Value {
    let status = match &payment.standing {
        Standing::Open => "OPEN_PAYMENT",
        Standing::Agreed(_) => "AUTH_PASSWORD",
        Standing::Quit => "QUIT_PAYMENT",
        Standing::Taken if payment.left() == 0 => "CANCEL_PAYMENT",
        Standing::Taken if payment.cancels.is_empty() => "SUCCESS_PAYMENT",
        Standing::Taken => "PART_CANCEL_PAYMENT",
    };
    let mut actions = Vec::new();
    if payment.standing == Standing::Taken {
        actions.push(json!({
            "aid": "A", "payment_action_type": "PAYMENT", "amount": payment.total, "payload": null,
        }));
    }
    for (number, cancel) in payment.cancels.iter().enumerate() {
        actions.push(json!({
            "aid": format!("A{number}"), "payment_action_type": "CANCEL", "amount": cancel.amount,
            "payload": cancel.note,
        }));
    }
    json!({
        "aid": "A", "tid": payment.key, "cid": "TC0ONETIME", "status": status,
        "partner_order_id": payment.order, "partner_user_id": payment.user,
        "payment_method_type": "MONEY", "amount": amount(payment.total),
        "canceled_amount": amount(payment.cancelled()),
        "cancel_available_amount": amount(payment.left()), "payment_action_details": actions,
    })
}

fn amount(total: i64) -> Value {
    json!({"total": total, "tax_free": 0, "vat": total / 11, "point": 0, "discount": 0})
}

fn refused(refusal: Refusal) -> Reply {
    let (code, message) = match refusal {
        Refusal::Unknown => (-750, "no such tid"),
        Refusal::NotAgreed => (-703, "the payer did not agree"),
        Refusal::AlreadyTaken => (-702, "approved already"),
        Refusal::Expired => (-710, "too late"),
        Refusal::WrongAmount => (-723, "another amount or order"),
        Refusal::NotTaken => (-721, "not approved"),
        Refusal::TooMuch => (-722, "not so much can be cancelled"),
    };
    error(400, code, message)
}

fn error(status: u16, code: i32, message: &str) -> Reply {
    Reply {
        status,
        body: json!({"error_code": code, "error_message": message}),
    }
}

fn unknown_merchant(
    simulator: &Simulator,
    request: &HttpRequest,
    cid: &str,
) -> Option<HttpResponse> {
    let settings = &simulator.settings;
    let expected = format!("SECRET_KEY {}", settings.kakao_pay_secret);
    let shown = request.headers().get(header::AUTHORIZATION);
    let known = shown.is_some_and(|shown| shown.as_bytes() == expected.as_bytes());
    (!known || cid != settings.kakao_pay_cid).then(|| {
        let body = json!({"error_code": -401, "error_message": "unknown key or merchant"});
        HttpResponse::Unauthorized().json(body)
    })
}
