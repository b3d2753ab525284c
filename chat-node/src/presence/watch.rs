//! Who has which room open: viewers who see its members' presence without being their friends.
//!
//! Bounds: [`MAX_WATCHES`] rooms a session, [`MAX_WATCHED_MEMBERS`] members a room; so what is
//! kept is bounded by the sessions of this node and the rooms they have open.

use std::collections::{HashMap, HashSet};

use shared::id::{RoomId, UserId};
use smallvec::SmallVec;

use crate::{ids::IdMap, transport::SessionKey};

/// The most rooms a session may have open at once.
pub const MAX_WATCHES: usize = 4;
/// The most members of a room that can be watched; a larger one shows no presence.
pub const MAX_WATCHED_MEMBERS: usize = 500;

/// The book of open rooms.
#[derive(Debug, Default)]
pub(super) struct Watches {
    rooms: HashMap<RoomId, Watched>,
    sessions: HashMap<SessionKey, SmallVec<[RoomId; MAX_WATCHES]>>,
    /// In which watched rooms a user is.
    members: IdMap<UserId, SmallVec<[RoomId; 2]>>,
}

#[derive(Debug, Default)]
struct Watched {
    members: HashSet<UserId>,
    viewers: HashMap<SessionKey, UserId>,
}

/// Why a room cannot be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TooManyRooms,
    TooManyMembers,
}

/// Users whose topic this node begins or ceases to need.
pub(super) type Topics = Vec<UserId>;

impl Watches {
    /// The session has the room open, which has these members. Answers the members watched for the first time.
    pub(super) fn open(
        &mut self,
        session: SessionKey,
        viewer: &UserId,
        room: &RoomId,
        members: &[UserId],
    ) -> Result<Topics, Refused> {
        if members.len() > MAX_WATCHED_MEMBERS {
            return Err(Refused::TooManyMembers);
        }
        let open = self.sessions.entry(session).or_default();
        if !open.contains(room) {
            if open.len() == MAX_WATCHES {
                return Err(Refused::TooManyRooms);
            }
            open.push(room.clone());
        }
        let watched = self.rooms.entry(room.clone()).or_default();
        watched.viewers.insert(session, viewer.clone());
        let mut begun = Vec::new();
        for member in members {
            if watched.members.insert(member.clone()) {
                let rooms = self.members.entry(member.clone()).or_default();
                if rooms.is_empty() {
                    begun.push(member.clone());
                }
                rooms.push(room.clone());
            }
        }
        Ok(begun)
    }

    /// The session no longer has the room open. Answers the members nobody watches any more.
    pub(super) fn close(&mut self, session: SessionKey, room: &RoomId) -> Topics {
        if let Some(open) = self.sessions.get_mut(&session) {
            open.retain(|other| other != room);
            if open.is_empty() {
                self.sessions.remove(&session);
            }
        }
        let Some(watched) = self.rooms.get_mut(room) else {
            return Vec::new();
        };
        watched.viewers.remove(&session);
        if !watched.viewers.is_empty() {
            return Vec::new();
        }
        let members = self.rooms.remove(room).unwrap_or_default().members;
        let ended = members
            .into_iter()
            .filter(|member| self.leave(member, room));
        ended.collect()
    }

    /// The rooms the session has open.
    pub(super) fn opened(&self, session: SessionKey) -> Vec<RoomId> {
        let open = self.sessions.get(&session).into_iter().flatten();
        open.cloned().collect()
    }

    /// The session has ended.
    pub(super) fn end(&mut self, session: SessionKey) -> Topics {
        let open = self.sessions.get(&session).cloned().unwrap_or_default();
        let mut ended = Vec::new();
        for room in &open {
            ended.extend(self.close(session, room));
        }
        ended
    }

    /// Somebody came into a room. Answers whether the user is watched for the first time.
    pub(super) fn joined(&mut self, room: &RoomId, user: &UserId) -> bool {
        let Some(watched) = self.rooms.get_mut(room) else {
            return false;
        };
        if watched.members.len() >= MAX_WATCHED_MEMBERS || !watched.members.insert(user.clone()) {
            return false;
        }
        let rooms = self.members.entry(user.clone()).or_default();
        rooms.push(room.clone());
        rooms.len() == 1
    }

    /// Somebody went out of a room, and closes it if it was open. Answers the users nobody
    /// watches any more.
    pub(super) fn left(&mut self, room: &RoomId, user: &UserId) -> Topics {
        let Some(watched) = self.rooms.get_mut(room) else {
            return Vec::new();
        };
        let was_member = watched.members.remove(user);
        let sessions = watched.viewers.iter().filter(|(_, viewer)| *viewer == user);
        let sessions: Vec<SessionKey> = sessions.map(|(session, _)| *session).collect();
        let mut ended = Vec::new();
        if was_member && self.leave(user, room) {
            ended.push(user.clone());
        }
        for session in sessions {
            ended.extend(self.close(session, room));
        }
        ended
    }

