//! Every route of the store, once: where it is mounted and that it is documented.

use actix_web::{HttpResponse, web};
use shared::problem;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{BODY_LIMIT, auth, friends, internal, me, users};
use crate::store::Store;

macro_rules! routes {
    ($($path:literal => $($method:ident $module:ident::$handler:ident),+;)+) => {
        /// Mounts every route, a resource a path, so that another method on it is answered 405.
        pub(super) fn mount(config: &mut web::ServiceConfig) {
            config
                $(.service(web::resource($path)
                        .app_data(problem::json_body(BODY_LIMIT))
                        .app_data(web::PayloadConfig::new(BODY_LIMIT))$(.route(web::$method().to($module::$handler)))+))+
                .service(web::resource("/.well-known/jwks.json").route(web::get().to(jwks)))
                .service(web::resource("/v1/store/openapi.json").route(web::get().to(document)));
        }

        #[cfg(test)]
        const MOUNTED: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),+];

        #[derive(OpenApi)]
        #[openapi(
            info(
                title = "Fireside store",
                description = "Accounts, users and friends.",
                license(name = "Apache-2.0", identifier = "Apache-2.0")
            ),
            paths($($($module::$handler),+),+),
            modifiers(&Bearer)
        )]
        struct Documented;
    };
}

routes! {
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

/// The `OpenAPI` document of the store, for a server that merges it with others'.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Documented::openapi()
}

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT");
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
}

/// The public keys of access tokens; none while they are signed with a shared secret.
async fn jwks(store: Store) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .json(store.tokens().jwks())
}

async fn document() -> HttpResponse {
    HttpResponse::Ok().json(openapi())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented_where_it_is_mounted() {
        let document = serde_json::to_value(openapi()).unwrap();
        let mut documented: Vec<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object()
                    .unwrap()
                    .keys()
                    .map(|method| (method.clone(), path.clone()))
            })
            .collect();
        let mut mounted: Vec<(String, String)> = MOUNTED
            .iter()
            .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        documented.sort();
        mounted.sort();
        assert_eq!(documented, mounted);
    }

    #[test]
    fn every_operation_says_what_it_does_and_how_it_refuses() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (method, path) in MOUNTED {
            let operation = &document["paths"][path][method];
            assert!(operation["summary"].is_string(), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {path}"
            );
            assert!(
                responses.keys().any(|status| status.starts_with('4')),
                "{method} {path}"
            );
        }
    }
}
