//! The accept loop of one worker.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use metrics::counter;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

use super::{Admission, Permit, TurnedAway};

/// The waits between two tries while the system has no more sockets to give.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts until `stop` says so, and gives every connection to `serve`, with its place and its place
/// among those whose first request head has not arrived. `serve` must not wait.
pub async fn accept<F>(
    listener: TcpListener,
    admission: Admission,
    mut stop: watch::Receiver<bool>,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, Permit, OwnedSemaphorePermit),
{
    let mut wait = BACKOFF.0;
    // Registered once, and not for every connection.
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stopped => break,
            accepted = next(&listener, &admission) => accepted,
        };
        match accepted {
            Ok((stream, peer, handshake)) => {
                wait = BACKOFF.0;
                match admission.admit(peer.ip()) {
                    Ok(permit) => serve(stream, peer, permit, handshake),
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
            serve(stream, peer, permit, handshake);
        }
    }
}

/// The place is taken after the connection: a worker that waits for one to arrive holds none, or
/// the workers together would hold back as many.
async fn next(
    listener: &TcpListener,
    admission: &Admission,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let (stream, peer) = listener.accept().await?;
    match admission.handshake().await {
        Some(handshake) => Ok((stream, peer, handshake)),
        None => Err(io::Error::other("the server has stopped")),
    }
}

/// What is ready right now.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
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
