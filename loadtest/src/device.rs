//! One client across sockets and sessions: it resumes, starts anew when it must, fills holes,
//! tries unanswered sends again under their nonce, and records all of it.

mod stream;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    id::{Epoch, Nonce, RoomId, Seq, SessionId, UserId},
    protocol::{
        presence::PresenceView,
        reply::{Appended, RoomReply, Synced},
        room::{Entry, RoomView},
    },
};
use tokio::time::Instant;

use crate::{
    client::{ConnectError, Connector, PATIENCE, WireError, WsClient},
    record::{Happened, Recorder},
};

/// How many events a device takes between two acknowledgements of its stream.
const ACK_EVERY: u64 = 64;

/// Why a device is not on line.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The upgrade failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The socket or a command failed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// One client.
#[derive(Debug)]
pub struct Device {
    name: String,
    connector: Connector,
    recorder: Recorder,
    user: Option<UserId>,
    socket: Option<WsClient>,
    session: Option<(SessionId, u64)>,
    rooms: HashMap<RoomId, Held>,
    unanswered: BTreeMap<Nonce, Unanswered>,
    in_flight: HashMap<u64, Nonce>,
    acked: usize,
    newest: Option<(RoomId, Seq)>,
    trim: bool,
    /// How others were shown last.
    shown: HashMap<UserId, PresenceView>,
    /// Those who were shown otherwise since that was asked last.
    changed: Vec<(UserId, PresenceView)>,
}

/// What a device holds of a room.
#[derive(Debug)]
struct Held {
    epoch: Epoch,
    /// Everything up to here.
    have: Seq,
    /// Entries beyond `have`, with a hole before them.
    beyond: BTreeSet<Seq>,
    /// The newest entry heard of.
    known: Seq,
}

#[derive(Debug)]
struct Unanswered {
    room: RoomId,
    text: String,
    /// Not before; set by a refusal that says when.
    again: Option<Instant>,
}

impl Held {
    fn at(view: &RoomView) -> Self {
        Self {
            epoch: view.epoch.clone(),
            have: view.head,
            beyond: BTreeSet::new(),
            known: view.head,
        }
    }

    fn take(&mut self, seq: Seq) {
        self.known = self.known.max(seq);
        if seq > self.have {
            self.beyond.insert(seq);
        }
        while self.beyond.remove(&self.have.next()) {
            self.have = self.have.next();
        }
    }
}

impl Device {
    /// A client that is not connected yet. The name is its own in the record.
    pub fn new(name: &str, connector: Connector, recorder: Recorder) -> Self {
        Self {
            name: name.to_owned(),
            connector,
            recorder,
            user: None,
            socket: None,
            session: None,
            rooms: HashMap::new(),
            unanswered: BTreeMap::new(),
            in_flight: HashMap::new(),
            acked: 0,
            newest: None,
            trim: true,
            shown: HashMap::new(),
            changed: Vec::new(),
        }
    }

    /// Never sends `session.ack`.
    #[must_use]
    pub fn without_ack(mut self) -> Self {
        self.trim = false;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account, once a session has started.
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// Where to connect from now on.
    pub fn aim(&mut self, connector: Connector) {
        self.connector = connector;
    }

    /// Whether a socket is attached.
    pub fn on_line(&self) -> bool {
        self.socket.is_some()
    }

    /// The session and its last position.
    pub fn session(&self) -> Option<&(SessionId, u64)> {
        self.session.as_ref()
    }

    /// How many sends have no final answer yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// How many sends are under way on this socket.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many sends were acknowledged.
    pub fn acked(&self) -> usize {
        self.acked
    }

    /// Others who were shown otherwise than before since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<(UserId, PresenceView)> {
        std::mem::take(&mut self.changed)
    }

    /// Deletes the message that was acknowledged last, once; `false` when there is none.
    pub async fn take_back(&mut self) -> Result<bool, WireError> {
        let Some((room, seq)) = self.newest.take() else {
            return Ok(false);
        };
        self.act("message.delete", json!({"room": room, "seq": seq}))
            .await?;
        Ok(true)
    }

    /// Edits the message that was acknowledged last; `false` when there is none.
    pub async fn edit(&mut self, text: &str) -> Result<bool, WireError> {
        let Some((room, seq)) = self.newest.clone() else {
            return Ok(false);
        };
        let body = json!({"room": room, "seq": seq, "text": text});
        self.act("message.edit", body).await?;
        Ok(true)
    }

    /// Reacts to the message that was acknowledged last; `false` when there is none.
    pub async fn react(&mut self, emoji: &str) -> Result<bool, WireError> {
        let Some((room, seq)) = self.newest.clone() else {
            return Ok(false);
        };
        let body = json!({"room": room, "seq": seq, "emoji": emoji});
        // One that is there already is answered with the head: nothing to hold the log to.
        let _: Appended = self.ask("reaction.add", &body).await?;
        Ok(true)
    }

    /// Joins or leaves an open room.
    pub async fn visit(&mut self, room: &RoomId, join: bool) -> Result<(), WireError> {
        let op = if join { "room.join" } else { "room.leave" };
        let _: Value = self.ask(op, &json!({"room": room})).await?;
        Ok(())
    }

    async fn act(&mut self, op: &str, body: Value) -> Result<(), WireError> {
        let done: Appended = self.ask(op, &body).await?;
        let room = body["room"].as_str().and_then(|id| RoomId::parse(id).ok());
        let room = room.ok_or_else(|| WireError::Contract("a body without a room".into()))?;
        self.note(Happened::Done {
            room,
            seq: done.seq,
            ts: done.ts,
        });
        Ok(())
    }

