//! The register of chat nodes in Redis: which there are and where, each for as long as it says so.
//!
//! A node announces itself every [`ANNOUNCE_EVERY`] for [`ANNOUNCED_FOR`], on Redis' clock, and
//! withdraws when it drains. A balancer lists who is announced; whether a node is fit it asks the node.
//! A register that is lost is whole again when every node has announced itself once more.
//!
//! Bound: one entry a node; those that are a day past their time are removed by the next announcement.

use std::time::Duration;

use ::redis::{RedisResult, Value, from_redis_value};

use crate::{
    id::NodeId,
    redis::{Asked, RedisLink, Script},
};

/// How often a node announces itself.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);
/// For how long that holds.
pub const ANNOUNCED_FOR: Duration = Duration::from_secs(8);

static ANNOUNCE: Script = Script::new(|| ::redis::Script::new(include_str!("announce.lua")));
static LIST: Script = Script::new(|| ::redis::Script::new(include_str!("list.lua")));

/// A node as it announces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name.
    pub id: NodeId,
    /// Where balancers reach it: `host:port`.
    pub address: String,
    /// Its share of the users, in proportion to the others'.
    pub weight: u16,
}

/// The register. Clones are the same.
#[derive(Clone)]
pub struct NodeRegister {
    link: RedisLink,
}

impl NodeRegister {
    /// The register that all with this link and prefix share.
    pub fn new(link: RedisLink) -> Self {
        Self { link }
    }

    /// Puts a node in, or keeps it there, for [`ANNOUNCED_FOR`]. Idempotent.
    pub async fn announce(&self, entry: &NodeEntry) -> RedisResult<()> {
        let call = ANNOUNCE.call().key(self.leases()).key(self.places());
        let call = call.arg(entry.id.as_str()).arg(encode(entry));
        let call = call.arg(ANNOUNCED_FOR.as_micros().to_string());
        self.link.ask(&[call.into()]).await.map(drop)
    }

    /// Takes a node out. Idempotent.
    pub async fn withdraw(&self, id: &NodeId) -> RedisResult<()> {
        let lease = Asked::new("ZREM").arg(self.leases()).arg(id.as_str());
        let place = Asked::new("HDEL").arg(self.places()).arg(id.as_str());
        self.link.ask(&[lease, place]).await.map(drop)
    }

    /// Who is announced right now, in the order of their names.
    pub async fn list(&self) -> RedisResult<Vec<NodeEntry>> {
        let call = LIST.call().key(self.leases()).key(self.places());
        let mut answers = self.link.ask(&[call.into()]).await?;
        let answer = answers.pop().unwrap_or(Value::Nil);
        let pairs: Vec<(String, String)> = from_redis_value(answer)?;
        let mut entries: Vec<NodeEntry> = pairs
            .iter()
            .filter_map(|(id, place)| decode(id, place))
            .collect();
        entries.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        Ok(entries)
    }

    fn leases(&self) -> String {
        format!("{}nodes:{{all}}", self.link.prefix())
    }

    fn places(&self) -> String {
        format!("{}nodes:{{all}}:places", self.link.prefix())
    }
}

/// A weight and an address; what newer nodes may add stands behind another space.
fn encode(entry: &NodeEntry) -> String {
    format!("{} {}", entry.weight, entry.address)
}

fn decode(id: &str, place: &str) -> Option<NodeEntry> {
    let mut words = place.split(' ');
    let weight = words.next()?.parse().ok()?;
    let address = words.next().filter(|address| !address.is_empty())?;
    Some(NodeEntry {
        id: NodeId::parse(id).ok()?,
        address: address.to_owned(),
        weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_as_text_and_may_grow() {
        let entry = NodeEntry {
            id: NodeId::parse("node-1").unwrap(),
            address: "10.0.0.7:8110".to_owned(),
            weight: 3,
        };
        assert_eq!(decode("node-1", &encode(&entry)), Some(entry.clone()));
        let grown = format!("{} eu-west", encode(&entry));
        assert_eq!(decode("node-1", &grown), Some(entry));
        for strange in ["", "3", "3 ", "x 10.0.0.7:1"] {
            assert_eq!(decode("node-1", strange), None, "{strange}");
        }
        assert_eq!(decode("no id", "1 a:1"), None);
    }
}
