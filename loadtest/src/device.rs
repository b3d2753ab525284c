//! One client across sockets and sessions: it resumes, starts anew when it must, fills holes,
//! tries unanswered sends again under their nonce, and records all of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::{Epoch, Nonce, RoomId, Seq, SessionId, UserId},
    protocol::{
        event::Event,
        reply::{Appended, ErrorBody, Resumed, RoomReply, Started, Synced},
        room::{Entry, RoomView},
    },
};
use tokio::time::Instant;

use crate::{
    client::{ConnectError, Connector, PATIENCE, Seen, SeenEvent, WireError, WsClient},
    record::{Happened, Mark, Recorder},
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

    /// Deletes the message that was acknowledged last, once; `false` when there is none.
    pub async fn take_back(&mut self) -> Result<bool, WireError> {
        let Some((room, seq)) = self.newest.take() else {
            return Ok(false);
        };
        let body = json!({"room": room, "seq": seq});
        let _: Appended = self.ask("message.delete", &body).await?;
        Ok(true)
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

    /// Reads a room's whole log through `room.sync`, outside what it holds itself.
    pub async fn read_log(&mut self, room: &RoomId) -> Result<(Epoch, Vec<Entry>), WireError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(Seq::ZERO, |e| e.seq);
            let body = json!({"room": room, "after": after, "limit": 500});
            let page: Synced = self.ask("room.sync", &body).await?;
            entries.extend(page.entries);
            if !page.more {
                return Ok((page.epoch, entries));
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

    async fn start(&mut self) -> Result<(), WireError> {
        let body = json!({"device": self.name, "client": "loadtest"});
        let started: Started = self.ask("session.start", &body).await?;
        let marks = started.rooms.iter().map(mark).collect();
        self.note(Happened::Started {
            user: started.me.id.clone(),
            sid: started.sid.clone(),
            rooms: marks,
        });
        self.user = Some(started.me.id);
        self.session = Some((started.sid, 0));
        for view in &started.rooms {
            self.place(view);
        }
        Ok(())
    }

    async fn resume(&mut self, sid: SessionId, s: u64) -> Result<bool, WireError> {
        self.note(Happened::Resuming {
            sid: sid.clone(),
            s,
        });
        let Some(socket) = &mut self.socket else {
            return Ok(false);
        };
        let id = socket
            .post("session.resume", &json!({"sid": sid, "s": s}))
            .await?;
        loop {
            let Some(socket) = &mut self.socket else {
                return Ok(false);
            };
            match socket.next().await? {
                Seen::Reply { id: of, result } if of == Some(id) => match result {
                    Ok(ok) => {
                        let resumed: Resumed = serde_json::from_value(ok)
                            .map_err(|e| WireError::Contract(e.to_string()))?;
                        self.note(Happened::Resumed {
                            replayed: resumed.replayed,
                        });
                        return Ok(true);
                    }
                    Err(error) if error.code == ErrorCode::SessionLost => {
                        self.note(Happened::Lost);
                        self.session = None;
                        return Ok(false);
                    }
                    Err(error) => return Err(WireError::Refused(error)),
                },
                seen => self.take(seen).await?,
            }
        }
    }

    /// Asks for what it knows to be missing.
    async fn fill(&mut self) -> Result<(), WireError> {
        let behind: Vec<RoomId> = self
            .rooms
            .iter()
            .filter(|(_, held)| held.have < held.known)
            .map(|(room, _)| room.clone())
            .collect();
        for room in behind {
            while let Some(held) = self.rooms.get(&room) {
                let (epoch, after) = (held.epoch.clone(), held.have);
                let body = json!({"room": room, "epoch": epoch, "after": after, "limit": 500});
                let page: Synced = self.ask("room.sync", &body).await?;
                self.note(Happened::Synced {
                    room: room.clone(),
                    epoch: page.epoch.clone(),
                    after,
                    reset: page.reset,
                    entries: page.entries.clone(),
                });
                let Some(held) = self.rooms.get_mut(&room) else {
                    break;
                };
                if page.reset {
                    held.epoch = page.epoch;
                    held.have = page.head;
                    held.known = page.head;
                    held.beyond.clear();
                    break;
                }
                for entry in &page.entries {
                    held.take(entry.seq);
                }
                if !page.more || page.entries.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn dispatch(&mut self, nonce: &Nonce) -> Result<(), WireError> {
        let Some(unanswered) = self.unanswered.get_mut(nonce) else {
            return Ok(());
        };
        unanswered.again = None;
        let (room, text) = (unanswered.room.clone(), unanswered.text.clone());
        let Some(socket) = &mut self.socket else {
            return Err(WireError::Closed(crate::client::Closed::default()));
        };
        let body = json!({"room": room, "nonce": nonce, "text": text});
        // Before it leaves: whether it left is not known when the socket breaks.
        self.recorder.note(
            &self.name,
            Happened::Sent {
                room,
                nonce: nonce.clone(),
                text,
            },
        );
        match socket.post("message.send", &body).await {
            Ok(id) => {
                self.in_flight.insert(id, nonce.clone());
                Ok(())
            }
            Err(error) => {
                self.drop_socket();
                Err(error)
            }
        }
    }

    async fn take(&mut self, seen: Seen) -> Result<(), WireError> {
        match seen {
            Seen::Reply {
                id: Some(id),
                result,
            } => {
                if let Some(nonce) = self.in_flight.remove(&id) {
                    self.answered(&nonce, result)?;
                }
                Ok(())
            }
            Seen::Reply { id: None, result } => {
                Err(WireError::Contract(format!("unasked: {result:?}")))
            }
            Seen::Event(event) => self.heard(&event).await,
            Seen::Closed(closed) => {
                self.socket = None;
                self.in_flight.clear();
                self.note(Happened::Closed { code: closed.code });
                Err(WireError::Closed(closed))
            }
        }
    }

    fn answered(
        &mut self,
        nonce: &Nonce,
        result: Result<Value, ErrorBody>,
    ) -> Result<(), WireError> {
        let Some(unanswered) = self.unanswered.get_mut(nonce) else {
            return Ok(());
        };
        let room = unanswered.room.clone();
        let nonce = nonce.clone();
        match result {
            Ok(ok) => {
                let ack: Appended =
                    serde_json::from_value(ok).map_err(|e| WireError::Contract(e.to_string()))?;
                self.unanswered.remove(&nonce);
                self.acked += 1;
                self.newest = Some((room.clone(), ack.seq));
                self.note(Happened::Acked {
                    room,
                    nonce,
                    seq: ack.seq,
                    ts: ack.ts,
                    dup: ack.dup,
                });
            }
            Err(error) => {
                if error.retry {
                    let wait = Duration::from_millis(error.retry_after_ms.unwrap_or(50).max(1));
                    unanswered.again = Some(Instant::now() + wait);
                } else {
                    self.unanswered.remove(&nonce);
                }
                self.note(Happened::Refused {
                    room,
                    nonce,
                    code: error.code,
                });
            }
        }
        Ok(())
    }

    async fn heard(&mut self, event: &SeenEvent) -> Result<(), WireError> {
        if let (Some(s), Some((_, last))) = (event.s, &mut self.session) {
            *last = s;
        }
        let s = event.s;
        match event.typed() {
            Some(Event::RoomAdded { room } | Event::RoomReset { room }) => {
                self.place(&room);
                self.note(Happened::Placed {
                    s,
                    mark: mark(&room),
                });
            }
            Some(Event::RoomRemoved { room }) => {
                self.rooms.remove(&room);
                self.note(Happened::Removed { s, room });
            }
            Some(typed) => {
                if let Some(entry) = typed.entry() {
                    if let Some(held) = self.rooms.get_mut(&entry.room) {
                        held.take(entry.entry.seq);
                    }
                    self.note(Happened::Entry {
                        s,
                        room: entry.room.clone(),
                        entry: entry.entry.clone(),
                    });
                } else if let Some(s) = s {
                    self.note(Happened::Other { s });
                }
            }
            None => {
                if let Some(s) = s {
                    self.note(Happened::Other { s });
                }
            }
        }
        if let (true, Some(s), Some(socket)) = (self.trim, s, &mut self.socket)
            && s % ACK_EVERY == 0
        {
            socket.post("session.ack", &json!({"s": s})).await?;
        }
        Ok(())
    }

    fn place(&mut self, view: &RoomView) {
        match self.rooms.get_mut(&view.id) {
            Some(held) if held.epoch == view.epoch => held.known = held.known.max(view.head),
            _ => {
                self.rooms.insert(view.id.clone(), Held::at(view));
            }
        }
    }
}

fn mark(view: &RoomView) -> Mark {
    Mark {
        room: view.id.clone(),
        epoch: view.epoch.clone(),
        head: view.head,
    }
}
