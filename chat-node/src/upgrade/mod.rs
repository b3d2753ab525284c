//! The way from an HTTP request to a session's socket.
//!
//! Everything that can be said no to is said in HTTP, as problem JSON, before the upgrade: a
//! client without a good token never costs more than one answer. What is let through leaves the
//! HTTP stack as a bare socket with the bytes that were read too far.
//!
//! The checks go from cheap to dear: shape of the request, `Origin`, the address's bucket,
//! whether this node takes anybody, the token's signature, the user's bucket.

mod extensions;
mod negotiation;
mod refusal;

use std::{net::IpAddr, sync::Arc};

use actix_codec::Framed;
use actix_http::{
    ConnectionType, Request, Response,
    body::MessageBody as _,
    h1::{self, SendResponse},
    ws::hash_key,
};
use actix_web::{
    HttpResponse,
    http::header::{HOST, HeaderMap, HeaderValue, ORIGIN},
};
use bytes::BytesMut;
use metrics::counter;
use shared::{
    auth::{Auth, Claims, TokenError, bearer_from_protocols},
    id::UserId,
    limits::{Limiter, Quota, address_key},
    network::{Network, client_address},
    origin,
    protocol::codec::Encoding,
    settings::{Report, Settings},
    telemetry::Metric,
    trace::{self, TraceContext},
};
use tokio::net::TcpStream;

use crate::{
    server::{Connection, Permit},
    transport::Agreed,
};

pub use refusal::Refusal;
pub use shared::origin::{InvalidOrigin, Origin};

/// Where the WebSocket is.
pub const PATH: &str = "/v1/ws";

/// Addresses and users whose buckets are kept apart; past that, newcomers share some.
const MAX_BUCKETS: usize = 100_000;

/// The settings about upgrades.
#[derive(Debug, Clone, clap::Args)]
pub struct UpgradeSettings {
    /// Origins besides our own whose pages may connect, such as `https://play.example`; `*` for all
    #[arg(long, value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,
    /// How often one address may try to open a WebSocket; balancers apart
    #[arg(long, default_value = "20/s burst 100")]
    pub upgrades_per_address: Quota,
    /// How often one user may open a WebSocket
    #[arg(long, default_value = "2/s burst 32")]
    pub upgrades_per_user: Quota,
    /// Compress messages to clients that offer permessage-deflate: fewer bytes, more CPU
    #[arg(long)]
    pub deflate: bool,
}

impl Settings for UpgradeSettings {
    fn validate(&self, _: &mut Report) {}
}

/// A socket that was let in.
#[derive(Debug)]
pub struct Upgraded {
    /// The bare socket, the 101 written.
    pub stream: TcpStream,
    /// What the client sent behind its request already.
    pub unread: BytesMut,
    /// The place among the connections; it is free again when this is dropped.
    pub permit: Permit,
    /// Who it is.
    pub claims: Claims,
    /// What was agreed on.
    pub agreed: Agreed,
    /// Where from, for logs; `None` behind a balancer that does not say.
    pub address: Option<IpAddr>,
    /// The step that opened it, where whoever asked says so and messages are followed.
    pub opened: Option<TraceContext>,
}

/// Says for how long this node takes no new sockets; `None` when it does.
pub type Closed = dyn Fn() -> Option<std::time::Duration> + Send + Sync;
/// Takes over a socket that was let in; called on the worker that accepted it.
pub type Greet = dyn Fn(Upgraded) + Send + Sync;

/// Everything that deciding about an upgrade takes.
pub struct Upgrades {
    auth: Auth,
    origins: Vec<Origin>,
    deflate: bool,
    proxies: Vec<Network>,
    per_address: Limiter<IpAddr>,
    per_user: Limiter<UserId>,
    closed: Box<Closed>,
    greet: Box<Greet>,
}

