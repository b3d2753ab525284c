//! What a socket has yet to be sent: two lanes, and frames made as late as possible.
//!
//! The **reliable** lane is a queue bounded in bytes and events, counted when pushed, not when
//! written: a reader that falls behind its bound is closed, and resumes. The **state** lane is a
//! keyed map where the newest wins; it drains when the reliable lane has, and sheds silently.
//!
//! Whatever waits when the socket is writable goes out as one WebSocket frame of several objects
//! and one vectored write. A frame is made (its length is fixed) only when its first byte is
//! about to be written; until then more may join it.

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

use bytes::Bytes;
use shared::{
    id::{RoomId, UserId},
    protocol::codec::{Encoding, Prefix, SharedEvent},
};

/// The most bytes the reliable lane holds.
pub const MAX_BYTES: usize = 256 * 1024;
/// The most items the reliable lane holds.
pub const MAX_ITEMS: usize = 512;
/// The most keys the state lane holds; past it, what was put first gives way.
pub const MAX_STATES: usize = 512;
/// The most slices of one vectored write; each item takes two.
pub const MAX_SLICES: usize = 64;
/// The most payload of one outbound frame, so that a client's own bound need not be large.
const MAX_FRAME: usize = 64 * 1024;

/// What a state is about: a newer state of the same key replaces an older one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StateKey {
    /// A person's presence.
    Presence(UserId),
    /// Whether a person is typing in a room.
    Typing(RoomId, UserId),
}

/// The reliable lane is full; nothing was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The outbound side of one socket. Holds no memory while nothing waits.
#[derive(Debug)]
pub struct Outbox {
    encoding: Encoding,
    items: VecDeque<Item>,
    bytes: usize,
    /// How many items at the front stand in frames that are made.
    framed: usize,
    /// Bytes of the first item that are written.
    written: usize,
    /// Bytes and items beyond the bound, until the lane is empty: a replay, a snapshot.
    spared: (usize, usize),
    states: VecDeque<(StateKey, Arc<SharedEvent>)>,
}

/// One object, or one control frame.
#[derive(Debug)]
struct Item {
    /// Room for the frame's header or the separator, then the object's prefix.
    head: [u8; HEAD],
    start: u8,
    end: u8,
    kind: Kind,
    /// A frame begins with this item.
    opens: bool,
    body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    /// A whole frame of its own: ping, pong or close.
    Control,
}

/// A server's frame header is 2, 4 or 10 bytes.
const HEADER: usize = 10;
const HEAD: usize = HEADER + 28;

impl Item {
    fn new(prefix: &[u8], body: Bytes, kind: Kind) -> Self {
        let mut head = [0; HEAD];
        head[HEADER..HEADER + prefix.len()].copy_from_slice(prefix);
        let end = (HEADER + prefix.len()) as u8;
        let opens = kind == Kind::Control;
        Self {
            head,
            start: HEADER as u8,
            end,
            kind,
            opens,
            body,
        }
    }

    fn head(&self) -> &[u8] {
        &self.head[usize::from(self.start)..usize::from(self.end)]
    }

    fn len(&self) -> usize {
        usize::from(self.end - self.start) + self.body.len()
    }

    fn put_before(&mut self, bytes: &[u8]) {
        let start = usize::from(self.start) - bytes.len();
        self.head[start..usize::from(self.start)].copy_from_slice(bytes);
        self.start = start as u8;
    }
}

