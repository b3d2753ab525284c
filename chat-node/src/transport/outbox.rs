//! What a socket has yet to be sent: two lanes, and frames made as late as possible.
//!
//! The **reliable** lane is a queue bounded in bytes and events, counted when pushed, not when
//! written: a reader that falls behind its bound is closed, and resumes. Answers stand in it too,
//! in order with the rest, but do not count: they are bounded where commands are taken on
//! ([`debt`](super::debt)). The **state** lane is a keyed map where the newest wins; it drains when
//! the reliable lane has, and sheds silently.
//!
//! Whatever waits when the socket is writable goes out as one WebSocket frame of several objects
//! and one vectored write. A frame is made (its length is fixed) only when its first byte is
//! about to be written; until then more may join it.
//!
//! On a socket that agreed to it, an object that gains by it stands in the lane compressed: an event
//! was compressed once for all its recipients, and the prefix of each, which is its own, goes before
//! it in a stored block (see [`super::deflate`]). Objects of one frame are compressed or they are not.

mod item;

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

use bytes::Bytes;
use shared::{
    id::{RoomId, UserId},
    protocol::{
        codec::{Encoding, Prefix, SharedEvent},
        event::{Bye, Event},
    },
};
use smallvec::SmallVec;

use self::item::{Item, Kind, RSV1};
use super::{
    Agreed,
    debt::Answers,
    deflate::{STORED, deflate},
};

/// The most bytes the reliable lane holds, answers apart.
pub const MAX_BYTES: usize = 256 * 1024;
/// The most items the reliable lane holds, answers apart.
pub const MAX_ITEMS: usize = 512;
/// The most keys the state lane holds; past it, what was put first gives way.
pub const MAX_STATES: usize = 512;
/// The most slices of one vectored write; each item takes two.
pub const MAX_SLICES: usize = 64;
/// What one vectored write takes.
pub type Slices<'a> = SmallVec<[IoSlice<'a>; MAX_SLICES]>;
/// Items that are written and still stand at the front before they are cleared away.
const MAX_GONE: usize = 64;
/// The most payload of one outbound frame, so that a client's own bound need not be large.
const MAX_FRAME: usize = 64 * 1024;
/// Events shorter than this go out as they are: they would gain a few bytes of their recipients' and
/// cost each of them the work of inflating.
const MIN_DEFLATED_EVENT: usize = 160;
/// Replies shorter than this do, too: they are compressed for one recipient alone.
const MIN_DEFLATED_REPLY: usize = 1024;
/// The longest event once compressed, so that its frame's header leaves room for a stored block's.
const MAX_DEFLATED_EVENT: usize = 60 * 1024;

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
    agreed: Agreed,
    /// One stands in place, because one is what most sockets get at a time.
    items: SmallVec<[Item; 1]>,
    /// How many items at the front are written; they go when all are, or when there are many.
    gone: usize,
    bytes: usize,
    /// How many items after those stand in frames that are made.
    framed: usize,
    /// Bytes of the first item that are written.
    written: usize,
    /// Bytes and items beyond the bound, until the lane is empty: a replay.
    spared: (usize, usize),
    /// The answers among the items that are not written whole.
    answers: Answers,
    states: VecDeque<(StateKey, Arc<SharedEvent>)>,
}

impl Outbox {
    /// An empty outbox for a socket that agreed to this.
    pub fn new(agreed: impl Into<Agreed>) -> Self {
        Self {
            agreed: agreed.into(),
            items: SmallVec::new(),
            gone: 0,
            bytes: 0,
            framed: 0,
            written: 0,
            spared: (0, 0),
            answers: Answers::default(),
            states: VecDeque::new(),
        }
    }

    /// What was agreed on for the socket.
    pub fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// The socket's encoding.
    pub fn encoding(&self) -> Encoding {
        self.agreed.encoding
    }

