//! Looking at what others show of themselves.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use shared::{
    id::{Timestamp, UserId},
    problem::Problem,
};
use utoipa::ToSchema;

use super::{
    caller::Person, friends::UserPage, refusal::Answer, shelf::MarkedPage, users::PageQuery,
};
use crate::{shelf::ShownGame, store::Store};

/// A game that somebody owns.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownGameBody {
    /// The game.
    id: String,
    /// Its name in addresses.
    #[schema(example = "midnight-railway")]
    slug: String,
    /// Its title.
    #[schema(example = "Midnight Railway")]
    title: String,
    /// Its first picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover: Option<String>,
    /// How long it was played, in seconds; absent if its owner does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 5400)]
    played_seconds: Option<u64>,
    /// When it was played last, in milliseconds since the epoch; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    played_at: Option<i64>,
}

/// Games that somebody owns.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownLibraryPage {
    /// In order of their ids.
    items: Vec<ShownGameBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Somebody's friends, without those who keep it from all whose friends they are.
#[utoipa::path(get, path = "/v1/users/{id}/friends", operation_id = "friends_of", tag = "users", security(("bearer" = [])), params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = UserPage), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "they are not shown to the caller"), (status = 404, body = Problem)))]
pub(super) async fn friends(
    store: Store,
    person: Person,
    id: web::Path<UserId>,
    query: web::Query<PageQuery>,
) -> Answer {
    let page = store
        .friends_of(person.id(), &id, &query.request()?)
        .await?;
    Ok(HttpResponse::Ok().json(UserPage::from(page)))
}

/// The games somebody owns.
#[utoipa::path(get, path = "/v1/users/{id}/library", operation_id = "library_of", tag = "users", security(("bearer" = [])), params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = ShownLibraryPage), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "they are not shown to the caller"), (status = 404, body = Problem)))]
pub(super) async fn library(
    store: Store,
    person: Person,
    id: web::Path<UserId>,
    query: web::Query<PageQuery>,
) -> Answer {
    let page = store
        .library_of(person.id(), &id, &query.request()?)
        .await?;
    Ok(HttpResponse::Ok().json(ShownLibraryPage {
        items: page.items.into_iter().map(ShownGameBody::from).collect(),
        next: page.next,
    }))
}

/// The games somebody would like to have, as they are sold where the caller buys.
#[utoipa::path(get, path = "/v1/users/{id}/wishlist", operation_id = "wishlist_of", tag = "users", security(("bearer" = [])), params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = MarkedPage), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "they are not shown to the caller"), (status = 404, body = Problem)))]
pub(super) async fn wishlist(
    store: Store,
    person: Person,
    id: web::Path<UserId>,
    query: web::Query<PageQuery>,
) -> Answer {
    let page = store
        .wishlist_of(person.id(), &id, &query.request()?)
        .await?;
    Ok(HttpResponse::Ok().json(MarkedPage::from(page)))
}

impl From<ShownGame> for ShownGameBody {
    fn from(game: ShownGame) -> Self {
        let (played_seconds, played_at) = game.played.unzip();
        Self {
            id: game.id,
            slug: game.slug,
            title: game.title,
            cover: game.cover,
            played_seconds,
            played_at: played_at.flatten().map(Timestamp::as_millis),
        }
    }
}
