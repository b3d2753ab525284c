//! A client's session, started as [`chat_node::session`] starts them, and what its client holds of
//! each room.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use chat_node::{
    presence::{Availability, DeviceState},
    transport::sink::Sink,
};
use shared::{
    codes::ErrorCode,
    id::{Epoch, RoomId, Seq, UserId},
    protocol::{
        codec::Encoding,
        event::{Event, RoomEntry},
        room::RoomView,
    },
};

use crate::{node::Node, plant::Plant, screen::Screen, store::Store, trace::note};

/// A live session.
pub(crate) struct Seat {
    pub(crate) user: UserId,
    pub(crate) node: Rc<Node>,
    sink: Rc<Sink>,
    /// What its device says of its user.
    pub(crate) device: RefCell<DeviceState>,
    /// What it is shown of its friends, in schedules about that.
    pub(crate) screen: Option<Screen>,
    /// The position up to which its client has read.
    read: Cell<u64>,
    pub(crate) rooms: RefCell<BTreeMap<RoomId, Place>>,
}

/// What a client holds of a room.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    epoch: Epoch,
    /// Where the room stood when the client was told of it.
    from: Seq,
    /// The last entry since.
    last: Option<Seq>,
}

impl Place {
    fn at(view: &RoomView) -> Self {
        Self {
            epoch: view.epoch.clone(),
            from: view.head,
            last: None,
        }
    }

    /// How far the client is.
    pub(crate) fn head(&self) -> Seq {
        self.last.unwrap_or_default().max(self.from)
    }
}

impl Seat {
    /// Starts a session; `Err` when it cannot be started now.
    pub(crate) async fn start(
        node: Rc<Node>,
        user: UserId,
        plant: Plant,
        watches: bool,
    ) -> Result<Self, ErrorCode> {
        let sink = Sink::new(node.relay.next_key(), user.clone(), Encoding::Json);
        let screen = if watches {
            Some(Screen::attach(&sink).await)
        } else {
            None
        };
        if plant != Plant::Unheld {
            sink.hold();
        }
        node.relay.register(&sink);
        let mut seat = Self {
            user,
            node,
            sink,
            device: RefCell::default(),
            screen,
            read: Cell::new(0),
            rooms: RefCell::default(),
        };
        if let Err(error) = seat.begin().await {
            seat.end();
            seat.sink.discard();
            return Err(error);
        }
        Ok(seat)
    }

    async fn begin(&mut self) -> Result<(), ErrorCode> {
        let (node, user, sink) = (&self.node, &self.user, &self.sink);
        node.bridge.online(user).await;
        let rooms = node.rooms.memberships(user).await;
        if let Ok(rooms) = &rooms {
            node.relay.subscribe(sink, rooms.clone());
        }
        let appears = async {
            if self.screen.is_some() {
                let state = self.device.borrow().clone();
                node.presence.connected(sink.key(), user, state);
            }
            node.friends.online(user).await
        };
        let (graph, views) = tokio::join!(appears, node.rooms.begin(user));
        let views = rooms.and(views).map_err(|error| error.code)?;
        let heads: HashMap<RoomId, Seq> = views
            .iter()
            .map(|room| (room.id.clone(), room.head))
            .collect();
        // States are not held: nothing is awaited between this and the start.
        if let Some(screen) = &self.screen {
            screen.start(node.presence.snapshot(user, &graph).await.1);
        }
        // What a client is told before its session has started it does not take in.
        self.read.set(sink.last());
        sink.release(&heads);
        note(|| {
            let heads: BTreeMap<_, _> = heads.iter().collect();
            format!("{user} starts on n{} from {heads:?}", node.index)
        });
        let rooms = views.iter().map(|view| (view.id.clone(), Place::at(view)));
        self.rooms = RefCell::new(rooms.collect());
        Ok(())
    }

    /// The device says how its user is.
    pub(crate) fn set(&self, to: Availability) {
        let state = DeviceState {
            availability: to,
            ..DeviceState::default()
        };
        *self.device.borrow_mut() = state.clone();
        self.node.presence.set(self.sink.key(), &self.user, state);
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.node.relay.remove(&self.sink);
        if self.screen.is_some() {
            self.node.presence.ended(self.sink.key(), &self.user);
        }
        self.node.friends.offline(&self.user);
        self.node.bridge.offline(&self.user);
        self.part();
    }

    /// Its socket is gone.
    pub(crate) fn part(&self) {
        if let Some(screen) = &self.screen {
            screen.detach(&self.sink);
        }
    }

    /// Reads what came; answers what must not have.
    pub(crate) fn observe(&self, store: &Store) -> Vec<String> {
        if let Some(screen) = &self.screen {
            screen.look(&format!("{}@n{}", self.user, self.node.index));
        }
        if self.sink.last() == self.read.get() {
            return Vec::new();
        }
        let events = self.sink.events_after(self.read.get());
        let events = events.expect("a schedule is shorter than a ring");
        let mut wrong = Vec::new();
        for (s, event) in events {
            self.read.set(s);
            let who = || format!("{}@n{}", self.user, self.node.index);
            match event.event() {
                Event::RoomAdded { room } | Event::RoomReset { room } => {
                    note(|| format!("{} is told of {} at {}", who(), room.id, room.head));
                    let place = Place::at(room);
                    self.rooms.borrow_mut().insert(room.id.clone(), place);
                }
                Event::RoomRemoved { room } => {
                    note(|| format!("{} is out of {room}", who()));
                    self.rooms.borrow_mut().remove(room);
                }
                other => {
                    if let Some(entry) = other.entry() {
                        note(|| format!("{} sees {} {}", who(), entry.room, entry.entry.seq));
                        if let Err(what) = self.sees(entry, store) {
                            wrong.push(format!("{}: {what}", who()));
                        }
                    }
                }
            }
        }
        wrong
    }

    fn sees(&self, seen: &RoomEntry, store: &Store) -> Result<(), String> {
        let (room, seq) = (&seen.room, seen.entry.seq);
        let mut rooms = self.rooms.borrow_mut();
        // The join entry may come before `room.added` says where the room stands.
        let Some(place) = rooms.get_mut(room) else {
            return Ok(());
        };
        let same = store.with_epoch(room, &place.epoch, |log| log.at(seq) == Some(&seen.entry));
        if same == Some(false) {
            return Err(format!("{room} {seq} is not what stands in the log"));
        }
        match place.last {
            Some(last) if seq <= last => Err(format!("{room} {seq} comes after {last}"))?,
            Some(last) if seq > last.next() => Err(format!("{room} {seq} follows {last}"))?,
            None if seq > place.from.next() => {
                Err(format!("{room} {seq} is the first after {}", place.from))?;
            }
            _ => place.last = Some(seq),
        }
        Ok(())
    }
}
