//! Getting entries into the log.
//!
//! See [`super`] for why this neither loses, doubles nor reorders.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::{
    bson::{doc, oid::ObjectId},
    error::{Error, ErrorKind},
};
use shared::id::{Seq, Timestamp};
use tokio::time::{sleep, timeout};

use super::{
    documents::{EntryDoc, Key, seq},
    line::{Line, Lost},
    store::{DUPLICATE, Result, Store, among, short},
};
use crate::history::Outcome;

/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// How soon something is looked for again that others have written and a majority has not got yet.
const SETTLING: Duration = Duration::from_millis(5);

/// What became of an insert.
enum Inserted {
    All,
    /// The document there, and no other, was refused for a key that is taken; those before it
    /// stand, those after it were not looked at.
    UpTo(usize),
    /// Some, or none, or all of it, perhaps later.
    Unknown(String),
}

/// Appends lines, each of another room, until everything stands, or is lost, or time is up. The inserts that takes are
/// few, however many rooms are lost to others.
pub(super) async fn insert(store: &Arc<Store>, lines: &mut [Line]) {
    let until = Instant::now() + store.patience;
    // Something is there of which we had not heard.
    let mut doubt = false;
    loop {
        let docs: Vec<EntryDoc> = lines.iter().flat_map(Line::documents).collect();
        if docs.is_empty() {
            return;
        }
        let sent: Vec<(String, ObjectId)> = docs
            .iter()
            .map(|doc| (doc.id.clone(), doc.attempt))
            .collect();
        if std::mem::take(&mut doubt) {
            if !recognise(store, lines, &sent, until).await {
                return give_up(store, lines, "MongoDB does not answer");
            }
            continue;
        }
        match send(store, docs).await {
            Inserted::All => {
                store.health.recovers();
                for line in lines.iter_mut() {
                    line.stand(line.waiting());
                }
                return;
            }
            Inserted::UpTo(stopped) => {
                store.health.recovers();
                if let Some(line) = stand(lines, stopped) {
                    doubt = look_into(store, line, &sent[stopped], until).await;
                    if line.lost.is_some() {
                        doubt = look_ahead(store, lines, until).await;
                    }
                }
            }
            Inserted::Unknown(reason) => {
                store.gauges.ambiguous.increment(1);
                if !recognise(store, lines, &sent, until).await {
                    return give_up(store, lines, &reason);
                }
                if Instant::now() >= until && lines.iter().any(|line| line.waiting() > 0) {
                    return give_up(store, lines, &reason);
                }
            }
        }
    }
}

fn give_up(store: &Store, lines: &mut [Line], reason: &str) {
    store.health.fails(reason);
    for line in lines.iter_mut().filter(|line| line.waiting() > 0) {
        line.lost = Some(Lost::Away(reason.to_owned()));
    }
}

/// The first so many of all that was sent stand; answers whose the next one is.
fn stand(lines: &mut [Line], mut count: usize) -> Option<&mut Line> {
    for line in lines {
        let waiting = line.waiting();
        if count < waiting {
            line.stand(count);
            return Some(line);
        }
        line.stand(waiting);
        count -= waiting;
    }
    None
}

async fn send(store: &Arc<Store>, docs: Vec<EntryDoc>) -> Inserted {
    let (store, patience) = (Arc::clone(store), store.patience);
    let gauges = store.gauges.clone();
    gauges.batch_entries.record(docs.len() as f64);
    let began = Instant::now();
    // A task of its own: the driver's futures are not to be dropped half-way.
    let task = tokio::spawn(async move { store.entries.insert_many(docs).ordered(true).await });
    let sent = timeout(patience, task).await;
    gauges.insert_seconds.record(began.elapsed());
    match sent {
        Ok(Ok(Ok(_))) => Inserted::All,
        Ok(Ok(Err(error))) => refused(&error),
        Ok(Err(_)) => Inserted::Unknown("the task that inserts failed".into()),
        Err(_) => Inserted::Unknown("MongoDB does not answer".into()),
    }
}

fn refused(error: &Error) -> Inserted {
    if let ErrorKind::InsertMany(failure) = &*error.kind
        && failure.write_concern_error.is_none()
        && let Some([first]) = failure.write_errors.as_deref()
        && i64::from(first.code) == DUPLICATE
    {
        return Inserted::UpTo(first.index);
    }
    Inserted::Unknown(short(error))
}

/// Finds out what of that which was sent stands. False when the store could not say in time.
async fn recognise(
    store: &Arc<Store>,
    lines: &mut [Line],
    sent: &[(String, ObjectId)],
    until: Instant,
) -> bool {
    let standing = loop {
        sleep(AGAIN).await;
        let ids: Vec<String> = sent.iter().map(|(id, _)| id.clone()).collect();
        let asking = Arc::clone(store);
        let task = tokio::spawn(async move { among(&asking.entries, "_id", ids).await });
        let left = until.saturating_duration_since(Instant::now());
        if let Ok(Ok(Ok(found))) = timeout(left.max(AGAIN), task).await {
            break found;
        }
        if Instant::now() >= until {
            return false;
        }
    };
    let standing: HashMap<String, ObjectId> = standing
        .into_iter()
        .map(|entry| (entry.id, entry.attempt))
        .collect();
    let mut sent = sent.iter();
    for line in lines {
        let mut ours = 0;
        let mut going = true;
        for (id, attempt) in sent.by_ref().take(line.waiting()) {
            going &= standing.get(id) == Some(attempt);
            ours += usize::from(going);
        }
        // Whatever stands at the next position, if anything does, the next insert runs into it.
        line.stand(ours);
    }
    true
}

