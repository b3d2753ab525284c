//! The writer: one thread, one connection, group commit.
//!
//! Everything that waits, of whatever room, goes into one transaction and shares its fsync; each
//! job stands under a savepoint, so that one that fails takes only itself out. Nobody is answered
//! before the commit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, Result, params};
use shared::id::{RoomId, Seq, UserId};
use tokio::sync::oneshot;

use super::{
    append::{self, Encoded},
    columns::{self, seq_value},
    gauges::Gauges,
    purge,
    queue::{Queue, Taken},
    rooms,
    schema::Place,
    seen,
};
use crate::{
    history::{AppendError, HistoryError, Outcome},
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
        reply: oneshot::Sender<Result<(), HistoryError>>,
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
enum Answer {
    Appended(
        oneshot::Sender<Result<Vec<Outcome>, AppendError>>,
        Result<Vec<Outcome>, AppendError>,
    ),
    Marked(
        oneshot::Sender<Result<Seq, HistoryError>>,
        Result<Seq, HistoryError>,
    ),
    Removed(
        oneshot::Sender<Result<(), HistoryError>>,
        Result<(), HistoryError>,
    ),
    /// To nobody.
    Noted,
}

impl Answer {
    /// Tells it. Nobody may be listening any more: the caller went away, the entry stands.
    fn tell(self) {
        match self {
            Self::Appended(reply, answer) => drop(reply.send(answer)),
            Self::Marked(reply, answer) => drop(reply.send(answer)),
            Self::Removed(reply, answer) => drop(reply.send(answer)),
            Self::Noted => {}
        }
    }

    /// Tells that it did not happen, or that this is not known.
    fn fail(self, reason: &str) {
        let lost = HistoryError::Unavailable(reason.into());
        match self {
            Self::Appended(reply, _) => {
                drop(reply.send(Err(AppendError::Unavailable(reason.into()))));
            }
            Self::Marked(reply, _) => drop(reply.send(Err(lost))),
            Self::Removed(reply, _) => drop(reply.send(Err(lost))),
            Self::Noted => {}
        }
    }
}

/// The state of the writer thread.
pub(super) struct Writer {
    queue: Arc<Queue<Job>>,
    place: Place,
    /// `None` after a failure that leaves the connection in doubt: the next batch opens another.
    conn: Option<Connection>,
    gauges: Gauges,
    limit: usize,
    max_batch: usize,
    gone: u32,
    /// When a purge that failed is tried again.
    purge_again: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        queue: Arc<Queue<Job>>,
        place: Place,
        conn: Connection,
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
            gauges,
            limit: max_batch.min(4 * LEAST_BATCH),
            max_batch,
            gone,
            purge_again: None,
        }
    }

    /// Until the queue is closed and empty; then the log is folded into the database file.
    pub(super) fn run(mut self) {
        loop {
            // While there is something to purge, the thread does not sleep.
            let until = |at: Instant| at.saturating_duration_since(Instant::now());
            let patience = (self.gone > 0).then(|| self.purge_again.map_or(Duration::ZERO, until));
            match self.queue.take(self.limit, Job::size, patience) {
                Taken::Items(jobs) => self.batch(jobs),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            let again = self.purge_again.is_none_or(|at| at <= Instant::now());
            if self.gone > 0 && again {
                self.purge();
            }
        }
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

    fn batch(&mut self, jobs: Vec<Job>) {
        let size: usize = jobs.iter().map(Job::size).sum();
        let started = Instant::now();
        self.ensure_connection();
        let Some(conn) = &self.conn else {
            // Dropping the jobs answers them.
            self.gauges.failed_commits.increment(1);
            return;
        };
        let gauges = &self.gauges;
        let committed = catch_unwind(AssertUnwindSafe(|| commit(conn, jobs, gauges)));
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
        let stepped = begin(conn)
            .and_then(|()| purge::step(conn))
            .and_then(|()| conn.execute_batch("COMMIT"));
        let failed = stepped.is_err();
        self.purge_again = failed.then(|| Instant::now() + PURGE_RETRY);
        match stepped {
            Ok(()) => self.recount(),
            Err(error) => {
                tracing::warn!(%error, "could not purge a removed room; trying again later");
                self.conn = None;
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
        if self.conn.is_none() {
            match self.place.writer() {
                Ok(conn) => self.conn = Some(conn),
                Err(error) => tracing::error!(%error, "cannot open history to write"),
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

fn commit(conn: &Connection, jobs: Vec<Job>, gauges: &Gauges) -> Committed {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut removed = false;
    let mut broken = begin(conn).err();
    for job in jobs {
        removed |= matches!(job, Job::Remove { .. });
        answers.push(perform(conn, job, &mut broken));
    }
    let ended = match broken {
        None => conn
            .prepare_cached("COMMIT")
            .and_then(|mut it| it.execute([]).map(drop)),
        Some(error) => Err(error),
    };
    match ended {
        Ok(()) => {
            count(&answers, gauges);
            answers.into_iter().for_each(Answer::tell);
            Committed::Stands { removed }
        }
        Err(error) => {
            tracing::error!(%error, jobs = answers.len(), "a commit of history failed");
            let reason = error.to_string();
            let rolled_back = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
            for answer in answers {
                answer.fail(&reason);
            }
            Committed::Failed {
                in_doubt: !rolled_back || doubtful(&error),
            }
        }
    }
}

fn begin(conn: &Connection) -> Result<()> {
    if !conn.is_autocommit() {
        // Left open by a failure.
        conn.execute_batch("ROLLBACK")?;
    }
    // Parsing these two anew costs as much as many an entry.
    let mut begin = conn.prepare_cached("BEGIN IMMEDIATE")?;
    begin.execute([]).map(drop)
}

/// `broken` is set once the transaction as a whole is lost; nothing is tried after that.
fn perform(conn: &Connection, job: Job, broken: &mut Option<rusqlite::Error>) -> Answer {
    match job {
        Job::Append {
            room,
            expected,
            entries,
            reply,
        } => {
            let done = guarded(conn, broken, || {
                append::append(conn, &room, expected, &entries)
            });
            let answer = done.unwrap_or_else(|reason| Err(AppendError::Unavailable(reason)));
            Answer::Appended(reply, answer)
        }
        Job::MarkRead {
            room,
            user,
            seq,
            reply,
        } => {
            let done = guarded(conn, broken, || mark_read(conn, &room, &user, seq));
            Answer::Marked(reply, done.map_err(HistoryError::Unavailable))
        }
        Job::Remove { room, reply } => {
            let done = guarded(conn, broken, || purge::remove(conn, &room));
            Answer::Removed(reply, done.map_err(HistoryError::Unavailable))
        }
        Job::Seen { seen } => {
            // What fails has been logged, and is forgotten with the next restart.
            let _ = guarded(conn, broken, || seen::note(conn, &seen));
            Answer::Noted
        }
        #[cfg(test)]
        Job::Panic => panic!("asked to"),
    }
}

/// Runs a job under a savepoint and takes it back when it fails.
fn guarded<T>(
    conn: &Connection,
    broken: &mut Option<rusqlite::Error>,
    job: impl FnOnce() -> Result<T>,
) -> Result<T, String> {
    if let Some(error) = broken {
        return Err(error.to_string());
    }
    let run = |sql| conn.prepare_cached(sql).and_then(|mut it| it.execute([]));
    let done = run("SAVEPOINT job").and_then(|_| job());
    match done {
        Ok(value) => match run("RELEASE job") {
            Ok(_) => Ok(value),
            Err(error) => {
                let reason = error.to_string();
                *broken = Some(error);
                Err(reason)
            }
        },
        Err(error) => {
            let reason = error.to_string();
            // A full disk or an I/O error may have ended the whole transaction already.
            let undone = !conn.is_autocommit()
                && run("ROLLBACK TO job").is_ok()
                && run("RELEASE job").is_ok();
            if undone && !doubtful(&error) {
                tracing::warn!(%error, "an append was refused by SQLite");
            } else {
                *broken = Some(error);
            }
            Err(reason)
        }
    }
}

/// Whether the file or the connection, rather than the statement, is at fault.
fn doubtful(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

fn mark_read(conn: &Connection, room: &RoomId, user: &UserId, seq: Seq) -> Result<Seq> {
    let Some(key) = rooms::key(conn, room)? else {
        return Ok(Seq::ZERO);
    };
    conn.prepare_cached(
        "UPDATE member SET read = min(?3, (SELECT head FROM room WHERE key = ?1))
         WHERE room = ?1 AND user = ?2
           AND read < min(?3, (SELECT head FROM room WHERE key = ?1))",
    )?
    .execute(params![key, user.as_str(), seq_value(seq)])?;
    let mut read = conn.prepare_cached("SELECT read FROM member WHERE room = ?1 AND user = ?2")?;
    let mut rows = read.query(params![key, user.as_str()])?;
    match rows.next()? {
        Some(row) => columns::seq(row, 0),
        None => Ok(Seq::ZERO),
    }
}

fn count(answers: &[Answer], gauges: &Gauges) {
    for answer in answers {
        match answer {
            Answer::Appended(_, Ok(outcomes)) => {
                let dups = outcomes.iter().filter(|outcome| outcome.dup).count() as u64;
                gauges.duplicates.increment(dups);
                gauges.entries.increment(outcomes.len() as u64 - dups);
            }
            Answer::Appended(_, Err(AppendError::Conflict { .. })) => {
                gauges.conflicts.increment(1);
            }
            _ => {}
        }
    }
}
