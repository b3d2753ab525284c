//! Where the stream of a session that moved goes on: what the old node gave, and behind it what the
//! new one held, without a hole and without an entry twice. Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use shared::{
    id::{RoomId, Seq},
    protocol::{codec::SharedEvent, event::Event, room::RoomView},
};

/// The two halves.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// What the old node gave. It goes at least as far in every room as `views`.
    pub(super) given: Vec<Arc<SharedEvent>>,
    /// The rooms it heard on the old node, direct-message rooms apart.
    pub(super) heard: HashSet<RoomId>,
    /// The rooms as the new node read them: what comes after their heads it delivers.
    pub(super) views: Vec<RoomView>,
    /// The rooms it hears on the new node, direct-message rooms apart.
    pub(super) hears: HashSet<RoomId>,
    /// What the new node delivered meanwhile.
    pub(super) held: Vec<Arc<SharedEvent>>,
}

/// How far a stream goes in each room that it tells of.
pub(super) fn reached(stream: &[Arc<SharedEvent>]) -> HashMap<RoomId, Seq> {
    let mut reached = HashMap::new();
    for event in stream {
        match event.event() {
            Event::RoomAdded { room } | Event::RoomReset { room } => {
                reached.insert(room.id.clone(), room.head);
            }
            event => {
                if let Some(of) = event.entry() {
                    reached.insert(of.room.clone(), of.entry.seq);
                }
            }
        }
    }
    reached
}

/// Joins them. What the new node delivers from here on comes after all that the old one gave: it has held
/// at least as much.
pub(super) fn splice(halves: Halves) -> Vec<Arc<SharedEvent>> {
    let Halves {
        given,
        heard,
        views,
        hears,
        held,
    } = halves;
    let mut reached = reached(&given);
    for view in &views {
        let reached = reached.entry(view.id.clone()).or_default();
        *reached = (*reached).max(view.head);
    }
    let mut seam = Seam {
        stream: given,
        reached,
        rooms: heard,
        passed_over: HashSet::new(),
    };
    seam.agree(views, &hears, &held);
    for event in held {
        seam.take(event);
    }
    seam.stream
}

struct Seam {
    stream: Vec<Arc<SharedEvent>>,
    /// How far the stream has each room.
    reached: HashMap<RoomId, Seq>,
    /// The rooms the client knows itself in, direct-message rooms apart.
    rooms: HashSet<RoomId>,
    /// Rooms whose last entry that was held stood in the stream already.
    passed_over: HashSet<RoomId>,
}

impl Seam {
    /// Where the nodes differ on which rooms the user is in, one of them has heard of a change that the
    /// other will not tell any more; unless it is among what was held.
    fn agree(&mut self, views: Vec<RoomView>, hears: &HashSet<RoomId>, held: &[Arc<SharedEvent>]) {
        let told: HashSet<&RoomId> = held
            .iter()
            .filter_map(|event| match event.event() {
                Event::RoomAdded { room } => Some(&room.id),
                Event::RoomRemoved { room } => Some(room),
                _ => None,
            })
            .collect();
        let gone = self.rooms.difference(hears);
        let mut gone: Vec<RoomId> = gone.filter(|room| !told.contains(room)).cloned().collect();
        gone.sort();
        for room in gone {
            self.rooms.remove(&room);
            self.tell(Event::RoomRemoved { room });
        }
        for room in views {
            if hears.contains(&room.id)
                && !told.contains(&room.id)
                && self.rooms.insert(room.id.clone())
            {
                self.reached.insert(room.id.clone(), room.head);
                self.tell(Event::RoomAdded { room });
            }
        }
    }

    fn take(&mut self, event: Arc<SharedEvent>) {
        match event.event() {
            Event::RoomAdded { room } => {
                let known = room.peer.is_some() || self.rooms.contains(&room.id);
                let has = self.reached.get(&room.id);
                if known && has.is_some_and(|has| room.head <= *has) {
                    return;
                }
                self.reached.insert(room.id.clone(), room.head);
                if room.peer.is_none() {
                    self.rooms.insert(room.id.clone());
                }
            }
            Event::RoomReset { room } => {
                self.reached.insert(room.id.clone(), room.head);
            }
            Event::RoomRemoved { room } => {
                // It follows the entry that says so. If the stream has that, it has this, and perhaps
                // that the user came in again.
                if !self.rooms.contains(room) || self.passed_over.contains(room) {
                    return;
                }
                self.rooms.remove(room);
            }
            other => {
                if let Some(of) = other.entry() {
                    let has = self.reached.get(&of.room);
                    if has.is_some_and(|has| of.entry.seq <= *has) {
                        self.passed_over.insert(of.room.clone());
                        return;
                    }
                    self.passed_over.remove(&of.room);
                }
            }
        }
        self.stream.push(event);
    }

