//! The sending side of a receiver: what a backend hears goes in here, and every drop is made good.
//!
//! Nobody waits. A message for a full receiver is dropped (counted), and the receiver is told
//! [`BusEvent::Interrupted`] and [`BusEvent::Restored`] behind what it has still to read. Two
//! places are kept free for that pair. A drop while a `Restored` still waits to be read, or is
//! bound to come because the link is broken, needs none of its own: the repair that it starts
//! comes after the drop and so covers it.

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{BusEvent, BusReceiver};

/// Places kept free for `Interrupted` and `Restored`.
const RESERVED: usize = 2;

/// The sending side of one receiver.
pub(super) struct Inbox {
    /// Locked while a message is offered, so that looking for room and taking it are one step and
    /// messages of one publisher keep their order.
    state: Mutex<State>,
}

struct State {
    sender: mpsc::Sender<BusEvent>,
    link: Link,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Stands,
    /// `Interrupted` was told, and a place is left for `Restored`.
    BrokenAndTold,
    /// There was no place to tell it: a `Restored` waited to be read.
    Broken,
}

impl Inbox {
    /// A receiver that holds up to `capacity` messages.
    pub(super) fn new(capacity: usize) -> (Self, BusReceiver) {
        let (sender, receiver) = mpsc::channel(capacity.max(1) + RESERVED);
        let state = State {
            sender,
            link: Link::Stands,
        };
        let state = Mutex::new(state);
        (Self { state }, receiver)
    }

    /// Puts a message in, or drops it and sees to its repair.
    pub(super) fn offer(&self, message: BusEvent) {
        let state = self.state.lock();
        if state.sender.capacity() > RESERVED {
            // A receiver that is gone misses nothing.
            let _ = state.sender.try_send(message);
            return;
        }
        metrics::counter!("fireside_bus_dropped_total").increment(1);
        state.blink();
    }

    /// Something was lost, and the link stands: whatever it was is to be read again.
    pub(super) fn blink(&self) {
        self.state.lock().blink();
    }

    /// The link broke.
    #[cfg_attr(
        not(any(feature = "redis", test)),
        expect(dead_code, reason = "memory has no link that breaks")
    )]
    pub(super) fn interrupted(&self) {
        let mut state = self.state.lock();
        if state.link != Link::Stands {
            return;
        }
        state.link = if state.sender.capacity() >= RESERVED {
            let _ = state.sender.try_send(BusEvent::Interrupted);
            Link::BrokenAndTold
        } else {
            Link::Broken
        };
    }

    /// The link stands again.
    #[cfg_attr(
        not(any(feature = "redis", test)),
        expect(dead_code, reason = "memory has no link that breaks")
    )]
    pub(super) fn restored(&self) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.link, Link::Stands) {
            Link::Stands => {}
            Link::BrokenAndTold => {
                let _ = state.sender.try_send(BusEvent::Restored);
            }
            Link::Broken => state.blink(),
        }
    }
}

impl State {
    /// Puts the pair behind what waits, unless it, or its second half, waits already or is to
    /// come.
    fn blink(&self) {
        if self.link == Link::Stands && self.sender.capacity() >= RESERVED {
            let _ = self.sender.try_send(BusEvent::Interrupted);
            let _ = self.sender.try_send(BusEvent::Restored);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_oneof, proptest};
    use shared::id::NodeId;

    use super::*;
    use crate::bus::{Envelope, Topic};

    fn message(n: usize) -> BusEvent {
        let origin = NodeId::parse("n").unwrap();
        let payload = Bytes::copy_from_slice(&[n as u8]);
        BusEvent::Message(Topic::Nodes, Envelope { origin, payload })
    }

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Offer,
        Read,
        Break,
        Mend,
        Blink,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => Just(Act::Offer),
            3 => Just(Act::Read),
            1 => Just(Act::Break),
            1 => Just(Act::Mend),
            1 => Just(Act::Blink),
        ];
        prop::collection::vec(act, 1..80)
    }

    proptest! {
        /// Whoever repairs on every `Restored` misses nothing, however full the receiver is and
        /// however often the link breaks: no loss comes after the last `Restored`.
        #[test]
        fn every_loss_is_followed_by_a_repair(capacity in 1_usize..4, acts in acts()) {
            let (inbox, mut heard) = Inbox::new(capacity);
            let mut missing = std::collections::BTreeSet::new();
            let mut broken = false;
            let mut last = BusEvent::Restored;
            let mut read = |missing: &mut std::collections::BTreeSet<usize>| {
                let Ok(event) = heard.try_recv() else { return Ok(false) };
                match &event {
                    BusEvent::Message(_, envelope) => {
                        missing.remove(&usize::from(envelope.payload[0]));
                        return Ok(true);
                    }
                    // The repair reads all that was ever published, and what was lost besides.
                    BusEvent::Restored => missing.clear(),
                    BusEvent::Interrupted => {}
                }
                prop_assert!(event != last, "{event:?} twice");
                last = event;
                Ok(true)
            };
            for (n, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Offer => {
                        missing.insert(n);
                        inbox.offer(message(n));
                    }
                    Act::Read => {
                        read(&mut missing)?;
                    }
                    Act::Break => {
                        inbox.interrupted();
                        // Lost with the link.
                        missing.insert(1_000 + n);
                        broken = true;
                    }
                    Act::Mend => {
                        inbox.restored();
                        broken = false;
                    }
                    Act::Blink => {
                        missing.insert(2_000 + n);
                        inbox.blink();
                    }
                }
            }
            if broken {
                inbox.restored();
            }
            while read(&mut missing)? {}
            prop_assert!(missing.is_empty(), "never heard, never repaired: {:?}", missing);
            prop_assert!(last == BusEvent::Restored, "still interrupted");
        }
    }
}