    /// Whether nothing waits in either lane.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.states.is_empty()
    }

    /// Bytes that wait in the reliable lane.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answers that wait.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// Queues an event of the replayable stream.
    #[inline]
    pub fn push_event(&mut self, s: u64, event: &SharedEvent) -> Result<(), Full> {
        self.push(self.event(Some(s), event))
    }

    /// Queues an ephemeral event that must not be replaced by a newer one (`hello`, `bye`).
    pub fn push_ephemeral(&mut self, event: &SharedEvent) -> Result<(), Full> {
        self.push(self.event(None, event))
    }

    /// Queues an event that is replayed: a ring may hold more than an outbox, so it does not
    /// count against the bound.
    pub fn push_replayed(&mut self, s: u64, event: &SharedEvent) {
        let item = self.event(Some(s), event);
        self.spared.0 += item.len();
        self.spared.1 += 1;
        self.add(item);
    }

    /// Queues an encoded reply. It does not count against the bound.
    pub fn push_reply(&mut self, reply: Bytes) {
        let mut item = Item::whole(reply, Kind::Answer);
        if self.agreed.deflate
            && item.body.len() >= MIN_DEFLATED_REPLY
            && let Some(small) = deflate(&item.body)
        {
            item.compress(small);
        }
        self.answers.add(item.body.len());
        self.add(item);
    }

    /// Queues a ping, pong or close frame; `payload` is at most 125 bytes.
    pub fn push_control(&mut self, opcode: u8, payload: &[u8]) -> Result<(), Full> {
        self.push(Item::control(opcode, payload))
    }

    /// Queues the last there is to say: a `bye`, a close frame. Nothing follows, so there is always
    /// place for them.
    pub fn push_close(&mut self, code: u16, reason: &str, bye: Option<Bye>) {
        if let Some(bye) = bye {
            let event = SharedEvent::new(Event::Bye(bye));
            let item = self.event(None, &event);
            self.add(item);
        }
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..reason.len().min(100)]);
        self.add(Item::control(0x8, &payload));
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
        self.items.drain(..self.gone);
        self.gone = 0;
        // A frame that has begun must go out whole, or the close after it is unreadable.
        let begun = self.written > 0 || self.items.first().is_some_and(|item| !item.opens);
        let keep = if begun && self.framed > 0 {
            1 + self.items[1..self.framed]
                .iter()
                .take_while(|item| !item.opens)
                .count()
        } else {
            0
        };
        self.items.truncate(keep);
        self.framed = keep;
        self.answers = Answers::default();
        for item in self.items.iter().filter(|item| item.kind == Kind::Answer) {
            self.answers.add(item.body.len());
        }
        self.bytes = self.items.iter().map(Item::len).sum::<usize>() - self.written;
        self.states.clear();
    }

    /// What to write next: frames whatever waits, up to [`MAX_SLICES`] and the bound of a frame,
    /// and fills `slices` with it; with none when nothing waits.
    #[inline]
    pub fn fill<'a>(&'a mut self, slices: &mut Slices<'a>) {
        if self.items.is_empty() {
            self.take_states();
        }
        let alone = match &*self.items {
            // What most sockets get at a time: one object that is a frame.
            [item] => self.framed == 0 && item.kind != Kind::Control && !item.is_compressed(),
            _ => false,
        };
        if !alone {
            return self.fill_from_many(slices);
        }
        let item = &mut self.items[0];
        let payload = item.len();
        self.bytes += item.open_frame(opcode(self.agreed.encoding), payload);
        self.framed = 1;
        slices.push(IoSlice::new(item.head()));
        slices.push(IoSlice::new(&item.body));
    }

    fn fill_from_many<'a>(&'a mut self, slices: &mut Slices<'a>) {
        while self.framed < self.waiting().len().min(MAX_SLICES / 2) {
            self.frame();
        }
        let mut written = self.written;
        for item in self.waiting().iter().take(MAX_SLICES / 2) {
            for part in [item.head(), &item.body] {
                let gone = written.min(part.len());
                written -= gone;
                let rest = &part[gone..];
                if !rest.is_empty() {
                    slices.push(IoSlice::new(rest));
                }
            }
        }
    }

    /// `n` bytes of what [`Outbox::fill`] gave were written.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.bytes -= n;
        if self.bytes == 0 {
            // All of it, as nearly always.
            self.answers = Answers::default();
            self.framed = 0;
            self.written = 0;
            self.clear();
        } else {
            self.consume_some(n);
        }
    }

    fn consume_some(&mut self, mut n: usize) {
        while n > 0 {
            let Some(first) = self.waiting().first() else {
                break;
            };
            let (left, kind, body) = (first.len() - self.written, first.kind, first.body.len());
            if n < left {
                self.written += n;
                return;
            }
            n -= left;
            if kind == Kind::Answer {
                self.answers.remove(body);
            }
            self.written = 0;
            self.framed -= 1;
            self.gone += 1;
        }
        if self.gone >= MAX_GONE {
            self.items.drain(..self.gone);
            self.gone = 0;
        }
    }

    /// Nothing waits in the reliable lane any more.
    #[inline]
    fn clear(&mut self) {
        self.spared = (0, 0);
        self.gone = 0;
        if self.items.spilled() {
            // An idle connection holds no buffer.
            self.items = SmallVec::new();
        } else {
            self.items.clear();
        }
    }

    /// An event, in the form this socket takes it.
    // It, and what it calls, stands in every delivery: as a call, the item would be copied twice.
    #[inline]
    fn event(&self, s: Option<u64>, event: &SharedEvent) -> Item {
        let Agreed { encoding, deflate } = self.agreed;
        let prefix = Prefix::new(encoding, s);
        let tail = event.tail(encoding);
        let mut item = Item::event(&prefix, tail);
        if deflate && let Some(small) = deflated(event, encoding) {
            item.compress(small);
        }
        item
    }

    fn waiting(&self) -> &[Item] {
        &self.items[self.gone..]
    }

    #[inline]
    fn push(&mut self, item: Item) -> Result<(), Full> {
        let bytes = self.spared.0 + self.answers.bytes;
        let bytes = self.bytes.saturating_sub(bytes);
        let items = self.spared.1 + self.answers.count;
        let items = self.waiting().len().saturating_sub(items);
        if bytes + item.len() > MAX_BYTES || items >= MAX_ITEMS {
            return Err(Full);
        }
        self.add(item);
        Ok(())
    }

    #[inline]
    fn add(&mut self, item: Item) {
        self.bytes += item.len();
        self.items.push(item);
    }

    /// Makes one frame of the first items that stand in none.
    fn frame(&mut self) {
        let items = &mut self.items[self.gone..];
        let first = self.framed;
        if items[first].kind == Kind::Control {
            self.framed += 1;
            return;
        }
        if items[first].is_compressed() {
            return self.frame_compressed();
        }
        let encoding = self.agreed.encoding;
        let separator = encoding.separator();
        let mut payload = 0;
        let mut end = first;
        while end < items.len().min(MAX_SLICES / 2) {
            let item = &mut items[end];
            let more = item.len() + if end > first { separator.len() } else { 0 };
            if item.kind == Kind::Control
                || item.is_compressed()
                || (end > first && payload + more > MAX_FRAME)
            {
                break;
            }
            if end > first {
                for byte in separator.iter().rev() {
                    item.put_before([*byte]);
                }
                self.bytes += separator.len();
            }
            payload += more;
            end += 1;
        }
        self.bytes += items[first].open_frame(opcode(encoding), payload);
        self.framed = end;
    }

    /// Makes one frame of the first compressed items that stand in none.
    fn frame_compressed(&mut self) {
        let items = &mut self.items[self.gone..];
        let first = self.framed;
        let encoding = self.agreed.encoding;
        // What is written, and what it is to the recipient.
        let (mut payload, mut inflated) = (0, 0);
        let mut end = first;
        while end < items.len().min(MAX_SLICES / 2) {
            let item = &mut items[end];
            let separator: &[u8] = if end > first {
                encoding.separator()
            } else {
                b""
            };
            let head = separator.len() + item.head().len();
            let written = STORED + head + item.body.len();
            let plain = head + item.inflated as usize;
            let full = inflated + plain > MAX_FRAME || payload + written > usize::from(u16::MAX);
            if !item.is_compressed() || (end > first && full) {
                break;
            }
            let before = item.len();
            for byte in separator.iter().rev() {
                item.put_before([*byte]);
            }
            item.store_head(end == first);
            self.bytes += item.len() - before;
            payload += item.len();
            inflated += plain;
            end += 1;
        }
        self.bytes += items[first].open_frame(opcode(encoding) | RSV1, payload);
        self.framed = end;
    }

    fn take_states(&mut self) {
        for (_, event) in std::mem::take(&mut self.states) {
            let item = self.event(None, &event);
            self.add(item);
        }
    }
}

/// FIN and the opcode of a data frame.
fn opcode(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Json => 0x81,
        Encoding::MsgPack => 0x82,
    }
}

/// What all who agreed to compression share of an event, if it gains by it.
fn deflated(event: &SharedEvent, encoding: Encoding) -> Option<Bytes> {
    event.twin(encoding, |tail| {
        (tail.len() >= MIN_DEFLATED_EVENT)
            .then(|| deflate(tail))
            .flatten()
            .filter(|small| small.len() <= MAX_DEFLATED_EVENT)
    })
}

#[cfg(test)]
mod tests;
