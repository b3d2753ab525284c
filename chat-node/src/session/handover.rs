//! Resuming: a fresh socket moves to the session that it belongs to.

use std::sync::Arc;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::BytesMut;
use metrics::counter;
use parking_lot::Mutex;
use shared::{
    codes::{CloseCode, ErrorCode},
    protocol::{
        command::SessionResume,
        reply::{ErrorBody, Resumed},
    },
};
use tokio::net::TcpStream;

use super::{
    actor::{Handover, Phase, Session, expires_in},
    commands::Flow,
    control::{Adopt, Parcel},
    farewell::farewell,
};
use crate::transport::{framing::Inbound, sink::Flush};

impl Session {
    /// `session.resume` on a fresh socket.
    pub(super) fn resume(
        &mut self,
        id: Option<u64>,
        body: &SessionResume,
        ctx: &mut Context<Self>,
    ) -> Flow {
        let found = self.around.sessions.find(&body.sid);
        if found.is_none() && !self.around.bridge.alone() {
            self.seek(id, body, ctx);
            return Flow::Next;
        }
        // Somebody else's session is as lost as none at all.
        let Some(to) = found.filter(|handle| handle.user == self.claims.sub) else {
            self.lost(id);
            return Flow::Next;
        };
        self.phase = Phase::Handing(Handover { id, s: body.s, to });
        Flow::Next
    }

    pub(super) fn lost(&mut self, id: Option<u64>) {
        counter!("fireside_resumes_total", "outcome" => "lost").increment(1);
        let error = ErrorBody::new(
            ErrorCode::SessionLost,
            "that session cannot be resumed; start a new one",
        );
        self.err(id, &error);
        self.clock
            .greet_again(self.worker.wheel.now(), &self.around.settings);
    }

    /// Sends the socket on its way, once everything said on it so far is written.
    pub(super) fn hand_over(&mut self, ctx: &mut Context<Self>) {
        if self.sink.closing() || self.sink.flush() != Flush::Done {
            return;
        }
        let (Phase::Handing(handover), Some(seat)) =
            (std::mem::take(&mut self.phase), self.seat.take())
        else {
            return;
        };
        let agreed = self.sink.agreed();
        let stream = self.sink.detach().map(|(stream, _)| stream.into_std());
        let Some(Ok(stream)) = stream else {
            self.phase = Phase::Ended;
            return;
        };
        let mut unread = BytesMut::new();
        self.inbound.unread(&mut unread);
        let parcel = Parcel {
            stream,
            agreed,
            unread,
            pending: std::mem::take(&mut self.pending).into(),
            seat,
            claims: self.claims.clone(),
            id: handover.id,
            s: handover.s,
        };
        // Nothing is asked of this session until the answer comes.
        self.phase = Phase::Starting;
        self.clock.open(
            self.worker.wheel.now(),
            &self.around.settings,
            rand::random(),
        );
        let adopt = Adopt(Arc::new(Mutex::new(Some(parcel))));
        let asked = handover.to.address.send(adopt.clone());
        ctx.spawn(asked.into_actor(self).map(move |taken, session, _| {
            match adopt.0.lock().take() {
                None => session.phase = Phase::Ended,
                // Refused, or the session went in the meantime.
                Some(parcel) => {
                    debug_assert!(!matches!(taken, Ok(true)));
                    session.take_back(parcel);
                }
            }
            session.sink.wake();
        }));
    }

    /// The other session did not want the socket; it is a fresh one again.
    fn take_back(&mut self, parcel: Parcel) {
        let id = parcel.id;
        self.phase = Phase::Greeting;
        if self.attach(parcel) {
            self.lost(id);
        } else {
            self.phase = Phase::Ended;
        }
    }

    /// Makes a parcel's socket this session's.
    fn attach(&mut self, parcel: Parcel) -> bool {
        let Parcel {
            stream,
            agreed,
            mut unread,
            pending,
            seat,
            claims,
            ..
        } = parcel;
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a socket could not move between threads");
                return false;
            }
        };
        self.forget_socket();
        let limit = self.around.settings.max_frame.as_usize();
        self.inbound = Inbound::new(limit, agreed.deflate);
        self.sink.attach(stream, agreed);
        self.seat = Some(seat);
        self.claims = claims;
        self.socket.unprocessed = !unread.is_empty();
        self.inbound.keep(&mut unread);
        self.pending = pending.into();
        true
    }

    /// Lets go of the socket, if there is one, because another is taking its place.
    pub(super) fn part_with_socket(&mut self) {
        if self.sink.overflowed() {
            self.sink.abandon();
        }
        // Behind a close there is no place for last words.
        let code = (!self.sink.closing()).then_some(CloseCode::Replaced);
        if let Some((stream, waited)) = self.sink.detach() {
            if let Some(code) = code {
                counter!("fireside_closes_total", "code" => code.word()).increment(1);
            }
            farewell(stream, waited, code, self.seat.take());
        }
    }

    /// Takes the socket over, unless it cannot be: then the parcel comes back.
    fn adopt(&mut self, parcel: Parcel) -> Option<Parcel> {
        let Some(handle) = self
            .handle
            .clone()
            .filter(|_| matches!(self.phase, Phase::Live))
        else {
            return Some(parcel);
        };
        if self.around.auth.revocations.denies(&parcel.claims) || !self.sink.replayable(parcel.s) {
            return Some(parcel);
        }
        let (id, s) = (parcel.id, parcel.s);
        self.part_with_socket();
        if !self.attach(parcel) {
            self.detached();
            return None;
        }
        self.around.sessions.retoken(&handle, &self.claims);
        handle.attached(true);
        // Revoked between the look above and the directory's knowing of it.
        if self.around.auth.revocations.denies(&self.claims) {
            self.close(CloseCode::Revoked, None);
            return None;
        }
        let now = self.worker.wheel.now();
        self.clock.open(now, &self.around.settings, rand::random());
        self.clock.expire_in(now, expires_in(&self.claims));
        if let Some(residence) = &mut self.residence {
            residence.attached();
        }
        self.sink.ack(s);
        // `replayable` said so, and nothing has come in since.
        let replayed = self.sink.replay_after(s).unwrap_or_default();
        counter!("fireside_resumes_total", "outcome" => "resumed").increment(1);
        counter!("fireside_replayed_events_total").increment(replayed);
        self.ok(
            id,
            &Resumed {
                sid: handle.sid.clone(),
                replayed,
            },
        );
        self.leave_if_draining();
        None
    }
}

impl Handler<Adopt> for Session {
    type Result = bool;

    fn handle(&mut self, adopt: Adopt, _: &mut Context<Self>) -> bool {
        let mut slot = adopt.0.lock();
        let Some(parcel) = slot.take() else {
            return false;
        };
        *slot = self.adopt(parcel);
        slot.is_none()
    }
}
