//! WebSockets: checked, given to a node, and joined to it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
        UPGRADE,
    },
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use metrics::counter;
use shared::{codes::ErrorCode, id::UserId, listener::Permit, problem::Problem};
use tokio::{net::TcpStream, time::timeout};

use super::{
    Body, SocketPlace, answer,
    handshake::{Answered, shake},
    reach::reach,
};
use crate::{
    door::{Sentry, Stream},
    nodes::{Backend, TunnelPlace},
    tunnel::{self, Carried, Carry},
};

/// How many nodes are asked before somebody is asked to come back later.
const TRIES: usize = 3;

/// Whether a request is a WebSocket handshake (RFC 6455, section 4.2).
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let headers = request.headers();
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    let with = |said: &str, status: StatusCode| {
        let mut problem = Problem::invalid(said);
        problem.status = status.as_u16();
        problem
    };
    if request.method() != Method::GET {
        let said = "a WebSocket is opened with GET";
        return Err(with(said, StatusCode::METHOD_NOT_ALLOWED));
    }
    let upgrade = request.version() == Version::HTTP_11
        && has(UPGRADE, "websocket")
        && has(CONNECTION, "upgrade");
    if !upgrade {
        let said = "this is a WebSocket: send `Upgrade: websocket` and `Connection: Upgrade`";
        return Err(with(said, StatusCode::UPGRADE_REQUIRED));
    }
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    if one(&SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let said = "only version 13 of the WebSocket protocol is spoken here";
        return Err(with(said, StatusCode::UPGRADE_REQUIRED));
    }
    if !one(&SEC_WEBSOCKET_KEY).is_some_and(|key| is_key(key.as_bytes())) {
        let said = "`Sec-WebSocket-Key` is missing or no base64 of 16 bytes";
        return Err(Problem::invalid(said));
    }
    Ok(())
}

fn is_key(key: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    // The last of 22 holds two bits that count and four that are none.
    key.len() == 24
        && key[..22].iter().all(word)
        && key.ends_with(b"==")
        && matches!(key[21], b'A' | b'Q' | b'g' | b'w')
}

/// What an upgrade is to be given.
pub(super) struct Wanted {
    /// The request as a node is to get it.
    pub(super) head: Vec<u8>,
    pub(super) user: UserId,
    pub(super) place: SocketPlace,
    pub(super) connect_timeout: Duration,
    pub(super) upgrade_timeout: Duration,
}

/// What a node opened, to be joined to a client's socket. Dropped, it is closed.
#[derive(Debug)]
pub struct Opened {
    node: TcpStream,
    /// What the node has said already.
    early: Bytes,
    place: TunnelPlace,
    user: SocketPlace,
}

/// What a node made of an upgrade.
enum Asked {
    Taken(TcpStream, Answered),
    Refused(Response<Body>),
    /// It takes nobody right now.
    Full,
    Failed(io::Error),
}

/// Asks one node after the other until one takes the client. Answers by whom it was answered, too.
pub(super) async fn open(
    wanted: Wanted,
    nodes: &[Arc<Backend>],
    later: Duration,
) -> Result<(Response<Body>, Arc<Backend>, Option<Opened>), Problem> {
    for node in nodes.iter().take(TRIES) {
        let place = node.tunnels().enter(&wanted.user);
        match ask(node, &wanted).await {
            Asked::Taken(stream, answered) => {
                node.worked();
                let answer = switching(answered.headers);
                let opened = Opened {
                    node: stream,
                    early: answered.rest,
                    place,
                    user: wanted.place,
                };
                return Ok((answer, node.clone(), Some(opened)));
            }
            Asked::Refused(answer) => {
                node.worked();
                return Ok((answer, node.clone(), None));
            }
            Asked::Full => {
                counter!("fireside_lb_fall_overs_total", "reason" => "full").increment(1);
            }
            Asked::Failed(error) => {
                tracing::debug!(node = node.name(), %error, "an upgrade failed");
                counter!("fireside_lb_fall_overs_total", "reason" => "failed").increment(1);
                node.failed();
            }
        }
    }
    let said = "no node takes new connections right now";
    Err(Problem::new(ErrorCode::Busy, said).retry_after(later))
}

async fn ask(node: &Backend, wanted: &Wanted) -> Asked {
    let reached = timeout(wanted.connect_timeout, reach(node.address(), &wanted.head)).await;
    let reached = reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (mut stream, said) = match reached {
        Ok(reached) => reached,
        Err(error) => return Asked::Failed(error),
    };
    let answered = shake(&mut stream, &wanted.head[said..]);
    match timeout(wanted.upgrade_timeout, answered).await {
        Ok(Ok(answered)) => match answered.status {
            StatusCode::SWITCHING_PROTOCOLS => Asked::Taken(stream, answered),
            StatusCode::SERVICE_UNAVAILABLE => Asked::Full,
            _ => Asked::Refused(refused(answered)),
        },
        Ok(Err(error)) => Asked::Failed(error),
        Err(_) => Asked::Failed(io::ErrorKind::TimedOut.into()),
    }
}

