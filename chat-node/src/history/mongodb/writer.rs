//! The writers: group commit. Each takes what waits for its share of the rooms, at most one append a
//! room, and sends all of it with one insert; what comes meanwhile is the next batch.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use shared::{
    id::{RoomId, Seq},
    protocol::room::{EntryBody, RoomChange},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    append, create,
    documents::position,
    heads::Place,
    line::{Fresh, Line, Lost},
    queue::Ticket,
    repair,
    store::Store,
};
use crate::history::{AppendError, Outcome};

/// Rooms whose ends are looked up together.
const TOGETHER: usize = 16;

/// What a writer is asked to do.
pub(super) struct Append {
    pub(super) room: RoomId,
    pub(super) expected: Seq,
    pub(super) entries: Vec<Fresh>,
    pub(super) reply: oneshot::Sender<Result<Vec<Outcome>, AppendError>>,
    pub(super) ticket: Ticket,
}

/// Whom to answer.
struct Answer {
    reply: oneshot::Sender<Result<Vec<Outcome>, AppendError>>,
    _ticket: Ticket,
}

impl Answer {
    /// Nobody may be listening any more: the caller went away, the entry stands.
    fn give(self, store: &Store, answer: Result<Vec<Outcome>, AppendError>) {
        match &answer {
            Ok(outcomes) => {
                let dups = outcomes.iter().filter(|outcome| outcome.dup).count() as u64;
                store.gauges.duplicates.increment(dups);
                store.gauges.entries.increment(outcomes.len() as u64 - dups);
            }
            Err(AppendError::Conflict { .. }) => store.gauges.conflicts.increment(1),
            Err(AppendError::Unavailable(_)) => store.gauges.unavailable.increment(1),
            Err(_) => {}
        }
        drop(self.reply.send(answer));
    }
}

/// Until nobody can ask any more and everything is answered.
pub(super) async fn run(store: Arc<Store>, mut asked: mpsc::Receiver<Append>, batch: usize) {
    let mut waiting: VecDeque<Append> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match asked.recv().await {
                Some(append) => waiting.push_back(append),
                None => return,
            }
        }
        while waiting.len() < batch
            && let Ok(append) = asked.try_recv()
        {
            waiting.push_back(append);
        }
        let round = choose(&mut waiting, batch);
        write(&store, round).await;
    }
}

/// The first append of each room, as many as one insert takes. Who waits for no answer any more
/// wants none, and nothing of it was sent.
fn choose(waiting: &mut VecDeque<Append>, batch: usize) -> Vec<Append> {
    let mut rooms = HashSet::new();
    let mut entries = 0;
    let (mut round, mut rest) = (Vec::new(), VecDeque::new());
    for append in waiting.drain(..).filter(|append| !append.reply.is_closed()) {
        let full = !round.is_empty() && entries + append.entries.len() > batch;
        // A room that has to wait is not overtaken by its own later appends.
        if !rooms.insert(append.room.clone()) || full {
            rest.push_back(append);
            continue;
        }
        entries += append.entries.len();
        round.push(append);
    }
    *waiting = rest;
    round
}

/// Where an append stands before anything is sent.
enum Start {
    At(Place),
    /// The room is to be made.
    Unborn,
    Answered(Result<Vec<Outcome>, AppendError>),
}

async fn write(store: &Arc<Store>, round: Vec<Append>) {
    follow(store, &round).await;
    let started = stream::iter(round)
        .map(|append| async move { (start(store, &append).await, append) })
        .buffered(TOGETHER)
        .collect::<Vec<_>>()
        .await;
    let (mut lines, mut answers, mut unborn) = (Vec::new(), Vec::new(), Vec::new());
    for (start, append) in started {
        let answer = Answer {
            reply: append.reply,
            _ticket: append.ticket,
        };
        match start {
            Start::Answered(with) => answer.give(store, with),
            Start::At(end) => {
                lines.push(Line::new(append.room, append.entries, end, false));
                answers.push(answer);
            }
            Start::Unborn => unborn.push((append.room, append.entries, answer)),
        }
    }
    append::insert(store, &mut lines).await;
    for (line, answer) in lines.into_iter().zip(answers) {
        answer.give(store, told(store, &line));
    }
    for (room, entries, answer) in unborn {
        // Apart: it takes several steps, and nobody else waits for them.
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let Ok(_turn) = store.creations.acquire().await else {
                return;
            };
            answer.give(&store, create::create(&store, room, entries).await);
        });
    }
}

/// Looks at once for all entries that other nodes told of since an end was known here: in a room of people on
/// two nodes that is before every other message. What cannot be read now is looked for one by one.
async fn follow(store: &Arc<Store>, round: &[Append]) {
    let told = round.iter().filter_map(|append| {
        let known = store.heads.fresh(&append.room)?;
        let behind = known.head < append.expected;
        behind.then(|| (append.room.clone(), position(known.key, append.expected)))
    });
    let told: Vec<(RoomId, String)> = told.collect();
    if told.is_empty() {
        return;
    }
    let asking = Arc::clone(store);
    // A task of its own: the driver's futures are not to be dropped half-way.
    let task = tokio::spawn(async move { asking.follow(told).await });
    if let Ok(Ok(Err(fault))) = timeout(store.patience, task).await {
        tracing::debug!(%fault, "cannot look at what other nodes told of");
    }
}

/// Compares the head that is expected with the one that is there.
async fn start(store: &Arc<Store>, append: &Append) -> Start {
    if let Some(end) = store.heads.fresh(&append.room)
        && end.head == append.expected
    {
        return Start::At(end);
    }
    let (asking, room) = (Arc::clone(store), append.room.clone());
    let task = tokio::spawn(async move { asking.room_and_head(&room).await });
    let found = match timeout(store.patience, task).await {
        Ok(Ok(Ok(found))) => found.map(|(_, head)| Place::of(&head)),
        Ok(Ok(Err(fault))) => return away(store, fault.to_string()),
        Ok(Err(_)) | Err(_) => return away(store, "MongoDB does not answer".into()),
    };
    match found {
        Some(end) if end.head == append.expected => Start::At(end),
        Some(end) => Start::Answered(Err(AppendError::Conflict { head: end.head })),
        None if append.expected != Seq::ZERO => {
            Start::Answered(Err(AppendError::Conflict { head: Seq::ZERO }))
        }
        None => match append.entries.first().map(|entry| &entry.body) {
            None => Start::Answered(Ok(Vec::new())),
            Some(EntryBody::Room(RoomChange {
                created: Some(_), ..
            })) => Start::Unborn,
            Some(_) => Start::Answered(Err(AppendError::NotCreated)),
        },
    }
}

fn away(store: &Store, reason: String) -> Start {
    store.health.fails(&reason);
    Start::Answered(Err(AppendError::Unavailable(reason)))
}

/// What an append came to.
fn told(store: &Arc<Store>, line: &Line) -> Result<Vec<Outcome>, AppendError> {
    if line.leaves_folds() {
        repair::soon(store, line.end.key);
    }
    match &line.lost {
        Some(Lost::Conflict(head)) => Err(AppendError::Conflict { head: *head }),
        Some(Lost::Away(reason)) => {
            store.heads.forget(&line.room);
            Err(AppendError::Unavailable(reason.clone()))
        }
        None => {
            store.heads.learn(&line.room, line.end);
            if line.touched() {
                store.heads.moved(&line.room, line.end.key, line.end.head);
            }
            Ok(line.outcomes())
        }
    }
}
