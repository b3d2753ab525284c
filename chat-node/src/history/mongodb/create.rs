//! Making a room.
//!
//! Its first entries, and what is derived from them, are written under a key that nobody knows; the
//! room's document, whose id is unique, then makes all of it visible at once. Of two nodes that make
//! the same room one finds that document there, and takes its own entries back. A crash before the
//! document leaves a few entries that nothing leads to.

use std::{sync::Arc, time::Duration};

use mongodb::bson::oid::ObjectId;
use shared::{
    id::{Epoch, RoomId, Seq},
    protocol::room::{EntryBody, RoomKind},
};

use super::{
    append,
    documents::{RoomDoc, seq_value},
    fold::Change,
    heads::Place,
    line::{Fresh, Line, Lost},
    store::{Result, Store, is_duplicate, short},
};
use crate::history::{AppendError, Outcome};

/// How soon writing the room's document is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Makes a room whose first entry says that it does.
pub(super) async fn create(
    store: &Arc<Store>,
    room: RoomId,
    entries: Vec<Fresh>,
) -> Result<Vec<Outcome>, AppendError> {
    let Some(EntryBody::Room(change)) = entries.first().map(|entry| &entry.body) else {
        return Err(AppendError::NotCreated);
    };
    let kind = change.created.unwrap_or(RoomKind::Group);
    let key = ObjectId::new();
    let start = Place {
        key,
        head: Seq::ZERO,
        messages: 0,
        last: 0,
    };
    let mut lines = [Line::new(room.clone(), entries, start, true)];
    append::insert(store, &mut lines).await;
    let [line] = lines;
    let made = match &line.lost {
        // Nobody else knows the key: only a store that is away is in the way.
        Some(Lost::Conflict(_)) => Err("a key was given twice".to_owned()),
        Some(Lost::Away(reason)) => Err(reason.clone()),
        None => show(store, &line, kind).await.map_err(|f| f.to_string()),
    };
    match made {
        Ok(true) => {
            store.heads.learn(&room, line.end);
            Ok(line.outcomes())
        }
        Ok(false) => {
            if let Err(error) = store.erase(key, false).await {
                tracing::warn!(%room, %error, "entries of a room that was not made stay behind");
            }
            let head = store.room_and_head(&room).await;
            head.map_err(|fault| AppendError::Unavailable(fault.to_string()))
                .and_then(|found| {
                    let head = found.map_or(Seq::ZERO, |(_, head)| head.at());
                    Err(AppendError::Conflict { head })
                })
        }
        Err(reason) => {
            store.health.fails(&reason);
            Err(AppendError::Unavailable(reason))
        }
    }
}

/// Folds the first entries and makes the room visible; false when somebody else has made it.
async fn show(store: &Store, line: &Line, kind: RoomKind) -> Result<bool> {
    let mut doc = RoomDoc {
        id: line.room.as_str().to_owned(),
        key: line.end.key,
        kind,
        epoch: Epoch::generate().as_str().to_owned(),
        name: None,
        topic: None,
        slow: 0,
        members: 0,
        at: 0,
        head: seq_value(line.end.head),
        indexed: 0,
        first: 1,
        expired: 0,
        oldest: line.entries.first().map_or(0, |entry| entry.ts.as_millis()),
        cut: 1,
    };
    let outcomes = line.outcomes();
    let changes: Vec<Change> = line
        .entries
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| !outcome.dup)
        .map(|(entry, outcome)| Change {
            seq: outcome.seq,
            user: entry.user.clone(),
            ts: entry.ts,
            body: entry.body.clone(),
        })
        .collect();
    doc = store.settle(doc, &changes, false).await?;
    doc.at = seq_value(line.end.head);
    loop {
        let inserted = store.rooms.insert_one(&doc).await;
        match inserted {
            Ok(_) => return Ok(true),
            Err(error) if is_duplicate(&error) => {
                let there = store.room_doc(&line.room).await?;
                match there {
                    Some(there) => return Ok(there.key == doc.key),
                    // It is there, and a majority has not got it yet; or it has been removed.
                    None => tokio::time::sleep(AGAIN).await,
                }
            }
            Err(error) => {
                let reason = short(&error);
                tracing::debug!(reason, "a room's document may not have been written");
                // Whether it was: its key says so.
                tokio::time::sleep(AGAIN).await;
                if let Some(there) = store.room_doc(&line.room).await? {
                    return Ok(there.key == doc.key);
                }
            }
        }
    }
}
