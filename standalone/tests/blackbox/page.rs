//! The browser client, which `fireside` serves beside everything else.

use reqwest::Method;

use crate::app::TestApp;

#[tokio::test]
async fn the_browser_client_is_at_the_root() {
    let app = TestApp::start().await;
    let page = app.rest.call(Method::GET, "/", None, None).await.unwrap();
    assert_eq!(page.status, 200);
    let kind = page.header("content-type").unwrap();
    assert!(kind.starts_with("text/html"), "{kind}");
}

#[tokio::test]
async fn a_browser_that_goes_astray_is_shown_a_page() {
    let app = TestApp::start().await;
    let ask = async |header: &str, value: &str| {
        // `app` has set up what a client encrypts with.
        let request = reqwest::Client::new().get(app.rest.url("/v1/nowhere"));
        request.header(header, value).send().await.unwrap()
    };
    let page = ask("sec-fetch-mode", "navigate").await;
    assert_eq!(page.status(), 404);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await.unwrap();
    assert!(page.contains("There is nothing here"), "{page}");
    assert!(page.contains("<code>not_found</code>"), "{page}");
    let problem = ask("accept", "*/*").await;
    assert_eq!(problem.status(), 404);
    assert_eq!(
        problem.headers()["content-type"],
        "application/problem+json"
    );
}