    fn tell(&mut self, event: Event) {
        self.stream.push(Arc::new(SharedEvent::new(event)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    fn view(name: &str, head: u64) -> RoomView {
        serde_json::from_value(
            json!({"id": name, "kind": "group", "name": "x", "epoch": "e",
            "head": head, "read": 0, "unread": 0, "mentions": 0, "role": "member", "members": 2}),
        )
        .unwrap()
    }

    fn shared(event: Event) -> Arc<SharedEvent> {
        Arc::new(SharedEvent::new(event))
    }

    fn said(room: &str, seq: u64) -> Arc<SharedEvent> {
        let entry = json!({"seq": seq, "user": "a", "ts": 5, "kind": "message", "nonce": "n", "text": "hi"});
        shared(Event::of_entry(
            id(room),
            serde_json::from_value(entry).unwrap(),
        ))
    }

    fn left(room: &str, seq: u64) -> Arc<SharedEvent> {
        let entry = json!({"seq": seq, "user": "a", "ts": 5, "kind": "member", "action": "leave", "member": "a"});
        shared(Event::of_entry(
            id(room),
            serde_json::from_value(entry).unwrap(),
        ))
    }

    fn added(room: &str, head: u64) -> Arc<SharedEvent> {
        let room = view(room, head);
        shared(Event::RoomAdded { room })
    }

    fn removed(room: &str) -> Arc<SharedEvent> {
        shared(Event::RoomRemoved { room: id(room) })
    }

    fn rooms(names: &[&str]) -> HashSet<RoomId> {
        names.iter().map(|name| id(name)).collect()
    }

    /// As `r5` for an entry, `+r5` for a room that is added, `-r` for one that is gone.
    fn read(stream: &[Arc<SharedEvent>]) -> String {
        let words: Vec<String> = stream
            .iter()
            .map(|event| match event.event() {
                Event::RoomAdded { room } => format!("+{}{}", room.id, room.head),
                Event::RoomRemoved { room } => format!("-{room}"),
                other => match other.entry() {
                    Some(of) => format!("{}{}", of.room, of.entry.seq),
                    None => other.name().to_owned(),
                },
            })
            .collect();
        words.join(" ")
    }

    #[test]
    fn what_both_have_comes_once_and_nothing_is_left_out() {
        let halves = Halves {
            given: vec![said("r", 4), said("q", 8), said("r", 5), said("r", 6)],
            heard: rooms(&["r", "q"]),
            views: vec![view("r", 4), view("q", 9)],
            hears: rooms(&["r", "q"]),
            held: vec![said("r", 5), said("q", 10), said("r", 6), said("r", 7)],
        };
        // q9 had been delivered, and acknowledged or not, before the node answered.
        assert_eq!(read(&splice(halves)), "r4 q8 r5 r6 q10 r7");
    }

    #[test]
    fn a_direct_message_needs_no_room_that_is_heard() {
        let halves = Halves {
            given: vec![said("d", 2)],
            views: vec![view("d", 1)],
            held: vec![said("d", 2), said("d", 3)],
            ..Halves::default()
        };
        assert_eq!(read(&splice(halves)), "d2 d3");
    }

    #[test]
    fn rooms_that_only_one_node_knows_of_are_told() {
        let halves = Halves {
            given: vec![said("old", 3)],
            heard: rooms(&["old", "r"]),
            views: vec![view("r", 1), view("new", 5)],
            hears: rooms(&["r", "new"]),
            held: vec![added("new", 5), said("new", 6)],
        };
        assert_eq!(read(&splice(halves)), "old3 -old +new5 new6");
    }

    #[test]
    fn who_went_and_came_again_is_told_so_once() {
        let told = || vec![left("r", 5), removed("r"), added("r", 8), said("r", 9)];
        let halves = Halves {
            given: told(),
            heard: rooms(&["r"]),
            views: vec![view("r", 4)],
            hears: rooms(&["r"]),
            held: told().into_iter().chain([said("r", 10)]).collect(),
        };
        assert_eq!(read(&splice(halves)), "r5 -r +r8 r9 r10");
        // The old node had heard of the first half of it only.
        let halves = Halves {
            given: told().into_iter().take(2).collect(),
            heard: rooms(&[]),
            views: vec![view("r", 4)],
            hears: rooms(&["r"]),
            held: told(),
        };
        assert_eq!(read(&splice(halves)), "r5 -r +r8 r9");
    }

    #[test]
    fn who_leaves_while_the_session_moves_is_told() {
        let halves = Halves {
            given: vec![],
            heard: rooms(&["r"]),
            views: vec![view("r", 4)],
            hears: rooms(&[]),
            held: vec![left("r", 5), removed("r")],
        };
        assert_eq!(read(&splice(halves)), "r5 -r");
    }
}
