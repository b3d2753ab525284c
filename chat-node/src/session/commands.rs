//! Commands: which may come when, and where each goes.
//!
//! Commands are handled in the order they came. One that has to wait (a room's mailbox is full, a
//! snapshot is being made, the client has answers enough to read) makes all behind it wait, and the
//! socket is not read meanwhile: that is how a client feels that it is too fast.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use metrics::{Counter, counter};
use serde::Serialize;
use shared::{
    auth::{Claims, TokenError},
    codes::{CloseCode, ErrorCode},
    id::{RoomId, Timestamp},
    protocol::{
        codec::{Encoding, decode_commands, encode_err, encode_ok},
        command::{Command, CommandError, PresenceSet},
        reply::{Empty, ErrorBody, Pong, Renewed},
    },
    trace,
};

use super::{
    actor::{Phase, Session, expires_in},
    mailroom::{Delivery, WORD_BYTES},
};
use crate::{
    limits::CommandClass,
    overload::Shed,
    presence::DeviceState,
    room::{Caller, Reply, ReplyBody},
    transport::wheel::Tick,
};

/// How soon a command is tried again for which its room had no place.
const RETRY: Duration = Duration::from_millis(10);
/// The most requests of one session that others work on; more wait.
const MAX_IN_FLIGHT: u8 = 8;
/// How long a client that floods should stay away, in ms.
const FLOOD_DELAY_MS: u64 = 5_000;

/// A command that was read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: Option<u64>,
    pub(super) command: Result<Command, CommandError>,
    /// When it first had to wait; it is not counted against the rate limit again.
    pub(super) waits_since: Option<Tick>,
    /// When its frame came, where messages are followed.
    pub(super) came: Option<Instant>,
}

/// Whether the next command may be handled.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack, and a wait is rare"
)]
pub(super) enum Flow {
    /// It may.
    Next,
    /// This one has to wait, and all behind it.
    Wait(Asked),
}

thread_local! {
    /// Handles of the counter, because finding one costs as much as many a command.
    static COUNTERS: RefCell<HashMap<&'static str, Counter>> = RefCell::default();
}

fn count(op: &'static str) {
    COUNTERS.with_borrow_mut(|counters| {
        let of_op = counters.entry(op);
        let of_op = of_op.or_insert_with(|| counter!("fireside_commands_total", "op" => op));
        of_op.increment(1);
    });
}

impl Session {
    /// Handles a frame of commands.
    pub(super) fn frame(&mut self, frame: &[u8], text: bool, ctx: &mut Context<Self>) {
        let encoding = self.sink.encoding();
        if text != (encoding == Encoding::Json) {
            self.close(CloseCode::Undecodable, None);
            return;
        }
        let came = trace::clock();
        let commands = match decode_commands(encoding, frame) {
            Ok(commands) => commands,
            Err(error) => {
                tracing::debug!(user = %self.claims.sub, %error, "undecodable frame");
                self.close(CloseCode::Undecodable, None);
                return;
            }
        };
        for raw in commands {
            let asked = Asked {
                id: raw.id,
                command: raw.parse(),
                waits_since: None,
                came,
            };
            if !self.pending.is_empty() {
                self.pending.push_back(asked);
                continue;
            }
            if let Flow::Wait(asked) = self.handle_command(asked, ctx) {
                self.pending.push_back(asked);
            }
            if self.sink.closing() {
                break;
            }
        }
    }

    /// Tries commands that had to wait.
    pub(super) fn work(&mut self, ctx: &mut Context<Self>) {
        if self.resting {
            // To try again before its time would not let the room, perhaps on this very thread,
            // get on with what it has.
            return;
        }
        while let Some(asked) = self.pending.pop_front() {
            if let Flow::Wait(asked) = self.handle_command(asked, ctx) {
                self.pending.push_front(asked);
                return;
            }
        }
        if self.pending.capacity() > 0 {
            self.pending = std::collections::VecDeque::new();
        }
    }

