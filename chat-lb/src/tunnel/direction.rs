//! One direction of a tunnel.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::SCRATCH;

/// So many portions in a row, and the others of this thread have a turn.
const TURN: usize = 16;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// What is on its way from one socket to the other.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// What the far socket did not take, and how much of it that has taken since.
    rest: Option<Box<[u8]>>,
    written: usize,
    carried: u64,
    /// What was written may wait inside the far socket (TLS).
    unflushed: bool,
    /// The near socket has ended.
    ended: bool,
    done: bool,
}

enum Portion {
    /// All of it is with the far socket.
    Gone(usize),
    /// The far socket takes no more for now: this is left.
    Left(usize, Box<[u8]>),
}

impl Direction {
    pub(super) fn beginning_with(first: &[u8]) -> Self {
        Self {
            rest: (!first.is_empty()).then(|| first.into()),
            ..Self::default()
        }
    }

    /// How many bytes came through.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Whether something is kept that the far socket does not take.
    pub(super) fn holds(&self) -> bool {
        self.rest.is_some()
    }

    /// Whether no more will come.
    pub(super) fn ending(&self) -> bool {
        self.ended
    }

    /// Carries what is there. Ready when the near socket has ended and the far one knows.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        near: &mut R,
        far: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            ready!(self.poll_rest(cx, far))?;
            if self.ended {
                ready!(Pin::new(&mut *far).poll_shutdown(cx))?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            match READ.with_borrow_mut(|scratch| portion(cx, near, far, scratch)) {
                Poll::Pending => return self.poll_flush(cx, far).map_ok(|()| ()).and_pending(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(Portion::Gone(0))) => self.ended = true,
                Poll::Ready(Ok(Portion::Gone(n))) => {
                    self.carried += n as u64;
                    self.unflushed = true;
                }
                Poll::Ready(Ok(Portion::Left(n, rest))) => {
                    self.carried += n as u64;
                    self.unflushed = true;
                    self.rest = Some(rest);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_rest<W>(&mut self, cx: &mut Context<'_>, far: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while let Some(rest) = &self.rest {
            let written = ready!(Pin::new(&mut *far).poll_write(cx, &rest[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.carried += written as u64;
            self.unflushed = true;
            if self.written == rest.len() {
                self.rest = None;
                self.written = 0;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush<W>(&mut self, cx: &mut Context<'_>, far: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        if self.unflushed {
            ready!(Pin::new(far).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Nothing to read is pending, whether or not what was written is flushed; an error stays one.
trait AndPending {
    fn and_pending(self) -> Self;
}

impl AndPending for Poll<io::Result<()>> {
    fn and_pending(self) -> Self {
        match self {
            Poll::Ready(Ok(())) => Poll::Pending,
            other => other,
        }
    }
}

/// One read, and as many writes as the far socket takes at once.
fn portion<R, W>(
    cx: &mut Context<'_>,
    near: &mut R,
    far: &mut W,
    scratch: &mut [u8],
) -> Poll<io::Result<Portion>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = ReadBuf::new(scratch);
    ready!(Pin::new(near).poll_read(cx, &mut buffer))?;
    let read = buffer.filled();
    let mut written = 0;
    while written < read.len() {
        match Pin::new(&mut *far).poll_write(cx, &read[written..]) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => written += n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                let rest = read[written..].into();
                return Poll::Ready(Ok(Portion::Left(written, rest)));
            }
        }
    }
    Poll::Ready(Ok(Portion::Gone(written)))
}
