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

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// A pool's threads and what may wait for them.
pub(super) struct Pool {
    /// The beginning of its threads' names.
    pub(super) name: &'static str,
    pub(super) threads: usize,
    pub(super) waiting: usize,
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
                    .spawn(move || serve(&queue, &place, &gauges))
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
                let _ = reply.send(within(conn, question));
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
            Ok(Err(error)) => Err(HistoryError::Unavailable(error.to_string())),
            Err(_) => Err(HistoryError::Unavailable("the reader failed".into())),
        }
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }
}

fn within<T>(
    conn: &Connection,
    question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // Read-only: dropping the transaction rolls back nothing.
    let _snapshot = conn.unchecked_transaction()?;
    question(conn)
}

fn serve(queue: &Queue<Question>, place: &Place, gauges: &Gauges) {
    let mut conn = None;
    while let Taken::Items(questions) = queue.take(1, |_| 1, None) {
        for question in questions {
            if conn.is_none() {
                conn = place
                    .reader()
                    .inspect_err(|error| tracing::error!(%error, "cannot open history to read"))
                    .ok();
            }
            let Some(open) = &conn else {
                // Dropping the question answers it.
                continue;
            };
            let started = Instant::now();
            let run = catch_unwind(AssertUnwindSafe(|| question(open)));
            gauges.read_seconds.record(started.elapsed());
            if run.is_err() {
                // The next question gets a connection in a known state.
                conn = None;
            }
        }
    }
}
