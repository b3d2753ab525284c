//! A session goes on at another node, where its client asked for it.

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use metrics::counter;
use shared::{id::SessionId, protocol::codec::Encoding};

use super::{
    Passage,
    actor::{Phase, Session},
    passage::{Luggage, PIECE, Step},
};
use crate::{bridge::BusMessage, bus::Topic};

/// What a node that wants the session says.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Depart(pub(super) Passage);

impl Handler<Depart> for Session {
    type Result = ();

    fn handle(&mut self, Depart(passage): Depart, ctx: &mut Context<Self>) {
        match &passage.step {
            // Of one that was given away, whoever got it answers.
            Step::Sought { .. } if matches!(self.phase, Phase::Departed) => {}
            Step::Sought { s } => {
                let step = if self.may_leave(*s) {
                    Step::Found
                } else {
                    Step::Refused
                };
                self.answer(&passage, step);
            }
            Step::Wanted { s, heads } => {
                let (s, heads) = (*s, heads.clone());
                let (rooms, relay) = (self.around.rooms.clone(), self.worker.relay.clone());
                let worker = self.sink.key().worker();
                let ready = async move {
                    let reached = rooms.reach(&heads).await;
                    // What rooms handed over until now stands in the ring when this returns.
                    relay.relays().passed(worker).await;
                    reached
                };
                ctx.spawn(ready.into_actor(self).map(move |reached, session, _| {
                    session.depart(&passage, s, reached);
                    session.sink.wake();
                }));
            }
            Step::Taken if matches!(self.phase, Phase::Departed) => {
                count("taken");
                self.end();
                self.sink.wake();
            }
            _ => {}
        }
    }
}

impl Session {
    fn may_leave(&self, s: u64) -> bool {
        matches!(self.phase, Phase::Live) && self.sink.replayable(s)
    }

    /// Gives all of it away: from here on it hears nothing, and waits until it was fetched.
    fn depart(&mut self, passage: &Passage, s: u64, reached: bool) {
        let presence = &self.around.presence;
        let state = presence.device(self.sink.key(), &self.claims.sub);
        let (Some(handle), Some(state), true) =
            (self.handle.clone(), state, reached && self.may_leave(s))
        else {
            count("refused");
            return self.answer(passage, Step::Refused);
        };
        let luggage = Luggage {
            device: handle.device.clone(),
            begun: handle.begun(),
            state,
            rooms: self.sink.rooms(),
            open: presence.opened(self.sink.key()),
        };
        let pieces = self.pieces(s);
        self.part_with_socket();
        self.forget_socket();
        self.worker.relay.remove(&self.sink);
        self.phase = Phase::Departed;
        self.clock.lend(self.worker.wheel.now());
        handle.attached(false);
        if let Some(residence) = &mut self.residence {
            residence.detached();
        }
        let count = pieces.len() as u32;
        for (piece, events) in (0..).zip(pieces) {
            self.answer(passage, Step::Given { piece, events });
        }
        let luggage = Box::new(luggage);
        self.answer(
            passage,
            Step::Complete {
                pieces: count,
                luggage,
            },
        );
    }

    /// The events after a position, in pieces of about [`PIECE`] bytes.
    fn pieces(&self, s: u64) -> Vec<Vec<String>> {
        let mut pieces: Vec<Vec<String>> = Vec::new();
        let mut room = 0;
        for (_, event) in self.sink.events_after(s).unwrap_or_default() {
            let tail = event.tail(Encoding::Json);
            // The first byte of an object stands in each recipient's prefix.
            let text = format!("{{{}", String::from_utf8_lossy(&tail));
            if pieces.is_empty() || text.len() > room {
                pieces.push(Vec::new());
                room = PIECE;
            }
            room = room.saturating_sub(text.len());
            if let Some(piece) = pieces.last_mut() {
                piece.push(text);
            }
        }
        pieces
    }

    fn answer(&self, passage: &Passage, step: Step) {
        let passage = Passage {
            step,
            ..passage.clone()
        };
        let topic = Topic::User(passage.user.clone());
        let bridge = &self.around.bridge;
        bridge.publish(topic, &BusMessage::Passage(passage));
    }

    /// Nobody fetched it in time.
    pub(super) fn note_unfetched(&self, sid: &SessionId) {
        if matches!(self.phase, Phase::Departed) {
            count("unfetched");
            tracing::debug!(%sid, "a session was given away and not fetched");
        }
    }
}

/// Too much else waits in the mailbox of the session that is asked for.
pub(super) fn unheard() {
    count("unheard");
}

fn count(outcome: &'static str) {
    counter!("fireside_sessions_departed_total", "outcome" => outcome).increment(1);
}
