//! Queues before drops: waiting for a pass.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{caller::Person, refusal::Answer};
use crate::{
    coupons::{QueuePlace, QueueState},
    store::Store,
};

/// A place in a queue.
#[derive(Serialize, ToSchema)]
pub(super) struct QueueBody {
    /// The number of the caller's ticket, higher than all before.
    #[schema(example = 1204)]
    number: i64,
    /// `waiting` or `admitted`.
    #[schema(example = "waiting")]
    state: &'static str,
    /// How many are before the caller, who waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 87)]
    ahead: Option<u64>,
    /// How long that takes if nobody leaves, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 8700)]
    wait: Option<i64>,
    /// Who waits and does not ask for so long, in milliseconds, loses the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 60_000)]
    timeout: Option<u64>,
    /// What the caller, who is admitted, shows as `Drop-Pass` at the drop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    /// Until when the pass is good, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pass_expires_at: Option<i64>,
}

/// Gives the caller a ticket for a drop, or says again which they have. One may come before the drop opens.
#[utoipa::path(put, path = "/v1/drops/{id}/queue", tag = "coupons", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = QueueBody), (status = 401, body = Problem), (status = 404, body = Problem, description = "no such drop, or none with a queue"),
    (status = 409, body = Problem, description = "`over`"), (status = 503, body = Problem)))]
pub(super) async fn join(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let place = store.join_queue(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(QueueBody::of(place, &store)))
}

/// Where the caller stands. Who waits has to ask now and then; whoever is there is told by `notice` events besides.
#[utoipa::path(get, path = "/v1/drops/{id}/queue", tag = "coupons", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = QueueBody), (status = 401, body = Problem),
    (status = 404, body = Problem, description = "no such drop, none with a queue, or the caller has no ticket (any more)")))]
pub(super) async fn place(store: Store, person: Person, id: web::Path<String>) -> Answer {
    let place = store.queue_place(person.id(), &id).await?;
    Ok(HttpResponse::Ok().json(QueueBody::of(place, &store)))
}

/// The caller waits no more. Again is fine.
#[utoipa::path(delete, path = "/v1/drops/{id}/queue", tag = "coupons", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 404, body = Problem, description = "no such drop, or none with a queue")))]
pub(super) async fn leave(store: Store, person: Person, id: web::Path<String>) -> Answer {
    store.leave_queue(person.id(), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl QueueBody {
    fn of(place: QueuePlace, store: &Store) -> Self {
        let number = place.number;
        match place.state {
            QueueState::Waiting { ahead, wait } => Self {
                number,
                state: "waiting",
                ahead: Some(ahead),
                wait: Some(wait),
                timeout: Some(store.limits().queue_timeout.as_millis() as u64),
                pass: None,
                pass_expires_at: None,
            },
            QueueState::Admitted { pass, until } => Self {
                number,
                state: "admitted",
                ahead: None,
                wait: None,
                timeout: None,
                pass: Some(pass),
                pass_expires_at: Some(until.as_millis()),
            },
        }
    }
}
