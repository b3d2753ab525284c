//! The headers of a request on its way to a back end, and of an answer on its way back.

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
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
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What concerns one connection alone.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    UPGRADE,
];

/// Where a request came from, in words that only a balancer may use.
const CLAIMS: [&str; 9] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-original-url",
    "x-rewrite-url",
    "true-client-ip",
    "cf-connecting-ip",
    "x-http-method-override",
];

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

/// Takes away what concerns our connection to the client alone and every claim of where the request is
/// from, and says where it is from.
pub(super) fn forward(headers: &mut HeaderMap, told: &Told<'_>) {
    strip_hops(headers);
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT] {
        headers.remove(name);
    }
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("x-forwarded-") || CLAIMS.contains(&name)
        })
        .cloned()
        .collect();
    for claim in claims {
        headers.remove(claim);
    }
    if !told.trace.continued() {
        headers.remove(TRACESTATE);
    }
    let client = told.client.map(|client| client.to_string());
    let values = [
        (FORWARDED_FOR, client),
        (
            FORWARDED_PROTO,
            Some(if told.secure { "https" } else { "http" }.to_owned()),
        ),
        (REQUEST_ID, Some(told.id.to_string())),
        (TRACEPARENT, Some(told.trace.traceparent())),
    ];
    for (name, value) in values {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Takes away what concerns one connection alone, also what `Connection` names.
pub(super) fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What decides over the request is not a connection's to take away.
        .filter(|name: &HeaderName| *name != HOST && *name != hyper::header::AUTHORIZATION)
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
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
        forward(
            &mut headers,
            &Told {
                client: Some("203.0.113.9".parse().unwrap()),
                secure: true,
                id: &id,
                trace: &trace,
            },
        );
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
