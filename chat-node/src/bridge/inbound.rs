//! What other nodes say, handed to whom it concerns.

use std::sync::Arc;

use shared::protocol::room::EntryBody;
use tokio_util::sync::CancellationToken;

use super::{Bridge, BusMessage, RoomListener, RoomNews, SessionControl, StoreEvents};
use crate::{
    bus::{BusEvent, BusReceiver, Envelope, Topic},
    friends::FriendCache,
    limits::Limits,
    presence::Presence,
    transport::relay::Relays,
};

/// The way in from other nodes.
pub struct Inbound {
    /// The way out, whose own messages are not heard.
    pub bridge: Arc<Bridge>,
    /// Rooms.
    pub rooms: Arc<dyn RoomListener>,
    /// Sessions.
    pub sessions: Arc<dyn SessionControl>,
    /// Presence.
    pub presence: Presence,
    /// Friends.
    pub friends: Arc<FriendCache>,
    /// Events of the store.
    pub store_events: Arc<StoreEvents>,
    /// Who is here.
    pub relays: Relays,
    /// How much rooms take.
    pub limits: Arc<Limits>,
}

impl Inbound {
    /// Hears until the bus is gone, or `stop`. Nothing here waits, so what comes is taken as fast
    /// as it can be; what cannot be is dropped by the bus, which says so.
    pub async fn run(self, mut heard: BusReceiver, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                event = heard.recv() => event,
                () = self.bridge.doubted() => {
                    self.repair();
                    continue;
                }
                () = stop.cancelled() => None,
            };
            metrics::gauge!("fireside_bus_waiting").set(heard.len() as f64);
            match event {
                None => return,
                Some(BusEvent::Message(topic, envelope)) => self.hear(&topic, &envelope),
                Some(BusEvent::Interrupted) => {
                    metrics::counter!("fireside_bus_interruptions_total").increment(1);
                    tracing::warn!("the bus is interrupted");
                    self.bridge.link(false);
                }
                Some(BusEvent::Restored) => {
                    self.bridge.link(true);
                    tracing::info!("the bus is restored; what was missed is read again");
                    self.repair();
                }
            }
        }
    }

    fn hear(&self, topic: &Topic, envelope: &Envelope) {
        let own = envelope.origin == *self.bridge.node();
        if own && *topic != Topic::Nodes {
            return;
        }
        let message = match BusMessage::decode(&envelope.payload) {
            Ok(message) => message,
            Err(error) => {
                metrics::counter!("fireside_bus_heard_total", "kind" => "unreadable").increment(1);
                tracing::warn!(%error, origin = %envelope.origin, "a neighbour is not understood");
                return;
            }
        };
        if own && !matches!(message, BusMessage::Lost) {
            return;
        }
        metrics::counter!("fireside_bus_heard_total", "kind" => message.kind()).increment(1);
        match message {
            BusMessage::Room(news) => {
                // A user's topic is heard for presence alone while somebody here has a room open with
                // that user in it.
                let for_nobody = matches!(topic, Topic::User(user) if !self.relays.is_online(user));
                if !for_nobody {
                    // Only here: of two people each has a topic, on which it would come again.
                    if let (Topic::Room(room), RoomNews::Entries { entries, .. }) = (topic, &news) {
                        let messages = entries
                            .iter()
                            .filter(|entry| matches!(entry.body, EntryBody::Message(_)));
                        self.limits.taken_elsewhere(room, messages.count());
                    }
                    self.rooms.hear(news);
                }
            }
            BusMessage::Presence(news) => self.presence.hear(&news),
            BusMessage::Store(event) => self.store_events.heard(event),
            BusMessage::Disconnect { user, at } => self.sessions.disconnect(&user, at),
            BusMessage::Passage(passage) => self.sessions.passage(passage),
            BusMessage::Lost => self.rooms.restored(),
        }
    }

    /// Messages may have been lost: whatever they would have changed is read again.
    fn repair(&self) {
        self.rooms.restored();
        self.friends.doubt_all();
        self.store_events.reread_revocations();
        self.presence.doubt_all(self.presence.users());
    }
}
