//! The e-mail address of the caller's account.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::{
    caller::{Address, Person, state},
    me::{MeBody, confirmation, guess},
    refusal::Answer,
};
use crate::store::Store;

/// Another e-mail address.
#[derive(Deserialize, ToSchema)]
pub(super) struct EmailChange {
    /// The address to come.
    #[schema(example = "ann@example.org")]
    email: String,
    /// The password, once more; left out where there is none, by somebody who logged in within ten minutes.
    password: Option<String>,
}

/// A code from a mail.
#[derive(Deserialize, ToSchema)]
pub(super) struct EmailCode {
    /// As the mail has it; case and dashes do not matter.
    #[schema(example = "7Q2K-0M9X")]
    code: String,
}

/// Where a code is on its way to.
#[derive(Serialize, ToSchema)]
pub(super) struct SentBody {
    /// The address.
    #[schema(example = "ann@example.org")]
    email: String,
}

/// Sends a code to an e-mail address, which becomes the account's when the code comes back. A code sent before ends.
#[utoipa::path(put, path = "/v1/me/email", operation_id = "change_email", tag = "me", security(("bearer" = [])), request_body = EmailChange, responses(
    (status = 202, body = SentBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem, description = "the password is wrong"),
    (status = 409, body = Problem, description = "`errors` says why: `taken`, `verified` (it is the account's already), or `no_mail` (this server sends none)"), (status = 429, body = Problem)))]
pub(super) async fn change(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
    body: web::Json<EmailChange>,
) -> Answer {
    guess(&request, &person, &from)?;
    state(&request)?
        .limits
        .of_mail(&request, from.0, &body.email)?;
    let email = store
        .change_email(
            person.id(),
            &body.email,
            confirmation(&person, body.password.as_deref()),
        )
        .await?;
    Ok(HttpResponse::Accepted().json(SentBody { email }))
}

/// Sends a new code to the address that is to be the account's, or to its own that is not verified yet. The code before ends.
#[utoipa::path(post, path = "/v1/me/email/code", operation_id = "send_email_code", tag = "me", security(("bearer" = [])), responses(
    (status = 202, body = SentBody), (status = 401, body = Problem),
    (status = 409, body = Problem, description = "`errors` says why: `verified` (nothing is to be proved), `none` (there is no address), or `no_mail` (this server sends none)"), (status = 429, body = Problem)))]
pub(super) async fn send_code(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
) -> Answer {
    state(&request)?
        .limits
        .of_mail(&request, from.0, person.id().as_str())?;
    let email = store.send_email_code(person.id()).await?;
    Ok(HttpResponse::Accepted().json(SentBody { email }))
}

/// Proves an e-mail address with the code that was sent to it. Five attempts end the code.
#[utoipa::path(post, path = "/v1/me/email/verify", operation_id = "verify_email", tag = "me", security(("bearer" = [])), request_body = EmailCode, responses(
    (status = 200, body = MeBody), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem, description = "the code is wrong, or does not hold any more"),
    (status = 409, body = Problem, description = "somebody else has the address by now"), (status = 429, body = Problem)))]
pub(super) async fn verify(
    request: HttpRequest,
    store: Store,
    person: Person,
    from: Address,
    body: web::Json<EmailCode>,
) -> Answer {
    guess(&request, &person, &from)?;
    let own = store.verify_email(person.id(), &body.code).await?;
    Ok(HttpResponse::Ok().json(MeBody::from(own)))
}
