//! One WebSocket connection, spoken to as the contract says and in either encoding.
//!
//! The client reads only when asked to: a test that wants a stalled reader stops asking. What
//! arrives while something else is waited for is kept, in order.

mod connect;
mod seen;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::{
    codes::{CloseCode, ErrorCode},
    id::{RoomId, SessionId},
    protocol::{
        codec::Encoding,
        command::SessionStart,
        event::{Event, Hello, RoomEntry},
        reply::{Appended, ErrorBody, Resumed, Started},
    },
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode as RawCloseCode},
    },
};

pub use connect::{Authorization, ConnectError, Connector};
pub use seen::{Closed, Seen, SeenEvent, decode_frame};

/// How long a test waits for what must come before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Why a command brought no `ok`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WireError {
    /// The server refused it.
    #[error("refused as {:?}: {}", .0.code, .0.message)]
    Refused(ErrorBody),
    /// The socket closed first.
    #[error("closed: {0:?}")]
    Closed(Closed),
    /// Nothing came in [`PATIENCE`].
    #[error("no {0} within {PATIENCE:?}")]
    Silent(String),
    /// Something came that the contract does not allow.
    #[error("against the contract: {0}")]
    Contract(String),
}

impl WireError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(body) => Some(body.code),
            _ => None,
        }
    }
}

/// One WebSocket connection.
pub struct WsClient {
    socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
    next_id: u64,
    arrived: VecDeque<(Instant, Seen)>,
    closed: Option<Closed>,
    transcript: Option<Vec<(Instant, Seen)>>,
}

