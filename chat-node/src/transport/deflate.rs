//! Messages compressed as permessage-deflate has them (RFC 7692), without context takeover.
//!
//! No message refers to one before it, so a worker thread needs one compressor and one decompressor
//! for all its sockets, and what is compressed for one recipient is right for every other.
//!
//! A piece made by [`deflate`] ends on a byte's boundary, in the header of a stored block whose
//! length is still to come. What has a length of its own can follow it there (the `s` of a
//! recipient, in a stored block), then the next piece; and the end of a message needs nothing: its
//! recipient appends an empty block's length anyway. So pieces that were compressed apart are put
//! together in a frame of any recipient, as they stand.

use std::cell::RefCell;

use bytes::Bytes;
use miniz_oxide::{
    deflate::core::{
        CompressorOxide, TDEFLFlush, TDEFLStatus, compress, create_comp_flags_from_zip_params,
    },
    inflate::{
        TINFLStatus,
        core::{
            DecompressorOxide, decompress,
            inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
        },
    },
};

/// The most bytes that are compressed as one piece: an upper bound for how long a thread is busy.
pub const MAX_PLAIN: usize = 256 * 1024;
/// What a stored block before a piece costs at most: its header and its length, twice.
pub const STORED: usize = 5;

/// Higher levels cost several times as much and gain a few percent on what chat consists of.
const LEVEL: i32 = 1;
/// Raw deflate, a window of 32 KiB.
const RAW: i32 = -15;
/// The length of an empty stored block, which messages leave away (RFC 7692, 7.2.1).
const EMPTY: [u8; 4] = [0, 0, 0xff, 0xff];
/// That, and a block that ends the stream: it can be read only where a message may end.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

thread_local! {
    static DEFLATER: RefCell<Option<Deflater>> = const { RefCell::new(None) };
    static INFLATER: RefCell<Option<Inflater>> = const { RefCell::new(None) };
}

struct Deflater {
    state: CompressorOxide,
    out: Vec<u8>,
}

struct Inflater {
    state: DecompressorOxide,
    out: Vec<u8>,
}

/// Compressed data that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It is no deflate stream, or ends too early.
    Garbled,
    /// It inflates to more than the limit.
    TooBig,
}

/// Compresses one piece; `None` unless that, with [`STORED`] bytes before it, is smaller.
pub fn deflate(plain: &[u8]) -> Option<Bytes> {
    if plain.len() > MAX_PLAIN {
        return None;
    }
    let room = plain.len().checked_sub(STORED)?;
    DEFLATER.with_borrow_mut(|deflater| {
        let Deflater { state, out } = deflater.get_or_insert_with(|| Deflater {
            state: CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, RAW, 0)),
            out: Vec::new(),
        });
        if out.len() < room + EMPTY.len() {
            out.resize(room + EMPTY.len(), 0);
        }
        let out = &mut out[..room + EMPTY.len()];
        state.reset();
        let (status, read, written) = compress(state, plain, out, TDEFLFlush::Sync);
        // When there is no room left, something may be missing.
        if status != TDEFLStatus::Okay || read != plain.len() || written == out.len() {
            return None;
        }
        out[..written]
            .strip_suffix(&EMPTY)
            .map(Bytes::copy_from_slice)
    })
}

