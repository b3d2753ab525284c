//! What a device says and hears on its socket: how a session begins or goes on, holes that are
//! filled, answers, and events.

use std::time::Duration;

use serde_json::{Value, json};
use shared::{
    codes::ErrorCode,
    id::{Nonce, RoomId, SessionId, UserId},
    protocol::{
        event::Event,
        presence::PresenceView,
        reply::{Appended, ErrorBody, Resumed, Started, Synced},
        room::RoomView,
    },
};

use tokio::time::Instant;

use super::{ACK_EVERY, Device, Held};
use crate::{
    client::{Seen, SeenEvent, WireError},
    record::{Happened, Mark},
};

impl Device {
    pub(super) async fn start(&mut self) -> Result<(), WireError> {
        let body = json!({"device": self.name, "client": "loadtest"});
        let started: Started = self.ask("session.start", &body).await?;
        let marks = started.rooms.iter().map(mark).collect();
        self.note(Happened::Started {
            user: started.me.id.clone(),
            sid: started.sid.clone(),
            rooms: marks,
        });
        self.user = Some(started.me.id.clone());
        self.session = Some((started.sid, 0));
        self.show(started.me.id, started.me.presence);
        for friend in started.friends {
            self.show(friend.id, friend.presence);
        }
        // One it left with a socket that broke before it heard of it.
        let rooms = &started.rooms;
        self.rooms
            .retain(|room, _| rooms.iter().any(|view| view.id == *room));
        for view in rooms {
            self.place(view);
        }
        Ok(())
    }

    pub(super) async fn resume(&mut self, sid: SessionId, s: u64) -> Result<bool, WireError> {
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
    pub(super) async fn fill(&mut self) -> Result<(), WireError> {
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
                    first: page.first,
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

    pub(super) async fn dispatch(&mut self, nonce: &Nonce) -> Result<(), WireError> {
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

    pub(super) async fn take(&mut self, seen: Seen) -> Result<(), WireError> {
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

    pub(super) fn answered(
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

    pub(super) async fn heard(&mut self, event: &SeenEvent) -> Result<(), WireError> {
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
            Some(Event::Presence {
                user,
                status,
                activity,
                last_seen,
            }) => {
                let view = PresenceView {
                    status,
                    activity,
                    last_seen,
                };
                self.show(user, view);
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

    /// Somebody is shown like this.
    fn show(&mut self, user: UserId, view: PresenceView) {
        if self.shown.get(&user) != Some(&view) {
            self.shown.insert(user.clone(), view.clone());
            self.changed.push((user, view));
        }
    }

    pub(super) fn place(&mut self, view: &RoomView) {
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
