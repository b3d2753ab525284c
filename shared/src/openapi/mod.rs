//! A REST interface declared once: the line that mounts a route also documents it.
//!
//! [`routes!`](crate::routes) takes the table of a service's routes and makes the function that
//! mounts them and the [`OpenApi`] document that describes them, so that neither can lack what the
//! other has. [`faults`] is what a test of that service holds to be empty. [`reference`] makes the document a page.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};

use crate::problem::PROBLEM_JSON;

pub mod reference;

/// Declares the routes of a service. The module it stands in gets
///
/// - `mount(&mut web::ServiceConfig)`: mounts every route, a resource a path, so that another
///   method on it is answered 405, the document itself, and a page made of it;
/// - `openapi()`: the document;
/// - `MOUNTED`, in tests: every method and path, for [`faults`](crate::openapi::faults).
///
/// Bodies are bounded by `body_limit`, or by a constant a route names with `up to`. What stands in
/// `openapi(…)` goes to utoipa's derive as it is.
///
/// ```
/// mod rooms {
///     /// Your rooms
///     #[utoipa::path(get, path = "/rooms", responses((status = 200), (status = 401)))]
///     pub(super) async fn list() -> actix_web::HttpResponse {
///         actix_web::HttpResponse::Ok().finish()
///     }
/// }
/// shared::routes! {
///     document "/openapi.json";
///     reference "/reference";
///     body_limit 16 << 10;
///     openapi(info(title = "Rooms"));
///     "/rooms" => get rooms::list;
/// }
/// # fn main() {
/// let app = actix_web::App::new().configure(mount);
/// assert!(openapi().paths.paths.contains_key("/rooms"));
/// # drop(app);
/// # }
/// ```
#[macro_export]
macro_rules! routes {
    (@limit $default:expr;) => { $default };
    (@limit $default:expr; $limit:ident) => { $limit };
    (
        document $document:literal;
        reference $reference:literal;
        body_limit $body:expr;
        openapi($($openapi:tt)*);
        $($path:literal $(up to $limit:ident)? => $($method:ident $module:ident::$handler:ident),+;)+
    ) => {
        /// Mounts every route.
        pub(crate) fn mount(config: &mut ::actix_web::web::ServiceConfig) {
            async fn document() -> ::actix_web::HttpResponse {
                ::actix_web::HttpResponse::Ok().json(openapi())
            }
            async fn reference() -> ::actix_web::HttpResponse {
                static PAGE: ::std::sync::OnceLock<Option<String>> = ::std::sync::OnceLock::new();
                let page = PAGE.get_or_init(|| $crate::openapi::reference::page(&openapi(), $document));
                $crate::openapi::reference::answer(page.as_deref())
            }
            config
                $(.service({
                    let limit: usize = $crate::routes!(@limit $body; $($limit)?);
                    ::actix_web::web::resource($path)
                        .app_data($crate::problem::json_body(limit))
                        .app_data(::actix_web::web::PayloadConfig::new(limit))
                        $(.route(::actix_web::web::$method().to($module::$handler)))+
                }))+
                .service(
                    ::actix_web::web::resource($document)
                        .route(::actix_web::web::get().to(document)),
                )
                .service(
                    ::actix_web::web::resource($reference)
                        .route(::actix_web::web::get().to(reference)),
                );
        }

        /// The document of these routes, for a server that merges it with others'.
        #[allow(unreachable_pub)] // how far it is seen is the service's to say
        pub fn openapi() -> ::utoipa::openapi::OpenApi {
            #[derive(::utoipa::OpenApi)]
            #[openapi(paths($($($module::$handler),+),+), $($openapi)*)]
            struct Documented;
            <Documented as ::utoipa::OpenApi>::openapi()
        }

        #[cfg(test)]
        const MOUNTED: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),+];
    };
}

/// The security schemes of our documents, for `modifiers(&Schemes)`: `bearer` is a person's access
/// token, `service` what a service shows.
pub struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, description) in [
            ("bearer", "A person's access token"),
            (
                "service",
                "A token of the scope `server`, or the service token",
            ),
        ] {
            let scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(description));
            components.add_security_scheme(name, SecurityScheme::Http(scheme.build()));
        }
    }
}

