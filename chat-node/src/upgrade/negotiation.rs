//! The handshake of RFC 6455, section 4.2, and the choice of a subprotocol.

use actix_http::{
    RequestHead,
    ws::{HandshakeError, verify_handshake},
};
use actix_web::http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use shared::protocol::{BEARER_PREFIX, codec::Encoding};

use super::Refusal;

/// Whether the request is a well-formed WebSocket handshake.
pub(super) fn check_handshake(head: &RequestHead) -> Result<(), Refusal> {
    if head.version < actix_web::http::Version::HTTP_11 {
        return Err(Refusal::NoUpgrade);
    }
    verify_handshake(head).map_err(|error| match error {
        HandshakeError::GetMethodRequired => Refusal::Method,
        HandshakeError::NoWebsocketUpgrade | HandshakeError::NoConnectionUpgrade => {
            Refusal::NoUpgrade
        }
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => Refusal::Version,
        HandshakeError::BadWebsocketKey => Refusal::Key,
    })
}

/// The first known subprotocol in the client's order, and whether the client named it. None
/// offered (a token apart) is JSON. Some offered and none of them known is refused: whoever names
/// subprotocols expects one of them, and a browser fails the connection if it gets none.
pub(super) fn choose_protocol(headers: &HeaderMap) -> Result<(Encoding, bool), Refusal> {
    let mut offered = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !protocol.starts_with(BEARER_PREFIX))
        .peekable();
    if offered.peek().is_none() {
        return Ok((Encoding::Json, false));
    }
    let known = offered.find_map(Encoding::of_subprotocol);
    known
        .map(|encoding| (encoding, true))
        .ok_or(Refusal::Protocol)
}

#[cfg(test)]
mod tests {
    use actix_http::test::TestRequest;
    use actix_web::http::{Method, header::HeaderValue};

    use super::*;

    fn protocols(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn the_clients_order_decides_among_known_subprotocols() {
        let chosen = |lines: &[&str]| choose_protocol(&protocols(lines));
        assert_eq!(chosen(&[]), Ok((Encoding::Json, false)));
        assert_eq!(chosen(&["bearer.a.b.c"]), Ok((Encoding::Json, false)));
        let both = ["fireside.v1.msgpack, fireside.v1.json"];
        assert_eq!(chosen(&both), Ok((Encoding::MsgPack, true)));
        let apart = ["fireside.v9.json", "bearer.x", "fireside.v1.json"];
        assert_eq!(chosen(&apart), Ok((Encoding::Json, true)));
        assert_eq!(chosen(&["chat, bearer.x"]), Err(Refusal::Protocol));
    }

    #[test]
    fn the_handshake_is_checked() {
        let good = || {
            let mut request = TestRequest::default();
            request
                .insert_header(("upgrade", "websocket"))
                .insert_header(("connection", "Upgrade"))
                .insert_header(("sec-websocket-version", "13"))
                .insert_header(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
            request
        };
        let check = |mut request: TestRequest| {
            let mut request = request.finish();
            // As the parser does on `Connection: Upgrade`.
            request
                .head_mut()
                .set_connection_type(actix_http::ConnectionType::Upgrade);
            check_handshake(request.head())
        };
        assert_eq!(check(good()), Ok(()));
        let cases: [(&str, &str, Refusal); 4] = [
            ("sec-websocket-version", "8", Refusal::Version),
            ("sec-websocket-key", "short", Refusal::Key),
            (
                "sec-websocket-key",
                "dGhlIHNhbXBsZSBub25jZQ!!",
                Refusal::Key,
            ),
            ("upgrade", "h2c", Refusal::NoUpgrade),
        ];
        for (name, value, refusal) in cases {
            let mut request = good();
            request.insert_header((name, value));
            assert_eq!(check(request), Err(refusal), "{name}: {value}");
        }
        let mut post = good();
        post.method(Method::POST);
        assert_eq!(check(post), Err(Refusal::Method));
    }
}
