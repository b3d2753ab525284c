//! A WebSocket handshake with a node, on a socket of its own: one write, which goes [with the connection](super::reach), and as
//! many reads as the answer takes.
//!
//! A connection of an HTTP client would be a task, channels and buffers, all of which end with the upgrade, for each of
//! those who come back at once when a node was lost.

use std::{io, mem::MaybeUninit};

use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::headers::{Told, path_and_query};

/// The longest head of a node's answer.
const LONGEST_HEAD: usize = 16 << 10;
/// The longest refusal of a node that is passed on.
const LONGEST_REFUSAL: usize = 16 << 10;
/// The most headers of an answer.
const MOST_HEADERS: usize = 64;

/// What a node answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// What came behind the head: the first frames, or the refusal.
    pub(super) rest: Bytes,
}

/// The head of a request for an upgrade, as a node is to get it.
pub(super) fn request(target: &Uri, headers: &HeaderMap, told: &Told<'_>) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    for part in ["GET ", path_and_query(target), " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    told.write(headers, &mut head);
    head.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    head
}

/// Asks, with as much of the request as was not said yet, and reads the answer, with its body if it is a refusal.
pub(super) async fn shake<S>(stream: &mut S, unsaid: &[u8]) -> io::Result<Answered>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(unsaid).await?;
    let mut bytes = Vec::with_capacity(1024);
    let (length, mut answered) = loop {
        match read(&bytes)? {
            // News of what will be answered, which is none yet.
            Some((length, answered))
                if answered.status.is_informational()
                    && answered.status != StatusCode::SWITCHING_PROTOCOLS =>
            {
                bytes.drain(..length);
            }
            Some(whole) => break whole,
            None if bytes.len() > LONGEST_HEAD => return Err(broken("a head that is too long")),
            None => more(stream, &mut bytes).await?,
        }
    };
    if answered.status != StatusCode::SWITCHING_PROTOCOLS {
        let end = length + body_length(&answered.headers)?;
        while bytes.len() < end {
            more(stream, &mut bytes).await?;
        }
        bytes.truncate(end);
    }
    // A copy: the buffer it stands in has room that would live as long.
    answered.rest = Bytes::copy_from_slice(&bytes[length..]);
    Ok(answered)
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The head that `bytes` begin with and its length; nothing while it is not whole.
fn read(bytes: &[u8]) -> io::Result<Option<(usize, Answered)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut lines);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for line in &*response.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(broken)?;
        let value = HeaderValue::from_bytes(line.value).map_err(broken)?;
        headers.append(name, value);
    }
    let answered = Answered {
        status: status.ok_or_else(|| broken("a status that is none"))?,
        headers,
        rest: Bytes::new(),
    };
    Ok(Some((length, answered)))
}

/// How long a refusal is. Nodes say so; what is told otherwise, or is too long, is not passed on.
fn body_length(headers: &HeaderMap) -> io::Result<usize> {
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(0);
    };
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(broken("a length beside an encoding"));
    }
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    let length: usize = length.ok_or_else(|| broken("a length that is none"))?;
    Ok(if length > LONGEST_REFUSAL { 0 } else { length })
}

fn broken(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use shared::telemetry::RequestId;

    use super::{super::Trace, *};

    /// What is made of an answer that comes in these pieces, after which the node is silent or has ended.
    async fn answered(pieces: &[&str], ends: bool) -> io::Result<Answered> {
        let (mut client, mut node) = tokio::io::duplex(4096);
        let asked = b"GET /v1/ws HTTP/1.1\r\n\r\n";
        let asks = shake(&mut client, asked);
        let answers = async {
            let mut heard = vec![0; asked.len()];
            node.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, asked);
            for piece in pieces {
                node.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            if ends {
                node.shutdown().await.unwrap();
            }
        };
        tokio::join!(asks, answers).0
    }

    #[test]
    fn a_node_is_asked_with_what_the_client_said_and_what_we_say() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "chat.example"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("x-two", "1"),
            ("x-two", "2"),
            ("x-forwarded-for", "198.51.100.1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let (id, trace) = (RequestId::accept(Some("r1")), Trace::of(None));
        let told = Told {
            client: Some("203.0.113.9".parse().unwrap()),
            secure: false,
            id: &id,
            trace: &trace,
        };
        let head = request(&Uri::from_static("/v1/ws?a=b"), &headers, &told);
        let wanted = format!(
            "GET /v1/ws?a=b HTTP/1.1\r\nhost: chat.example\r\nx-two: 1\r\nx-two: 2\r\n\
             x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: http\r\nx-request-id: r1\r\n\
             traceparent: {trace}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
        );
        assert_eq!(String::from_utf8(head).unwrap(), wanted);
    }

    #[tokio::test]
    async fn consent_may_come_in_pieces_and_with_the_first_frames() {
        let pieces = [
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Pro",
            "tocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x",
            "yz\r\n\r\n\u{1}frames",
        ];
        let answered = answered(&pieces, false).await.unwrap();
        assert_eq!(answered.status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answered.headers["sec-websocket-accept"], "xyz");
        assert_eq!(answered.rest, "\u{1}frames");
    }

    #[tokio::test]
    async fn a_refusal_comes_with_its_body() {
        let pieces = [
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\n{\"",
            "a\"more",
        ];
        let refused = answered(&pieces, false).await.unwrap();
        assert_eq!(
            (refused.status.as_u16(), &*refused.rest),
            (401, &b"{\"a\""[..])
        );
        let none = "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n";
        let refused = answered(&[none], false).await.unwrap();
        assert_eq!((refused.status.as_u16(), refused.rest.len()), (503, 0));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_failure() {
        let long = format!("HTTP/1.1 101 X\r\nx: {}", "y".repeat(LONGEST_HEAD));
        for (pieces, ends) in [
            (&[""][..], true),
            (&["HTTP/1.1 101 Switching"], true),
            (&["HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nshort"], true),
            (&["HTTP/1.1 401 No\r\nContent-Length: x\r\n\r\n"], false),
            (
                &["HTTP/1.1 401 No\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"],
                false,
            ),
            (&["HTTP/1.1 999999 X\r\n\r\n"], false),
            (&["SSH-2.0-OpenSSH\r\n\r\n"], false),
            (&[long.as_str()], false),
        ] {
            assert!(answered(pieces, ends).await.is_err(), "{pieces:?}");
        }
    }
}
