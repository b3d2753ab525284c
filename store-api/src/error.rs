//! What can go wrong in the domain, in the domain's words.

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
    /// More work waits than this process takes on.
    #[error("the server is busy")]
    Busy,
    /// The database cannot be reached, or is too slow to answer.
    #[error("the database is out of reach: {0}")]
    Unavailable(#[source] DbErr),
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
        } else {
            Self::Database(error)
        }
    }
}

/// Whether the same statement may succeed later: the database is away or full, or two
/// transactions stood in each other's way.
fn is_passing(error: &DbErr) -> bool {
    let driver = match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return true,
        DbErr::Exec(RuntimeErr::SqlxError(driver))
        | DbErr::Query(RuntimeErr::SqlxError(driver)) => driver,
        _ => return false,
    };
    match &**driver {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match code.parse::<u32>() {
                // SQLite's numbers, whose low byte is the kind: busy, locked, I/O error, full, no file handle.
                Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6 | 10 | 13 | 14),
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

impl From<Violation> for StoreError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
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
