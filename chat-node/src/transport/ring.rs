//! The replayable stream of a session: the events it may have missed, newest bounded in number
//! and bytes, the oldest giving way.

use std::{collections::VecDeque, sync::Arc};

use shared::protocol::codec::SharedEvent;

/// The most events a ring holds.
pub const MAX_EVENTS: usize = 1024;
/// The most bytes of encoded events a ring holds.
pub const MAX_BYTES: usize = 256 * 1024;

/// Events by their position `s`, dense. Holds no memory until the first one.
#[derive(Debug, Default)]
pub struct Ring {
    events: VecDeque<(Arc<SharedEvent>, u32)>,
    bytes: usize,
    /// Position of the newest event; 0 before the first.
    last: u64,
}

/// The ring no longer holds everything after a position, or never did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl Ring {
    /// An empty ring of a client that has everything up to `s`.
    pub fn after_position(s: u64) -> Self {
        Self {
            last: s,
            ..Self::default()
        }
    }

    /// Position of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes an event in at the next position, which it returns. `bytes` is its encoded size.
    pub fn push(&mut self, event: Arc<SharedEvent>, bytes: usize) -> u64 {
        self.last += 1;
        self.bytes += bytes;
        self.events.push_back((event, bytes as u32));
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.pop();
        }
        self.last
    }

    /// The client has everything up to `s`: that need not be kept.
    pub fn ack(&mut self, s: u64) {
        let keep = self.last.saturating_sub(s) as usize;
        while self.events.len() > keep {
            self.pop();
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
    }

    /// Every event after `s`, whole or not at all.
    ///
    /// # Errors
    /// [`Lost`] when some of them gave way, or `s` is in the future.
    pub fn after(
        &self,
        s: u64,
    ) -> Result<impl ExactSizeIterator<Item = (u64, &Arc<SharedEvent>)>, Lost> {
        let missing = self.last.checked_sub(s).ok_or(Lost)? as usize;
        let skip = self.events.len().checked_sub(missing).ok_or(Lost)?;
        let first = self.last - missing as u64 + 1;
        let events = self.events.iter().skip(skip).enumerate();
        Ok(events.map(move |(i, (event, _))| (first + i as u64, event)))
    }

    fn pop(&mut self) {
        if let Some((_, bytes)) = self.events.pop_front() {
            self.bytes -= bytes as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::{id::RoomId, protocol::event::Event};

    use super::*;

    fn event() -> Arc<SharedEvent> {
        let room = RoomId::parse("r").unwrap();
        Arc::new(SharedEvent::new(Event::RoomRemoved { room }))
    }

    fn positions(ring: &Ring, s: u64) -> Result<Vec<u64>, Lost> {
        Ok(ring.after(s)?.map(|(s, _)| s).collect())
    }

    #[test]
    fn replays_whole_or_not_at_all() {
        let mut ring = Ring::default();
        assert_eq!(positions(&ring, 0), Ok(vec![]));
        assert_eq!(positions(&ring, 1), Err(Lost));
        for _ in 0..5 {
            ring.push(event(), 10);
        }
        assert_eq!(positions(&ring, 3), Ok(vec![4, 5]));
        ring.ack(3);
        assert_eq!(positions(&ring, 3), Ok(vec![4, 5]));
        assert_eq!(positions(&ring, 2), Err(Lost));
        ring.ack(99);
        assert_eq!(positions(&ring, 5), Ok(vec![]));
        assert_eq!(ring.push(event(), 10), 6);
        assert_eq!(positions(&ring, 5), Ok(vec![6]));
        let mut later = Ring::after_position(6);
        assert_eq!(later.push(event(), 10), 7);
        assert_eq!(positions(&later, 6), Ok(vec![7]));
        assert_eq!(positions(&later, 5), Err(Lost));
    }

    #[test]
    fn is_bounded_in_number_and_in_bytes() {
        let mut ring = Ring::default();
        for _ in 0..MAX_EVENTS + 7 {
            ring.push(event(), 1);
        }
        assert_eq!(positions(&ring, 6), Err(Lost));
        assert_eq!(positions(&ring, 7).map(|p| p.len()), Ok(MAX_EVENTS));
        ring.push(event(), MAX_BYTES);
        assert_eq!(
            positions(&ring, MAX_EVENTS as u64 + 7).map(|p| p.len()),
            Ok(1)
        );
    }
}
