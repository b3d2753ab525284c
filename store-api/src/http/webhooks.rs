//! Who is told by HTTP what happens: for those who run the store, and for owners of publishers about
//! their games.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{
    id::{Timestamp, UserId},
    problem::Problem,
};
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::{Actor, Person},
    refusal::Answer,
    users::PageQuery,
};
use crate::{
    accounts::Role,
    catalogue::Keeper,
    error::StoreError,
    paging::PageRequest,
    store::Store,
    webhooks::{Delivery, DeliveryState, Disabled, NewWebhook, Webhook, WebhookChange},
};

/// A webhook wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct WebhookRequest {
    /// Where events are to be sent: `https:`, and no address that only the store can reach.
    #[schema(example = "https://hooks.example/fireside")]
    url: String,
    /// What it is to hear of: `order.paid`, `order.refunded`, `gift.given`, `gift.accepted`,
    /// `gift.declined`, `gift.taken_back`, `gift.expired`, `user.withdrawn`.
    #[schema(example = json!(["order.paid", "order.refunded"]))]
    kinds: Vec<String>,
    /// The publisher of whose games it is to hear; without one it hears of all, and is for those who run
    /// the store.
    publisher: Option<String>,
}

/// What is to change about a webhook; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(super) struct WebhookPatch {
    /// Where events are to be sent, those included that wait.
    url: Option<String>,
    /// What it is to hear of.
    kinds: Option<Vec<String>>,
    /// Whether anything is sent. What happens while nothing is, it does not hear of.
    enabled: Option<bool>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookBody {
    /// Its name.
    id: String,
    /// The publisher of whose games it hears.
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    /// Where events are sent.
    url: String,
    /// What it hears of.
    kinds: Vec<&'static str>,
    /// Whether anything is sent.
    enabled: bool,
    /// Why nothing is: `asked`, `failing` (it took nothing for days) or `gone` (it answered 410).
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_because: Option<&'static str>,
    /// Since when it takes nothing, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<i64>,
    /// When it was made, in milliseconds since the epoch.
    created_at: i64,
    /// Until when events are signed with the secret before this one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<i64>,
}

/// A webhook with a secret that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewWebhookBody {
    #[serde(flatten)]
    about: WebhookBody,
    /// What events are signed with. It is told here and never again.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    secret: String,
}

/// Webhooks.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhooksPage {
    /// In order of their making.
    items: Vec<WebhookBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An event for a webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryBody {
    /// Its name, the `webhook-id` of every attempt.
    id: String,
    /// What it tells.
    #[schema(example = "order.paid")]
    kind: String,
    /// What it is about; of one subject events are sent in order.
    subject: String,
    /// `waiting`, `delivered` or `dead`.
    #[schema(example = "dead")]
    state: &'static str,
    /// Attempts that failed since it was written or asked for again.
    attempts: u64,
    /// What the last attempt came to: an HTTP status; `timeout`; `connection`, there was none or it broke;
    /// `address`, it leads where webhooks may not go; `secret`, the store has another key than when it
    /// told the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "503")]
    outcome: Option<String>,
    /// When it happened, in milliseconds since the epoch.
    created_at: i64,
    /// Before when it is not sent again, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<i64>,
    /// When it was taken or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    done_at: Option<i64>,
}

/// Events for a webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveriesPage {
    /// The newest first.
    items: Vec<DeliveryBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What became of dead letters.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayedBody {
    /// How many are sent again.
    replayed: u64,
    /// How many are left for another request.
    left: u64,
}

/// Whose webhooks.
#[derive(Deserialize, IntoParams)]
pub(super) struct WebhooksQuery {
    /// Those of this publisher; without it, those of the store.
    publisher: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
pub(super) struct DeliveriesQuery {
    /// Those that stand so: `waiting`, `delivered` or `dead`.
    state: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// Registers a webhook. Its secret is told in the answer.
#[utoipa::path(post, path = "/v1/webhooks", operation_id = "make_webhook", tag = "webhooks", security(("bearer" = [])), request_body = WebhookRequest, responses(
    (status = 201, body = NewWebhookBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem, description = "no such publisher"),
    (status = 409, body = Problem, description = "`too_many`: the store has 50 already, or the publisher 5")))]
