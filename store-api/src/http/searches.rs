//! What people search for: each their own last searches, and everybody what many search for.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    caller::{Person, Visitor},
    refusal::Answer,
};
use crate::store::Store;

/// What somebody searched for.
#[derive(Deserialize, ToSchema)]
pub(super) struct SearchMade {
    /// As typed.
    #[schema(example = "clockwork")]
    q: String,
}

/// Searches.
#[derive(Serialize, ToSchema)]
pub(super) struct RecentBody {
    /// The last ten, the latest first.
    items: Vec<String>,
}

/// What many search for.
#[derive(Serialize, ToSchema)]
pub(super) struct TopBody {
    /// At most ten, the most wanted first.
    items: Vec<TopSearchBody>,
}

/// What many search for.
#[derive(Serialize, ToSchema)]
pub(super) struct TopSearchBody {
    /// The words.
    words: String,
    /// How many people did, each counted once a day.
    people: u64,
}

/// Remembers a search of the caller, which counts among those of the week when it finds something.
#[utoipa::path(post, path = "/v1/searches", tag = "catalogue", security(("bearer" = [])), request_body = SearchMade, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn search_made(
    store: Store,
    person: Person,
    body: web::Json<SearchMade>,
) -> Answer {
    store.remember_search(person.id(), &body.q).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The last searches of the caller.
#[utoipa::path(get, path = "/v1/searches", tag = "catalogue", security(("bearer" = [])), responses(
    (status = 200, body = RecentBody), (status = 401, body = Problem)))]
pub(super) async fn recent(store: Store, person: Person) -> Answer {
    let items = store.recent_searches(person.id()).await?;
    Ok(HttpResponse::Ok().json(RecentBody { items }))
}

/// Forgets the searches of the caller.
#[utoipa::path(delete, path = "/v1/searches", tag = "catalogue", security(("bearer" = [])), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn forget_searches(store: Store, person: Person) -> Answer {
    store.forget_searches(person.id()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What people searched for most in the last seven days.
#[utoipa::path(get, path = "/v1/searches/top", tag = "catalogue", security((), ("bearer" = [])), responses(
    (status = 200, body = TopBody), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn top(store: Store, _: Visitor) -> Answer {
    let top = store.top_searches().await?.into_iter();
    let items = top.map(|search| TopSearchBody {
        words: search.words,
        people: search.people,
    });
    Ok(HttpResponse::Ok().json(TopBody {
        items: items.collect(),
    }))
}
