//! Makes what the framework refuses by itself read like everything else.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::{JsonPayloadError, QueryPayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpResponse, ResponseError as _, web};

use super::page::{Shown, is_navigation};
use super::{PROBLEM_JSON, Problem, rate_limit_headers};
use crate::codes::ErrorCode;
use crate::limits::Decision;

/// Configures the JSON, path and query extractors of an application to answer with problems, and
/// bounds bodies to `body_limit` bytes. Use as `App::new().configure(problem::extractors(64 <<
/// 10))`.
pub fn extractors(body_limit: usize) -> impl Fn(&mut web::ServiceConfig) + Clone {
    move |config| {
        config
            .app_data(json_body(body_limit))
            .app_data(web::PayloadConfig::new(body_limit))
            // A path whose parts do not parse names nothing that exists.
            .app_data(
                web::PathConfig::default()
                    .error_handler(|error, _| Problem::not_found(error.to_string()).into()),
            )
            .app_data(web::QueryConfig::default().error_handler(|error, _| {
                let QueryPayloadError::Deserialize(error) = error else {
                    return Problem::invalid("the query does not parse").into();
                };
                Problem::invalid(format!("query: {error}")).into()
            }));
    }
}

/// The part of [`extractors`] that bounds JSON bodies, for a resource whose bound is another than its
/// application's: `resource.app_data(problem::json_body(64 << 10))`.
pub fn json_body(limit: usize) -> web::JsonConfig {
    web::JsonConfig::default()
        .limit(limit)
        .error_handler(|error, _| of_json(&error).into())
}

/// The default service: no such path.
pub async fn not_found() -> HttpResponse {
    Problem::not_found("no such path").error_response()
}

/// Middleware (`wrap(from_fn(problem::fill))`) that gives a problem body to every refusal that has
/// none, such as the framework's own 405, or a plain text. A handler's own error document (JSON, as
/// of `/readyz`) is left alone. It also writes the headers for what [`admit`](super::admit) decided, and shows problems to
/// browsers that went to an address as pages.
pub async fn fill<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let to_browser = is_navigation(request.method().as_str(), |name| {
        request.headers().get(name)?.to_str().ok()
    });
    let response = match next.call(request).await {
        Ok(response) => response,
        Err(error) => {
            let problem = error.as_error::<Problem>().cloned();
            let problem = problem.or_else(|| of_status(error.as_response_error().status_code()));
            return Err(match problem {
                Some(problem) if to_browser => Shown(problem).into(),
                Some(problem) => problem.into(),
                None => error,
            });
        }
    };
    let mut response = with_body(response, to_browser);
    let decision = response.request().extensions().get::<Decision>().copied();
    if let Some(decision) = decision {
        rate_limit_headers(response.headers_mut(), &decision);
    }
    Ok(response)
}

fn with_body<B>(response: ServiceResponse<B>, to_browser: bool) -> ServiceResponse<EitherBody<B>> {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind.as_bytes() == PROBLEM_JSON.as_bytes());
    let says_so = kind.is_some_and(|kind| !kind.as_bytes().starts_with(b"text/plain"))
        && !(is_problem && to_browser);
    let Some(problem) = of_status(response.status()).filter(|_| !says_so) else {
        return response.map_into_left_body();
    };
    let mut filled = if to_browser {
        Shown(problem).error_response()
    } else {
        problem.error_response()
    };
    // Keep what the refusal carries besides its body, such as `Allow`.
    for (name, value) in response.headers() {
        let of_the_body = [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING].contains(name);
        if !of_the_body && !filled.headers().contains_key(name) {
            filled.headers_mut().append(name.clone(), value.clone());
        }
    }
    response.into_response(filled).map_into_right_body()
}

fn of_json(error: &JsonPayloadError) -> Problem {
    match error {
        JsonPayloadError::OverflowKnownLength { limit, .. }
        | JsonPayloadError::Overflow { limit } => Problem::new(
            ErrorCode::TooLarge,
            format!("a body has at most {limit} bytes"),
        ),
        JsonPayloadError::ContentType => Problem::invalid("the body must be application/json")
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        JsonPayloadError::Deserialize(error) => Problem::invalid(format!("body: {error}")),
        _ => Problem::invalid("the body does not parse"),
    }
}

