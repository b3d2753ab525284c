//! One socket of a swarm.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use shared::protocol::codec::Encoding;

use super::frames;

/// A socket, connecting or open or ended. Its buffers are empty unless a frame is under way.
pub(super) struct Socket {
    stream: Option<TcpStream>,
    /// The answer to the upgrade has been read whole.
    pub(super) upgraded: bool,
    connected: bool,
    /// Nothing is to be read for now.
    pub(super) stalled: bool,
    /// The beginning of a frame.
    pub(super) partial: Vec<u8>,
    unsent: Vec<u8>,
    masks: u32,
}

impl Socket {
    /// Begins to connect; `request` goes out first.
    pub(super) fn dial(
        registry: &Registry,
        token: Token,
        address: SocketAddr,
        request: Vec<u8>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream: Some(stream),
            upgraded: request.is_empty(),
            connected: false,
            stalled: false,
            partial: Vec::new(),
            unsent: request,
            masks: token.0 as u32,
        })
    }

    /// Whether reading makes sense.
    pub(super) fn readable(&self) -> bool {
        self.connected && !self.stalled && self.stream.is_some()
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Some(stream) => stream.read(into),
            None => Ok(0),
        }
    }

    /// The kernel takes bytes, perhaps for the first time. True when that opened a bare socket.
    pub(super) fn writable(&mut self, registry: &Registry, token: Token) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let fresh = !self.connected;
        if fresh {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            match stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error),
            }
            stream.set_nodelay(true)?;
            self.connected = true;
        }
        self.flush();
        if self.unsent.is_empty()
            && let Some(stream) = &mut self.stream
        {
            registry.reregister(stream, token, Interest::READABLE)?;
        }
        Ok(fresh && self.upgraded)
    }

    /// Writes one frame, or keeps what the kernel does not take.
    pub(super) fn send(
        &mut self,
        registry: &Registry,
        token: Token,
        opcode: u8,
        message: &[u8],
    ) -> io::Result<()> {
        self.masks = self.masks.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        let idle = self.unsent.is_empty();
        frames::write(&mut self.unsent, opcode, message, self.masks.to_be_bytes());
        if !idle {
            return Ok(());
        }
        self.flush();
        if !self.unsent.is_empty()
            && let Some(stream) = &mut self.stream
        {
            registry.reregister(stream, token, Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(())
    }

    /// Another poll tells of it from here on.
    pub(super) fn move_to(
        &mut self,
        from: &Registry,
        to: &Registry,
        token: Token,
    ) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        from.deregister(stream)?;
        to.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Ends the connection, dropping what was not sent.
    pub(super) fn cut(&mut self, registry: &Registry) {
        if let Some(mut stream) = self.stream.take() {
            // These can fail only on a socket that has ended already. With a reset, no port is kept
            // in TIME_WAIT, of which tens of thousands would use up all there are.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = registry.deregister(&mut stream);
            drop(stream);
        }
        self.partial = Vec::new();
        self.unsent = Vec::new();
    }

    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut sent = 0;
        while sent < self.unsent.len() {
            match stream.write(&self.unsent[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end is noticed, and told, on the read side.
                Err(_) => {
                    self.unsent = Vec::new();
                    return;
                }
            }
        }
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..sent);
        }
    }
}

/// The upgrade request.
pub(super) fn request(
    address: SocketAddr,
    encoding: Encoding,
    token: &str,
    deflate: bool,
) -> Vec<u8> {
    let extensions = if deflate {
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
         client_no_context_takeover\r\n"
    } else {
        ""
    };
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Protocol: {}\r\n{extensions}Authorization: Bearer {token}\r\n\r\n",
        encoding.subprotocol()
    )
    .into_bytes()
}

/// Where the answer's head ends, when it is there whole and an upgrade.
///
/// # Errors
/// The answer, when it is another one.
pub(super) fn upgraded(bytes: &[u8]) -> Result<Option<usize>, Vec<u8>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    if bytes.starts_with(b"HTTP/1.1 101") {
        return Ok(Some(end + 4));
    }
    Err(bytes.to_vec())
}
