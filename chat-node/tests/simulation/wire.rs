//! The bus between the nodes of a schedule: loses, delays, doubles, and reorders what comes from
//! different nodes. What one node says on its way to another keeps its order, as the port promises,
//! but for doubles.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chat_node::{
    bridge::BusMessage,
    bus::{Bus, BusError, BusEvent, BusReceiver, Envelope, Topic},
};
use parking_lot::Mutex;
use shared::id::NodeId;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    dice::{Dice, Of},
    plan::Faults,
    plant::Plant,
    trace::note,
};

/// How long it takes at most, in ms, until a link that loses something is seen to.
const NOTICED: u64 = 30_000;
/// More than a schedule ever says.
const CAPACITY: usize = 4_096;

/// The bus.
pub(crate) struct Wire {
    pub(crate) dice: Arc<Dice>,
    pub(crate) faults: Faults,
    pub(crate) plant: Plant,
    pub(crate) calm: Arc<AtomicBool>,
    pub(crate) ports: Mutex<Vec<Port>>,
}

/// A node's place on the bus.
pub(crate) struct Port {
    heard: Option<mpsc::Sender<BusEvent>>,
    topics: HashSet<Topic>,
    life: u32,
    cuts: u32,
    /// The node has been told of the cut.
    known: bool,
    /// Something was lost on its way here, and will be noticed.
    lacks: bool,
    /// Something was said here that nobody heard, of which the others have to be told.
    owes: bool,
    /// When the last message from each node arrives here.
    last: Vec<Instant>,
}

/// A node's handle, for one of its lives.
pub(crate) struct Station {
    wire: Arc<Wire>,
    node: usize,
    id: NodeId,
    life: u32,
}

impl Wire {
    pub(crate) fn new(
        nodes: usize,
        dice: Arc<Dice>,
        faults: Faults,
        plant: Plant,
        calm: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let port = || Port {
            heard: None,
            topics: HashSet::new(),
            life: 0,
            cuts: 0,
            known: false,
            lacks: false,
            owes: false,
            last: vec![now; nodes],
        };
        Arc::new(Self {
            dice,
            faults,
            plant,
            calm,
            ports: Mutex::new(std::iter::repeat_with(port).take(nodes).collect()),
        })
    }

    /// A node begins a life.
    pub(crate) fn join(self: &Arc<Self>, node: usize, id: NodeId) -> (Station, BusReceiver) {
        let (heard, receiver) = mpsc::channel(CAPACITY);
        let port = &mut self.ports.lock()[node];
        port.heard = Some(heard);
        port.lacks = false;
        port.topics.clear();
        port.life += 1;
        let station = Station {
            wire: self.clone(),
            node,
            id,
            life: port.life,
        };
        (station, receiver)
    }

    /// A node dies.
    pub(crate) fn leave(&self, node: usize) {
        let port = &mut self.ports.lock()[node];
        port.heard = None;
        port.topics.clear();
        port.life += 1;
    }

    /// A node's link breaks.
    pub(crate) fn cut(&self, node: usize, told: bool) {
        let port = &mut self.ports.lock()[node];
        port.cuts += 1;
        if told && self.plant != Plant::NeverTold {
            port.known = true;
            port.tell(BusEvent::Interrupted);
        }
    }

    /// It stands again.
    pub(crate) fn mend(&self, node: usize) {
        let ports = &mut *self.ports.lock();
        let port = &mut ports[node];
        port.cuts -= 1;
        if port.cuts > 0 || self.plant == Plant::NeverTold {
            return;
        }
        if !std::mem::take(&mut port.known) {
            port.tell(BusEvent::Interrupted);
        }
        port.lacks = false;
        port.tell(BusEvent::Restored);
        if std::mem::take(&mut port.owes) {
            let others = ports.iter_mut().enumerate();
            for (_, other) in others.filter(|(n, other)| *n != node && other.cuts == 0) {
                other.tell(BusEvent::Interrupted);
                other.tell(BusEvent::Restored);
            }
        }
    }