/// What operations answer besides what they say themselves, for `modifiers(&Refusals)`: it follows from
/// what they take and of whom. And problems are problem JSON.
pub struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
                &mut item.patch,
            ];
            operations.into_iter().flatten().for_each(complete);
        }
    }
}

/// Adds the refusals that an operation does not name.
fn complete(operation: &mut Operation) {
    let takes = |place: &ParameterIn| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| parameter.parameter_in == *place)
    };
    let body = operation.request_body.is_some();
    let mut refusals = vec![
        (429, "too many requests"),
        (503, "busy, or a part of the service is out of reach"),
    ];
    if body || takes(&ParameterIn::Query) || takes(&ParameterIn::Header) {
        refusals.push((400, "the request breaks a rule"));
    }
    if body {
        refusals.push((413, "the body is too large"));
        refusals.push((415, "the body is of another type"));
    }
    if takes(&ParameterIn::Path) {
        refusals.push((
            404,
            "there is no such thing, or none that the caller may know of",
        ));
    }
    if operation.security.is_some() {
        refusals.push((401, "no token, or one that does not hold"));
        refusals.push((403, "this is not for the caller"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in refusals {
        let refusal = || {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            let response = ResponseBuilder::new().description(description);
            response.content("application/json", content).into()
        };
        responses.entry(status.to_string()).or_insert_with(refusal);
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM_JSON.to_owned(), content);
        }
    }
}

/// What a document lacks that describes the `mounted` methods and paths: an operation under
/// another path than it is mounted at, one without a summary or without a success or a refusal, a
/// security scheme or a schema that is named and not there.
pub fn faults(document: &OpenApi, mounted: &[(&str, &str)]) -> Vec<String> {
    let Ok(document) = serde_json::to_value(document) else {
        return vec!["the document is no JSON".to_owned()];
    };
    let mut faults = Vec::new();
    let documented = operations(&document);
    let mounted: BTreeSet<_> = mounted
        .iter()
        .map(|(method, path)| ((*path).to_owned(), (*method).to_owned()))
        .collect();
    for (path, method) in documented.symmetric_difference(&mounted) {
        let place = (path.clone(), method.clone());
        let there = if mounted.contains(&place) {
            "mounted"
        } else {
            "documented"
        };
        faults.push(format!("{method} {path}: {there} only"));
    }
    let components = &document["components"];
    for (path, method) in &documented {
        let operation = &document["paths"][path][method];
        if !operation["summary"].is_string() {
            faults.push(format!("{method} {path}: no summary"));
        }
        let has = |class: char| {
            let responses = operation["responses"].as_object();
            responses.is_some_and(|all| all.keys().any(|status| status.starts_with(class)))
        };
        if !(has('2') && has('4')) {
            faults.push(format!("{method} {path}: no success or no refusal"));
        }
        for scheme in schemes(operation) {
            if components["securitySchemes"][scheme].is_null() {
                faults.push(format!("{method} {path}: no scheme `{scheme}`"));
            }
        }
    }
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        if components["schemas"][name].is_null() {
            faults.push(format!("no schema `{name}`"));
        }
    }
    faults
}

/// Path and method of every operation.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().into_iter().flatten();
        methods
            .map(|(method, _)| (path.clone(), method.clone()))
            .collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

