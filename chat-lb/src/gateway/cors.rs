//! What pages of other origins may do.

use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
        HeaderValue, ORIGIN, VARY,
    },
};
use shared::{
    codes::ErrorCode,
    origin::{Origin, is_welcome},
    problem::Problem,
};

use super::{Body, answer, headers::text};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const HEADERS: &str = "authorization, content-type, drop-pass, idempotency-key, if-match, if-none-match, traceparent, x-request-id";
const EXPOSED: &str = "etag, location, ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, x-request-id";

/// Whether the page a request comes from may do anything here.
pub(super) fn is_allowed(headers: &HeaderMap, allowed: &[Origin]) -> bool {
    let host = text(headers, &HOST).unwrap_or_default();
    is_welcome(text(headers, &ORIGIN), host, allowed)
}

/// The answer to a page's question whether it may ask something; none if that is not the question.
pub(super) fn preflight(
    method: &Method,
    headers: &HeaderMap,
    allowed: &[Origin],
) -> Option<Result<Response<Body>, Problem>> {
    let asks = method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    asks.then(|| {
        if !is_allowed(headers, allowed) {
            let said = "pages of this origin may not ask";
            return Err(Problem::new(ErrorCode::Forbidden, said));
        }
        let mut response = answer::empty(StatusCode::NO_CONTENT);
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    })
}

/// Says in an answer, also in a refusal, that the page may read it. Cookies play no part here, so
/// nothing is said of credentials.
pub(super) fn let_read(origin: Option<&HeaderValue>, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
}
