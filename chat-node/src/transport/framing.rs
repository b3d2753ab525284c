//! Bytes to messages: RFC 6455 framing on the way in.
//!
//! actix-http's codec cuts frames, unmasks them and checks opcodes, control frames and the order
//! of fragments. What it leaves to its user is here: reserved bits, putting fragments together
//! within a bound, inflating what is compressed (RFC 7692), UTF-8, and close codes.

use actix_codec::Decoder as _;
use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};

use super::deflate::{Broken, inflate};

/// RSV1: the message is compressed.
const COMPRESSED: u8 = 0x40;
/// By how much a compressed message may be longer than the limit: what gains nothing grows by five
/// bytes for every stored block.
const SLACK: usize = 128;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message; valid UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// To be answered with a pong of the same bytes.
    Ping(Bytes),
    /// A sign of life.
    Pong,
    /// The client closes; the answer carries the same code.
    Close(Option<u16>),
}

/// What a client may not do to a WebSocket; the socket closes with [`Violation::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Framing that RFC 6455 forbids.
    #[error("websocket protocol error")]
    Protocol,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    NotUtf8,
    /// A frame, or fragments together, or what they inflate to, over the limit.
    #[error("message too big")]
    TooBig,
    /// A compressed message that is no deflate stream.
    #[error("a compressed message that does not inflate")]
    Garbled,
}

impl Violation {
    /// The close code of RFC 6455, section 7.4.1.
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 | Self::Garbled => 1007,
            Self::TooBig => 1009,
        }
    }
}

/// The inbound side of one socket. Holds no buffer between frames.
#[derive(Debug)]
pub struct Inbound {
    codec: Codec,
    limit: u32,
    /// Whether messages may be compressed.
    deflate: bool,
    /// Bytes of a frame that has not arrived whole.
    partial: Bytes,
    fragments: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    compressed: bool,
    bytes: BytesMut,
}

impl Inbound {
    /// `limit` bounds a message, whole or in fragments, in bytes; with `deflate`, messages may be
    /// compressed, and it bounds what they inflate to.
    pub fn new(limit: usize, deflate: bool) -> Self {
        Self {
            codec: Codec::new().max_size(limit + SLACK),
            limit: limit as u32,
            deflate,
            partial: Bytes::new(),
            fragments: None,
        }
    }

    /// Puts what an earlier read left over in front of the next read.
    pub fn unread(&mut self, scratch: &mut BytesMut) {
        if !self.partial.is_empty() {
            scratch.extend_from_slice(&self.partial);
            self.partial = Bytes::new();
        }
    }

    /// Keeps what of `scratch` is no whole frame yet, in a buffer of just that size.
    pub fn keep(&mut self, scratch: &mut BytesMut) {
        if !scratch.is_empty() {
            self.partial = Bytes::copy_from_slice(scratch);
            scratch.clear();
        }
    }

    /// Cuts the next message off `scratch`; `None` when there is no whole one.
    ///
    /// # Errors
    /// A [`Violation`] ends the socket; nothing more may be read from it.
    pub fn next(&mut self, scratch: &mut BytesMut) -> Result<Option<Incoming>, Violation> {
        loop {
            let Some(first) = scratch.first() else {
                return Ok(None);
            };
            // RSV1 marks the first frame of a compressed message, and nothing else; RSV2 and RSV3
            // mean nothing (RFC 6455, 5.2; RFC 7692, 6).
            let compressed = match first & 0x70 {
                0 => false,
                COMPRESSED if self.deflate && matches!(first & 0x0f, 1 | 2) => true,
                _ => return Err(Violation::Protocol),
            };
            // The codec looks at the length when the frame has arrived whole, and would have us
            // keep gigabytes until then.
            let bound = self.bound(compressed) as u64;
            if claimed(scratch).is_some_and(|length| length > bound) {
                return Err(Violation::TooBig);
            }
            if compressed {
                // The codec knows of no extension.
                scratch[0] &= !COMPRESSED;
            }
            let frame = self.codec.decode(scratch).map_err(|error| match error {
                ProtocolError::Overflow => Violation::TooBig,
                _ => Violation::Protocol,
            })?;
            let Some(frame) = frame else {
                // It took nothing, and looks at the same byte when there is more.
                if compressed {
                    scratch[0] |= COMPRESSED;
                }
                return Ok(None);
            };
            if let Some(message) = self.take(frame, compressed)? {
                return Ok(Some(message));
            }
        }
    }

