//! What operators do: roles, and tokens of services.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{id::UserId, problem::Problem};
use utoipa::ToSchema;

use super::{caller::Operator, refusal::Answer};
use crate::{
    accounts::{NewServiceToken, Role, Scopes, ServiceToken},
    error::StoreError,
    store::Store,
};

/// A role.
#[derive(Deserialize, ToSchema)]
pub(super) struct RoleChange {
    /// `player`, `publisher` or `operator`.
    #[schema(example = "publisher")]
    role: String,
}

/// A token wanted for a service.
#[derive(Deserialize, ToSchema)]
pub(super) struct ServiceTokenRequest {
    /// Whose it is to be: 1 to 64 characters.
    #[schema(example = "promotions")]
    name: String,
    /// What it is to be good for: `catalogue`, `wallet`, `coupons`.
    scopes: Vec<String>,
    /// For how many hours: up to 8784.
    #[schema(example = 720)]
    lifetime_hours: u32,
}

/// A token of a service.
#[derive(Serialize, ToSchema)]
pub(super) struct ServiceTokenBody {
    /// Its name in the list.
    id: String,
    /// Whose it is.
    name: String,
    /// What it is good for.
    scopes: Vec<&'static str>,
    /// When it was made, in milliseconds since the epoch.
    created_at: i64,
    /// When it ends, in milliseconds since the epoch.
    expires_at: i64,
}

/// A token of a service, just made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewServiceTokenBody {
    #[serde(flatten)]
    about: ServiceTokenBody,
    /// What the service shows. It is told here and never again.
    token: String,
}

/// Tokens of services.
#[derive(Serialize, ToSchema)]
pub(super) struct ServiceTokensBody {
    /// Those that hold, in order of their making; at most 100.
    items: Vec<ServiceTokenBody>,
}

/// Gives somebody a role; it holds at once.
#[utoipa::path(put, path = "/v1/users/{id}/role", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)), request_body = RoleChange, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn set_role(
    store: Store,
    operator: Operator,
    id: web::Path<UserId>,
    body: web::Json<RoleChange>,
) -> Answer {
    let role = Role::parse(&body.role).map_err(StoreError::from)?;
    store.set_role(operator.0.id(), &id, role).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes a token for a service.
#[utoipa::path(post, path = "/v1/service-tokens", tag = "operators", security(("bearer" = [])), request_body = ServiceTokenRequest, responses(
    (status = 201, body = NewServiceTokenBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 409, body = Problem, description = "there are 100 already")))]
pub(super) async fn make_service_token(
    store: Store,
    operator: Operator,
    body: web::Json<ServiceTokenRequest>,
) -> Answer {
    let body = body.into_inner();
    let words = body.scopes.iter().map(String::as_str);
    let new = NewServiceToken {
        name: body.name,
        scopes: Scopes::parse(words).map_err(StoreError::from)?,
        lifetime: Duration::from_hours(u64::from(body.lifetime_hours)),
    };
    let (about, token) = store.make_service_token(operator.0.id(), new).await?;
    Ok(HttpResponse::Created()
        .insert_header(("cache-control", "no-store"))
        .json(NewServiceTokenBody {
            about: about.into(),
            token,
        }))
}

/// The tokens of services that hold.
#[utoipa::path(get, path = "/v1/service-tokens", tag = "operators", security(("bearer" = [])), responses(
    (status = 200, body = ServiceTokensBody), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn service_tokens(store: Store, _: Operator) -> Answer {
    let tokens = store.service_tokens().await?;
    let items = tokens.into_iter().map(ServiceTokenBody::from).collect();
    Ok(HttpResponse::Ok().json(ServiceTokensBody { items }))
}

/// Takes a service's token back; it holds nowhere from then on.
#[utoipa::path(delete, path = "/v1/service-tokens/{id}", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn revoke_service_token(
    store: Store,
    operator: Operator,
    id: web::Path<String>,
) -> Answer {
    store.revoke_service_token(operator.0.id(), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<ServiceToken> for ServiceTokenBody {
    fn from(token: ServiceToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes.words(),
            created_at: token.created_at.as_millis(),
            expires_at: token.expires_at.as_millis(),
        }
    }
}
