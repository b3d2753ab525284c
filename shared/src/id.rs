//! Identifiers and positions as types of their own, so that a room id cannot be passed for a user
//! id and a string that breaks the rules never gets past the edge.
//!
//! Ids are 1–64 characters of `A-Z a-z 0-9 _ : . -`. They are opaque: no client and no service
//! may read meaning into their letters.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The longest id, in bytes.
pub const MAX_ID_LEN: usize = 64;

/// Why a string is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Empty, or longer than [`MAX_ID_LEN`].
    #[error("an id has 1 to 64 characters")]
    Length,
    /// A character outside the allowed set.
    #[error("an id consists of A-Z a-z 0-9 _ : . -")]
    Character,
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() || text.len() > MAX_ID_LEN {
        return Err(InvalidId::Length);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-');
    if text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(InvalidId::Character)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
        #[schema(value_type = String)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the rules of ids and takes the string over.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id: 1 to 64 of A-Z a-z 0-9 _ : . -")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

id!(
    /// A person's account: the `sub` of an access token.
    UserId
);
id!(
    /// A room of any kind.
    RoomId
);
id!(
    /// A chat session; it outlives the sockets that carry it.
    SessionId
);
id!(
    /// A client-chosen name of a device, the same on every start of that device.
    DeviceId
);
id!(
    /// A chat node.
    NodeId
);
id!(
    /// The client-made name of one send, unique per sender and room.
    Nonce
);
id!(
    /// The identity of a room's log: changes only if the log was lost.
    Epoch
);

impl RoomId {
    /// The id of the direct-message room of two people: a function of the unordered pair, so that
    /// both ends, and any node, arrive at the same room without asking.
    ///
    /// 128 bits of SHA-256 over both ids, smaller first, separated by a byte that no id contains.
    pub fn direct(a: &UserId, b: &UserId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let mut hash = Sha256::new();
        hash.update(low.as_str());
        hash.update([0]);
        hash.update(high.as_str());
        let digest = hash.finalize();
        let mut text = String::with_capacity(35);
        text.push_str("dm:");
        for byte in &digest[..16] {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    /// A new id for a room that is not a function of its members.
    pub fn generate() -> Self {
        Self(format!("r:{}", ulid::Ulid::new()).into())
    }
}

impl SessionId {
    /// A new id with 128 bits from the operating system's generator: holding a session id and a
    /// token of the same user is what resuming takes.
    pub fn generate() -> Self {
        use rand::TryRngCore as _;
        let mut bytes = [0_u8; 16];
        if rand::rngs::OsRng.try_fill_bytes(&mut bytes).is_err() {
            bytes = rand::random();
        }
        let mut text = String::with_capacity(34);
        text.push_str("s:");
        for byte in bytes {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }
}

impl Epoch {
    /// A new epoch, made when a room's log begins.
    pub fn generate() -> Self {
        Self(ulid::Ulid::new().to_string().into())
    }
}

impl Nonce {
    /// A nonce made on the server's side, for entries whose author needs no retry.
    pub fn generate() -> Self {
        Self(ulid::Ulid::new().to_string().into())
    }
}

/// A position in a room's log: the first entry is 1, and 0 stands before it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The first entry.
    pub const FIRST: Self = Self(1);

    /// The position `n`.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The position as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position before it; there is none before [`Seq::ZERO`].
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The position that follows. Clients name positions: the last there is has none after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position `n` further on.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Stands on the wire for "for good" where a field says until when: the last integer that every
    /// JSON reader takes exactly (2^53 - 1).
    pub const FOREVER: Self = Self(9_007_199_254_740_991);

    /// The instant `ms` milliseconds after the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The system clock's reading.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// `ms` milliseconds later (earlier when negative).
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_obey_their_rules() {
        assert!(UserId::parse("u_1:a.b-C").is_ok());
        assert_eq!(UserId::parse(""), Err(InvalidId::Length));
        assert_eq!(UserId::parse(&"x".repeat(65)), Err(InvalidId::Length));
        assert_eq!(UserId::parse("a b"), Err(InvalidId::Character));
        assert_eq!(UserId::parse("é"), Err(InvalidId::Character));
        assert!(serde_json::from_str::<RoomId>("\"a/b\"").is_err());
    }

    #[test]
    fn a_direct_room_is_a_function_of_the_pair() {
        let (a, b) = (
            UserId::parse("alice").unwrap(),
            UserId::parse("bob").unwrap(),
        );
        assert_eq!(RoomId::direct(&a, &b), RoomId::direct(&b, &a));
        assert_ne!(RoomId::direct(&a, &b), RoomId::direct(&a, &a));
        assert!(RoomId::parse(RoomId::direct(&a, &b).as_str()).is_ok());
    }
}