    fn handle_command(&mut self, asked: Asked, ctx: &mut Context<Self>) -> Flow {
        // Woken when there is less to read, if it is that.
        if matches!(self.phase, Phase::Starting | Phase::Handing(_)) || self.sink.owes_enough() {
            return Flow::Wait(asked);
        }
        if self.sink.closing() || matches!(self.phase, Phase::Ended) {
            return Flow::Next;
        }
        if asked.waits_since.is_none() && !self.within_limits(&asked) {
            return Flow::Next;
        }
        let Asked {
            id,
            command,
            waits_since,
            came,
        } = asked;
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                self.invalid(id, &error.to_string());
                return Flow::Next;
            }
        };
        let begun = matches!(self.phase, Phase::Live);
        match command {
            Command::Ping(_) => self.ok(
                id,
                &Pong {
                    ts: Timestamp::now(),
                },
            ),
            Command::SessionStart(_) | Command::SessionResume(_) if begun => self.err(
                id,
                &ErrorBody::new(ErrorCode::Conflict, "a session runs on this socket already"),
            ),
            Command::SessionStart(body) => return self.start(id, body, ctx),
            Command::SessionResume(body) => return self.resume(id, &body, ctx),
            other if !begun => {
                let text = format!("{}: start or resume a session first", other.op());
                self.invalid(id, &text);
            }
            Command::SessionAck(body) => {
                self.sink.ack(body.s);
                self.ok(id, &Empty {});
            }
            Command::SessionEnd(_) => {
                self.ok(id, &Empty {});
                self.close_by_rfc(1000, "session ended");
                self.end();
            }
            Command::PresenceSet(body) => self.set_presence(id, &body),
            // It closes what is being opened, too: that has to be done first.
            Command::RoomWatch(body) if !body.on && self.in_flight > 0 => {
                return self.wait(id, Command::RoomWatch(body), waits_since);
            }
            Command::RoomWatch(body) if !body.on => {
                self.around.presence.unwatch(self.sink.key(), &body.room);
                self.ok(id, &Empty {});
            }
            // Woken when one of those under way is done.
            command @ (Command::RoomWatch(_) | Command::SessionRenew(_))
                if self.in_flight >= MAX_IN_FLIGHT =>
            {
                return self.wait(id, command, waits_since);
            }
            Command::RoomWatch(body) => self.watch(id, body.room, ctx),
            Command::SessionRenew(body) => self.renew(id, body.token, ctx),
            command => return self.dispatch(id, command, waits_since, came, ctx),
        }
        Flow::Next
    }

    /// Counts the command, and charges the user for it.
    fn within_limits(&mut self, asked: &Asked) -> bool {
        let (op, class) = match &asked.command {
            Ok(command) => (command.op(), CommandClass::of(command)),
            Err(_) => ("invalid", CommandClass::Other),
        };
        count(op);
        match self.around.limits.command(&self.claims.sub, class) {
            Ok(()) => true,
            Err(refusal) if refusal.flood => {
                self.close(CloseCode::Flooding, Some(FLOOD_DELAY_MS));
                false
            }
            Err(refusal) => {
                self.err(asked.id, &refusal.error);
                false
            }
        }
    }

    /// Charges the user for a ping or a pong, which no other limit holds back.
    pub(super) fn takes_signal(&mut self) -> bool {
        let limits = &self.around.limits;
        let refused = limits.command(&self.claims.sub, CommandClass::Other).err();
        if refused.as_ref().is_some_and(|refusal| refusal.flood) {
            self.close(CloseCode::Flooding, Some(FLOOD_DELAY_MS));
        }
        refused.is_none()
    }

    pub(super) fn wait(&mut self, id: Option<u64>, command: Command, since: Option<Tick>) -> Flow {
        let now = self.worker.wheel.now();
        Flow::Wait(Asked {
            id,
            command: Ok(command),
            waits_since: since.or(Some(now)),
            came: None,
        })
    }

    fn dispatch(
        &mut self,
        id: Option<u64>,
        command: Command,
        waits_since: Option<Tick>,
        came: Option<Instant>,
        ctx: &mut Context<Self>,
    ) -> Flow {
        let overload = &self.around.overload;
        match &command {
            // Nobody waits for these; what is shed is as good as done.
            Command::Typing(_) if !overload.allows(Shed::Typing) => {
                self.ok(id, &Empty {});
                return Flow::Next;
            }
            Command::MessageSend(_) if !overload.allows(Shed::Sends) => {
                let error = ErrorBody::new(ErrorCode::Busy, "the server sheds load; try again");
                self.err(id, &error.retry_after(1_000));
                return Flow::Next;
            }
            Command::MessageSend(body) => {
                if waits_since.is_none()
                    && let Err(error) = self.around.limits.room_send(&body.room)
                {
                    self.err(id, &error);
                    return Flow::Next;
                }
            }
            _ => {}
        }
        let now = self.worker.wheel.now();
        match self.post(id, command, came) {
            Delivery::Sent => Flow::Next,
            Delivery::Full(command) => {
                let patience = self.around.settings.busy_after;
                if waits_since.is_some_and(|since| now.since(since) >= patience) {
                    let error =
                        ErrorBody::new(ErrorCode::Busy, "the room has more to do than it can");
                    self.err(id, &error.retry_after(1_000));
                    return Flow::Next;
                }
                if waits_since.is_none() {
                    counter!("fireside_commands_stalled_total").increment(1);
                }
                // The one timer of a session, and only while its sender is too fast.
                self.resting = true;
                ctx.run_later(RETRY, |session, _| {
                    session.resting = false;
                    session.sink.wake();
                });
                Flow::Wait(Asked {
                    id,
                    command: Ok(command),
                    waits_since: waits_since.or(Some(now)),
                    came,
                })
            }
        }
    }

    fn set_presence(&mut self, id: Option<u64>, body: &PresenceSet) {
        match DeviceState::parse(body, Timestamp::now()) {
            Ok(state) => {
                self.around
                    .presence
                    .set(self.sink.key(), &self.claims.sub, state);
                self.ok(id, &Empty {});
            }
            Err(error) => self.err(id, &error),
        }
    }

    fn watch(&mut self, id: Option<u64>, room: RoomId, ctx: &mut Context<Self>) {
        let (around, key) = (self.around.clone(), self.sink.key());
        let user = self.claims.sub.clone();
        self.later(id, ctx, async move {
            let caller = Caller {
                user: user.clone(),
                service: false,
            };
            let opened = around.rooms.open(&caller, key, &room).await?;
            around.presence.show_members(&user, &opened).await;
            Ok(ReplyBody::Empty(Empty {}))
        });
    }

    /// Answers when `work` is done; the session goes on meanwhile.
    fn later(
        &mut self,
        id: Option<u64>,
        ctx: &mut Context<Self>,
        work: impl Future<Output = Reply> + 'static,
    ) {
        self.in_flight += 1;
        let debt = self.debt(id, WORD_BYTES);
        self.sink.owe(&debt);
        ctx.spawn(work.into_actor(self).map(move |reply, session, _| {
            session.in_flight -= 1;
            session.worker.relay.relays().reply(debt, reply);
            session.sink.wake();
        }));
    }

    fn renew(&mut self, id: Option<u64>, token: String, ctx: &mut Context<Self>) {
        let auth = self.around.auth.clone();
        let verdict = async move { auth.authenticate(&token).await };
        self.in_flight += 1;
        let line = self.sink.line();
        ctx.spawn(verdict.into_actor(self).map(move |verdict, session, _| {
            session.in_flight -= 1;
            // The next socket brought a token of its own.
            if session.sink.line() == line {
                session.renewed(id, verdict);
            }
            session.sink.wake();
        }));
    }

    fn renewed(&mut self, id: Option<u64>, verdict: Result<Claims, TokenError>) {
        let Some(handle) = &self.handle else { return };
        let claims = match verdict {
            Ok(claims) if claims.sub == self.claims.sub && !claims.is_service() => claims,
            Ok(_) => {
                let text = "session.renew: that is somebody else's token";
                self.err(id, &ErrorBody::new(ErrorCode::Forbidden, text));
                return;
            }
            Err(error) => {
                self.err(id, &ErrorBody::new(error.code(), error.to_string()));
                return;
            }
        };
        if claims.exp < self.claims.exp {
            self.invalid(
                id,
                "session.renew: the token in use ends later than this one",
            );
            return;
        }
        self.around.sessions.retoken(handle, &claims);
        *self.claims = claims;
        // Revoked between the verdict and the directory's knowing of it.
        if self.around.auth.revocations.denies(&self.claims) {
            self.close(CloseCode::Revoked, None);
            return;
        }
        self.clock
            .expire_in(self.worker.wheel.now(), expires_in(&self.claims));
        self.ok(
            id,
            &Renewed {
                expires: self.claims.expires_at(),
            },
        );
    }

    /// Answers `ok`; a command without an id gets none.
    pub(super) fn ok<T: Serialize>(&self, id: Option<u64>, body: &T) {
        let Some(id) = id else { return };
        match encode_ok(self.sink.encoding(), id, body) {
            Ok(bytes) => self.sink.push_reply(bytes),
            Err(error) => tracing::error!(%error, "a reply cannot be encoded"),
        }
    }

    /// Answers `err`, with or without an id.
    pub(super) fn err(&self, id: Option<u64>, error: &ErrorBody) {
        match encode_err(self.sink.encoding(), id, error) {
            Ok(bytes) => self.sink.push_reply(bytes),
            Err(error) => tracing::error!(%error, "a reply cannot be encoded"),
        }
    }

    pub(super) fn invalid(&self, id: Option<u64>, why: &str) {
        self.err(id, &ErrorBody::new(ErrorCode::Invalid, why));
    }
}
