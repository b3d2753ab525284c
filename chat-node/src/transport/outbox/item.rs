//! What stands in the reliable lane, and the bytes that go before it.

use bytes::Bytes;
use shared::protocol::codec::Prefix;

/// One object, or one control frame.
#[derive(Debug)]
pub(super) struct Item {
    /// Room for the frame's header or the separator, then the object's prefix, up to the end.
    head: [u8; HEAD],
    start: u8,
    pub(super) kind: Kind,
    /// A frame begins with this item.
    pub(super) opens: bool,
    /// How long a compressed body is to its recipient; 0 for one that is not compressed.
    pub(super) inflated: u32,
    pub(super) body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    /// An object that answers a command.
    Answer,
    /// A whole frame of its own: ping, pong or close.
    Control,
}

/// A server's frame header is 2, 4 or 10 bytes.
const HEADER: usize = 10;
/// Marks a frame whose payload is compressed.
pub(super) const RSV1: u8 = 0x40;
const HEAD: usize = HEADER + Prefix::MAX;

impl Item {
    /// An event of which each recipient has a prefix of its own.
    #[inline]
    pub(super) fn event(prefix: &Prefix, body: Bytes) -> Self {
        let (bytes, start) = prefix.padded();
        let mut item = Self::whole(body, Kind::Object);
        item.head[HEADER..].copy_from_slice(bytes);
        item.start = (HEADER + start) as u8;
        item
    }

    /// Something that is the body alone.
    #[inline]
    pub(super) fn whole(body: Bytes, kind: Kind) -> Self {
        Self {
            head: [0; HEAD],
            start: HEAD as u8,
            kind,
            opens: kind == Kind::Control,
            inflated: 0,
            body,
        }
    }

    /// A whole control frame; `payload` is at most 125 bytes.
    pub(super) fn control(opcode: u8, payload: &[u8]) -> Self {
        let mut frame = Vec::with_capacity(2 + payload.len());
        frame.extend_from_slice(&[0x80 | opcode, payload.len() as u8]);
        frame.extend_from_slice(payload);
        Self::whole(frame.into(), Kind::Control)
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head[usize::from(self.start)..]
    }

    pub(super) fn len(&self) -> usize {
        self.head().len() + self.body.len()
    }

    pub(super) fn put_before<const N: usize>(&mut self, bytes: [u8; N]) {
        let start = usize::from(self.start) - N;
        self.head[start..start + N].copy_from_slice(&bytes);
        self.start = start as u8;
    }

    /// Puts what its body is compressed in the body's place.
    pub(super) fn compress(&mut self, small: Bytes) {
        self.inflated = self.body.len() as u32;
        self.body = small;
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.inflated > 0
    }

    /// Puts the head of a compressed object into a stored block, which the piece before it in the
    /// frame has begun already.
    pub(super) fn store_head(&mut self, first: bool) {
        let length = self.head().len() as u16;
        if first && length == 0 {
            return;
        }
        self.put_before((!length).to_le_bytes());
        self.put_before(length.to_le_bytes());
        if first {
            self.put_before([0]);
        }
    }

    /// Puts the header of a final, unmasked data frame before it (RFC 6455, 5.2).
    #[inline]
    pub(super) fn open_frame(&mut self, opcode: u8, payload: usize) -> usize {
        self.opens = true;
        let before = self.start;
        match payload {
            0..=125 => self.put_before([opcode, payload as u8]),
            126..=0xffff => {
                let [a, b] = (payload as u16).to_be_bytes();
                self.put_before([opcode, 126, a, b]);
            }
            _ => {
                self.put_before((payload as u64).to_be_bytes());
                self.put_before([opcode, 127]);
            }
        }
        usize::from(before - self.start)
    }
}
