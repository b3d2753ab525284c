//! Campaigns: coupons as those make and give them out who run the store, and publishers.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::ToSchema;

use super::{caller::Actor, refusal::Answer, users::PageQuery};
use crate::{
    accounts::Scope,
    coupons::{Campaign, CampaignText, TermsText},
    error::{StoreError, Violation},
    store::Store,
};

/// What a coupon takes off, and off what. What has to be there depends on the kind.
#[derive(Serialize, ToSchema)]
pub(super) struct TermsBody {
    /// `percent` (a part off), `fixed` (so much off), `bundle` (a part off games bought together), `category` (a part
    /// off games of categories) or `first_purchase` (a part off, for who has not bought anything yet).
    #[schema(example = "percent")]
    kind: String,
    /// How many hundredths, 1 to 100; not of `fixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 20)]
    percent: Option<u8>,
    /// But no more than this, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    cap: Option<i64>,
    /// How much, in minor units; of `fixed` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    /// The currency of `cap`, `amount` and `minimum`, and of what is bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "USD")]
    currency: Option<String>,
    /// Where it has to be bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    /// What the order has to cost before coupons, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<i64>,
    /// Games it is for; all of them make the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    games: Vec<String>,
    /// Categories it is for; a game of one is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["puzzle"]))]
    categories: Vec<String>,
    /// Publishers it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publishers: Vec<String>,
    /// From how many games of the categories on; of `category` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<u32>,
    /// Whether it goes together with others that do.
    #[serde(default)]
    stackable: bool,
}

/// A campaign wanted.
#[derive(ToSchema)]
#[allow(dead_code)] // it describes what `CampaignText` reads
pub(super) struct CampaignRequest {
    /// What its coupons are called: 1 to 140 characters.
    #[schema(example = "Autumn puzzles")]
    name: String,
    /// The publisher whose they are, and for whose games; the store's own, when it is left out.
    publisher: Option<String>,
    #[schema(inline)]
    #[serde(flatten)]
    terms: TermsBody,
    /// From when they are good, in milliseconds since the epoch; now, when it is left out.
    starts_at: Option<i64>,
    /// Until when.
    #[schema(example = 1_900_000_000_000_i64)]
    ends_at: i64,
    /// Who enters this gets one: 6 to 32 letters and digits.
    #[schema(example = "AUTUMN-10")]
    code: Option<String>,
    /// Whether whoever comes first gets one: then `quantity` says how many.
    #[schema(default = false)]
    drop: Option<bool>,
    /// From when people get one by the code or the drop; `starts_at`, when it is left out.
    opens_at: Option<i64>,
    /// Until when; `ends_at`, when it is left out.
    closes_at: Option<i64>,
    /// How many there are at the most, up to 1000000; as many as there is need of, when it is left out.
    #[schema(example = 500)]
    quantity: Option<i64>,
    /// Before the drop there is a queue, from which so many people a minute are admitted, up to 60000.
    #[schema(example = 600)]
    queue_rate: Option<i64>,
}

/// A campaign.
#[derive(Serialize, ToSchema)]
pub(super) struct CampaignBody {
    /// Its id.
    id: String,
    /// What its coupons are called.
    #[schema(example = "Autumn puzzles")]
    name: String,
    /// The publisher whose they are, and for whose games; the store's own when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    #[serde(flatten)]
    terms: TermsBody,
    /// From when they are good, in milliseconds since the epoch.
    starts_at: i64,
    /// Until when.
    ends_at: i64,
    /// Who enters this gets one; as codes are compared: capitals, no hyphens, 1 for I and L, 0 for O.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Whether whoever comes first gets one.
    drop: bool,
    /// From when people get one by themselves.
    opens_at: i64,
    /// Until when.
    closes_at: i64,
    /// How many there are at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    /// How many people a minute are admitted to the drop, if it has a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_rate: Option<i64>,
    /// How many were given out.
    issued: i64,
    /// When it was made.
    created_at: i64,
}

