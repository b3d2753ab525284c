//! A new password for somebody who lost theirs.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::Deserialize;
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    auth::{TokensBody, tokens},
    caller::{Address, state},
    refusal::Answer,
};
use crate::store::Store;

/// Whose password is lost.
#[derive(Deserialize, ToSchema)]
pub(super) struct Forgotten {
    /// The address of the account.
    #[schema(example = "ann@example.org")]
    email: String,
}

/// A new password, and the code that is good for it.
#[derive(Deserialize, ToSchema)]
pub(super) struct Reset {
    /// The address that the code was sent to.
    #[schema(example = "ann@example.org")]
    email: String,
    /// As the mail has it; case and dashes do not matter.
    #[schema(example = "7Q2K-0M9X")]
    code: String,
    /// 10 to 128 characters.
    new_password: String,
}

/// Sends a code for a new password to an e-mail address, if there is an account with it. Says and takes the same if there is none.
#[utoipa::path(post, path = "/v1/auth/password/forgot", operation_id = "forgot_password", tag = "auth", request_body = Forgotten, responses(
    (status = 202), (status = 400, body = Problem, description = "not an e-mail address"),
    (status = 409, body = Problem, description = "this server sends no mail: `errors` has the rule `no_mail`"), (status = 429, body = Problem)))]
pub(super) async fn forgot(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<Forgotten>,
) -> Answer {
    state(&request)?
        .limits
        .of_mail(&request, from.0, &body.email)?;
    store.forgot_password(&body.email).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// Chooses a new password with a code, ends every session and begins a new one for the caller. Five attempts end the code.
#[utoipa::path(post, path = "/v1/auth/password/reset", operation_id = "reset_password", tag = "auth", request_body = Reset, responses(
    (status = 200, body = TokensBody), (status = 400, body = Problem, description = "the password breaks a rule; `errors` says which"),
    (status = 401, body = Problem, description = "the code is wrong, or does not hold any more"), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn reset(
    request: HttpRequest,
    store: Store,
    from: Address,
    body: web::Json<Reset>,
) -> Answer {
    let limits = &state(&request)?.limits;
    limits.of_address(&request, from.0)?;
    limits.of_account(&request, &body.email)?;
    let Reset {
        email,
        code,
        new_password,
    } = body.into_inner();
    let logged_in = store.reset_password(&email, &code, &new_password).await?;
    Ok(tokens(StatusCode::OK, logged_in))
}