pub(super) async fn make(store: Store, actor: Actor, body: web::Json<WebhookRequest>) -> Answer {
    let person = person(&actor)?;
    let body = body.into_inner();
    let new = NewWebhook {
        publisher: body.publisher,
        url: body.url,
        kinds: body.kinds,
    };
    let made = store.make_webhook(keeper(person), person.id(), new).await?;
    Ok(with_secret(HttpResponse::Created(), made))
}

/// Webhooks of the store, or of a publisher.
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "webhooks", tag = "webhooks", security(("bearer" = [])), params(WebhooksQuery), responses(
    (status = 200, body = WebhooksPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem, description = "no such publisher")))]
pub(super) async fn webhooks(
    store: Store,
    actor: Actor,
    query: web::Query<WebhooksQuery>,
) -> Answer {
    let person = person(&actor)?;
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let publisher = query.publisher.as_deref();
    let page = store.webhooks_of(keeper(person), publisher, &page).await?;
    Ok(HttpResponse::Ok().json(WebhooksPage {
        items: page.items.into_iter().map(WebhookBody::from).collect(),
        next: page.next,
    }))
}

/// One webhook.
#[utoipa::path(get, path = "/v1/webhooks/{id}", operation_id = "webhook", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = WebhookBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn webhook(store: Store, actor: Actor, id: web::Path<String>) -> Answer {
    let webhook = store.webhook(keeper(person(&actor)?), &id).await?;
    Ok(HttpResponse::Ok().json(WebhookBody::from(webhook)))
}

/// Changes a webhook.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", operation_id = "change_webhook", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path)), request_body = WebhookPatch, responses(
    (status = 200, body = WebhookBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn change(
    store: Store,
    actor: Actor,
    id: web::Path<String>,
    body: web::Json<WebhookPatch>,
) -> Answer {
    let person = person(&actor)?;
    let body = body.into_inner();
    let change = WebhookChange {
        url: body.url,
        kinds: body.kinds,
        enabled: body.enabled,
    };
    let webhook = store
        .change_webhook(keeper(person), person.id(), &id, change)
        .await?;
    Ok(HttpResponse::Ok().json(WebhookBody::from(webhook)))
}

/// Removes a webhook, and what is on its way to it.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn delete(store: Store, actor: Actor, id: web::Path<String>) -> Answer {
    let person = person(&actor)?;
    store
        .delete_webhook(keeper(person), person.id(), &id)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives a webhook another secret. For a day, or as long as the settings say, events are signed with
/// the one before as well.
#[utoipa::path(post, path = "/v1/webhooks/{id}/secret", operation_id = "renew_webhook_secret", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = NewWebhookBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn renew_secret(store: Store, actor: Actor, id: web::Path<String>) -> Answer {
    let person = person(&actor)?;
    let renewed = store
        .renew_webhook_secret(keeper(person), person.id(), &id)
        .await?;
    Ok(with_secret(HttpResponse::Ok(), renewed))
}

/// Sends a webhook an event `ping`, which tells of nothing.
#[utoipa::path(post, path = "/v1/webhooks/{id}/ping", operation_id = "ping_webhook", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 202, body = DeliveryBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`disabled`")))]
pub(super) async fn ping(store: Store, actor: Actor, id: web::Path<String>) -> Answer {
    let delivery = store.ping_webhook(keeper(person(&actor)?), &id).await?;
    Ok(HttpResponse::Accepted().json(DeliveryBody::from(delivery)))
}

