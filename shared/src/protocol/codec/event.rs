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
        self.encoded(encoding).clone()
    }

    /// [`Self::tail`], for whoever only looks at it.
    pub fn encoded(&self, encoding: Encoding) -> &Bytes {
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
        cell.get_or_init(|| make(self.encoded(encoding))).clone()
    }
}

/// The bytes before an event's shared tail: they open the object and carry the recipient's `s`.
///
/// One is made for every delivery, so it is written from its end: a number then takes no counting of
/// its digits beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Prefix {
    bytes: [u8; Prefix::MAX],
    start: u8,
}

impl Prefix {
    /// The most bytes a prefix has.
    pub const MAX: usize = 28;

    /// For an event of the replayable stream (`s`), or an ephemeral one (`None`).
    #[inline]
    pub fn new(encoding: Encoding, s: Option<u64>) -> Self {
        let mut prefix = Self {
            bytes: [0; Self::MAX],
            start: Self::MAX as u8,
        };
        match (encoding, s) {
            (Encoding::Json, None) => prefix.put(*b"{"),
            (Encoding::Json, Some(s)) => {
                prefix.put(*b",");
                prefix.put_decimal(s);
                prefix.put(*b"{\"s\":");
            }
            (Encoding::MsgPack, None) => prefix.put([0x82]),
            (Encoding::MsgPack, Some(s)) => {
                match s {
                    0..=0x7f => prefix.put([s as u8]),
                    0x80..=0xffff_ffff => {
                        prefix.put((s as u32).to_be_bytes());
                        prefix.put([0xce]);
                    }
                    _ => {
                        prefix.put(s.to_be_bytes());
                        prefix.put([0xcf]);
                    }
                }
                prefix.put([0x83, 0xa1, b's']);
            }
        }
        prefix
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }

    /// The bytes with what stands before them, [`Self::MAX`] in all, and where they start: a copy
    /// of fixed size needs no call.
    pub fn padded(&self) -> (&[u8; Self::MAX], usize) {
        (&self.bytes, usize::from(self.start))
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let start = usize::from(self.start) - N;
        self.bytes[start..start + N].copy_from_slice(&bytes);
        self.start = start as u8;
    }

    fn put_decimal(&mut self, mut n: u64) {
        let mut start = usize::from(self.start);
        loop {
            start -= 1;
            self.bytes[start] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.start = start as u8;
    }
}
