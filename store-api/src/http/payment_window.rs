//! The page that opens a provider's window. It is the one page of ours in which a script of somebody else runs, so it is
//! a page of its own: what it may load follows from the script's address, and the client's page allows no such thing.

use actix_web::{HttpResponse, http::header};
use minijinja::{AutoEscape, Environment, context};
use serde_json::Value;
use url::Url;

const TEMPLATE: &str = include_str!("payment_window.html");

/// The page for what `next` of a payment has; none if a browser cannot open that.
pub(super) fn page(next: &Value) -> Option<HttpResponse> {
    let sdk = Url::parse(next["sdk_url"].as_str()?).ok()?;
    let page = render(next)
        .inspect_err(|error| tracing::error!(%error, "no page of a payment's window"))
        .ok()?;
    let response = HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("content-security-policy", policy(&sdk)))
        .insert_header(("x-content-type-options", "nosniff"))
        // Providers look where a payer comes from; the seal is in the rest of the address.
        .insert_header(("referrer-policy", "strict-origin"))
        .body(page);
    Some(response)
}

fn render(next: &Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.render_named_str(
        "payment_window.html",
        TEMPLATE,
        context! { payment => next.to_string() },
    )
}

/// What the page may load and do.
fn policy(sdk: &Url) -> String {
    let theirs = sources(sdk);
    format!(
        "default-src 'none'; script-src 'self' {theirs}; style-src 'self' 'unsafe-inline'; \
         img-src 'self' https: data: {theirs}; font-src 'self' {theirs}; connect-src 'self' {theirs}; \
         frame-src {theirs}; form-action {theirs}; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// Where a script of this address loads from: where it is itself, and if that is Toss's own, from the rest of Toss.
fn sources(sdk: &Url) -> String {
    let own = sdk.origin().ascii_serialization();
    let domain = "tosspayments.com";
    let is_theirs = sdk
        .host_str()
        .and_then(|host| host.strip_suffix(domain))
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if is_theirs {
        format!("{own} https://*.{domain}")
    } else {
        own
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_lets_in_who_it_is_about_and_nobody_else() {
        let of = |url: &str| sources(&Url::parse(url).unwrap());
        assert_eq!(
            of("https://js.tosspayments.com/v2/standard"),
            "https://js.tosspayments.com https://*.tosspayments.com"
        );
        assert_eq!(of("http://127.0.0.1:8199/x?y"), "http://127.0.0.1:8199");
        assert_eq!(
            of("https://nottosspayments.com/"),
            "https://nottosspayments.com"
        );
    }

    #[test]
    fn what_a_payment_says_stays_text() {
        let page = render(&json!({"order_name": "\"><script>x</script>"})).unwrap();
        assert!(!page.contains("<script>x"), "{page}");
    }

    #[test]
    fn a_window_without_a_script_has_no_page() {
        assert!(page(&json!({"kind": "window"})).is_none());
    }
}
