//! How sockets and sessions end.

use actix::{Context, Handler};
use metrics::{counter, gauge};
use shared::codes::CloseCode;

use super::{
    actor::{Phase, Session, Socket},
    clock::{Due, LINGER, LONG_LINGER},
    control::Close,
    directory::away_for,
    farewell::bye,
};
use crate::transport::framing::Inbound;

impl Session {
    /// Performs what is due by now.
    pub(super) fn tick(&mut self) {
        let now = self.worker.wheel.now();
        let held_back = self.sink.held_back();
        let deaf = held_back || !self.pending.is_empty() || matches!(self.phase, Phase::Starting);
        // It is this side that does not listen; but who takes nothing either is not there.
        let takes = self.sink.take_moved() || self.sink.waiting() == 0;
        if deaf && takes {
            self.clock.heard(now);
        }
        while let Some(due) = self.clock.due(now, &self.around.settings, rand::random) {
            match due {
                Due::Ping => {
                    self.sink.push_ping();
                    continue;
                }
                Due::Silence if held_back => {
                    // What it was to read would be held for as long as it may take to leave.
                    self.sink.abandon();
                    self.close(CloseCode::TooSlow, None);
                }
                Due::Greeting | Due::Silence => self.close(CloseCode::HeartbeatLost, None),
                Due::Expiry => self.close(CloseCode::TokenExpired, None),
                Due::Linger => self.lose_socket(),
                Due::Detached => {
                    if let Some(handle) = &self.handle {
                        self.note_unfetched(&handle.sid);
                    }
                    self.end();
                }
            }
            // Nothing else is due of a socket or a session that has just ended.
            break;
        }
    }

    /// Closes the socket with a code of ours. What was queued before goes out first.
    pub(super) fn close(&mut self, code: CloseCode, delay_ms: Option<u64>) {
        if self.sink.attached() && !self.sink.closing() {
            counter!("fireside_closes_total", "code" => code.word()).increment(1);
            let mut bye = bye(code, delay_ms);
            // There is nothing to resume on a socket that never began.
            bye.resume &= self.handle.is_some();
            self.sink.close(code.code(), code.word(), Some(bye));
            let linger = match code {
                CloseCode::TooSlow => LONG_LINGER,
                _ => LINGER,
            };
            self.clock.close(self.worker.wheel.now(), linger);
            self.drop_pending();
        }
        if !code.resumable() {
            self.end();
        }
    }

    /// Closes the socket with a code of RFC 6455: the client's own, or for its violation.
    pub(super) fn close_by_rfc(&mut self, code: u16, reason: &str) {
        let word = match code {
            1000 | 1001 => "by_client",
            1002 => "protocol_error",
            1007 => "not_utf8",
            1009 => "too_big",
            _ => "other",
        };
        counter!("fireside_closes_total", "code" => word).increment(1);
        self.sink.close(code, reason, None);
        self.clock.close(self.worker.wheel.now(), LINGER);
        self.drop_pending();
    }

    /// Sends a socket away that came to a node on its way down: those who were there were told
    /// before it came.
    pub(super) fn leave_if_draining(&mut self) {
        if self.around.sessions.draining() {
            let away = away_for(self.around.bridge.alone());
            self.close(CloseCode::Draining, Some(away));
        }
    }

    /// The socket is gone. A session that has begun lives on without one for a while.
    pub(super) fn lose_socket(&mut self) {
        drop(self.sink.detach());
        self.forget_socket();
        match self.phase {
            Phase::Live => self.detached(),
            Phase::Starting | Phase::Departed | Phase::Ended => {}
            Phase::Greeting | Phase::Handing(_) => self.phase = Phase::Ended,
        }
    }

    pub(super) fn detached(&mut self) {
        self.clock
            .detach(self.worker.wheel.now(), &self.around.settings);
        if let Some(handle) = &self.handle {
            handle.attached(false);
        }
        if let Some(residence) = &mut self.residence {
            residence.detached();
        }
    }

    /// What was known of the socket is true no longer.
    pub(super) fn forget_socket(&mut self) {
        self.seat = None;
        self.socket = Socket::default();
        // The next one, if there is one, says what it agreed to.
        self.inbound = Inbound::new(self.around.settings.max_frame.as_usize(), false);
        self.drop_pending();
    }

    /// The session is over. The socket, if there still is one, is closed or closing.
    pub(super) fn end(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.around.sessions.remove(&handle);
            gauge!("fireside_sessions").decrement(1.0);
        }
        self.worker.relay.remove(&self.sink);
        self.residence = None;
        self.phase = Phase::Ended;
    }

    fn drop_pending(&mut self) {
        self.pending = std::collections::VecDeque::new();
    }
}

impl Handler<Close> for Session {
    type Result = ();

    fn handle(&mut self, close: Close, _: &mut Context<Self>) {
        self.close(close.code, close.delay_ms);
        if close.end {
            self.end();
        }
    }
}