/// The node's refusal, for the client.
fn refused(answered: Answered) -> Response<Body> {
    let mut answer = Response::new(answer::body(answered.rest));
    *answer.status_mut() = answered.status;
    let headers = answer.headers_mut();
    *headers = answered.headers;
    super::headers::strip_hops(headers);
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    answer
}

/// The node's consent, for the client.
fn switching(mut taken: HeaderMap) -> Response<Body> {
    let mut answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    for name in [
        SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_EXTENSIONS,
    ] {
        if let Some(value) = taken.remove(&name) {
            headers.insert(name, value);
        }
    }
    answer
}

/// The task of a tunnel, with the places that it holds.
struct Joined {
    carry: Carry<Stream, TcpStream>,
    _held: (TunnelPlace, SocketPlace, Permit),
}

impl Future for Joined {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let carried = ready!(Pin::new(&mut self.carry).poll(cx));
        // What the network does is no event.
        if let Ok(Carried { up, down }) = carried {
            tracing::debug!(up, down, "a tunnel ended");
        }
        Poll::Ready(())
    }
}

impl Opened {
    /// Leaves both sockets to a task of their own, which is as small as they are. The client has said this much already.
    pub fn join(self, client: Stream, said: &[u8], permit: Permit) {
        let Self {
            node,
            early,
            place,
            user,
        } = self;
        let (number, tunnels) = (place.number(), place.tunnels());
        let task = actix_rt::spawn(Joined {
            carry: tunnel::carry(client, node, said, &early),
            _held: (place, user, permit),
        });
        tunnels.attach(number, task.abort_handle());
    }

    /// The same when the client's socket is out of HTTP.
    pub(super) async fn join_later(self, client: OnUpgrade) {
        let Ok(client) = client.await else {
            // It went away before it heard of it.
            return;
        };
        if let Some((client, said, permit)) = bare_client(client) {
            self.join(client, &said, permit);
        } else {
            tracing::error!("an upgraded socket is not the one it was");
        }
    }
}

fn bare_client(upgraded: Upgraded) -> Option<(Stream, Vec<u8>, Permit)> {
    let parts = upgraded.downcast::<TokioIo<Sentry>>().ok()?;
    let (stream, permit, unread) = parts.io.into_inner().into_parts();
    let mut early = parts.read_buf.to_vec();
    early.extend_from_slice(&unread);
    Some((stream, early, permit))
}

/// The lines of `Sec-WebSocket-Protocol`, which may hold the token.
pub(super) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    lines.filter_map(|line| line.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Request<()> {
        Request::builder()
            .uri("/v1/ws")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap()
    }

    #[test]
    fn a_tunnel_is_small_at_rest() {
        // There are tens of thousands of them.
        assert!(size_of::<Joined>() <= 256, "{}", size_of::<Joined>());
    }

    #[test]
    fn a_handshake_is_checked() {
        assert!(check(&good()).is_ok());
        let status = |change: &dyn Fn(&mut Request<()>)| {
            let mut request = good();
            change(&mut request);
            check(&request).unwrap_err().status
        };
        let without = |name: &'static str| {
            status(&move |request: &mut Request<()>| {
                request.headers_mut().remove(name);
            })
        };
        assert_eq!(without("connection"), 426);
        assert_eq!(without("upgrade"), 426);
        assert_eq!(without("sec-websocket-version"), 426);
        assert_eq!(without("sec-websocket-key"), 400);
        let with = |name: &'static str, value: &'static str| {
            status(&move |request: &mut Request<()>| {
                let value = HeaderValue::from_static(value);
                request.headers_mut().insert(name, value);
            })
        };
        assert_eq!(with("upgrade", "h2c"), 426);
        assert_eq!(with("sec-websocket-version", "8"), 426);
        for key in [
            "short",
            "dGhlIHNhbXBsZSBub25jZQ!!",
            "dGhlIHNhbXBsZSBub25jZR==",
            "",
        ] {
            assert_eq!(with("sec-websocket-key", key), 400, "{key}");
        }
        assert_eq!(status(&|request| *request.method_mut() = Method::POST), 405);
        assert_eq!(
            status(&|request| *request.version_mut() = Version::HTTP_2),
            426
        );
        let two = status(&|request| {
            let key = HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==");
            request.headers_mut().append("sec-websocket-key", key);
        });
        assert_eq!(two, 400);
    }
}
