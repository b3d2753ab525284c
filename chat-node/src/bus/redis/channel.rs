//! Names of channels, and the slots of a Cluster that they fall into.

use std::sync::Arc;

use crate::bus::Topic;

/// How many slots a Cluster has.
pub(super) const SLOTS: usize = 16_384;

/// A channel's name, as bytes.
pub(super) type Channel = Arc<[u8]>;

/// Makes the names of our channels. What tells two topics of a kind apart stands in braces, as a
/// hash tag: on a Cluster it alone decides the slot, so a user's channel is where the user's
/// keys are.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix }
    }

    /// The channel of a topic.
    pub(super) fn topic(&self, topic: &Topic) -> Channel {
        let prefix = &self.prefix;
        let name = match topic {
            Topic::User(user) => format!("{prefix}user:{{{user}}}"),
            Topic::Room(room) => format!("{prefix}room:{{{room}}}"),
            Topic::Nodes => format!("{prefix}nodes"),
        };
        name.into_bytes().into()
    }

    /// The channel on which nodes say that they lost messages.
    pub(super) fn losses(&self) -> Channel {
        format!("{}bus:losses", self.prefix).into_bytes().into()
    }

    /// A channel for one process alone, in a slot that satisfies `there`.
    pub(super) fn probe(&self, process: u64, there: impl Fn(u16) -> bool) -> Channel {
        // One in as many tries as there are masters fits.
        let candidate = |n: usize| format!("{}bus:probe:{process:016x}:{n}", self.prefix);
        let n = (0..SLOTS).find(|n| there(slot(candidate(*n).as_bytes())));
        candidate(n.unwrap_or(0)).into_bytes().into()
    }
}

/// The slot of a channel or a key: CRC16 (XMODEM) of its hash tag, or of all of it.
pub(super) fn slot(name: &[u8]) -> u16 {
    let tag = name.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &name[open + 1..];
        let close = rest.iter().position(|b| *b == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let crc = tag.unwrap_or(name).iter().fold(0_u16, |crc, byte| {
        (crc << 8) ^ CRC[usize::from((crc >> 8) as u8 ^ byte)]
    });
    crc % SLOTS as u16
}

const CRC: [u16; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use shared::id::{RoomId, UserId};

    use super::*;

    /// The numbers are those of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(slot(b"123456789"), 12_739);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{foo}bar"), 12_182);
        assert_eq!(slot(b"x{foo}{bar}"), 12_182);
        assert_eq!(slot(b"foo{}{bar}"), slot_of_all(b"foo{}{bar}"));
        assert_eq!(slot(b""), 0);
    }

    fn slot_of_all(name: &[u8]) -> u16 {
        let ours = slot(name);
        let theirs = ::redis::cluster_routing::Slot::for_key(name);
        assert_eq!(::redis::cluster_routing::Slot::new(ours), Some(theirs));
        ours
    }

    #[test]
    fn kinds_of_topics_have_names_of_their_own() {
        let names = Names::new("fs:");
        let user = Topic::User(UserId::parse("a").unwrap());
        let room = Topic::Room(RoomId::parse("a").unwrap());
        assert_eq!(&*names.topic(&user), b"fs:user:{a}");
        assert_eq!(&*names.topic(&room), b"fs:room:{a}");
        assert_eq!(&*names.topic(&Topic::Nodes), b"fs:nodes");
        assert_eq!(slot(&names.topic(&user)), slot(b"a"));
        for part in 0..8 {
            let there = |slot: u16| slot / 2_048 == part;
            assert!(there(slot_of_all(&names.probe(7, there))));
        }
    }
}
