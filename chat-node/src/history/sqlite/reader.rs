//! Pools of readers: a few connections, each on a thread of its own. Searches, which may take long,
//! have a pool to themselves, so that nobody's page or start of a session waits behind one.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use metrics::Gauge;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    gauges::Gauges,
    queue::{Bounds, Queue, Refused, Taken},
    schema::Place,
};
use crate::history::HistoryError;

/// Asked of a connection, or told why there is none.
type Question = Box<dyn FnOnce(Result<&Connection, &rusqlite::Error>) + Send>;

/// A pool's threads and what may wait for them.
pub(super) struct Pool {
    /// The beginning of its threads' names.
    pub(super) name: &'static str,
    pub(super) threads: usize,
    pub(super) waiting: usize,
    /// How many questions a thread takes at once and answers from one snapshot: to begin one costs
    /// locks and a look at the write-ahead log, about as much as a small question.
    pub(super) together: usize,
    pub(super) depth: Gauge,
}

/// Answers questions. Each sees one state of the database, from its first statement to its last,
/// while the writer goes on.
pub(super) struct Readers {
    queue: Arc<Queue<Question>>,
    gauges: Gauges,
}

impl Readers {
    pub(super) fn start(
        place: &Place,
        pool: Pool,
        gauges: &Gauges,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let bounds = Bounds {
            items: pool.waiting,
            weight: usize::MAX,
        };
        let queue = Arc::new(Queue::new(bounds, pool.depth));
        let threads = (0..pool.threads.max(1))
            .map(|n| {
                let (queue, place, gauges) = (Arc::clone(&queue), place.clone(), gauges.clone());
                thread::Builder::new()
                    .name(format!("{}-{n}", pool.name))
                    .spawn(move || serve(&queue, pool.together, &place, &gauges))
            })
            .collect::<io::Result<_>>()?;
        let gauges = gauges.clone();
        Ok((Self { queue, gauges }, threads))
    }

    /// Asks; `Unavailable` when the queue is full.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |conn| {
            // Whoever asked has gone: a page nobody waits for is not worth reading.
            if !reply.is_closed() {
                let answer = match conn {
                    Ok(conn) => question(conn).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                let _ = reply.send(answer);
            }
        });
        self.queue.push(1, question).map_err(|refused| {
            self.gauges.reads_refused.increment(1);
            HistoryError::Unavailable(
                match refused {
                    Refused::Full => "too many questions wait for an answer",
                    Refused::Closed => "history is closed",
                }
                .into(),
            )
        })?;
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(reason)) => Err(HistoryError::Unavailable(reason)),
            Err(_) => Err(HistoryError::Unavailable("the reader failed".into())),
        }
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }
}

fn serve(queue: &Queue<Question>, together: usize, place: &Place, gauges: &Gauges) {
    let mut conn = None;
    while let Taken::Items(questions) = queue.take(together, |_| 1, None) {
        let started = Instant::now();
        let count = questions.len();
        let open = match conn.take() {
            Some(open) => Ok(open),
            None => place.reader(),
        };
        // Kept if it is in a known state; the next questions get another if not.
        conn = match open {
            Ok(open) => answer(&open, questions).then_some(open),
            Err(error) => {
                refuse(&error, questions);
                None
            }
        };
        let each = started.elapsed() / u32::try_from(count).unwrap_or(1).max(1);
        for _ in 0..count {
            gauges.read_seconds.record(each);
        }
    }
}

/// Answers from one snapshot. Whether the connection is good for more.
fn answer(conn: &Connection, questions: Vec<Question>) -> bool {
    let run = |sql| {
        let mut statement = conn.prepare_cached(sql)?;
        statement.execute([]).map(drop)
    };
    if let Err(error) = run("BEGIN") {
        refuse(&error, questions);
        return false;
    }
    let mut whole = true;
    for question in questions {
        whole &= catch_unwind(AssertUnwindSafe(|| question(Ok(conn)))).is_ok();
    }
    // Read-only: it takes nothing back.
    whole && run("ROLLBACK").is_ok()
}

/// Whoever asked logs it.
fn refuse(error: &rusqlite::Error, questions: Vec<Question>) {
    for question in questions {
        question(Err(error));
    }
}