/// The message that `payload`, put together from all its frames, stands for.
///
/// # Errors
/// When it is [`Broken`]; what inflates to more than `limit` costs no more than `limit` does.
pub fn inflate(payload: &[u8], limit: usize) -> Result<Bytes, Broken> {
    INFLATER.with_borrow_mut(|inflater| {
        let Inflater { state, out } = inflater.get_or_insert_with(|| Inflater {
            state: DecompressorOxide::new(),
            out: Vec::new(),
        });
        // One more than the limit, so that what reaches the end is too much.
        if out.len() <= limit {
            out.resize(limit + 1, 0);
        }
        let out = &mut out[..=limit];
        state.init();
        let mut length = 0;
        let mut ended = false;
        for (mut rest, more) in [(payload, TINFL_FLAG_HAS_MORE_INPUT), (&END[..], 0)] {
            let flags = more | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
            while !rest.is_empty() {
                if ended {
                    // A sender may end its stream and go on (RFC 7692, 7.2.3.4).
                    state.init();
                }
                let (status, read, written) = decompress(state, rest, out, length, flags);
                rest = &rest[read..];
                length += written;
                if length > limit {
                    return Err(Broken::TooBig);
                }
                ended = status == TINFLStatus::Done;
                match status {
                    TINFLStatus::Done => {}
                    TINFLStatus::NeedsMoreInput if rest.is_empty() => {}
                    TINFLStatus::HasMoreOutput => return Err(Broken::TooBig),
                    _ => return Err(Broken::Garbled),
                }
            }
        }
        if ended {
            Ok(Bytes::copy_from_slice(&out[..length]))
        } else {
            Err(Broken::Garbled)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(length: usize) -> Vec<u8> {
        let words = b"the quick brown fox jumps over the lazy dog and the dog sleeps on ";
        words.iter().copied().cycle().take(length).collect()
    }

    #[test]
    fn what_is_compressed_inflates_to_itself() {
        for length in [100, 1000, 16 * 1024, MAX_PLAIN] {
            let plain = text(length);
            let small = deflate(&plain).unwrap();
            assert!(small.len() + STORED < plain.len());
            assert_eq!(inflate(&small, length), Ok(plain.into()), "{length}");
        }
    }

    #[test]
    fn what_gains_nothing_is_left_alone() {
        assert_eq!(deflate(b""), None);
        assert_eq!(deflate(b"hi"), None);
        assert_eq!(deflate(&(0..=255).collect::<Vec<u8>>()), None);
        assert_eq!(deflate(&text(MAX_PLAIN + 1)), None);
        // The compressor gave up in the middle: nothing of that is left in the next piece.
        let plain = text(300);
        assert_eq!(inflate(&deflate(&plain).unwrap(), 300), Ok(plain.into()));
    }

    #[test]
    fn the_examples_of_the_rfc_inflate() {
        // RFC 7692, 7.2.3: one block, no compression, a final block, two blocks.
        let examples: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ];
        for example in examples {
            assert_eq!(inflate(example, 5), Ok(Bytes::from_static(b"Hello")));
            assert_eq!(inflate(example, 4), Err(Broken::TooBig));
        }
        assert_eq!(inflate(&[0], 4), Ok(Bytes::new()));
    }

    #[test]
    fn what_is_no_stream_or_no_whole_one_is_refused() {
        // A reserved kind of block; a distance beyond the beginning; a length that is denied.
        for garbled in [&[0x07][..], &[0x4b, 0x04, 0x42], &[0x00, 1, 0, 1, 0, b'x']] {
            assert_eq!(inflate(garbled, 1000), Err(Broken::Garbled), "{garbled:x?}");
        }
        let whole = deflate(&text(300)).unwrap();
        for cut in 0..whole.len() - 1 {
            assert!(inflate(&whole[..cut], 300).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut state = CompressorOxide::new(create_comp_flags_from_zip_params(9, RAW, 0));
        let (plain, mut bomb) = (vec![b' '; 16 << 20], vec![0; 1 << 20]);
        let (_, read, written) = compress(&mut state, &plain, &mut bomb, TDEFLFlush::Sync);
        assert_eq!(read, plain.len());
        assert!(written < 20_000, "{written}");
        let bomb = &bomb[..written - EMPTY.len()];
        assert_eq!(inflate(bomb, 16 * 1024), Err(Broken::TooBig));
        assert_eq!(inflate(bomb, plain.len() - 1), Err(Broken::TooBig));
        assert_eq!(inflate(bomb, plain.len()).unwrap().len(), plain.len());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(plain in "[a-z\"{}:, ]{0,600}") {
            if let Some(small) = deflate(plain.as_bytes()) {
                prop_assert_eq!(inflate(&small, plain.len()), Ok(plain.into()));
            }
        }

        #[test]
        fn any_bytes_are_answered_within_the_limit(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(message) = inflate(&bytes, 64) {
                prop_assert!(message.len() <= 64);
            }
        }
    }
}