/// What was written for a webhook: what waits, what was taken, and what was given up.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", operation_id = "webhook_deliveries", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path), DeliveriesQuery), responses(
    (status = 200, body = DeliveriesPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn deliveries(
    store: Store,
    actor: Actor,
    id: web::Path<String>,
    query: web::Query<DeliveriesQuery>,
) -> Answer {
    let keeper = keeper(person(&actor)?);
    let DeliveriesQuery {
        state,
        cursor,
        limit,
    } = query.into_inner();
    let page = PageQuery { cursor, limit }.request()?;
    let state = state.as_deref().map(DeliveryState::parse);
    let state = state.transpose().map_err(StoreError::from)?;
    let page = store.webhook_deliveries(keeper, &id, state, &page).await?;
    Ok(HttpResponse::Ok().json(DeliveriesPage {
        items: page.items.into_iter().map(DeliveryBody::from).collect(),
        next: page.next,
    }))
}

/// Sends an event again, whether it was taken or given up; one that waits is sent at once.
#[utoipa::path(post, path = "/v1/webhooks/{id}/deliveries/{delivery}/replay", operation_id = "replay_delivery", tag = "webhooks", security(("bearer" = [])),
    params(("id" = String, Path), ("delivery" = String, Path)), responses(
    (status = 202, body = DeliveryBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`disabled`")))]
pub(super) async fn replay(
    store: Store,
    actor: Actor,
    path: web::Path<(String, String)>,
) -> Answer {
    let person = person(&actor)?;
    let (id, delivery) = path.into_inner();
    let delivery = store
        .replay_delivery(keeper(person), person.id(), &id, &delivery)
        .await?;
    Ok(HttpResponse::Accepted().json(DeliveryBody::from(delivery)))
}

/// Sends dead letters again, the oldest first, 10,000 at the most.
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", operation_id = "replay_dead_deliveries", tag = "webhooks", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 202, body = ReplayedBody), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`disabled`")))]
pub(super) async fn replay_dead(store: Store, actor: Actor, id: web::Path<String>) -> Answer {
    let person = person(&actor)?;
    let replayed = store.replay_dead(keeper(person), person.id(), &id).await?;
    Ok(HttpResponse::Accepted().json(ReplayedBody {
        replayed: replayed.replayed,
        left: replayed.left,
    }))
}

/// The person who calls: webhooks are registered in somebody's name.
fn person(actor: &Actor) -> Answer<&Person> {
    match actor {
        Actor::Person(person) => Ok(person),
        Actor::Service { .. } => Err(StoreError::Forbidden(
            "this is for people: those who run the store, and owners of publishers",
        )
        .into()),
    }
}

/// Whose webhooks a person may keep.
fn keeper(person: &Person) -> Keeper<'_> {
    let id: &UserId = person.id();
    if person.role() == Role::Operator {
        Keeper::Store
    } else {
        Keeper::Owner(id)
    }
}

fn with_secret(
    mut response: actix_web::HttpResponseBuilder,
    (webhook, secret): (Webhook, String),
) -> HttpResponse {
    response
        .insert_header(("cache-control", "no-store"))
        .json(NewWebhookBody {
            about: webhook.into(),
            secret,
        })
}

impl From<Webhook> for WebhookBody {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id,
            publisher: webhook.publisher,
            url: webhook.url,
            kinds: webhook.kinds.words(),
            enabled: webhook.disabled.is_none(),
            disabled_because: webhook.disabled.map(Disabled::word),
            failing_since: webhook.failing_since.map(Timestamp::as_millis),
            created_at: webhook.created_at.as_millis(),
            previous_secret_until: webhook.previous_secret_until.map(Timestamp::as_millis),
        }
    }
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            kind: delivery.kind,
            subject: delivery.subject,
            state: delivery.state.word(),
            attempts: delivery.attempts,
            outcome: delivery.outcome,
            created_at: delivery.created_at.as_millis(),
            next_at: delivery.next_at.map(Timestamp::as_millis),
            done_at: delivery.done_at.map(Timestamp::as_millis),
        }
    }
}