    /// How far it holds a room without a hole.
    pub fn holds(&self, room: &RoomId) -> Option<Seq> {
        self.rooms.get(room).map(|held| held.have)
    }

    /// The socket, for what a device does not do by itself.
    pub fn socket(&mut self) -> Option<&mut WsClient> {
        self.socket.as_mut()
    }

    /// Lets the socket go without a close frame, as a lost network would.
    pub fn drop_socket(&mut self) {
        if self.socket.take().is_some() {
            self.note(Happened::Closed { code: None });
        }
        self.in_flight.clear();
    }

    /// Forgets the session, as a client that was started again would.
    pub fn forget_session(&mut self) {
        self.session = None;
    }

    /// One attempt to get on line: connect, resume or start, fill holes, send again what has no
    /// answer.
    pub async fn connect(&mut self) -> Result<(), DeviceError> {
        self.drop_socket();
        let mut socket = self.connector.connect().await?;
        socket.hello().await?;
        self.socket = Some(socket);
        let resumed = match self.session.clone() {
            Some((sid, s)) => self.resume(sid, s).await?,
            None => false,
        };
        if !resumed {
            self.start().await?;
        }
        self.fill().await?;
        let again: Vec<Nonce> = self.unanswered.keys().cloned().collect();
        for nonce in again {
            self.dispatch(&nonce).await?;
        }
        Ok(())
    }

    /// Tries to get on line until it works or `patience` is over.
    pub async fn reconnect(&mut self, patience: Duration) -> Result<(), DeviceError> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(20);
        loop {
            match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {
                    self.drop_socket();
                    tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
            }
        }
    }

    /// Sends a message under a new nonce and does not wait for the answer.
    pub async fn send(&mut self, room: &RoomId, text: &str) -> Result<Nonce, WireError> {
        let nonce = Nonce::generate();
        let unanswered = Unanswered {
            room: room.clone(),
            text: text.to_owned(),
            again: None,
        };
        self.unanswered.insert(nonce.clone(), unanswered);
        self.dispatch(&nonce).await?;
        Ok(nonce)
    }

    /// Takes what arrives until `until`, sending refused messages again when they may be.
    /// `Ok(false)`: the time is over; `Ok(true)`: something was taken.
    pub async fn step(&mut self, until: Instant) -> Result<bool, WireError> {
        let due = self
            .unanswered
            .iter()
            .filter_map(|(nonce, u)| u.again.map(|at| (at, nonce.clone())))
            .min();
        if let Some((at, nonce)) = &due
            && *at <= Instant::now()
        {
            self.dispatch(nonce).await?;
            return Ok(true);
        }
        let wake = due.map_or(until, |(at, _)| at.min(until));
        let Some(socket) = &mut self.socket else {
            return Err(WireError::Closed(crate::client::Closed::default()));
        };
        match tokio::time::timeout_at(wake, socket.next()).await {
            Ok(Ok(seen)) => self.take(seen).await.map(|()| true),
            Ok(Err(WireError::Silent(_))) => Ok(false),
            Ok(Err(error)) => {
                self.drop_socket();
                Err(error)
            }
            Err(_) => Ok(wake < until),
        }
    }

    /// Waits until every send has its answer, reconnecting as needed.
    pub async fn settle(&mut self, patience: Duration) -> Result<(), DeviceError> {
        let deadline = Instant::now() + patience;
        while !self.unanswered.is_empty() {
            if Instant::now() > deadline {
                let what = format!("answer to {} sends", self.unanswered.len());
                return Err(WireError::Silent(what).into());
            }
            if !self.on_line() {
                self.reconnect(patience).await?;
            }
            let soon = Instant::now() + Duration::from_millis(200);
            let _ = self.step(soon.min(deadline)).await;
        }
        Ok(())
    }

    /// Waits until it holds every room as far as the server says the room goes, and records that.
    pub async fn catch_up(&mut self) -> Result<(), DeviceError> {
        if !self.on_line() {
            self.reconnect(PATIENCE).await?;
        }
        let rooms: Vec<RoomId> = self.rooms.keys().cloned().collect();
        for room in rooms {
            let answer: RoomReply = self.ask("room.get", &json!({"room": room})).await?;
            let head = answer.room.head;
            let deadline = Instant::now() + PATIENCE;
            while self.holds(&room).is_some_and(|have| have < head) {
                if Instant::now() > deadline {
                    let have = self.holds(&room);
                    let what = format!("{}: {room} up to {head}, has {have:?}", self.name);
                    return Err(WireError::Silent(what).into());
                }
                self.step(deadline).await?;
            }
        }
        self.note(Happened::CaughtUp);
        Ok(())
    }

    /// Reads a room's whole log through `room.sync`, outside what it holds itself: its epoch, the first
    /// entry that is kept, and all from there on.
    pub async fn read_log(&mut self, room: &RoomId) -> Result<(Epoch, Seq, Vec<Entry>), WireError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut first = Seq::FIRST;
        loop {
            let after = entries.last().map_or(Seq::ZERO, |e| e.seq);
            let body = json!({"room": room, "after": after, "limit": 500});
            let page: Synced = self.ask("room.sync", &body).await?;
            if entries.is_empty() {
                first = page.first.unwrap_or(Seq::FIRST);
            }
            entries.extend(page.entries);
            if !page.more {
                return Ok((page.epoch, first, entries));
            }
        }
    }

    async fn ask<R: serde::de::DeserializeOwned>(
        &mut self,
        op: &str,
        body: &Value,
    ) -> Result<R, WireError> {
        match &mut self.socket {
            Some(socket) => socket.command(op, body).await,
            None => Err(WireError::Closed(crate::client::Closed::default())),
        }
    }

    fn note(&self, what: Happened) {
        self.recorder.note(&self.name, what);
    }
}
