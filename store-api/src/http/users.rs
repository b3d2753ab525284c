//! Finding people and looking at them.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::{IntoParams, ToSchema};

use super::{caller::Person, refusal::Answer};
use crate::{
    friends::Relation,
    paging::{Page, PageRequest},
    store::Store,
    users::Profile,
};

/// A person.
#[derive(Serialize, ToSchema)]
pub(super) struct UserBody {
    /// The account.
    id: String,
    /// The nickname.
    name: String,
    /// Where a picture is to be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    /// A line of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_text: Option<String>,
}

/// A person, and what they are to the caller.
#[derive(Serialize, ToSchema)]
pub(super) struct FoundBody {
    #[serde(flatten)]
    user: UserBody,
    /// `friend`, `incoming` or `outgoing`; absent for strangers.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

/// People found.
#[derive(Serialize, ToSchema)]
pub(super) struct FoundPage {
    /// In order of their names.
    items: Vec<FoundBody>,
    /// For the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What to look for.
#[derive(Deserialize, IntoParams)]
pub(super) struct SearchQuery {
    /// How the name begins: at least 2 characters, whatever the case.
    q: String,
    /// From the page before.
    cursor: Option<String>,
    /// Length of the page, 1 to 500.
    limit: Option<u64>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
pub(super) struct PageQuery {
    /// From the page before.
    pub(super) cursor: Option<String>,
    /// Length of the page, 1 to 500.
    pub(super) limit: Option<u64>,
}

impl PageQuery {
    pub(super) fn request(&self) -> Result<PageRequest, crate::error::StoreError> {
        PageRequest::parse(self.cursor.as_deref(), self.limit)
    }
}

/// People whose name begins with `q`.
#[utoipa::path(get, path = "/v1/users", tag = "users", security(("bearer" = [])), params(SearchQuery), responses(
    (status = 200, body = FoundPage), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 429, body = Problem)))]
pub(super) async fn search(store: Store, person: Person, query: web::Query<SearchQuery>) -> Answer {
    let page = PageRequest::parse(query.cursor.as_deref(), query.limit)?;
    let Page { items, next } = store.search_users(person.id(), &query.q, &page).await?;
    let ids: Vec<UserId> = items.iter().map(|profile| profile.id.clone()).collect();
    let states = store.relations(person.id(), &ids).await?;
    let items = items
        .into_iter()
        .map(|profile| found(profile, &states))
        .collect();
    Ok(HttpResponse::Ok().json(FoundPage { items, next }))
}

/// One person.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = FoundBody), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn user(store: Store, person: Person, id: web::Path<UserId>) -> Answer {
    let profile = store.profile(person.id(), &id).await?;
    let states = store
        .relations(person.id(), std::slice::from_ref(&*id))
        .await?;
    Ok(HttpResponse::Ok().json(found(profile, &states)))
}

fn found(profile: Profile, states: &HashMap<UserId, Relation>) -> FoundBody {
    let state = states.get(&profile.id).map(|state| state.word());
    FoundBody {
        user: profile.into(),
        state,
    }
}

impl From<Profile> for UserBody {
    fn from(profile: Profile) -> Self {
        Self {
            id: profile.id.to_string(),
            name: profile.name,
            avatar_url: profile.avatar_url,
            status_text: profile.status_text,
        }
    }
}
