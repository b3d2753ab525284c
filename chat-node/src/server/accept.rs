//! The accept loop of one worker.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use actix_service::Service;
use metrics::counter;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::{Admission, TurnedAway, connection::Connection};

/// The waits between two tries while the system has no more sockets to give.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts until `stop` says so, and gives every connection to `http` in a task of its own.
/// `working` is held by each of these tasks, so that its channel closes when the last has ended.
pub(super) async fn accept<S>(
    listener: TcpListener,
    http: S,
    admission: Admission,
    mut stop: watch::Receiver<bool>,
    working: super::Working,
) where
    S: Service<(Connection, Option<SocketAddr>), Response = ()> + 'static,
    S::Future: 'static,
{
    let http = Rc::new(http);
    let mut wait = BACKOFF.0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next(&listener, &admission) => accepted,
        };
        match accepted {
            Ok((stream, peer, handshake)) => {
                wait = BACKOFF.0;
                match admission.admit(peer.ip()) {
                    Ok(permit) => {
                        let connection = Connection::new(stream, permit, handshake);
                        serve(&http, connection, peer, &working);
                    }
                    Err(reason) => turn_away(stream, reason),
                }
            }
            Err(error) if of_the_connection(&error) => {}
            Err(error) => {
                // No descriptors or no memory: the queue stays readable, so trying again at once
                // would spin. Connections that end make room.
                counter!("fireside_accept_errors_total").increment(1);
                tracing::warn!(%error, retry_in = ?wait, "cannot accept connections");
                sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
    // Who is in the kernel's queue already has connected as far as they can tell: closing the
    // listener would reset them.
    while let Some(Ok((stream, peer))) = now(listener.accept()) {
        if let (Ok(permit), Some(Some(handshake))) =
            (admission.admit(peer.ip()), now(admission.handshake()))
        {
            serve(
                &http,
                Connection::new(stream, permit, handshake),
                peer,
                &working,
            );
        }
    }
}

/// The place is taken after the connection: a worker that waits for one to arrive holds none, or
/// the workers together would hold back as many.
async fn next(
    listener: &TcpListener,
    admission: &Admission,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let (stream, peer) = listener.accept().await?;
    match admission.handshake().await {
        Some(handshake) => Ok((stream, peer, handshake)),
        None => Err(io::Error::other("the server has stopped")),
    }
}

fn serve<S>(http: &Rc<S>, connection: Connection, peer: SocketAddr, working: &super::Working)
where
    S: Service<(Connection, Option<SocketAddr>), Response = ()> + 'static,
    S::Future: 'static,
{
    let served = http.call((connection, Some(peer)));
    let working = working.clone();
    actix_rt::spawn(async move {
        // What a client does wrong has been answered; what the network does is no event.
        let _ = served.await;
        drop(working);
    });
}

/// What is ready right now.
fn now<F: Future>(future: F) -> Option<F::Output> {
    futures_util::FutureExt::now_or_never(future)
}

/// Faults of the one connection that was about to be accepted; the next one may be well.
fn of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | BrokenPipe
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

fn turn_away(stream: TcpStream, reason: TurnedAway) {
    let (word, answer): (_, &[u8]) = match reason {
        TurnedAway::Full => (
            "full",
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        TurnedAway::Crowd => (
            "crowd",
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
    };
    counter!("fireside_connections_refused_total", "reason" => word).increment(1);
    // A fresh socket takes a hundred bytes without waiting; if not, there is nobody to tell.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(answer);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}
