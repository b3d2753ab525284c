//! Messages as permessage-deflate has them (RFC 7692), without context takeover.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What every compressed message ends with, and leaves away.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Inflates message after message.
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

impl Inflater {
    /// Replaces `into` with what a message inflates to.
    ///
    /// # Errors
    /// When it is no deflate stream, or not a whole one.
    pub fn inflate(&mut self, payload: &[u8], into: &mut Vec<u8>) -> Result<(), &'static str> {
        const BROKEN: &str = "a message that does not inflate";
        into.clear();
        self.0.reset(false);
        for mut part in [payload, &TAIL] {
            // A full buffer may have left something inside, with nothing more to put in.
            while !part.is_empty() || into.len() == into.capacity() {
                into.reserve(4096);
                let before = self.0.total_in();
                let status = self.0.decompress_vec(part, into, FlushDecompress::Sync);
                let read = (self.0.total_in() - before) as usize;
                part = &part[read..];
                match status {
                    Ok(Status::Ok) => {}
                    Ok(Status::BufError) if part.is_empty() => break,
                    // Our server never ends its stream.
                    Ok(Status::BufError | Status::StreamEnd) | Err(_) => return Err(BROKEN),
                }
            }
        }
        Ok(())
    }
}

/// Compresses one message.
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut rest = message;
    loop {
        let before = compress.total_in();
        // In memory, and never past its end: nothing here can fail.
        let status = compress.compress_vec(rest, &mut out, FlushCompress::Sync);
        rest = &rest[(compress.total_in() - before) as usize..];
        if rest.is_empty() && out.len() < out.capacity() || status.is_err() {
            out.truncate(out.len().saturating_sub(TAIL.len()));
            return out;
        }
        out.reserve(4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_one_after_the_other() {
        let mut inflater = Inflater::default();
        let mut message = Vec::new();
        for length in [1, 100, 4096, 100_000] {
            let plain: Vec<u8> = (0..length)
                .map(|n: u32| (n.wrapping_mul(n) / 7) as u8)
                .collect();
            let small = deflate(&plain);
            assert_eq!(inflater.inflate(&small, &mut message), Ok(()));
            assert_eq!(message, plain);
        }
        assert!(inflater.inflate(&[0xff; 20], &mut message).is_err());
        let (hello, text) = ([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello");
        assert_eq!(inflater.inflate(&hello, &mut message), Ok(()));
        assert_eq!(message, text);
    }
}
