//! How things stand in documents.
//!
//! Names are short because every document repeats them: `r` is a room's key, `s` a seq, `u` a user.

use mongodb::bson::oid::ObjectId;
use serde::{Deserialize, Serialize};
use shared::{
    id::{Nonce, Seq, Timestamp, UserId},
    protocol::room::{EntryBody, MessageBody, Role, RoomChange, RoomKind},
    telemetry::Sparing,
};

/// A room's own key. A room that is made anew under the id of a removed one has another.
pub(super) type Key = ObjectId;

/// The name of a position in a log: what makes `(room, seq)` unique, and what finds positions of
/// several rooms in one question.
pub(super) fn position(key: Key, seq: Seq) -> String {
    format!("{}{:016x}", key.to_hex(), seq.get())
}

pub(super) fn seq_value(seq: Seq) -> i64 {
    i64::try_from(seq.get()).unwrap_or(i64::MAX)
}

pub(super) fn seq(value: i64) -> Seq {
    Seq::new(value.unsigned_abs())
}

/// An entry of a log; of a message also how it reads now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EntryDoc {
    /// [`position`].
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "r")]
    pub(super) room: Key,
    #[serde(rename = "s")]
    pub(super) seq: i64,
    #[serde(rename = "u")]
    pub(super) user: String,
    #[serde(rename = "t")]
    pub(super) ts: i64,
    /// A message's nonce; of anything else something that is no nonce and stands once.
    #[serde(rename = "n")]
    pub(super) nonce: String,
    /// Which attempt to append wrote it: how whoever is not sure recognises what is its own.
    #[serde(rename = "a")]
    pub(super) attempt: ObjectId,
    /// How many messages the room has had up to here.
    #[serde(rename = "p")]
    pub(super) place: i64,
    /// The newest message up to here; 0 when there was none.
    #[serde(rename = "l")]
    pub(super) last: i64,
    /// JSON of `EntryBody`.
    #[serde(rename = "b")]
    pub(super) body: String,
    /// It is a message.
    #[serde(rename = "k", default, skip_serializing_if = "is_false")]
    pub(super) message: bool,
    /// The room again, until the entry has been folded.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) unfolded: Option<Key>,
    /// Whom it brings in or puts out, until it has been folded.
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    pub(super) concerns: Option<String>,
    /// The position that it edits.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) edits: Option<String>,
    /// Nothing follows: the room was removed here.
    #[serde(rename = "end", default, skip_serializing_if = "is_false")]
    pub(super) end: bool,

    // Derived, of a message.
    /// Whom it now mentions, the author apart.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) mentions: Vec<String>,
    /// The entry last folded into it.
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<i64>,
    /// The entry that deleted it.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<i64>,
    /// When it was last edited.
    #[serde(rename = "et", default, skip_serializing_if = "Option::is_none")]
    pub(super) edited: Option<i64>,
    /// The body of the newest edit.
    #[serde(rename = "eb", default, skip_serializing_if = "Option::is_none")]
    pub(super) edit: Option<String>,
    /// There may be reactions.
    #[serde(rename = "x", default, skip_serializing_if = "is_false")]
    pub(super) reacted: bool,
}

impl EntryDoc {
    pub(super) fn at(&self) -> Seq {
        seq(self.seq)
    }

    pub(super) fn author(&self) -> Result<UserId, Damaged> {
        user(&self.user)
    }

    /// What it says; what cannot be read is reported and replaced.
    pub(super) fn body(&self) -> EntryBody {
        serde_json::from_str(&self.body).unwrap_or_else(|_| {
            self.report();
            match (self.message, Nonce::parse(&self.nonce)) {
                (true, Ok(nonce)) => EntryBody::Message(unreadable(nonce)),
                _ => EntryBody::Room(RoomChange {
                    unreadable: true,
                    ..RoomChange::default()
                }),
            }
        })
    }