    /// Who has a room open with `user` in it.
    pub(super) fn viewers(&self, user: &UserId) -> HashSet<UserId> {
        let rooms = self.members.get(user).into_iter().flatten();
        let watched = rooms.filter_map(|room| self.rooms.get(room));
        let viewers = watched.flat_map(|watched| watched.viewers.values());
        viewers.filter(|viewer| *viewer != user).cloned().collect()
    }

    /// Who besides `user` has the room open.
    pub(super) fn viewers_in(&self, room: &RoomId, user: &UserId) -> HashSet<UserId> {
        let watched = self.rooms.get(room).into_iter();
        let viewers = watched.flat_map(|watched| watched.viewers.values());
        viewers.filter(|viewer| *viewer != user).cloned().collect()
    }

    /// The members of the rooms that a session has open.
    pub(super) fn seen_from(&self, session: SessionKey) -> Vec<UserId> {
        let rooms = self.sessions.get(&session).into_iter().flatten();
        let watched = rooms.filter_map(|room| self.rooms.get(room));
        let members: HashSet<&UserId> = watched.flat_map(|watched| &watched.members).collect();
        members.into_iter().cloned().collect()
    }

    /// Whether `viewer` has a room open with `user` in it.
    pub(super) fn sees(&self, viewer: &UserId, user: &UserId) -> bool {
        let rooms = self.members.get(user).into_iter().flatten();
        let mut watched = rooms.filter_map(|room| self.rooms.get(room));
        watched.any(|watched| watched.viewers.values().any(|other| other == viewer))
    }

    /// How many rooms are open.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Takes `room` from the member's list; answers whether that was the last.
    fn leave(&mut self, member: &UserId, room: &RoomId) -> bool {
        let Some(rooms) = self.members.get_mut(member) else {
            return false;
        };
        rooms.retain(|other| other != room);
        let last = rooms.is_empty();
        if last {
            self.members.remove(member);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    fn session(n: u64) -> SessionKey {
        SessionKey::new(0, n)
    }

    #[test]
    fn viewers_see_members_while_the_room_is_open() {
        let mut watches = Watches::default();
        let members = [user("a"), user("b"), user("c")];
        let begun = watches.open(session(1), &user("a"), &room("r"), &members);
        assert_eq!(begun, Ok(members.to_vec()));
        let begun = watches.open(session(2), &user("b"), &room("q"), &members[1..]);
        assert_eq!(begun, Ok(Vec::new()), "watched already");
        assert_eq!(
            watches.viewers(&user("c")),
            HashSet::from([user("a"), user("b")])
        );
        assert_eq!(
            watches.viewers(&user("a")),
            HashSet::new(),
            "nobody watches oneself"
        );
        assert!(watches.sees(&user("b"), &user("c")) && !watches.sees(&user("c"), &user("b")));
        assert_eq!(watches.close(session(1), &room("r")), [user("a")]);
        let mut ended = watches.end(session(2));
        ended.sort();
        assert_eq!(ended, [user("b"), user("c")]);
        assert!(
            watches.rooms.is_empty() && watches.members.is_empty() && watches.sessions.is_empty()
        );
    }

    #[test]
    fn who_leaves_a_room_neither_sees_nor_is_seen() {
        let mut watches = Watches::default();
        let members = [user("a"), user("b")];
        watches
            .open(session(1), &user("a"), &room("r"), &members)
            .unwrap();
        watches
            .open(session(2), &user("b"), &room("r"), &members)
            .unwrap();
        assert!(watches.joined(&room("r"), &user("c")));
        assert!(!watches.joined(&room("r"), &user("c")) && !watches.joined(&room("x"), &user("c")));
        assert_eq!(watches.left(&room("r"), &user("b")), [user("b")]);
        assert_eq!(watches.viewers(&user("a")), HashSet::new());
        assert_eq!(watches.viewers(&user("c")), HashSet::from([user("a")]));
    }

    #[test]
    fn what_is_open_is_bounded() {
        let mut watches = Watches::default();
        let crowd: Vec<UserId> = (0..=MAX_WATCHED_MEMBERS)
            .map(|n| user(&n.to_string()))
            .collect();
        let refused = watches.open(session(1), &user("a"), &room("r"), &crowd);
        assert_eq!(refused, Err(Refused::TooManyMembers));
        for n in 0..MAX_WATCHES {
            let name = n.to_string();
            watches
                .open(session(1), &user("a"), &room(&name), &[user("a")])
                .unwrap();
        }
        let refused = watches.open(session(1), &user("a"), &room("r"), &[user("a")]);
        assert_eq!(refused, Err(Refused::TooManyRooms));
        assert_eq!(
            watches.open(session(1), &user("a"), &room("0"), &[user("a")]),
            Ok(Vec::new())
        );
    }
}
