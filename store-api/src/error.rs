//! What can go wrong in the domain, in the domain's words.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request breaks rules; each is named.
    #[error("{}", summary(.0))]
    Invalid(Vec<Violation>),
    /// No token, or one that does not hold, or a wrong password.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller is known, and may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// No such thing, or none that the caller may know of.
    #[error("not found")]
    NotFound,
    /// The state of things does not allow it.
    #[error("{message}")]
    Conflict {
        /// What stands against it, for a person.
        message: &'static str,
        /// The fields it is about, if it is about fields.
        violations: Vec<Violation>,
    },
    /// Lines of a list break rules; each is named.
    #[error("{} of the lines break rules", lines(.0))]
    Lines(Vec<LineFault>),
    /// The caller has tried this too often, and may again after a while.
    #[error("too many attempts")]
    TooOften(Duration),
    /// More work waits than this process takes on.
    #[error("the server is busy")]
    Busy,
    /// The database cannot be reached, or is too slow to answer.
    #[error("the database is out of reach: {0}")]
    Unavailable(#[source] DbErr),
    /// The database answers and takes nothing that is written; why, and what to do.
    #[error("the database {0}")]
    Unwritable(String),
    /// Something else that is asked does not answer, or not as agreed.
    #[error("{0}")]
    Away(String),
    /// A statement failed that should not.
    #[error("database: {0}")]
    Database(#[source] DbErr),
    /// A password could not be hashed or a token not signed.
    #[error("internal: {0}")]
    Internal(String),
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field of the request.
    pub field: &'static str,
    /// A stable word for the rule.
    pub rule: &'static str,
    /// The rule, for a person.
    pub message: &'static str,
}

/// One broken rule in a list of many things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// The place in the list, from 1.
    pub line: usize,
    /// The field there.
    pub field: &'static str,
    /// A stable word for the rule.
    pub rule: &'static str,
    /// The rule, for a person.
    pub message: String,
}

impl Violation {
    /// The rule `rule` of `field` is broken; `message` says it to a person.
    pub const fn new(field: &'static str, rule: &'static str, message: &'static str) -> Self {
        Self {
            field,
            rule,
            message,
        }
    }
}

impl StoreError {
    /// A conflict that is not about a field.
    pub(crate) fn conflict(message: &'static str) -> Self {
        Self::Conflict {
            message,
            violations: Vec::new(),
        }
    }

    /// Whether a server that could not be opened may be there later: it is out of reach, or is being started.
    /// Who is not let in will not be later, nor does a file of SQLite mend by itself.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(DbErr::ConnectionAcquire(_)) => true,
            Self::Unavailable(error) => {
                driver(error).is_some_and(|error| is_passing_there(error) && !is_of_a_file(error))
            }
            _ => false,
        }
    }

    /// Whether a unique constraint stood against a write: a race lost, not a fault.
    pub(crate) fn is_unique_violation(&self) -> bool {
        match self {
            Self::Database(error) => {
                matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
            }
            _ => false,
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_passing(&error) {
            Self::Unavailable(error)
        } else if is_unspeakable(&error) {
            let message = "no text may hold the character U+0000";
            Violation::new("request", "characters", message).into()
        } else {
            Self::Database(error)
        }
    }
}

/// Whether the same statement may succeed later: the database is away or full, or two
/// transactions stood in each other's way.
fn is_passing(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_))
        || driver(error).is_some_and(is_passing_there)
}

/// Whether SQLite says so, whose codes are numbers shorter than those of PostgreSQL.
fn is_of_a_file(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code.len() < 5)
}

fn is_passing_there(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match code.parse::<u32>() {
                // SQLite's numbers, whose low byte is the kind: busy, locked, read-only, I/O error, full, no file handle.
                Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6 | 8 | 10 | 13 | 14),
                // PostgreSQL's classes: connection, rollback (deadlock), resources, shutdown.
                _ => ["08", "40", "53", "57"]
                    .iter()
                    .any(|class| code.starts_with(class)),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        _ => false,
    }
}

/// Whether PostgreSQL was given a text that it cannot hold, nor look for: one with U+0000, which SQLite takes.
fn is_unspeakable(error: &DbErr) -> bool {
    match driver(error) {
        Some(sqlx::Error::Database(error)) => error.code().as_deref() == Some("22021"),
        _ => false,
    }
}

fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(driver))
        | DbErr::Exec(RuntimeErr::SqlxError(driver))
        | DbErr::Query(RuntimeErr::SqlxError(driver)) => Some(driver),
        _ => None,
    }
}

/// A failure of what the database lies on, rather than of a statement or of the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// No room.
    Full,
    /// It may be read only.
    ReadOnly,
    /// The disk fails.
    Failing,
    /// What is on it is no database.
    Damaged,
}

impl Storage {
    /// Whether `error` is one.
    pub(crate) fn of(error: &DbErr) -> Option<Self> {
        let sqlx::Error::Database(error) = driver(error)? else {
            return None;
        };
        let code = error.code()?;
        match code.parse::<u32>() {
            // SQLite's numbers.
            Ok(number) if code.len() < 5 => match number & 0xff {
                8 => Some(Self::ReadOnly),
                10 | 14 => Some(Self::Failing),
                11 | 26 => Some(Self::Damaged),
                13 => Some(Self::Full),
                _ => None,
            },
            // PostgreSQL's words.
            _ => match &*code {
                "53100" => Some(Self::Full),
                "25006" => Some(Self::ReadOnly),
                "58030" => Some(Self::Failing),
                "XX001" | "XX002" => Some(Self::Damaged),
                _ => None,
            },
        }
    }

    /// What an operator can do.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Full => "make room on its disk",
            Self::ReadOnly => "see that its directory is mounted to write, and belongs to its user",
            Self::Failing => "see whether the disk is failing, or over its quota",
            Self::Damaged => "the file is damaged: stop, and restore it from a backup",
        }
    }
}

impl From<Violation> for StoreError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

fn lines(faults: &[LineFault]) -> usize {
    let mut lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
    lines.dedup();
    lines.len()
}

fn summary(violations: &[Violation]) -> String {
    let mut text = String::new();
    for violation in violations {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(violation.field);
        text.push_str(": ");
        text.push_str(violation.message);
    }
    text
}
