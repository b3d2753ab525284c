//! From the record: when everybody was served again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use loadtest::record::{ClientName, Happened, Line};
use shared::id::{Nonce, Timestamp, UserId};

/// Which clients still wait.
pub(crate) type Waiting = Vec<ClientName>;

/// What a client has had since.
#[derive(Default)]
struct Served {
    /// Something it said since was acknowledged.
    acked: Option<Timestamp>,
    /// It heard what another said since.
    heard: Option<Timestamp>,
}

/// How long after `since` each of so many clients had something acknowledged that it said first
/// after `since`, and heard what another user said after it.
pub(crate) fn of(lines: &[Line], since: Timestamp, clients: usize) -> Result<Duration, Waiting> {
    let mut users: HashMap<&str, &UserId> = HashMap::new();
    let mut old: HashSet<&Nonce> = HashSet::new();
    let mut served: BTreeMap<&str, Served> = BTreeMap::new();
    for line in lines.iter().filter(|line| !line.c.is_empty()) {
        let client = served.entry(&line.c).or_default();
        match &line.what {
            Happened::Started { user, .. } => {
                users.insert(&line.c, user);
            }
            Happened::Sent { nonce, .. } if line.at < since => {
                old.insert(nonce);
            }
            Happened::Acked { nonce, .. } if line.at >= since && !old.contains(nonce) => {
                client.acked.get_or_insert(line.at);
            }
            Happened::Entry { entry, .. }
                if entry.ts >= since
                    && users.get(&*line.c).is_some_and(|own| **own != entry.user) =>
            {
                client.heard.get_or_insert(line.at);
            }
            _ => {}
        }
    }
    let mut last = since;
    let mut waiting = Waiting::new();
    for (name, served) in &served {
        match (served.acked, served.heard) {
            (Some(acked), Some(heard)) => last = last.max(acked).max(heard),
            _ => waiting.push((*name).to_owned()),
        }
    }
    if served.len() < clients {
        waiting.push(format!("{} who never came", clients - served.len()));
    }
    if waiting.is_empty() {
        let millis = last.as_millis() - since.as_millis();
        return Ok(Duration::from_millis(millis as u64));
    }
    Err(waiting)
}
