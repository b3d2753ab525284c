//! A bare socket: frames that no honest client sends, byte by byte.

use std::{io, time::Duration};

use shared::protocol::codec::Encoding;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{client::PATIENCE, deflate};

/// A frame to be written, right or wrong.
#[derive(Debug, Clone)]
pub struct RawFrame {
    /// The FIN bit.
    pub fin: bool,
    /// RSV1–3, in the low three bits.
    pub rsv: u8,
    /// The opcode, in the low four bits.
    pub opcode: u8,
    /// Whether it is masked, as a client's frames must be.
    pub masked: bool,
    /// The length to claim; none: the payload's own.
    pub claimed: Option<u64>,
    /// The payload before masking.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// A whole, rightly masked frame.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            masked: true,
            claimed: None,
            payload: payload.into(),
        }
    }

    /// A text frame.
    pub fn text(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(1, payload)
    }

    /// A binary frame.
    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(2, payload)
    }

    /// A continuation frame.
    pub fn continuation(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(0, payload)
    }

    /// A close frame.
    pub fn close(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(8, payload)
    }

    /// Without the FIN bit.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Not masked.
    #[must_use]
    pub fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// Compressed: the payload deflated, and RSV1.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.payload = deflate::deflate(&self.payload);
        self.reserved(4)
    }

    /// With reserved bits.
    #[must_use]
    pub fn reserved(mut self, rsv: u8) -> Self {
        self.rsv = rsv;
        self
    }

    /// Claiming another length than the payload has.
    #[must_use]
    pub fn claiming(mut self, length: u64) -> Self {
        self.claimed = Some(length);
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.fin) << 7 | (self.rsv & 7) << 4 | self.opcode & 15];
        let mask_bit = u8::from(self.masked) << 7;
        let length = self.claimed.unwrap_or(self.payload.len() as u64);
        match length {
            0..=125 => out.push(mask_bit | length as u8),
            126..=0xffff => {
                out.push(mask_bit | 0x7e);
                out.extend((length as u16).to_be_bytes());
            }
            _ => {
                out.push(mask_bit | 0x7f);
                out.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            let key = [0x5a, 0xc3, 0x17, 0x88];
            out.extend(key);
            out.extend(
                self.payload
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| byte ^ key[i % 4]),
            );
        } else {
            out.extend(&self.payload);
        }
        out
    }
}

/// A frame the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    /// The opcode.
    pub opcode: u8,
    /// RSV1–3, in the low three bits.
    pub rsv: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl ServerFrame {
    /// What it says: inflated, when it is compressed.
    ///
    /// # Errors
    /// When it does not inflate.
    pub fn message(&self) -> io::Result<Vec<u8>> {
        if self.rsv == 0 {
            return Ok(self.payload.clone());
        }
        let mut message = Vec::new();
        deflate::Inflater::default()
            .inflate(&self.payload, &mut message)
            .map_err(io::Error::other)?;
        Ok(message)
    }

    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        match (self.opcode, self.payload.as_slice()) {
            (8, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a close frame.
    Closed(Option<u16>),
    /// Without one.
    Cut,
    /// Not within the time given.
    StillOpen,
}

/// A bare connection.
#[derive(Debug)]
pub struct RawSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawSocket {
    /// Connects and sends nothing.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Connects and upgrades with a token.
    pub async fn upgrade(address: &str, encoding: Encoding, token: &str) -> io::Result<Self> {
        Ok(Self::upgrade_offering(address, encoding, token, "")
            .await?
            .0)
    }

    /// Connects and upgrades with a token and further header lines; answers the answer's head, too.
    pub async fn upgrade_offering(
        address: &str,
        encoding: Encoding,
        token: &str,
        lines: &str,
    ) -> io::Result<(Self, String)> {
        let mut socket = Self::connect(address).await?;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {}\r\n{lines}Authorization: Bearer {token}\r\n\r\n",
            encoding.subprotocol()
        );
        socket.write(request.as_bytes()).await?;
        let head = socket.head().await?;
        if head.starts_with("HTTP/1.1 101") {
            return Ok((socket, head));
        }
        Err(io::Error::other(head))
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Writes a frame.
    pub async fn frame(&mut self, frame: &RawFrame) -> io::Result<()> {
        self.write(&frame.bytes()).await
    }

    /// Reads an HTTP response up to the blank line.
    pub async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads one frame of the server's; none at the end of the stream.
    pub async fn read(&mut self) -> io::Result<Option<ServerFrame>> {
        loop {
            if let Some((frame, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads until the connection ends, and says how, waiting no longer than `patience`.
    pub async fn ended_within(&mut self, patience: Duration) -> Ended {
        let until_end = async {
            loop {
                match self.read().await {
                    Ok(Some(frame)) if frame.opcode == 8 => {
                        return Ended::Closed(frame.close_code());
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ended::Cut,
                }
            }
        };
        timeout(patience, until_end)
            .await
            .unwrap_or(Ended::StillOpen)
    }

    /// Reads until the connection ends, and says how.
    pub async fn ended(&mut self) -> Ended {
        self.ended_within(PATIENCE).await
    }

    async fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        let n = timeout(PATIENCE * 4, self.stream.read(&mut chunk))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }
}

fn parse(buffer: &[u8]) -> io::Result<Option<(ServerFrame, usize)>> {
    let &[first, second, ..] = buffer else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err(io::Error::other("a server does not mask"));
    }
    let (length, start) = match second {
        126 => match buffer.get(2..4) {
            Some(bytes) => (usize::from(bytes[0]) << 8 | usize::from(bytes[1]), 4),
            None => return Ok(None),
        },
        127 => match buffer.get(2..10) {
            Some(bytes) => (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), 10),
            None => return Ok(None),
        },
        n => (usize::from(n), 2),
    };
    let end = start + length;
    Ok(buffer.get(start..end).map(|payload| {
        let frame = ServerFrame {
            opcode: first & 15,
            rsv: first >> 4 & 7,
            payload: payload.to_vec(),
        };
        (frame, end)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_bytes_of_the_standard() {
        let frame = RawFrame::text("Hello").unmasked().bytes();
        assert_eq!(frame, b"\x81\x05Hello");
        let long = RawFrame::binary(vec![0; 300]).unmasked().bytes();
        assert_eq!(&long[..4], &[0x82, 126, 1, 44]);
        let (parsed, length) = parse(&long).unwrap().unwrap();
        assert_eq!((parsed.payload.len(), length), (300, 304));
        assert_eq!(parse(&long[..200]).unwrap(), None);
        let masked = RawFrame::close([0x0f, 0xa0]).bytes();
        assert_eq!(masked[1], 0x82);
    }
}
