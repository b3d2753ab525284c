//! How REST says what went wrong: problem JSON (RFC 9457), with the words of [`crate::codes`].
//!
//! A handler returns `Result<_, Problem>`. What the framework refuses by itself (a body that is no
//! JSON, a path that leads nowhere, a method that does not fit) is made to say it the same way by
//! [`extractors`], [`not_found`] and [`fill`], so that a client has one shape to read. What is our
//! fault is logged here, once, and told to nobody: [`Problem::internal`]. A browser that goes to an address of ours is
//! shown a [`page`].

mod framework;
mod page;

pub use framework::{extractors, fill, json_body, not_found};
pub use page::{PAGE_HEADERS, is_navigation, page};

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};

use crate::auth::TokenError;
use crate::codes::ErrorCode;
use crate::limits::Decision;
use crate::telemetry::Sparing;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A name for this kind of problem: `urn:fireside:error:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words, the same every time.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The stable word that programs look at.
    #[schema(value_type = String, example = "not_found")]
    pub code: ErrorCode,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// How long to wait before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Which fields of the request are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's name in the request.
    pub field: String,
    /// A stable word for the rule it breaks, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// A problem of this code; `detail` is for the person who reads it.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:fireside:error:{}", code.word()),
            title: Cow::Borrowed(title(code)),
            status: code.status(),
            detail: detail.into(),
            code,
            retry: code.retry(),
            retry_after_ms: None,
            errors: Vec::new(),
        }
    }

    /// There is no such thing, or none that the caller may know of.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, detail)
    }

    /// The request breaks a rule.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, detail)
    }

    /// A fault of ours: `cause` goes to the log, the caller learns only that it happened.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(
            ErrorCode::Internal,
            "something went wrong on our side; it has been logged",
        )
    }

    /// A part we need is out of reach: `cause` goes to the log, at most once a second.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        static LINES: Sparing = Sparing::each_second();
        if let Some(more) = LINES.due() {
            tracing::warn!(%cause, more, "unavailable");
        }
        Self::new(
            ErrorCode::Unavailable,
            "a part of the service is out of reach; try again",
        )
    }

    /// Names a field that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        self.errors.push(FieldError {
            field,
            rule: None,
            message,
        });
        self
    }

    /// Names a field that is wrong, and by a stable word the rule it breaks.
    #[must_use]
    pub fn rule(mut self, field: &str, rule: &str, message: &str) -> Self {
        self.errors.push(FieldError {
            field: field.to_owned(),
            rule: Some(rule.to_owned()),
            message: message.to_owned(),
        });
        self
    }

    /// Says when to try again; that it is worth trying follows.
    #[must_use]
    pub fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry = true;
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Another status than the code's own, where HTTP has a more exact one (405, 415).
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.word(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        if let Some(wait) = self.retry_after_ms {
            response.insert_header((RETRY_AFTER, wait.div_ceil(1000)));
        }
        if self.code == ErrorCode::Unauthenticated {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"fireside\""));
        }
        match serde_json::to_vec(self) {
            Ok(body) => response.body(body),
            Err(_) => response.finish(),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Decision> for Problem {
    /// The problem of a caller whose bucket is empty.
    fn from(decision: Decision) -> Self {
        let wait = decision.retry_after().unwrap_or_default();
        Self::new(ErrorCode::RateLimited, "too many requests").retry_after(wait)
    }
}

/// Lets a request pass if its bucket allows: `problem::admit(&request, limiter.check(&key))?`.
///
/// [`fill`] then tells the client how much of the allowance is left, whether or not it passed; of
/// several, that of the one that will be reached first.
pub fn admit(request: &impl HttpMessage, decision: Decision) -> Result<(), Problem> {
    {
        let mut extensions = request.extensions_mut();
        let tightest = extensions
            .get::<Decision>()
            .is_none_or(|other| decision.remaining() < other.remaining() || !decision.is_allowed());
        if tightest {
            extensions.insert(decision);
        }
    }
    if decision.is_allowed() {
        Ok(())
    } else {
        Err(decision.into())
    }
}

/// Tells a client how much of its allowance is left: `RateLimit-Limit`, `-Remaining` and `-Reset`
/// (seconds), as most client libraries read them.
pub fn rate_limit_headers(headers: &mut HeaderMap, decision: &Decision) {
    let whole_seconds = decision.reset().as_millis().div_ceil(1000);
    for (name, value) in [
        ("ratelimit-limit", u128::from(decision.limit())),
        ("ratelimit-remaining", u128::from(decision.remaining())),
        ("ratelimit-reset", whole_seconds),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn title(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unauthenticated => "Not authenticated",
        ErrorCode::Forbidden => "Not allowed",
        ErrorCode::NotFound => "Not found",
        ErrorCode::Invalid => "Invalid request",
        ErrorCode::TooLarge => "Too large",
        ErrorCode::RateLimited => "Too many requests",
        ErrorCode::SlowMode => "Slow mode",
        ErrorCode::Muted => "Muted",
        ErrorCode::Conflict => "Conflict",
        ErrorCode::SessionLost => "Session lost",
        ErrorCode::Busy => "Busy",
        ErrorCode::Unavailable => "Unavailable",
        ErrorCode::Internal => "Internal error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codes::ERRORS;

    #[test]
    fn every_code_has_its_row_in_the_body() {
        for row in ERRORS {
            let body = serde_json::to_value(Problem::new(row.code, "why")).unwrap();
            assert_eq!(body["code"], row.word);
            assert_eq!(body["status"], row.status);
            assert_eq!(body["retry"], row.retry);
            assert_eq!(body["type"], format!("urn:fireside:error:{}", row.word));
            assert!(body.get("retry_after_ms").is_none() && body.get("errors").is_none());
        }
    }

    #[test]
    fn headers_say_when_and_how() {
        let problem = Problem::new(ErrorCode::RateLimited, "slow down")
            .retry_after(Duration::from_millis(1_200));
        let response = problem.error_response();
        assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), "2");
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        let response = Problem::from(TokenError::Missing).error_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[test]
    fn a_fault_of_ours_tells_nothing() {
        let problem = Problem::internal("table users: disk full");
        assert!(!problem.to_string().contains("disk"));
    }
}
