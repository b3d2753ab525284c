//! What a refusal of the domain looks like over HTTP.

use shared::{auth::TokenError, codes::ErrorCode, problem::Problem};

use crate::error::StoreError;

/// What handlers fail with: a domain error, a token that does not hold, or a problem already
/// worded.
pub(super) struct Refusal(Problem);

/// What a handler answers.
pub(super) type Answer<T = actix_web::HttpResponse> = Result<T, Refusal>;

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        let problem = match error {
            StoreError::Invalid(violations) => violations
                .into_iter()
                .fold(Problem::invalid(detail), |problem, broken| {
                    problem.rule(broken.field, broken.rule, broken.message)
                }),
            StoreError::Conflict { violations, .. } => violations.into_iter().fold(
                Problem::new(ErrorCode::Conflict, detail),
                |problem, broken| problem.rule(broken.field, broken.rule, broken.message),
            ),
            StoreError::Unauthenticated(_) => Problem::new(ErrorCode::Unauthenticated, detail),
            StoreError::Forbidden(_) => Problem::new(ErrorCode::Forbidden, detail),
            StoreError::NotFound => Problem::not_found(detail),
            StoreError::Lines(faults) => {
                faults
                    .into_iter()
                    .fold(Problem::invalid(detail), |problem, fault| {
                        let field = format!("lines[{}].{}", fault.line, fault.field);
                        problem.rule(&field, fault.rule, &fault.message)
                    })
            }
            StoreError::TooOften(wait) => {
                Problem::new(ErrorCode::RateLimited, detail).retry_after(wait)
            }
            StoreError::Busy => Problem::new(ErrorCode::Busy, detail),
            StoreError::Unavailable(_) | StoreError::Unwritable(_) | StoreError::Away(_) => {
                Problem::unavailable(detail)
            }
            StoreError::Database(_) | StoreError::Internal(_) => Problem::internal(detail),
        };
        Self(problem)
    }
}

impl From<Refusal> for actix_web::Error {
    fn from(refusal: Refusal) -> Self {
        refusal.0.into()
    }
}
