//! Where a token stands in a request.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};

use super::TokenError;

/// The prefix of the subprotocol a browser puts its token into, having no other way to send it.
const PROTOCOL_PREFIX: &str = "bearer.";

/// How service tokens begin that a store made: opaque, and the store's alone to judge.
pub const STORE_TOKEN: &str = "fsvc_";

/// The token of `Authorization: Bearer TOKEN`.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, TokenError> {
    bearer(authorization(headers))
}

/// The token in the value of `Authorization`, if there is one; what is no text is the empty one.
pub fn bearer(authorization: Option<&str>) -> Result<&str, TokenError> {
    let value = authorization.ok_or(TokenError::Missing)?;
    let malformed = || TokenError::Malformed("`Authorization` is not `Bearer TOKEN`".to_owned());
    let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(malformed());
    }
    Ok(token.trim())
}

/// The token of an upgrade request: the header, or an offered subprotocol `bearer.TOKEN`.
///
/// A request that carries two different tokens is refused rather than guessed about.
pub fn bearer_from_protocols(headers: &HeaderMap) -> Result<&str, TokenError> {
    let lines = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok());
    bearer_of_upgrade(authorization(headers), lines)
}

/// The same from the value of `Authorization` and the lines of `Sec-WebSocket-Protocol`.
pub fn bearer_of_upgrade<'a>(
    authorization: Option<&'a str>,
    protocols: impl Iterator<Item = &'a str>,
) -> Result<&'a str, TokenError> {
    let mut offered = protocols
        .flat_map(|value| value.split(','))
        .filter_map(|protocol| protocol.trim().strip_prefix(PROTOCOL_PREFIX));
    let from_protocol = offered.next();
    let two = || TokenError::Malformed("two tokens in one request".to_owned());
    if offered.any(|other| Some(other) != from_protocol) {
        return Err(two());
    }
    match (bearer(authorization), from_protocol) {
        (Err(TokenError::Missing), Some(token)) if !token.is_empty() => Ok(token),
        (Ok(token), Some(other)) if token != other => Err(two()),
        (verdict, _) => verdict,
    }
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?;
    Some(value.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(authorization: Option<&str>, protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        for value in protocols {
            headers.append(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn the_header_is_read() {
        assert_eq!(
            bearer_token(&headers(Some("Bearer a.b.c"), &[])),
            Ok("a.b.c")
        );
        assert_eq!(
            bearer_token(&headers(Some("bearer  a.b.c"), &[])),
            Ok("a.b.c")
        );
        assert_eq!(bearer_token(&headers(None, &[])), Err(TokenError::Missing));
        for bad in ["a.b.c", "Basic eA==", "Bearer ", "Bearer"] {
            let headers = headers(Some(bad), &[]);
            let verdict = bearer_token(&headers);
            assert!(matches!(verdict, Err(TokenError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_browser_offers_a_subprotocol() {
        let both = headers(None, &["fireside.v1.json, bearer.a.b.c"]);
        assert_eq!(bearer_from_protocols(&both), Ok("a.b.c"));
        let apart = headers(None, &["fireside.v1.json", "bearer.a.b.c"]);
        assert_eq!(bearer_from_protocols(&apart), Ok("a.b.c"));
        let none = headers(None, &["fireside.v1.json"]);
        assert_eq!(bearer_from_protocols(&none), Err(TokenError::Missing));
        let empty = headers(None, &["bearer."]);
        assert_eq!(bearer_from_protocols(&empty), Err(TokenError::Missing));
    }

    #[test]
    fn two_tokens_are_refused() {
        let same = headers(Some("Bearer x"), &["bearer.x"]);
        assert_eq!(bearer_from_protocols(&same), Ok("x"));
        for two in [
            headers(Some("Bearer x"), &["bearer.y"]),
            headers(None, &["bearer.x, bearer.y"]),
        ] {
            assert!(matches!(
                bearer_from_protocols(&two),
                Err(TokenError::Malformed(_))
            ));
        }
    }
}
