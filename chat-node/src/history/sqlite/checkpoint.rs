//! Folding the write-ahead log back into the file, beside the writer.
//!
//! A checkpoint copies every page of the log into the file and syncs it; done by the writer between
//! two commits it keeps everybody waiting for as long as that takes. So a thread of its own copies
//! what is there while the writer goes on (a passive checkpoint takes no lock that a writer wants), and
//! then the writer copies the little that has come meanwhile: with that all of it is in the file, and
//! the log begins anew. When the thread does not get on, the writer does all of it at [`MOST`].
//! See <https://www.sqlite.org/wal.html#checkpointing>.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use metrics::{Counter, counter};
use rusqlite::Connection;

use super::schema::Place;

/// Pages in the log from which on it is folded: 16 MB.
const ENOUGH: i32 = 4_000;
/// Pages in the log from which on the writer does not wait for the thread any more: 64 MB.
const MOST: i32 = 16_000;

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Has the size of the log noted at each commit of a connection that writes, in place of SQLite's own
/// checkpoints.
pub(super) fn watch(conn: &Connection) {
    conn.wal_hook(Some(|_, pages| {
        PAGES.set(pages);
        Ok(())
    }));
}

/// The writer's end.
pub(super) struct Folder {
    ask: SyncSender<()>,
    shared: Arc<Shared>,
    enough: i32,
    most: i32,
    by_writer: Counter,
}

#[derive(Default)]
struct Shared {
    /// The thread was asked and has not answered.
    busy: AtomicBool,
    /// The thread has copied what was there: the rest is the writer's.
    copied: AtomicBool,
}

impl Folder {
    /// Starts the thread, which ends when the folder is dropped.
    pub(super) fn start(place: Place) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::with_bounds(place, ENOUGH, MOST)
    }

    fn with_bounds(
        place: Place,
        enough: i32,
        most: i32,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        // One question is enough: while it waits there is nothing else to ask.
        let (ask, asked) = sync_channel(1);
        let shared = Arc::<Shared>::default();
        let folder = Self {
            ask,
            shared: Arc::clone(&shared),
            enough,
            most,
            by_writer: counter!("fireside_history_checkpoints_total", "by" => "writer"),
        };
        let thread = thread::Builder::new()
            .name("history-fold".into())
            .spawn(move || fold_beside(&place, &asked, &shared))?;
        Ok((folder, thread))
    }

    /// To be called by the writer after a commit. Does what is left to the writer, and asks the thread
    /// when there is enough to do.
    pub(super) fn after_commit(&self, conn: &Connection) {
        let pages = PAGES.get();
        if self.shared.copied.swap(false, SeqCst) {
            passive(conn, "the rest");
        } else if pages >= self.most {
            self.by_writer.increment(1);
            passive(conn, "all");
        } else if pages >= self.enough && !self.shared.busy.swap(true, SeqCst) {
            // Full means that it is on its way already.
            let _ = self.ask.try_send(());
        }
    }
}

fn fold_beside(place: &Place, asked: &Receiver<()>, shared: &Shared) {
    let done = counter!("fireside_history_checkpoints_total", "by" => "thread");
    let mut conn = None;
    while asked.recv().is_ok() {
        if conn.is_none() {
            conn = place
                .folder()
                .inspect_err(|error| tracing::warn!(%error, "cannot open history to fold its log"))
                .ok();
        }
        if let Some(open) = &conn {
            if passive(open, "beside the writer") {
                done.increment(1);
                shared.copied.store(true, SeqCst);
            } else {
                conn = None;
            }
        }
        shared.busy.store(false, SeqCst);
    }
}

/// Copies as much of the log as nobody is in the way of. What fails is done by the next.
fn passive(conn: &Connection, what: &str) -> bool {
    let folded = conn
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
        .and_then(|mut fold| fold.query_row([], |_| Ok(())));
    if let Err(error) = &folded {
        tracing::warn!(%error, what, "cannot fold the log of history into its file");
    }
    folded.is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn place(dir: &tempfile::TempDir) -> Place {
        Place {
            path: dir.path().join("h.db"),
            max_bytes: None,
        }
    }

    fn write(conn: &Connection) -> i32 {
        conn.execute("INSERT INTO x VALUES (randomblob(9000))", [])
            .unwrap();
        PAGES.get()
    }

    #[test]
    fn the_log_begins_anew_after_the_thread_has_folded_it() {
        let dir = tempfile::tempdir().unwrap();
        let conn = place(&dir).writer().unwrap();
        conn.execute_batch("CREATE TABLE x (b BLOB)").unwrap();
        let (folder, thread) = Folder::with_bounds(place(&dir), 50, i32::MAX).unwrap();
        let mut high = 0;
        let since = Instant::now();
        loop {
            let pages = write(&conn);
            if pages < high {
                break;
            }
            high = pages;
            folder.after_commit(&conn);
            assert!(since.elapsed() < Duration::from_mins(1), "{high} pages");
        }
        assert!(high >= 50, "{high}");
        // All of it is in the file: it is there without the log.
        let rows: i64 = conn
            .query_row("SELECT count(*) FROM x", [], |row| row.get(0))
            .unwrap();
        drop(folder);
        thread.join().unwrap();
        drop(conn);
        let again = Connection::open(dir.path().join("h.db")).unwrap();
        let found: i64 = again
            .query_row("SELECT count(*) FROM x", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, rows);
    }

    #[test]
    fn the_writer_folds_by_itself_when_the_thread_does_not_get_on() {
        let dir = tempfile::tempdir().unwrap();
        let conn = place(&dir).writer().unwrap();
        conn.execute_batch("CREATE TABLE x (b BLOB)").unwrap();
        // A thread that is never asked.
        let (folder, _thread) = Folder::with_bounds(place(&dir), i32::MAX, 60).unwrap();
        let mut high = 0;
        for _ in 0..1_000 {
            high = high.max(write(&conn));
            folder.after_commit(&conn);
        }
        assert!((60..80).contains(&high), "{high}");
    }
}