impl Outbox {
    /// An empty outbox for a socket of this encoding.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            items: VecDeque::new(),
            bytes: 0,
            framed: 0,
            written: 0,
            spared: (0, 0),
            states: VecDeque::new(),
        }
    }

    /// The socket's encoding.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether nothing waits in either lane.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.states.is_empty()
    }

    /// Bytes that wait in the reliable lane.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues an event of the replayable stream.
    pub fn push_event(&mut self, s: u64, event: &SharedEvent) -> Result<(), Full> {
        let prefix = Prefix::new(self.encoding, Some(s));
        self.push(Item::new(
            prefix.as_bytes(),
            event.tail(self.encoding),
            Kind::Object,
        ))
    }

    /// Queues an ephemeral event that must not be replaced by a newer one (`hello`, `bye`).
    pub fn push_ephemeral(&mut self, event: &SharedEvent) -> Result<(), Full> {
        let prefix = Prefix::new(self.encoding, None);
        self.push(Item::new(
            prefix.as_bytes(),
            event.tail(self.encoding),
            Kind::Object,
        ))
    }

    /// Queues an event that is replayed: a ring may hold more than an outbox, so it does not
    /// count against the bound.
    pub fn push_replayed(&mut self, s: u64, event: &SharedEvent) {
        let prefix = Prefix::new(self.encoding, Some(s));
        let item = Item::new(prefix.as_bytes(), event.tail(self.encoding), Kind::Object);
        self.spared.0 += item.len();
        self.spared.1 += 1;
        self.bytes += item.len();
        self.items.push_back(item);
    }

    /// Queues an encoded reply.
    pub fn push_reply(&mut self, reply: Bytes) -> Result<(), Full> {
        self.push(Item::new(&[], reply, Kind::Object))
    }

    /// Queues a ping, pong or close frame; `payload` is at most 125 bytes.
    pub fn push_control(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Full> {
        let mut frame = Vec::with_capacity(2 + payload.len());
        frame.extend_from_slice(&[0x80 | opcode, payload.len() as u8]);
        frame.extend_from_slice(payload);
        self.push(Item::new(&[], frame.into(), Kind::Control))
    }

    /// Puts the newest state of `key`.
    pub fn put_state(&mut self, key: StateKey, event: Arc<SharedEvent>) {
        if let Some(slot) = self.states.iter_mut().find(|(k, _)| *k == key) {
            slot.1 = event;
            return;
        }
        if self.states.len() == MAX_STATES {
            self.states.pop_front();
        }
        self.states.push_back((key, event));
    }

    /// Drops everything that is not part of a frame already begun, to make way for a close.
    pub fn abandon(&mut self) {
        // A frame that has begun must go out whole, or the close after it is unreadable.
        let begun = self.written > 0 || self.items.front().is_some_and(|item| !item.opens);
        let keep = if begun && self.framed > 0 {
            1 + self
                .items
                .range(1..self.framed)
                .take_while(|item| !item.opens)
                .count()
        } else {
            0
        };
        self.items.truncate(keep);
        self.framed = keep;
        self.bytes = self.items.iter().map(Item::len).sum::<usize>() - self.written;
        self.states.clear();
    }

    /// What to write next: frames whatever waits, up to `slices` and the bound of a frame, and
    /// fills `slices`. Returns how many were filled; 0 when nothing waits.
    pub fn fill<'a>(&'a mut self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        if self.items.is_empty() {
            self.take_states();
        }
        while self.framed < self.items.len().min(MAX_SLICES / 2) {
            self.frame();
        }
        let mut filled = 0;
        for (i, item) in self.items.iter().take(MAX_SLICES / 2).enumerate() {
            let mut skip = if i == 0 { self.written } else { 0 };
            for part in [item.head(), &item.body] {
                let rest = &part[skip.min(part.len())..];
                skip = skip.saturating_sub(part.len());
                if !rest.is_empty() {
                    slices[filled] = IoSlice::new(rest);
                    filled += 1;
                }
            }
        }
        filled
    }

    /// `n` bytes of what [`Outbox::fill`] gave were written.
    pub fn consume(&mut self, mut n: usize) {
        self.bytes -= n;
        while n > 0 {
            let Some(first) = self.items.front() else {
                break;
            };
            let left = first.len() - self.written;
            if n < left {
                self.written += n;
                return;
            }
            n -= left;
            self.written = 0;
            self.framed -= 1;
            self.items.pop_front();
        }
        if self.items.is_empty() {
            self.spared = (0, 0);
            // An idle connection holds no buffer.
            self.items = VecDeque::new();
        }
    }

    fn push(&mut self, item: Item) -> Result<(), Full> {
        let bytes = self.bytes.saturating_sub(self.spared.0);
        let items = self.items.len().saturating_sub(self.spared.1);
        if bytes + item.len() > MAX_BYTES || items >= MAX_ITEMS {
            if !self.items.is_empty() {
                return Err(Full);
            }
            // A snapshot may be larger than the bound: in an empty lane it fits, and does not
            // take the place of what follows.
            self.spared = (item.len(), 1);
        }
        self.bytes += item.len();
        self.items.push_back(item);
        Ok(())
    }

    /// Makes one frame of the first items that stand in none.
    fn frame(&mut self) {
        let first = self.framed;
        if self.items[first].kind == Kind::Control {
            self.framed += 1;
            return;
        }
        let separator = self.encoding.separator();
        let mut payload = 0;
        let mut end = first;
        while end < self.items.len().min(MAX_SLICES / 2) {
            let item = &mut self.items[end];
            let more = item.len() + if end > first { separator.len() } else { 0 };
            if item.kind == Kind::Control || (end > first && payload + more > MAX_FRAME) {
                break;
            }
            if end > first {
                item.put_before(separator);
                self.bytes += separator.len();
            }
            payload += more;
            end += 1;
        }
        let (header, len) = frame_header(self.encoding, payload);
        self.items[first].put_before(&header[..len]);
        self.items[first].opens = true;
        self.bytes += len;
        self.framed = end;
    }

    fn take_states(&mut self) {
        let prefix = Prefix::new(self.encoding, None);
        for (_, event) in std::mem::take(&mut self.states) {
            let item = Item::new(prefix.as_bytes(), event.tail(self.encoding), Kind::Object);
            self.bytes += item.len();
            self.items.push_back(item);
        }
    }
}