/// Finds out why the next entry of a line was refused: its position is taken, or its nonce known.
/// True when it is our own that stands there.
async fn look_into(
    store: &Arc<Store>,
    line: &mut Line,
    refused: &(String, ObjectId),
    until: Instant,
) -> bool {
    loop {
        let asked = (refused.0.clone(), line.end.key);
        let name = line
            .next_name()
            .map(|(user, nonce)| (user.to_owned(), nonce.to_owned()));
        let asking = Arc::clone(store);
        let task = tokio::spawn(async move { explain(&asking, asked, name).await });
        let left = until.saturating_duration_since(Instant::now());
        let reason = match timeout(left.max(AGAIN), task).await {
            Ok(Ok(Ok((Some(there), _)))) if there.attempt == refused.1 => {
                return true;
            }
            Ok(Ok(Ok((Some(there), _)))) => {
                lose(store, line, &there, until).await;
                return false;
            }
            Ok(Ok(Ok((None, Some(first))))) => {
                line.repeats(Outcome {
                    seq: first.at(),
                    ts: Timestamp::from_millis(first.ts),
                    dup: true,
                });
                return false;
            }
            // It is there, and a majority has not got it yet.
            Ok(Ok(Ok((None, None)))) => "what others wrote does not settle".to_owned(),
            Ok(Ok(Err(fault))) => fault.to_string(),
            Ok(Err(_)) | Err(_) => "MongoDB does not answer".to_owned(),
        };
        if Instant::now() >= until {
            store.health.fails(&reason);
            line.lost = Some(Lost::Away(reason));
            return false;
        }
        sleep(SETTLING).await;
    }
}

async fn explain(
    store: &Store,
    (position, key): (String, Key),
    name: Option<(String, String)>,
) -> Result<(Option<EntryDoc>, Option<EntryDoc>)> {
    let there = store.entries.find_one(doc! { "_id": position }).await?;
    let first = match (&there, name) {
        (None, Some((user, nonce))) => {
            let first = store
                .entries
                .find_one(doc! { "r": key, "u": user, "n": nonce });
            first.await?
        }
        _ => None,
    };
    Ok((there, first))
}

/// Finds all other lines that are lost already, with one question: who was faster in one room writes in batches too,
/// and an insert a room would take so long that they are faster in the rest as well.
///
/// True when an entry of our own stands of which we had not heard. Whatever the store does not say now, the next insert
/// runs into.
async fn look_ahead(store: &Arc<Store>, lines: &mut [Line], until: Instant) -> bool {
    let next: Vec<_> = lines.iter().map(Line::next_position).collect();
    let ids: Vec<String> = next.iter().flatten().map(|(id, _)| id.clone()).collect();
    let asking = Arc::clone(store);
    let task = tokio::spawn(async move { among(&asking.entries, "_id", ids).await });
    let left = until.saturating_duration_since(Instant::now());
    let Ok(Ok(Ok(found))) = timeout(left, task).await else {
        return false;
    };
    let mut there: HashMap<String, EntryDoc> = found
        .into_iter()
        .map(|entry| (entry.id.clone(), entry))
        .collect();
    let mut ours = false;
    for (line, next) in lines.iter_mut().zip(next) {
        let Some((id, attempt)) = next else { continue };
        match there.remove(&id) {
            Some(there) if there.attempt == attempt => ours = true,
            Some(there) => lose(store, line, &there, until).await,
            None => {}
        }
    }
    ours
}

/// Somebody else's entry stands where the next should: answers how far the log goes at least.
async fn lose(store: &Arc<Store>, line: &mut Line, there: &EntryDoc, until: Instant) {
    store.heads.forget(&line.room);
    if line.touched() {
        // What stands of it others know by now, and built on.
        line.lost = Some(Lost::Away(
            "some of it stands, and others were faster".into(),
        ));
        return;
    }
    if !there.end {
        // Who appends reads what comes after it anyway, and nobody has to look for the end before that.
        line.lost = Some(Lost::Conflict(there.at()));
        return;
    }
    // The room was removed; perhaps there is another by now.
    loop {
        let (asking, room) = (Arc::clone(store), line.room.clone());
        let task = tokio::spawn(async move { asking.room_and_head(&room).await });
        let left = until.saturating_duration_since(Instant::now());
        match timeout(left.max(AGAIN), task).await {
            Ok(Ok(Ok(None))) => {
                line.lost = Some(Lost::Conflict(Seq::ZERO));
                return;
            }
            Ok(Ok(Ok(Some((doc, head)))))
                if doc.key != line.end.key || seq(head.seq) > line.expected =>
            {
                line.lost = Some(Lost::Conflict(head.at()));
                return;
            }
            _ => {}
        }
        if Instant::now() >= until {
            line.lost = Some(Lost::Away("MongoDB does not answer".into()));
            return;
        }
        sleep(SETTLING).await;
    }
}
