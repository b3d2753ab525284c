//! Logging in by other providers, and who the caller is there.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::{TokensBody, tokens},
    caller::{Address, Person, state},
    me::{confirmation, guess},
    refusal::Answer,
};
use crate::{
    identities::{BegunLogin, FinishedLogin, Identity},
    store::Store,
};

/// A provider that people may log in by.
#[derive(Serialize, ToSchema)]
pub(super) struct ProviderBody {
    /// Its name in addresses.
    #[schema(example = "kakao")]
    name: String,
    /// What people know it as.
    #[schema(example = "Kakao")]
    label: String,
}

/// The providers that people may log in by.
#[derive(Serialize, ToSchema)]
pub(super) struct ProvidersBody {
    /// By name.
    items: Vec<ProviderBody>,
}

/// A log-in just begun.
#[derive(Serialize, ToSchema)]
pub(super) struct BegunBody {
    /// Where the browser goes: a page of the provider.
    url: String,
    /// What the browser shows once it is back. To be kept in it, and in no address.
    secret: String,
    /// Seconds until it has to be back.
    expires_in: u64,
}

/// What a provider says when it sends a browser back.
#[derive(Deserialize, IntoParams)]
pub(super) struct ReturnedQuery {
    /// As it was told.
    state: Option<String>,
    /// Good for knowing who it is; none if the provider refused.
    code: Option<String>,
}

/// What a browser has that is back.
#[derive(Deserialize, ToSchema)]
pub(super) struct Finish {
    /// `login` of the page it was led to.
    ticket: String,
    /// As the log-in was begun with.
    secret: String,
}

/// A name for a new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct ProviderRegistration {
    /// As the log-in was answered with.
    ticket: String,
    /// As the log-in was begun with.
    secret: String,
    /// The nickname: 2 to 32 characters, nobody else's, whatever the case.
    #[schema(example = "Ann")]
    name: String,
}

/// Somebody who has no account yet.
#[derive(Serialize, ToSchema)]
pub(super) struct NewPersonBody {
    /// For the registration, with the same secret.
    ticket: String,
    /// What they are called at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Seconds until the ticket ends.
    expires_in: u64,
}

/// Shows once more that the account is the caller's.
#[derive(Deserialize, ToSchema)]
pub(super) struct LinkRequest {
    /// The password; left out where there is none, by somebody who logged in within ten minutes.
    password: Option<String>,
}

/// Who the caller is at a provider.
#[derive(Serialize, ToSchema)]
pub(super) struct IdentityBody {
    /// The provider's name in addresses.
    #[schema(example = "kakao")]
    provider: String,
    /// Since when, in milliseconds since the epoch.
    linked_at: i64,
}

/// Who the caller is at other providers.
#[derive(Serialize, ToSchema)]
pub(super) struct IdentitiesBody {
    /// By the provider's name.
    items: Vec<IdentityBody>,
}

/// The providers that people may log in by.
#[utoipa::path(get, path = "/v1/auth/providers", operation_id = "login_providers", tag = "auth", responses(
    (status = 200, body = ProvidersBody), (status = 429, body = Problem)))]
pub(super) async fn providers(request: HttpRequest, store: Store, from: Address) -> Answer {
    state(&request)?.limits.of_visitor(&request, from.0)?;
    let providers = store.login_providers().into_iter();
    let items = providers.map(|provider| ProviderBody {
        name: provider.name,
        label: provider.label,
    });
    Ok(HttpResponse::Ok().json(ProvidersBody {
        items: items.collect(),
    }))
}

/// Begins a log-in by a provider.
#[utoipa::path(post, path = "/v1/auth/providers/{provider}", operation_id = "begin_login", tag = "auth", params(("provider" = String, Path)), responses(
    (status = 201, body = BegunBody), (status = 404, body = Problem, description = "no such provider is set up"), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn begin(
    request: HttpRequest,
    store: Store,
    from: Address,
    provider: web::Path<String>,
) -> Answer {
    state(&request)?.limits.of_address(&request, from.0)?;
    let begun = store.begin_login(&provider).await?;
    Ok(begun_body(begun))
}

/// Where a provider sends the browser back to; the browser goes on to the client's page, with `login=TICKET`.
#[utoipa::path(get, path = "/v1/auth/providers/{provider}/return", operation_id = "back_from_provider", tag = "auth", params(("provider" = String, Path), ReturnedQuery), responses(
    (status = 200, description = "what a browser sees that follows: the page of the client"),
    (status = 303, description = "to that page; the ticket of a log-in that is over is good for nothing"),
    (status = 404, body = Problem, description = "no such provider is set up"), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn came_back(
    request: HttpRequest,
    store: Store,
    from: Address,
    provider: web::Path<String>,
    query: web::Query<ReturnedQuery>,
) -> Answer {
    state(&request)?.limits.of_visitor(&request, from.0)?;
    let state = query.state.as_deref().unwrap_or_default();
    let page = store
        .back_from_provider(&provider, state, query.code.as_deref())
        .await?;
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, page))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish())
}

