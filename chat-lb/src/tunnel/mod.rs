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
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

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

/// Two sockets joined: to be polled until both sides have ended, or one fails.
///
/// No async function, which would hold what it was given twice: there are as many of these as there are tunnels.
#[derive(Debug)]
pub struct Carry<C, N> {
    client: C,
    node: N,
    up: Direction,
    down: Direction,
    linger: Option<Pin<Box<Sleep>>>,
}

/// Carries bytes both ways until both sides have ended. What was read of either before, while it
/// still spoke HTTP, goes first.
pub fn carry<C, N>(client: C, node: N, of_client: &[u8], of_node: &[u8]) -> Carry<C, N> {
    Carry {
        client,
        node,
        up: Direction::beginning_with(of_client),
        down: Direction::beginning_with(of_node),
        linger: None,
    }
}

impl<C, N> Future for Carry<C, N>
where
    C: AsyncRead + AsyncWrite + Unpin,
    N: AsyncRead + AsyncWrite + Unpin,
{
    type Output = io::Result<Carried>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            client,
            node,
            up,
            down,
            linger,
        } = self.get_mut();
        let before = (up.carried(), down.carried());
        let up_done = up.poll(cx, client, node)?.is_ready();
        let down_done = down.poll(cx, node, client)?.is_ready();
        let carried = (up.carried(), down.carried());
        if up_done && down_done {
            return Poll::Ready(Ok(Carried {
                up: carried.0,
                down: carried.1,
            }));
        }
        if [up, down].iter().any(|way| way.ending() || way.holds()) {
            return poll_linger(cx, linger, carried != before);
        }
        *linger = None;
        Poll::Pending
    }
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