impl std::fmt::Debug for WsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsClient")
            .field("encoding", &self.encoding)
            .field("arrived", &self.arrived.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl WsClient {
    pub(crate) fn over(socket: WebSocketStream<TcpStream>, encoding: Encoding) -> Self {
        Self {
            socket,
            encoding,
            next_id: 1,
            arrived: VecDeque::new(),
            closed: None,
            transcript: None,
        }
    }

    /// The encoding spoken.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Keeps everything that arrives from here on, with when it did, for [`Self::transcript`].
    #[must_use]
    pub fn with_transcript(mut self) -> Self {
        self.transcript = Some(Vec::new());
        self
    }

    /// What was kept.
    pub fn transcript(&self) -> &[(Instant, Seen)] {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// Waits for `hello`, which comes first on every socket.
    pub async fn hello(&mut self) -> Result<Hello, WireError> {
        match self.next().await? {
            Seen::Event(event) => match event.typed() {
                Some(Event::Hello(hello)) => Ok(hello),
                _ => Err(WireError::Contract(format!("{event:?} before hello"))),
            },
            Seen::Closed(closed) => Err(WireError::Closed(closed)),
            other @ Seen::Reply { .. } => {
                Err(WireError::Contract(format!("{other:?} before hello")))
            }
        }
    }

    /// `hello`, then `session.start`.
    pub async fn start(&mut self, start: &SessionStart) -> Result<Started, WireError> {
        self.hello().await?;
        self.command("session.start", start).await
    }

    /// `hello`, then `session.resume`.
    pub async fn resume(&mut self, sid: &SessionId, s: u64) -> Result<Resumed, WireError> {
        self.hello().await?;
        self.command("session.resume", &json!({"sid": sid, "s": s}))
            .await
    }

    /// `message.send` under `nonce`.
    pub async fn say(
        &mut self,
        room: &RoomId,
        nonce: &str,
        text: &str,
    ) -> Result<Appended, WireError> {
        let body = json!({"room": room, "nonce": nonce, "text": text});
        self.command("message.send", &body).await
    }

    /// Sends a command and waits for its answer; events that come before it are kept.
    pub async fn command<R: DeserializeOwned>(
        &mut self,
        op: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<R, WireError> {
        let id = self.post(op, body).await?;
        let ok = self.reply(id).await?;
        serde_json::from_value(ok.clone())
            .map_err(|e| WireError::Contract(format!("answer to {op}: {e} in {ok}")))
    }

    /// Sends a command that must be refused, and returns the refusal.
    pub async fn refused(
        &mut self,
        op: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<ErrorBody, WireError> {
        match self.command::<Value>(op, body).await {
            Err(WireError::Refused(error)) => Ok(error),
            Err(other) => Err(other),
            Ok(ok) => Err(WireError::Contract(format!("{op} was answered ok: {ok}"))),
        }
    }

    /// Sends a command and waits for nothing; returns its id.
    pub async fn post(
        &mut self,
        op: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<u64, WireError> {
        #[derive(Serialize)]
        struct Command<'a, B: ?Sized> {
            id: u64,
            op: &'a str,
            d: &'a B,
        }
        let id = self.next_id;
        self.next_id += 1;
        let bytes = self
            .encoding
            .encode(&Command { id, op, d: body })
            .map_err(|e| WireError::Contract(e.to_string()))?;
        self.send_frame(bytes).await?;
        Ok(id)
    }

    /// Sends one frame of the encoding's kind with these bytes, whatever they are.
    pub async fn send_frame(&mut self, bytes: Vec<u8>) -> Result<(), WireError> {
        let message = match self.encoding {
            Encoding::Json => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
            Encoding::MsgPack => Message::binary(bytes),
        };
        self.send_message(message).await
    }

    /// Sends a WebSocket message as it is.
    pub async fn send_message(&mut self, message: Message) -> Result<(), WireError> {
        if let Some(closed) = &self.closed {
            return Err(WireError::Closed(closed.clone()));
        }
        if let Err(error) = self.socket.send(message).await {
            // Why is on the read side: the server's close frame may be waiting there.
            let mut closed = self.closed().await?;
            if closed == Closed::default() {
                closed.reason = error.to_string();
            }
            return Err(WireError::Closed(closed));
        }
        Ok(())
    }

    /// Waits for the answer to command `id`.
    pub async fn reply(&mut self, id: u64) -> Result<Value, WireError> {
        let what = format!("answer to command {id}");
        let seen = self
            .find(&what, |seen| match seen {
                Seen::Reply { id: of, .. } => *of == Some(id),
                _ => false,
            })
            .await?;
        match seen {
            Seen::Reply { result, .. } => result.map_err(WireError::Refused),
            other => Err(WireError::Contract(format!("{other:?}"))),
        }
    }

    /// Waits for the next event of that name; what comes before it stays for later.
    pub async fn event(&mut self, name: &str) -> Result<SeenEvent, WireError> {
        self.event_where(name, |event| event.name == name).await
    }

    /// Waits for the next event that `wanted` accepts; what comes before it stays for later.
    pub async fn event_where(
        &mut self,
        what: &str,
        wanted: impl Fn(&SeenEvent) -> bool,
    ) -> Result<SeenEvent, WireError> {
        let accepts = |seen: &Seen| matches!(seen, Seen::Event(event) if wanted(event));
        match self.find(what, accepts).await? {
            Seen::Event(event) => Ok(event),
            other => Err(WireError::Contract(format!("{other:?}"))),
        }
    }

    /// Waits for the entry of `room` at the given position.
    pub async fn entry(&mut self, room: &RoomId, seq: u64) -> Result<RoomEntry, WireError> {
        let of = |event: &SeenEvent| event.entry().filter(|e| e.room == *room);
        let what = format!("entry {seq} of {room}");
        let event = self
            .event_where(&what, |e| of(e).is_some_and(|e| e.entry.seq.get() == seq))
            .await?;
        of(&event).ok_or(WireError::Contract(what))
    }

    /// Waits until the socket is closed and says how.
    pub async fn closed(&mut self) -> Result<Closed, WireError> {
        match self
            .find("close", |seen| matches!(seen, Seen::Closed(_)))
            .await?
        {
            Seen::Closed(closed) => Ok(closed),
            other => Err(WireError::Contract(format!("{other:?}"))),
        }
    }

    /// Waits until the socket is closed with `code`.
    pub async fn closed_with(&mut self, code: CloseCode) -> Result<(), WireError> {
        let closed = self.closed().await?;
        if closed.code == Some(code.code()) {
            return Ok(());
        }
        Err(WireError::Contract(format!(
            "closed with {closed:?}, not {code:?}"
        )))
    }

    /// The next thing that arrived or arrives; after the close, the close again and again.
    pub async fn next(&mut self) -> Result<Seen, WireError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some((_, seen)) = self.arrived.pop_front() {
                return Ok(seen);
            }
            if let Some(closed) = &self.closed {
                return Err(WireError::Closed(closed.clone()));
            }
            // A ping is answered and brings nothing to see.
            let pulled = tokio::time::timeout_at(deadline, self.pull()).await;
            pulled.map_err(|_| WireError::Silent("frame".into()))?;
        }
    }

    /// Takes in whatever arrives within `time` and returns all of it, including what was kept.
    pub async fn drain(&mut self, time: Duration) -> Vec<Seen> {
        let _ = tokio::time::timeout(time, async {
            while self.closed.is_none() {
                self.pull().await;
            }
        })
        .await;
        self.arrived.drain(..).map(|(_, seen)| seen).collect()
    }

    /// Everything that arrived before the answer to a `ping` sent now: a way to show that
    /// something did not come, without waiting for a clock.
    pub async fn until_pong(&mut self) -> Result<Vec<Seen>, WireError> {
        let id = self.post("ping", &json!({})).await?;
        let mut before = Vec::new();
        loop {
            match self.next().await? {
                Seen::Reply { id: of, .. } if of == Some(id) => return Ok(before),
                Seen::Closed(closed) => return Err(WireError::Closed(closed)),
                seen => before.push(seen),
            }
        }
    }

    /// Sends a close frame and waits for the server's.
    pub async fn close(mut self, code: u16) -> Result<Closed, WireError> {
        let frame = CloseFrame {
            code: RawCloseCode::from(code),
            reason: "".into(),
        };
        self.send_message(Message::Close(Some(frame))).await?;
        self.closed().await
    }

    async fn find(
        &mut self,
        what: &str,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<Seen, WireError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            while looked_at < self.arrived.len() {
                if wanted(&self.arrived[looked_at].1)
                    && let Some((_, seen)) = self.arrived.remove(looked_at)
                {
                    return Ok(seen);
                }
                looked_at += 1;
            }
            if let Some(closed) = &self.closed {
                return Err(WireError::Closed(closed.clone()));
            }
            if tokio::time::timeout_at(deadline, self.pull())
                .await
                .is_err()
            {
                return Err(WireError::Silent(what.to_owned()));
            }
        }
    }

    /// Reads one WebSocket message into `arrived`. Cancel-safe: a message is taken whole or not.
    async fn pull(&mut self) {
        if self.closed.is_some() {
            return;
        }
        let now_seen = match self.socket.next().await {
            Some(Ok(Message::Text(text))) => decode_frame(Encoding::Json, text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => decode_frame(Encoding::MsgPack, &bytes),
            Some(Ok(Message::Close(frame))) => {
                let closed = Closed {
                    code: frame.as_ref().map(|f| f.code.into()),
                    reason: frame.map(|f| f.reason.to_string()).unwrap_or_default(),
                };
                // Lets the close handshake finish.
                let _ = self.socket.flush().await;
                Ok(vec![self.close_seen(closed)])
            }
            Some(Ok(_)) => return,
            Some(Err(error)) => Ok(vec![self.close_seen(Closed {
                code: None,
                reason: error.to_string(),
            })]),
            None => Ok(vec![self.close_seen(Closed::default())]),
        };
        let seen = now_seen.unwrap_or_else(|fault| {
            vec![self.close_seen(Closed {
                code: None,
                reason: format!("the server sent what does not decode: {fault}"),
            })]
        });
        let now = Instant::now();
        for item in seen {
            if let Some(transcript) = &mut self.transcript {
                transcript.push((now, item.clone()));
            }
            self.arrived.push_back((now, item));
        }
    }

    fn close_seen(&mut self, closed: Closed) -> Seen {
        self.closed = Some(closed.clone());
        Seen::Closed(closed)
    }
}
