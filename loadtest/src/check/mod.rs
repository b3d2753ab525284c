//! The judge: a pure function over the lines of a record.
//!
//! What it holds a server to, in the words of the delivery promise:
//! 1. an acknowledged message is in the log, exactly once, at the acknowledged seq, with its text,
//!    or without any once it was deleted; so is the entry of an edit or a deletion;
//! 2. a log is dense from 1, or from the first entry that the operator keeps, and every surface reads the
//!    same log;
//! 3. all tries of one nonce come to one seq, and only the first of them is not a `dup`;
//! 4. nothing refused as "not stored" is in the log, and nothing nobody sent;
//! 5. each client sees each entry of its rooms, in order, equal to the log (what was deleted since:
//!    as it was sent, the same for all, or blank), not twice in one session; a hole is lawful only across a session's end, and only when `room.sync` fills it;
//! 6. the positions `s` of a session are consecutive across its resumes.
//!
//! What has expired nobody needs to have seen or to find; what was seen of it is held to what was sent.

mod acts;
mod logs;
mod sends;
mod streams;

use std::fmt;

use shared::id::{Nonce, RoomId, UserId};

use crate::record::{ClientName, Line};

/// How many violations a verdict lists before it only counts.
pub const LISTED: usize = 20;

/// What the record shows.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What breaks the promise; empty when nothing does.
    pub violations: Vec<Violation>,
    /// What was looked at, so that an empty record does not pass for a good one.
    pub seen: Counts,
}

/// How much a record holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients.
    pub clients: usize,
    /// Sessions started.
    pub sessions: usize,
    /// Sessions resumed.
    pub resumes: usize,
    /// Different nonces sent.
    pub sends: usize,
    /// Of those, tried more than once.
    pub retried: usize,
    /// Acknowledgements.
    pub acks: usize,
    /// Of those, saying `dup`.
    pub dups: usize,
    /// Edits and deletions acknowledged.
    pub acts: usize,
    /// Entries seen as events.
    pub events: usize,
    /// Entries seen through `room.sync`.
    pub synced: usize,
    /// Rooms whose log was read.
    pub logs: usize,
    /// Entries in those logs.
    pub entries: usize,
    /// Messages deleted in them.
    pub deleted: usize,
}

/// One breach of the promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Where and what, for a person.
    pub what: String,
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// What was acknowledged is not in the log.
    Lost,
    /// A message is in the log more than once.
    Twice,
    /// An acknowledgement names another seq or time than the log.
    WrongAck,
    /// The text differs from what was sent, or an entry from the log.
    Altered,
    /// A deleted message's words are in the log still.
    Kept,
    /// A message in the log that nobody sent, or whose every try was refused as not stored.
    Unsent,
    /// The log is not dense from 1, or two surfaces read different logs.
    LogBroken,
    /// `dup` answers that cannot all be true.
    DupWrong,
    /// A client was not given an entry.
    Hole,
    /// A client saw entries out of order.
    Disorder,
    /// A session delivered an entry twice.
    Doubled,
    /// The positions of a session are not consecutive.
    StreamBroken,
    /// The record does not hold what judging it takes.
    Record,
}

impl Verdict {
    /// Whether the promise was kept.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    fn breach(&mut self, rule: Rule, what: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            what: what.into(),
        });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        writeln!(
            f,
            "{} clients, {} sessions, {} resumes; {} messages sent ({} tried again), {} acks ({} dup), {} acts; \
             {} entries seen as events, {} through sync; {} logs with {} entries, {} messages deleted",
            seen.clients,
            seen.sessions,
            seen.resumes,
            seen.sends,
            seen.retried,
            seen.acks,
            seen.dups,
            seen.acts,
            seen.events,
            seen.synced,
            seen.logs,
            seen.entries,
            seen.deleted,
        )?;
        for violation in self.violations.iter().take(LISTED) {
            writeln!(f, "  {:?}: {}", violation.rule, violation.what)?;
        }
        match self.violations.len() {
            0 => write!(f, "the delivery promise held"),
            n if n > LISTED => write!(f, "  … and {} more\n{n} violations", n - LISTED),
            n => write!(f, "{n} violations"),
        }
    }
}

/// Judges a record.
pub fn check(lines: &[Line]) -> Verdict {
    let mut verdict = Verdict::default();
    let logs = logs::read(lines, &mut verdict);
    let texts = sends::judge(lines, &logs, &mut verdict);
    acts::judge(lines, &logs, &mut verdict);
    streams::judge(lines, &logs, texts, &mut verdict);
    verdict
}

type SendKey = (RoomId, UserId, Nonce);

/// Who each client is, from its `started` lines.
fn users(lines: &[Line]) -> std::collections::HashMap<ClientName, UserId> {
    lines
        .iter()
        .filter_map(|line| match &line.what {
            crate::record::Happened::Started { user, .. } => Some((line.c.clone(), user.clone())),
            _ => None,
        })
        .collect()
}
