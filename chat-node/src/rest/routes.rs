//! Every route, once: where it is mounted and that it is documented.

use actix_web::{HttpResponse, web};
use shared::problem;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{BODY_LIMIT, messages, presence, rooms, search, server_api};

/// The longest body of a delivery of events: a hundred profiles with all they may hold.
const EVENTS_LIMIT: usize = 1 << 20;

macro_rules! routes {
    (@limit) => { BODY_LIMIT };
    (@limit $limit:ident) => { $limit };
    ($($path:literal $(up to $limit:ident)? => $($method:ident $module:ident::$handler:ident),+;)+) => {
        /// Mounts every route, a resource a path, so that another method on it is answered 405.
        pub(super) fn mount(config: &mut web::ServiceConfig) {
            config
                $(.service(
                    web::resource($path)
                        .app_data(problem::json_body(routes!(@limit $($limit)?)))
                        $(.route(web::$method().to($module::$handler)))+
                ))+
                .service(web::resource("/v1/openapi.json").route(web::get().to(document)));
        }

        #[cfg(test)]
        const MOUNTED: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),+];

        #[derive(OpenApi)]
        #[openapi(
            info(
                title = "Fireside chat",
                description = "Rooms, history, search and presence; the server API of the game's backend. \
                    Live events come over the WebSocket at /v1/ws.",
                license(name = "Apache-2.0", identifier = "Apache-2.0")
            ),
            paths($($($module::$handler),+),+),
            modifiers(&Schemes)
        )]
        struct Documented;
    };
}

routes! {
    "/v1/rooms" => get rooms::list, post rooms::create;
    "/v1/rooms/{id}" => get rooms::get;
    "/v1/rooms/{id}/members" => get rooms::members;
    "/v1/rooms/{id}/messages" => get messages::page, post messages::send;
    "/v1/rooms/{id}/log" => get messages::log;
    "/v1/rooms/{id}/read" => put messages::read;
    "/v1/search" => get search::find;
    "/v1/presence" => get presence::of_friends;
    "/v1/server/rooms" => post server_api::create_room;
    "/v1/server/rooms/{id}/messages" => post server_api::post;
    "/v1/server/rooms/{id}/invite" => post server_api::invite;
    "/v1/server/rooms/{id}/members" => post server_api::bring;
    "/v1/server/rooms/{id}/kick" => post server_api::kick;
    "/v1/server/rooms/{id}/ban" => post server_api::ban;
    "/v1/server/rooms/{id}/unban" => post server_api::unban;
    "/v1/server/presence" => post server_api::presence;
    "/v1/server/users/{id}/disconnect" => post server_api::disconnect;
    "/v1/server/events" up to EVENTS_LIMIT => post server_api::events;
}

/// The `OpenAPI` document of a node, for a server that merges it with others'.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Documented::openapi()
}

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(description))
                .build()
        };
        let components = openapi.components.get_or_insert_default();
        let person = bearer("A person's access token");
        let service = bearer("A token of the scope `server`, or the service token");
        components.add_security_scheme("bearer", SecurityScheme::Http(person));
        components.add_security_scheme("service", SecurityScheme::Http(service));
    }
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
        let paths = document["paths"].as_object().unwrap();
        let mut documented: Vec<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(|method| (method.clone(), path.clone()))
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
    fn every_operation_says_what_it_does_who_may_and_how_it_refuses() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (method, path) in MOUNTED {
            let operation = &document["paths"][path][method];
            assert!(operation["summary"].is_string(), "{method} {path}");
            let scheme = if path.starts_with("/v1/server/") {
                "service"
            } else {
                "bearer"
            };
            assert!(
                operation["security"][0][scheme].is_array(),
                "{method} {path}"
            );
            let responses = operation["responses"].as_object().unwrap();
            for class in ["2", "401"] {
                assert!(
                    responses.keys().any(|status| status.starts_with(class)),
                    "{method} {path}: {class}"
                );
            }
        }
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let document = serde_json::to_value(openapi()).unwrap();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        for name in ["Message", "Entry", "RoomView", "Problem", "PresenceView"] {
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
