//! What chat nodes ask, with the service token.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::{auth::Revocation, id::UserId, problem::Problem};
use utoipa::ToSchema;

use super::{auth::NamedBody, caller::Service, refusal::Answer};
use crate::{
    error::{StoreError, Violation},
    friends::FriendGraph,
    store::Store,
};

/// The most names one request asks for.
const MAX_NAMES: usize = 500;
/// The most graphs one request asks for: somebody may have a thousand friends.
const MAX_GRAPHS: usize = 100;

/// Whom a person shares presence and direct messages with, and whom not.
#[derive(Serialize, ToSchema)]
pub(super) struct GraphBody {
    /// Friends.
    friends: Vec<NamedBody>,
    /// Whom the person blocks.
    blocked: Vec<String>,
    /// Who blocks the person; never to be shown to them.
    blocked_by: Vec<String>,
}

/// Whose graphs are wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct GraphsRequest {
    /// At most 100 accounts.
    #[schema(value_type = Vec<String>)]
    ids: Vec<UserId>,
}

/// Friend graphs.
#[derive(Serialize, ToSchema)]
pub(super) struct GraphsBody {
    /// One for each account asked for, in that order; empty for one that does not exist.
    items: Vec<GraphBody>,
}

/// Whose names are wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct NamesRequest {
    /// At most 500 accounts.
    #[schema(value_type = Vec<String>)]
    ids: Vec<UserId>,
}

/// Names.
#[derive(Serialize, ToSchema)]
pub(super) struct NamesBody {
    /// In no order; accounts that do not exist are left out.
    items: Vec<NamedBody>,
}

/// Revocations in force.
#[derive(Serialize, ToSchema)]
pub(super) struct RevocationsBody {
    /// In no order.
    items: Vec<RevocationBody>,
}

/// One revocation.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum RevocationBody {
    /// One token.
    Token {
        /// Its `jti`.
        jti: String,
        /// When it would have ended, in milliseconds since the epoch.
        expires: i64,
    },
    /// All of a user's tokens up to a moment.
    User {
        /// Whose.
        user: String,
        /// Those issued at or before it, in milliseconds since the epoch.
        issued_at_or_before: i64,
    },
}

/// The friend graph of one person.
#[utoipa::path(get, path = "/v1/internal/users/{id}/friends", tag = "internal", security(("service" = [])), params(("id" = String, Path)), responses(
    (status = 200, body = GraphBody), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn graph(store: Store, _: Service, id: web::Path<UserId>) -> Answer {
    let graph = store.friend_graph(&id).await?;
    Ok(HttpResponse::Ok().json(GraphBody::from(graph)))
}

/// The friend graphs of several people: of those who came to a node at the same time.
#[utoipa::path(post, path = "/v1/internal/graphs", tag = "internal", security(("service" = [])), request_body = GraphsRequest, responses(
    (status = 200, body = GraphsBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem)))]
pub(super) async fn graphs(store: Store, _: Service, body: web::Json<GraphsRequest>) -> Answer {
    if body.ids.len() > MAX_GRAPHS {
        let violation = Violation::new("ids", "too_long", "at most 100 at once");
        return Err(StoreError::from(violation).into());
    }
    let graphs = store.friend_graphs(&body.ids).await?;
    let items = graphs.into_iter().map(GraphBody::from).collect();
    Ok(HttpResponse::Ok().json(GraphsBody { items }))
}

/// Names of people.
#[utoipa::path(post, path = "/v1/internal/names", tag = "internal", security(("service" = [])), request_body = NamesRequest, responses(
    (status = 200, body = NamesBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem)))]
pub(super) async fn names(store: Store, _: Service, body: web::Json<NamesRequest>) -> Answer {
    if body.ids.len() > MAX_NAMES {
        let violation = Violation::new("ids", "too_long", "at most 500 at once");
        return Err(StoreError::from(violation).into());
    }
    let items = named(store.names(&body.ids).await?);
    Ok(HttpResponse::Ok().json(NamesBody { items }))
}

/// Every revocation in force.
#[utoipa::path(get, path = "/v1/internal/revocations", tag = "internal", security(("service" = [])), responses(
    (status = 200, body = RevocationsBody), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn revocations(store: Store, _: Service) -> Answer {
    let items = store
        .active_revocations()
        .await?
        .into_iter()
        .map(RevocationBody::from)
        .collect();
    Ok(HttpResponse::Ok().json(RevocationsBody { items }))
}

fn named(people: Vec<(UserId, String)>) -> Vec<NamedBody> {
    people
        .into_iter()
        .map(|(id, name)| NamedBody {
            id: id.to_string(),
            name,
        })
        .collect()
}

impl From<FriendGraph> for GraphBody {
    fn from(graph: FriendGraph) -> Self {
        let ids = |list: Vec<UserId>| list.iter().map(ToString::to_string).collect();
        Self {
            friends: named(graph.friends),
            blocked: ids(graph.blocked),
            blocked_by: ids(graph.blocked_by),
        }
    }
}

impl From<Revocation> for RevocationBody {
    fn from(revocation: Revocation) -> Self {
        match revocation {
            Revocation::Token { jti, expires } => Self::Token {
                jti,
                expires: expires.as_millis(),
            },
            Revocation::User {
                user,
                issued_at_or_before,
            } => Self::User {
                user: user.to_string(),
                issued_at_or_before: issued_at_or_before.as_millis(),
            },
        }
    }
}
