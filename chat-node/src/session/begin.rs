//! Starting: a snapshot with no hole between it and the first event that follows.
//!
//! The session's sink is registered under the user first and holds what arrives; then it
//! subscribes to the user's rooms; only then are the rooms read. Whatever is published meanwhile
//! is held and goes out behind the snapshot, unless the snapshot has it already. A membership that
//! changes meanwhile reaches the sink because the user is registered.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use metrics::{counter, gauge};
use shared::{
    codes::{CloseCode, ErrorCode},
    id::{DeviceId, RoomId, Seq, SessionId, Timestamp, UserId},
    protocol::{
        command::SessionStart,
        reply::{ErrorBody, Friend, Me, Started},
        room::RoomView,
    },
};

use super::{
    Surroundings,
    actor::{Phase, Session},
    commands::Flow,
    control::Close,
    directory::{Handle, Handles},
    residence::Residence,
};
use crate::{
    overload::Shed,
    presence::DeviceState,
    transport::{relay::Relay, sink::Sink},
};

/// How long a client should stay away that came while sends are refused, in ms.
const OVERLOAD_DELAY_MS: u64 = 2_000;
/// The longest name of a client, in characters.
const MAX_CLIENT_CHARS: usize = 64;

/// What a session starts from.
struct Snapshot {
    residence: Residence,
    presence: shared::protocol::presence::PresenceView,
    friends: Vec<Friend>,
    rooms: Vec<RoomView>,
}

impl Session {
    /// `session.start` on a fresh socket.
    pub(super) fn start(
        &mut self,
        id: Option<u64>,
        body: SessionStart,
        ctx: &mut Context<Self>,
    ) -> Flow {
        let client = body.client.unwrap_or_default();
        if client.chars().count() > MAX_CLIENT_CHARS {
            self.invalid(id, "session.start: client has at most 64 characters");
            return Flow::Next;
        }
        let state = match &body.presence {
            None => DeviceState::default(),
            Some(set) => match DeviceState::parse(set, Timestamp::now()) {
                Ok(state) => state,
                Err(error) => {
                    self.err(id, &error);
                    return Flow::Next;
                }
            },
        };
        if !self.around.overload.allows(Shed::Sends) {
            // Newcomers are turned away before the upgrade; this one was already through.
            self.close(CloseCode::Overloaded, Some(OVERLOAD_DELAY_MS));
            return Flow::Next;
        }
        self.phase = Phase::Starting;
        let (now, settings) = (self.worker.wheel.now(), &self.around.settings);
        self.clock.open(now, settings, rand::random());
        self.sink.hold();
        self.worker.relay.register(&self.sink);
        let snapshot = snapshot(
            self.around.clone(),
            self.worker.relay.clone(),
            self.sink.clone(),
            self.claims.sub.clone(),
            state,
        );
        let snapshot = tokio::time::timeout(settings.session_start_timeout, snapshot);
        ctx.spawn(snapshot.into_actor(self).map(move |result, session, ctx| {
            let result = result.unwrap_or_else(|_| {
                Err(ErrorBody::new(
                    ErrorCode::Unavailable,
                    "the snapshot took too long",
                ))
            });
            session.started(id, body.device, &client, result, ctx);
            // Written by `Io`, which looks at the socket again too.
            session.sink.wake();
        }));
        Flow::Next
    }

    fn started(
        &mut self,
        id: Option<u64>,
        device: Option<DeviceId>,
        client: &str,
        result: Result<Snapshot, ErrorBody>,
        ctx: &mut Context<Self>,
    ) {
        if !matches!(self.phase, Phase::Starting) {
            return;
        }
        let snapshot = match result {
            // More happened meanwhile than could be held: there would be a hole.
            Ok(_) if self.sink.overflowed() => {
                counter!("fireside_starts_total", "outcome" => "overflow").increment(1);
                self.close(CloseCode::TooSlow, None);
                self.end();
                return;
            }
            Ok(snapshot) => snapshot,
            Err(error) => {
                counter!("fireside_starts_total", "outcome" => error.code.word()).increment(1);
                self.not_started(id, &error);
                return;
            }
        };
        let Snapshot {
            residence,
            presence,
            friends,
            rooms,
        } = snapshot;
        let sid = SessionId::generate();
        let handle = Handle::new(
            sid.clone(),
            &self.claims,
            device,
            Timestamp::now(),
            ctx.address(),
        );
        let Some(displaced) = self.enter(handle, residence) else {
            return;
        };
        self.phase = Phase::Live;
        counter!("fireside_starts_total", "outcome" => "ok").increment(1);
        tracing::debug!(%sid, user = %self.claims.sub, client, rooms = rooms.len(), "session started");
        let heads: HashMap<RoomId, Seq> = rooms
            .iter()
            .map(|room| (room.id.clone(), room.head))
            .collect();
        let me = Me {
            id: self.claims.sub.clone(),
            name: self.claims.name.clone(),
            presence,
        };
        let limits = self.around.allowed();
        self.ok(
            id,
            &Started {
                sid,
                me,
                friends,
                rooms,
                limits,
            },
        );
        self.sink.release(&heads);
        if !self.sink.attached() {
            self.detached();
        }
        for older in displaced {
            older.close(Close::end(CloseCode::Replaced));
        }
        self.leave_if_draining();
    }

    /// Takes its place in the directory. Answers those that have to give way, or nothing if the
    /// token was revoked meanwhile and the session is over.
    pub(super) fn enter(&mut self, handle: Arc<Handle>, residence: Residence) -> Option<Handles> {
        let displaced = self.around.sessions.insert(&handle);
        gauge!("fireside_sessions").increment(1.0);
        self.handle = Some(handle);
        self.residence = Some(residence);
        // From here on a revocation finds the session; one that came before is seen here.
        if self.around.auth.revocations.denies(&self.claims) {
            self.close(CloseCode::Revoked, None);
            return None;
        }
        Some(displaced)
    }

    fn not_started(&mut self, id: Option<u64>, error: &ErrorBody) {
        self.worker.relay.remove(&self.sink);
        self.sink.discard();
        if !self.sink.attached() {
            self.phase = Phase::Ended;
            return;
        }
        self.phase = Phase::Greeting;
        self.clock
            .greet_again(self.worker.wheel.now(), &self.around.settings);
        self.err(id, error);
    }
}

async fn snapshot(
    around: Arc<Surroundings>,
    relay: Relay,
    sink: Rc<Sink>,
    user: UserId,
    state: DeviceState,
) -> Result<Snapshot, ErrorBody> {
    let mut residence = Residence::new(&around, sink.key(), &user);
    residence.hear().await;
    relay.subscribe(&sink, around.rooms.memberships(&user).await?);
    residence.appear(state);
    let (graph, rooms) = tokio::join!(residence.befriend(), around.rooms.begin(&user));
    let rooms = rooms?;
    // Last, with no wait behind it: states are not held, so a change told while something else is
    // awaited would be missing from the snapshot and from what follows it.
    let (presence, friends) = around.presence.snapshot(&user, &graph).await;
    Ok(Snapshot {
        residence,
        presence,
        friends,
        rooms,
    })
}
