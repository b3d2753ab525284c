//! A problem as a page to read: for somebody whose browser went to an address of ours, as it does on the way back from a
//! provider, and who would see JSON otherwise.

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};
use minijinja::{AutoEscape, Environment, context};

use super::Problem;
use crate::codes::ErrorCode;

const TEMPLATE: &str = include_str!("page.html");

/// The headers of such a page, besides those of the problem.
pub const PAGE_HEADERS: [(&str, &str); 5] = [
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// Whether a request is of a browser that goes to its address, and shows what it is answered; `header` finds a header by its name.
pub fn is_navigation<'a>(method: &str, header: impl Fn(&str) -> Option<&'a str>) -> bool {
    let wants_page = match header("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        // Browsers say so over https, and to their own machine; elsewhere there is only what they like to read.
        None => header("accept").is_some_and(|kinds| kinds.starts_with("text/html")),
    };
    wants_page && matches!(method, "GET" | "HEAD")
}

/// The page, in HTML: what happened, what to do, and the stable code.
pub fn page(problem: &Problem) -> String {
    let (heading, advice) = words(problem);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let shown = context! { heading, advice, retry => problem.retry, code => problem.code.word() };
    environment
        .render_named_str("page.html", TEMPLATE, shown)
        // The template is ours and tried by a test.
        .unwrap_or_else(|_| heading.to_owned())
}

/// A problem that is answered with a page.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Problem);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Shown {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let response = self.0.error_response();
        let mut response = response.set_body(BoxBody::new(page(&self.0)));
        for (name, value) in PAGE_HEADERS {
            response.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        response
    }
}

/// What happened and what to do, for somebody who knows nothing of codes.
fn words(problem: &Problem) -> (&'static str, &'static str) {
    match problem.code {
        ErrorCode::Unavailable | ErrorCode::Busy | ErrorCode::SessionLost => (
            "That did not work just now",
            "A part of Fireside does not answer. Wait a moment and try again: nothing is done or paid twice.",
        ),
        ErrorCode::RateLimited | ErrorCode::SlowMode => (
            "That was a little too fast",
            "Fireside was asked too often from where you are. Wait a moment and try again.",
        ),
        ErrorCode::Internal => (
            "Something went wrong on our side",
            "It has been written down. Try again later; nothing is done or paid twice.",
        ),
        ErrorCode::NotFound => (
            "There is nothing here",
            "The address may be mistyped, or what was here is over.",
        ),
        ErrorCode::Conflict => (
            "That is not possible any more",
            "It may have been done already. Look at how things stand now.",
        ),
        ErrorCode::Unauthenticated | ErrorCode::Forbidden | ErrorCode::Muted => (
            "This is not for you to see",
            "Sign in first, or go back to where you came from and begin again.",
        ),
        ErrorCode::Invalid | ErrorCode::TooLarge => (
            "This address does not work",
            "Something in it is missing or wrong. Go back to where you came from and begin again.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::ERRORS;

    #[test]
    fn every_code_has_a_page() {
        for row in ERRORS {
            let html = page(&Problem::new(row.code, "why"));
            assert!(
                html.contains(&format!("<code>{}</code>", row.word)),
                "{html}"
            );
            assert_eq!(html.contains("Try again</a>"), row.retry, "{}", row.word);
            assert!(html.contains("<h1>"), "{html}");
        }
    }

    #[test]
    fn a_program_is_told_from_a_browser() {
        let asks = |method: &str, headers: &[(&str, &'static str)]| {
            is_navigation(method, |name| {
                let found = headers.iter().find(|(header, _)| *header == name);
                found.map(|(_, value)| *value)
            })
        };
        let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        assert!(asks("GET", &[html]));
        assert!(asks(
            "GET",
            &[("sec-fetch-mode", "navigate"), ("accept", "*/*")]
        ));
        assert!(!asks("GET", &[html, ("sec-fetch-mode", "cors")]));
        assert!(!asks("POST", &[html]));
        assert!(!asks("GET", &[("accept", "*/*")]));
        assert!(!asks("GET", &[("accept", "application/json, text/html")]));
        assert!(!asks("GET", &[]));
    }

    #[test]
    fn the_answer_keeps_what_the_problem_says() {
        let problem = Problem::unavailable("redis").retry_after(std::time::Duration::from_secs(2));
        let answer = Shown(problem).error_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers().get("retry-after").unwrap(), "2");
        let kinds: Vec<_> = answer.headers().get_all("content-type").collect();
        assert_eq!(kinds, ["text/html; charset=utf-8"]);
    }
}
