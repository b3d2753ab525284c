//! Bytes to messages: whatever arrives, in whatever pieces, the framing answers, stays within its
//! limit, and the pieces make no difference.
//!
//! The first byte is the size of the pieces, and whether messages may be compressed: above 127 they
//! may. The rest is what the socket reads.
#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../src/transport/deflate.rs"]
mod deflate;
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/transport/framing.rs"]
mod framing;

use bytes::BytesMut;
use framing::{Inbound, Incoming, Violation};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1024;

fn read(
    pieces: impl Iterator<Item = impl AsRef<[u8]>>,
    deflate: bool,
) -> (Vec<Incoming>, Option<Violation>) {
    let mut inbound = Inbound::new(LIMIT, deflate);
    let mut messages = Vec::new();
    let mut scratch = BytesMut::new();
    for piece in pieces {
        inbound.unread(&mut scratch);
        scratch.extend_from_slice(piece.as_ref());
        loop {
            match inbound.next(&mut scratch) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation)),
            }
        }
        inbound.keep(&mut scratch);
    }
    (messages, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else {
        return;
    };
    let (size, deflate) = (usize::from(size & 0x7f).max(1), size & 0x80 != 0);
    let whole = read(std::iter::once(stream), deflate);
    let pieces = read(stream.chunks(size), deflate);
    // A frame may be wrong in two ways; which is seen first depends on how much has arrived.
    assert_eq!(whole.0, pieces.0);
    assert_eq!(whole.1.is_some(), pieces.1.is_some());
    for message in &whole.0 {
        match message {
            Incoming::Text(text) => {
                assert!(text.len() <= LIMIT);
                assert!(std::str::from_utf8(text).is_ok());
            }
            Incoming::Binary(bytes) => assert!(bytes.len() <= LIMIT),
            Incoming::Ping(bytes) => assert!(bytes.len() <= 125),
            Incoming::Pong | Incoming::Close(_) => {}
        }
    }
});
