//! Friends, requests and blocks.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::Person,
    refusal::Answer,
    users::{PageQuery, UserBody},
};
use crate::{
    error::Violation,
    friends::Relation,
    paging::{Page, PageRequest},
    store::Store,
    users::Profile,
};

/// What two people are to each other now.
#[derive(Serialize, ToSchema)]
pub(super) struct StateBody {
    /// `outgoing` or `friend`.
    state: &'static str,
}

/// A friend, or somebody with whom a request stands.
#[derive(Serialize, ToSchema)]
pub(super) struct FriendBody {
    /// The person.
    user: UserBody,
    /// `friend`, `incoming` or `outgoing`.
    state: &'static str,
    /// Since when, in milliseconds since the epoch.
    since: i64,
}

/// Friends and requests.
#[derive(Serialize, ToSchema)]
pub(super) struct FriendPage {
    /// In order of the user's id.
    items: Vec<FriendBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Somebody the caller blocks.
#[derive(Serialize, ToSchema)]
pub(super) struct BlockBody {
    /// The person.
    user: UserBody,
    /// Since when, in milliseconds since the epoch.
    since: i64,
}

/// Whom the caller blocks.
#[derive(Serialize, ToSchema)]
pub(super) struct BlockPage {
    /// In order of the user's id.
    items: Vec<BlockBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// People.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPage {
    /// In order of the user's id.
    items: Vec<UserBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl From<Page<Profile>> for UserPage {
    fn from(page: Page<Profile>) -> Self {
        Self {
            items: page.items.into_iter().map(UserBody::from).collect(),
            next: page.next,
        }
    }
}

/// Which friends.
#[derive(Deserialize, IntoParams)]
pub(super) struct FriendQuery {
    /// Only these: `friend`, `incoming` or `outgoing`.
    state: Option<String>,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// Asks somebody to be friends, or accepts their asking.
///
/// Whether the other blocks the caller does not show: the request stands as any other.
#[utoipa::path(put, path = "/v1/friends/{user_id}", tag = "friends", security(("bearer" = [])), params(("user_id" = String, Path)), responses(
    (status = 200, body = StateBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem, description = "the caller blocks this person, or a list is full")))]
pub(super) async fn befriend(store: Store, person: Person, other: web::Path<UserId>) -> Answer {
    let state = store.befriend(person.id(), &other).await?;
    Ok(HttpResponse::Ok().json(StateBody {
        state: state.word(),
    }))
}

/// Ends a friendship, rejects a request or takes one back.
#[utoipa::path(delete, path = "/v1/friends/{user_id}", tag = "friends", security(("bearer" = [])), params(("user_id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn part(store: Store, person: Person, other: web::Path<UserId>) -> Answer {
    store.part(person.id(), &other).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The caller's friends and requests.
#[utoipa::path(get, path = "/v1/friends", tag = "friends", security(("bearer" = [])), params(FriendQuery), responses(
    (status = 200, body = FriendPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn friends(
    store: Store,
    person: Person,
    query: web::Query<FriendQuery>,
) -> Answer {
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let state = query
        .state
        .as_deref()
        .map(|word| {
            Relation::from_word(word).ok_or_else(|| {
                Violation::new("state", "unknown", "one of friend, incoming, outgoing")
            })
        })
        .transpose()
        .map_err(crate::error::StoreError::from)?;
    let Page { items, next } = store.friends(person.id(), state, &page).await?;
    let items = items
        .into_iter()
        .map(|friend| FriendBody {
            user: friend.user.into(),
            state: friend.state.word(),
            since: friend.since.as_millis(),
        })
        .collect();
    Ok(HttpResponse::Ok().json(FriendPage { items, next }))
}

/// Friends that the caller and somebody else have in common, without those who keep it from all whose
/// friends they are; none if the other does.
#[utoipa::path(get, path = "/v1/friends/{user_id}/mutual", tag = "friends", security(("bearer" = [])), params(("user_id" = String, Path), PageQuery), responses(
    (status = 200, body = UserPage), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn mutual(
    store: Store,
    person: Person,
    other: web::Path<UserId>,
    query: web::Query<PageQuery>,
) -> Answer {
    let page = store
        .mutual_friends(person.id(), &other, &query.request()?)
        .await?;
    Ok(HttpResponse::Ok().json(UserPage::from(page)))
}

/// Blocks somebody; whatever is between the two ends. The other is not told.
#[utoipa::path(put, path = "/v1/blocks/{user_id}", tag = "blocks", security(("bearer" = [])), params(("user_id" = String, Path)), responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "the block list is full")))]
pub(super) async fn block(store: Store, person: Person, other: web::Path<UserId>) -> Answer {
    store.block(person.id(), &other).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Lifts a block.
#[utoipa::path(delete, path = "/v1/blocks/{user_id}", tag = "blocks", security(("bearer" = [])), params(("user_id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn unblock(store: Store, person: Person, other: web::Path<UserId>) -> Answer {
    store.unblock(person.id(), &other).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Whom the caller blocks.
#[utoipa::path(get, path = "/v1/blocks", tag = "blocks", security(("bearer" = [])), params(PageQuery), responses(
    (status = 200, body = BlockPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn blocks(store: Store, person: Person, query: web::Query<PageQuery>) -> Answer {
    let Page { items, next } = store.blocks(person.id(), &query.request()?).await?;
    let items = items
        .into_iter()
        .map(|blocked| BlockBody {
            user: blocked.user.into(),
            since: blocked.since.as_millis(),
        })
        .collect();
    Ok(HttpResponse::Ok().json(BlockPage { items, next }))
}
