//! One connection, from its first byte to its last answer or its upgrade.

use std::{convert::Infallible, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Request, StatusCode,
    body::Incoming,
    http::response::Parts,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use shared::listener::Permit;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{HeadLimits, Sentry, Speaks, Stream, answers::Answers};
use crate::gateway::{Peer, Worker};

/// How often an HTTP/2 connection is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// So many requests at once over one HTTP/2 connection.
const STREAMS: u32 = 64;
/// What an HTTP/2 connection may have sent that was not read.
const WINDOW: u32 = 256 << 10;

/// What the connections of a worker have in common.
pub(super) struct Reception {
    pub(super) worker: Rc<Worker>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: HeadLimits,
    pub(super) stop: watch::Receiver<bool>,
}

impl Reception {
    /// Serves a connection for as long as it is HTTP.
    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        permit: Permit,
        handshake: OwnedSemaphorePermit,
    ) {
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => match timeout(self.limits.time, Box::pin(tls.accept(stream))).await {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                // It spoke no TLS, or not ours, or too slowly: there is no way to tell it more.
                Ok(Err(_)) | Err(_) => return,
            },
        };
        let secure = self.tls.is_some();
        let mut sentry = Sentry::new(stream, permit, self.limits);
        let Ok(speaks) = sentry.first_head().await else {
            return;
        };
        drop(handshake);
        let peer = Arc::new(Peer {
            address: address.ip(),
            secure,
            doorstep: sentry.doorstep().clone(),
        });
        match speaks {
            Speaks::Http1 => match sentry.upgrade() {
                Some(request) => self.upgrade(sentry, &peer, request).await,
                // Boxed, for they are large, and an upgrade's task would have to have room for them.
                None => Box::pin(self.http1(sentry, peer)).await,
            },
            Speaks::Http2 => Box::pin(self.http2(sentry, peer)).await,
        }
    }

    /// A request that is to be the only one of its connection, answered by hand: for those who come back at once an
    /// HTTP stack would be put up and taken down for each.
    ///
    /// Whoever shuts the door waits for it, as for every connection that is served; when it is over the tunnel has its
    /// place, and that is waited for next.
    async fn upgrade(&self, mut sentry: Sentry, peer: &Peer, request: Request<()>) {
        let asked = self.worker.upgrade(peer, request, sentry.left()).await;
        let Some((response, opened)) = asked else {
            return;
        };
        let (mut stream, permit, unread) = sentry.into_parts();
        let (head, body) = response.into_parts();
        let body = match &opened {
            Some(_) => Bytes::new(),
            // Of our own, or a node's that is here whole.
            None => match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => return,
            },
        };
        let answer = written(&head, &body);
        let sent = async {
            stream.write_all(&answer).await?;
            stream.flush().await
        };
        if !matches!(timeout(self.limits.time, sent).await, Ok(Ok(()))) {
            return;
        }
        match opened {
            Some(opened) => opened.join(stream, &unread, permit),
            None => drop(timeout(self.limits.time, stream.shutdown()).await),
        }
    }

    async fn http1(&self, sentry: Sentry, peer: Arc<Peer>) {
        let worker = self.worker.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (worker, peer) = (worker.clone(), peer.clone());
            async move { Ok::<_, Infallible>(worker.answer(peer, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The sentry keeps the time.
            .header_read_timeout(None)
            .half_close(true)
            .max_headers(128)
            .max_buf_size(32 << 10)
            .serve_connection(TokioIo::new(sentry), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        tokio::select! {
            // What a client does wrong has been answered; what the network does is no event.
            _ = &mut connection => return,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    async fn http2(&self, sentry: Sentry, peer: Arc<Peer>) {
        let doorstep = peer.doorstep.clone();
        let worker = self.worker.clone();
        let answers = Answers::new();
        let watching = answers.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (worker, peer, answers) = (worker.clone(), peer.clone(), watching.clone());
            async move {
                let answer = worker.answer(peer, request).await;
                Ok::<_, Infallible>(answers.watch(answer))
            }
        });
        let connection = http2::Builder::new(OnThisThread)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(self.limits.length).unwrap_or(u32::MAX))
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .max_send_buf_size(WINDOW as usize)
            .serve_connection(TokioIo::new(sentry), service);
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        let patience = self.limits.between;
        let (mut ending, mut served) = (false, 0);
        loop {
            tokio::select! {
                _ = &mut connection => return,
                _ = stop.wait_for(|stop| *stop), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep(patience) => {
                    let (idle, so_far) = doorstep.idle();
                    // Who takes nothing loses the connection, as in HTTP/1.1: the stack cannot be told to let go of one
                    // stream whose body it does not ask for.
                    if answers.stand_still(patience) {
                        return;
                    }
                    // What is left is in the stack's hands, and had its time.
                    if ending && idle && answers.are_over(patience) {
                        return;
                    }
                    if !ending && idle && so_far == served {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    served = so_far;
                }
            }
        }
    }
}

/// An answer as it goes over the wire.
fn written(head: &Parts, body: &[u8]) -> Vec<u8> {
    let mut answer = Vec::with_capacity(256 + body.len());
    let status = head.status;
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        answer.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            answer.extend_from_slice(part);
        }
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        answer.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(body);
    answer
}

/// Runs the tasks of a connection on the thread that serves it.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl<F> Executor<F> for OnThisThread
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        actix_rt::spawn(async move {
            task.await;
        });
    }
}
