//! The caller's lists, library and publishers they follow.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    caller::Person,
    catalogue::{CardBody, PublisherBody},
    refusal::Answer,
    users::PageQuery,
};
use crate::{
    error::StoreError,
    paging::Page,
    shelf::{LibraryChange, List, Marked, OwnedGame},
    store::Store,
};

/// A game on a list.
#[derive(Serialize, ToSchema)]
pub(super) struct MarkedBody {
    /// The game, as it is sold where the caller buys.
    game: CardBody,
    /// Since when it stands there, in milliseconds since the epoch.
    since: i64,
}

/// Games on a list.
#[derive(Serialize, ToSchema)]
pub(super) struct MarkedPage {
    /// In order of their ids; those that are not sold where the caller buys are left out.
    items: Vec<MarkedBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl From<Page<Marked>> for MarkedPage {
    fn from(page: Page<Marked>) -> Self {
        Self {
            items: page.items.into_iter().map(MarkedBody::from).collect(),
            next: page.next,
        }
    }
}

/// Publishers.
#[derive(Serialize, ToSchema)]
pub(super) struct FollowsPage {
    /// In order of their ids.
    items: Vec<PublisherBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A game that the caller owns.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnedBody {
    /// The game.
    id: String,
    /// Its name in addresses.
    slug: String,
    /// Its title.
    title: String,
    /// Its first picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover: Option<String>,
    /// The order it came with.
    order: String,
    /// Since when, in milliseconds since the epoch.
    acquired_at: i64,
    /// Whether it is installed, as the caller's client says.
    installed: bool,
    /// How long it was played, in seconds.
    played_seconds: u64,
    /// When it was played last, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    played_at: Option<i64>,
}

/// Games that the caller owns.
#[derive(Serialize, ToSchema)]
pub(super) struct LibraryPage {
    /// In order of their ids.
    items: Vec<OwnedBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What a client says of a game.
#[derive(Deserialize, ToSchema)]
pub(super) struct OwnedChange {
    /// Whether it is installed.
    installed: bool,
}

/// How long somebody has played in one go.
#[derive(Deserialize, ToSchema)]
pub(super) struct PlayReport {
    /// Since the go began: up to a week.
    #[schema(example = 3600)]
    seconds: i64,
}

/// How long a game was played.
#[derive(Serialize, ToSchema)]
pub(super) struct PlayedBody {
    /// In all goes together.
    played_seconds: u64,
}

fn list(word: &str) -> Answer<List> {
    let list = List::parse(word).ok_or(StoreError::NotFound)?;
    Ok(list)
}

/// The games on a list of the caller: `wishlist`, `cart` or `likes`.
#[utoipa::path(get, path = "/v1/lists/{list}", tag = "shelf", security(("bearer" = [])), params(("list" = String, Path), PageQuery), responses(
    (status = 200, body = MarkedPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn marked(
    store: Store,
    person: Person,
    word: web::Path<String>,
    query: web::Query<PageQuery>,
) -> Answer {
    let list = list(&word)?;
    let page = store.marked(person.id(), list, &query.request()?).await?;
    Ok(HttpResponse::Ok().json(MarkedPage::from(page)))
}

/// Puts a game on a list of the caller. Again is fine.
#[utoipa::path(put, path = "/v1/lists/{list}/{game}", tag = "shelf", security(("bearer" = [])), params(("list" = String, Path), ("game" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`already_owned`, or `full`")))]
pub(super) async fn mark(
    store: Store,
    person: Person,
    path: web::Path<(String, String)>,
) -> Answer {
    let (word, game) = path.into_inner();
    store.mark(person.id(), list(&word)?, &game).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Takes a game off a list of the caller. One that is not there is fine.
#[utoipa::path(delete, path = "/v1/lists/{list}/{game}", tag = "shelf", security(("bearer" = [])), params(("list" = String, Path), ("game" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn unmark(
    store: Store,
    person: Person,
    path: web::Path<(String, String)>,
) -> Answer {
    let (word, game) = path.into_inner();
    store.unmark(person.id(), list(&word)?, &game).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The publishers that the caller follows.
#[utoipa::path(get, path = "/v1/follows", tag = "shelf", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = FollowsPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn followed(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let page = store.followed(person.id(), &query.request()?).await?;
    Ok(HttpResponse::Ok().json(FollowsPage {
        items: page.items.into_iter().map(PublisherBody::from).collect(),
        next: page.next,
    }))
}

/// Follows a publisher. Again is fine.
#[utoipa::path(put, path = "/v1/follows/{id}", tag = "shelf", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn follow(store: Store, person: Person, id: web::Path<String>) -> Answer {
    store.follow(person.id(), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Follows a publisher no longer.
#[utoipa::path(delete, path = "/v1/follows/{id}", tag = "shelf", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn unfollow(store: Store, person: Person, id: web::Path<String>) -> Answer {
    store.unfollow(person.id(), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The games that the caller owns.
#[utoipa::path(get, path = "/v1/library", tag = "shelf", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = LibraryPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn library(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let page = store.library(person.id(), &query.request()?).await?;
    Ok(HttpResponse::Ok().json(LibraryPage {
        items: page.items.into_iter().map(OwnedBody::from).collect(),
        next: page.next,
    }))
}

/// Says whether a game of the caller is installed.
#[utoipa::path(patch, path = "/v1/library/{game}", tag = "shelf", security(("bearer" = [])), params(("game" = String, Path)), request_body = OwnedChange, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn change_owned(
    store: Store,
    person: Person,
    game: web::Path<String>,
    body: web::Json<OwnedChange>,
) -> Answer {
    let change = LibraryChange {
        installed: body.installed,
    };
    store.change_owned(person.id(), &game, change).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Says how long the caller has played in one go, under a name of the client's. Again is fine: what
/// counts is the most that was said of it.
#[utoipa::path(put, path = "/v1/library/{game}/sessions/{session}", tag = "shelf", security(("bearer" = [])), params(("game" = String, Path), ("session" = String, Path)), request_body = PlayReport, responses(
    (status = 200, body = PlayedBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn played(
    store: Store,
    person: Person,
    path: web::Path<(String, String)>,
    body: web::Json<PlayReport>,
) -> Answer {
    let (game, session) = path.into_inner();
    let played_seconds = store
        .played(person.id(), &game, &session, body.seconds)
        .await?;
    Ok(HttpResponse::Ok().json(PlayedBody { played_seconds }))
}

impl From<Marked> for MarkedBody {
    fn from(marked: Marked) -> Self {
        Self {
            game: marked.game.into(),
            since: marked.since.as_millis(),
        }
    }
}

impl From<OwnedGame> for OwnedBody {
    fn from(owned: OwnedGame) -> Self {
        Self {
            id: owned.id,
            slug: owned.slug,
            title: owned.title,
            cover: owned.cover,
            order: owned.order,
            acquired_at: owned.acquired_at.as_millis(),
            installed: owned.installed,
            played_seconds: owned.played_seconds,
            played_at: owned.played_at.map(shared::id::Timestamp::as_millis),
        }
    }
}
