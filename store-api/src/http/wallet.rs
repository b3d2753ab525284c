//! The caller's wallet, and gift cards.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    caller::{Actor, Key, Person},
    money::MoneyBody,
    refusal::Answer,
    users::PageQuery,
};
use crate::{
    accounts::Scope,
    error::StoreError,
    idempotency::Answered,
    money::{Country, Currency, Money},
    store::Store,
    wallet::{CardOrder, IssuedCards, Wallet, WalletEntry},
};

/// A wallet.
#[derive(Serialize, ToSchema)]
pub(super) struct WalletBody {
    /// Where its owner buys.
    #[schema(example = "KR")]
    country: &'static str,
    /// What is in it.
    balance: MoneyBody,
    /// The payment providers of this store that take its currency.
    #[schema(example = json!(["kakao_pay"]))]
    providers: Vec<&'static str>,
}

/// Where somebody buys.
#[derive(Deserialize, ToSchema)]
pub(super) struct CountryChange {
    /// An ISO 3166 code, such as KR.
    #[schema(example = "KR")]
    country: String,
}

/// Money that came or went.
#[derive(Serialize, ToSchema)]
pub(super) struct WalletEntryBody {
    /// The transfer.
    id: String,
    /// Why: `gift_card`, `purchase` (gifts are one too), `refund`, `top_up`, `payment_cancel` or
    /// `payment_cancel_refused`.
    #[schema(example = "gift_card")]
    cause: String,
    /// What it was for: the card, the order, the order and the game, the payment, its cancel.
    reference: String,
    /// What came, or went where it is negative.
    amount: MoneyBody,
    /// What was in the wallet then.
    balance: MoneyBody,
    /// When, in milliseconds since the epoch.
    at: i64,
}

/// Money that came and went.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryPage {
    /// The newest first.
    items: Vec<WalletEntryBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Gift cards wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct CardsRequest {
    /// What is to be on each, in minor units; on all together at most 10^10.
    #[schema(example = 50000)]
    amount: i64,
    /// The currency of that.
    #[schema(example = "KRW")]
    currency: String,
    /// How many: 1 to 100.
    cards: u32,
}

/// Gift cards made.
#[derive(Serialize, ToSchema)]
pub(super) struct CardsBody {
    /// The batch.
    batch: String,
    /// What is on each.
    amount: MoneyBody,
    /// Each good for whoever redeems it first.
    codes: Vec<String>,
    /// Until when, in milliseconds since the epoch.
    expires_at: i64,
}

/// Gift cards taken back.
#[derive(Serialize, ToSchema)]
pub(super) struct VoidedBody {
    /// How many.
    cards: u32,
    /// What was on them together.
    amount: MoneyBody,
}

/// A gift card.
#[derive(Deserialize, ToSchema)]
pub(super) struct RedeemRequest {
    /// As it stands on the card, whatever the case, with or without hyphens.
    #[schema(example = "7Q2K0-1M9PX-4BDTV-C6H8W")]
    code: String,
}

/// A gift card redeemed.
#[derive(Serialize, ToSchema)]
pub(super) struct RedeemedBody {
    /// What was on it.
    amount: MoneyBody,
    /// What is in the wallet now.
    balance: MoneyBody,
}

/// The caller's wallet.
#[utoipa::path(get, path = "/v1/wallet", tag = "wallet", security(("bearer" = [])), responses(
    (status = 200, body = WalletBody), (status = 401, body = Problem)))]
pub(super) async fn wallet(store: Store, person: Person) -> Answer {
    let wallet = store.wallet(person.id()).await?;
    Ok(HttpResponse::Ok().json(WalletBody::of(&store, wallet)))
}

/// Says where the caller buys, and so in which currency.
#[utoipa::path(put, path = "/v1/wallet/country", tag = "wallet", security(("bearer" = [])), request_body = CountryChange, responses(
    (status = 200, body = WalletBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 409, body = Problem, description = "`wallet_not_empty`: another currency needs an empty wallet; `payment_open`: and no payment that is not over")))]
pub(super) async fn move_to(
    store: Store,
    person: Person,
    body: web::Json<CountryChange>,
) -> Answer {
    let country = Country::parse(&body.country).map_err(StoreError::from)?;
    let wallet = store.move_to(person.id(), country).await?;
    Ok(HttpResponse::Ok().json(WalletBody::of(&store, wallet)))
}

