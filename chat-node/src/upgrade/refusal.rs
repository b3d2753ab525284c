//! Why an upgrade is refused, and how that is said in HTTP.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError as _,
    http::{
        StatusCode,
        header::{ALLOW, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
};
use shared::{
    auth::TokenError,
    codes::ErrorCode,
    problem::Problem,
    protocol::{SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK},
};

/// Why there is no upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The WebSocket is elsewhere.
    #[error("there is no WebSocket here; it is at {}", super::PATH)]
    Path,
    /// RFC 6455 wants GET.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// A plain request.
    #[error("this is a WebSocket: send `Upgrade: websocket` and `Connection: Upgrade`")]
    NoUpgrade,
    /// Not version 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// The key is missing or not 16 bytes of base64.
    #[error("`Sec-WebSocket-Key` is missing or no base64 of 16 bytes")]
    Key,
    /// None of the offered subprotocols is known.
    #[error("offer the subprotocol {SUBPROTOCOL_JSON} or {SUBPROTOCOL_MSGPACK}, or none")]
    Protocol,
    /// A page of another origin.
    #[error("pages of this origin may not connect")]
    Origin,
    /// The token does not hold.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The address tries too often.
    #[error("too many connections from this address")]
    AddressLimit(Duration),
    /// The user tries too often.
    #[error("too many connections of this user")]
    UserLimit(Duration),
    /// The node drains or sheds load.
    #[error("this node takes no new connections right now")]
    Closed(Duration),
}

impl Refusal {
    /// The reason as a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Method => "method",
            Self::NoUpgrade => "no_upgrade",
            Self::Version => "version",
            Self::Key => "key",
            Self::Protocol => "protocol",
            Self::Origin => "origin",
            Self::Token(_) => "token",
            Self::AddressLimit(_) => "address_limit",
            Self::UserLimit(_) => "user_limit",
            Self::Closed(_) => "closed",
        }
    }

    /// The answer.
    pub fn response(&self) -> HttpResponse {
        let text = self.to_string();
        let problem = match self {
            Self::Path => Problem::not_found(text),
            Self::Method => Problem::invalid(text).with_status(StatusCode::METHOD_NOT_ALLOWED),
            Self::NoUpgrade | Self::Version => {
                Problem::invalid(text).with_status(StatusCode::UPGRADE_REQUIRED)
            }
            Self::Key | Self::Protocol => Problem::invalid(text),
            Self::Origin => Problem::new(ErrorCode::Forbidden, text),
            Self::Token(error) => error.clone().into(),
            Self::AddressLimit(wait) | Self::UserLimit(wait) => {
                Problem::new(ErrorCode::RateLimited, text).retry_after(*wait)
            }
            Self::Closed(wait) => Problem::new(ErrorCode::Busy, text).retry_after(*wait),
        };
        let mut response = problem.error_response();
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            Self::NoUpgrade | Self::Version => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }
}
