//! The writer: one thread, one connection, group commit.
//!
//! Everything that waits, of whatever room, goes into one transaction and shares its fsync; one job
//! that fails takes only itself out. Nobody is answered before the commit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Result};
use shared::id::{RoomId, Seq, Timestamp, UserId};
use tokio::sync::oneshot;

use super::{
    append::{self, Encoded},
    checkpoint::Folder,
    expiry,
    gauges::Gauges,
    health::{self, Health, doubtful},
    marker, purge,
    queue::{Queue, Taken},
    schema::Place,
    seen,
};
use crate::{
    history::{AppendError, Expired, HistoryError, Outcome},
    presence::Seen,
};

/// A commit that took longer than this halves the batch, one that took less than half of it may
/// double it: the limit follows what the disk can do, and nobody waits long behind a large batch.
const COMMIT_AIM: Duration = Duration::from_millis(50);
/// The batch never shrinks below this many entries.
const LEAST_BATCH: usize = 64;

/// How soon a purge that failed is tried again, however much else there is to do.
const PURGE_RETRY: Duration = Duration::from_secs(1);

/// What the writer is asked to do.
pub(super) enum Job {
    Append {
        room: RoomId,
        expected: Seq,
        entries: Vec<Encoded>,
        reply: oneshot::Sender<Result<Vec<Outcome>, AppendError>>,
    },
    MarkRead {
        room: RoomId,
        user: UserId,
        seq: Seq,
        reply: oneshot::Sender<Result<Seq, HistoryError>>,
    },
    Remove {
        room: RoomId,
        at: Seq,
        reply: oneshot::Sender<Result<bool, HistoryError>>,
    },
    Expire {
        room: RoomId,
        before: Timestamp,
        reply: oneshot::Sender<Result<Expired, HistoryError>>,
    },
    /// Nobody waits for it.
    Seen { seen: Vec<Seen> },
    #[cfg(test)]
    Panic,
}

impl Job {
    /// What it adds to a batch.
    fn size(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.len().max(1),
            Self::Seen { seen } => seen.len(),
            _ => 1,
        }
    }
}

/// What a job came to, to be told once the transaction stands.
enum Done {
    Appended(Result<Vec<Outcome>, AppendError>),
    Marked(Seq),
    Removed(bool),
    Expired(Expired),
    Noted,
}

impl Job {
    /// Tells what it came to; `Err` says why it did not happen, or that this is not known. Nobody
    /// may be listening any more: the caller went away, the entry stands.
    fn answer(self, done: Result<Done, String>) {
        let lost = |reason: String| HistoryError::Unavailable(reason);
        match self {
            Self::Append { reply, .. } => drop(reply.send(match done {
                Ok(Done::Appended(answer)) => answer,
                Ok(_) => Err(AppendError::Unavailable(MIXED_UP.into())),
                Err(reason) => Err(AppendError::Unavailable(reason)),
            })),
            Self::MarkRead { reply, .. } => drop(reply.send(match done {
                Ok(Done::Marked(seq)) => Ok(seq),
                Ok(_) => Err(lost(MIXED_UP.into())),
                Err(reason) => Err(lost(reason)),
            })),
            Self::Remove { reply, .. } => drop(reply.send(match done {
                Ok(Done::Removed(gone)) => Ok(gone),
                Ok(_) => Err(lost(MIXED_UP.into())),
                Err(reason) => Err(lost(reason)),
            })),
            Self::Expire { reply, .. } => drop(reply.send(match done {
                Ok(Done::Expired(expired)) => Ok(expired),
                Ok(_) => Err(lost(MIXED_UP.into())),
                Err(reason) => Err(lost(reason)),
            })),
            // What fails has been logged, and is forgotten with the next restart.
            Self::Seen { .. } => {}
            #[cfg(test)]
            Self::Panic => {}
        }
    }
}

const MIXED_UP: &str = "the answer was to another question";