/// What came into the caller's wallet and went.
#[utoipa::path(get, path = "/v1/wallet/history", tag = "wallet", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = HistoryPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn history(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let page = store.wallet_history(person.id(), &query.request()?).await?;
    Ok(HttpResponse::Ok().json(HistoryPage {
        items: page.items.into_iter().map(WalletEntryBody::from).collect(),
        next: page.next,
    }))
}

/// Makes gift cards, for an operator or a service of the scope `wallet`.
///
/// The codes are told to nobody else, and to whoever asks again under the same name.
#[utoipa::path(post, path = "/v1/gift-cards", tag = "wallet", security(("bearer" = []), ("service" = [])), request_body = CardsRequest,
    params(("Idempotency-Key" = String, Header, description = "names the request: 8 to 128 visible characters")), responses(
    (status = 201, body = CardsBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 409, body = Problem, description = "`reused`: the name stands for another request; `outstanding`: too much of this currency is on cards that nobody redeemed")))]
pub(super) async fn issue(
    store: Store,
    actor: Actor,
    key: Key,
    body: web::Json<CardsRequest>,
) -> Answer {
    actor.operator_or(Scope::Wallet)?;
    let currency = Currency::parse(&body.currency).map_err(StoreError::from)?;
    let amount = Money::positive("amount", body.amount, currency).map_err(StoreError::from)?;
    let order = CardOrder {
        amount,
        cards: body.cards,
    };
    let cards = store.issue_gift_cards(&actor.name(), &key.0, order).await?;
    Ok(answered(StatusCode::CREATED, cards, CardsBody::from))
}

/// Takes back the gift cards of a batch that nobody has redeemed, for an operator or a service of the scope
/// `wallet`. From then on they are good for nothing. Again is fine, and finds none.
#[utoipa::path(delete, path = "/v1/gift-cards/{batch}", tag = "wallet", security(("bearer" = []), ("service" = [])), params(("batch" = String, Path)), responses(
    (status = 200, body = VoidedBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn void(store: Store, actor: Actor, batch: web::Path<String>) -> Answer {
    actor.operator_or(Scope::Wallet)?;
    let voided = store.void_gift_cards(&actor.name(), &batch).await?;
    Ok(HttpResponse::Ok().json(VoidedBody {
        cards: voided.cards,
        amount: voided.amount.into(),
    }))
}

/// Redeems a gift card into the caller's wallet.
///
/// It may be asked again by whoever redeemed it. Ten wrong codes an hour are the most.
#[utoipa::path(post, path = "/v1/gift-cards/redeem", tag = "wallet", security(("bearer" = [])), request_body = RedeemRequest, responses(
    (status = 200, body = RedeemedBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "no such card, or somebody else's, or too old"),
    (status = 409, body = Problem, description = "`currency`: the card is in another currency than the wallet"),
    (status = 429, body = Problem)))]
pub(super) async fn redeem(store: Store, person: Person, body: web::Json<RedeemRequest>) -> Answer {
    let redeemed = store.redeem_gift_card(person.id(), &body.code).await?;
    Ok(HttpResponse::Ok().json(RedeemedBody {
        amount: redeemed.amount.into(),
        balance: redeemed.balance.into(),
    }))
}

/// An answer given under a name: `Idempotency-Replayed` says whether it was given before.
pub(super) fn answered<T, B: Serialize>(
    status: StatusCode,
    answered: Answered<T>,
    body: impl FnOnce(T) -> B,
) -> HttpResponse {
    let replayed = if answered.replayed { "true" } else { "false" };
    HttpResponse::build(status)
        .insert_header(("idempotency-replayed", replayed))
        .insert_header(("cache-control", "no-store"))
        .json(body(answered.answer))
}

impl WalletBody {
    fn of(store: &Store, wallet: Wallet) -> Self {
        Self {
            country: wallet.country.code(),
            providers: store.payments().taking(wallet.balance),
            balance: wallet.balance.into(),
        }
    }
}

impl From<WalletEntry> for WalletEntryBody {
    fn from(entry: WalletEntry) -> Self {
        Self {
            id: entry.id,
            cause: entry.cause,
            reference: entry.reference,
            amount: entry.amount.into(),
            balance: entry.balance.into(),
            at: entry.at.as_millis(),
        }
    }
}

impl From<IssuedCards> for CardsBody {
    fn from(cards: IssuedCards) -> Self {
        Self {
            batch: cards.batch,
            amount: cards.amount.into(),
            codes: cards.codes,
            expires_at: cards.expires_at.as_millis(),
        }
    }
}
