//! What our services ask of each other: a node asked for something in their name.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use shared::settings::Secret;
use tokio::time::timeout;

use super::Backend;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer.
const LONGEST: usize = 64 << 10;

/// Asks nodes in the name of whoever has the token. Clones share the connections.
#[derive(Clone)]
pub struct Service {
    token: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Service {
    /// In the name of whoever has this.
    pub fn new(token: Secret) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { token, client }
    }

    /// What the node has at this path.
    pub(super) async fn get(&self, node: &Backend, path: &str) -> Result<Bytes, String> {
        self.ask(node, Method::GET, path, Bytes::new()).await
    }

    /// Has the node do what stands at this path.
    pub(super) async fn post(
        &self,
        node: &Backend,
        path: &str,
        body: &Value,
    ) -> Result<(), String> {
        let body = Bytes::from(body.to_string());
        self.ask(node, Method::POST, path, body).await.map(drop)
    }

    async fn ask(
        &self,
        node: &Backend,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", node.address()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token.expose()),
            )
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let asked = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let status = answer.status();
            // Read to the end in any case, so that the connection serves again.
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            if !status.is_success() {
                return Err(status.to_string());
            }
            body.map(http_body_util::Collected::to_bytes)
                .map_err(|error| error.to_string())
        };
        let late = |_| Err("no answer in time".to_owned());
        timeout(PATIENCE, asked).await.unwrap_or_else(late)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}
