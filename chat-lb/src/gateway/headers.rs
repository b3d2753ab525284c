//! The headers of a request on its way to a back end, and of an answer on its way back.

use std::{fmt, io::Write as _, net::IpAddr};

use hyper::{
    HeaderMap, Uri,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE},
    http::uri::PathAndQuery,
};
use shared::{
    network::{Network, forwarded_client},
    telemetry::RequestId,
};

use super::Trace;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// A request's name.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A request's place in a trace.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Whether a header concerns one connection alone.
fn is_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
    )
}

/// Whether a header says where a request came from, in words that only a balancer may use.
fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | "via"
                | "x-real-ip"
                | "x-client-ip"
                | "x-original-url"
                | "x-rewrite-url"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "x-http-method-override"
        )
}

/// What a request is for, as the client wrote it.
pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query()
        .map_or_else(|| uri.path(), PathAndQuery::as_str)
}

/// The text of a header of which there may be one; the empty text for what is none.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}

/// Who a request comes from: the peer, or whom a trusted proxy in front of us names.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR);
    let lines: Vec<&str> = lines.iter().filter_map(|line| line.to_str().ok()).collect();
    forwarded_client(peer, &lines, proxies)
}

/// What a back end is told of a request, besides what the client said.
pub(super) struct Told<'a> {
    /// The client's address, where it is known.
    pub(super) client: Option<IpAddr>,
    /// Whether the client came over TLS.
    pub(super) secure: bool,
    /// The request's name.
    pub(super) id: &'a RequestId,
    /// Its place in a trace.
    pub(super) trace: &'a Trace,
}

impl Told<'_> {
    /// Whether a header of the client's does not go on: it concerns our connection to the client alone, claims where the
    /// request is from, or is what we say.
    fn replaces(&self, name: &HeaderName, named: &[HeaderName]) -> bool {
        match name.as_str() {
            "content-length" | "transfer-encoding" | "expect" | "x-request-id" | "traceparent" => {
                true
            }
            "tracestate" => !self.trace.continued(),
            other => is_hop(other) || is_claim(other) || named.contains(name),
        }
    }

    /// What is said in their place.
    fn lines(&self, mut line: impl FnMut(HeaderName, &dyn fmt::Display)) {
        if let Some(client) = &self.client {
            line(FORWARDED_FOR, client);
        }
        line(FORWARDED_PROTO, &if self.secure { "https" } else { "http" });
        line(REQUEST_ID, self.id);
        line(TRACEPARENT, self.trace);
    }

    /// The headers of a request for a back end.
    pub(super) fn forward(&self, headers: &mut HeaderMap) {
        let named = named(headers);
        let gone = headers.keys().filter(|name| self.replaces(name, &named));
        let gone: Vec<HeaderName> = gone.cloned().collect();
        for name in gone {
            headers.remove(name);
        }
        self.lines(|name, value| {
            if let Ok(value) = HeaderValue::try_from(value.to_string()) {
                headers.insert(name, value);
            }
        });
    }

    /// The same as they go over the wire. No header that was read of another head can hold an end of line.
    pub(super) fn write(&self, headers: &HeaderMap, head: &mut Vec<u8>) {
        let named = named(headers);
        for (name, value) in headers {
            if !self.replaces(name, &named) {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    head.extend_from_slice(part);
                }
            }
        }
        self.lines(|name, value| {
            // Writing to a vector cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        });
    }
}

/// Takes away what concerns one connection alone, also what `Connection` names.
pub(super) fn strip_hops(headers: &mut HeaderMap) {
    let named = named(headers);
    let hops = headers.keys().filter(|name| is_hop(name.as_str()));
    let hops: Vec<HeaderName> = hops.cloned().collect();
    for name in hops.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// What `Connection` says to concern one connection alone.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    lines
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What is gone anyway, and what decides over the request: that is not a connection's to take away.
        .filter(|name: &HeaderName| {
            *name != UPGRADE && *name != HOST && *name != hyper::header::AUTHORIZATION
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn forwarded(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = map(lines);
        let (id, trace) = (RequestId::accept(Some("r1")), Trace::of(None));
        let told = Told {
            client: Some("203.0.113.9".parse().unwrap()),
            secure: true,
            id: &id,
            trace: &trace,
        };
        // Whichever way they go, they are the same.
        let mut wire = Vec::new();
        told.write(&headers, &mut wire);
        told.forward(&mut headers);
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let written = String::from_utf8(wire).unwrap();
        let written = written.lines().map(str::to_owned).collect();
        let kept = headers.iter();
        let kept = kept.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(sorted(written), sorted(kept.collect()));
        headers
    }

    #[test]
    fn claims_of_the_client_do_not_go_on() {
        let headers = forwarded(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("tracestate", "a=b"),
            ("x-request-id", "two words"),
        ]);
        let all = |name: &str| -> Vec<&str> {
            let values = headers.get_all(name).iter();
            values.map(|value| value.to_str().unwrap()).collect()
        };
        assert_eq!(all("x-forwarded-for"), ["203.0.113.9"]);
        assert_eq!(all("x-forwarded-proto"), ["https"]);
        assert_eq!(all("x-request-id"), ["r1"]);
        for gone in ["x-forwarded-host", "x-real-ip", "forwarded", "tracestate"] {
            assert!(all(gone).is_empty(), "{gone}");
        }
    }

    #[test]
    fn what_is_of_the_connection_stays_there() {
        let headers = forwarded(&[
            ("host", "chat.example"),
            ("connection", "keep-alive, x-secret, host, authorization"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("content-length", "5"),
            ("expect", "100-continue"),
            ("authorization", "Bearer x"),
            ("accept", "text/html"),
        ]);
        for gone in [
            "connection",
            "x-secret",
            "keep-alive",
            "te",
            "content-length",
            "expect",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        for stays in ["host", "authorization", "accept"] {
            assert!(headers.contains_key(stays), "{stays}");
        }
    }

    #[test]
    fn a_proxy_before_us_is_believed_only_where_we_trust_it() {
        let proxies: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        let headers = map(&[("x-forwarded-for", "1.1.1.1, 203.0.113.9")]);
        let of = |peer: &str| client(peer.parse().unwrap(), &headers, &proxies);
        assert_eq!(of("10.0.0.1"), Some("203.0.113.9".parse().unwrap()));
        assert_eq!(of("198.51.100.1"), Some("198.51.100.1".parse().unwrap()));
    }
}
