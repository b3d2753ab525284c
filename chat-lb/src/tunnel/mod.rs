//! A socket of a client and one of a node, joined: what comes out of one goes into the other.
//!
//! **No buffer while idle.** A read goes into the thread's one scratch buffer and from there straight
//! into the other socket. Only what that socket does not take at once is kept, in a buffer of just
//! that size, and until it is gone the side it came from is not read: a slow reader holds up its
//! sender and nobody else, for at most [`SCRATCH`] bytes a direction.
//!
//! **Half-close.** The end of one side is passed on when everything before it was, and the other
//! direction goes on. From then on the tunnel ends when nothing moves for [`LINGER`]: a peer that is
//! owed an end and never sends its own would stay for ever.
//!
//! **Who takes nothing** of what it is owed is waited for just as long: else whoever stops reading would keep its
//! place here long after the node has given it up.
//!
//! **The end.** An error of either side drops both. Whoever holds the task may abort it, with the same
//! effect.

mod direction;

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep},
};

use direction::Direction;

/// What one read takes from a socket at most.
pub const SCRATCH: usize = 16 << 10;
/// How long a tunnel may stand still of which one side has ended or takes nothing of what is kept for it.
pub const LINGER: Duration = Duration::from_secs(30);

/// What went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the client to the node.
    pub up: u64,
    /// Bytes from the node to the client.
    pub down: u64,
}

/// Carries bytes both ways until both sides have ended. What was read of either before, while it
/// still spoke HTTP, goes first.
pub async fn carry<C, N>(
    mut client: C,
    mut node: N,
    of_client: Bytes,
    of_node: Bytes,
) -> io::Result<Carried>
where
    C: AsyncRead + AsyncWrite + Unpin,
    N: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Direction::beginning_with(&of_client);
    let mut down = Direction::beginning_with(&of_node);
    drop((of_client, of_node));
    let mut linger: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |cx| {
        let before = (up.carried(), down.carried());
        let up_done = up.poll(cx, &mut client, &mut node)?.is_ready();
        let down_done = down.poll(cx, &mut node, &mut client)?.is_ready();
        let carried = (up.carried(), down.carried());
        if up_done && down_done {
            return Poll::Ready(Ok(Carried {
                up: carried.0,
                down: carried.1,
            }));
        }
        if [&up, &down].iter().any(|way| way.ending() || way.holds()) {
            return poll_linger(cx, &mut linger, carried != before);
        }
        linger = None;
        Poll::Pending
    })
    .await
}

fn poll_linger(
    cx: &mut Context<'_>,
    linger: &mut Option<Pin<Box<Sleep>>>,
    moved: bool,
) -> Poll<io::Result<Carried>> {
    let timer = linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
    if moved {
        timer.as_mut().reset(Instant::now() + LINGER);
    }
    timer
        .as_mut()
        .poll(cx)
        .map(|()| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests;