    /// How long a frame may be, or the fragments together.
    fn bound(&self, compressed: bool) -> usize {
        let limit = self.limit as usize;
        if compressed { limit + SLACK } else { limit }
    }

    fn take(&mut self, frame: Frame, compressed: bool) -> Result<Option<Incoming>, Violation> {
        Ok(Some(match frame {
            Frame::Text(bytes) => self.whole(true, compressed, bytes)?,
            Frame::Binary(bytes) => self.whole(false, compressed, bytes)?,
            Frame::Ping(bytes) => Incoming::Ping(bytes),
            Frame::Pong(_) => Incoming::Pong,
            Frame::Close(reason) => Incoming::Close(match reason {
                None => None,
                Some(reason) => {
                    let code = u16::from(reason.code);
                    if !may_be_sent(code) {
                        return Err(Violation::Protocol);
                    }
                    Some(code)
                }
            }),
            Frame::Continuation(item) => return self.fragment(item, compressed),
        }))
    }

    fn whole(&self, text: bool, compressed: bool, bytes: Bytes) -> Result<Incoming, Violation> {
        let bytes = if compressed {
            inflate(&bytes, self.limit as usize).map_err(|broken| match broken {
                Broken::Garbled => Violation::Garbled,
                Broken::TooBig => Violation::TooBig,
            })?
        } else {
            bytes
        };
        Ok(if text {
            Incoming::Text(utf8(bytes)?)
        } else {
            Incoming::Binary(bytes)
        })
    }

    fn fragment(&mut self, item: Item, compressed: bool) -> Result<Option<Incoming>, Violation> {
        let (text, bytes, last) = match item {
            Item::FirstText(bytes) => (Some(true), bytes, false),
            Item::FirstBinary(bytes) => (Some(false), bytes, false),
            Item::Continue(bytes) => (None, bytes, false),
            Item::Last(bytes) => (None, bytes, true),
        };
        if let Some(text) = text {
            self.fragments = Some(Box::new(Fragments {
                text,
                compressed,
                bytes: BytesMut::new(),
            }));
        }
        let mut fragments = self.fragments.take().ok_or(Violation::Protocol)?;
        if fragments.bytes.len() + bytes.len() > self.bound(fragments.compressed) {
            return Err(Violation::TooBig);
        }
        fragments.bytes.extend_from_slice(&bytes);
        if last {
            let bytes = fragments.bytes.freeze();
            self.whole(fragments.text, fragments.compressed, bytes)
                .map(Some)
        } else {
            self.fragments = Some(fragments);
            Ok(None)
        }
    }
}

/// The length that a frame's header promises, once that much of it is there.
fn claimed(frame: &[u8]) -> Option<u64> {
    match frame.get(1)? & 0x7f {
        126 => {
            let bytes = frame.get(2..4)?.try_into().ok()?;
            Some(u64::from(u16::from_be_bytes(bytes)))
        }
        127 => Some(u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?)),
        length => Some(u64::from(length)),
    }
}

fn utf8(bytes: Bytes) -> Result<Bytes, Violation> {
    if std::str::from_utf8(&bytes).is_ok() {
        Ok(bytes)
    } else {
        Err(Violation::NotUtf8)
    }
}