/// What a bare status most likely means; nothing for what is no error.
fn of_status(status: StatusCode) -> Option<Problem> {
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::not_found("no such path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::invalid("this path has no such method"),
        StatusCode::UNAUTHORIZED => Problem::new(ErrorCode::Unauthenticated, "not authenticated"),
        StatusCode::FORBIDDEN => Problem::new(ErrorCode::Forbidden, "not allowed"),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(ErrorCode::TooLarge, "the body is too large"),
        StatusCode::CONFLICT => Problem::new(ErrorCode::Conflict, "conflict"),
        StatusCode::TOO_MANY_REQUESTS => Problem::new(ErrorCode::RateLimited, "too many requests"),
        StatusCode::SERVICE_UNAVAILABLE => Problem::new(ErrorCode::Unavailable, "unavailable"),
        status if status.is_server_error() => {
            Problem::new(ErrorCode::Internal, "something went wrong on our side")
        }
        status if status.is_client_error() => {
            let reason = status
                .canonical_reason()
                .unwrap_or("the request was refused");
            Problem::invalid(reason.to_lowercase())
        }
        _ => return None,
    };
    Some(problem.with_status(status))
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::{App, test};
    use serde::Deserialize;

    use super::*;
    use crate::problem::PROBLEM_JSON;

    #[derive(Deserialize)]
    struct Body {
        n: u8,
    }

    async fn echo(body: web::Json<Body>) -> String {
        body.n.to_string()
    }

    async fn page(path: web::Path<u32>, query: web::Query<Body>) -> String {
        format!("{path} {}", query.n)
    }

    async fn broken() -> Result<String, actix_web::Error> {
        Err(actix_web::error::ErrorInternalServerError(
            "the password is hunter2",
        ))
    }

    async fn report() -> HttpResponse {
        HttpResponse::ServiceUnavailable().json(serde_json::json!({"ready": false}))
    }

    async fn answer(request: test::TestRequest) -> (u16, serde_json::Value) {
        let app = App::new()
            .configure(extractors(64))
            .service(web::resource("/echo").route(web::post().to(echo)))
            .service(web::resource("/page/{n}").route(web::get().to(page)))
            .service(web::resource("/broken").route(web::get().to(broken)))
            .service(web::resource("/report").route(web::get().to(report)))
            .default_service(web::to(not_found))
            .wrap(from_fn(fill));
        let app = test::init_service(app).await;
        let response = match test::try_call_service(&app, request.to_request()).await {
            Ok(response) => response.map_into_boxed_body().into_parts().1,
            Err(error) => error.error_response(),
        };
        let status = response.status().as_u16();
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let body = actix_web::body::to_bytes(response.into_body())
            .await
            .unwrap();
        if status >= 400 && status != 503 {
            assert_eq!(kind, PROBLEM_JSON);
        }
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[actix_web::test]
    async fn every_refusal_is_a_problem() {
        let post = |body: &str| {
            let request = test::TestRequest::post().uri("/echo");
            request
                .insert_header((CONTENT_TYPE, "application/json"))
                .set_payload(body.to_owned())
        };
        let get = |path: &str| test::TestRequest::get().uri(path);
        let plain = test::TestRequest::post().uri("/echo").set_payload("{}");
        let cases = [
            (post("{"), 400, "invalid"),
            (post("{\"n\":256}"), 400, "invalid"),
            (post(&"[".repeat(60)), 400, "invalid"),
            (post(&" ".repeat(65)), 413, "too_large"),
            (plain, 415, "invalid"),
            (get("/echo"), 405, "invalid"),
            (get("/nowhere"), 404, "not_found"),
            (get("/page/x?n=1"), 404, "not_found"),
            (get("/page/1?n=x"), 400, "invalid"),
            (get("/page/1"), 400, "invalid"),
            (get("/broken"), 500, "internal"),
        ];
        for (request, status, code) in cases {
            let (answered, body) = answer(request).await;
            assert_eq!(
                (answered, body["code"].as_str()),
                (status, Some(code)),
                "{body}"
            );
            assert_eq!(body["status"], status, "{body}");
            assert!(!body.to_string().contains("hunter2"));
        }
        assert_eq!(answer(post("{\"n\":5}")).await.0, 200);
        let report = answer(get("/report")).await;
        assert_eq!(
            report,
            (503, serde_json::json!({"ready": false})),
            "a document of its own"
        );
    }

    #[actix_web::test]
    async fn an_answer_says_what_is_left() {
        let quota = "1/h burst 2".parse().unwrap();
        let limiter = web::Data::new(crate::limits::Limiter::<u8>::new(quota, 8));
        let handler = async |request: actix_web::HttpRequest,
                             limiter: web::Data<crate::limits::Limiter<u8>>| {
            crate::problem::admit(&request, limiter.check(&1)).map(|()| "in")
        };
        let app = App::new()
            .app_data(limiter)
            .route("/", web::get().to(handler));
        let app = test::init_service(app.wrap(from_fn(fill))).await;
        for (status, left, reset) in [(200, "1", "3600"), (200, "0", "7200"), (429, "0", "7200")] {
            let request = test::TestRequest::get().uri("/").to_request();
            let response = test::call_service(&app, request).await;
            let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(header("ratelimit-limit"), "2");
            assert_eq!(header("ratelimit-remaining"), left);
            assert_eq!(header("ratelimit-reset"), reset);
            assert_eq!(
                response.headers().contains_key("retry-after"),
                status == 429
            );
        }
    }
}
