//! The rooms of the town, made before anything is measured.

use serde_json::{Value, json};
use shared::id::{RoomId, UserId};

use super::super::Stage;
use crate::{
    swarm::{Crowd, Fault, Who},
    target::{Server, World},
};

/// Commands under way at once while rooms are made.
const AT_ONCE: usize = 64;

/// A room, as it stands after the preparation.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct Place {
    pub(super) id: String,
    pub(super) head: u64,
    pub(super) members: Vec<Who>,
}

/// Makes a direct room of everybody with the next one, and a group of each `group` people.
pub(in crate::scenario) fn settle(
    stage: &Stage,
    server: &Server,
    world: &World,
    group: usize,
) -> Result<Vec<Place>, Fault> {
    let users = world.users();
    let ids: Vec<UserId> = (users.iter().map(|id| UserId::parse(id)))
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::Contract(error.to_string()))?;
    let mut crowd = stage.crowd(server)?;
    crowd.join(server.access().tokens(users)?, |who, _| {
        stage.progress.count("sessions", who + 1, users.len());
    })?;
    let next = |who: Who| (who + 1) % users.len();
    let direct = |who: Who| RoomId::direct(&ids[who], &ids[next(who)]).to_string();
    ask(&mut crowd, users.len(), |who| {
        ("room.open_dm", json!({"user": users[next(who)]}))
    })?;
    // The first message's place is where the log stands.
    let heads = ask(&mut crowd, users.len(), |who| {
        let d = json!({"room": direct(who), "nonce": "first", "text": "hello"});
        ("message.send", d)
    })?;
    let mut places: Vec<Place> = (heads.into_iter().enumerate())
        .map(|(who, head)| Place {
            id: direct(who),
            head,
            members: vec![who, next(who)],
        })
        .collect();
    for (n, members) in users.chunks(group.max(1)).enumerate() {
        let (id, head) = world.room("group", &format!("group {n}"), members)?;
        let first = n * group.max(1);
        places.push(Place {
            id,
            head,
            members: (first..first + members.len()).collect(),
        });
    }
    Ok(places)
}

/// Lets everybody ask one thing, and returns where the answers say that a log stands.
fn ask(
    crowd: &mut Crowd,
    people: usize,
    command: impl Fn(Who) -> (&'static str, Value),
) -> Result<Vec<u64>, Fault> {
    let mut seqs = vec![0; people];
    let (mut asked, mut answered) = (0, 0);
    while answered < people {
        while asked < people && asked - answered < AT_ONCE {
            let (op, d) = command(asked);
            crowd.send(asked, asked as u64, op, &d)?;
            asked += 1;
        }
        let mut refused = None;
        crowd.step("rooms to open", |_, told| {
            let place = told.id.and_then(|id| seqs.get_mut(id as usize));
            if let (Some(seq), Some(ok)) = (place, &told.ok) {
                *seq = ok.seq.unwrap_or(0);
                answered += 1;
            }
            if let Some(error) = &told.err {
                refused.get_or_insert(Fault::Refused(error.explain()));
            }
        })?;
        if let Some(fault) = refused {
            return Err(fault);
        }
    }
    Ok(seqs)
}
