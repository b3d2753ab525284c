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
