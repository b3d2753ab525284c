//! The caller's own account.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    auth::{TokensBody, tokens},
    caller::{Address, Person, state},
    refusal::Answer,
    users::UserBody,
};
use crate::{
    accounts::Confirmation,
    store::Store,
    users::{Change, OwnProfile, ProfileChange},
};

/// The caller's own account.
#[derive(Serialize, ToSchema)]
pub(super) struct MeBody {
    #[serde(flatten)]
    user: UserBody,
    /// The address to log in with, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Whether its mail has been seen to be read.
    email_verified: bool,
    /// Whether there is a password; where there is none, a log-in within ten minutes stands for it.
    has_password: bool,
    /// When the account was made, in milliseconds since the epoch.
    created_at: i64,
    /// `player`, `publisher` or `operator`.
    role: &'static str,
}

/// Changes to the caller's profile. What is left out stays; null clears.
#[derive(Deserialize, ToSchema)]
pub(super) struct MeChange {
    /// A new nickname.
    name: Option<String>,
    /// Where a picture is to be had: http or https, at most 512 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    avatar_url: Change<String>,
    /// A line of at most 140 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    status_text: Change<String>,
}

/// A change of password.
#[derive(Deserialize, ToSchema)]
pub(super) struct PasswordChange {
    /// The one in force; left out where there is none, by somebody who logged in within ten minutes.
    current_password: Option<String>,
    /// The one to come: 10 to 128 characters.
    new_password: String,
}

/// Confirms the end of an account.
#[derive(Deserialize, ToSchema)]
pub(super) struct Withdrawal {
    /// The password, once more; left out where there is none, by somebody who logged in within ten minutes.
    password: Option<String>,
}

/// The caller's own account.
#[utoipa::path(get, path = "/v1/me", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = MeBody), (status = 401, body = Problem)))]
pub(super) async fn me(store: Store, person: Person) -> Answer {
    let own = store.own_profile(person.id()).await?;
    Ok(HttpResponse::Ok().json(MeBody::from(own)))
}

/// Changes the caller's profile.
#[utoipa::path(patch, path = "/v1/me", tag = "me", security(("bearer" = [])), request_body = MeChange, responses(
    (status = 200, body = MeBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 409, body = Problem, description = "the name is taken")))]
pub(super) async fn change_me(store: Store, person: Person, body: web::Json<MeChange>) -> Answer {
    let MeChange {
        name,
        avatar_url,
        status_text,
    } = body.into_inner();
    let change = ProfileChange {
        name,
        avatar_url,
        status_text,
    };
    let own = store.change_profile(person.id(), change).await?;
    Ok(HttpResponse::Ok().json(MeBody::from(own)))
}

/// Changes the password, ends every session and begins a new one for the caller.
#[utoipa::path(put, path = "/v1/me/password", tag = "me", security(("bearer" = [])), request_body = PasswordChange, responses(
    (status = 200, body = TokensBody), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "the current password is wrong"), (status = 429, body = Problem)))]
pub(super) async fn change_password(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
    body: web::Json<PasswordChange>,
) -> Answer {
    guess(&request, &person, &from)?;
    let PasswordChange {
        current_password,
        new_password,
    } = body.into_inner();
    let confirmation = confirmation(&person, current_password.as_deref());
    let logged_in = store
        .change_password(person.id(), confirmation, &new_password)
        .await?;
    Ok(tokens(StatusCode::OK, logged_in))
}

/// Withdraws the caller's account for good.
#[utoipa::path(delete, path = "/v1/me", tag = "me", security(("bearer" = [])), request_body = Withdrawal, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem, description = "the password is wrong"), (status = 429, body = Problem)))]
pub(super) async fn withdraw(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
    body: web::Json<Withdrawal>,
) -> Answer {
    guess(&request, &person, &from)?;
    let confirmation = confirmation(&person, body.password.as_deref());
    store.withdraw(person.id(), confirmation).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Everything the store holds of the caller, as one document: an object whose fields are lists, times in
/// milliseconds since the epoch, money in minor units.
///
/// It is made anew each time, so it counts as a guess at a password does.
#[utoipa::path(get, path = "/v1/me/export", operation_id = "export", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = Object, description = "`account`, `friends`, `orders`, `notices` …", example = json!({"exported_at": 1_700_000_000_000_i64, "account": [{"id": "01J0", "name": "Ann"}]})),
    (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn export(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
) -> Answer {
    guess(&request, &person, &from)?;
    let document = store.export(person.id()).await?;
    Ok(HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .insert_header((
            "content-disposition",
            "attachment; filename=\"fireside.json\"",
        ))
        .json(document))
}

/// Whoever holds a stolen access token must not try passwords with it without end.
pub(super) fn guess(request: &HttpRequest, person: &Person, from: &Address) -> Answer<()> {
    let limits = &state(request)?.limits;
    limits.of_address(request, from.0)?;
    limits.of_account(request, person.id().as_str())?;
    Ok(())
}

/// What the caller shows once more.
pub(super) fn confirmation<'a>(person: &'a Person, password: Option<&'a str>) -> Confirmation<'a> {
    Confirmation {
        password,
        jti: person.jti(),
    }
}

impl From<OwnProfile> for MeBody {
    fn from(own: OwnProfile) -> Self {
        Self {
            user: own.profile.into(),
            email: own.email,
            email_verified: own.email_verified,
            has_password: own.has_password,
            created_at: own.created_at,
            role: own.role.word(),
        }
    }
}

/// Reads a thing that is there: null clears it. What is absent is left to the default.
fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Change<String>, D::Error> {
    Option::<String>::deserialize(d).map(|text| text.map_or(Change::Clear, Change::Set))
}
