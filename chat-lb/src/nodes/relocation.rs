//! Moves people to the node they belong to.
//!
//! When a node comes, or its share grows, some of those who have a socket elsewhere belong to it. Who
//! belongs where only a balancer can say: it knows the shares as they are right now, who is ejected and
//! who is full, and it is the one who will be asked where to, when they come back. So it asks the nodes to
//! let some go, so many a second, and each socket once: a node says `bye 4009` to it, and its session
//! goes on where the client is sent then.
//!
//! A balancer that ends has all its people let go in the same way, so that they come back through another.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use metrics::counter;
use shared::{id::UserId, settings::Secret, telemetry::Sparing};
use tokio::time::{sleep, timeout};

use super::{Backend, Pool};

/// How often it is looked at who is astray.
const LOOK: Duration = Duration::from_secs(1);
/// How often people are let go when the balancer ends.
const STEP: Duration = Duration::from_millis(250);
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most people of one request.
const AT_ONCE: usize = 500;

/// Asks nodes to let people go.
#[derive(Clone)]
pub struct Relocation {
    pool: Arc<Pool>,
    token: Secret,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Relocation {
    /// For the people of this pool, in the name of whoever has the token.
    pub fn new(pool: Arc<Pool>, token: Secret) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self {
            pool,
            token,
            client,
        }
    }

    /// Moves up to so many people a second, for ever.
    pub async fn run(self, most: usize) {
        let lines = Sparing::new(Duration::from_secs(10));
        loop {
            sleep(LOOK).await;
            for (node, users) in self.pool.astray(most) {
                self.ask(&node, &users, &lines).await;
            }
        }
    }

    /// Lets everybody go within this time.
    pub async fn empty(&self, within: Duration) {
        let lines = Sparing::new(Duration::from_secs(10));
        let steps = (within.as_millis() / STEP.as_millis()).max(1) as usize;
        let at_once = self.pool.tunnels().div_ceil(steps).clamp(1, AT_ONCE);
        for _ in 0..steps {
            sleep(STEP).await;
            for (node, users) in self.pool.anybody(at_once) {
                self.ask(&node, &users, &lines).await;
            }
        }
    }

    async fn ask(&self, node: &Backend, users: &[UserId], lines: &Sparing) {
        for users in users.chunks(AT_ONCE) {
            let answer = timeout(PATIENCE, self.request(node, users)).await;
            let outcome = match answer {
                Ok(Ok(())) => "asked",
                Ok(Err(why)) => {
                    if let Some(more) = lines.due() {
                        let node = node.name();
                        tracing::warn!(node, why, more, "a node does not let people go");
                    }
                    "failed"
                }
                Err(_) => "failed",
            };
            counter!("fireside_lb_relocations_total", "outcome" => outcome)
                .increment(users.len() as u64);
        }
    }

    async fn request(&self, node: &Backend, users: &[UserId]) -> Result<(), String> {
        let uri = format!("http://{}/v1/server/relocate", node.address());
        let body = serde_json::json!({ "users": users });
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token.expose()),
            )
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        // Read to the end, so that the connection serves again.
        let _ = answer.into_body().collect().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    }
}

impl std::fmt::Debug for Relocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relocation").finish_non_exhaustive()
    }
}
