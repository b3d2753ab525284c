//! Answers of our own: problems, and the browser client.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
        RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use shared::{
    codes::ErrorCode,
    problem::{self, PROBLEM_JSON, Problem},
    web_client,
};

use super::headers::text;

/// The body of an answer: of our own, or a back end's as it comes.
pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// These bytes.
pub(super) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A refusal.
pub(super) fn refusal(problem: &Problem) -> Response<Body> {
    let mut response = Response::new(body(serde_json::to_vec(problem).unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(wait) = problem.retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
    }
    if problem.code == ErrorCode::Unauthenticated {
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"fireside\""),
        );
    }
    response
}

/// A refusal as a page, for a browser that went to an address.
pub(super) fn refusal_page(problem: &Problem) -> Response<Body> {
    let mut response = refusal(problem);
    *response.body_mut() = body(problem::page(problem));
    for (name, value) in problem::PAGE_HEADERS {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

/// The connection ends with this answer.
pub(super) fn last(response: &mut Response<Body>) {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
}

/// The file of the browser client at a path.
pub(super) fn page(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let missing = || Problem::not_found("there is nothing at this address");
    let file = web_client::file(path).ok_or_else(missing)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(missing());
    }
    let tag = format!("\"{}\"", file.tag);
    let known = text(headers, &IF_NONE_MATCH).is_some_and(|sent| {
        let tags = sent.split(',').map(str::trim);
        tags.map(|one| one.strip_prefix("W/").unwrap_or(one))
            .any(|one| one == "*" || one == tag)
    });
    let mut response = match (known, method == Method::HEAD) {
        (true, _) => empty(StatusCode::NOT_MODIFIED),
        (_, true) => empty(StatusCode::OK),
        _ => Response::new(body(match file.bytes {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            std::borrow::Cow::Owned(ref bytes) => Bytes::copy_from_slice(bytes),
        })),
    };
    let headers = response.headers_mut();
    if !known {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(file.bytes.len()));
    }
    for (name, value) in web_client::HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_shown_a_refusal() {
        let shown = refusal_page(&Problem::unavailable("no store"));
        assert_eq!(shown.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(shown.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    }

    #[test]
    fn the_page_is_served_and_known_again() {
        let none = HeaderMap::new();
        let page_of =
            |method: &Method, path: &str, headers: &HeaderMap| page(method, path, headers);
        let first = page_of(&Method::GET, "/", &none).unwrap();
        assert_eq!(first.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(first.headers().contains_key("content-security-policy"));
        let mut again = HeaderMap::new();
        again.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let second = page_of(&Method::GET, "/", &again).unwrap();
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(page_of(&Method::POST, "/", &none).unwrap_err().status, 404);
        assert_eq!(page_of(&Method::GET, "/x", &none).unwrap_err().status, 404);
    }
}
