//! What nodes tell each other, in MessagePack with named fields: a node may be older or newer
//! than its neighbour, so unknown fields are ignored and an unknown message is left out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::{
    events::StoreEvent,
    id::{Timestamp, UserId},
};

use crate::presence::DeviceState;
pub use crate::room::RoomNews;
use crate::session::Passage;

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusMessage {
    /// News of a room.
    Room(RoomNews),
    /// Somebody's presence changed.
    Presence(PresenceNews),
    /// Something happened in the store.
    Store(StoreEvent),
    /// A node died, perhaps before it had told what it had stored: look for it in history.
    Lost,
    /// The game's backend wants a user's sessions closed.
    Disconnect {
        /// Whose.
        user: UserId,
        /// Only those that had begun by then.
        #[serde(default = "Timestamp::now")]
        at: Timestamp,
    },
    /// A session moves from one node to another.
    Passage(Passage),
}

/// A user's presence as a node found it, true (invisible shows): projected where it is heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceNews {
    /// Whose.
    pub user: UserId,
    /// The friend whose sessions it is for; none: the user's own, and those who watch a room
    /// with the user in it.
    pub to: Option<UserId>,
    /// The state over all nodes; none: offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DeviceState>,
    /// When the user was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Counts the changes of this user's presence: news older than what was heard is dropped.
    pub version: u64,
    /// Friends see no difference to what was told before, and were not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unshown: bool,
}

/// A payload that is no message of ours, or of a kind this node does not know.
#[derive(Debug, thiserror::Error)]
#[error("not a message between nodes: {0}")]
pub struct UnreadableMessage(String);

impl BusMessage {
    /// As bytes for the bus.
    pub fn encode(&self) -> Result<Bytes, UnreadableMessage> {
        rmp_serde::to_vec_named(self)
            .map(Bytes::from)
            .map_err(|error| UnreadableMessage(error.to_string()))
    }

    /// From bytes of the bus.
    pub fn decode(payload: &[u8]) -> Result<Self, UnreadableMessage> {
        rmp_serde::from_slice(payload).map_err(|error| UnreadableMessage(error.to_string()))
    }

    /// Its kind, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Room(RoomNews::Entries { .. }) => "entries",
            Self::Room(RoomNews::Typing { .. }) => "typing",
            Self::Room(RoomNews::Read { .. }) => "read",
            Self::Room(_) => "room",
            Self::Presence(_) => "presence",
            Self::Store(_) => "store",
            Self::Disconnect { .. } => "disconnect",
            Self::Passage(_) => "passage",
            Self::Lost => "lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::{
        events::{StoreEvent, StoreEventKind},
        id::{RoomId, Seq},
        protocol::room::Entry,
    };

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn every_message_survives_the_bus() {
        let room = RoomId::parse("r").unwrap();
        let entries: Vec<Entry> = [
            json!({"seq": 1, "user": "a", "ts": 5, "kind": "room", "created": "group", "name": "x"}),
            json!({"seq": 2, "user": "a", "ts": 5, "kind": "message", "nonce": "n", "text": "hi",
                   "data": {"deep": [1, -2, 3.5, null, {"k": "v"}]}}),
            json!({"seq": 3, "user": "b", "ts": 6, "kind": "reaction", "target": 2, "emoji": "👍", "on": true}),
            json!({"seq": 4, "user": "a", "ts": 7, "kind": "member", "action": "ban", "member": "b", "until": 9}),
        ]
        .into_iter()
        .map(|entry| serde_json::from_value(entry).unwrap())
        .collect();
        let messages = [
            BusMessage::Room(RoomNews::Entries {
                room: room.clone(),
                users: None,
                entries,
                followed: Vec::new(),
            }),
            BusMessage::Room(RoomNews::Typing {
                room: room.clone(),
                users: Some([user("a"), user("b")]),
                user: user("a"),
                on: true,
                hidden: vec![user("c")],
            }),
            BusMessage::Room(RoomNews::Added {
                user: user("b"),
                room,
                seq: Seq::new(2),
            }),
            BusMessage::Presence(PresenceNews {
                user: user("a"),
                to: None,
                state: serde_json::from_value(json!({"availability": "invisible",
                    "activity": {"kind": "game", "game": "chess"}}))
                .unwrap(),
                last_seen: Some(Timestamp::from_millis(3)),
                version: 9,
                unshown: true,
            }),
            BusMessage::Store(StoreEvent::new(StoreEventKind::UserWithdrawn {
                user: user("a"),
            })),
            BusMessage::Disconnect {
                user: user("a"),
                at: Timestamp::from_millis(7),
            },
            BusMessage::Lost,
            BusMessage::Passage(
                serde_json::from_value(json!({"user": "a", "sid": "s:1", "claim": u64::MAX,
                    "step": {"wanted": {"s": 7, "heads": [["r", 3]]}}}))
                .unwrap(),
            ),
            BusMessage::Passage(
                serde_json::from_value(json!({"user": "a", "sid": "s:1", "claim": 1,
                    "step": {"complete": {"pieces": 2, "luggage": {"device": null, "begun": 5,
                        "state": {"availability": "busy"}, "rooms": ["r"], "open": []}}}}))
                .unwrap(),
            ),
            BusMessage::Passage(
                serde_json::from_value(json!({"user": "a", "sid": "s:1", "claim": 1,
                    "step": "taken"}))
                .unwrap(),
            ),
        ];
        for message in messages {
            let payload = message.encode().unwrap();
            assert_eq!(BusMessage::decode(&payload).unwrap(), message);
        }
    }

    #[test]
    fn a_newer_neighbour_is_understood_as_far_as_possible() {
        let newer = json!({"disconnect": {"user": "a", "at": 7, "why": "because"}});
        let payload = rmp_serde::to_vec_named(&newer).unwrap();
        assert_eq!(
            BusMessage::decode(&payload).unwrap(),
            BusMessage::Disconnect {
                user: user("a"),
                at: Timestamp::from_millis(7),
            }
        );
        let unknown = rmp_serde::to_vec_named(&json!({"teleport": {"user": "a"}})).unwrap();
        assert!(BusMessage::decode(&unknown).is_err());
        assert!(BusMessage::decode(b"\xc1").is_err());
    }
}