/// Logs in with what the browser has that is back. Each ticket is good for one attempt.
#[utoipa::path(post, path = "/v1/auth/finish", operation_id = "finish_login", tag = "auth", request_body = Finish, responses(
    (status = 200, body = TokensBody),
    (status = 202, body = NewPersonBody, description = "nobody here is that person yet: they may make an account, once they have chosen a name"),
    (status = 400, body = Problem), (status = 403, body = Problem, description = "the log-in is over, or another browser began it, or the provider refuses its code"),
    (status = 409, body = Problem, description = "`errors` says why: `provider` `declined` (it was not let through there), or `email` `taken` (there is an account with the address: log in to it, and link)"),
    (status = 429, body = Problem), (status = 503, body = Problem, description = "the provider does not answer")))]
pub(super) async fn finish(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<Finish>,
) -> Answer {
    state(&request)?.limits.of_address(&request, from.0)?;
    match store.finish_login(&body.ticket, &body.secret).await? {
        FinishedLogin::LoggedIn(logged_in) => Ok(tokens(StatusCode::OK, *logged_in)),
        FinishedLogin::New(person) => Ok(HttpResponse::Accepted()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(NewPersonBody {
                ticket: person.ticket,
                name: person.name,
                expires_in: person.expires_in.as_secs(),
            })),
    }
}

/// Makes an account for somebody whom a provider knows, and logs it in. It has no password until one is chosen.
#[utoipa::path(post, path = "/v1/auth/finish/register", operation_id = "register_by_provider", tag = "auth", request_body = ProviderRegistration, responses(
    (status = 201, body = TokensBody), (status = 400, body = Problem, description = "a rule is broken; `errors` says which; the ticket holds on"),
    (status = 403, body = Problem, description = "the log-in is over, or another browser began it"),
    (status = 409, body = Problem, description = "the name is taken, and the ticket holds for another; or the address is, by now"),
    (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn register(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<ProviderRegistration>,
) -> Answer {
    state(&request)?.limits.of_registration(&request, from.0)?;
    let ProviderRegistration {
        ticket,
        secret,
        name,
    } = body.into_inner();
    let logged_in = store.register_by_provider(&ticket, &secret, &name).await?;
    Ok(tokens(StatusCode::CREATED, logged_in))
}

/// Who the caller is at other providers.
#[utoipa::path(get, path = "/v1/me/identities", operation_id = "identities", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = IdentitiesBody), (status = 401, body = Problem)))]
pub(super) async fn identities(store: Store, person: Person) -> Answer {
    let identities = store.identities(person.id()).await?.into_iter();
    let items = identities.map(IdentityBody::from).collect();
    Ok(HttpResponse::Ok().json(IdentitiesBody { items }))
}

/// Begins to link an identity: as a log-in, which ends with `POST /v1/me/identities`.
#[utoipa::path(post, path = "/v1/me/identities/{provider}", operation_id = "begin_link", tag = "me", security(("bearer" = [])), params(("provider" = String, Path)), request_body = LinkRequest, responses(
    (status = 201, body = BegunBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "the password is wrong, or there is none and the log-in is too long ago"),
    (status = 404, body = Problem, description = "no such provider is set up"), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn begin_link(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
    provider: web::Path<String>,
    body: web::Json<LinkRequest>,
) -> Answer {
    guess(&request, &person, &from)?;
    let confirmation = confirmation(&person, body.password.as_deref());
    let begun = store
        .begin_link(person.id(), &provider, confirmation)
        .await?;
    Ok(begun_body(begun))
}

/// Links who the provider says it is to the caller's account. Each ticket is good for one attempt.
#[utoipa::path(post, path = "/v1/me/identities", operation_id = "finish_link", tag = "me", security(("bearer" = [])), request_body = Finish, responses(
    (status = 200, body = IdentityBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "it is over, or another browser or account began it, or the provider refuses its code"),
    (status = 409, body = Problem, description = "`provider` is `declined`, `taken` (linked to another account) or `linked` (another of this provider is)"),
    (status = 429, body = Problem), (status = 503, body = Problem, description = "the provider does not answer")))]
pub(super) async fn link(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
    body: web::Json<Finish>,
) -> Answer {
    state(&request)?.limits.of_address(&request, from.0)?;
    let identity = store
        .finish_link(person.id(), &body.ticket, &body.secret)
        .await?;
    Ok(HttpResponse::Ok().json(IdentityBody::from(identity)))
}

/// Ends that the caller is somebody at a provider.
#[utoipa::path(delete, path = "/v1/me/identities/{provider}", operation_id = "unlink_identity", tag = "me", security(("bearer" = [])), params(("provider" = String, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 404, body = Problem, description = "none of this provider is linked"),
    (status = 409, body = Problem, description = "`last`: it is the only way to log in")))]
pub(super) async fn unlink(store: Store, person: Person, provider: web::Path<String>) -> Answer {
    store.unlink_identity(person.id(), &provider).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn begun_body(begun: BegunLogin) -> HttpResponse {
    HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(BegunBody {
            url: begun.url,
            secret: begun.secret,
            expires_in: begun.expires_in.as_secs(),
        })
}

impl From<Identity> for IdentityBody {
    fn from(identity: Identity) -> Self {
        Self {
            provider: identity.provider,
            linked_at: identity.linked_at.as_millis(),
        }
    }
}
