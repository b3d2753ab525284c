//! The record: JSON lines of what each client did and saw, in the order it happened to it.
//!
//! Lines of different clients may be interleaved in any way; only the order of one client's own
//! lines counts. `c` names the client: one device of one user, across its sockets and sessions.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use shared::{
    codes::ErrorCode,
    id::{Epoch, Nonce, RoomId, Seq, SessionId, Timestamp, UserId},
    protocol::room::Entry,
};

/// A client of the record.
pub type ClientName = String;

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// Whose it is; empty for [`Happened::Log`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub c: ClientName,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
}

/// Where a room's log stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The room.
    pub room: RoomId,
    /// The identity of its log.
    pub epoch: Epoch,
    /// The newest entry.
    pub head: Seq,
}

/// What may happen to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Happened {
    /// `session.start` was answered.
    Started {
        /// Who the client is.
        user: UserId,
        /// The session.
        sid: SessionId,
        /// The snapshot's rooms.
        rooms: Vec<Mark>,
    },
    /// `session.resume` was sent; the events it replays are the lines that follow.
    Resuming {
        /// The session.
        sid: SessionId,
        /// The position asked for.
        s: u64,
    },
    /// `session.resume` was answered.
    Resumed {
        /// How many events the server says it replayed.
        replayed: u64,
    },
    /// `session.resume` was refused with `session_lost`.
    Lost,
    /// A message was sent.
    Sent {
        /// The room.
        room: RoomId,
        /// The nonce; the same on every try.
        nonce: Nonce,
        /// The text.
        text: String,
    },
    /// A send was answered.
    Acked {
        /// The room.
        room: RoomId,
        /// The nonce.
        nonce: Nonce,
        /// Where the server says it stands.
        seq: Seq,
        /// When the server says it took it in.
        ts: Timestamp,
        /// Whether the server says it had it already.
        dup: bool,
    },
    /// A send was refused.
    Refused {
        /// The room.
        room: RoomId,
        /// The nonce.
        nonce: Nonce,
        /// Why.
        code: ErrorCode,
    },
    /// An edit or a deletion was acknowledged.
    Done {
        /// The room.
        room: RoomId,
        /// Where the server says its entry stands.
        seq: Seq,
        /// When the server says it took it in.
        ts: Timestamp,
    },
    /// An event that tells of an entry.
    Entry {
        /// Its position in the session's stream.
        s: Option<u64>,
        /// The room.
        room: RoomId,
        /// The entry.
        entry: Entry,
    },
    /// The client belongs to a room from here on, or its log begins afresh (`room.added`,
    /// `room.reset`): entries after `head` come as events.
    Placed {
        /// The event's position in the session's stream.
        s: Option<u64>,
        /// The room and where it stands.
        mark: Mark,
    },
    /// The client no longer belongs to a room.
    Removed {
        /// The event's position in the session's stream.
        s: Option<u64>,
        /// The room.
        room: RoomId,
    },
    /// Any other event of the session's stream.
    Other {
        /// Its position.
        s: u64,
    },
    /// `room.sync` was answered.
    Synced {
        /// The room.
        room: RoomId,
        /// The epoch of the answer.
        epoch: Epoch,
        /// The position asked for.
        after: Seq,
        /// The client has to drop what it holds.
        reset: bool,
        /// The first entry that is still kept, when what was asked for began earlier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<Seq>,
        /// The entries of the answer.
        entries: Vec<Entry>,
    },
    /// The socket closed.
    Closed {
        /// The close code, when there was a close frame.
        code: Option<u16>,
    },
    /// The client holds that it has seen everything there is.
    CaughtUp,
    /// A log as it reads at the end, whole, from whatever surface.
    Log {
        /// The room.
        room: RoomId,
        /// The identity of the log.
        epoch: Epoch,
        /// The first entry that is still kept: what came before it has expired.
        #[serde(default = "from_the_first", skip_serializing_if = "is_the_first")]
        first: Seq,
        /// Its entries from there on.
        entries: Vec<Entry>,
    },
}

fn from_the_first() -> Seq {
    Seq::FIRST
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_the_first(seq: &Seq) -> bool {
    *seq == Seq::FIRST
}

/// Writes a record as things happen; clones write to the same record.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Sink>>);

#[derive(Debug, Default)]
struct Sink {
    lines: Vec<Line>,
    file: Option<io::BufWriter<File>>,
    fault: Option<String>,
}

impl Recorder {
    /// Keeps the record in memory only.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Also writes it to `path`.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let file = io::BufWriter::new(File::create(path)?);
        Ok(Self(Arc::new(Mutex::new(Sink {
            file: Some(file),
            ..Sink::default()
        }))))
    }

    /// Adds a line of client `c`.
    pub fn note(&self, c: &str, what: Happened) {
        let line = Line {
            at: Timestamp::now(),
            c: c.to_owned(),
            what,
        };
        let mut sink = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(file) = &mut sink.file {
            let written = serde_json::to_writer(&mut *file, &line)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"));
            if let Err(error) = written {
                sink.fault = Some(error.to_string());
            }
        }
        sink.lines.push(line);
    }

    /// Looks at the lines so far where they are.
    pub fn look<T>(&self, at: impl FnOnce(&[Line]) -> T) -> T {
        let sink = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        at(&sink.lines)
    }

    /// The lines so far; a file is complete on disk after this.
    pub fn lines(&self) -> io::Result<Vec<Line>> {
        let mut sink = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(fault) = &sink.fault {
            return Err(io::Error::other(fault.clone()));
        }
        if let Some(file) = &mut sink.file {
            file.flush()?;
        }
        Ok(sink.lines.clone())
    }
}

/// Writes a record that was kept in memory.
pub fn write(path: &Path, lines: &[Line]) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads a record back.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (number, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let parsed = serde_json::from_str(&line).map_err(|e| {
            let what = format!("{}:{}: {e}", path.display(), number + 1);
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        lines.push(parsed);
    }
    Ok(lines)
}
