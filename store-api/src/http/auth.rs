//! Registering, logging in and out.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::{
    caller::{Address, Person, state},
    refusal::Answer,
};
use crate::{
    accounts::{LoggedIn, Login, NewAccount},
    store::Store,
};

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct Registration {
    /// An address to log in with, and to be reached at when the password is lost.
    email: Option<String>,
    /// The nickname: 2 to 32 characters, nobody else's, whatever the case. Good to log in with too.
    name: String,
    /// 10 to 128 characters.
    password: String,
}

/// Who wants in, by e-mail address or by name.
#[derive(Deserialize, ToSchema)]
pub(super) struct Credentials {
    /// The e-mail address.
    email: Option<String>,
    /// The nickname; does not matter beside an e-mail address.
    name: Option<String>,
    /// The password.
    password: String,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// As the last answer gave it.
    refresh_token: String,
}

/// Which session to end; the access token's own if this is left out.
#[derive(Deserialize, ToSchema, Default)]
pub(super) struct LogoutRequest {
    /// Ends the session of this refresh token; needs no access token then.
    refresh_token: Option<String>,
}

/// Tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokensBody {
    /// Whose they are.
    user: NamedBody,
    /// For requests and for the WebSocket.
    access_token: String,
    /// For the next pair of tokens, once. Keep it safe, and never use it twice: that ends the
    /// session.
    refresh_token: String,
    /// Seconds until the access token ends.
    expires_in: u64,
}

/// A person by name.
#[derive(Serialize, ToSchema)]
pub(super) struct NamedBody {
    /// The account.
    pub(super) id: String,
    /// The nickname.
    pub(super) name: String,
}

/// What to ask about; one of the two.
#[derive(Deserialize, IntoParams)]
pub(super) struct AvailabilityQuery {
    /// An e-mail address.
    email: Option<String>,
    /// A nickname.
    name: Option<String>,
}

/// Whether it is free.
#[derive(Serialize, ToSchema)]
pub(super) struct Availability {
    /// Whether an account could be made with it.
    available: bool,
}

/// Makes an account and logs it in.
#[utoipa::path(post, path = "/v1/auth/register", tag = "auth", request_body = Registration, responses(
    (status = 201, body = TokensBody), (status = 400, body = Problem, description = "a rule is broken; `errors` says which"),
    (status = 409, body = Problem, description = "the address or the name is taken; `errors` says which"),
    (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn register(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<Registration>,
) -> Answer {
    let Registration {
        email,
        name,
        password,
    } = body.into_inner();
    let limits = &state(&request)?.limits;
    limits.of_registration(&request, from.0)?;
    let login = match &email {
        Some(email) => Login::Email(email),
        None => Login::Name(&name),
    };
    limits.of_account(&request, &login.key())?;
    let logged_in = store
        .register(NewAccount {
            email,
            name,
            password,
        })
        .await?;
    Ok(tokens(StatusCode::CREATED, logged_in))
}

/// Logs in. Says and takes the same whether the account is unknown or the password wrong.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", request_body = Credentials, responses(
    (status = 200, body = TokensBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn login(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<Credentials>,
) -> Answer {
    let login = match (&body.email, &body.name) {
        (Some(email), _) => Login::Email(email),
        (None, Some(name)) => Login::Name(name),
        (None, None) => return Err(Problem::invalid("log in with `email` or with `name`").into()),
    };
    let limits = &state(&request)?.limits;
    limits.of_address(&request, from.0)?;
    limits.of_account(&request, &login.key())?;
    let logged_in = store.login(login, &body.password).await?;
    Ok(tokens(StatusCode::OK, logged_in))
}

/// Exchanges a refresh token for new tokens. Presented a second time it ends its session.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", request_body = RefreshRequest, responses(
    (status = 200, body = TokensBody), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn refresh(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<RefreshRequest>,
) -> Answer {
    state(&request)?.limits.of_refresh(&request, from.0)?;
    let logged_in = store.refresh(&body.refresh_token).await?;
    Ok(tokens(StatusCode::OK, logged_in))
}

/// Ends a session: that of the access token, or that of the refresh token in the body.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", request_body = Option<LogoutRequest>, security(("bearer" = []), ()),
    responses((status = 204), (status = 401, body = Problem)))]
pub(super) async fn logout(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Bytes,
) -> Answer {
    // Read by hand: clients send nothing, `{}` or a token, with and without a content type.
    let body = if body.iter().all(u8::is_ascii_whitespace) {
        LogoutRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(format!("body: {error}")))?
    };
    if let Some(token) = body.refresh_token {
        state(&request)?.limits.of_refresh(&request, from.0)?;
        store.logout_by_refresh(&token).await?;
    } else {
        let person = <Person as actix_web::FromRequest>::extract(&request).await?;
        store.logout(person.jti()).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Ends every session of the caller, this one too, and takes back every access token.
#[utoipa::path(post, path = "/v1/auth/logout-all", tag = "auth", security(("bearer" = [])), responses(
    (status = 204), (status = 401, body = Problem)))]
pub(super) async fn logout_all(store: Store, person: Person) -> Answer {
    store.logout_everywhere(person.id()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Whether an e-mail address or a nickname is free.
#[utoipa::path(get, path = "/v1/auth/available", tag = "auth", params(AvailabilityQuery), responses(
    (status = 200, body = Availability), (status = 400, body = Problem, description = "a rule is broken; `errors` says which"),
    (status = 429, body = Problem)))]
pub(super) async fn available(
    request: HttpRequest,
    store: Store,
    from: Address,
    query: web::Query<AvailabilityQuery>,
) -> Answer {
    state(&request)?.limits.of_availability(&request, from.0)?;
    let available = match (&query.email, &query.name) {
        (Some(email), None) => store.email_available(email).await?,
        (None, Some(name)) => store.name_available(name).await?,
        _ => return Err(Problem::invalid("ask about `email` or about `name`").into()),
    };
    Ok(HttpResponse::Ok().json(Availability { available }))
}

pub(super) fn tokens(status: StatusCode, logged_in: LoggedIn) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(("cache-control", "no-store"))
        .json(TokensBody {
            user: NamedBody {
                id: logged_in.id.to_string(),
                name: logged_in.name,
            },
            access_token: logged_in.access_token,
            refresh_token: logged_in.refresh_token,
            expires_in: logged_in.expires_in,
        })
}
