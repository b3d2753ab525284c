//! Reviews of games.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::{Person, Visitor},
    refusal::Answer,
};
use crate::{
    catalogue::{NewReview, Review, ReviewSort},
    error::StoreError,
    paging::PageRequest,
    store::Store,
};

/// What the caller thinks of a game.
#[derive(Deserialize, ToSchema)]
pub(super) struct ReviewText {
    /// One to five.
    #[schema(example = 4)]
    stars: i64,
    /// Why: at most 4000 characters.
    #[serde(default)]
    text: String,
}

/// A review.
#[derive(Serialize, ToSchema)]
pub(super) struct ReviewBody {
    /// Who wrote it.
    author: AuthorBody,
    /// One to five.
    stars: u8,
    /// Why.
    text: String,
    /// How many it helped.
    helpful: u64,
    /// How long the author has played, in seconds; absent if they do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    played_seconds: Option<u64>,
    /// When it was written, in milliseconds since the epoch.
    created_at: i64,
    /// When it was changed last, in milliseconds since the epoch.
    updated_at: i64,
}

/// Who wrote a review.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthorBody {
    /// The account.
    id: String,
    /// The nickname.
    name: String,
}

/// Reviews.
#[derive(Serialize, ToSchema)]
pub(super) struct ReviewsPage {
    /// In the order asked for.
    items: Vec<ReviewBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which reviews.
#[derive(Deserialize, IntoParams)]
pub(super) struct ReviewsQuery {
    /// `helpful` (by itself) or `newest`.
    sort: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// What people think of a game.
#[utoipa::path(get, path = "/v1/games/{game}/reviews", tag = "reviews", security((), ("bearer" = [])), params(("game" = String, Path), ReviewsQuery), responses(
    (status = 200, body = ReviewsPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn reviews(
    store: Store,
    Visitor(person): Visitor,
    game: web::Path<String>,
    query: web::Query<ReviewsQuery>,
) -> Answer {
    let sort = ReviewSort::parse(query.sort.as_deref()).map_err(StoreError::from)?;
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let viewer = person.as_ref().map(Person::id);
    let page = store.reviews(viewer, &game, sort, &page).await?;
    Ok(HttpResponse::Ok().json(ReviewsPage {
        items: page.items.into_iter().map(ReviewBody::from).collect(),
        next: page.next,
    }))
}

/// Writes the caller's review of a game they own, or another in its place.
#[utoipa::path(put, path = "/v1/games/{game}/review", tag = "reviews", security(("bearer" = [])), params(("game" = String, Path)), request_body = ReviewText, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "the caller does not own the game"), (status = 404, body = Problem)))]
pub(super) async fn write(
    store: Store,
    person: Person,
    game: web::Path<String>,
    body: web::Json<ReviewText>,
) -> Answer {
    let ReviewText { stars, text } = body.into_inner();
    let review = NewReview { stars, text };
    store.review(person.id(), &game, review).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Takes the caller's review back.
#[utoipa::path(delete, path = "/v1/games/{game}/review", tag = "reviews", security(("bearer" = [])), params(("game" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn take_back(store: Store, person: Person, game: web::Path<String>) -> Answer {
    store.take_review_back(person.id(), &game).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Says that a review helped the caller.
#[utoipa::path(put, path = "/v1/games/{game}/reviews/{user_id}/helpful", tag = "reviews", security(("bearer" = [])), params(("game" = String, Path), ("user_id" = String, Path)), responses(
    (status = 204), (status = 400, body = Problem, description = "`self`: it is the caller's own"), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn helpful(
    store: Store,
    person: Person,
    review: web::Path<(String, UserId)>,
) -> Answer {
    let (game, author) = review.into_inner();
    store.vote_review(person.id(), &game, &author, true).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Says so no longer.
#[utoipa::path(delete, path = "/v1/games/{game}/reviews/{user_id}/helpful", tag = "reviews", security(("bearer" = [])), params(("game" = String, Path), ("user_id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn not_helpful(
    store: Store,
    person: Person,
    review: web::Path<(String, UserId)>,
) -> Answer {
    let (game, author) = review.into_inner();
    store
        .vote_review(person.id(), &game, &author, false)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<Review> for ReviewBody {
    fn from(review: Review) -> Self {
        Self {
            author: AuthorBody {
                id: review.author.to_string(),
                name: review.name,
            },
            stars: review.stars,
            text: review.text,
            helpful: review.helpful,
            played_seconds: review.played_seconds,
            created_at: review.created_at.as_millis(),
            updated_at: review.updated_at.as_millis(),
        }
    }
}
