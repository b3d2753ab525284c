//! The upgrade request, with every way to carry the token.

use shared::protocol::{BEARER_PREFIX, codec::Encoding};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        Error,
        client::IntoClientRequest as _,
        http::{HeaderName, HeaderValue},
        protocol::WebSocketConfig,
    },
};

use super::WsClient;

/// How much is read at once. The library fills as much with zeros before each read, and thousands of clients
/// are told little at a time.
const READ: usize = 4 * 1024;

/// How the access token travels in the upgrade.
#[derive(Debug, Clone)]
pub enum Authorization {
    /// Not at all.
    None,
    /// In the `Authorization` header.
    Header(String),
    /// As an offered subprotocol, as browsers must.
    Subprotocol(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server answered with something else than an upgrade.
    #[error("HTTP {status}: {body}")]
    Http {
        /// The status.
        status: u16,
        /// Its `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// No connection, or a broken handshake.
    #[error("cannot connect: {0}")]
    Broken(String),
    /// The server upgraded to a subprotocol that was not asked for.
    #[error("against the contract: {0}")]
    Contract(String),
}

impl ConnectError {
    /// The HTTP status of a refused upgrade.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Http { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Connector {
    /// `host:port`.
    pub address: String,
    /// The encoding to offer.
    pub encoding: Encoding,
    /// Offer no encoding's subprotocol; JSON it is then.
    pub offer_none: bool,
    /// The token.
    pub authorization: Authorization,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl Connector {
    /// To `address` (`host:port`, or an `http://` origin) in JSON without a token.
    pub fn new(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        Self {
            address: address.to_owned(),
            encoding: Encoding::Json,
            offer_none: false,
            authorization: Authorization::None,
            headers: Vec::new(),
        }
    }

    /// In this encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// With the token in the header.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.authorization = Authorization::Header(token.to_owned());
        self
    }

    /// With the token as a subprotocol.
    #[must_use]
    pub fn token_as_subprotocol(mut self, token: &str) -> Self {
        self.authorization = Authorization::Subprotocol(token.to_owned());
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Offers no encoding's subprotocol.
    #[must_use]
    pub fn without_subprotocol(mut self) -> Self {
        self.offer_none = true;
        self
    }

    /// Connects and upgrades.
    pub async fn connect(&self) -> Result<WsClient, ConnectError> {
        let broken = |what: &dyn std::fmt::Display| ConnectError::Broken(what.to_string());
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|e| broken(&e))?;
        stream.set_nodelay(true).map_err(|e| broken(&e))?;
        let mut request = format!("ws://{}/v1/ws", self.address)
            .into_client_request()
            .map_err(|e| broken(&e))?;
        let mut offered: Vec<String> = Vec::new();
        if !self.offer_none {
            offered.push(self.encoding.subprotocol().to_owned());
        }
        let headers = request.headers_mut();
        let mut put = |name: &str, value: &str| -> Result<(), ConnectError> {
            let name: HeaderName = name.parse().map_err(|e| broken(&e))?;
            headers.insert(name, HeaderValue::from_str(value).map_err(|e| broken(&e))?);
            Ok(())
        };
        match &self.authorization {
            Authorization::None => {}
            Authorization::Header(token) => put("Authorization", &format!("Bearer {token}"))?,
            Authorization::Subprotocol(token) => offered.push(format!("{BEARER_PREFIX}{token}")),
        }
        if !offered.is_empty() {
            put("Sec-WebSocket-Protocol", &offered.join(", "))?;
        }
        for (name, value) in &self.headers {
            put(name, value)?;
        }
        let config = WebSocketConfig::default().read_buffer_size(READ);
        let connected = client_async_with_config(request, stream, Some(config)).await;
        let (socket, response) = match connected {
            Ok(connected) => connected,
            Err(Error::Http(response)) => {
                let content_type = response.headers().get("content-type");
                return Err(ConnectError::Http {
                    status: response.status().as_u16(),
                    content_type: content_type
                        .and_then(|v| v.to_str().ok())
                        .unwrap_or_default()
                        .to_owned(),
                    body: response
                        .body()
                        .as_deref()
                        .map(|b| String::from_utf8_lossy(b).into_owned())
                        .unwrap_or_default(),
                });
            }
            Err(other) => return Err(broken(&other)),
        };
        let chosen = response.headers().get("sec-websocket-protocol");
        let chosen = chosen.and_then(|v| v.to_str().ok());
        let expected = (!self.offer_none).then(|| self.encoding.subprotocol());
        if chosen != expected {
            return Err(ConnectError::Contract(format!(
                "offered {expected:?}, and the server chose {chosen:?}"
            )));
        }
        Ok(WsClient::over(socket, self.encoding))
    }
}