/// The state of the writer thread.
pub(super) struct Writer {
    queue: Arc<Queue<Job>>,
    place: Place,
    /// `None` after a failure that leaves the connection in doubt: the next batch opens another.
    conn: Option<Connection>,
    folder: Folder,
    health: Arc<Health>,
    gauges: Gauges,
    limit: usize,
    max_batch: usize,
    gone: u32,
    /// When a purge that failed is tried again.
    purge_again: Option<Instant>,
    /// When a writer in trouble tries whether it is over.
    probe_at: Instant,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue<Job>>,
        place: Place,
        conn: Connection,
        folder: Folder,
        health: Arc<Health>,
        max_batch: usize,
        gauges: Gauges,
    ) -> Self {
        let gone = purge::waiting(&conn).unwrap_or(0);
        gauges.gone_rooms.set(gone);
        let max_batch = max_batch.max(LEAST_BATCH);
        Self {
            queue,
            place,
            conn: Some(conn),
            folder,
            health,
            gauges,
            limit: max_batch.min(4 * LEAST_BATCH),
            max_batch,
            gone,
            purge_again: None,
            probe_at: Instant::now(),
        }
    }

    /// Until the queue is closed and empty; then the log is folded into the database file.
    pub(super) fn run(mut self) {
        loop {
            match self.queue.take(self.limit, Job::size, self.patience()) {
                Taken::Items(jobs) => self.batch(jobs),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            if self.health.in_trouble() && self.probe_at <= Instant::now() {
                self.probe();
            }
            let again = self.purge_again.is_none_or(|at| at <= Instant::now());
            if self.gone > 0 && again {
                self.purge();
            }
        }
        // What it is at ends first, and is not in the way.
        drop(self.folder);
        if let Some(conn) = self.conn.take() {
            let closed = conn
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .and_then(|()| conn.execute_batch("PRAGMA optimize"));
            if let Err(error) = closed {
                // Nothing is lost: the next start folds the log in.
                tracing::warn!(%error, "history closed without a checkpoint");
            }
        }
    }

    /// How long to wait for work: while there is something to purge the thread does not sleep, and
    /// in trouble it looks again whether that is over.
    fn patience(&self) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let purge = (self.gone > 0).then(|| self.purge_again.map_or(Duration::ZERO, until));
        let probe = self.health.in_trouble().then(|| until(self.probe_at));
        purge.into_iter().chain(probe).min()
    }

    fn batch(&mut self, jobs: Vec<Job>) {
        self.health.begins();
        self.write(jobs);
        if let Some(conn) = &self.conn {
            self.folder.after_commit(conn);
        }
        self.health.ends();
    }

    fn write(&mut self, jobs: Vec<Job>) {
        let size: usize = jobs.iter().map(Job::size).sum();
        let started = Instant::now();
        self.ensure_connection();
        let Some(conn) = &self.conn else {
            // Dropping the jobs answers them.
            self.gauges.failed_commits.increment(1);
            return;
        };
        let (gauges, health) = (&self.gauges, &*self.health);
        let committed = catch_unwind(AssertUnwindSafe(|| commit(conn, jobs, gauges, health)));
        let took = started.elapsed();
        self.gauges.commit_seconds.record(took);
        self.gauges.batch_entries.record(size as f64);
        match committed {
            Ok(Committed::Stands { removed }) => self.adapt(size, took, removed),
            Ok(Committed::Failed { in_doubt }) => {
                self.gauges.failed_commits.increment(1);
                if in_doubt {
                    self.conn = None;
                }
            }
            Err(_) => {
                // The hook has logged it. The jobs died with their reply ends, so nobody waits.
                self.gauges.failed_commits.increment(1);
                self.conn = None;
            }
        }
    }

    fn adapt(&mut self, size: usize, took: Duration, removed: bool) {
        if took > COMMIT_AIM && size > self.limit / 2 {
            self.limit = (self.limit / 2).max(LEAST_BATCH);
        } else if took < COMMIT_AIM / 2 && size >= self.limit / 2 {
            self.limit = (self.limit * 2).min(self.max_batch);
        }
        self.gauges.batch_limit.set(self.limit as f64);
        if removed {
            self.recount();
        }
    }

    /// One step, in a transaction of its own.
    fn purge(&mut self) {
        self.ensure_connection();
        let Some(conn) = &self.conn else {
            self.purge_again = Some(Instant::now() + PURGE_RETRY);
            return;
        };
        let stepped = transact(conn, || purge::step(conn));
        let failed = stepped.is_err();
        self.purge_again = failed.then(|| Instant::now() + PURGE_RETRY);
        match stepped {
            Ok(()) => {
                self.folder.after_commit(conn);
                self.recount();
            }
            Err(error) => {
                // It is tried again.
                self.health.fails(&error, 0);
                self.conn = None;
            }
        }
    }

    /// Tries whether there is room again.
    fn probe(&mut self) {
        self.probe_at = Instant::now() + health::PROBE_EVERY;
        self.ensure_connection();
        let Some(conn) = &self.conn else {
            return;
        };
        match left_open(conn).and_then(|()| health::probe(conn)) {
            Ok(()) => self.health.recovers(),
            Err(error) => {
                self.health.fails(&error, 0);
                if doubtful(&error) {
                    self.conn = None;
                }
            }
        }
    }

    fn recount(&mut self) {
        if let Some(conn) = &self.conn {
            self.gone = purge::waiting(conn).unwrap_or(0);
            self.gauges.gone_rooms.set(self.gone);
        }
    }

    fn ensure_connection(&mut self) {
        if self.health.doubts_connection() {
            self.conn = None;
        }
        if self.conn.is_none() {
            match self.place.writer() {
                Ok(conn) => self.conn = Some(conn),
                Err(error) => self.health.fails(&error, 0),
            }
        }
    }
}

