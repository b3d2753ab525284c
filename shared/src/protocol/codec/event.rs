//! An event to many: what its recipients share, and what each has of its own.

use std::sync::OnceLock;

use bytes::Bytes;

use super::Encoding;
use crate::protocol::event::Event;

/// An event together with its encodings, each made when first asked for and then shared.
#[derive(Debug)]
pub struct SharedEvent {
    event: Event,
    json: OnceLock<Bytes>,
    msgpack: OnceLock<Bytes>,
    twins: OnceLock<Box<Twins>>,
}

/// What was made of each encoding's tail, if anything.
#[derive(Debug, Default)]
struct Twins {
    json: OnceLock<Option<Bytes>>,
    msgpack: OnceLock<Option<Bytes>>,
}

impl SharedEvent {
    /// Wraps an event; nothing is encoded yet.
    pub fn new(event: Event) -> Self {
        Self {
            event,
            json: OnceLock::new(),
            msgpack: OnceLock::new(),
            twins: OnceLock::new(),
        }
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// What all recipients of an encoding share: everything after the [`Prefix`].
    pub fn tail(&self, encoding: Encoding) -> Bytes {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::MsgPack => &self.msgpack,
        };
        cell.get_or_init(|| match encoding.encode(&self.event) {
            // The first byte opens the map; the prefix of each recipient does that.
            Ok(bytes) => Bytes::from(bytes).slice(1..),
            Err(error) => {
                // Types of ours always encode; a fault must not become a broken frame.
                tracing::error!(%error, event = self.event.name(), "an event cannot be encoded");
                Bytes::from_static(match encoding {
                    Encoding::Json => b"\"ev\":\"internal\",\"d\":{}}",
                    Encoding::MsgPack => b"\xa2ev\xa8internal\xa1d\x80",
                })
            }
        })
        .clone()
    }

    /// What `make` makes of the tail (compresses it, say): when first asked for, and then shared by
    /// all recipients, as is that it made nothing. Every caller has to give the same `make`.
    pub fn twin(
        &self,
        encoding: Encoding,
        make: impl FnOnce(&[u8]) -> Option<Bytes>,
    ) -> Option<Bytes> {
        let twins = self.twins.get_or_init(Box::default);
        let cell = match encoding {
            Encoding::Json => &twins.json,
            Encoding::MsgPack => &twins.msgpack,
        };
        cell.get_or_init(|| make(&self.tail(encoding))).clone()
    }
}

/// The bytes before an event's shared tail: they open the object and carry the recipient's `s`.
#[derive(Debug, Clone, Copy)]
pub struct Prefix {
    bytes: [u8; Prefix::MAX],
    len: u8,
}

impl Prefix {
    /// The most bytes a prefix has.
    pub const MAX: usize = 28;

    /// For an event of the replayable stream (`s`), or an ephemeral one (`None`).
    pub fn new(encoding: Encoding, s: Option<u64>) -> Self {
        let mut prefix = Self {
            bytes: [0; Self::MAX],
            len: 0,
        };
        match (encoding, s) {
            (Encoding::Json, None) => prefix.put(b"{"),
            (Encoding::Json, Some(s)) => {
                prefix.put(b"{\"s\":");
                prefix.put_decimal(s);
                prefix.put(b",");
            }
            (Encoding::MsgPack, None) => prefix.put(&[0x82]),
            (Encoding::MsgPack, Some(s)) => {
                prefix.put(&[0x83, 0xa1, b's']);
                match s {
                    0..=0x7f => prefix.put(&[s as u8]),
                    0x80..=0xffff_ffff => {
                        prefix.put(&[0xce]);
                        prefix.put(&(s as u32).to_be_bytes());
                    }
                    _ => {
                        prefix.put(&[0xcf]);
                        prefix.put(&s.to_be_bytes());
                    }
                }
            }
        }
        prefix
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes with what follows them up to [`Self::MAX`], and how many count: one is made for
    /// every delivery, and a copy of fixed size needs no call.
    pub fn padded(&self) -> (&[u8; Self::MAX], usize) {
        (&self.bytes, usize::from(self.len))
    }

    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        let start = usize::from(self.len);
        self.bytes[start..start + N].copy_from_slice(bytes);
        self.len += N as u8;
    }

    fn put_decimal(&mut self, mut n: u64) {
        let digits = n.checked_ilog10().unwrap_or(0) as usize + 1;
        let start = usize::from(self.len);
        for digit in self.bytes[start..start + digits].iter_mut().rev() {
            *digit = b'0' + (n % 10) as u8;
            n /= 10;
        }
        self.len += digits as u8;
    }
}
