//! Every route, once: where it is mounted and that it is documented.

use shared::openapi::{Refusals, Schemes};

use super::{BODY_LIMIT, messages, presence, rooms, search, server_api};

/// The longest body of a delivery of events: a hundred profiles with all they may hold.
const EVENTS_LIMIT: usize = 1 << 20;

shared::routes! {
    document "/v1/openapi.json";
    reference "/v1/reference";
    body_limit BODY_LIMIT;
    openapi(
        info(
            title = "Fireside chat",
            description = "Rooms, history, search and presence; the server API of the game's backend. \
                Live events come over the WebSocket at /v1/ws.",
            license(name = "Apache-2.0", identifier = "Apache-2.0")
        ),
        modifiers(&Schemes, &Refusals)
    );
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
    "/v1/server/live" => get server_api::live;
    "/v1/server/relocate" => post server_api::relocate;
    "/v1/server/users/{id}/disconnect" => post server_api::disconnect;
    "/v1/server/events" up to EVENTS_LIMIT => post server_api::events;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_what_is_mounted() {
        let faults = shared::openapi::faults(&openapi(), MOUNTED);
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn every_operation_says_who_may() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (method, path) in MOUNTED {
            let operation = &document["paths"][path][method];
            let scheme = if path.starts_with("/v1/server/") {
                "service"
            } else {
                "bearer"
            };
            assert!(
                operation["security"][0][scheme].is_array(),
                "{method} {path}"
            );
            assert!(operation["responses"]["401"].is_object(), "{method} {path}");
        }
    }

    #[test]
    fn what_clients_read_is_described() {
        let document = serde_json::to_value(openapi()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for name in ["Message", "Entry", "RoomView", "Problem", "PresenceView"] {
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
