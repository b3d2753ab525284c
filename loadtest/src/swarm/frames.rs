//! RFC 6455 framing as a client does it, without a buffer between frames.

use std::ops::Range;

/// One frame of the server's within a stretch of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The first byte: FIN, RSV1–3, opcode.
    pub(super) head: u8,
    /// Where its payload stands.
    pub(super) payload: Range<usize>,
}

/// FIN, RSV1 to RSV3.
pub(super) const FIN: u8 = 0x80;
/// The payload is compressed (RFC 7692).
pub(super) const RSV1: u8 = 0x40;
/// Opcodes.
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;

/// The frame that begins at `from`, when it is there whole.
///
/// # Errors
/// A masked frame: servers do not mask.
pub(super) fn next(bytes: &[u8], from: usize) -> Result<Option<Frame>, &'static str> {
    let [head, length, rest @ ..] = &bytes[from..] else {
        return Ok(None);
    };
    if length & 0x80 != 0 {
        return Err("a masked frame from the server");
    }
    let (length, header) = match length {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 10),
            None => return Ok(None),
        },
        short => (u64::from(*short), 2),
    };
    let start = from + header;
    let end = start + usize::try_from(length).map_err(|_| "a frame beyond all measure")?;
    Ok((end <= bytes.len()).then_some(Frame {
        head: *head,
        payload: start..end,
    }))
}

/// Appends one whole masked frame to `out`.
pub(super) fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], key: [u8; 4]) {
    const MASKED: u8 = 0x80;
    out.push(FIN | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(MASKED | length as u8),
        length @ 126..=0xffff => {
            out.push(0xfe);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xff);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_only_when_it_is_there_whole() {
        for length in [0_usize, 5, 125, 126, 300, 65_535, 65_536] {
            let mut bytes = vec![FIN | TEXT];
            match length {
                0..=125 => bytes.push(length as u8),
                126..=65_535 => {
                    bytes.push(126);
                    bytes.extend((length as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend((length as u64).to_be_bytes());
                }
            }
            let header = bytes.len();
            bytes.extend(vec![7; length]);
            let whole = next(&bytes, 0).unwrap().unwrap();
            assert_eq!(whole.payload, header..header + length);
            for cut in [0, 1, header - 1, bytes.len() - 1] {
                assert_eq!(next(&bytes[..cut], 0), Ok(None), "{length} cut at {cut}");
            }
        }
        assert!(next(&[FIN | TEXT, 0x80, 0, 0, 0, 0], 0).is_err());
    }

    #[test]
    fn a_written_frame_is_masked_and_has_its_length() {
        for length in [0_usize, 125, 126, 70_000] {
            let payload = vec![b'x'; length];
            let mut out = Vec::new();
            write(&mut out, BINARY, &payload, [1, 2, 3, 4]);
            let masked = &out[out.len() - length..];
            let unmasked: Vec<u8> = (masked.iter().zip([1, 2, 3, 4].iter().cycle()))
                .map(|(b, k)| b ^ k)
                .collect();
            assert_eq!(unmasked, payload);
            assert_eq!(out[0], FIN | BINARY);
            assert_eq!(out[1] & 0x80, 0x80);
        }
    }
}