/// Campaigns.
#[derive(Serialize, ToSchema)]
pub(super) struct CampaignsPage {
    /// The latest first.
    items: Vec<CampaignBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Who is to get a coupon.
#[derive(Deserialize, ToSchema)]
pub(super) struct GrantRequest {
    /// Ids of 1 to 500 people.
    users: Vec<String>,
}

/// What giving out came to.
#[derive(Serialize, ToSchema)]
pub(super) struct GrantBody {
    /// How many got one.
    issued: usize,
    /// How many had one already.
    held: usize,
}

/// Makes a campaign: for an operator or a service of the scope `coupons`, or for the owner of the
/// publisher whose it is.
#[utoipa::path(post, path = "/v1/campaigns", tag = "campaigns", security(("bearer" = []), ("service" = [])), request_body = CampaignRequest, responses(
    (status = 201, body = CampaignBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 409, body = Problem, description = "`taken`: another campaign has this code")))]
pub(super) async fn make(store: Store, actor: Actor, body: web::Json<CampaignText>) -> Answer {
    let keeper = actor.keeper(Scope::Coupons)?;
    let campaign = store
        .make_campaign(&actor.name(), keeper, body.into_inner())
        .await?;
    Ok(HttpResponse::Created().json(CampaignBody::from(campaign)))
}

/// The campaigns that the caller keeps: all of them, or those of the caller's publishers.
#[utoipa::path(get, path = "/v1/campaigns", tag = "campaigns", security(("bearer" = []), ("service" = [])), params(PageQuery), responses(
    (status = 200, body = CampaignsPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn campaigns(store: Store, actor: Actor, query: web::Query<PageQuery>) -> Answer {
    let keeper = actor.keeper(Scope::Coupons)?;
    let page = store.campaigns(keeper, &query.request()?).await?;
    Ok(HttpResponse::Ok().json(CampaignsPage {
        items: page.items.into_iter().map(CampaignBody::from).collect(),
        next: page.next,
    }))
}

/// Ends a campaign at once: nothing more is given out, and what was given out and not used is good for
/// nothing. Again is fine.
#[utoipa::path(delete, path = "/v1/campaigns/{id}", tag = "campaigns", security(("bearer" = []), ("service" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = CampaignBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end(store: Store, actor: Actor, id: web::Path<String>) -> Answer {
    let keeper = actor.keeper(Scope::Coupons)?;
    let campaign = store.end_campaign(&actor.name(), keeper, &id).await?;
    Ok(HttpResponse::Ok().json(CampaignBody::from(campaign)))
}

/// Gives people coupons of a campaign, all of them or none; who has one keeps that. They are told.
#[utoipa::path(post, path = "/v1/campaigns/{id}/coupons", tag = "campaigns", security(("bearer" = []), ("service" = [])),
    params(("id" = String, Path)), request_body = GrantRequest, responses(
    (status = 200, body = GrantBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem, description = "`over`, or `sold_out`: there are not as many left")))]
pub(super) async fn grant(
    store: Store,
    actor: Actor,
    id: web::Path<String>,
    body: web::Json<GrantRequest>,
) -> Answer {
    let keeper = actor.keeper(Scope::Coupons)?;
    let people = body.users.iter().map(|id| UserId::parse(id));
    let people = people.collect::<Result<Vec<_>, _>>().map_err(|_| {
        let message = "ids of people";
        StoreError::from(Violation::new("users", "malformed", message))
    })?;
    let granted = store
        .grant_coupons(&actor.name(), keeper, &id, &people)
        .await?;
    Ok(HttpResponse::Ok().json(GrantBody {
        issued: granted.issued,
        held: granted.held,
    }))
}

impl From<TermsText> for TermsBody {
    fn from(terms: TermsText) -> Self {
        Self {
            kind: terms.kind,
            percent: terms.percent,
            cap: terms.cap,
            amount: terms.amount,
            currency: terms.currency,
            country: terms.country,
            minimum: terms.minimum,
            games: terms.games,
            categories: terms.categories,
            publishers: terms.publishers,
            at_least: terms.at_least,
            stackable: terms.stackable,
        }
    }
}

impl From<Campaign> for CampaignBody {
    fn from(campaign: Campaign) -> Self {
        Self {
            id: campaign.id,
            name: campaign.name,
            publisher: campaign.publisher,
            terms: campaign.terms.into(),
            starts_at: campaign.starts_at.as_millis(),
            ends_at: campaign.ends_at.as_millis(),
            code: campaign.code,
            drop: campaign.is_drop,
            opens_at: campaign.opens_at.as_millis(),
            closes_at: campaign.closes_at.as_millis(),
            quantity: campaign.quantity,
            queue_rate: campaign.queue_rate,
            issued: campaign.issued,
            created_at: campaign.created_at.as_millis(),
        }
    }
}