enum Committed {
    Stands {
        removed: bool,
    },
    Failed {
        /// The connection should not be used again.
        in_doubt: bool,
    },
}

/// One transaction for all of it. Jobs hardly ever fail, and a savepoint is far from free: SQLite
/// copies each page that is touched under it, and FTS5 writes out its pending words whenever one
/// begins. So there are none at first; when a job fails, everything is taken back and done again,
/// each job under a savepoint of its own, so that one that fails takes only itself out.
fn commit(conn: &Connection, jobs: Vec<Job>, gauges: &Gauges, health: &Health) -> Committed {
    let removed = jobs.iter().any(|job| matches!(job, Job::Remove { .. }));
    let together = transact(conn, || {
        jobs.iter()
            .map(|job| perform(conn, job).map(Ok))
            .collect::<Result<Vec<_>>>()
    });
    let stands = match together {
        Err(error) if !doubtful(&error) => {
            tracing::debug!(%error, jobs = jobs.len(), "a batch failed and is done again apart");
            transact(conn, || {
                jobs.iter().map(|job| guarded(conn, job, health)).collect()
            })
        }
        ended => ended,
    };
    match stands {
        Ok(dones) => {
            count(&dones, gauges);
            for (job, done) in jobs.into_iter().zip(dones) {
                job.answer(done);
            }
            Committed::Stands { removed }
        }
        Err(error) => {
            health.fails(&error, jobs.len());
            let reason = error.to_string();
            for job in jobs {
                job.answer(Err(reason.clone()));
            }
            Committed::Failed {
                in_doubt: !conn.is_autocommit() || doubtful(&error),
            }
        }
    }
}

/// A transaction around what `work` does; rolled back when that or the commit fails.
fn transact<T>(conn: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let ended = begin(conn).and_then(|()| work()).and_then(|done| {
        let mut commit = conn.prepare_cached("COMMIT")?;
        commit.execute([]).map(|_| done)
    });
    if ended.is_err() && !conn.is_autocommit() {
        // If this fails too, the connection is given up.
        let _ = conn.execute_batch("ROLLBACK");
    }
    ended
}

/// Ends what a failure left open.
fn left_open(conn: &Connection) -> Result<()> {
    if conn.is_autocommit() {
        return Ok(());
    }
    conn.execute_batch("ROLLBACK")
}

fn begin(conn: &Connection) -> Result<()> {
    left_open(conn)?;
    // Parsing these two anew costs as much as many an entry.
    let mut begin = conn.prepare_cached("BEGIN IMMEDIATE")?;
    begin.execute([]).map(drop)
}

fn perform(conn: &Connection, job: &Job) -> Result<Done> {
    match job {
        Job::Append {
            room,
            expected,
            entries,
            ..
        } => append::append(conn, room, *expected, entries).map(Done::Appended),
        Job::MarkRead {
            room, user, seq, ..
        } => marker::mark(conn, room, user, *seq).map(Done::Marked),
        Job::Remove { room, at, .. } => purge::remove(conn, room, *at).map(Done::Removed),
        Job::Expire { room, before, .. } => expiry::expire(conn, room, *before).map(Done::Expired),
        Job::Seen { seen } => seen::note(conn, seen).map(|()| Done::Noted),
        #[cfg(test)]
        Job::Panic => panic!("asked to"),
    }
}

/// Performs a job under a savepoint and takes it back when it fails. The inner error is the job's;
/// the outer one means that the transaction as a whole is lost.
fn guarded(conn: &Connection, job: &Job, health: &Health) -> Result<Result<Done, String>> {
    let run = |sql| {
        let mut statement = conn.prepare_cached(sql)?;
        statement.execute([]).map(drop)
    };
    run("SAVEPOINT job")?;
    match perform(conn, job) {
        Ok(done) => run("RELEASE job").map(|()| Ok(done)),
        // A full disk or an I/O error may have ended the whole transaction already.
        Err(error) if conn.is_autocommit() || doubtful(&error) => Err(error),
        Err(error) => {
            run("ROLLBACK TO job")?;
            run("RELEASE job")?;
            health.fails(&error, 1);
            Ok(Err(error.to_string()))
        }
    }
}

fn count(dones: &[Result<Done, String>], gauges: &Gauges) {
    for done in dones {
        match done {
            Ok(Done::Appended(Ok(outcomes))) => {
                let dups = outcomes.iter().filter(|outcome| outcome.dup).count() as u64;
                gauges.duplicates.increment(dups);
                gauges.entries.increment(outcomes.len() as u64 - dups);
            }
            Ok(Done::Appended(Err(AppendError::Conflict { .. }))) => {
                gauges.conflicts.increment(1);
            }
            _ => {}
        }
    }
}