    pub(super) fn report(&self) {
        static LINES: Sparing = Sparing::each_second();
        metrics::counter!("fireside_mongodb_unreadable_total").increment(1);
        if let Some(more) = LINES.due() {
            let position = &self.id;
            tracing::error!(
                position,
                more,
                "an entry cannot be read; it is served as unreadable"
            );
        }
    }
}

/// A message without its words.
pub(super) fn unreadable(nonce: Nonce) -> MessageBody {
    MessageBody {
        nonce,
        text: String::new(),
        reply_to: None,
        mentions: Vec::new(),
        data: None,
        unreadable: true,
    }
}

/// A room. Everything in it but the identity is derived.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RoomDoc {
    /// The room's id.
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) key: Key,
    pub(super) kind: RoomKind,
    pub(super) epoch: String,
    pub(super) name: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) slow: i64,
    pub(super) members: i64,
    /// The entry last folded into it.
    pub(super) at: i64,
    /// The head is here or further on.
    pub(super) head: i64,
    /// How far the index of words goes.
    pub(super) indexed: i64,
    /// The first entry that is kept. What comes before it is out of sight.
    #[serde(default = "from_the_first")]
    pub(super) first: i64,
    /// How many messages came before it.
    #[serde(default)]
    pub(super) expired: i64,
    /// When it was appended.
    #[serde(default)]
    pub(super) oldest: i64,
    /// What comes before this is deleted.
    #[serde(default = "from_the_first")]
    pub(super) cut: i64,
}

fn from_the_first() -> i64 {
    1
}

/// What a room and a person have to do with each other. It stays when the person has gone, so that
/// no late repair brings them in again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PersonDoc {
    /// [`person_id`].
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "r")]
    pub(super) room: Key,
    #[serde(rename = "room")]
    pub(super) room_id: String,
    #[serde(rename = "u")]
    pub(super) user: String,
    /// A member.
    pub(super) here: bool,
    /// A member, or banned.
    pub(super) known: bool,
    pub(super) role: Role,
    /// The entry that brought the member in, and its time.
    pub(super) since: i64,
    pub(super) came: i64,
    #[serde(default)]
    pub(super) muted: Option<Until>,
    #[serde(default)]
    pub(super) banned: Option<Until>,
    /// The read marker.
    #[serde(default)]
    pub(super) read: i64,
    /// The entry last folded into it.
    pub(super) at: i64,
}

pub(super) fn person_id(key: Key, user: &str) -> String {
    format!("{}/{user}", key.to_hex())
}

/// Until when something lasts; `None` is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Until {
    pub(super) until: Option<i64>,
}

impl Until {
    pub(super) fn new(until: Option<Timestamp>) -> Self {
        Self {
            until: until.map(Timestamp::as_millis),
        }
    }

    pub(super) fn time(self) -> Option<Timestamp> {
        self.until.map(Timestamp::from_millis)
    }
}

/// Who holds one emoji under a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReactionDoc {
    /// The message's position and the emoji.
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// The message's position.
    #[serde(rename = "m")]
    pub(super) message: String,
    #[serde(rename = "r")]
    pub(super) room: Key,
    #[serde(rename = "e")]
    pub(super) emoji: String,
    /// The entry that brought the emoji in.
    #[serde(rename = "p")]
    pub(super) place: i64,
    /// How many hold it.
    #[serde(rename = "c")]
    pub(super) count: i64,
    /// Who, in the order they came.
    #[serde(rename = "u")]
    pub(super) users: Vec<String>,
    /// The entry last folded into it.
    pub(super) at: i64,
}

pub(super) fn reaction_id(message: &str, emoji: &str) -> String {
    format!("{message}/{emoji}")
}

/// A document holds what cannot stand there.
#[derive(Debug, thiserror::Error)]
#[error("a document is damaged: {0}")]
pub(super) struct Damaged(pub(super) String);

pub(super) fn user(text: &str) -> Result<UserId, Damaged> {
    UserId::parse(text).map_err(|error| Damaged(error.to_string()))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_false(value: &bool) -> bool {
    !value
}