/// Codes an endpoint may put into a close frame (RFC 6455, 7.4).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::deflate::deflate;

    /// A client's frame, masked with zeros so that the payload reads as it stands.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            n @ 0..=125 => bytes.push(0x80 | n as u8),
            n => {
                bytes.push(0x80 | 0x7e);
                bytes.extend_from_slice(&(n as u16).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn read(inbound: &mut Inbound, bytes: &[u8]) -> Result<Vec<Incoming>, Violation> {
        let mut scratch = BytesMut::new();
        inbound.unread(&mut scratch);
        scratch.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(message) = inbound.next(&mut scratch)? {
            messages.push(message);
        }
        inbound.keep(&mut scratch);
        Ok(messages)
    }

    #[test]
    fn fragments_come_together_with_control_frames_between() {
        let mut inbound = Inbound::new(64, false);
        let mut bytes = frame(0x01, b"he");
        bytes.extend(frame(0x89, b"!"));
        bytes.extend(frame(0x00, b"l"));
        bytes.extend(frame(0x80, b"lo"));
        // One byte at a time: nothing depends on how the network cuts.
        let mut seen = Vec::new();
        for byte in bytes {
            seen.extend(read(&mut inbound, &[byte]).unwrap());
        }
        assert_eq!(
            seen,
            [
                Incoming::Ping(Bytes::from_static(b"!")),
                Incoming::Text(Bytes::from_static(b"hello"))
            ]
        );
        assert!(inbound.partial.is_empty() && inbound.fragments.is_none());
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        let cases: [(&str, Vec<u8>, Violation); 12] = [
            ("unmasked", vec![0x81, 0x01, b'x'], Violation::Protocol),
            ("reserved bit", frame(0xc1, b"x"), Violation::Protocol),
            ("reserved opcode", frame(0x83, b"x"), Violation::Protocol),
            (
                "reserved control opcode",
                frame(0x8b, b"x"),
                Violation::Protocol,
            ),
            ("fragmented ping", frame(0x09, b"x"), Violation::Protocol),
            ("long ping", frame(0x89, &[0; 126]), Violation::Protocol),
            ("stray continuation", frame(0x80, b"x"), Violation::Protocol),
            (
                "close code 1005",
                frame(0x88, &1005_u16.to_be_bytes()),
                Violation::Protocol,
            ),
            (
                "close code 999",
                frame(0x88, &999_u16.to_be_bytes()),
                Violation::Protocol,
            ),
            ("not UTF-8", frame(0x81, b"\xff"), Violation::NotUtf8),
            ("too big", frame(0x82, &[0; 200]), Violation::TooBig),
            (
                "too big in fragments",
                [frame(0x02, &[0; 100]), frame(0x80, &[0; 100])].concat(),
                Violation::TooBig,
            ),
        ];
        for (name, bytes, violation) in cases {
            assert_eq!(
                read(&mut Inbound::new(128, false), &bytes),
                Err(violation),
                "{name}"
            );
        }
        let interleaved = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
        assert_eq!(
            read(&mut Inbound::new(128, false), &interleaved),
            Err(Violation::Protocol)
        );
    }

    /// The first frame of `bytes`, which are compressed.
    fn compressed(opcode: u8, bytes: &[u8]) -> Vec<u8> {
        frame(0xc0 | opcode, &deflate(bytes).unwrap())
    }

    #[test]
    fn compressed_messages_come_inflated_whole_and_in_fragments() {
        let text = "ein Haus, ein Baum, ein Haus, ein Baum, ein Haus, grün".as_bytes();
        let mut inbound = Inbound::new(64, true);
        let small = deflate(text).unwrap();
        let (a, b) = small.split_at(9);
        let bytes = [
            compressed(1, text),
            compressed(2, text),
            // Only the first fragment says so, and control frames come between.
            frame(0x41, a),
            frame(0x89, b"!"),
            frame(0x00, b""),
            frame(0x80, b),
            // What is not compressed still need not be.
            frame(0x81, text),
        ];
        let mut seen = Vec::new();
        for byte in bytes.concat() {
            seen.extend(read(&mut inbound, &[byte]).unwrap());
        }
        let message = Bytes::from_static(text);
        let expected = [
            Incoming::Text(message.clone()),
            Incoming::Binary(message.clone()),
            Incoming::Ping(Bytes::from_static(b"!")),
            Incoming::Text(message.clone()),
            Incoming::Text(message),
        ];
        assert_eq!(seen, expected);
        assert!(inbound.partial.is_empty() && inbound.fragments.is_none());
    }

    #[test]
    fn what_compression_may_not_do_is_refused() {
        let words = b"word word word word word word word word ".repeat(3);
        let small = deflate(&words).unwrap();
        let not_utf8 = [&words[..100], b"\xff", &words[..19]].concat();
        let limit = words.len();
        let too_long = b"word ".repeat(limit / 5 + 1);
        let cases: [(&str, Vec<u8>, Violation); 8] = [
            ("RSV2", frame(0xa1, b"x"), Violation::Protocol),
            ("RSV1 and RSV3", frame(0xd1, b"x"), Violation::Protocol),
            ("a compressed ping", frame(0xc9, b"x"), Violation::Protocol),
            (
                "RSV1 later than on the first fragment",
                [frame(0x01, &small), frame(0xc0, b"")].concat(),
                Violation::Protocol,
            ),
            ("noise", frame(0xc1, &[0xff; 40]), Violation::Garbled),
            ("nothing", frame(0xc1, b""), Violation::Garbled),
            (
                "not UTF-8 once inflated",
                compressed(1, &not_utf8),
                Violation::NotUtf8,
            ),
            (
                "more than the limit once inflated",
                compressed(2, &too_long),
                Violation::TooBig,
            ),
        ];
        for (name, bytes, violation) in cases {
            let verdict = read(&mut Inbound::new(limit, true), &bytes);
            assert_eq!(verdict, Err(violation), "{name}");
        }
        let verdict = read(&mut Inbound::new(limit, false), &compressed(1, &words));
        assert_eq!(verdict, Err(Violation::Protocol), "not agreed on");
        let exactly = read(&mut Inbound::new(limit, true), &compressed(1, &words));
        assert_eq!(exactly, Ok(vec![Incoming::Text(words.into())]));
    }

    /// A client that compresses everything may make a message longer.
    #[test]
    fn a_message_that_grew_by_compression_passes_and_no_longer_one() {
        let noise: Vec<u8> = (0..64_u8).collect();
        let stored = [&[0, 64, 0, 0xbf, 0xff], &noise[..], &[0]].concat();
        let verdict = read(&mut Inbound::new(64, true), &frame(0xc2, &stored));
        assert_eq!(verdict, Ok(vec![Incoming::Binary(noise.into())]));
        let verdict = read(&mut Inbound::new(64, true), &frame(0x82, &[0; 65]));
        assert_eq!(verdict, Err(Violation::TooBig));
        let verdict = read(
            &mut Inbound::new(64, true),
            &frame(0xc2, &[0; 64 + SLACK + 1]),
        );
        assert_eq!(verdict, Err(Violation::TooBig));
    }

    #[test]
    fn a_length_of_many_gigabytes_is_refused_before_it_arrives() {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend_from_slice(&u64::MAX.to_be_bytes());
        assert!(read(&mut Inbound::new(128, false), &bytes).is_err());
        let mut bytes = vec![0x82, 0xff];
        bytes.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        let verdict = read(&mut Inbound::new(128, false), &bytes);
        assert_eq!(verdict, Err(Violation::TooBig));
        let verdict = read(&mut Inbound::new(128, false), &[0x82, 0xfe, 0xff, 0xff]);
        assert_eq!(verdict, Err(Violation::TooBig));
    }

    #[test]
    fn a_close_carries_its_code() {
        let mut inbound = Inbound::new(128, false);
        assert_eq!(
            read(&mut inbound, &frame(0x88, b"")).unwrap(),
            [Incoming::Close(None)]
        );
        let bytes = frame(0x88, &1000_u16.to_be_bytes());
        assert_eq!(
            read(&mut inbound, &bytes).unwrap(),
            [Incoming::Close(Some(1000))]
        );
    }
}