    fn send(
        self: &Arc<Self>,
        from: usize,
        origin: &NodeId,
        topic: &Topic,
        payload: &Bytes,
    ) -> Result<(), BusError> {
        let ports = &mut *self.ports.lock();
        if ports[from].cuts > 0 {
            note(|| format!("n{from} says into a cut link"));
            ports[from].owes = true;
            // Until it is known to be cut, what is said there goes nowhere and nobody knows.
            let known = ports[from].known && self.plant != Plant::NeverTold;
            return if known { Err(cut()) } else { Ok(()) };
        }
        for (to, port) in ports.iter_mut().enumerate() {
            // A node hears itself too; but for what it tells every node it need not.
            let own = to == from && *topic != Topic::Nodes;
            if own || !port.topics.contains(topic) {
                continue;
            }
            let mut roll = self.dice.roll(Of::Publish, from as u64, to as u64);
            let (lost, doubled, late) = (
                roll.happens(self.faults.lost),
                roll.happens(self.faults.doubled),
                roll.happens(self.faults.late),
            );
            let delay = if late {
                roll.within(20, 150)
            } else {
                roll.within(0, 6)
            };
            let calm = self.calm.load(Relaxed);
            if lost && !calm {
                note(|| format!("n{from} to n{to}: lost"));
                self.notice(to, port, roll.within(1, NOTICED));
                continue;
            }
            let envelope = Envelope {
                origin: origin.clone(),
                payload: payload.clone(),
            };
            let event = BusEvent::Message(topic.clone(), envelope);
            let next = port.last[from] + Duration::from_millis(1);
            let at = (Instant::now() + Duration::from_millis(delay)).max(next);
            port.last[from] = at;
            if doubled && !calm {
                let again = at + Duration::from_millis(roll.within(1, 80));
                self.arrive(from, to, port.life, again, event.clone());
            }
            self.arrive(from, to, port.life, at, event);
        }
        Ok(())
    }

    /// A node notices after a while that something was lost on its way to it.
    fn notice(self: &Arc<Self>, node: usize, port: &mut Port, after: u64) {
        if std::mem::replace(&mut port.lacks, true) || self.plant == Plant::NeverTold {
            return;
        }
        let (wire, life) = (self.clone(), port.life);
        tokio::spawn(async move {
            sleep(Duration::from_millis(after)).await;
            let port = &mut wire.ports.lock()[node];
            if port.life == life {
                port.lacks = false;
                port.tell(BusEvent::Interrupted);
                if port.cuts == 0 {
                    port.tell(BusEvent::Restored);
                }
            }
        });
    }

    fn arrive(self: &Arc<Self>, from: usize, to: usize, life: u32, at: Instant, event: BusEvent) {
        let wire = self.clone();
        tokio::spawn(async move {
            sleep_until(at).await;
            let port = &mut wire.ports.lock()[to];
            let BusEvent::Message(topic, _) = &event else {
                return;
            };
            if port.life == life && port.cuts == 0 && port.topics.contains(topic) {
                note(|| format!("n{to} hears n{from}: {}", said(&event)));
                port.tell(event);
            }
        });
    }
}

fn cut() -> BusError {
    BusError::Unavailable("the link is cut".into())
}

fn said(event: &BusEvent) -> String {
    match event {
        BusEvent::Message(_, envelope) => match BusMessage::decode(&envelope.payload) {
            Ok(BusMessage::Room(chat_node::room::RoomNews::Entries { room, entries, .. })) => {
                let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq.get()).collect();
                format!("{room} {seqs:?}")
            }
            Ok(message) => format!("{message:?}"),
            Err(error) => error.to_string(),
        },
        other => format!("{other:?}"),
    }
}

impl Port {
    fn tell(&mut self, event: BusEvent) {
        if let Some(heard) = &self.heard {
            heard
                .try_send(event)
                .expect("a schedule says less than that");
        }
    }
}

impl Station {
    fn lives(&self) -> bool {
        self.wire.ports.lock()[self.node].life == self.life
    }
}

#[async_trait]
impl Bus for Station {
    fn publish(&self, topic: Topic, payload: Bytes) -> Result<(), BusError> {
        if self.lives() {
            let payload = misplaced(&payload, self.wire.plant).unwrap_or(payload);
            return self.wire.send(self.node, &self.id, &topic, &payload);
        }
        Ok(())
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
        let mut roll = self.wire.dice.roll(Of::Subscribe, self.node as u64, 0);
        let fails = roll.happens(self.wire.faults.deaf) && !self.wire.calm.load(Relaxed);
        sleep(Duration::from_millis(roll.within(0, 5))).await;
        if !self.lives() {
            return Ok(());
        }
        let port = &mut self.wire.ports.lock()[self.node];
        if fails || port.cuts > 0 {
            return Err(cut());
        }
        port.topics.extend(topics.iter().cloned());
        Ok(())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), BusError> {
        if self.lives() {
            let port = &mut self.wire.ports.lock()[self.node];
            port.topics.retain(|topic| !topics.contains(topic));
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(())
    }
}

/// The message with its entries one position too early: a planted fault.
fn misplaced(payload: &Bytes, plant: Plant) -> Option<Bytes> {
    use chat_node::room::RoomNews;
    use shared::id::Seq;
    if plant != Plant::Misplaced {
        return None;
    }
    let Ok(BusMessage::Room(RoomNews::Entries {
        room,
        users,
        mut entries,
        followed,
    })) = BusMessage::decode(payload)
    else {
        return None;
    };
    for entry in &mut entries {
        entry.seq = Seq::new(entry.seq.get().saturating_sub(1));
    }
    let news = RoomNews::Entries {
        room,
        users,
        entries,
        followed,
    };
    BusMessage::Room(news).encode().ok()
}
