//! A connection as the HTTP stack sees it: the socket together with its place among the others.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

use super::Permit;

/// A socket that gives its place back when it goes, whatever it went through in between.
pub(crate) struct Connection {
    stream: TcpStream,
    permit: Permit,
    handshake: Handshake,
}

/// The place among the connections whose first request head has not arrived. Given back when it
/// has, or with the connection.
#[derive(Clone)]
pub(crate) struct Handshake(Rc<Cell<Option<OwnedSemaphorePermit>>>);

impl Handshake {
    /// The head is here.
    pub(crate) fn over(&self) {
        self.0.take();
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, permit: Permit, handshake: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            permit,
            handshake: Handshake(Rc::new(Cell::new(Some(handshake)))),
        }
    }

    /// A handle for whoever learns of the first request.
    pub(crate) fn handshake(&self) -> Handshake {
        self.handshake.clone()
    }

    /// The bare socket and its place. The handshake is over.
    pub(crate) fn into_parts(self) -> (TcpStream, Permit) {
        self.handshake.over();
        (self.stream, self.permit)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
