//! Whether what is said can be kept: what readiness, and the log, are told of the writer.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use metrics::Gauge;
use parking_lot::Mutex;
use rusqlite::{Connection, Error, ErrorCode, Result, ffi, params};
use shared::telemetry::Sparing;

/// How often a writer in trouble tries whether it is over, so that readiness comes back without
/// anybody's traffic.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(1);
/// What the probe writes: more than one message ever needs, so that a disk on which this has room
/// takes a message too.
const PROBE_BYTES: u32 = 32 << 10;
/// A batch under way for longer than this is one the disk does not take.
const STALLED: Duration = Duration::from_secs(10);

/// The writer's state as others may know it. Begins well: the file was just opened to write.
///
/// What fails for want of the disk makes it unwell at once; only a [`probe`] that stood makes it
/// well again. A small write may still find room where the next message does not.
pub(super) struct Health {
    path: PathBuf,
    /// The write-ahead log. SQLite holds no locks on it, which closing it here would drop.
    log: PathBuf,
    state: Mutex<State>,
    writable: Gauge,
    lines: Sparing,
}

#[derive(Default)]
struct State {
    batch_began: Option<Instant>,
    trouble: Option<Trouble>,
}

struct Trouble {
    complaint: String,
    /// A connection that was open before should not be used.
    doubtful: bool,
}

impl Health {
    pub(super) fn new(path: &Path, writable: Gauge) -> Self {
        writable.set(1.0);
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self {
            path: path.to_owned(),
            log: log.into(),
            state: Mutex::default(),
            writable,
            lines: Sparing::each_second(),
        }
    }

    /// A batch is being written.
    pub(super) fn begins(&self) {
        self.state.lock().batch_began = Some(Instant::now());
    }

    /// It is over, whatever came of it.
    pub(super) fn ends(&self) {
        self.state.lock().batch_began = None;
    }

    /// Something was not written. Logged here, at most once a second.
    pub(super) fn fails(&self, error: &Error, jobs: usize) {
        let advice = storage(error).then(|| advice(error));
        if let Some(more) = self.lines.due() {
            tracing::error!(
                %error,
                jobs,
                more,
                file = %self.path.display(),
                advice = advice.unwrap_or("report this"),
                "history could not be written"
            );
        }
        if let Some(advice) = advice {
            self.writable.set(0.0);
            self.state.lock().trouble = Some(Trouble {
                complaint: format!("cannot be written: {error}; {advice}"),
                doubtful: doubtful(error),
            });
        }
    }

    /// Sees whether the file may still be opened to write. A file system that an error made
    /// read-only may go on taking what is written to files that are open, and let `fsync` succeed,
    /// and keep none of it; it does not let one be opened.
    pub(super) fn look(&self) {
        if let Err(error) = File::options().append(true).open(&self.log)
            && error.kind() != io::ErrorKind::NotFound
        {
            let code = match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => ffi::SQLITE_READONLY,
                io::ErrorKind::PermissionDenied => ffi::SQLITE_PERM,
                // A want of descriptors, or the like, says nothing of the disk.
                _ => return,
            };
            let why = Some(error.to_string());
            self.fails(&Error::SqliteFailure(ffi::Error::new(code), why), 0);
        }
    }

    /// A probe stood.
    pub(super) fn recovers(&self) {
        self.writable.set(1.0);
        if self.state.lock().trouble.take().is_some() {
            tracing::info!(file = %self.path.display(), "history can be written again");
        }
    }

    pub(super) fn in_trouble(&self) -> bool {
        self.state.lock().trouble.is_some()
    }

    /// Whether the writer should open the file anew before it writes.
    pub(super) fn doubts_connection(&self) -> bool {
        let state = self.state.lock();
        state.trouble.as_ref().is_some_and(|it| it.doubtful)
    }

    /// Why nothing can be kept just now, if that is so.
    pub(super) fn complaint(&self) -> Option<String> {
        let state = self.state.lock();
        let stalled = state
            .batch_began
            .is_some_and(|began| began.elapsed() > STALLED);
        match &state.trouble {
            None if stalled => Some("the disk takes nothing; see what it is doing".into()),
            trouble => trouble.as_ref().map(|it| it.complaint.clone()),
        }
    }
}

/// Writes something that needs room of its own, and takes it away again.
pub(super) fn probe(conn: &Connection) -> Result<()> {
    // Left behind if the last one ended in the middle.
    conn.execute("DELETE FROM probe", [])?;
    conn.execute(
        "INSERT INTO probe (filler) VALUES (randomblob(?1))",
        params![PROBE_BYTES],
    )?;
    conn.execute("DELETE FROM probe", [])?;
    Ok(())
}

/// Whether the connection should not be used again: the file, rather than the statement, is at
/// fault. A file that could only be opened to read stays so until it is opened anew.
pub(super) fn doubtful(error: &Error) -> bool {
    storage(error) && error.sqlite_error_code() != Some(ErrorCode::DiskFull)
}

/// Whether it is for want of the disk, or of what is on it.
fn storage(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// What an operator can do. Sends are refused until then, and taken again by themselves.
fn advice(error: &Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room on the disk, or raise history_max_bytes",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "see that the data directory is there, mounted to write, and belongs to this user"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged: stop, and restore it from a backup"
        }
        Some(ErrorCode::OutOfMemory) => "give this machine more memory",
        _ => "see whether the disk is failing, or over its quota",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(Path::new("h.db"), Gauge::noop())
    }

    fn error(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn what_the_disk_refuses_is_trouble_until_a_probe_stands() {
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_CORRUPT,
        ] {
            let health = health();
            assert_eq!(health.complaint(), None);
            health.fails(&error(code), 1);
            assert!(health.in_trouble(), "{code}");
            assert!(health.complaint().unwrap().contains("cannot be written"));
            health.recovers();
            assert_eq!(health.complaint(), None);
        }
    }

    #[test]
    fn a_statement_that_fails_by_itself_is_none() {
        let health = health();
        health.fails(&error(ffi::SQLITE_CONSTRAINT), 1);
        assert!(!health.in_trouble());
        assert!(!doubtful(&error(ffi::SQLITE_CONSTRAINT)));
    }

    #[test]
    fn a_full_disk_does_not_spoil_the_connection_and_a_failing_one_does() {
        assert!(!doubtful(&error(ffi::SQLITE_FULL)));
        assert!(doubtful(&error(ffi::SQLITE_IOERR_FSYNC)));
        assert!(doubtful(&error(ffi::SQLITE_READONLY)));
    }
}
