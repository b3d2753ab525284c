//! The envelope on the wire: MessagePack, an array of the origin, its order mark and the payload.
//!
//! The order mark is two numbers: which process published (a node may come back under the same
//! name), and over which of its connections. Redis may still read from a connection that was given
//! up when the next one is already in use; what arrives from it then is out of order, and dropped.

use std::collections::HashMap;

use bytes::Bytes;
use rmp::{decode, encode};
use shared::id::NodeId;

use crate::bus::Envelope;

/// Which process published a message, and over which of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderMark {
    /// Random, made at the start of the process.
    pub(super) process: u64,
    /// Counts its connections.
    pub(super) connection: u64,
}

/// By process, the last of its connections that something was heard over.
///
/// Bound: [`MAX_PROCESSES`]; then all are forgotten, which lets a late message through at worst.
#[derive(Default)]
pub(super) struct Order {
    newest: HashMap<u64, u64>,
}

/// The most processes that are remembered.
const MAX_PROCESSES: usize = 4_096;

impl Order {
    /// Whether a message is in order: nothing was heard over a later connection of its process.
    pub(super) fn admits(&mut self, mark: OrderMark) -> bool {
        if self.newest.len() >= MAX_PROCESSES && !self.newest.contains_key(&mark.process) {
            self.newest.clear();
        }
        let newest = self.newest.entry(mark.process).or_default();
        let admitted = mark.connection >= *newest;
        *newest = mark.connection.max(*newest);
        admitted
    }
}

/// For the wire.
pub(super) fn encode(origin: &NodeId, mark: OrderMark, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + origin.as_str().len() + 32);
    // Writing to memory does not fail.
    let _ = encode::write_array_len(&mut frame, 4);
    let _ = encode::write_str(&mut frame, origin.as_str());
    let _ = encode::write_uint(&mut frame, mark.process);
    let _ = encode::write_uint(&mut frame, mark.connection);
    let _ = encode::write_bin(&mut frame, payload);
    frame
}

/// From the wire; the payload is a slice of it. None: nothing of ours.
pub(super) fn decode(frame: Vec<u8>) -> Option<(Envelope, OrderMark)> {
    let mut rest = &frame[..];
    // A later version may add parts behind.
    if decode::read_array_len(&mut rest).ok()? < 4 {
        return None;
    }
    let (origin, mut rest) = decode::read_str_from_slice(rest).ok()?;
    let origin = NodeId::parse(origin).ok()?;
    let mark = OrderMark {
        process: decode::read_int(&mut rest).ok()?,
        connection: decode::read_int(&mut rest).ok()?,
    };
    let len = decode::read_bin_len(&mut rest).ok()? as usize;
    let start = frame.len() - rest.len();
    if rest.len() < len {
        return None;
    }
    let payload = Bytes::from(frame).slice(start..start + len);
    Some((Envelope { origin, payload }, mark))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn what_comes_late_over_an_earlier_connection_is_not_admitted() {
        let mut order = Order::default();
        let mut admits = |process, connection| {
            order.admits(OrderMark {
                process,
                connection,
            })
        };
        assert!(admits(1, 1) && admits(1, 1) && admits(1, 3));
        assert!(!admits(1, 2));
        assert!(admits(2, 1), "another process");
        assert!(admits(1, 3));
        for process in 10..20 + MAX_PROCESSES as u64 {
            assert!(admits(process, 5));
        }
        assert!(order.newest.len() <= MAX_PROCESSES);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            origin in "[a-z0-9]{1,64}",
            process in any::<u64>(),
            connection in any::<u64>(),
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mark = OrderMark { process, connection };
            let origin = NodeId::parse(&origin).unwrap();
            let frame = encode(&origin, mark, &payload);
            let (envelope, back) = decode(frame).unwrap();
            prop_assert_eq!(envelope, Envelope { origin, payload: payload.into() });
            prop_assert_eq!(back, mark);
        }

        #[test]
        fn garbage_is_nothing_of_ours(
            garbage in prop::collection::vec(any::<u8>(), 0..64),
            cut in 0_usize..40,
        ) {
            let _ = decode(garbage);
            let mark = OrderMark { process: 1, connection: 2 };
            let mut frame = encode(&NodeId::parse("n").unwrap(), mark, &[7; 40]);
            frame.truncate(cut);
            assert!(decode(frame).is_none());
        }
    }
}