impl std::fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrades")
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Upgrades {
    /// Tokens are judged by `auth`; while `closed` says so nobody is let in; who is goes to `greet`.
    pub fn new(
        settings: &UpgradeSettings,
        proxies: Vec<Network>,
        auth: Auth,
        closed: Box<Closed>,
        greet: Box<Greet>,
    ) -> Self {
        Self {
            auth,
            origins: settings.allowed_origins.clone(),
            deflate: settings.deflate,
            proxies,
            per_address: Limiter::new(settings.upgrades_per_address, MAX_BUCKETS),
            per_user: Limiter::new(settings.upgrades_per_user, MAX_BUCKETS),
            closed,
            greet,
        }
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        let host = text(HOST).unwrap_or_default();
        let welcome = origin::is_welcome(text(ORIGIN), host, &self.origins);
        welcome.then_some(()).ok_or(Refusal::Origin)
    }

    async fn judge(&self, request: &Request) -> Result<Admitted, Refusal> {
        let head = request.head();
        if request.path() != PATH {
            return Err(Refusal::Path);
        }
        negotiation::check_handshake(head)?;
        self.check_origin(&head.headers)?;
        let peer = head.peer_addr.map(|peer| peer.ip());
        let address = peer.and_then(|peer| client_address(peer, &head.headers, &self.proxies));
        if let Some(address) = address {
            let decision = self.per_address.check(&address_key(address));
            decision.allowed().map_err(Refusal::AddressLimit)?;
        }
        if let Some(wait) = (self.closed)() {
            return Err(Refusal::Closed(wait));
        }
        let token = bearer_from_protocols(&head.headers).map_err(Refusal::Token)?;
        let claims = self
            .auth
            .authenticate(token)
            .await
            .map_err(Refusal::Token)?;
        if claims.is_service() {
            return Err(Refusal::Token(TokenError::WrongScope));
        }
        let decision = self.per_user.check(&claims.sub);
        decision.allowed().map_err(Refusal::UserLimit)?;
        let (encoding, named) = negotiation::choose_protocol(&head.headers)?;
        let deflate = self.deflate.then(|| extensions::choose(&head.headers));
        let opened = trace::clock().and_then(|_| head.headers.get("traceparent")?.to_str().ok());
        Ok(Admitted {
            claims,
            encoding,
            named,
            deflate: deflate.flatten(),
            address,
            opened: opened.and_then(TraceContext::parse),
        })
    }
}

struct Admitted {
    claims: Claims,
    encoding: Encoding,
    /// Whether the client named the subprotocol, so that the answer has to.
    named: bool,
    /// How permessage-deflate is answered, if it was agreed on.
    deflate: Option<&'static str>,
    address: Option<IpAddr>,
    opened: Option<TraceContext>,
}

/// Answers an upgrade request, and hands the socket over if the answer is yes.
pub(crate) async fn upgrade(
    upgrades: Arc<Upgrades>,
    request: Request,
    framed: Framed<Connection, h1::Codec>,
) {
    let answered = match upgrades.judge(&request).await {
        Ok(admitted) => switch(&upgrades, &request, framed, admitted).await,
        Err(refusal) => refuse(framed, &refusal).await,
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "the client went away during its upgrade");
    }
}

async fn switch(
    upgrades: &Upgrades,
    request: &Request,
    framed: Framed<Connection, h1::Codec>,
    admitted: Admitted,
) -> Result<(), std::io::Error> {
    let key = request.head().headers.get("sec-websocket-key");
    let accept = hash_key(key.map(HeaderValue::as_bytes).unwrap_or_default());
    let parts = framed.into_parts();
    let (stream, permit) = parts.io.into_parts();

    // Answers to requests that came before on this connection may not be written yet.
    let mut answer = parts.write_buf;
    answer.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    answer.extend_from_slice(&accept);
    if admitted.named {
        answer.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        answer.extend_from_slice(admitted.encoding.subprotocol().as_bytes());
    }
    if let Some(deflate) = admitted.deflate {
        answer.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        answer.extend_from_slice(deflate.as_bytes());
    }
    answer.extend_from_slice(b"\r\n\r\n");
    while !answer.is_empty() {
        stream.writable().await?;
        match stream.try_write(&answer) {
            Ok(written) => drop(answer.split_to(written)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    // A copy: the buffer it stands in has room for many kilobytes that would live as long.
    let unread = BytesMut::from(&parts.read_buf[..]);
    let Admitted {
        claims,
        encoding,
        deflate,
        address,
        opened,
        ..
    } = admitted;
    let agreed = Agreed {
        encoding,
        deflate: deflate.is_some(),
    };
    (upgrades.greet)(Upgraded {
        stream,
        unread,
        permit,
        claims,
        agreed,
        address,
        opened,
    });
    Ok(())
}

async fn refuse(
    framed: Framed<Connection, h1::Codec>,
    refusal: &Refusal,
) -> Result<(), std::io::Error> {
    counter!("fireside_upgrades_refused_total", "reason" => refusal.word()).increment(1);
    tracing::debug!(reason = refusal.word(), "upgrade refused: {refusal}");
    let mut response = Response::from(refusal.response());
    response
        .head_mut()
        .set_connection_type(ConnectionType::Close);
    // A problem is one piece of bytes, and these cannot fail on the way.
    let response = response.map_body(|_, body| body.try_into_bytes().unwrap_or_default());
    let framed = SendResponse::new(framed, response).await;
    let mut framed = framed.map_err(|error| std::io::Error::other(error.to_string()))?;
    tokio::io::AsyncWriteExt::shutdown(framed.io_mut()).await
}

/// The answer to a plain request where a WebSocket is: 426.
pub(crate) async fn not_an_upgrade() -> HttpResponse {
    Refusal::NoUpgrade.response()
}

/// The metrics of this module.
pub const METRICS: &[Metric] = &[Metric::counter(
    "fireside_upgrades_refused_total",
    "WebSocket upgrades answered with an HTTP error",
)
.by(&["reason"])];
