//! What a durable commit costs on this disk when nobody else uses it: the part of a message's way
//! that no server can shorten.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    time::Instant,
};

use hdrhistogram::Histogram;

use crate::{swarm::Fault, target::Server};

/// How many commits are timed.
const COMMITS: usize = 100;
/// What a small commit writes: one page of a database, and its header in the log.
const PAGE: usize = 4096 + 24;

/// Times commits on the server's disk and adds them to `waits`, in µs: a page appended to a file,
/// and `fdatasync`.
pub(super) fn time_alone(server: &Server, waits: &mut Histogram<u64>) -> Result<(), Fault> {
    let elsewhere = std::env::temp_dir();
    let directory = server.directory().unwrap_or(&elsewhere);
    commits(directory, COMMITS, waits)
        .map_err(|error| Fault::Target(format!("{}: {error}", directory.display())))
}

fn commits(directory: &Path, count: usize, waits: &mut Histogram<u64>) -> io::Result<()> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    let page = [0x5a; PAGE];
    for _ in 0..count {
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        waits.saturating_record(began.elapsed().as_micros() as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_commit_is_timed() {
        let dir = tempfile::tempdir().unwrap();
        let mut waits = super::super::histogram().unwrap();
        commits(dir.path(), 3, &mut waits).unwrap();
        assert_eq!(waits.len(), 3);
        assert!(waits.min() > 0);
        assert!(commits(&dir.path().join("nowhere"), 1, &mut waits).is_err());
    }
}