/// The security schemes that an operation names.
fn schemes(operation: &Value) -> impl Iterator<Item = &str> {
    let security = operation["security"].as_array().into_iter().flatten();
    let named = security.filter_map(Value::as_object);
    named.flat_map(|schemes| schemes.keys().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_and_read_body_json, call_service, init_service};
    use actix_web::{App, HttpResponse, web};
    use serde::Deserialize;

    use super::*;

    mod things {
        use super::*;

        #[derive(Deserialize, utoipa::ToSchema)]
        pub(super) struct Thing {
            name: String,
        }

        /// All things
        #[utoipa::path(get, path = "/things", responses((status = 200), (status = 401)))]
        pub(super) async fn list() -> HttpResponse {
            HttpResponse::Ok().finish()
        }

        /// Makes a thing
        #[utoipa::path(post, path = "/things", request_body = Thing, responses((status = 201), (status = 400)))]
        pub(super) async fn make(body: web::Json<Thing>) -> HttpResponse {
            HttpResponse::Created().body(body.into_inner().name)
        }

        /// Takes a large thing
        #[utoipa::path(put, path = "/large", request_body = String, responses((status = 200), (status = 400)))]
        pub(super) async fn large(body: web::Bytes) -> HttpResponse {
            HttpResponse::Ok().body(body.len().to_string())
        }
    }

    const LARGE: usize = 64;

    crate::routes! {
        document "/openapi.json";
        reference "/reference";
        body_limit 32;
        openapi(info(title = "Things"));
        "/things" => get things::list, post things::make;
        "/large" up to LARGE => put things::large;
    }

    #[actix_web::test]
    async fn routes_are_mounted_bounded_and_documented() {
        let app = init_service(App::new().configure(mount)).await;
        let status = async |request: TestRequest| {
            let request = request.to_request();
            call_service(&app, request).await.status().as_u16()
        };
        let json = |text: String| {
            let request = TestRequest::post().uri("/things");
            let request = request.insert_header(("content-type", "application/json"));
            request.set_payload(text)
        };
        assert_eq!(status(TestRequest::get().uri("/things")).await, 200);
        assert_eq!(status(TestRequest::delete().uri("/things")).await, 405);
        assert_eq!(status(json("{\"name\":\"a\"}".to_owned())).await, 201);
        let long = format!("{{\"name\":\"{}\"}}", "a".repeat(40));
        assert_eq!(status(json(long)).await, 413);
        for (length, expected) in [(60, 200), (70, 413)] {
            let request = TestRequest::put().uri("/large");
            let request = request.set_payload("a".repeat(length));
            assert_eq!(status(request).await, expected);
        }
        let get = TestRequest::get().uri("/openapi.json").to_request();
        let document: Value = call_and_read_body_json(&app, get).await;
        assert_eq!(document["info"]["title"], "Things");
        assert_eq!(faults(&openapi(), MOUNTED), Vec::<String>::new());
    }

    #[test]
    fn refusals_follow_from_what_is_taken() {
        let mut document = openapi();
        let item = document.paths.paths.get_mut("/things").unwrap();
        item.get.as_mut().unwrap().security = Some(Vec::new());
        Refusals.modify(&mut document);
        let document = serde_json::to_value(&document).unwrap();
        let statuses = |path: &str, method: &str| -> Vec<String> {
            let responses = &document["paths"][path][method]["responses"];
            responses.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(
            statuses("/things", "get"),
            ["200", "401", "403", "429", "503"]
        );
        assert_eq!(
            statuses("/things", "post"),
            ["201", "400", "413", "415", "429", "503"]
        );
        let refusal = &document["paths"]["/things"]["post"]["responses"]["429"];
        let schema = &refusal["content"][PROBLEM_JSON]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Problem");
    }

    #[test]
    fn what_a_document_lacks_is_found() {
        let mut document = openapi();
        let elsewhere = [("get", "/things"), ("put", "/large"), ("get", "/elsewhere")];
        assert_eq!(
            faults(&document, &elsewhere),
            [
                "get /elsewhere: mounted only",
                "post /things: documented only"
            ]
        );
        let item = document.paths.paths.get_mut("/things").unwrap();
        let list = item.get.as_mut().unwrap();
        list.summary = None;
        list.responses.responses.clear();
        list.security = Some(vec![utoipa::openapi::security::SecurityRequirement::new(
            "bearer", [""; 0],
        )]);
        let found = faults(&document, MOUNTED);
        assert_eq!(
            found,
            [
                "get /things: no summary",
                "get /things: no success or no refusal",
                "get /things: no scheme `bearer`"
            ]
        );
        Schemes.modify(&mut document);
        assert_eq!(faults(&document, MOUNTED).len(), 2);
    }
}
