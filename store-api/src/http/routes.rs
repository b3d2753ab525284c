//! Every route of the store, once: where it is mounted and that it is documented.

use actix_web::{HttpResponse, web};
use shared::openapi::Schemes;

use super::{BODY_LIMIT, auth, friends, internal, me, users};
use crate::store::Store;

shared::routes! {
    document "/v1/store/openapi.json";
    body_limit BODY_LIMIT;
    openapi(
        info(
            title = "Fireside store",
            description = "Accounts, users and friends.",
            license(name = "Apache-2.0", identifier = "Apache-2.0")
        ),
        modifiers(&Schemes)
    );
    "/v1/auth/register" => post auth::register;
    "/v1/auth/login" => post auth::login;
    "/v1/auth/refresh" => post auth::refresh;
    "/v1/auth/logout" => post auth::logout;
    "/v1/auth/logout-all" => post auth::logout_all;
    "/v1/auth/available" => get auth::available;
    "/v1/me" => get me::me, patch me::change_me, delete me::withdraw;
    "/v1/me/password" => put me::change_password;
    "/v1/users" => get users::search;
    "/v1/users/{id}" => get users::user;
    "/v1/friends" => get friends::friends;
    "/v1/friends/{user_id}" => put friends::befriend, delete friends::part;
    "/v1/friends/{user_id}/mutual" => get friends::mutual;
    "/v1/blocks" => get friends::blocks;
    "/v1/blocks/{user_id}" => put friends::block, delete friends::unblock;
    "/v1/internal/users/{id}/friends" => get internal::graph;
    "/v1/internal/names" => post internal::names;
    "/v1/internal/revocations" => get internal::revocations;
}

/// Mounts the public keys of access tokens, which are no part of the document.
pub(super) fn mount_keys(config: &mut web::ServiceConfig) {
    config.service(web::resource("/.well-known/jwks.json").route(web::get().to(jwks)));
}

/// The public keys of access tokens; none while they are signed with a shared secret.
async fn jwks(store: Store) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .json(store.tokens().jwks())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_what_is_mounted() {
        let faults = shared::openapi::faults(&openapi(), MOUNTED);
        assert_eq!(faults, Vec::<String>::new());
    }
}
