//! What others tell a session: rare, small, and never data.

use std::{net::TcpStream, sync::Arc};

use actix::Message;
use bytes::BytesMut;
use parking_lot::Mutex;
use shared::{auth::Claims, codes::CloseCode};

use super::{commands::Asked, seat::Seat};
use crate::transport::Agreed;

/// Close the socket with this code.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct Close {
    pub(super) code: CloseCode,
    /// Whether the session is over too.
    pub(super) end: bool,
    pub(super) delay_ms: Option<u64>,
}

impl Close {
    /// The session is over.
    pub(super) fn end(code: CloseCode) -> Self {
        Self {
            code,
            end: true,
            delay_ms: None,
        }
    }

    /// The session may be resumed.
    pub(super) fn keep(code: CloseCode) -> Self {
        Self {
            code,
            end: false,
            delay_ms: None,
        }
    }

    /// The client is asked to wait so long before it connects again.
    pub(super) fn after(mut self, delay_ms: u64) -> Self {
        self.delay_ms = Some(delay_ms);
        self
    }
}

/// A socket on its way from the actor that greeted it to the session it resumes, perhaps on
/// another thread. Answered with whether it was taken; if not, or if the session is gone by then,
/// it is still in here.
#[derive(Clone, Message)]
#[rtype(result = "bool")]
pub(super) struct Adopt(pub(super) Arc<Mutex<Option<Parcel>>>);

/// The socket and all that belongs to it.
pub(super) struct Parcel {
    pub(super) stream: TcpStream,
    pub(super) agreed: Agreed,
    /// Read, and not cut into messages yet.
    pub(super) unread: BytesMut,
    /// Cut, and not handled yet: they stood in one frame with the resume.
    pub(super) pending: Vec<Asked>,
    pub(super) seat: Seat,
    pub(super) claims: Box<Claims>,
    /// The resume itself.
    pub(super) id: Option<u64>,
    pub(super) s: u64,
}
