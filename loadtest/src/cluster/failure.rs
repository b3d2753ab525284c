//! Why a server is not there.

use std::{fmt, io};

/// A server that cannot be had, or is not as it should be.
///
/// `Debug` is the message as well: tests unwrap.
#[derive(thiserror::Error)]
pub enum Failure {
    /// The program is not installed.
    #[error("{program} was not found: {install}")]
    Missing {
        /// Which.
        program: String,
        /// What to do.
        install: &'static str,
    },
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What it said.
        error: io::Error,
    },
    /// It ended, or did not get ready in time.
    #[error("{name} {what}; the end of its log:\n{log}")]
    NotReady {
        /// Which server.
        name: String,
        /// What became of it.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// It runs elsewhere and is not ours to stop.
    #[error("{0} was not started here: tests that kill it start their own")]
    NotOurs(String),
}

impl Failure {
    /// For `map_err`: this was tried.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |error| Self::System { what, error }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
