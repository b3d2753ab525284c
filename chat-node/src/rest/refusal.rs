//! How the refusals of rooms and history read in REST.

use std::time::Duration;

use shared::{problem::Problem, protocol::reply::ErrorBody};

use crate::history::HistoryError;

/// The problem of an error body: the same word, the same sentence.
pub(super) fn of_error(error: ErrorBody) -> Problem {
    let problem = Problem::new(error.code, error.message);
    match error.retry_after_ms {
        Some(ms) => problem.retry_after(Duration::from_millis(ms)),
        None => problem,
    }
}

/// The problem of a question that history did not answer.
pub(super) fn of_history(error: HistoryError) -> Problem {
    match error {
        HistoryError::Unavailable(cause) => Problem::unavailable(cause),
        HistoryError::Invalid(reason) => Problem::invalid(reason),
        HistoryError::NoRoom => Problem::not_found("there is no such room"),
    }
}
