//! What is wrong with the head of an HTTP/2 request: pure.
//!
//! Where a request ends its frames say, and what contradicts them, or concerns one connection alone, the HTTP stack has
//! refused. This is about what whoever stands behind us would be told in HTTP/1.1, and could read in two ways there.

use hyper::{
    Request,
    header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
    http::uri::PathAndQuery,
};

use super::head::{Flaw, MAX_HEADERS, MAX_LINE, has_no_body, number};

/// What is wrong with it, if anything is. To be asked before the name under which we were asked is made a `Host`.
pub fn judge<B>(request: &Request<B>) -> Option<Flaw> {
    let (uri, headers) = (request.uri(), request.headers());
    let authority = uri.authority().map(|name| name.as_str().as_bytes());
    let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let named = match (authority, hosts.next()) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    };
    let whose = authority.is_some_and(|name| name.contains(&b'@'));
    if !named || whose || hosts.next().is_some() {
        return Some(Flaw::Host);
    }
    if !uri.path().starts_with('/') {
        return Some(Flaw::Target);
    }
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > MAX_LINE {
        return Some(Flaw::LineTooLong);
    }
    if headers.len() > MAX_HEADERS {
        return Some(Flaw::HeadTooLong);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return Some(Flaw::Encoding);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let Some(length) = number(length.as_bytes()).filter(|_| lengths.next().is_none()) else {
            return Some(Flaw::Length);
        };
        if length > 0 && has_no_body(request.method().as_str()) {
            return Some(Flaw::Body);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str, headers: &[(&str, &str)]) -> Option<Flaw> {
        of_method("POST", uri, headers)
    }

    fn of_method(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<Flaw> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        judge(&request.body(()).unwrap())
    }

    const TARGET: &str = "https://chat.example/v1/rooms";

    #[test]
    fn honest_requests_pass() {
        assert_eq!(of(TARGET, &[]), None);
        assert_eq!(of(TARGET, &[("host", "Chat.Example")]), None);
        assert_eq!(of("/v1/rooms", &[("host", "chat.example")]), None);
        assert_eq!(of(TARGET, &[("content-length", "5")]), None);
        assert_eq!(of_method("GET", TARGET, &[("content-length", "0")]), None);
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for (uri, hosts) in [
            (TARGET, &["evil.example"][..]),
            (TARGET, &["chat.example", "chat.example"]),
            ("/v1/rooms", &["chat.example", "evil.example"]),
            ("/v1/rooms", &[]),
            ("https://me@chat.example/v1/rooms", &[]),
        ] {
            let headers: Vec<(&str, &str)> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(of(uri, &headers), Some(Flaw::Host), "{uri} {hosts:?}");
        }
        for lengths in [&["0", "5"][..], &["5", "5"], &["+5"], &["5, 5"], &[""]] {
            let headers: Vec<_> = lengths.iter().map(|n| ("content-length", *n)).collect();
            assert_eq!(of(TARGET, &headers), Some(Flaw::Length), "{lengths:?}");
        }
        let chunked = [("transfer-encoding", "chunked")];
        assert_eq!(of(TARGET, &chunked), Some(Flaw::Encoding));
        let body = [("content-length", "5")];
        assert_eq!(of_method("GET", TARGET, &body), Some(Flaw::Body));
        let target = of_method("CONNECT", "chat.example:443", &[]);
        assert_eq!(target, Some(Flaw::Target));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = format!("{TARGET}?{}", "a".repeat(MAX_LINE));
        assert_eq!(of(&long, &[]), Some(Flaw::LineTooLong));
        let many = vec![("x", "a"); MAX_HEADERS + 1];
        assert_eq!(of(TARGET, &many), Some(Flaw::HeadTooLong));
    }
}