/// A final, unmasked data frame's header (RFC 6455, 5.2).
fn frame_header(encoding: Encoding, payload: usize) -> ([u8; HEADER], usize) {
    let mut header = [0; HEADER];
    header[0] = match encoding {
        Encoding::Json => 0x81,
        Encoding::MsgPack => 0x82,
    };
    let len = match payload {
        0..=125 => {
            header[1] = payload as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            10
        }
    };
    (header, len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::protocol::event::Event;

    use super::*;

    fn event(room: &str) -> Arc<SharedEvent> {
        Arc::new(SharedEvent::new(Event::RoomRemoved {
            room: RoomId::parse(room).unwrap(),
        }))
    }

    /// Writes everything, `step` bytes at a time, and returns what the socket got.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut socket = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = outbox.fill(&mut slices);
            let bytes: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
            let n = bytes.len().min(step);
            socket.extend_from_slice(&bytes[..n]);
            outbox.consume(n);
        }
        assert_eq!(outbox.bytes(), 0);
        socket
    }

    /// Cuts frames off a server's bytes: opcode and payload.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (header, len) = match bytes[1] {
                126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
                127 => (
                    10,
                    u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize,
                ),
                n => (2, usize::from(n)),
            };
            frames.push((bytes[0] & 15, bytes[header..header + len].to_vec()));
            bytes = &bytes[header + len..];
        }
        frames
    }

    #[test]
    fn what_waits_goes_out_as_one_frame() {
        let mut outbox = Outbox::new(Encoding::Json);
        outbox
            .push_reply(Bytes::from_static(b"{\"id\":1,\"ok\":{}}"))
            .unwrap();
        outbox.push_event(7, &event("a")).unwrap();
        outbox.push_control(9, b"").unwrap();
        outbox.push_event(8, &event("b")).unwrap();
        let frames = frames(&drain(&mut outbox, usize::MAX));
        assert_eq!(frames.len(), 3);
        let text = String::from_utf8(frames[0].1.clone()).unwrap();
        let first =
            "{\"id\":1,\"ok\":{}}\n{\"s\":7,\"ev\":\"room.removed\",\"d\":{\"room\":\"a\"}}";
        assert_eq!(text, first);
        assert_eq!(frames[1].0, 9);
        assert_eq!(
            frames[2].1,
            b"{\"s\":8,\"ev\":\"room.removed\",\"d\":{\"room\":\"b\"}}"
        );
    }

    #[test]
    fn the_newest_state_wins_and_waits_for_the_reliable_lane() {
        let mut outbox = Outbox::new(Encoding::Json);
        let key = StateKey::Presence(UserId::parse("u").unwrap());
        outbox.put_state(key.clone(), event("old"));
        outbox.put_state(key, event("new"));
        outbox.push_event(1, &event("first")).unwrap();
        let bytes = drain(&mut outbox, usize::MAX);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            text.find("first") < text.find("new") && !text.contains("old"),
            "{text}"
        );
    }

    #[test]
    fn the_reliable_lane_is_bounded_and_a_replay_is_not_counted() {
        let mut outbox = Outbox::new(Encoding::MsgPack);
        for s in 0..1024 {
            outbox.push_replayed(s, &event("r"));
        }
        for s in 0..MAX_ITEMS as u64 {
            assert_eq!(outbox.push_event(s, &event("r")), Ok(()), "{s}");
        }
        assert_eq!(outbox.push_event(9, &event("r")), Err(Full));
        drain(&mut outbox, usize::MAX);
        assert_eq!(outbox.push_event(9, &event("r")), Ok(()));
        let huge = Bytes::from(vec![0; MAX_BYTES * 2]);
        assert_eq!(outbox.push_reply(huge), Err(Full));
    }

    #[test]
    fn a_snapshot_beyond_the_bound_leaves_room_for_what_follows() {
        let mut outbox = Outbox::new(Encoding::Json);
        let huge = Bytes::from(vec![b'x'; MAX_BYTES * 2]);
        assert_eq!(outbox.push_reply(huge.clone()), Ok(()));
        for s in 0..MAX_ITEMS as u64 {
            assert_eq!(outbox.push_event(s, &event("r")), Ok(()), "{s}");
        }
        assert_eq!(outbox.push_event(9, &event("r")), Err(Full));
        assert_eq!(outbox.push_reply(huge), Err(Full), "one at a time");
    }

    #[test]
    fn abandoning_keeps_the_frame_that_has_begun() {
        let mut outbox = Outbox::new(Encoding::Json);
        outbox.push_event(1, &event("a")).unwrap();
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        outbox.fill(&mut slices);
        outbox.consume(3);
        outbox.push_event(2, &event("b")).unwrap();
        outbox.abandon();
        outbox.push_control(8, &4008_u16.to_be_bytes()).unwrap();
        let rest = drain(&mut outbox, usize::MAX);
        let whole = [&[0x81, 44, b'{'][..], &rest].concat();
        let frames = frames(&whole);
        assert_eq!(frames.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 8]);
    }

    #[test]
    fn abandoning_between_two_objects_of_a_frame_keeps_the_second() {
        let mut outbox = Outbox::new(Encoding::Json);
        outbox.push_reply(Bytes::from_static(b"1")).unwrap();
        outbox.push_reply(Bytes::from_static(b"2")).unwrap();
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        outbox.fill(&mut slices);
        outbox.consume(3); // the header and the first object
        outbox.push_reply(Bytes::from_static(b"3")).unwrap();
        outbox.abandon();
        assert_eq!(drain(&mut outbox, usize::MAX), b"\n2");
    }

    proptest! {
        /// However the socket cuts writes, the same objects arrive in the same order.
        #[test]
        fn any_cutting_of_writes_gives_the_same_objects(
            ops in proptest::collection::vec((0_u8..4, 1_usize..3000), 1..120),
            step in 1_usize..5000,
        ) {
            let mut outbox = Outbox::new(Encoding::Json);
            let (mut pushed, mut socket) = (Vec::new(), Vec::new());
            for (op, size) in ops {
                let reply = format!("\"{}\"", "x".repeat(size));
                match op {
                    0 | 1 if outbox.push_reply(reply.clone().into()).is_ok() => pushed.push(reply),
                    2 => { let _ = outbox.push_control(9, b"p"); }
                    _ => {
                        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                        let filled = outbox.fill(&mut slices);
                        let bytes: Vec<u8> =
                            slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
                        let n = bytes.len().min(step);
                        socket.extend_from_slice(&bytes[..n]);
                        outbox.consume(n);
                    }
                }
            }
            socket.extend(drain(&mut outbox, step));
            let objects: Vec<String> = frames(&socket)
                .into_iter()
                .filter(|(opcode, _)| *opcode == 1)
                .flat_map(|(_, payload)| {
                    let text = String::from_utf8(payload).unwrap();
                    text.split('\n').map(str::to_owned).collect::<Vec<_>>()
                })
                .collect();
            prop_assert_eq!(objects, pushed);
        }
    }
}
